"""Ticks into bars: what order, repetition, delay and nonsense may not change."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.live import FeedStatus
from feeds.live_hours import TradingDay
from feeds.live_ticks import Tick, TickBars, TickRow
from tests.feeds.live_driving import utc_ns

OPEN, CLOSE = utc_ns("2024-03-11T13:30"), utc_ns("2024-03-11T20:00")
S = 10**9
WINDOW_S = 5.0
TRADING = TradingDay(OPEN)
NAMES = ("AAA", "BBB", "CCC")
Arrivals = list[tuple[int, Tick]]  # when, what


def ticks_of(seed: int, n: int = 300, seconds: int = 3_000) -> list[Tick]:
    """A made-up session's beginning: prices that wander, volumes that grow."""
    rng = random.Random(seed)
    prices, volumes = [20.0, 5.0, 300.0], [0.0, 0.0, 0.0]
    times = sorted(OPEN + rng.randrange(seconds * S) for _ in range(n))
    ticks = []
    for ts_ns in times:
        column = rng.randrange(3)
        prices[column] = round(prices[column] * rng.uniform(0.99, 1.01), 2)
        volumes[column] += rng.randrange(1, 1_000)
        ticks.append(Tick(ts_ns, column, volumes[column], prices[column]))
    return ticks


def feed(
    arrivals: Arrivals, minutes: int | None = 5, until_ns: int = OPEN + 3_600 * S
) -> tuple[list[TickRow], list[FeedStatus]]:
    bars = TickBars(NAMES, TRADING, OPEN - 60 * S, minutes=minutes, window_s=WINDOW_S)
    bars.listening(OPEN - 60 * S)
    found: list[TickRow | FeedStatus] = []
    for now_ns, tick in sorted(arrivals, key=lambda arrival: arrival[0]):
        found += bars.advance(now_ns)
        found += bars.push(tick, now_ns)
    found += bars.advance(until_ns)
    return (
        [one for one in found if isinstance(one, TickRow)],
        [one for one in found if isinstance(one, FeedStatus)],
    )


def as_bytes(rows: list[TickRow]) -> list[bytes]:
    return [row.ts_ns.to_bytes(8) + b"".join(column.tobytes() for column in row[1:]) for row in rows]


def at_once(ticks: list[Tick]) -> Arrivals:
    return [(tick.ts_ns, tick) for tick in ticks]


