"""What a compiled strategy of anybody's may hand to the desk, and what is refused by its name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from engine.errors import EngineError
from engine.events import Side
from engine.jit import kernel
from engine.slab import Universe
from strategies.base import KernelStrategy
from strategies.emit import emit
from tests.strategies.bases import random_bases
from tests.strategies.random_tapes import cut, run

TAPE = random_bases(1, 40)
N_ROWS, N_SYMBOLS = TAPE.close.shape
BUY = int(Side.BUY)


class Params(NamedTuple):
    symbol: int = 0
    second: int = 1
    side: int = BUY
    confidence: float = 0.5
    price_ref: float = 10.0
    late_ns: int = 0
    skip: int = 0  # added to the row that the kernel returns


class State(NamedTuple):
    n_bars: np.ndarray


@kernel
def _signals_twice_a_row(tape, params, state, out, row):
    n_rows, n_symbols = tape.close.shape
    for t in range(row, n_rows):
        if len(out.rows) - out.count[0] < n_symbols:
            break
        row = t + 1
        for symbol in (params.symbol, params.second):
            ts = tape.ts[t] + params.late_ns
            emit(out, ts, symbol, params.side, params.confidence, params.price_ref)
    return row + params.skip


class Twice(KernelStrategy):
    name = "twice"
    Params = Params
    kernel = _signals_twice_a_row

    @property
    def warmup_bars(self) -> int:
        return 0

    def allocate(self, universe: Universe) -> State:
        return State(np.zeros(len(universe), np.int64))


def test_signals_in_order_are_taken_in_any_slabs() -> None:
    assert len(run(Twice(), [TAPE])) == 2 * N_ROWS
    assert len(run(Twice(), cut(TAPE, list(range(N_ROWS))))) == 2 * N_ROWS


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"second": 10**6}, f"symbol 1000000; it must be 0 to {N_SYMBOLS - 1}"),
        ({"symbol": -1}, "symbol -1; it must be 0 to"),
        ({"symbol": 1, "second": 0}, "symbol 0; it must be in order of ts and symbol"),
        ({"side": 5}, "side 5; it must be Side.BUY or Side.SELL"),
        ({"confidence": 7.0}, "confidence 7.0; it must be 0 to 1"),
        ({"price_ref": 0.0}, "price_ref 0.0; it must be > 0"),
        ({"late_ns": 1}, "ts .*; it must be that of a row of the slab"),
    ],
)
def test_a_signal_that_the_desk_could_not_take_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(EngineError, match=f"strategy twice signalled with {complaint}"):
        run(Twice(**given), [TAPE])


@pytest.mark.parametrize("skip", [-N_ROWS, -N_ROWS - 1, 1])
def test_a_kernel_that_does_not_go_on_is_refused(skip: int) -> None:
    with pytest.raises(EngineError, match=f"called at row 0 of {N_ROWS}, returned {N_ROWS + skip}"):
        run(Twice(skip=skip), [TAPE])
