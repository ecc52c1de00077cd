"""Which sector limit a symbol falls under."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from config.sectors import SECTOR_ALIASES
from engine.errors import ConfigError

OTHER = "other"


@functools.cache  # A universe has thousands of names in a few dozen industries
def sector_key(sector: str, industry: str) -> str:
    """Return the name under which a symbol's exposure is limited.

    "biotech" when the industry contains that word (vendors' sectors never do), else the lower-cased
    sector, "other" when that is unknown (domain specification, section 8).
    """
    if "biotech" in industry.lower():
        return "biotech"
    key = sector.strip().lower()
    return SECTOR_ALIASES.get(key, key) or OTHER


def sector_tables(
    sectors: Sequence[str],
    industries: Sequence[str],
    limits: Mapping[str, float | None] | None,
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float64]]:
    """Return (sector names, int64[N] sector of each symbol, float64[n_sectors] limits, inf = off).

    A sector without a limit of its own has that of "other", each by itself. Raises ConfigError when
    there are limits but none for "other": an unknown sector must not pass unlimited by accident.
    """
    keys = [sector_key(s, i) for s, i in zip(sectors, industries, strict=True)]
    names = tuple(sorted(set(keys)))
    index = {name: k for k, name in enumerate(names)}
    sector_of = np.array([index[key] for key in keys], dtype=np.int64)
    if limits is None:
        return names, sector_of, np.full(len(names), np.inf)
    if OTHER not in limits:
        raise ConfigError("risk_management.sector_limits: needs a limit for 'other' (null switches it off)")
    of_sector = [limits.get(name, limits[OTHER]) for name in names]
    return names, sector_of, np.array([np.inf if v is None else v for v in of_sector])
