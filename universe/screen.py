"""The screen: which candidates pass every filter, and at which one each of the others fell.

Filters, their order and what happens to a missing value are those of the domain specification, section 12;
`min_average_volume` and `min_price`, off unless set, stand where the original's users look for them.

1. A candidate passes iff it passes every filter that is on; the first that it fails is recorded.
2. Fallen at each filter and passed add up to the candidates.
3. Making a limit stricter never lets a further candidate pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from config.sectors import KNOWN_SECTORS, unknown_sector
from config.settings import UniverseCriteria
from feeds.exchanges import EXCHANGES, exchange_key
from risk.sectors import sector_key
from universe.sectors import is_in


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a company at the moment of the screen; None: not known.

    average_volume in shares a day; spread: (ask - bid) / mid, or its estimate from highs and lows
    (`spread_source` "quote" or "estimate"). known_at: UTC ns of the oldest figure used, None for none.
    """

    symbol: str
    name: str = ""
    sector: str = ""
    industry: str = ""
    exchange: str = ""
    price_usd: float | None = None
    market_cap_usd: float | None = None
    average_volume: float | None = None
    dollar_volume_usd: float | None = None
    spread: float | None = None
    spread_source: str = ""
    float_shares: float | None = None
    known_at: int | None = None
    sources: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """failed: the first filter that the candidate failed, "" for one that passes; missing: because nothing
    is known. unchecked: filters that passed it because nothing is known."""

    candidate: Candidate
    failed: str = ""
    missing: bool = False
    unchecked: tuple[str, ...] = ()


class Step(NamedTuple):
    """One filter of the funnel. limit None: off. missing: of the fallen, those without a value."""

    filter: str
    limit: Any
    entered: int
    fallen: int
    missing: int
    unchecked: int


class _Filter(NamedTuple):
    value: Callable[[Candidate], Any]  # None: not known
    passes: Callable[[Any, Any], bool]  # value, limit
    missing_passes: bool = False


def _at_least(value: float, limit: float) -> bool:
    return value >= limit


def _at_most(value: float, limit: float) -> bool:
    return value <= limit


def _in_sectors(value: tuple[str, str], wanted: tuple[str, ...]) -> bool:
    return is_in(*value, wanted)


def _on_exchanges(value: str, wanted: tuple[str, ...]) -> bool:
    return exchange_key(value) in {exchange_key(name) for name in wanted}


def _sector(candidate: Candidate) -> tuple[str, str] | None:
    return (candidate.sector, candidate.industry) if candidate.sector or candidate.industry else None


FILTERS: Mapping[str, _Filter] = {
    "market_cap_min": _Filter(lambda c: c.market_cap_usd, _at_least),
    "market_cap_max": _Filter(lambda c: c.market_cap_usd, _at_most),
    "min_average_volume": _Filter(lambda c: c.average_volume, _at_least),
    "min_daily_volume": _Filter(lambda c: c.dollar_volume_usd, _at_least),
    "max_spread": _Filter(lambda c: c.spread, _at_most, missing_passes=True),
    "min_float": _Filter(lambda c: c.float_shares, _at_least, missing_passes=True),
    "target_sectors": _Filter(_sector, _in_sectors),
    "exchange_whitelist": _Filter(lambda c: c.exchange or None, _on_exchanges),
    "min_price": _Filter(lambda c: c.price_usd, _at_least),
}


def judge(candidate: Candidate, criteria: UniverseCriteria) -> Verdict:
    """Return whether a candidate passes, and the first filter that it fails."""
    unchecked: list[str] = []
    for name, check in FILTERS.items():
        limit = getattr(criteria, name)
        if limit is None or limit == ():
            continue
        value = check.value(candidate)
        if value is None and check.missing_passes:
            unchecked.append(name)
        elif value is None or not check.passes(value, limit):
            return Verdict(
                candidate=candidate, failed=name, missing=value is None, unchecked=tuple(unchecked)
            )
    return Verdict(candidate=candidate, unchecked=tuple(unchecked))


def mistyped(candidates: Iterable[Candidate], criteria: UniverseCriteria) -> list[str]:
    """Return a remark on every sector and exchange asked for that neither has a common name nor is that of a
    candidate: with it the filter is stricter than was meant."""
    known = list(candidates)
    remarks = []
    for name in criteria.target_sectors:
        if sector_key(name, "") in KNOWN_SECTORS or any(is_in(c.sector, c.industry, (name,)) for c in known):
            continue
        why = unknown_sector(name.strip().lower()) or "unknown sector"
        remarks.append(f"target_sectors: no candidate is of {name!r}; {why}")
    for name in criteria.exchange_whitelist:
        key = exchange_key(name)
        if key not in EXCHANGES and all(exchange_key(c.exchange) != key for c in known):
            remarks.append(f"exchange_whitelist: no candidate is on {name!r}; unknown exchange")
    return remarks


class Screened(NamedTuple):
    """passed: by market cap, then symbol, ascending; those without a market cap last. fallen: by symbol."""

    passed: tuple[Verdict, ...]
    fallen: tuple[Verdict, ...]
    funnel: tuple[Step, ...]


def screen(candidates: Iterable[Candidate], criteria: UniverseCriteria) -> Screened:
    """Judge every candidate and count where they fell."""
    verdicts = [judge(candidate, criteria) for candidate in candidates]
    passed = sorted((v for v in verdicts if not v.failed), key=_rank)
    fallen = sorted((v for v in verdicts if v.failed), key=lambda v: v.candidate.symbol)
    funnel = []
    left = len(verdicts)
    for name in FILTERS:
        limit = getattr(criteria, name)
        here = [v for v in fallen if v.failed == name]
        missing, unchecked = sum(v.missing for v in here), sum(name in v.unchecked for v in verdicts)
        funnel.append(Step(name, None if limit == () else limit, left, len(here), missing, unchecked))
        left -= len(here)
    return Screened(tuple(passed), tuple(fallen), tuple(funnel))


def _rank(verdict: Verdict) -> tuple[bool, float, str]:
    cap = verdict.candidate.market_cap_usd
    return cap is None, cap or 0.0, verdict.candidate.symbol
