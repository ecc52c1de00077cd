"""Drawdown episodes against a definition written down without any state."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import snapshot
from monitors.drawdown import DrawdownTracker
from monitors.view import MICRO


def tracked(values, flows=None):
    """Return the tracker after each value, as (drawdown, episode, ended)."""
    tracker, total, seen = DrawdownTracker(), 0, []
    for i, value in enumerate(values):
        total += flows[i] if flows else 0
        tracker.update(f"day {i}", value, total, {})
        seen.append((tracker.value, tracker.episode, tracker.ended))
    return seen


def index_of(values, flows):
    """Return the growth of one dollar, flow by flow: (E_t - F_t) / E_{t-1} chained."""
    index = [1.0]
    for i in range(1, len(values)):
        index.append(index[-1] * (values[i] - flows[i]) / values[i - 1])
    return index


def slow_episode(index):
    """Return (peak, trough) positions of the last episode by looking at everything; None at the peak."""
    highest = max(index)
    peak = max(i for i, value in enumerate(index) if value >= highest)
    if peak == len(index) - 1:
        return None
    below = index[peak + 1 :]
    return peak, peak + 1 + below.index(min(below))


amounts = st.integers(1, 10**12)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_the_episode_is_that_of_the_definition(values):
    for n in range(1, len(values) + 1):
        drawdown, episode, _ = tracked([value * MICRO for value in values])[n - 1]
        expected = slow_episode(values[:n])
        if expected is None:
            assert (drawdown, episode) == (0.0, None)
            continue
        peak, trough = expected
        assert drawdown == pytest.approx(1 - values[n - 1] / values[peak], abs=1e-12)
        assert (episode.peak_session, episode.trough_session) == (f"day {peak}", f"day {trough}")
        assert (episode.peak, episode.trough) == (values[peak], values[trough])


@given(st.data())
def test_cash_flows_do_not_move_the_drawdown(data):
    n = data.draw(st.integers(2, 25))
    returns = data.draw(st.lists(st.floats(0.5, 1.8), min_size=n, max_size=n))
    flows = data.draw(st.lists(st.integers(-(10**9), 10**12), min_size=n, max_size=n))
    values, paid = [10**12], [0]
    for growth, flow in zip(returns, flows, strict=True):
        grown = round(values[-1] * growth)
        flow = max(flow, 10**6 - grown)  # Something stays
        values.append(grown + flow)
        paid.append(flow)
    index = index_of(values, paid)
    for i, (drawdown, _, _) in enumerate(tracked(values, paid)):
        assert drawdown == pytest.approx(1 - index[i] / max(index[: i + 1]), abs=1e-9)


def test_peak_and_trough_are_told_in_the_money_that_is_there_now():
    drawdown = DrawdownTracker()
    for session, equity, flow in (("1", 100, 0), ("2", 80, 0), ("3", 160, 80), ("4", 180, 80)):
        drawdown.update(session, equity * MICRO, flow * MICRO, {})
    assert drawdown.value == pytest.approx(0.1)
    assert (drawdown.episode.peak, drawdown.episode.trough) == pytest.approx((200.0, 160.0))


def test_an_episode_ends_with_the_first_value_at_the_peak():
    seen = tracked([100 * MICRO, 80 * MICRO, 70 * MICRO, 70 * MICRO, 90 * MICRO, 100 * MICRO, 100 * MICRO])
    ended = [episode for _, _, episode in seen]
    assert ended[:5] == [None] * 5
    assert (ended[5].peak_session, ended[5].trough_session, ended[5].recovery_session) == (
        "day 0", "day 2", "day 5",
    )  # fmt: skip
    assert ended[5].depth == pytest.approx(0.3)
    assert ended[6] is None


@given(st.lists(st.tuples(amounts, st.integers(-(10**6), 10**6)), min_size=1, max_size=20))
def test_the_same_close_again_changes_nothing(closes):
    tracker, total = DrawdownTracker(), 0
    for i, (value, flow) in enumerate(closes):
        total += flow
        tracker.update(f"day {i}", value, total, {"A": value})
        before = tracker.state()
        tracker.update(f"day {i}", value, total, {"A": value})
        assert tracker.state() == before


@given(st.lists(amounts, min_size=2, max_size=20), st.data())
def test_a_restored_tracker_goes_on_as_if_it_had_never_stopped(values, data):
    cut = data.draw(st.integers(0, len(values)))
    whole, first = DrawdownTracker(), DrawdownTracker()
    for i, value in enumerate(values):
        whole.update(f"day {i}", value, 0, {"A": -value})
    for i, value in enumerate(values[:cut]):
        first.update(f"day {i}", value, 0, {"A": -value})
    second = DrawdownTracker()
    second.restore(snapshot.decode(snapshot.encode(first.state())))
    for i, value in enumerate(values[cut:], cut):
        second.update(f"day {i}", value, 0, {"A": -value})
    assert second.state() == whole.state()


def test_what_is_withdrawn_and_comes_back_is_no_loss():
    seen = tracked([100 * MICRO, 90 * MICRO, 0, 0, 45 * MICRO], [0, 0, -90 * MICRO, 0, 90 * MICRO])
    assert [round(drawdown, 9) for drawdown, _, _ in seen[:4]] == [0.0, 0.1, 0.1, 0.1]


def test_new_money_after_a_total_loss_starts_a_new_portfolio():
    seen = tracked([100 * MICRO, -5 * MICRO, 50 * MICRO, 40 * MICRO], [0, 0, 55 * MICRO, 0])
    assert seen[1][0] > 1.0
    assert seen[2][0] == 0.0
    assert seen[2][2].recovery_session is None
    assert seen[3][0] == pytest.approx(0.2)


def test_contributors_are_what_lost_most_since_the_peak_worst_first():
    tracker = DrawdownTracker()
    tracker.update("a", 100 * MICRO, 0, {"OLD": -50 * MICRO, "UP": 0, "FLAT": 5})
    now = {"OLD": -50 * MICRO, "UP": 9 * MICRO, "FLAT": 5, **{f"S{i}": -i * MICRO for i in range(1, 8)}}
    tracker.update("b", 90 * MICRO, 0, now)
    lost = tracker.contributors(now)
    assert [(one.symbol, one.amount_usd) for one in lost] == [
        ("S7", -7.0), ("S6", -6.0), ("S5", -5.0), ("S4", -4.0), ("S3", -3.0),
    ]  # fmt: skip


def test_nothing_is_lost_before_the_first_money():
    tracker = DrawdownTracker()
    tracker.update("a", 0, 0, {})
    assert (tracker.value, tracker.episode) == (0.0, None)
    assert math.isfinite(tracker.value)
