"""Held names without bars, a feed that is silent or full of holes, a monitor that lags."""

from __future__ import annotations

import pytest

from monitors.monitoring import Monitors
from monitors.view import Condition
from tests.monitors.views import labels, position, settings, view


def steps(views):
    monitors = Monitors(settings())
    return [
        (day, one.rule, one.label, one.severity)
        for day, one_view in enumerate(views)
        for one in monitors.evaluate(one_view)
        if not one.label.startswith("repeat")
    ]


def test_a_held_name_warns_after_one_session_and_is_critical_after_three():
    days = [view(day, 100, positions=(position(missed_sessions=n),)) for day, n in enumerate([0, 1, 2, 3, 0])]
    assert steps(days) == [
        (1, "stale_name", "fired", "warning"),
        (3, "stale_name", "worse-2", "critical"),
        (4, "stale_name", "resolved", "critical"),
    ]


def test_a_feed_with_holes_fires_above_five_percent_and_is_over_at_two():
    missing = [5, 6, 3, 2]
    days = [
        view(day, 100, n_expected=100, missing=tuple(f"S{i}" for i in range(n)))
        for day, n in enumerate(missing)
    ]
    # A cause is over when it has been clear for a quarter of an hour
    days.append(view(3, 100, hour=0.25, n_expected=100, missing=("S0", "S1")))
    assert steps(days) == [
        (1, "feed_missing", "fired", "critical"), (4, "feed_missing", "resolved", "critical"),
    ]  # fmt: skip


def test_a_feed_grows_from_stale_to_down():
    days = [view(day, 100, feed=state) for day, state in enumerate(["connected", "stale", "down"])]
    assert steps(days) == [(1, "feed", "fired", "warning"), (2, "feed", "worse-2", "critical")]


def test_a_feed_that_comes_and_goes_is_mailed_once_in_a_repeat_interval():
    monitors = Monitors(settings())
    mails = 0
    for minute in range(4 * 60):
        state = "down" if minute // 20 % 2 else "connected"
        mails += sum(
            one.mail for one in monitors.evaluate(view(0, 100, hour=minute / 60, seq=minute, feed=state))
        )
    assert mails == 2  # that it is down, and the first time that it was back for a quarter of an hour


def test_a_benchmark_without_a_bar_is_told_and_none_is_asked_for_without_one():
    assert steps([view(0, 100, benchmark="IWM", benchmark_present=False)]) == [
        (0, "benchmark_missing", "fired", "critical")
    ]
    assert steps([view(0, 100, benchmark="", benchmark_present=False)]) == []


def test_a_universe_that_expects_nothing_misses_nothing():
    assert steps([view(0, 100, n_expected=0)]) == []


def test_a_loop_that_lags_and_what_the_daemon_reports_are_told():
    reported = (
        Condition("monitor_degraded", "disk", "commit took 3 s"),
        Condition("suspected_split", "KRYS", "2:1"),
    )
    said = Monitors(settings()).evaluate(view(0, 100, loop_lag_ms=1_000.0, conditions=reported))
    assert labels(said) == [
        ("loop_lag", "event loop", "fired", True), ("monitor_degraded", "disk", "fired", True),
        ("suspected_split", "KRYS", "fired", True),
    ]  # fmt: skip


@pytest.mark.parametrize("lag", [999.0, 0.0])
def test_a_loop_that_keeps_up_says_nothing(lag):
    assert steps([view(0, 100, loop_lag_ms=lag)]) == []
