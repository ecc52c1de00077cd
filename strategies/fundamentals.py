"""Sub-scores of CAN SLIM that come from company reports, as steps in time.

Facts (`engine.facts`) are dated by when they became visible. Joining them as of every bar would cost a
search per bar; what a kernel needs is only when an answer changes. So the join happens once, here, and
gives a list of steps sorted by time that the kernel consumes with a cursor.

Earnings per share are compared as they are given: the feed states them on today's share basis.
Facts without a period end (static snapshots) count from the day they became visible; a bare EPS without
a period cannot be compared with the year before and is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.facts import PERIOD_UNKNOWN, FactItem
from engine.slab import NS_PER_DAY

QUARTER_AGE_MAX_DAYS = 200  # domain.md section 2; applies to holders of a quarter as well
YEAR_AGE_MAX_DAYS = 565  # a fiscal year is the newest until the next one is filed: a year plus the above
TOLERANCE_DAYS = 45  # how far a fiscal period may end from exactly a year (a quarter) before another
ROE_MIN = 0.17
ANNUAL_GROWTH_MIN = 0.25

EARNINGS, ANNUAL, SPONSORS = 0, 1, 2  # the C, A and I factors

# From `ns` on, `factor` of `symbol` is `score` (NaN: unavailable). `growth`: earnings year over year.
STEP_DTYPE = np.dtype(
    [
        ("ns", np.int64), ("symbol", np.int64), ("factor", np.int64), ("score", np.float64),
        ("growth", np.float64),
    ]
)  # fmt: skip

Known = dict[int, dict[int, float]]  # item -> period end (ns) -> value visible now
Answer = tuple[float, float]  # sub-score, growth
_UNAVAILABLE: Answer = (np.nan, np.nan)


def fundamental_steps(
    facts: NDArray[np.void], n_symbols: int, *, growth_threshold: float, ramp: bool
) -> NDArray[np.void]:
    """Return STEP_DTYPE rows sorted by time for FACT_DTYPE rows in any order.

    growth_threshold: growth that scores 1. ramp: score growth / threshold, clipped to [0, 1], below it.
    """

    def earnings(known: Known, now: int) -> Answer:
        return _earnings(known, now, growth_threshold, ramp)

    factors: tuple[tuple[int, tuple[FactItem, ...], int, Callable[[Known, int], Answer]], ...] = (
        (EARNINGS, (FactItem.EPS, FactItem.EARNINGS_GROWTH), QUARTER_AGE_MAX_DAYS, earnings),
        (ANNUAL, (FactItem.ANNUAL_EPS, FactItem.ROE), YEAR_AGE_MAX_DAYS, _annual),
        (SPONSORS, (FactItem.INSTITUTIONAL_HOLDERS,), QUARTER_AGE_MAX_DAYS, _sponsors),
    )
    steps: list[tuple[int, int, int, float, float]] = []
    facts = facts[np.argsort(facts["available_ns"], kind="stable")]
    facts = facts[np.isfinite(facts["value"]) & (facts["symbol"] >= 0) & (facts["symbol"] < n_symbols)]
    for factor, items, age_max_days, answer in factors:
        chosen = facts[np.isin(facts["item"], items)]
        chosen = chosen[np.argsort(chosen["symbol"], kind="stable")]
        bounds = np.flatnonzero(np.diff(chosen["symbol"])) + 1
        for rows in np.split(chosen, bounds) if len(chosen) else []:
            symbol = int(rows["symbol"][0])
            for ns, (score, growth) in _changes(rows.tolist(), age_max_days * NS_PER_DAY, answer):
                steps.append((ns, symbol, factor, score, growth))
    return np.array(sorted(steps, key=lambda step: step[:3]), STEP_DTYPE)


def _changes(
    rows: list[Any], age_max_ns: int, answer: Callable[[Known, int], Answer]
) -> list[tuple[int, Answer]]:
    """Return (time, answer) wherever a report appears or the newest one grows too old."""
    known: Known = {}
    changes = []
    for i, (available, period_end, _, item, value) in enumerate(rows):
        if period_end == PERIOD_UNKNOWN:
            if item in (FactItem.EPS, FactItem.ANNUAL_EPS):
                continue
            period_end = available
        known.setdefault(item, {})[period_end] = value  # A later version replaces an earlier one
        following = rows[i + 1][0] if i + 1 < len(rows) else None
        if following == available:
            continue
        expiries = {max(periods) + age_max_ns + 1 for periods in known.values()}
        for ns in sorted({available, *expiries}):
            if ns >= available and (following is None or ns < following):
                changes.append((ns, answer(known, ns)))
    return changes


def growth_of(value: float, before: float) -> float:
    """Return (value - before) / |before|; inf for a turnaround to a profit, -inf if both are losses."""
    if before > 0.0:
        return (value - before) / abs(before)
    return np.inf if value > 0.0 else -np.inf


def _earlier(periods: dict[int, float], period_end: int, days: int) -> int | None:
    """Return the period that ended closest to `days` before, within the tolerance."""
    target = period_end - days * NS_PER_DAY
    closest = min(periods, key=lambda period: abs(period - target))
    return closest if abs(closest - target) <= TOLERANCE_DAYS * NS_PER_DAY else None


def _fresh(period_end: int, now: int, age_max_days: int) -> bool:
    return now - period_end <= age_max_days * NS_PER_DAY


def _earnings(known: Known, now: int, threshold: float, ramp: bool) -> Answer:
    """C: growth of the newest quarter's EPS over the year before, else the vendor's figure for it."""
    quarters = known.get(FactItem.EPS, {})
    growth = np.nan
    if quarters and _fresh(newest := max(quarters), now, QUARTER_AGE_MAX_DAYS):
        before = _earlier(quarters, newest, 365)
        if before is not None:
            growth = growth_of(quarters[newest], quarters[before])
    stated = known.get(FactItem.EARNINGS_GROWTH, {})
    if np.isnan(growth) and stated and _fresh(max(stated), now, QUARTER_AGE_MAX_DAYS):
        growth = stated[max(stated)]
    if np.isnan(growth):
        return _UNAVAILABLE
    score = min(1.0, max(0.0, growth / threshold)) if ramp else float(growth >= threshold)
    return score, growth if np.isfinite(growth) else np.nan


def _annual(known: Known, now: int) -> Answer:
    """A: share of the last three fiscal years that grew by a quarter or more, halved if ROE < 17 %."""
    years = known.get(FactItem.ANNUAL_EPS, {})
    if not years or not _fresh(max(years), now, YEAR_AGE_MAX_DAYS):
        return _UNAVAILABLE
    grown = 0
    year = max(years)
    for _ in range(3):
        before = _earlier(years, year, 365)
        if before is None:
            return _UNAVAILABLE
        grown += growth_of(years[year], years[before]) >= ANNUAL_GROWTH_MIN
        year = before
    roe = known.get(FactItem.ROE, {})
    weak = bool(roe) and roe[max(roe)] < ROE_MIN
    return grown / 3.0 * (0.5 if weak else 1.0), np.nan


def _sponsors(known: Known, now: int) -> Answer:
    """I: 1 if more institutions held the stock at the end of the newest quarter than of the one before."""
    holders = known.get(FactItem.INSTITUTIONAL_HOLDERS, {})
    if not holders or not _fresh(newest := max(holders), now, QUARTER_AGE_MAX_DAYS):
        return _UNAVAILABLE
    before = _earlier(holders, newest, 91)
    if before is None:
        return _UNAVAILABLE
    return (1.0 if holders[newest] > holders[before] else 0.0), np.nan
