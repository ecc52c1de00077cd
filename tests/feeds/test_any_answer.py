"""Whatever JSON a service sends: a snapshot or a named failure, never anything else."""

import contextlib
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feeds.alpha_vantage import _OTHER, _SIZES, _TEXTS, read_earnings, read_overview, told_failure
from feeds.provider import ProviderError, Snapshot
from feeds.yahoo_fundamentals import _FIGURES, _MODULES, _SERIES, read_periods, read_summary
from feeds.yahoo_fundamentals import _SIZES as _YAHOO_SIZES
from feeds.yahoo_fundamentals import _TEXTS as _YAHOO_TEXTS

LEAVES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5),
    st.sampled_from(["None", "-", "1e999", "nan", "2026-09-30", "1_0", 1e308, 10**400, -(10**400)]),
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner)),
    max_leaves=8,
)  # fmt: skip


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(names)), ANYTHING, max_size=len(names))


YAHOO_NAMES = sorted(
    {name for table in (_YAHOO_SIZES, _FIGURES, _YAHOO_TEXTS) for names in table.values() for name in names}
)
SUMMARIES = st.fixed_dictionaries({
    "quoteSummary": st.fixed_dictionaries({
        "result": st.lists(st.dictionaries(st.sampled_from(_MODULES), objects(*YAHOO_NAMES)), max_size=2)
    })
})  # fmt: skip
ENTRIES = st.lists(st.one_of(ANYTHING, objects("asOfDate", "reportedValue")), max_size=3)
SERIES_NAMES = sorted({name for names in _SERIES.values() for name in names})
PERIODS = st.fixed_dictionaries({
    "timeseries": st.fixed_dictionaries({
        "result": st.lists(st.dictionaries(st.sampled_from(SERIES_NAMES), ENTRIES), max_size=3)
    })
})  # fmt: skip
HALF_A_CHARACTER = {"quoteSummary": {"result": [{"price": {"regularMarketPrice": 1, "longName": "\ud800"}}]}}
OVERVIEWS = objects(
    *_TEXTS.values(), *_SIZES.values(), *_OTHER.values(), "EPS", "PercentInstitutions", "Note"
)
REPORTS = st.lists(
    st.one_of(ANYTHING, objects("fiscalDateEnding", "reportedDate", "reportedEPS")), max_size=3
)
EARNINGS = st.dictionaries(st.sampled_from(["quarterlyEarnings", "annualEarnings"]), REPORTS)


@settings(deadline=None)
@given(st.one_of(SUMMARIES, ANYTHING), st.one_of(PERIODS, ANYTHING))
@example({"quoteSummary": {"result": [{"price": dict.fromkeys(YAHOO_NAMES, 1e308)}]}}, None)
@example(HALF_A_CHARACTER, {"timeseries": {"result": []}})
def test_yahoo(summary: Any, periods: Any) -> None:
    with contextlib.suppress(ProviderError):
        fields = read_summary(summary, "AAA") | read_periods(periods, "AAA")
        msgspec.json.encode(Snapshot(symbol="AAA", source="yahoo", fetched_at=1, **fields))


@settings(deadline=None)
@example({"Name": "\ud800", "SharesOutstanding": "1"}, {})
@given(OVERVIEWS, st.one_of(EARNINGS, objects("quarterlyEarnings", "annualEarnings")))
def test_alpha_vantage(overview: dict[str, Any], earnings: dict[str, Any]) -> None:
    told_failure(overview, "AAA")
    fields = read_overview(overview) | read_earnings(earnings)
    msgspec.json.encode(Snapshot(symbol="AAA", source="alpha_vantage", fetched_at=1, **fields))
