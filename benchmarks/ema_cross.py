"""The strategy of the speed comparison: buy when a fast EMA of the close crosses above a slow one, sell when
it crosses below. Nothing else, so that C and the peers can be given exactly the same work."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.events import Side
from engine.jit import kernel
from engine.slab import BarStatus, Tape, Universe
from strategies.base import KernelStrategy, SignalBuffer
from strategies.emit import emit

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_TRADED = int(BarStatus.TRADED)


class EmaCrossParams(NamedTuple):
    fast_span: int = 10  # bars; the weight of the newest close is 2 / (span + 1)
    slow_span: int = 30


class EmaCrossState(NamedTuple):
    """float64[N], NaN before a symbol's first close."""

    fast: NDArray[np.float64]
    slow: NDArray[np.float64]


@kernel
def ema_cross_kernel(
    tape: Tape, params: EmaCrossParams, state: EmaCrossState, out: SignalBuffer, row: int
) -> int:
    """Advance rows `row`.. and append the crosses. See `KernelStrategy`."""
    n_rows, n_symbols = len(tape.ts), tape.close.shape[1]
    fast_weight, slow_weight = 2.0 / (params.fast_span + 1), 2.0 / (params.slow_span + 1)
    fast, slow = state.fast, state.slow
    for t in range(row, n_rows):
        if len(out.rows) - out.count[0] < n_symbols:
            return t
        for s in range(n_symbols):
            if tape.status[t, s] < _TRADED:
                continue
            close = tape.close[t, s]
            fast_before, slow_before = fast[s], slow[s]
            if np.isnan(fast_before):
                fast[s] = slow[s] = close
                continue
            fast_now = fast_before + fast_weight * (close - fast_before)
            slow_now = slow_before + slow_weight * (close - slow_before)
            fast[s] = fast_now
            slow[s] = slow_now
            up = (fast_now > slow_now) & (fast_before <= slow_before)
            down = (fast_now < slow_now) & (fast_before >= slow_before)
            if up | down:
                emit(out, tape.ts[t], s, _BUY if up else _SELL, 1.0, close)
    return n_rows


class EmaCross(KernelStrategy):
    """Long above the cross, flat below it."""

    name: ClassVar[str] = "ema_cross"
    description: ClassVar[str] = "fast EMA of the close crosses the slow one"
    Params: ClassVar[type[Any]] = EmaCrossParams
    kernel: ClassVar[Any] = ema_cross_kernel

    @property
    def warmup_bars(self) -> int:
        return 1

    def allocate(self, universe: Universe) -> EmaCrossState:
        n = len(universe)
        return EmaCrossState(fast=np.full(n, np.nan), slow=np.full(n, np.nan))
