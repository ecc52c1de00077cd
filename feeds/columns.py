"""Which column of a price file is what, and in which basis its prices are.

Names are compared without case, spaces, underscores and angle brackets, which covers the exports of Yahoo
(`Date,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits`), Stooq (`<TICKER>,<PER>,<DATE>,<TIME>,
<OPEN>,...,<VOL>` and `Date,Open,...`) and Alpha Vantage (`timestamp,...,adjusted_close,volume,
dividend_amount,split_coefficient`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.errors import DataError

_NAMES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "date": ("date", "ts", "timestamp", "datetime", "session", "time"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
    "adj_close": ("adjclose", "adjustedclose"),
    "dividend": ("dividend", "dividends", "dividendamount"),
    "split": ("split", "splits", "splitcoefficient", "splitratio", "splitfactor"),
    "yahoo_split": ("stocksplits", "stocksplit"),
    "time": ("time",),
}
REQUIRED = ("date", "open", "high", "low", "close", "volume")
NUMBERS = ("open", "high", "low", "close", "volume", "adj_close", "dividend", "split")


class Basis(StrEnum):
    """What has already been done to the prices of a file."""

    PLAIN = "plain"  # nothing says: taken as split-adjusted
    SPLIT = "split"  # split-adjusted; adj_close or dividends tell the rest (Yahoo)
    TOTAL_RETURN = "total_return"  # dividends are in the prices already (yfinance with auto_adjust=True)
    RAW = "raw"  # as traded; splits and dividends stand beside them (Alpha Vantage)


@dataclass(frozen=True)
class Layout:
    """Columns of one file by their meaning, and the basis of its prices."""

    columns: dict[str, str]
    basis: Basis

    def has(self, name: str) -> bool:
        return name in self.columns


def find_layout(names: Sequence[str], file: str, *, needs_symbol: bool) -> Layout:
    """Return the layout of a file with these column names.

    Raises DataError naming the columns that are missing or there twice; `needs_symbol` is False where the
    file's name is the symbol.
    """
    folded = {_fold(name): name for name in reversed(names)}
    columns: dict[str, str] = {}
    for meaning, variants in _NAMES.items():
        for variant in variants:
            if variant in folded and folded[variant] not in columns.values():
                columns[meaning] = folded[variant]
                break
    for meaning, chosen in columns.items():
        alike = [name for name in names if _fold(name) == _fold(chosen)]
        if len(alike) > 1:
            shown = ", ".join(alike)
            raise DataError(f"{file}: {len(alike)} columns for {meaning} ({shown}); remove all but one")
    basis = _basis(columns)
    if "yahoo_split" in columns:
        columns.setdefault("split", columns.pop("yahoo_split"))
    required = ("symbol", *REQUIRED) if needs_symbol else REQUIRED
    missing = [name for name in required if name not in columns]
    if missing:
        raise DataError(_complaint(names, missing, file))
    return Layout(columns, basis)


def _basis(columns: dict[str, str]) -> Basis:
    if "split" in columns:
        return Basis.RAW
    if "adj_close" in columns:
        return Basis.SPLIT
    if "yahoo_split" in columns:
        return Basis.TOTAL_RETURN
    return Basis.SPLIT if "dividend" in columns else Basis.PLAIN


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _complaint(names: Sequence[str], missing: list[str], file: str) -> str:
    if len(names) == 1:
        for character, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if character in names[0]:
                return f"{file}: fields are separated by {called}, expected commas; save it comma-separated"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    text = f"{file}: no column for {', '.join(missing)} (columns: {shown or 'none'})"
    if missing == ["symbol"]:
        return f"{text}; add one, or put one file per symbol into a folder, named SYMBOL.csv"
    return f"{text}; rename or add {'it' if len(missing) == 1 else 'them'}"
