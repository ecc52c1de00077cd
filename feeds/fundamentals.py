"""Point-in-time fundamentals: each fact with the moment from which it may be used.

Read are CSV and Parquet tables (`symbol, period_end, available_at, item, value`), the files of
`feeds.fundamentals_store`, and the JSON caches of the original tool, one per symbol, which count from their
`fetched_at` and are never back-filled. When a fact becomes visible is said in `feeds.visibility`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.facts import FACT_DTYPE, NO_FACTS, PERIOD_UNKNOWN, FactItem
from engine.slab import NS_PER_DAY, Int, Universe
from feeds.quality import COLUMNS, NO_ROWS, Quality
from feeds.symbols import SymbolIndex
from feeds.visibility import DEADLINES, Lag, moment, utc_text, visible_from

_FIELDS = ("symbol", "period_end", "available_at", "item", "value")
# Names in the JSON caches that mean something else there: their eps is of the last twelve months.
_LEGACY_NAMES = {"return_on_equity": "roe", "eps": "eps_ttm"}


@dataclass(frozen=True, eq=False)
class Facts:
    """Arrays of equal length, sorted by available_ns, then symbol, period end and item; amendments that
    became known at the same moment stay in the order of the file.

    available_ns, period_end_ns: int64 UTC ns; a period ends at midnight UTC of its last date, or is
    `PERIOD_UNKNOWN`. symbol, item: text, items in lower case. value: float64.
    """

    available_ns: Int
    period_end_ns: Int
    symbol: NDArray[np.str_]
    item: NDArray[np.str_]
    value: NDArray[np.float64]
    quality: Quality

    def __len__(self) -> int:
        return len(self.value)

    def for_universe(self, universe: Universe) -> NDArray[np.void]:
        """Return FACT_DTYPE rows of the symbols in `universe` and the items in `FactItem`, in order."""
        index = SymbolIndex(universe.symbols)
        columns = {name: index.find(name) for name in np.unique(self.symbol).tolist()}
        codes = {item.name.lower(): item.value for item in FactItem}
        rows = [
            (self.available_ns[i], self.period_end_ns[i], columns[symbol], codes[item], self.value[i])
            for i, (symbol, item) in enumerate(zip(self.symbol.tolist(), self.item.tolist(), strict=True))
            if columns[symbol] is not None and item in codes
        ]
        return np.array(rows, FACT_DTYPE) if rows else NO_FACTS.copy()


def read_facts(path: str | Path, *, strict: bool = False, lag: Lag = DEADLINES) -> Facts:
    """Return the facts of a CSV or Parquet table, a JSON cache, a store's file, or a folder of these.

    Raises DataError where a file cannot be read or lacks a column, and with `strict` on the first bad row.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in _READERS) if path.is_dir() else [path]
    if not found:
        raise DataError(f"{path}: no .json, .jsonl, .csv or .parquet file in this folder")
    rows: list[tuple[int, int, str, str, float]] = []
    bad: list[tuple[str, int, str, str, str, str]] = []
    for file in found:
        reader = _READERS.get(file.suffix.lower())
        if reader is None:
            raise DataError(f"{file}: expected .csv, .parquet, .json or .jsonl")
        _collect(file.name, reader(file, lag), lag, rows, bad)
    columns = zip(*bad, strict=True)
    table = dict(zip(COLUMNS, map(list, columns), strict=True)) if bad else NO_ROWS
    quality = Quality(table)
    if strict:
        quality.require_clean()
    rows.sort(key=lambda row: (row[0], row[2], row[1], row[3]))  # stable: file order settles the rest
    available, period, symbol, item, value = zip(*rows, strict=True) if rows else ((),) * 5
    return Facts(
        np.array(available, np.int64), np.array(period, np.int64), np.array(symbol, np.str_),
        np.array(item, np.str_), np.array(value, np.float64), quality,
    )  # fmt: skip


