"""Which sectors are published, under which names, and when nothing is because too little is known."""

from hypothesis import given
from hypothesis import strategies as st

from config.settings import Validation
from feeds.holdings import Company
from feeds.provider import Dated, Snapshot
from universe.sector_metadata import ITEMS, SMALL_CAP, Wanted, coverage, sector_rows

DAY_NS = 86_400 * 10**9
NOW = 20_000 * DAY_NS


def snapshot(symbol: str, *, age_days: float = 0.0, **known: object) -> Snapshot:
    return Snapshot(symbol=symbol, source="yahoo", fetched_at=NOW - round(age_days * DAY_NS), **known)  # type: ignore[arg-type]


def full(symbol: str, age_days: float = 0.0) -> Snapshot:
    series = (Dated(period_end="2024-03-31", value=1.0),)
    return snapshot(
        symbol, age_days=age_days, sector="Health Care", industry="Biotechnology", exchange="NMS",
        market_cap=1e9, float_shares=1e7, average_volume=1e6, quarterly_eps=series, annual_eps=series,
        roe=0.1,
    )  # fmt: skip


def test_the_source_tells_the_sector_and_the_list_where_the_source_is_silent() -> None:
    wanted = [
        Wanted("sp500", Company("BIG", "Big Inc", "Information Technology")),
        Wanted(SMALL_CAP, Company("BIO", "Bio Inc", "Health Care")),
        Wanted(SMALL_CAP, Company("ABC", "Abc Inc")),
        Wanted(SMALL_CAP, Company("OIL", "", "Energy")),
    ]
    known = {"BIO": full("BIO"), "OIL": snapshot("OIL", name="Oil Co")}
    assert [tuple(row) for row in sector_rows(wanted, known)] == [
        ("BIO", "Bio Inc", "biotech", "small_cap", "2024-10-04T00:00:00Z"),
        ("OIL", "Oil Co", "energy", "small_cap", ""),
        ("BIG", "Big Inc", "technology", "sp500", ""),
    ]


def test_what_is_old_or_has_too_many_gaps_does_not_count() -> None:
    limits = Validation(min_symbols=None, min_coverage=None, max_missing_fields=0.5, max_age_days=14)
    known = {
        "NEW": full("NEW", 13.9),
        "OLD": full("OLD", 14.1),
        "HALF": snapshot("HALF", sector="Energy", exchange="NYQ", market_cap=1e9, roe=0.1),
        "POOR": snapshot("POOR", sector="Energy", exchange="NYQ", market_cap=1e9),
    }
    judged = coverage([*known, "GONE"], known, limits, now_ns=NOW)
    assert (judged.asked, judged.usable, judged.poor) == (5, 2, ("OLD", "POOR"))
    assert judged.breaches == ()
    off = Validation(min_symbols=None, min_coverage=None, max_missing_fields=None, max_age_days=None)
    assert coverage(known, known, off, now_ns=NOW).usable == 4


def test_a_breach_says_what_was_reached_and_what_was_wanted() -> None:
    limits = Validation(min_symbols=3, min_coverage=0.8)
    judged = coverage(["A", "B", "C"], {"A": full("A"), "B": full("B")}, limits, now_ns=NOW)
    assert judged.breaches == (
        "2 usable symbols, at least 3 wanted (min_symbols)",
        "66.7% of 3 symbols usable, at least 80.0% wanted (min_coverage)",
    )
    assert coverage([], {}, limits, now_ns=NOW).breaches


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, len(ITEMS))), max_size=12), st.data())
def test_stricter_limits_never_make_more_symbols_usable(
    found: list[tuple[float, int]], data: st.DataObject
) -> None:
    known = {}
    for i, (age, n) in enumerate(found):
        whole = full(f"S{i}", age)
        kept = {name: getattr(whole, name) for name in ITEMS[:n]}
        known[f"S{i}"] = snapshot(f"S{i}", age_days=age, **kept)
    days, gaps = data.draw(st.integers(2, 30)), data.draw(st.floats(0, 1))
    loose = Validation(min_symbols=None, min_coverage=None, max_age_days=days, max_missing_fields=gaps)
    strict = Validation(
        min_symbols=None, min_coverage=None, max_age_days=days - 1, max_missing_fields=gaps * 0.5
    )
    more, fewer = (coverage(known, known, limits, now_ns=NOW) for limits in (loose, strict))
    assert fewer.usable <= more.usable
    assert more.usable + len(more.poor) == len(known)
    by_hand = sum(age <= days and (len(ITEMS) - n) / len(ITEMS) <= gaps for age, n in found)
    assert more.usable == by_hand
