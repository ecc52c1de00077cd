"""What is wrong with the signals of a strategy: the desk, compiled, looks at no bounds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.events import SIGNAL_DTYPE
from engine.jit import entry, kernel
from engine.slab import Tape

_WRONG = (
    ("symbol", "0 to {}"),
    ("symbol", "in order of ts and symbol"),
    ("ts", "that of a row of the slab"),
    ("side", "Side.BUY or Side.SELL"),
    ("confidence", "0 to 1"),
    ("price_ref", "> 0"),
)
SYMBOL, ORDER, TS, SIDE, CONFIDENCE, PRICE = range(6)
N_WRONG = len(_WRONG)


def check_signals(rows: NDArray[np.void], tape: Tape, n_symbols: int, name: str) -> None:
    """Raise EngineError at the first signal that the desk cannot take.

    rows: SIGNAL_DTYPE. A price_ref of NaN may be: of a symbol without a bar.
    """
    found = _look()(rows, tape.ts, n_symbols)
    if found >= 0:
        row, wrong = divmod(found, N_WRONG)
        column, allowed = _WRONG[wrong]
        raise EngineError(
            f"strategy {name} signalled with {column} {rows[column][row]};"
            f" it must be {allowed.format(n_symbols - 1)}"
        )


@functools.cache
def _look() -> Callable[..., int]:
    return entry(first_wrong, np.empty(0, SIGNAL_DTYPE), np.empty(0, np.int64), 0)


@kernel
def first_wrong(rows: NDArray[np.void], ts: NDArray[np.int64], n_symbols: int) -> int:
    """Return `N_WRONG` times the number of the first signal that cannot be taken, plus what is wrong with it;
    -1 for none."""
    t = 0
    for i in range(len(rows)):
        now, symbol, side = rows[i]["ts"], rows[i]["symbol"], rows[i]["side"]
        wrong = -1
        if symbol < 0 or symbol >= n_symbols:
            wrong = SYMBOL
        elif i > 0 and (
            now < rows[i - 1]["ts"] or (now == rows[i - 1]["ts"] and symbol < rows[i - 1]["symbol"])
        ):
            wrong = ORDER
        else:
            while t < len(ts) and ts[t] < now:
                t += 1
            if t == len(ts) or ts[t] != now:
                wrong = TS
            elif side != 1 and side != -1:
                wrong = SIDE
            elif not (rows[i]["confidence"] >= 0.0 and rows[i]["confidence"] <= 1.0):
                wrong = CONFIDENCE
            elif rows[i]["price_ref"] <= 0.0:
                wrong = PRICE
        if wrong >= 0:
            return i * N_WRONG + wrong
    return -1