def _collect(
    file: str, cells: Iterator[tuple[int, Mapping[str, str]]], lag: Lag, rows: list[Any], bad: list[Any]
) -> None:
    for number, cell in cells:
        symbol, item = cell["symbol"].upper(), cell["item"].lower().replace(" ", "_")
        period = moment(cell["period_end"]) if cell["period_end"] else None
        period_ns = PERIOD_UNKNOWN if period is None else period[0] // NS_PER_DAY * NS_PER_DAY
        available = visible_from(cell["available_at"], period_ns, item, lag)
        value = _number(cell["value"])
        fault = None
        if not symbol:
            fault = "no_symbol", "the symbol is empty"
        elif not item:
            fault = "no_item", "the item is empty"
        elif cell["period_end"] and period is None:
            fault = "bad_date", f"period_end {cell['period_end']!r} is not an ISO date"
        elif available is None:
            fault = "bad_date", f"available_at {cell['available_at']!r} is no ISO date, and no period_end"
        elif value is None:
            fault = "non_finite", f"value {cell['value']!r} is no finite number"
        elif period_ns != PERIOD_UNKNOWN and available < period_ns:
            fault = "available_before_period_end", f"{cell['available_at']} < {cell['period_end']}"
        if fault is not None:
            bad.append((file, number, symbol, cell["available_at"] or cell["period_end"], *fault))
        else:
            rows.append((available, period_ns, symbol, item, value))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _csv_cells(path: Path, lag: Lag) -> Iterator[tuple[int, Mapping[str, str]]]:
    import csv

    try:
        with path.open(encoding="utf-8-sig") as lines:
            # Line by line: no cell of a fact holds a line break, and an open quote must not swallow the rest
            rows = (next(csv.reader([line]), []) for line in lines)
            columns = _columns(next(rows, []), path.name)
            for number, row in enumerate(rows, start=2):
                if any(row):
                    yield number, {n: row[i].strip() if 0 <= i < len(row) else "" for n, i in columns}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from None


def _parquet_cells(path: Path, lag: Lag) -> Iterator[tuple[int, Mapping[str, str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        text = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file ({text})") from None
    columns = _columns(table.column_names, path.name)
    cells = [table.column(i).to_pylist() if i >= 0 else [None] * table.num_rows for _, i in columns]
    for number, row in enumerate(zip(*cells, strict=True), start=1):
        texts = ("" if value is None else str(value).strip() for value in row)
        yield number, dict(zip(_FIELDS, texts, strict=True))


def _json_cells(path: Path, lag: Lag) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        cache = json.loads(path.read_text(encoding="utf-8"))
        fetched, data = cache["fetched_at"], cache["data"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: not a fundamentals cache (JSON with fetched_at and data)") from None
    for number, (name, value) in enumerate(data, start=1):
        if value is not None:
            yield number, {
                "symbol": path.stem, "period_end": "", "available_at": str(fetched),
                "item": _LEGACY_NAMES.get(name, name), "value": str(value),
            }  # fmt: skip


def _stored_cells(path: Path, lag: Lag) -> Iterator[tuple[int, Mapping[str, str]]]:
    from feeds.fundamentals_store import known_facts, read_versions

    for number, fact in enumerate(known_facts(read_versions(path), lag), start=1):
        yield number, {
            "symbol": path.stem, "period_end": fact.period_end or "", "item": fact.item,
            "available_at": utc_text(fact.available_at), "value": repr(fact.value),
        }  # fmt: skip


def _columns(names: Iterable[str], file: str) -> list[tuple[str, int]]:
    """Return each field with its column number; one of the two dates may be missing (-1)."""
    folded = [name.strip().lower().replace(" ", "_") for name in names]
    if twice := [name for name in _FIELDS if folded.count(name) > 1]:
        raise DataError(f"{file}: the column {twice[0]} is there twice; which one counts?")
    missing = [name for name in ("symbol", "item", "value") if name not in folded]
    if "period_end" not in folded and "available_at" not in folded:
        missing.append("available_at")
    if missing:
        raise DataError(
            f"{file}: no column for {', '.join(missing)} (columns: {', '.join(folded) or 'none'}); expected "
            f"{', '.join(_FIELDS)}"
        )
    return [(name, folded.index(name) if name in folded else -1) for name in _FIELDS]


_READERS = {".csv": _csv_cells, ".parquet": _parquet_cells, ".json": _json_cells, ".jsonl": _stored_cells}
