"""The names that sector limits go by: a limit under a mistyped or foreign name would be silently inert."""

from __future__ import annotations

SECTOR_LIMITS = ("risk_management", "sector_limits")

KNOWN_SECTORS = (
    "biotech",
    "technology",
    "energy",
    "other",
    "basic materials",
    "communication services",
    "consumer cyclical",
    "consumer defensive",
    "financial services",
    "healthcare",
    "industrials",
    "real estate",
    "utilities",
)

# What GICS, iShares and Alpha Vantage call them. Yahoo's own names, in lower case, are the known ones.
SECTOR_ALIASES = {
    "communication": "communication services",
    "consumer discretionary": "consumer cyclical",
    "consumer staples": "consumer defensive",
    "finance": "financial services",
    "financial": "financial services",
    "financials": "financial services",
    "health care": "healthcare",
    "information technology": "technology",
    "life sciences": "healthcare",
    "materials": "basic materials",
    "real estate & construction": "real estate",
    "telecommunication services": "communication services",
}


def sector_named(variable_key: str) -> str:
    """Return the sector meant by a part of a variable's name, which cannot hold a space."""
    spaced = variable_key.replace("_", " ")
    return spaced if spaced in KNOWN_SECTORS or spaced in SECTOR_ALIASES else variable_key


def unknown_sector(name: str) -> str | None:
    """Return the problem with a name that is nearly, but not quite, that of a sector.

    Other unfamiliar names pass: a sectors file may define its own.
    """
    if name in KNOWN_SECTORS:
        return None
    from difflib import get_close_matches

    plain = name.lower().replace("_", " ").strip()
    meant = [SECTOR_ALIASES[plain]] if plain in SECTOR_ALIASES else []
    meant += [sector for sector in KNOWN_SECTORS if plain.startswith(sector)]
    meant += get_close_matches(plain, KNOWN_SECTORS, n=1, cutoff=0.82)
    return f"unknown sector, did you mean {meant[0]}?" if meant else None
