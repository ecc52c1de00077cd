"""Feed of a stored panel: a choice of its rows and symbols, read block by block into fresh memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.slab import NO_ACTIONS, Bars, Float, Int, Universe
from feeds.panel_store import FIELDS, Panel
from feeds.quality import Quality

_BLOCK_BYTES = 2 << 20  # of one field: small slabs are cut from blocks of this size
_SCAN_ROWS = 512


@dataclass(frozen=True)
class Selection:
    """Rows [start, stop) and columns of a panel."""

    start: int
    stop: int
    columns: Int

    def is_whole(self, panel: Panel) -> bool:
        return len(self.columns) == panel.n_symbols


@dataclass(eq=False)
class PanelFeed:
    """Yields the selected part of a panel in slabs at flat memory.

    benchmark: float64[n_rows, 2], close and volume, NaN where it has no bar at a row's exact time.
    whole_fingerprint: of the files and the basis alone, whatever version of the reader took them.
    """

    panel: Panel
    selection: Selection
    universe: Universe
    fingerprint: str
    source: str
    quality: Quality
    first_import: bool = False
    benchmark: Float | None = None
    whole_fingerprint: str = ""

    @property
    def n_rows(self) -> int:
        return self.selection.stop - self.selection.start

    @property
    def ts(self) -> Int:
        """int64[n_rows], UTC ns."""
        return self.panel.ts[self.selection.start : self.selection.stop]

    @property
    def days(self) -> Int:
        """int64[n_rows], the session of each row as a day number."""
        return self.panel.day[self.selection.start : self.selection.stop]

    @property
    def n_bars(self) -> int:
        """Valid bars in the selection."""
        chosen, panel = self.selection, self.panel
        if chosen.is_whole(panel):
            return int(panel.row_bars[chosen.start : chosen.stop].sum())
        meta = panel.meta
        if all(
            meta.first_row[i] < 0 or (meta.first_row[i] >= chosen.start and meta.last_row[i] < chosen.stop)
            for i in chosen.columns
        ):
            return sum(meta.symbol_bars[i] for i in chosen.columns)
        return int(count_in_columns(panel, chosen).sum())

    def rows(self, start: int, stop: int) -> Bars:
        """Return rows [start, stop) of the selection as one slab in memory of its own."""
        return self._read(self.selection.start + start, self.selection.start + stop)

    async def slabs(self, n_rows: int) -> AsyncIterator[Bars]:
        """Yield slabs of at most `n_rows` rows, each in memory of its own."""
        if n_rows < 1:
            raise DataError(f"rows per slab must be >= 1, was {n_rows}")
        block = max(1, _BLOCK_BYTES // (8 * max(1, self.panel.n_symbols)) // n_rows) * n_rows
        for start in range(self.selection.start, self.selection.stop, block):
            bars = self._read(start, min(start + block, self.selection.stop))
            if block == n_rows:
                yield bars
                continue
            for slab in bars.cut(n_rows):
                yield slab

    def _read(self, start: int, stop: int) -> Bars:
        columns = self.selection.columns
        whole = self.selection.is_whole(self.panel)
        fields = {}
        for name in FIELDS:
            rows = self.panel.read(name, start, stop)
            fields[name] = rows if whole else rows[:, columns]
        offset = self.selection.start
        benchmark = np.empty((0, 2))
        if self.benchmark is not None:
            benchmark = self.benchmark[start - offset : stop - offset].copy()
        actions = self._actions(start, stop)
        return Bars(ts=self.panel.ts[start:stop].copy(), actions=actions, benchmark=benchmark, **fields)

    def _actions(self, start: int, stop: int) -> NDArray[np.void]:
        first, last = np.searchsorted(self.panel.actions["row"], (start, stop))
        actions = self.panel.actions[first:last].copy()
        if len(actions) == 0:
            return NO_ACTIONS
        place = np.full(self.panel.n_symbols, -1)
        place[self.selection.columns] = np.arange(len(self.selection.columns))
        actions["row"] -= start
        actions["symbol"] = place[actions["symbol"]]
        return actions[actions["symbol"] >= 0]


def count_in_columns(panel: Panel, chosen: Selection) -> Int:
    """Return the number of bars of each column within the selected rows, int64[len(columns)]."""
    counts = np.zeros(len(chosen.columns), np.int64)
    for start in range(chosen.start, chosen.stop, _SCAN_ROWS):
        close = panel.read("close", start, min(start + _SCAN_ROWS, chosen.stop))
        counts += (~np.isnan(close[:, chosen.columns])).sum(axis=0)
    return counts


def columns_with_bars(panel: Panel, start: int, stop: int) -> Int:
    """Return the columns that have a bar in rows [start, stop)."""
    first, last = np.array(panel.meta.first_row), np.array(panel.meta.last_row)
    inside = (first >= start) & (first < stop) | (last >= start) & (last < stop) & (first >= 0)
    spanning = np.flatnonzero((first >= 0) & (first < start) & (last >= stop))
    for row in range(start, stop, _SCAN_ROWS):  # nearly always over after the first block
        if len(spanning) == 0:
            break
        close = panel.read("close", row, min(row + _SCAN_ROWS, stop))
        seen = ~np.isnan(close[:, spanning]).all(axis=0)
        inside[spanning[seen]] = True
        spanning = spanning[~seen]
    return np.flatnonzero(inside)
