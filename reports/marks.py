"""The closes at which a run's lots were marked: kept for symbols that ever had a fill, from then on.

A slab is published before its fills, so it is looked at again when its equity comes: by then it is known
which of its columns matter. Memory: 8 bytes x rows x traded symbols.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.intake import TOLERANCE
from engine.slab import NO_ACTIONS, ActionKind, Bars

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_MOVES = (int(ActionKind.SPLIT), int(ActionKind.RENAME))


class MarkTable(NamedTuple):
    """symbols: int64[n], ascending. close: float64[K, n], NaN where a symbol had no valid bar or had not
    been traded by then. actions: ACTION_DTYPE, their splits and renames;
    `row` counts from the first of the run."""

    symbols: Int
    close: Float
    actions: NDArray[np.void]


class Marks:
    """Collects the marks of a run, slab by slab."""

    def __init__(self) -> None:
        self._traded: set[int] = set()
        self._slab: Bars | None = None
        self._parts: list[tuple[Int, Float]] = []
        self._actions: list[NDArray[np.void]] = []
        self._n_rows = 0

    def on_bars(self, bars: Bars) -> None:
        self._slab = bars

    def on_fills(self, rows: NDArray[np.void]) -> None:
        self._traded.update(np.unique(rows["symbol"]).tolist())

    def on_slab_done(self) -> None:
        """Keep what is needed of the slab and let go of it."""
        bars, self._slab = self._slab, None
        if bars is None:
            return
        moves = bars.actions[np.isin(bars.actions["kind"], _MOVES)]
        for move in moves[moves["kind"] == ActionKind.RENAME]:
            if int(move["symbol"]) in self._traded:
                self._traded.add(int(move["value"]))
        symbols = np.array(sorted(self._traded), np.int64)
        moves = moves[np.isin(moves["symbol"], symbols)].copy()
        moves["row"] += self._n_rows
        if len(moves):
            self._actions.append(moves)
        self._parts.append((symbols, valid_closes(bars, symbols)))
        self._n_rows += bars.n_rows

    def table(self) -> MarkTable:
        """Return everything so far."""
        symbols = np.array(sorted(self._traded), np.int64)
        close = np.full((self._n_rows, len(symbols)), np.nan)
        row = 0
        for part_symbols, part in self._parts:
            close[row : row + len(part), np.searchsorted(symbols, part_symbols)] = part
            row += len(part)
        actions = np.concatenate(self._actions) if self._actions else NO_ACTIONS
        return MarkTable(symbols, close, actions)


def valid_closes(bars: Bars, symbols: Int) -> Float:
    """Return float64[K, n], the closes of some columns, NaN where the desk saw no valid bar
    (`engine.intake` decides; this is its rule over whole columns)."""
    open_, high, low, close, volume = (
        np.take(getattr(bars, name), symbols, axis=1) for name in ("open", "high", "low", "close", "volume")
    )
    with np.errstate(invalid="ignore", over="ignore"):
        top, bottom = np.maximum(open_, close), np.minimum(open_, close)
        valid = (low > 0) & (high < np.inf) & (high >= top - TOLERANCE * top)
        valid &= (low <= bottom + TOLERANCE * bottom) & (bottom > 0) & (volume >= 0) & (volume < np.inf)
    close[~valid] = np.nan
    return np.asarray(close)
