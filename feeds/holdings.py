"""Lists of companies in files: holdings exports of a fund, constituents of an index, a user's own candidates.

Read are iShares exports as downloaded (byte-order mark, preamble, cash and futures between the shares,
footer), the S&P 500 list with its GICS columns, and any CSV with a column `symbol` or `ticker`.

1. A row is a company or is left out with a reason; none is dropped without one.
2. A fund also holds what no index has: cash, futures, and what remains of companies that are gone (rights,
   escrows, shares without market or price). Those are left out, and an export without the columns that tell
   them is refused.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import DataError

_NAMES = {
    "symbol": ("symbol", "ticker"),
    "name": ("name", "security", "company"),
    "sector": ("sector", "gicssector"),
    "industry": ("industry", "gicssubindustry", "subindustry"),
    "exchange": ("exchange",),
    "added": ("dateadded", "datefirstadded", "added"),
    "asset_class": ("assetclass",),
    "price": ("price",),
}
_OF_EXPORTS = {"asset_class": "Asset Class", "price": "Price", "exchange": "Exchange"}
_PREAMBLE_ROWS_MAX = 50
_BLANK = ("", "-", "undefined", "none", "nan", "n/a")
_SYMBOL = re.compile(r"[A-Z][A-Z0-9]{0,5}([./ -][A-Z]{1,2})?$")
_UNLISTED = ("no market", "non-nms", "-")
_RIGHT = re.compile(r"\b(CVR|RIGHTS?|WARRANTS?|ESCROW|PRVT)$", re.IGNORECASE)
# iShares runs the class into the symbol. Most tickers that end in A or B mean no class (ALTA, VIA), and on
# Nasdaq the class is part of the ticker (RUSHA), so that only a list can tell.
_CLASSES = {
    symbol: f"{symbol[:-1]}.{symbol[-1]}"
    for symbol in (
        "AKOA", "AKOB", "BFA", "BFB", "BHA", "BRKA", "BRKB", "CRDA", "CRDB", "CWENA", "GEFB", "GTNA", "HEIA",
        "HVTA", "LENB", "LGFA", "LGFB", "MKCV", "MOGA", "MOGB", "STZB", "TAPA", "UHALB", "WSOB",
    )
}  # fmt: skip


class Company(NamedTuple):
    """One row that counts. Text is free, "" where unknown. added: ISO date of its entry into the index."""

    symbol: str
    name: str = ""
    sector: str = ""
    industry: str = ""
    exchange: str = ""
    added: str = ""


class LeftOut(NamedTuple):
    """A row that does not count: its line in the file, what it says, and why not."""

    line: int
    symbol: str
    name: str
    why: str


@dataclass(frozen=True)
class Holdings:
    """What a file says. title, as_of: of the preamble, "" and None without one.

    cut_short: where the file ends too early, "" for a whole one. fields: the columns that it has.
    """

    title: str
    as_of: dt.date | None
    companies: tuple[Company, ...]
    left_out: tuple[LeftOut, ...]
    cut_short: str
    fields: frozenset[str]


def read_holdings(path: str | Path) -> Holdings:
    """Return the companies of a file. Raises DataError where there is none, or no list in it."""
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_holdings(content, path.name)


def parse_holdings(content: bytes, file: str) -> Holdings:
    """Return the companies of a file's content; `file` names it in errors (DataError)."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not CSV in UTF-8 ({error})") from None
    if text.lstrip()[:1] == "<":
        raise DataError(f"{file}: a web page, expected CSV; has the address of the list changed?")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)  # Names hold what str.splitlines parts
    try:
        return _collect(reader, file)
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: not CSV ({error})") from None


