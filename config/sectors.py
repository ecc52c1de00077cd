"""Names of sectors as vendors write them, in lower case, so that a mistyped limit is not silently inert."""

from __future__ import annotations

SECTOR_LIMITS = ("risk_management", "sector_limits")

KNOWN_SECTORS = (
    "biotech",
    "technology",
    "energy",
    "other",
    "basic materials",
    "communication",
    "communication services",
    "consumer cyclical",
    "consumer defensive",
    "consumer discretionary",
    "consumer staples",
    "financial services",
    "financials",
    "health care",
    "healthcare",
    "industrials",
    "information technology",
    "materials",
    "real estate",
    "utilities",
)


def sector_named(variable_key: str) -> str:
    """Return the sector meant by a part of a variable's name, which cannot hold a space."""
    spaced = variable_key.replace("_", " ")
    return spaced if spaced in KNOWN_SECTORS else variable_key


def unknown_sector(name: str) -> str | None:
    """Return the problem with a name that is nearly, but not quite, that of a sector.

    Other unfamiliar names pass: a sectors file may define its own.
    """
    if name in KNOWN_SECTORS:
        return None
    from difflib import get_close_matches

    plain = name.lower().replace("_", " ").strip()
    extended = [sector for sector in KNOWN_SECTORS if plain.startswith(sector)]
    close = get_close_matches(plain, KNOWN_SECTORS, n=1, cutoff=0.82) or extended
    return f"unknown sector, did you mean {close[0]}?" if close else None
