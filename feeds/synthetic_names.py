"""Who is listed in the synthetic market: made-up tickers with a sector, an industry and an exchange.

Tickers are pronounceable (consonant, vowel, consonant, often a last letter). None is taken from a list of
companies; where one coincides with a real ticker it is chance and means nothing.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from engine.slab import Float, Int, Universe

BENCHMARK = "SYNTH"


class Sector(NamedTuple):
    """What sets a sector apart: its share of the names, its industries, its risk and its dividends."""

    name: str
    share: float
    industries: tuple[str, ...]
    volatility: float  # multiple of the typical volatility of a single name
    payers: float  # share of the names that pay a dividend


SECTORS = (
    Sector("Basic Materials", 0.06, ("Specialty Chemicals", "Gold", "Steel"), 1.1, 0.30),
    Sector("Communication Services", 0.04, ("Telecom Services", "Electronic Gaming"), 1.1, 0.15),
    Sector("Consumer Cyclical", 0.12, ("Specialty Retail", "Restaurants", "Auto Parts"), 1.0, 0.25),
    Sector("Consumer Defensive", 0.05, ("Packaged Foods", "Household Products"), 0.8, 0.50),
    Sector("Energy", 0.07, ("Oil & Gas E&P", "Oil & Gas Equipment & Services"), 1.2, 0.35),
    Sector("Financial Services", 0.14, ("Banks - Regional", "Insurance - Specialty"), 0.7, 0.60),
    Sector("Healthcare", 0.20, ("Biotechnology", "Medical Devices", "Diagnostics & Research"), 1.1, 0.04),
    Sector("Industrials", 0.13, ("Specialty Industrial Machinery", "Aerospace & Defense"), 0.9, 0.35),
    Sector("Real Estate", 0.04, ("REIT - Retail", "REIT - Industrial"), 0.7, 0.75),
    Sector("Technology", 0.15, ("Software - Application", "Semiconductors", "Computer Hardware"), 1.1, 0.08),
)
BIOTECHNOLOGY = "Biotechnology"
_BIOTECHNOLOGY_SHARE = 0.6  # of healthcare; the other industries of a sector are equally likely
_NASDAQ_SHARE = 0.68

_FIRST, _VOWELS, _MIDDLE, _LAST = ("BDGKLMNPRSTVZ", "AEIOU", "LMNRVZ", ("", *"ADEGKLMNORTX"))
MAX_SYMBOLS = len(_FIRST) * len(_VOWELS) * len(_MIDDLE) * len(_LAST)


class Names(NamedTuple):
    """The universe, and what the generator needs to know of each name.

    sector: int64[N], index into `SECTORS`.
    volatility: float64[N], daily standard deviation of the return that is the name's own.
    """

    universe: Universe
    sector: Int
    volatility: Float


def invent_names(rng: np.random.Generator, n_symbols: int) -> Names:
    """Return `n_symbols` names in ascending order of ticker."""
    possible = sorted("".join(letters) for letters in product(_FIRST, _VOWELS, _MIDDLE, _LAST))
    chosen = np.sort(rng.choice(len(possible), n_symbols, replace=False))
    share = np.array([sector.share for sector in SECTORS])
    sector_of = rng.choice(len(SECTORS), n_symbols, p=share / share.sum())
    industries = [
        _industry(SECTORS[s], draw) for s, draw in zip(sector_of, rng.random(n_symbols), strict=True)
    ]
    nasdaq = rng.random(n_symbols) < _NASDAQ_SHARE
    risk = np.array([SECTORS[s].volatility for s in sector_of])
    risk[[industry == BIOTECHNOLOGY for industry in industries]] = 1.6
    universe = Universe(
        symbols=tuple(possible[i] for i in chosen),
        sectors=tuple(SECTORS[s].name for s in sector_of),
        industries=tuple(industries),
        exchanges=tuple("NASDAQ" if flag else "NYSE" for flag in nasdaq),
        benchmark=BENCHMARK,
    )
    return Names(
        universe, sector_of.astype(np.int64), risk * 0.024 * np.exp(rng.normal(0.0, 0.25, n_symbols))
    )


def _industry(sector: Sector, draw: float) -> str:
    if sector.industries[0] != BIOTECHNOLOGY:
        return sector.industries[int(draw * len(sector.industries))]
    if draw < _BIOTECHNOLOGY_SHARE:
        return BIOTECHNOLOGY
    rest = sector.industries[1:]
    return rest[int((draw - _BIOTECHNOLOGY_SHARE) / (1.0 - _BIOTECHNOLOGY_SHARE) * len(rest))]