def test_a_bar_is_first_highest_lowest_last_and_the_growth_of_the_volume() -> None:
    ticks = [
        Tick(OPEN + 1 * S, 0, 100.0, 20.0), Tick(OPEN + 9 * S, 0, 150.0, 21.0),
        Tick(OPEN + 70 * S, 0, 180.0, 19.0), Tick(OPEN + 100 * S, 0, 200.0, 20.5),
        Tick(OPEN + 400 * S, 0, 260.0, 22.0),
    ]  # fmt: skip
    rows, told = feed(at_once(ticks))
    first = [column[0] for column in rows[0][1:]]
    assert first == [20.0, 21.0, 19.0, 20.5, 200.0]
    assert [column[0] for column in rows[1][1:]] == [22.0] * 4 + [60.0]
    assert [row.ts_ns for row in rows] == [OPEN + 300 * S, OPEN + 600 * S]
    assert np.isnan(rows[0].close[1:]).all()
    assert told == []


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_shuffling_within_the_window_and_repeating_a_third_changes_no_bit(seed: int, chance: int) -> None:
    ticks, rng = ticks_of(seed), random.Random(chance)
    delayed = [(tick.ts_ns + rng.randrange(int(WINDOW_S * S)), tick) for tick in ticks]
    repeated = [(tick.ts_ns + rng.randrange(int(WINDOW_S * S)), tick) for tick in rng.sample(ticks, 90)]
    mixed = delayed + repeated
    rng.shuffle(mixed)
    rows, told = feed(mixed)
    expected, _ = feed(at_once(ticks))
    assert as_bytes(rows) == as_bytes(expected)
    assert len(expected) == 10
    assert told == []


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(WINDOW_S, 1_000.0))
def test_a_late_tick_never_edits_a_bar_and_is_told(seed: int, delay_s: float) -> None:
    ticks = ticks_of(seed)
    chosen = ticks[len(ticks) // 2]
    late = chosen.ts_ns + round(delay_s * S)
    others = [tick for tick in ticks if tick is not chosen]
    rows, told = feed([*at_once(others), (late, chosen)])
    expected, _ = feed(at_once(others))
    assert as_bytes(rows) == as_bytes(expected)
    assert [(status.kind, status.symbol) for status in told] == [("late", NAMES[chosen.column])]


@pytest.mark.parametrize(
    "bad",
    [np.nan, np.inf, -np.inf, 0.0, -1.0, 2_000.0, 0.2, 40.0],
    ids=["nan", "inf", "-inf", "zero", "negative", "times 100", "by 100", "double"],
)
def test_an_absurd_tick_is_refused_and_leaves_no_trace(bad: float) -> None:
    ticks = [Tick(OPEN + i * 10 * S, 0, 100.0 * i, 20.0 + i / 100) for i in range(1, 20)]
    absurd = Tick(OPEN + 95 * S, 0, 950.0, bad)
    rows, told = feed(at_once([*ticks, absurd]))
    assert as_bytes(rows) == as_bytes(feed(at_once(ticks))[0])
    assert [(status.kind, status.symbol) for status in told] == [("quarantined", "AAA")]


def test_a_jump_that_the_next_tick_confirms_is_taken_whole() -> None:
    prices = [20.0, 20.1, 9.0, 9.1]
    ticks = [Tick(OPEN + (i + 1) * S, 0, 100.0 * (i + 1), price) for i, price in enumerate(prices)]
    (row,), told = feed(at_once(ticks))
    assert (row.low[0], row.close[0], row.volume[0]) == (9.0, 9.1, 400.0)
    assert told == []


def test_a_tick_of_the_future_is_refused() -> None:
    _, told = feed([(OPEN + S, Tick(OPEN + 3_600 * S, 0, 1.0, 20.0))])
    assert [status.kind for status in told] == ["quarantined"]


def test_ticks_before_the_opening_and_long_after_the_close_are_in_no_bar() -> None:
    inside = [Tick(OPEN + S, 0, 10.0, 20.0), Tick(CLOSE + 30 * S, 0, 50.0, 21.0)]  # The auction's print
    outside = [Tick(OPEN - S, 0, 5.0, 19.0), Tick(CLOSE + 90 * S, 0, 60.0, 22.0)]
    (row,), told = feed(at_once(inside + outside), minutes=None, until_ns=CLOSE + 300 * S)
    assert row.ts_ns == CLOSE
    assert [column[0] for column in row[1:]] == [20.0, 21.0, 20.0, 21.0, 50.0]
    assert told == []


def test_an_interval_that_was_not_heard_to_its_end_gives_no_row() -> None:
    ticks = at_once([Tick(OPEN + i * 60 * S, 0, 100.0 * i, 20.0) for i in range(1, 30)])
    bars = TickBars(NAMES, TRADING, OPEN - 60 * S, minutes=5, window_s=WINDOW_S)
    bars.listening(OPEN - 60 * S)
    rows = []
    for now_ns, tick in ticks:
        if now_ns == OPEN + 420 * S:
            bars.interrupted()
        if now_ns == OPEN + 480 * S:
            bars.listening(now_ns)
        rows += [one.ts_ns for one in bars.advance(now_ns) if isinstance(one, TickRow)]
        bars.push(tick, now_ns)
    assert rows == [OPEN + minutes * 60 * S for minutes in (5, 15, 20, 25)]


def test_half_a_day_ends_at_its_own_close() -> None:
    opening, early = utc_ns("2024-07-03T13:30"), utc_ns("2024-07-03T17:00")
    bars = TickBars(NAMES, TradingDay(opening), opening - S, minutes=None, window_s=WINDOW_S)
    bars.listening(opening - S)
    bars.push(Tick(opening + S, 1, 10.0, 5.0), opening + S)
    (row,) = bars.advance(early + 66 * S)
    assert isinstance(row, TickRow)
    assert row.ts_ns == early


def test_a_thousand_bad_ticks_of_a_symbol_are_told_once_an_interval() -> None:
    bad = [Tick(OPEN + i * S, 0, 1.0, -1.0) for i in range(1_000)]
    _, told = feed(at_once(bad))
    assert len(told) == 4  # 1,000 seconds are in four intervals
