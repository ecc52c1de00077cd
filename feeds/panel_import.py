"""Import: files of bars become a stored panel, in memory that does not grow with the files.

Pass 1 reads symbols and dates and lays out the axes. Pass 2 checks every row and scatters the valid ones into
the arrays on disk; the rest goes to the quarantine. Bars that stand alone at another power of ten follow
(`feeds.spikes`). Then the basis is changed in place, a block of rows at a time (`feeds.rebase`).

A source is *intraday* when at least half of its (symbol, session) groups hold two or more different times of
day, else *daily*. A daily source has one row per session, at its close, whatever time of day the vendor
stamped on it. An intraday source keeps its timestamps as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.slab import NS_PER_DAY, Int
from feeds import sessions
from feeds.adjust import Plan
from feeds.bars_file import BarFile, Chunk
from feeds.panel_store import Meta, write_meta
from feeds.quality import Quarantine
from feeds.rebase import change_basis, count_bars
from feeds.scatter import Axes, Scatter
from feeds.sessions import BAD_TIME
from feeds.spikes import set_aside_spikes
from feeds.stamps import midnights

Progress = Callable[[int, int], None]  # rows done, rows in all


@dataclass
class Survey:
    """What pass 1 learns of a source."""

    until_ns: int
    symbols: set[str] = field(default_factory=set)
    n_rows: int = 0
    n_groups: int = 0  # (symbol, session) seen
    n_several: int = 0  # of these, with two or more times of day
    stamps: list[Int] = field(default_factory=list)  # per file, unique stamps as the file has them
    zoned: list[bool] = field(default_factory=list)


class Clock(NamedTuple):
    """How the stamps of one file are to be read."""

    zoned: bool  # UTC moments, else New York wall clock

    def days(self, stamp: Int) -> Int:
        """Return the session day of stamps that are readable."""
        return (sessions.utc_to_wall(stamp) if self.zoned else stamp) // NS_PER_DAY

    def utc(self, stamp: Int) -> Int:
        return stamp if self.zoned else sessions.wall_to_utc(stamp)


def build(
    folder: Path, files: Sequence[BarFile], plan: Plan, source: str, progress: Progress | None = None, *,
    now_ns: int | None = None,
) -> None:  # fmt: skip
    """Write the panel of `files` into the empty `folder`, meta.json last.

    now_ns: rows of later days are set aside; None for the clock's time.
    Raises DataError where no file holds a single valid bar.
    """
    axes = survey(files, time.time_ns() if now_ns is None else now_ns)
    n_cells = len(axes.ts) * len(axes.symbols)
    if axes.n_rows_read == 0:
        raise DataError(f"{source}: no row below the header; export it again")
    if n_cells == 0:
        raise DataError(
            f"{source}: no row with a symbol and a readable date that has come; dates are written 2024-03-08 "
            "or 20240308"
        )
    quarantine = Quarantine(folder / "quality.csv")
    scatter = Scatter(folder, axes, plan, quarantine)
    done = 0
    notes = []
    for i, file in enumerate(files):
        before = done
        for chunk in file.chunks(prices=True):
            scatter.add(file.label, i, chunk)
            done += len(chunk.row)
            if progress is not None:
                progress(done, axes.n_rows_read)
        scatter.add_broken(file.label, file.broken)
        if done == before and not file.broken:
            notes.append(f"{file.label} has no row below its header")
    set_aside_spikes(folder, files, axes, scatter, quarantine)
    actions = change_basis(folder, plan, scatter.actions(), axes, quarantine)
    quarantine.close()
    bars = count_bars(folder, axes.shape)
    if bars.total == 0:
        raise DataError(f"{source}: no valid bar; the first fault is {quarantine.first}")
    for name, values in (("ts", axes.ts), ("day", axes.day), ("row_bars", bars.by_row), ("actions", actions)):
        np.save(folder / f"{name}.npy", values)
    scatter.finish()
    empty = [s for s, n in zip(axes.symbols, bars.by_symbol, strict=True) if n == 0]
    notes += [f"{symbol} has no valid bar and is left out" for symbol in empty]
    meta = Meta(
        source=source, adjustment=plan.adjustment.value, intraday=axes.intraday, symbols=list(axes.symbols),
        symbol_bars=bars.by_symbol.tolist(), first_row=bars.first_row.tolist(),
        last_row=bars.last_row.tolist(), n_rows=len(axes.ts), counts=dict(quarantine.counts), notes=notes,
    )  # fmt: skip
    write_meta(folder, meta)


def survey(files: Sequence[BarFile], until_ns: int) -> Axes:
    """Return the axes of a source (pass 1), without stamps after `until_ns`.

    A stamp without a zone is compared as it stands: one of New York counts as later by some hours.
    """
    found = Survey(until_ns)
    for file in files:
        _survey_file(file, found)
    intraday = found.n_groups > 0 and 2 * found.n_several >= found.n_groups
    clocks = [
        Clock(zoned and not midnights(stamps))  # midnight UTC: a date that some tool made a moment
        for stamps, zoned in zip(found.stamps, found.zoned, strict=True)
    ]
    keys = [
        clock.utc(stamps) if intraday else clock.days(stamps)
        for clock, stamps in zip(clocks, found.stamps, strict=True)
    ]
    key = np.unique(np.concatenate(keys))
    ts = key if intraday else sessions.session_closes(key)
    day = sessions.session_days(ts) if intraday else key
    timed = not intraday and any(not midnights(stamps) for stamps in found.stamps)
    return Axes(
        tuple(sorted(found.symbols)), key, ts, day, intraday, timed, tuple(clocks), found.n_rows, until_ns
    )


def _survey_file(file: BarFile, found: Survey) -> None:
    unique = np.empty(0, np.int64)
    zoned = False
    for chunk in file.chunks(prices=False):
        zoned = chunk.zoned
        found.n_rows += len(chunk.row)
        seen = np.bincount(chunk.code[chunk.code >= 0], minlength=len(chunk.names))
        found.symbols.update(name for name, n in zip(chunk.names, seen, strict=True) if n)
        usable = (chunk.stamp != BAD_TIME) & (chunk.code >= 0) & (chunk.stamp <= found.until_ns)
        stamps = chunk.stamp[usable]
        unique = np.union1d(unique, _unique(stamps))
        if not midnights(stamps):
            _count_groups(chunk, usable, found)
    found.stamps.append(unique)
    found.zoned.append(zoned)


def _unique(stamps: Int) -> Int:
    """np.unique, without sorting a million dates of which a few thousand differ."""
    if len(stamps) == 0:
        return stamps
    days = stamps // NS_PER_DAY
    first, span = int(days.min()), int(days.max() - days.min()) + 1
    if span > 10 * len(stamps) or not midnights(stamps):
        return np.unique(stamps)
    return (np.flatnonzero(np.bincount(days - first, minlength=span)) + first) * NS_PER_DAY


def _count_groups(chunk: Chunk, usable: NDArray[np.bool_], found: Survey) -> None:
    """Count (symbol, session) groups and those with several times of day, within the chunk.

    A group that two chunks share counts twice; there are few of these against the groups of a chunk.
    """
    order = np.lexsort((chunk.stamp[usable], chunk.code[usable]))
    code, stamp = chunk.code[usable][order], chunk.stamp[usable][order]
    days = Clock(chunk.zoned).days(stamp)
    starts = np.flatnonzero(np.r_[True, (code[1:] != code[:-1]) | (days[1:] != days[:-1])])
    ends = np.r_[starts[1:], len(code)] - 1
    found.n_groups += len(starts)
    found.n_several += int((stamp[ends] != stamp[starts]).sum())
