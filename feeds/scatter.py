"""Pass 2 of an import: each row is checked and becomes a bar of the arrays on disk or a quarantined row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.slab import NS_PER_DAY, ActionKind, Int
from feeds import sessions
from feeds.adjust import Plan, as_actions
from feeds.bars_file import Chunk
from feeds.panel_store import FIELDS
from feeds.quality import SHARES_MAX, Prices, Quarantine, Reason, fault, valid_bars
from feeds.sessions import BAD_TIME

_MAPPED_MAX = 16 << 20  # bytes of an array: beyond that, its mapped pages are given back after each chunk
_BLANK_CELLS = 1 << 18


class FileClock(Protocol):
    def days(self, stamp: Int) -> Int: ...
    def utc(self, stamp: Int) -> Int: ...


class Axes(NamedTuple):
    """Rows and columns of a panel. `key` is the day (daily) or the UTC ns (intraday) of a row."""

    symbols: tuple[str, ...]
    key: Int
    ts: Int
    day: Int
    intraday: bool
    timed: bool  # daily, though the stamps carry times of day
    clocks: tuple[FileClock, ...]  # by file
    n_rows_read: int
    until_ns: int  # stamps after it have not come yet

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.key), len(self.symbols)


class Scatter:
    """Holds the arrays of a panel under construction, mapped from `folder`."""

    def __init__(self, folder: Path, axes: Axes, plan: Plan, quarantine: Quarantine) -> None:
        self._axes = axes
        self._quarantine = quarantine
        self._column = {symbol: i for i, symbol in enumerate(axes.symbols)}
        names = (*FIELDS, "adj_close") if plan.needs_adj_close else FIELDS
        self._arrays = {name: blank_array(folder / f"{name}.npy", axes.shape, np.nan) for name in names}
        self._stamps: Any = None
        if axes.timed:  # which stamp a session's bar had, to tell a repeat from another snapshot
            self._stamps = blank_array(folder / "stamp.npy", axes.shape, BAD_TIME)
        self._folder = folder
        self._snapshots: set[tuple[int, int]] = set()  # (cell, stamp) set aside so far
        self._actions: dict[tuple[int, int, int], float] = {}

    def add(self, label: str, i_file: int, chunk: Chunk) -> None:
        """Take in the rows of a chunk of file number `i_file`."""
        n_columns = len(self._axes.symbols)
        rows, columns, placed = self.places(i_file, chunk)
        cell = rows * n_columns + columns
        prices = Prices(*(chunk.numbers[name] for name in FIELDS))
        good = valid_bars(prices) & (prices.volume <= SHARES_MAX) & placed
        fresh = good.copy()
        fresh[good] = self._first_seen(cell[good])
        self._check_adj_close(label, chunk, fresh)
        for name, array in self._arrays.items():
            array.reshape(-1)[cell[fresh]] = chunk.numbers[name][fresh]
            self._give_back(array)
        if self._stamps is not None:
            self._stamps.reshape(-1)[cell[fresh]] = chunk.stamp[fresh]
            self._give_back(self._stamps)
        self._report(label, chunk, cell, columns, np.flatnonzero(~good))
        self._repeats(label, chunk, cell, np.flatnonzero(good & ~fresh))
        self._collect_actions(label, chunk, rows, columns, placed)

    def add_broken(self, label: str, broken: Sequence[tuple[int, str]]) -> None:
        """Report the lines of a file that had a wrong number of fields; blank lines are none."""
        for line, detail in broken:
            if detail:
                self._quarantine.add(label, line, "", "", Reason.WRONG_FIELD_COUNT, detail)

    def actions(self) -> NDArray[np.void]:
        """Return the splits and dividends that the files state."""
        keys = np.array(sorted(self._actions), np.int64).reshape(-1, 3)
        actions = as_actions(keys[:, 0], keys[:, 1], ActionKind.SPLIT, np.array(
            [self._actions[row, column, kind] for row, column, kind in keys.tolist()]
        ))  # fmt: skip
        actions["kind"] = keys[:, 2]
        return actions

    def finish(self) -> None:
        """Write the arrays out and remove those that only the import needed."""
        for array in self._arrays.values():
            array.flush()
        self._arrays.clear()
        self._stamps = None
        for name in ("stamp", "adj_close"):
            (self._folder / f"{name}.npy").unlink(missing_ok=True)

    def places(self, i_file: int, chunk: Chunk) -> tuple[Int, Int, NDArray[np.bool_]]:
        """Return the panel row and column of each row of the chunk, and whether it has a place at all."""
        columns = np.array([self._column.get(name, -1) for name in chunk.names] + [-1])[chunk.code]
        placed = (chunk.stamp != BAD_TIME) & (columns >= 0) & (chunk.stamp <= self._axes.until_ns)
        clock = self._axes.clocks[i_file]
        rows = np.zeros(len(chunk.row), np.int64)
        stamp = chunk.stamp[placed]
        key = clock.utc(stamp) if self._axes.intraday else clock.days(stamp)
        rows[placed] = np.searchsorted(self._axes.key, key)
        return rows, columns, placed

    def _first_seen(self, cell: Int) -> NDArray[np.bool_]:
        """Whether each valid row is the first of its cell, in this chunk and in those before it."""
        first = np.isnan(self._arrays["close"].reshape(-1)[cell])
        if not _increasing(cell, len(self._axes.symbols)):
            _, at = np.unique(cell, return_index=True)
            in_chunk = np.zeros(len(cell), np.bool_)
            in_chunk[at] = True
            first &= in_chunk
        return np.asarray(first)

    def _report(self, label: str, chunk: Chunk, cell: Int, columns: Int, bad: Int) -> None:
        """Quarantine the rows without a place and the invalid bars."""
        for i in bad.tolist():
            if columns[i] < 0:
                reason, detail = Reason.NO_SYMBOL, "the symbol is empty"
            elif chunk.stamp[i] == BAD_TIME:
                reason, detail = Reason.BAD_DATE, "the date is empty or not ISO or yyyymmdd"
            elif chunk.stamp[i] > self._axes.until_ns:
                reason, detail = Reason.FUTURE_DATE, "the date had not come when the file was imported"
            elif self._stamps is not None and self._seen_before(cell, chunk, i):
                reason, detail = Reason.DUPLICATE_DATE, "the timestamp has come before"
            else:
                reason, detail = fault([chunk.numbers[name][i] for name in FIELDS])
                if reason is Reason.NON_FINITE:
                    unknown = [name for name in FIELDS if not np.isfinite(chunk.numbers[name][i])]
                    detail = ", ".join(f"{name} {chunk.shown(name, i)}" for name in unknown)
            self.report(label, chunk, i, reason, detail)

    def report(self, label: str, chunk: Chunk, i: int, reason: Reason, detail: str) -> None:
        """Quarantine a row of a chunk."""
        symbol = chunk.names[chunk.code[i]] if chunk.code[i] >= 0 else ""
        self._quarantine.add(label, int(chunk.row[i]), symbol, self._date(chunk, i), reason, detail)

    def _repeats(self, label: str, chunk: Chunk, cell: Int, again: Int) -> None:
        for i in again.tolist():
            reason, detail = Reason.DUPLICATE_DATE, "the session already has a bar"
            if self._stamps is not None and not self._seen_before(cell, chunk, i):
                reason, detail = Reason.DUPLICATE_SESSION, "another snapshot of a session that has a bar"
            symbol = chunk.names[chunk.code[i]]
            self._quarantine.add(label, int(chunk.row[i]), symbol, self._date(chunk, i), reason, detail)

    def _seen_before(self, cell: Int, chunk: Chunk, i: int) -> bool:
        """Whether the exact timestamp of a row that is set aside has come before; it has from now on."""
        if self._stamps.reshape(-1)[cell[i]] == chunk.stamp[i]:
            return True
        snapshot = (int(cell[i]), int(chunk.stamp[i]))
        known = snapshot in self._snapshots
        self._snapshots.add(snapshot)
        return known

    def _check_adj_close(self, label: str, chunk: Chunk, fresh: NDArray[np.bool_]) -> None:
        """Quarantine an adj_close that cannot be one, and blank it; the bar stays."""
        if "adj_close" not in self._arrays:
            return
        values = chunk.numbers["adj_close"]
        bad = fresh & ~((values > 0.0) & (values < np.inf))
        for i in np.flatnonzero(bad).tolist():
            symbol = chunk.names[chunk.code[i]]
            detail = f"adj_close must be a number > 0, was {chunk.shown('adj_close', i)}"
            date = self._date(chunk, i)
            self._quarantine.add(label, int(chunk.row[i]), symbol, date, Reason.BAD_ADJ_CLOSE, detail)
        values[bad] = np.nan

    def _collect_actions(
        self, label: str, chunk: Chunk, rows: Int, columns: Int, placed: NDArray[np.bool_]
    ) -> None:
        """Keep the first split and dividend of each cell, also of rows whose prices are invalid."""
        for name, kind, none in (("split", ActionKind.SPLIT, 1.0), ("dividend", ActionKind.DIVIDEND, 0.0)):
            values = chunk.numbers.get(name)
            if values is None:
                continue
            for i in np.flatnonzero((values != 0.0) & (values != none) & placed).tolist():
                value = float(values[i])
                if 0.0 < value < np.inf:
                    self._actions.setdefault((int(rows[i]), int(columns[i]), int(kind)), value)
                    continue
                reason = Reason.BAD_SPLIT if kind is ActionKind.SPLIT else Reason.BAD_DIVIDEND
                detail = f"{name} must be a number > 0, was {chunk.shown(name, i)}"
                symbol = chunk.names[chunk.code[i]]
                self._quarantine.add(label, int(chunk.row[i]), symbol, self._date(chunk, i), reason, detail)

    def _date(self, chunk: Chunk, i: int) -> str:
        """Return the date for reports: ISO where it can be read, else the cell as it stands."""
        stamp = int(chunk.stamp[i])
        if stamp == BAD_TIME:
            return chunk.text("date", i)
        day = sessions.iso_day(stamp // NS_PER_DAY)
        seconds = stamp % NS_PER_DAY // 1_000_000_000
        if seconds == 0:
            return day
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return f"{day}T{clock}{'Z' if chunk.zoned else ''}"

    def _give_back(self, array: Any) -> None:
        """Let the pages of an array go, so that a large import stays small in memory."""
        if array.nbytes > _MAPPED_MAX:
            release(array)


def blank_array(path: Path, shape: tuple[int, int], value: float) -> Any:
    """Return a new mapped array on disk, every element `value`. float64, or int64 for an int value."""
    dtype = np.int64 if isinstance(value, int) else np.float64
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    n_block = max(1, _BLANK_CELLS // max(1, shape[1]))
    for start in range(0, shape[0], n_block):
        array[start : start + n_block] = value
        if shape[0] > n_block:
            release(array)
    return array


def release(array: Any) -> None:
    """Drop the pages of a mapped array from this process; what was written stays in the system's cache."""
    import mmap

    if hasattr(mmap, "MADV_DONTNEED"):
        array._mmap.madvise(mmap.MADV_DONTNEED)


def _increasing(cell: Int, n_columns: int) -> bool:
    """Whether the cells are in strict order, by symbol then row or by row then symbol: no repeats then."""
    if len(cell) < 2 or bool((cell[1:] > cell[:-1]).all()):
        return True
    rows, columns = np.divmod(cell, n_columns)
    new_symbol = columns[1:] > columns[:-1]
    return bool((new_symbol | ((columns[1:] == columns[:-1]) & (rows[1:] > rows[:-1]))).all())
