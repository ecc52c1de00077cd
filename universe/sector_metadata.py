"""The sector of every name of a universe, and whether enough is known of them to publish it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from config.settings import Validation
from feeds.holdings import Company
from feeds.provider import Snapshot
from risk.sectors import sector_key

SMALL_CAP = "small_cap"
# What screens, CAN SLIM and sector views need of a company
ITEMS = (
    "sector", "exchange", "market_cap", "float_shares", "average_volume", "quarterly_eps", "annual_eps",
    "roe",
)  # fmt: skip
_NS_PER_DAY = 86_400 * 10**9


class Wanted(NamedTuple):
    """A name of a universe ("small_cap" or the key of an index), as its list says."""

    universe: str
    company: Company


class SectorRow(NamedTuple):
    """One line of the sector metadata. sector: one name whatever the source calls it. fetched_at: ISO, UTC;
    of the source's answer, or "" where only the list of the universe tells the sector."""

    symbol: str
    name: str
    sector: str
    universe: str
    fetched_at: str


def sector_rows(wanted: Iterable[Wanted], known: Mapping[str, Snapshot]) -> list[SectorRow]:
    """Return a row per name whose sector is known from a source or from its list, by universe and symbol."""
    rows = []
    for universe, company in wanted:
        snapshot = known.get(company.symbol)
        fetched = ""
        sector, industry = company.sector, company.industry
        if snapshot is not None and snapshot.sector:
            sector, industry = snapshot.sector, snapshot.industry or ""
            moment = datetime.fromtimestamp(snapshot.origin("sector").fetched_at // 10**9, UTC)
            fetched = moment.isoformat().replace("+00:00", "Z")
        if sector.strip():
            name = company.name or (snapshot.name if snapshot else None) or ""
            rows.append(SectorRow(company.symbol, name, sector_key(sector, industry), universe, fetched))
    return sorted(rows, key=lambda row: (row.universe, row.symbol))


class Coverage(NamedTuple):
    """How many names were asked about, of how many enough is known, and what falls short of the limits."""

    asked: int
    usable: int
    poor: tuple[str, ...]  # known, but too old or with too many items missing
    breaches: tuple[str, ...]


def coverage(
    symbols: Iterable[str], known: Mapping[str, Snapshot], limits: Validation, *, now_ns: int
) -> Coverage:
    """Judge what is known at `now_ns` (UTC ns) of the names asked about; a limit of None is off."""
    names = sorted(set(symbols))
    poor = tuple(name for name in names if name in known and not _is_usable(known[name], limits, now_ns))
    usable = sum(name in known for name in names) - len(poor)
    share = usable / len(names) if names else 0.0
    breaches = []
    if limits.min_symbols is not None and usable < limits.min_symbols:
        breaches.append(f"{usable:,} usable symbols, at least {limits.min_symbols:,} wanted (min_symbols)")
    if limits.min_coverage is not None and share < limits.min_coverage:
        breaches.append(
            f"{share:.1%} of {len(names):,} symbols usable, at least {limits.min_coverage:.1%} wanted"
            " (min_coverage)"
        )
    return Coverage(len(names), usable, poor, tuple(breaches))


def _is_usable(snapshot: Snapshot, limits: Validation, now_ns: int) -> bool:
    age_days = (now_ns - snapshot.fetched_at) / _NS_PER_DAY
    if limits.max_age_days is not None and age_days > limits.max_age_days:
        return False
    missing = len(snapshot.missing.intersection(ITEMS)) / len(ITEMS)
    return limits.max_missing_fields is None or missing <= limits.max_missing_fields
