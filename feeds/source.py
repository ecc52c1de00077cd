"""Opening price files: imported once into the panel store, then ready at once.

feed = open_source("prices.parquet", adjustment="split", cache_dir="~/.cache/smallcap")
async for slab in feed.slabs(4096): ...
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.counted import counted
from engine.errors import DataError
from engine.slab import Float, Int, Universe
from feeds.adjust import Adjustment
from feeds.files import list_files
from feeds.fingerprint import source_hash
from feeds.panel import PanelFeed, Selection, columns_with_bars
from feeds.panel_store import VERSION, Damaged, Panel, drop_unused, new_panel, open_panel
from feeds.quality import NO_ROWS, Quality, Table, join_rows, read_rows
from feeds.sectors import SectorInfo, read_sectors, sectors_of
from feeds.sessions import day_number, iso_day
from feeds.symbols import SymbolIndex

StrPath = str | Path
Progress = Callable[[int, int], None]  # rows done, rows in all
_READER_VERSION = 6  # raise it when the same file would now be imported differently


def open_source(
    path: StrPath,
    *,
    adjustment: Adjustment | str,
    cache_dir: StrPath,
    symbols: Sequence[str] | None = None,
    start: str | dt.date | None = None,
    end: str | dt.date | None = None,
    strict: bool = False,
    sectors: StrPath | Mapping[str, SectorInfo] | None = None,
    benchmark: tuple[StrPath, str] | None = None,
    progress: Progress | None = None,
) -> PanelFeed:
    """Return a feed of a price file or a folder of price files.

    adjustment: raw, split or total_return (`feeds.adjust`).
    symbols: these and no others; None for all that have a bar between `start` and `end`.
    start, end: session dates, both included.
    strict: raise DataError on the first row in use that was set aside.
    sectors: file for `read_sectors`, or what it returned.
    benchmark: file and symbol of the series for `Bars.benchmark`, split-adjusted.
    progress: called with (rows done, rows in all) during an import.

    Raises DataError, in one line, for whatever the files do not hold.
    """
    path = Path(path).expanduser()
    return open_listed(
        list_files(path), path, adjustment=adjustment, cache_dir=cache_dir, symbols=symbols, start=start,
        end=end, strict=strict, sectors=sectors, benchmark=benchmark, progress=progress,
    )  # fmt: skip


def open_listed(
    files: Sequence[tuple[str, Path]],
    path: Path,
    *,
    adjustment: Adjustment | str,
    cache_dir: StrPath,
    symbols: Sequence[str] | None = None,
    start: str | dt.date | None = None,
    end: str | dt.date | None = None,
    strict: bool = False,
    sectors: StrPath | Mapping[str, SectorInfo] | None = None,
    benchmark: tuple[StrPath, str] | None = None,
    progress: Progress | None = None,
) -> PanelFeed:
    """Return what `open_source` returns, of files given as (label, path) that lie in the folder `path`."""
    store = Path(cache_dir).expanduser()
    content = _content(files, adjustment, store)
    panel, fingerprint, is_new, notes = _panel(content, files, path, adjustment, store, progress)
    selection, left_out = _select(panel, str(path), symbols, start, end)
    names = tuple(panel.meta.symbols[i] for i in selection.columns)
    universe, remarks = _universe(names, sectors, benchmark)
    tables = [_set_aside(panel, names if symbols is not None else None, start, end)]
    series = None
    if benchmark is not None:
        series, table, more = _benchmark(panel.ts[selection.start : selection.stop], benchmark, cache_dir)
        tables.append(table)
        remarks += more
    quality = Quality(join_rows(tables), (*notes, *panel.meta.notes, *left_out, *remarks))
    if strict:
        quality.require_clean()
    return PanelFeed(
        panel,
        selection,
        universe,
        fingerprint,
        str(path),
        quality,
        first_import=is_new,
        benchmark=series,
        whole_fingerprint=hashlib.sha256(content.encode()).hexdigest(),
    )


def _content(files: Sequence[tuple[str, Path]], adjustment: Adjustment | str, cache_dir: Path) -> str:
    """Return what tells sources and bases apart."""
    return f"{source_hash(files, cache_dir / 'hashes')}\0{Adjustment(adjustment).value}"


def _panel(
    content: str, files: Sequence[tuple[str, Path]], path: Path, adjustment: Adjustment | str,
    cache_dir: Path, progress: Progress | None,
) -> tuple[Panel, str, bool, list[str]]:  # fmt: skip
    """Return the stored panel of a source, its fingerprint, whether it is new, and notes. It is imported
    now if it is not there or damaged. content: that of `_content`."""
    identity = f"{content}\0{VERSION}\0{_READER_VERSION}"
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()
    folder = cache_dir / "panels" / fingerprint
    notes = []
    try:
        panel = open_panel(folder)
    except Damaged as damage:
        panel = None
        notes.append(f"the stored panel of {path} was damaged ({damage}) and has been rebuilt")
    if panel is not None:
        return panel, fingerprint, False, notes
    _import(folder, files, path, adjustment, progress)
    notes += filter(None, [drop_unused(folder.parent)])
    panel = open_panel(folder)
    if panel is None:
        raise DataError(f"{folder}: the imported panel has vanished; set a cache folder of your own")
    return panel, fingerprint, True, notes


def _import(
    folder: Path,
    labelled: Sequence[tuple[str, Path]],
    path: Path,
    adjustment: Adjustment | str,
    progress: Any,
) -> None:
    from feeds.adjust import plan
    from feeds.bars_file import open_bar_files
    from feeds.panel_import import build

    files = open_bar_files(path, labelled)
    what = plan(adjustment, files[0].layout, files[0].label)
    with new_panel(folder) as scratch:
        build(scratch, files, what, path.name, progress)


def _select(
    panel: Panel, where: str, symbols: Sequence[str] | None, start: str | dt.date | None,
    end: str | dt.date | None,
) -> tuple[Selection, list[str]]:  # fmt: skip
    """Return the rows and columns asked for. Leading and trailing rows without any of the bars are cut."""
    days = panel.day
    first = 0 if start is None else int(np.searchsorted(days, day_number(start)))
    stop = len(days) if end is None else int(np.searchsorted(days, day_number(end), side="right"))
    if first >= stop:
        raise DataError(
            f"{where}: no session between {start or 'the beginning'} and {end or 'the end'}; it holds "
            f"{iso_day(days[0])} to {iso_day(days[-1])}"
        )
    columns = columns_with_bars(panel, first, stop)
    left_out = []
    if symbols is None:
        n_other = sum(n > 0 for n in panel.meta.symbol_bars) - len(columns)
        if n_other:
            left_out.append(f"{counted(n_other, 'symbols')} left out: no bar between the dates chosen")
    else:
        wanted = set(SymbolIndex(panel.meta.symbols).require(symbols, where))
        known = {i for i in wanted if panel.meta.symbol_bars[i]}
        columns = np.array(sorted(known), np.int64)
    if len(columns) == 0:
        raise DataError(f"{where}: none of the symbols chosen has a valid bar between the dates chosen")
    first_bar = min(panel.meta.first_row[i] for i in columns)
    last_bar = max(panel.meta.last_row[i] for i in columns)
    if max(first, first_bar) >= min(stop, last_bar + 1):
        raise DataError(f"{where}: none of the symbols chosen has a valid bar between the dates chosen")
    return Selection(max(first, first_bar), min(stop, last_bar + 1), columns), left_out


def _universe(
    names: tuple[str, ...], sectors: StrPath | Mapping[str, SectorInfo] | None,
    benchmark: tuple[StrPath, str] | None,
) -> tuple[Universe, list[str]]:  # fmt: skip
    series = benchmark[1] if benchmark else ""
    if sectors is None:
        return Universe(names, benchmark=series), []
    table = sectors if isinstance(sectors, Mapping) else read_sectors(sectors)
    found = sectors_of(names, table)
    universe = Universe(
        names, tuple(i.sector for i in found), tuple(i.industry for i in found),
        tuple(i.exchange for i in found), series,
    )  # fmt: skip
    n_none = sum(not i.sector for i in found)
    return universe, [f"{n_none} of {len(names)} symbols have no sector"] if n_none else []


def _set_aside(
    panel: Panel, names: tuple[str, ...] | None, start: str | dt.date | None, end: str | dt.date | None
) -> Table:
    """Return the quarantined rows of the symbols and days asked for."""
    if not panel.meta.counts:
        return NO_ROWS
    first = "" if start is None else iso_day(day_number(start))
    last = "~" if end is None else iso_day(day_number(end))
    chosen = None if names is None else frozenset(names)
    return read_rows(panel.folder / "quality.csv", chosen, first, last)


def _benchmark(ts: Int, benchmark: tuple[StrPath, str], cache_dir: StrPath) -> tuple[Float, Table, list[str]]:
    """Return close and volume of the benchmark at each of `ts`, float64[len(ts), 2] with NaN where it has no
    bar, its quarantined rows, and remarks."""
    path, symbol = Path(benchmark[0]).expanduser(), benchmark[1]
    files, store = list_files(path), Path(cache_dir).expanduser()
    content = _content(files, Adjustment.SPLIT, store)
    panel, _, _, notes = _panel(content, files, path, Adjustment.SPLIT, store, None)
    (column,) = SymbolIndex(panel.meta.symbols).require([symbol], str(path))
    at = np.minimum(np.searchsorted(panel.ts, ts), len(panel.ts) - 1)
    same = panel.ts[at] == ts
    series = np.full((len(ts), 2), np.nan)
    for i, name in enumerate(("close", "volume")):
        series[same, i] = panel.read(name, 0, len(panel.ts))[at[same], column]
    n_none = int(np.isnan(series[:, 0]).sum())
    if n_none == len(ts):
        raise DataError(f"{path}: {symbol} has no bar at any of the {len(ts):,} times of the data")
    if n_none:
        notes.append(f"benchmark {symbol} has no bar at {n_none:,} of {len(ts):,} times")
    name = panel.meta.symbols[column]
    table = (
        read_rows(panel.folder / "quality.csv", frozenset([name]), "", "~") if panel.meta.counts else NO_ROWS
    )
    return series, table, notes
