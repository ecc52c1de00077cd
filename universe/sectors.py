"""Sectors under one name, whatever a source calls them, and what has no name yet.

The mapping itself is `config.sectors` (names) and `risk.sectors.sector_key` (biotech by industry): limits,
the screen and reports all go by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from config.sectors import KNOWN_SECTORS
from risk.sectors import OTHER, sector_key


def unknown_sectors(listed: Iterable[tuple[str, str, str]]) -> dict[str, list[str]]:
    """Return {sector as written: symbols} of what has no known name, of (symbol, sector, industry); under ""
    the symbols without a sector. They count as a sector of their own, or as `other` without one."""
    found: dict[str, list[str]] = {}
    for symbol, sector, industry in listed:
        key = sector_key(sector, industry)
        if key == OTHER or key not in KNOWN_SECTORS:
            found.setdefault(sector.strip(), []).append(symbol)
    return dict(sorted(found.items()))


def is_in(sector: str, industry: str, wanted: Iterable[str]) -> bool:
    """Return whether a company belongs to one of the sectors named. A biotech is also in healthcare."""
    keys = {sector_key(name, "") for name in wanted}
    return sector_key(sector, industry) in keys or (bool(sector.strip()) and sector_key(sector, "") in keys)
