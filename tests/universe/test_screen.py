"""The screen: its filters against their definition, the funnel, the order."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import UniverseCriteria
from universe.screen import FILTERS, Candidate, judge, mistyped, screen

MILLION = 1e6
GOOD = Candidate(
    symbol="GOOD", sector="Technology", industry="Software", exchange="NMS", price_usd=12.0,
    market_cap_usd=900 * MILLION, average_volume=400_000.0, dollar_volume_usd=4.8 * MILLION, spread=0.01,
    float_shares=30 * MILLION,
)  # fmt: skip


def values(*levels: float) -> st.SearchStrategy[float | None]:
    return st.none() | st.sampled_from(levels) | st.floats(0, 3e9, allow_nan=False)


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        symbol=st.text("ABC", min_size=1, max_size=3),
        sector=st.sampled_from(["", "Technology", "Health Care", "Energy", "Shipping"]),
        industry=st.sampled_from(["", "Biotechnology", "Software"]),
        exchange=st.sampled_from(["", "NMS", "NYQ", "ASE", "Nyse Mkt Llc", "PNK"]),
        price_usd=values(5.0),
        market_cap_usd=values(50 * MILLION, 2000 * MILLION),
        average_volume=values(100_000.0),
        dollar_volume_usd=values(500_000.0),
        spread=st.none() | st.sampled_from([0.03]) | st.floats(0, 0.1),
        float_shares=values(10 * MILLION),
    ),
    max_size=12,
)
LIMITS: dict[str, Any] = {
    "market_cap_min": st.none() | st.just(50 * MILLION) | st.floats(0, 1e9),
    "market_cap_max": st.none() | st.just(2000 * MILLION) | st.floats(1e9, 3e9),
    "min_average_volume": st.none() | st.just(100_000.0),
    "min_daily_volume": st.none() | st.just(500_000.0) | st.floats(0, 1e9),
    "max_spread": st.none() | st.just(0.03) | st.floats(0.001, 0.1),
    "min_float": st.none() | st.just(10 * MILLION),
    "target_sectors": st.sampled_from([(), ("technology",), ("biotech",), ("HEALTHCARE", "shipping")]),
    "exchange_whitelist": st.sampled_from([(), ("NYSE",), ("nasdaq", "AMEX")]),
    "min_price": st.none() | st.just(5.0),
}
CRITERIA = st.builds(UniverseCriteria, **LIMITS)

SECTORS = {
    "Technology": "technology",
    "Health Care": "healthcare",
    "Energy": "energy",
    "Shipping": "shipping",
}
EXCHANGES = {"NMS": "nasdaq", "NYQ": "nyse", "ASE": "amex", "Nyse Mkt Llc": "amex", "PNK": "pnk"}


def first_failed(c: Candidate, k: UniverseCriteria) -> str:
    """The table of the specification, a row at a time."""

    def below(value: float | None, limit: float | None) -> bool:
        return limit is not None and (value is None or value < limit)

    if below(c.market_cap_usd, k.market_cap_min):
        return "market_cap_min"
    if k.market_cap_max is not None and (c.market_cap_usd is None or c.market_cap_usd > k.market_cap_max):
        return "market_cap_max"
    if below(c.average_volume, k.min_average_volume):
        return "min_average_volume"
    if below(c.dollar_volume_usd, k.min_daily_volume):
        return "min_daily_volume"
    if k.max_spread is not None and c.spread is not None and c.spread > k.max_spread:
        return "max_spread"
    if k.min_float is not None and c.float_shares is not None and c.float_shares < k.min_float:
        return "min_float"
    if k.target_sectors:
        sectors = {SECTORS.get(c.sector, ""), "biotech" if c.industry == "Biotechnology" else ""} - {""}
        if not sectors & {name.lower() for name in k.target_sectors}:
            return "target_sectors"
    if k.exchange_whitelist:
        wanted = {name.lower() for name in k.exchange_whitelist}
        if EXCHANGES.get(c.exchange, "") not in wanted:
            return "exchange_whitelist"
    return "min_price" if below(c.price_usd, k.min_price) else ""


@settings(deadline=None, max_examples=300)
@given(CANDIDATES, CRITERIA)
def test_a_candidate_passes_iff_it_passes_every_filter_and_the_first_failed_is_recorded(
    candidates: list[Candidate], criteria: UniverseCriteria
) -> None:
    for candidate in candidates:
        assert judge(candidate, criteria).failed == first_failed(candidate, criteria)


@settings(deadline=None)
@given(CANDIDATES, CRITERIA)
def test_the_funnel_adds_up_to_the_candidates(
    candidates: list[Candidate], criteria: UniverseCriteria
) -> None:
    done = screen(candidates, criteria)
    assert sum(step.fallen for step in done.funnel) + len(done.passed) == len(candidates)
    assert [step.filter for step in done.funnel] == list(FILTERS)
    left = len(candidates)
    for step in done.funnel:
        assert step.entered == left
        left -= step.fallen
        assert step.fallen == 0 or step.limit is not None
    assert left == len(done.passed)


@settings(deadline=None)
@given(CANDIDATES, CRITERIA)
def test_the_passed_are_in_order_of_market_cap_then_symbol(
    candidates: list[Candidate], criteria: UniverseCriteria
) -> None:
    passed = [v.candidate for v in screen(candidates, criteria).passed]
    caps = [(c.market_cap_usd if c.market_cap_usd is not None else float("inf"), c.symbol) for c in passed]
    assert caps == sorted(caps)
    assert [v.candidate for v in screen(candidates[::-1], criteria).passed] == passed or len(
        {(c.market_cap_usd, c.symbol) for c in passed}
    ) < len(passed)


@settings(deadline=None, max_examples=200)
@given(CANDIDATES, CRITERIA, st.sampled_from(sorted(FILTERS)), st.floats(1.0, 3.0))
def test_a_stricter_limit_lets_nobody_else_pass(
    candidates: list[Candidate], criteria: UniverseCriteria, name: str, factor: float
) -> None:
    limit = getattr(criteria, name)
    if limit is None:
        stricter: Any = {"market_cap_max": 1e9, "max_spread": 0.01}.get(name, 1e6)
    elif isinstance(limit, tuple):
        stricter = limit[:1] or ("technology" if name == "target_sectors" else "NYSE",)
    else:
        stricter = limit / factor if name in ("market_cap_max", "max_spread") else limit * factor
    strict = msgspec.structs.replace(criteria, **{name: stricter})
    for candidate in candidates:
        if not judge(candidate, strict).failed:
            assert not judge(candidate, criteria).failed


@pytest.mark.parametrize(
    ("field", "filter_", "passes"),
    [
        ("market_cap_usd", "market_cap_min", False), ("dollar_volume_usd", "min_daily_volume", False),
        ("spread", "max_spread", True), ("float_shares", "min_float", True),
    ],
)  # fmt: skip
def test_a_missing_value_rejects_or_passes_with_a_flag(field: str, filter_: str, passes: bool) -> None:
    verdict = judge(msgspec.structs.replace(GOOD, **{field: None}), UniverseCriteria())
    if passes:
        assert (verdict.failed, verdict.unchecked) == ("", (filter_,))
    else:
        assert (verdict.failed, verdict.missing) == (filter_, True)


def test_a_biotech_is_in_healthcare_and_names_of_any_source_will_do() -> None:
    biotech = msgspec.structs.replace(GOOD, sector="Healthcare", industry="Biotechnology")
    for wanted in ("biotech", "Health Care", "healthcare", "HEALTHCARE"):
        assert not judge(biotech, UniverseCriteria(target_sectors=(wanted,))).failed
    devices = msgspec.structs.replace(GOOD, sector="Health Care", industry="Devices")
    assert judge(devices, UniverseCriteria(target_sectors=("biotech",))).failed == "target_sectors"


def test_a_sector_or_exchange_that_nobody_can_have_meant_is_told() -> None:
    criteria = UniverseCriteria(
        target_sectors=("Technology", "Biotechnology", "Shipping", "Tech"),
        exchange_whitelist=("NMS", "NASDQ", "OTC Markets"),
    )
    candidates = [msgspec.structs.replace(GOOD, sector="shipping", exchange="OTC Markets")]
    assert mistyped(candidates, criteria) == [
        "target_sectors: no candidate is of 'Biotechnology'; unknown sector, did you mean biotech?",
        "target_sectors: no candidate is of 'Tech'; unknown sector",
        "exchange_whitelist: no candidate is on 'NASDQ'; unknown exchange",
    ]
    assert mistyped(candidates, UniverseCriteria()) == []


def test_limits_are_inclusive() -> None:
    edge = msgspec.structs.replace(
        GOOD, market_cap_usd=2000 * MILLION, dollar_volume_usd=500_000.0, spread=0.03, float_shares=1e7
    )
    assert not judge(edge, UniverseCriteria()).failed