def _collect(reader: Any, file: str) -> Holdings:
    preamble, n_cells, columns = _header(reader, file)
    title, as_of = _about(preamble, file)
    untold = [column for name, column in _OF_EXPORTS.items() if name not in columns]
    if as_of is not None and untold:
        raise DataError(f"{file}: an export without the column {untold[0]}; has it been renamed?")
    companies: dict[str, Company] = {}
    left_out: list[LeftOut] = []
    cut_short = "" if as_of is None else "there is no footer below the table"
    width = max(columns.values()) + 1
    for row in reader:
        if not any(cell.strip() for cell in row):
            if as_of is None:
                continue
            cut_short = ""  # A blank line parts the table of an export from its footer
            break
        line = reader.line_num
        cell = {name: row[i].strip() if i < len(row) else "" for name, i in columns.items()}
        if len(row) < width:
            cut_short = f"line {line} has {len(row)} cells, expected {width}"
            left_out.append(LeftOut(line, cell["symbol"], cell.get("name", ""), "the line is cut short"))
            continue
        fault = _fault(cell)
        symbol = _CLASSES.get(cell["symbol"].upper(), cell["symbol"].upper())
        if not fault and symbol in companies:
            fault = "the symbol came before"
        if fault:
            left_out.append(LeftOut(line, cell["symbol"], cell.get("name", ""), fault))
            continue
        cut_short = cut_short if as_of is not None else ""  # A whole line follows: that one was merely bad
        if as_of is None and len(row) < n_cells:  # Whole as far as it is read; it may be the last
            cut_short = f"line {line} has {len(row)} cells, expected {n_cells}"
        texts = (_text(cell.get(name, "")) for name in Company._fields[1:])
        companies[symbol] = Company(symbol, *texts)
    if not companies:
        raise DataError(f"{file}: no row with a symbol below the header")
    return Holdings(title, as_of, tuple(companies.values()), tuple(left_out), cut_short, frozenset(columns))


def _header(reader: Iterable[list[str]], file: str) -> tuple[list[list[str]], int, dict[str, int]]:
    """Return what comes before the header line, the cells of the header, and the numbers of known columns."""
    preamble: list[list[str]] = []
    for row in reader:
        names = ["".join(c for c in cell.lower() if c.isalnum()) for cell in row]
        columns = {
            meaning: names.index(variant)
            for meaning, variants in _NAMES.items()
            for variant in variants
            if variant in names
        }
        if "symbol" in columns:
            return preamble, len(row), columns
        preamble.append(row)
        if len(preamble) > _PREAMBLE_ROWS_MAX:
            break
    raise DataError(f"{file}: no header with a column symbol or ticker; name it so")


def _about(preamble: list[list[str]], file: str) -> tuple[str, dt.date | None]:
    """Return the title of an export and the date of its holdings."""
    for row in preamble:
        if len(row) > 1 and row[0].strip().lower().startswith("fund holdings as of"):
            for pattern in ("%b %d, %Y", "%B %d, %Y"):
                try:
                    as_of = dt.datetime.strptime(row[1].strip(), pattern).date()  # noqa: DTZ007 - a date
                except ValueError:
                    continue
                return next(first[0].strip() for first in preamble if first and first[0].strip()), as_of
            raise DataError(f"{file}: holdings as of {row[1]!r}, expected a date such as May 13, 2025")
    return "", None


def _fault(cell: dict[str, str]) -> str:
    """Return why a row is no listed company, "" for one that is."""
    asset, symbol, exchange = cell.get("asset_class", "Equity"), cell["symbol"], cell.get("exchange", "")
    if asset != "Equity":
        return f"no share: {asset.lower()}"
    if symbol.lower() in _BLANK:
        return f"no symbol: {symbol!r}"
    if not _SYMBOL.match(symbol.upper()):
        return f"no symbol of a share: {symbol!r}"
    if "asset_class" in cell and exchange.lower().startswith(_UNLISTED):
        return f"not listed: {exchange}"
    if _RIGHT.search(cell.get("name", "")):
        return "a right, no share"
    if "asset_class" in cell and cell.get("price") in ("0.00", "-"):
        return "no price"
    return ""


def _text(cell: str) -> str:
    return "" if cell.lower() in _BLANK else cell
