"""The same condition is one incident: whatever happens between two bars, the same keys are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from config.settings import Monitoring, RiskManagement, Settings
from feeds.live import FeedStatus, LiveRow
from monitors.core import LiveCore
from monitors.inputs import Readings, Start, Stop, Tick
from monitors.monitoring import Monitors
from scripts.live_assembly import assemble
from storage.commands import Command
from tests.monitors.live_market import NOW_NS, plan, rows
from tests.monitors.views import labels, position, settings, view

DAY_MIN = 24 * 60
N_DAYS = 40
HELD = (
    ("AAA", 800.0, 30_000.0, "technology"), ("BBB", 300.0, 12_000.0, "energy"),
    ("CCC", 100.0, 4_000.0, "energy"), ("CASH", 40_000.0, float("nan"), ""),
)  # fmt: skip
LIMITS = Settings(
    monitoring=Monitoring(drawdown_levels=(0.02, 0.05, 0.1), drawdown_step=None, min_interval_days=2),
    risk_management=RiskManagement(sector_limits={"technology": 0.3, "other": 0.1}),
)
WIDE = Settings(
    monitoring=Monitoring(drawdown_levels=(0.9,), single_name_warn=0.9, single_name_critical=0.95),
    risk_management=RiskManagement(sector_limits={"other": 0.9}),
)


class Life:
    """A core with its journal, and everything that was said."""

    def __init__(self, whole):
        self.whole = whole
        self.core = LiveCore(assemble)
        self.journal = []
        self.said = []
        self.take(whole, 0, 0)

    def take(self, given, day, minute):
        given = self.core.admit(given)
        readings = Readings(NOW_NS + (day * DAY_MIN + minute) * 60 * 10**9)
        outcome = self.core.apply(given, readings)
        self.journal.append((given, readings, outcome.digest))
        self.said += outcome.transitions

    def keys(self):
        found = [one.notif_key for one in self.said if "after-silence" not in one.label]
        assert len(set(found)) == len(found)
        return sorted(found)

    def restart(self, day, minute):
        self.take(Stop("test"), day, minute)
        state = self.core.snapshot()
        self.core = LiveCore(assemble)
        self.core.restore(state)
        self.take(Start("code", "test"), day, minute)

    def replay(self):
        """Die without a word, and come back from the journal alone."""
        self.core = LiveCore(assemble)
        assert [self.core.apply(given, at).digest for given, at, _ in self.journal] == [
            digest for *_, digest in self.journal
        ]

    def disturb(self, how, day, minute):
        match how:
            case "reload":
                self.take(self.whole, day, minute)
            case "limits loosened and put back":
                self.take(plan(positions=self.whole.positions, settings=WIDE), day, minute)
                self.take(Tick(), day, minute)
                self.take(self.whole, day, minute)
            case "restart":
                self.restart(day, minute)
            case "crash":
                self.replay()
            case "row again":
                again = next(given for given, *_ in reversed(self.journal) if isinstance(given, LiveRow))
                self.take(again, day, minute)
                assert isinstance(self.journal[-1][0], FeedStatus)
            case "tick":
                self.take(Tick(), day, minute)
            case "feed says that it is connected":
                self.take(FeedStatus("connected", "", "again"), day, minute)
            case "silence":
                until = str(NOW_NS + (day + 3) * DAY_MIN * 60 * 10**9)
                self.command("silence", {"rule": "*", "subject": "*", "until_ns": until}, day, minute)
            case "silence ended":
                self.command("unsilence", {"rule": "*", "subject": "*"}, day, minute)
            case "acknowledged":
                for one in self.core.machine.monitors.listing.alerts:
                    self.command("ack", {"key": one.key}, day, minute)

    def command(self, name, arguments, day, minute):
        self.take(Command(str(len(self.journal)), name, 0, "ann", arguments), day, minute)


HOWS = (
    "reload", "limits loosened and put back", "restart", "crash", "row again", "tick",
    "feed says that it is connected", "silence", "silence ended", "acknowledged",
)  # fmt: skip


def live(whole, disturbances=()):
    """Take a row a day and a tick every two hours, and what is to happen in between."""
    life = Life(whole)
    for day, row in enumerate(rows(0, N_DAYS)):
        life.take(row, day, 0)
        between = [(minute, how) for at, minute, how in disturbances if at == day]
        for minute, how in sorted([*between, *((120 * k, "tick") for k in range(1, 12))]):
            life.disturb(how, day, minute)
    return life


WATCHED = plan(positions=HELD, settings=LIMITS)
PAPER = plan(settings=LIMITS)
UNDISTURBED = {}


def undisturbed(whole):
    if id(whole) not in UNDISTURBED:
        UNDISTURBED[id(whole)] = live(whole).keys()
    return UNDISTURBED[id(whole)]


moments = st.tuples(st.integers(0, N_DAYS - 1), st.integers(1, DAY_MIN - 1), st.sampled_from(HOWS))


def test_an_undisturbed_life_has_incidents_of_many_kinds_that_come_back():
    said = live(WATCHED).said
    assert {one.rule for one in said} >= {"drawdown", "single_name", "sector", "stale_name"}
    assert {one.label.partition("-")[0] for one in said} >= {"fired", "worse", "repeat", "resolved"}
    episodes = {(one.rule, one.subject, one.episode) for one in said}
    assert len(episodes) > len({(one.rule, one.subject) for one in said})
    assert {one.rule for one in live(PAPER).said} >= {"drawdown", "sector"}


@pytest.mark.parametrize("whole", [WATCHED, PAPER], ids=["watched", "paper"])
@profile(max_examples=10, deadline=None)
@given(disturbances=st.lists(moments, min_size=1, max_size=25))
def test_whatever_happens_between_the_bars_the_same_keys_are_said(whole, disturbances):
    assert live(whole, disturbances).keys() == undisturbed(whole)


@pytest.mark.parametrize("how", HOWS)
def test_one_thing_after_every_bar_changes_no_key(how):
    everywhere = [(day, 7 + 11 * day, how) for day in range(0, N_DAYS, 5 if how == "crash" else 1)]
    assert live(WATCHED, everywhere).keys() == undisturbed(WATCHED)


def test_a_file_that_lacks_a_position_between_two_bars_changes_no_key():
    """Of CCC a stale name is open on these days."""

    def away(day):
        less = plan(positions=tuple(line for line in HELD if line[0] != "CCC"), settings=LIMITS)
        life = Life(WATCHED)
        for at, row in enumerate(rows(0, N_DAYS)):
            life.take(row, at, 0)
            for hour in range(2, 24, 2):
                if (at, hour) == (day, 6):
                    life.take(less, at, 310)
                    life.take(WATCHED, at, 320)
                life.take(Tick(), at, hour * 60)
        return life

    assert any(one.rule == "stale_name" for one in away(21).said)
    for day in range(19, 25):
        assert away(day).keys() == undisturbed(WATCHED)


def told(monitors, *views):
    return [(one.label, one.key) for one_view in views for one in monitors.evaluate(one_view)]


def changed(monitors, **monitoring):
    """Return monitors under other limits that go on where these are, as a reload makes them."""
    fresh = Monitors(settings(**monitoring))
    fresh.restore(monitors.state())
    return fresh


@pytest.mark.parametrize("levels", [(0.08, 0.15, 0.2), (0.105, 0.15), (0.05, 0.08, 0.105, 0.3)])
def test_limits_that_move_while_a_breach_is_open_make_no_word_of_it(levels):
    monitors = Monitors(settings())
    ((_, key), *_) = told(monitors, view(0, 100), view(1, 89))
    monitors = changed(monitors, drawdown_levels=levels)
    assert told(monitors, view(1, 89, hour=1), view(1, 89, hour=2)) == []
    said = told(monitors, view(1, 89, hour=5), view(2, 60))
    assert [label.partition("-")[0] for label, _ in said] == ["repeat", "worse"]
    assert {one for _, one in said} == {key}


def test_a_level_beyond_one_that_was_taken_away_is_told_under_a_name_of_its_own():
    monitors = Monitors(settings(drawdown_step=None))
    said = told(monitors, view(0, 100), view(1, 89), view(2, 84))
    monitors = changed(monitors, drawdown_levels=(0.1, 0.2), drawdown_step=None)
    said += told(monitors, view(2, 84, hour=1), view(3, 79))
    assert [label for label, _ in said] == ["fired", "worse-2", "worse-3"]


def test_a_severity_that_a_new_limit_brings_is_mailed_once():
    monitors = Monitors(settings(single_name_warn=0.1, single_name_critical=0.15))
    held = (position("A", 13),)
    monitors.evaluate(view(0, 100, positions=held))
    lower = {"single_name_warn": 0.1, "single_name_critical": 0.12}
    monitors = changed(monitors, **lower)
    (said,) = monitors.evaluate(view(0, 100, hour=1, positions=held))
    assert (said.label, said.severity, said.threshold, said.mail) == ("worse-2", "critical", 0.12, True)
    assert monitors.evaluate(view(0, 100, hour=2, positions=held)) == []
    monitors = changed(changed(monitors, single_name_warn=0.1, single_name_critical=0.15), **lower)
    assert monitors.evaluate(view(0, 100, hour=3, positions=held)) == []
    assert monitors.listing.alerts[0].severity == "critical"


def test_limits_loosened_for_good_end_it_with_the_next_bar():
    monitors = Monitors(settings())
    told(monitors, view(0, 100), view(1, 89))
    monitors = changed(monitors, drawdown_levels=(0.3,))
    assert told(monitors, view(1, 89, hour=1)) == []
    assert [label for label, _ in told(monitors, view(2, 89))] == ["resolved"]


@pytest.mark.parametrize("hours", [0.01, 20.0])
def test_a_position_that_is_away_between_two_bars_is_the_same_incident(hours):
    limits = {"single_name_warn": 0.1, "sector_limits": {"other": 0.25}}
    held = (position("A", 40, sector="energy", missed_sessions=1),)
    at = [
        view(0, 100, positions=held, seq=1), view(0, 60, hour=hours / 2, seq=1, flow_micro=-40_000_000),
        view(0, 100, hour=hours, positions=held, seq=1), view(1, 100, positions=held, seq=2),
    ]  # fmt: skip
    away, there = Monitors(settings(**limits)), Monitors(settings(**limits))
    fired = {key for label, key in told(away, *at) if not label.startswith("repeat")}
    assert fired == {key for label, key in told(there, at[0], at[3]) if not label.startswith("repeat")}
    assert len(fired) == 3
    assert [label for label, _ in told(away, view(2, 100, seq=3))] == ["resolved"] * 3


def test_what_comes_back_within_the_same_bar_after_it_was_over_has_a_key_of_its_own():
    monitors = Monitors(settings())
    feeds = ["down", "connected", "connected", "down", "connected", "connected", "down"]
    hours = [0, 1, 9, 10, 11, 99, 200]
    at = [view(0, 100, hour=hour, seq=7, feed=feed) for hour, feed in zip(hours, feeds, strict=True)]
    said = told(monitors, *at)
    fired = [key for label, key in said if label == "fired"]
    assert len(set(fired)) == len(fired) == 3


def test_an_episode_ends_when_its_time_comes_whether_or_not_anybody_looked_then():
    def keys(*hours):
        monitors = Monitors(settings())
        # Clear two hours after it fired, which is too early for an end, and breached again a day later
        early = [view(0, 100, seq=0), view(1, 89, seq=1), view(1, 94, hour=2, seq=2)]
        looks = [view(1, 94, hour=2 + hour, seq=2) for hour in hours]
        return {key for _, key in told(monitors, *early, *looks, view(2, 89, seq=3))}

    assert keys() == keys(1) == keys(0.1, 2, 5) == keys(*range(1, 21))
    assert len(keys()) == 2


def test_nothing_that_was_never_mailed_holds_back_what_fires_again():
    monitors = Monitors(settings())
    until = str(view(2, 0, hour=1).now_ns)
    monitors.command("silence", {"rule": "drawdown", "subject": "*", "until_ns": until})
    said = [one for day, value in enumerate([100, 89, 95, 89]) for one in monitors.evaluate(view(day, value))]
    assert [(label, mail) for *_, label, mail in labels(said)] == [
        ("fired", False), ("resolved", False), ("fired", True),
    ]  # fmt: skip
