"""The strategy of the speed comparison: buy when a fast EMA of the close crosses above a slow one, sell when
it crosses below. Nothing else, so that C and the peers can be given exactly the same work."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.jit import kernel, step
from engine.slab import BarStatus, Tape, Universe
from strategies.base import KernelStrategy, SignalBuffer
from strategies.emit import emit

_TRADED = int(BarStatus.TRADED)


class EmaCrossParams(NamedTuple):
    fast_span: int = 10  # bars; the weight of the newest close is 2 / (span + 1)
    slow_span: int = 30


class EmaCrossState(NamedTuple):
    """[N]: EMAs, NaN before a symbol's first close, and which way they crossed at the newest row."""

    fast: NDArray[np.float64]
    slow: NDArray[np.float64]
    crossed: NDArray[np.int8]  # a Side, 0 for no cross


@kernel
def ema_cross_kernel(
    tape: Tape, params: EmaCrossParams, state: EmaCrossState, out: SignalBuffer, row: int
) -> int:
    """Advance rows `row`.. and append the crosses. See `KernelStrategy`."""
    n_rows, n_symbols = len(tape.ts), tape.close.shape[1]
    fast_weight, slow_weight = 2.0 / (params.fast_span + 1), 2.0 / (params.slow_span + 1)
    for t in range(row, n_rows):
        if len(out.rows) - out.count[0] < n_symbols:
            return t
        close = tape.close[t]
        if advance(tape.status[t], close, fast_weight, slow_weight, state.fast, state.slow, state.crossed):
            for s in range(n_symbols):
                side = np.int64(state.crossed[s])
                if side != 0:
                    emit(out, tape.ts[t], s, side, 1.0, close[s])
    return n_rows


@step
def advance(
    status: NDArray[np.uint8],
    close: NDArray[np.float64],
    fast_weight: float,
    slow_weight: float,
    fast: NDArray[np.float64],
    slow: NDArray[np.float64],
    crossed: NDArray[np.int8],
) -> int:
    """Let one row into the EMAs and write `crossed`; return how many symbols crossed.

    Without a branch, so that it becomes vector instructions. Comparisons with NaN are false.
    """
    n = 0
    for s in range(len(close)):
        traded = status[s] >= _TRADED
        now = close[s]
        fast_before, slow_before = fast[s], slow[s]
        first = fast_before != fast_before
        fast_now = now if first else fast_before + fast_weight * (now - fast_before)
        slow_now = now if first else slow_before + slow_weight * (now - slow_before)
        fast[s] = fast_now if traded else fast_before
        slow[s] = slow_now if traded else slow_before
        up = traded & (fast_now > slow_now) & (fast_before <= slow_before)
        down = traded & (fast_now < slow_now) & (fast_before >= slow_before)
        crossed[s] = np.int8(up) - np.int8(down)
        n += up | down
    return n


class EmaCross(KernelStrategy):
    """Long above the cross, flat below it."""

    name: ClassVar[str] = "ema_cross"
    description: ClassVar[str] = "fast EMA of the close crosses the slow one"
    Params: ClassVar[type[Any]] = EmaCrossParams
    kernel: ClassVar[Any] = ema_cross_kernel
    trusted: ClassVar[bool] = True  # Tests hold it to its peers

    @property
    def warmup_bars(self) -> int:
        return 1

    def allocate(self, universe: Universe) -> EmaCrossState:
        n = len(universe)
        return EmaCrossState(np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.int8))
