"""What is wrong with the signals of a strategy that nobody vouches for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.slab import Tape


def check_signals(rows: NDArray[np.void], tape: Tape, n_symbols: int, name: str) -> None:
    """Raise EngineError at the first signal that the desk cannot take: compiled, it looks at no bounds.

    rows: SIGNAL_DTYPE, one or more. A price_ref of NaN may be: of a symbol without a bar.
    """
    ts, symbol, confidence = rows["ts"], rows["symbol"], rows["confidence"]
    back = np.r_[False, (ts[1:] < ts[:-1]) | (ts[1:] == ts[:-1]) & (symbol[1:] < symbol[:-1])]
    for wrong, column, allowed in (
        ((symbol < 0) | (symbol >= n_symbols), "symbol", f"0 to {n_symbols - 1}"),
        (~np.isin(ts, tape.ts), "ts", "that of a row of the slab"),
        (np.abs(rows["side"]) != 1, "side", "Side.BUY or Side.SELL"),
        (~((confidence >= 0.0) & (confidence <= 1.0)), "confidence", "0 to 1"),
        (rows["price_ref"] <= 0.0, "price_ref", "> 0"),
        (back, "symbol", "in order of ts and symbol"),
    ):
        if wrong.any():
            found = rows[column][int(wrong.argmax())]
            raise EngineError(f"strategy {name} signalled with {column} {found}; it must be {allowed}")
