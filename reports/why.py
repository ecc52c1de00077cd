"""One symbol's life in a run, from the files of its folder: what was signalled, refused, ordered and done.

Within a day in the order in which it happens: dividends and fills at the open or inside the bar, the trades
that they ended, then what was decided at the close: signals, and what the gate made of them.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import DataError
from reports.files import text_cell

SIGNALS, REJECTIONS = "trades/signals.csv", "trades/rejections.csv"
_FILES = {  # kind: file, column of its date
    "cash flow": ("trades/cashflows.csv", "date"),
    "fill": ("trades/fills.csv", "date"),
    "trade": ("trades/trades.csv", "exit_date"),
    "signal": (SIGNALS, "date"),
    "rejected": (REJECTIONS, "date"),
    "order": ("trades/orders.csv", "date"),
}
_ORDER = {kind: i for i, kind in enumerate(_FILES)}


@dataclass(frozen=True)
class Event:
    """A row of a file, as it is there. `measurements`: the details of a signal."""

    date: str
    kind: str
    strategy: str
    row: Mapping[str, str]
    measurements: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Life:
    """symbols: all that the files name. missing: files that the folder does not hold."""

    symbol: str
    events: list[Event]
    open_positions: list[dict[str, Any]]
    symbols: frozenset[str]
    missing: list[str]

    def on(self, date: str) -> list[Event]:
        return [event for event in self.events if event.date.startswith(date)]


def read_record(directory: Path) -> dict[str, Any]:
    """Return `run.json` of a folder, {} without one."""
    path = directory / "run.json"
    if not path.is_file():
        if not (directory / SIGNALS).is_file():
            raise DataError(f"{directory}: holds no run; expected run.json and {SIGNALS}")
        return {}
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected a JSON object")
    return record


def read_life(directory: Path, symbol: str, record: Mapping[str, Any]) -> Life:
    """Return everything that the files of a run say of a symbol, in time order."""
    events: list[Event] = []
    symbols: set[str] = set()
    missing = []
    for kind, (name, date) in _FILES.items():
        path = directory / name
        if not path.is_file():
            missing.append(name)
            continue
        for row in _rows(path, symbol, symbols):
            if date not in row:
                raise DataError(f"{path}: has no column {date}")
            details = _measurements(row.pop("details", ""), path)
            events.append(Event(row[date], kind, row.get("strategy", ""), row, details))
    events.sort(key=lambda event: (event.date, _ORDER[event.kind]))
    held = [row for row in record.get("open_positions", []) if row.get("symbol") == symbol]
    return Life(symbol, events, held, frozenset(symbols), missing)


def closest(symbol: str, known: Iterable[str]) -> list[str]:
    """Return the symbols spelled most like one that is not there."""
    return difflib.get_close_matches(symbol, sorted(known), n=3, cutoff=0.5)


def told(event: Event) -> list[str]:
    """Return an event in words: one line, and one of measurements for a signal."""
    row = event.row
    if event.kind == "signal":
        stop = f", stop {_number(row.get('stop', ''))}" if row.get("stop") else ""
        line = (
            f"signal {row.get('side')} {_number(row.get('price_ref', ''))}"
            f" confidence {_number(row.get('confidence', ''))}{stop}"
        )
        values = ", ".join(f"{name} {value:.6g}" for name, value in event.measurements.items())
        return [line, *([values] if values else [])]
    if event.kind == "rejected":
        numbers = f": {row['detail']}" if row.get("detail") else ""
        return [f"refused {row.get('side')} {row.get('reason')}{numbers}"]
    if event.kind == "order":
        return [
            f"order {row.get('order_id')} {row.get('side')} {row.get('quantity')} {row.get('type')}"
            f" ({row.get('reason')}): {row.get('status')}"
        ]
    if event.kind == "fill":
        return [
            f"fill of order {row.get('order_id')}: {row.get('side')} {row.get('quantity')} at"
            f" {_number(row.get('price', ''))}, fee {row.get('fee')} ({row.get('reason')})"
        ]
    if event.kind == "cash flow":
        # What a split leaves of a share is less than one, and the file counts whole ones
        on = f" on {row.get('quantity')} shares" if _number(row.get("quantity", "")) != "0" else ""
        return [f"{row.get('kind')} {row.get('amount')}{on}"]
    r_multiple = _number(row.get("r_multiple", ""))
    return [
        f"trade from {row.get('entry_date')}: {row.get('quantity')} at {_number(row.get('entry_price', ''))}"
        f" to {_number(row.get('exit_price', ''))}, pnl {row.get('pnl')}, {r_multiple} R,"
        f" initial stop {_number(row.get('initial_stop', ''))}, ended by {row.get('exit_reason')}"
    ]


def _rows(path: Path, symbol: str, symbols: set[str]) -> list[dict[str, str]]:
    """Return the rows of a symbol; add all symbols of the file to `symbols`.

    Lines are looked through before they are parsed: a file of signals has 14 MB, a symbol a few lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from None
    header = next(csv.reader(lines[:1]), [])
    if "symbol" not in header:
        raise DataError(f"{path}: has no column symbol")
    at = header.index("symbol")
    symbols.update(cells[at] for line in lines[1:] if len(cells := line.split(",", at + 1)) > at + 1)
    cell = text_cell(symbol)
    mine = [line for line in lines[1:] if cell in line]
    rows = [dict(zip(header, cells, strict=False)) for cells in csv.reader(mine)]
    return [row for row in rows if row.get("symbol", "").removeprefix("'") == symbol]


def _measurements(cell: str, path: Path) -> dict[str, float]:
    try:
        return dict(json.loads(cell)) if cell else {}
    except ValueError:
        raise DataError(f"{path}: details must be a JSON object, was {cell[:60]!r}") from None


def _number(text: str) -> str:
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text or "-"


def strategies_of(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the strategies of a run, with their parameters."""
    found = record.get("strategies", [])
    return found if isinstance(found, list) else []
