"""The weights of a benchmark's sectors: a fund's holdings, or a table of sectors.

Read are iShares holdings exports as downloaded, `symbol,sector,weight` and `sector,weight`, both with an
optional `date`. Weights may be shares or per cent; those of each date are scaled to add up to 1. Rows that
are no shares of a company (cash, futures) are left out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from engine.errors import DataError

_NAMES = {
    "symbol": ("symbol", "ticker"),
    "sector": ("sector", "gicssector"),
    "weight": ("weight",),
    "date": ("date", "asof"),
    "asset_class": ("assetclass",),
}
_PREAMBLE_MAX = 50
_AS_OF = "fund holdings as of"
_BLANK = ("", "-", "cash", "cash and/or derivatives", "undefined", "none")


class Holding(NamedTuple):
    """symbol: "" in a table of sectors."""

    symbol: str
    sector: str
    weight: float


class BenchmarkWeights(NamedTuple):
    """Holdings by date, ascending; the only key is None in a file that names no date."""

    name: str
    holdings: dict[date | None, list[Holding]]

    @property
    def by_name(self) -> bool:
        """Whether the weight of each company is known, not of sectors alone."""
        return any(each.symbol for rows in self.holdings.values() for each in rows)


def read_weights(path: Path) -> BenchmarkWeights:
    """Return what a file says. Raises DataError, in one line, for one that says nothing of weights."""
    try:
        with path.expanduser().open(encoding="utf-8-sig", newline="") as lines:
            found = _collect(csv.reader(lines), path.name)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not CSV in UTF-8 ({error})") from None
    dated: list[date | None] = [*sorted(when for when in found if when is not None)]
    if len(dated) not in (0, len(found)):
        raise DataError(f"{path}: some rows have a date and others have none")
    return BenchmarkWeights(path.name, {when: _scaled(found[when]) for when in (dated or [None])})


def _collect(rows: Iterator[list[str]], file: str) -> dict[date | None, list[Holding]]:
    columns, as_of, header = _header(rows, file)
    found: dict[date | None, list[Holding]] = {}
    for n, row in enumerate(rows, header + 1):
        if len(row) <= max(columns.values()):
            continue  # blank lines and the footer
        cells = {name: row[i].strip() for name, i in columns.items()}
        if cells.get("asset_class", "Equity") != "Equity" or cells["sector"].lower() in _BLANK:
            continue
        when = _date(cells["date"], f"{file}:{n}") if "date" in columns else as_of
        weight = _number(cells["weight"], f"{file}:{n}")
        found.setdefault(when, []).append(Holding(cells.get("symbol", "").upper(), cells["sector"], weight))
    if not any(each.weight > 0 for rows_ in found.values() for each in rows_):
        raise DataError(f"{file}: no row with a sector and a weight below the header")
    return found


def _header(rows: Iterator[list[str]], file: str) -> tuple[dict[str, int], date | None, int]:
    """Return the column numbers, the date of a preamble, and the number of the header's line."""
    as_of = None
    for n, row in enumerate(rows, 1):
        names = ["".join(c for c in cell.lower() if c.isalnum()) for cell in row]
        columns = {
            meaning: names.index(variant)
            for meaning, variants in _NAMES.items()
            for variant in variants
            if variant in names
        }
        if {"sector", "weight"} <= columns.keys():
            return columns, as_of, n
        if len(row) > 1 and row[0].strip().lower() == _AS_OF:
            as_of = datetime.strptime(row[1].strip(), "%b %d, %Y").date()  # noqa: DTZ007
        if n >= _PREAMBLE_MAX:
            break
    raise DataError(f"{file}: no header with the columns sector and weight; name them so")


def _scaled(rows: list[Holding]) -> list[Holding]:
    total = sum(each.weight for each in rows)
    return [each._replace(weight=each.weight / total) for each in rows]


def _number(text: str, where: str) -> float:
    try:
        value = float(text.replace(",", "").removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise DataError(f"{where}: weight must be a number >= 0, was {text!r}")
    return value


def _date(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise DataError(f"{where}: date must be such as 2020-01-31, was {text!r}") from None
