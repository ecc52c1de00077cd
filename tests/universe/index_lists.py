"""Lists of an index, made up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from feeds.holdings import Company
from universe.constituents import Index

SMALL = Index("small", "Small Index", "Small", (1, 1000), "IWM", "refresh-small")


def names(n: int, first: int = 0) -> list[str]:
    """Symbols of four letters."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [
        letters[i // 676 % 26] + letters[i // 26 % 26] + letters[i % 26] + "X"
        for i in range(first, first + n)
    ]


def companies(*symbols: str, **added: str) -> tuple[Company, ...]:
    """Companies; keyword arguments give those with a date of entry."""
    plain = [Company(symbol) for symbol in symbols]
    return (*plain, *(Company(symbol, added=day) for symbol, day in added.items()))


def export(
    as_of: dt.date, symbols: Iterable[str], title: str = "iShares Russell 2000 ETF", footer: bool = True
) -> bytes:
    """A holdings export as iShares writes it."""
    lines = [
        f"\ufeff{title}", f'Fund Holdings as of,"{as_of:%b %d, %Y}"', "\xa0",
        "Ticker,Name,Sector,Asset Class,Weight (%),Price,Exchange",
        *(f'"{symbol}","{symbol} INC","Industrials","Equity","0.1","10.00","NASDAQ"' for symbol in symbols),
        '"USD","USD CASH","Cash and/or Derivatives","Cash","0.1","100.00","-"',
        *(["\xa0", '"The content contained herein"'] if footer else []),
    ]  # fmt: skip
    return "\n".join(lines).encode()
