"""Sectors of symbols, from any list of companies that `feeds.holdings` reads and that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.errors import DataError
from feeds.holdings import read_holdings
from feeds.symbols import SymbolIndex


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
    held = read_holdings(path)
    if "sector" not in held.fields:
        raise DataError(f"{Path(path).name}: no column sector beside symbol; name it so")
    return {c.symbol: SectorInfo(c.sector, c.industry, c.exchange) for c in held.companies}


def sectors_of(symbols: Sequence[str], table: Mapping[str, SectorInfo]) -> list[SectorInfo]:
    """Return the entry of each symbol however its share class is written; blank where there is none."""
    entries = list(table.values())
    index = SymbolIndex(table)
    found = [index.find(symbol) for symbol in symbols]
    return [NOTHING if i is None else entries[i] for i in found]
