"""Sectors of symbols, from a table of them or from a list of a fund's holdings.

Read are `symbol,sector[,industry][,exchange][,name]`, the S&P 500 list with its GICS columns, and iShares
holdings exports as downloaded: byte-order mark, preamble, cash and futures between the shares, a footer.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.errors import DataError
from feeds.symbols import SymbolIndex

_NAMES = {
    "symbol": ("symbol", "ticker"),
    "sector": ("sector", "gicssector"),
    "industry": ("industry", "gicssubindustry", "subindustry"),
    "exchange": ("exchange",),
    "asset_class": ("assetclass",),
}
_PREAMBLE_MAX = 50
_BLANK = ("", "-", "undefined", "none", "nan")


class SectorInfo(NamedTuple):
    """Free text, "" where unknown."""

    sector: str = ""
    industry: str = ""
    exchange: str = ""


NOTHING = SectorInfo()


def read_sectors(path: str | Path) -> dict[str, SectorInfo]:
    """Return what a file says of each symbol; the first row of a symbol counts.

    Raises DataError where there is no such file, or no line with columns for symbol and sector.
    """
    path = Path(path).expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return _collect(csv.reader(lines), path.name)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not CSV in UTF-8 ({error})") from None


def sectors_of(symbols: Sequence[str], table: Mapping[str, SectorInfo]) -> list[SectorInfo]:
    """Return the entry of each symbol however its share class is written; blank where there is none."""
    entries = list(table.values())
    index = SymbolIndex(table)
    found = [index.find(symbol) for symbol in symbols]
    return [NOTHING if i is None else entries[i] for i in found]


def _collect(rows: Iterator[list[str]], file: str) -> dict[str, SectorInfo]:
    columns = _header(rows, file)
    table: dict[str, SectorInfo] = {}
    for row in rows:
        if len(row) <= max(columns.values()):
            continue  # blank lines and the footer
        cells = {name: row[i].strip() for name, i in columns.items()}
        if cells.get("asset_class", "Equity") != "Equity" or cells["symbol"].lower() in _BLANK:
            continue
        texts = (cells.get(name, "") for name in SectorInfo._fields)
        info = SectorInfo(*("" if text.lower() in _BLANK else text for text in texts))
        table.setdefault(cells["symbol"].upper(), info)
    if not table:
        raise DataError(f"{file}: no row with a symbol below the header")
    return table


def _header(rows: Iterable[list[str]], file: str) -> dict[str, int]:
    """Return the column numbers of the header line, which may come after a preamble."""
    for n, row in enumerate(rows):
        names = ["".join(c for c in cell.lower() if c.isalnum()) for cell in row]
        columns = {
            meaning: names.index(variant)
            for meaning, variants in _NAMES.items()
            for variant in variants
            if variant in names
        }
        if {"symbol", "sector"} <= columns.keys():
            return columns
        if n >= _PREAMBLE_MAX:
            break
    raise DataError(f"{file}: no header with the columns symbol and sector; name them so")
