"""When alerts fire, grow worse, end and are told: domain specification, section 11."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from config.settings import RiskManagement, Settings
from engine import snapshot
from engine.errors import ConfigError
from monitors.alerts import alert_key
from monitors.monitoring import Monitors, drawdown_levels
from monitors.view import Account, Condition
from tests.monitors.views import DAY_NS, HOUR_NS, START_NS, labels, position, settings, view


def run(values, monitors=None, **changes):
    """Return (day, transition) of a drawdown along daily equity."""
    monitors = monitors or Monitors(settings(**changes))
    return [(day, one) for day, value in enumerate(values) for one in monitors.evaluate(view(day, value))]


def of(said, *kinds):
    return [(day, one.label, one.mail) for day, one in said if one.label.rstrip("0123456789-") in kinds]


def test_every_drawdown_level_is_told_once_per_episode():
    said = run([100, 89, 84, 89, 84, 79, 74, 69, 74, 79, 69])
    assert of(said, "fired", "worse") == [
        (1, "fired", True), (2, "worse-2", True), (5, "worse-3", True), (6, "worse-4", True),
        (7, "worse-5", True),
    ]  # fmt: skip
    assert [one.severity for _, one in said if one.label in ("fired", "worse-2", "worse-3", "worse-4")] == [
        "warning", "warning", "critical", "critical",
    ]  # fmt: skip


def test_a_level_is_reached_by_its_own_value():
    ((_, one),) = run([100, 90])
    assert (one.label, one.threshold) == ("fired", 0.1)


@pytest.mark.parametrize(("equity", "over"), [(92.9, False), (93.0, True)])
def test_a_drawdown_is_over_three_points_above_its_level(equity, over):
    said = run([100, 89, equity])
    assert bool(of(said, "resolved")) == over


def test_levels_go_on_in_steps_beyond_the_last():
    assert drawdown_levels(Settings().monitoring)[:5] == (0.10, 0.15, 0.20, 0.25, 0.30)
    assert drawdown_levels(Settings().monitoring)[-1] == 0.95


def test_what_fires_again_within_a_week_is_recorded_and_not_mailed():
    said = run([100, 89, 95, 89, 95, 100, 100, 100, 89])
    assert of(said, "fired") == [(1, "fired", True), (3, "fired", False), (8, "fired", True)]
    assert "7 days" in next(one.held_back for day, one in said if day == 3)


def test_what_fires_again_worse_is_mailed_at_once():
    assert of(run([100, 89, 95, 84]), "fired") == [(1, "fired", True), (3, "fired", True)]


def test_what_was_not_mailed_is_told_when_its_pause_is_over_and_it_is_still_open():
    said = run([100, 89, 95, *[89] * 8])
    assert of(said, "fired", "repeat")[:3] == [(1, "fired", True), (3, "fired", False), (8, "repeat-1", True)]


def test_an_end_is_mailed_only_if_the_beginning_was():
    said = run([100, 89, 95, 89, 95])
    assert of(said, "resolved") == [(2, "resolved", True), (4, "resolved", False)]


@given(st.lists(st.floats(40, 110), min_size=1, max_size=30))
def test_the_same_day_twice_says_nothing_new(values):
    monitors = Monitors(settings())
    for day, value in enumerate(values):
        one = view(day, value, positions=(position(value_usd=20.0),))
        monitors.evaluate(one)
        assert monitors.evaluate(one) == []


views = st.builds(
    lambda equity, share, mark_known, missed, feed, absent: (equity, share, mark_known, missed, feed, absent),
    st.one_of(st.none(), st.floats(-10, 200)),
    st.floats(0, 1.5),
    st.booleans(),
    st.integers(0, 4),
    st.sampled_from(["connected", "connected", "stale", "down"]),
    st.integers(0, 20),
)


def made(day, parts):
    equity, share, known, missed, feed, absent = parts
    held = position(
        value_usd=(equity or 1) * share, mark_usd=(equity or 1) * share / 100 if known else math.nan,
        stop_usd=0.4, missed_sessions=missed,
    )  # fmt: skip
    account = Account("trend", "active", round((equity or 0) * 1e6), 10**8)
    return view(
        day // 3, equity, hour=day % 3, seq=day, positions=(held,), feed=feed, n_expected=100,
        missing=tuple(f"S{i}" for i in range(absent)), accounts=(account,),
        regime="bear" if absent > 15 else "bull", benchmark="IWM", benchmark_present=known,
    )  # fmt: skip


@given(st.lists(views, min_size=1, max_size=25), st.data())
def test_restarted_anywhere_it_says_the_same_under_the_same_keys(parts, data):
    cuts = data.draw(st.sets(st.integers(0, len(parts)), max_size=3))
    whole, parted = Monitors(Settings()), Monitors(Settings())
    for i, one in enumerate(parts):
        if i in cuts:
            fresh = Monitors(Settings())
            fresh.restore(snapshot.decode(snapshot.encode(parted.state())))
            parted = fresh
        # Equal to the last bit; NaN is not equal to itself
        assert repr(parted.evaluate(made(i, one))) == repr(whole.evaluate(made(i, one)))
    assert repr(parted.state()) == repr(whole.state())


@given(st.lists(views, min_size=1, max_size=40))
def test_no_notification_is_made_twice(parts):
    monitors = Monitors(Settings())
    keys = [one.notif_key for i, part in enumerate(parts) for one in monitors.evaluate(made(i, part))]
    assert len(keys) == len(set(keys))


@given(st.lists(st.floats(1, 120), min_size=2, max_size=60))
def test_every_level_passed_in_an_episode_is_told_in_ascending_order(values):
    said = [one for _, one in run(values) if one.rule == "drawdown"]
    by_alert = {}
    for one in said:
        by_alert.setdefault(one.key, []).append(one)
    for steps in by_alert.values():
        assert steps[0].label == "fired"
        told = [one.threshold for one in steps if one.label == "fired" or one.label.startswith("worse")]
        assert all(low < high for low, high in pairwise(told))
        assert [one.label for one in steps].count("resolved") <= 1
    highest, deepest = 0.0, 0.0
    for value in values:
        highest = max(highest, value)
        deepest = max(deepest, 1 - value / highest)
    passed = [level for level in drawdown_levels(Settings().monitoring) if deepest >= level - 1e-9]
    assert max((one.threshold for one in said), default=0.0) == (passed[-1] if passed else 0.0)


def test_an_episode_is_numbered_by_the_journal_and_not_by_the_clock():
    def keys(shift_ns):
        monitors = Monitors(settings(), "fund")
        days = [view(day, value) for day, value in enumerate([100, 89, 95, 89])]
        days = [one._replace(now_ns=one.now_ns + shift_ns, ts_ns=one.ts_ns + shift_ns) for one in days]
        return [one.notif_key for one_view in days for one in monitors.evaluate(one_view)]

    assert keys(0) == keys(17 * HOUR_NS + 3)
    assert keys(0)[0] == f"{alert_key('fund', 'drawdown', 1, 'portfolio', 1)}.fired"


def oscillated(n, monitors, *, ends_above):
    """Swing around the limit, far beyond the hysteresis, n times within a day; then wait a day."""
    said = monitors.evaluate(view(0, 100, seq=0))
    for i in range(n):
        equity = 85 if i % 2 == 0 else 99
        said += monitors.evaluate(view(0, equity, hour=24 * i / n, seq=i + 1))
    equity = 85 if ends_above else 99
    for tick in range(48):
        said += monitors.evaluate(view(1, equity, hour=tick, seq=n + 1 + tick))
    return [one for one in said if one.rule == "drawdown"]


@pytest.mark.parametrize("ends_above", [True, False])
def test_flapping_is_at_most_one_mail_per_repeat_interval_and_the_end_is_told(ends_above):
    said = oscillated(
        10_000, Monitors(settings(drawdown_levels=(0.10,), drawdown_step=None)), ends_above=ends_above
    )
    mailed = [one for one in said if one.mail]
    assert len(said) < 40
    assert all(b.detected_ns - a.detected_ns >= 4 * HOUR_NS for a, b in pairwise(mailed))
    assert mailed[-1].resolved == (not ends_above)
    assert mailed[-1].crossings > 100 or mailed[-1].label.startswith("repeat") or not ends_above


def test_reminders_come_at_growing_intervals():
    monitors = Monitors(settings())
    monitors.evaluate(view(0, 100))
    said = [one for h in range(400) for one in monitors.evaluate(view(1, 89, hour=h, seq=1 + h))]
    hours = [(one.detected_ns - START_NS - DAY_NS) / HOUR_NS for one in said]
    assert [one.label for one in said] == ["fired", *(f"repeat-{i}" for i in range(1, 7))]
    assert hours == [0, 4, 12, 28, 60, 124, 252]


def test_an_acknowledged_alert_sends_no_reminders_until_it_grows_worse():
    monitors = Monitors(settings())
    ((_, fired),) = run([100, 89], monitors)
    monitors.command("ack", {"key": fired.key[:8]})
    said = [one for day in range(2, 20) for one in monitors.evaluate(view(day, 89))]
    assert {(one.label[:6], one.mail, one.held_back) for one in said} == {("repeat", False, "acknowledged")}
    assert labels(monitors.evaluate(view(20, 84))) == [("drawdown", "portfolio", "worse-2", True)]
    ((*_, label, mail),) = labels(monitors.evaluate(view(21, 84)))
    assert label.startswith("repeat-")
    assert mail


def test_a_silence_keeps_mails_back_and_what_is_open_is_told_when_it_ends():
    monitors = Monitors(settings())
    until = str(view(3, 0).now_ns)
    monitors.command("silence", {"rule": "drawdown", "subject": "*", "until_ns": until, "reason": "known"})
    said = run([100, 89, 84, 84], monitors)
    assert of(said, "fired", "worse", "repeat") == [
        (1, "fired", False), (2, "worse-2", False), (3, "repeat-4", True),
    ]  # fmt: skip
    assert said[0][1].held_back == "silenced"


@pytest.mark.parametrize("written", ["energy", "Energy"])
def test_a_silence_can_be_ended_and_covers_only_what_it_names(written):
    monitors = Monitors(settings(sector_limits={"other": 0.25}))
    far = str(START_NS + 100 * DAY_NS)
    monitors.command("silence", {"rule": "sector", "subject": written, "until_ns": far})
    held = (position("A", 40, sector="energy"), position("B", 40, sector="biotech"))
    said = monitors.evaluate(view(0, 100, positions=held))
    assert labels(said) == [("sector", "biotech", "fired", True), ("sector", "energy", "fired", False)]
    monitors.command("unsilence", {"rule": "sector", "subject": "energy"})
    told = labels(monitors.evaluate(view(0, 100, hour=1, positions=held)))
    assert told == [("sector", "energy", "repeat-after-silence-1", True)]
    assert monitors.evaluate(view(0, 100, hour=2, positions=held)) == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ack", {}), ("ack", {"key": ""}), ("ack", {"key": "nonsense"}), ("silence", {}),
        ("silence", {"rule": "drawdown", "until_ns": "soon"}), ("unsilence", {}), ("dance", {"x": "y"}),
        ("silence", {"rule": "drawdown", "until_ns": "9" * 5000}),
        ("silence", {"rule": "*", "until_ns": "-1"}),
    ],
)  # fmt: skip
def test_a_command_that_names_nothing_has_no_effect(name, arguments):
    monitors = Monitors(settings())
    run([100, 89], monitors)
    before = monitors.state()
    monitors.command(name, arguments)
    assert monitors.state() == before


def test_a_number_that_is_missing_is_a_breach_and_silences_nothing():
    monitors = Monitors(settings())
    (one,) = monitors.evaluate(view(0, None))[:1]
    assert (one.rule, one.label, one.severity) == ("drawdown", "fired", "critical")
    assert math.isnan(one.value)
    monitors.evaluate(view(1, 100))
    assert ("drawdown", "portfolio", "fired", True) in labels(monitors.evaluate(view(2, 50)))


def test_an_open_alert_whose_number_goes_missing_says_so_once():
    monitors = Monitors(settings())
    run([100, 89], monitors)
    said = [one for h in range(3) for one in monitors.evaluate(view(2, None, hour=h / 10, seq=2 + h))]
    assert [one.label for one in said if one.rule == "drawdown"] == ["unknown"]


def test_what_is_no_longer_held_ends():
    monitors = Monitors(settings(sector_limits={"other": 0.25}))
    held = (position("A", 40, sector="energy"),)
    monitors.evaluate(view(0, 100, positions=held))
    (one,) = monitors.evaluate(view(1, 100))
    assert (one.rule, one.label, one.mail) == ("sector", "resolved", True)


def test_a_change_of_regime_is_told_once():
    monitors = Monitors(settings())
    regimes = ["", "bull", "bull", "bear", "bear", "", "bear"]
    said = [
        one for day, regime in enumerate(regimes) for one in monitors.evaluate(view(day, 100, regime=regime))
    ]
    assert [(one.session[-2:], one.label, one.detail) for one in said] == [("05", "noticed", "bull -> bear")]


def test_while_the_feed_is_doubtful_everything_but_causes_is_listed_under_it():
    monitors = Monitors(settings(sector_limits={"other": 0.25}))
    monitors.evaluate(view(0, 100))
    held = (position("A", 40, sector="energy", missed_sessions=1),)
    said = monitors.evaluate(
        view(1, 89, positions=held, feed="down", loop_lag_ms=5_000.0,
             conditions=(Condition("monitor_degraded", "disk", "slow"),))
    )  # fmt: skip
    (feed,) = [one for one in said if one.rule == "feed"]
    by_rule = {one.rule: one.inhibited_by for one in said}
    assert by_rule == {
        "feed": "", "loop_lag": "", "monitor_degraded": "", "drawdown": feed.key, "sector": feed.key,
        "stale_name": feed.key,
    }  # fmt: skip
    assert all(one.mail for one in said)


def test_limits_without_one_for_other_are_refused():
    with pytest.raises(ConfigError, match="needs a limit for 'other'"):
        Monitors(Settings(risk_management=RiskManagement(sector_limits={"biotech": 0.35})))


@profile(max_examples=50)
@given(st.lists(views, min_size=1, max_size=30))
def test_the_listing_holds_what_is_open_worst_first(parts):
    monitors = Monitors(Settings())
    open_keys = set()
    for i, part in enumerate(parts):
        for one in monitors.evaluate(made(i, part)):
            (open_keys.discard if one.resolved else open_keys.add)(one.key)
            if one.label == "noticed":
                open_keys.discard(one.key)
    listed = monitors.listing.alerts
    assert {one.key for one in listed} == open_keys
    ranks = [("info", "warning", "critical").index(one.severity) for one in listed]
    assert ranks == sorted(ranks, reverse=True)
