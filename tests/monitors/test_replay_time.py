"""Alerts of history that is replayed faster than life: their course goes by the bars, not by this machine."""

import asyncio

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from config.settings import Monitoring, RiskManagement, Settings
from engine.clock import SystemClock
from engine.slab import Bars, Universe
from feeds.live import FeedStatus
from feeds.memory import MemoryFeed
from feeds.replay import ReplayFeed
from monitors import inputs
from monitors.core import LiveCore
from monitors.daemon import Daemon, Parts
from monitors.health import Health
from monitors.inputs import OF_BARS, OF_MACHINE, Readings, Start, Tick
from monitors.notify import ServiceManager
from scripts.live_assembly import assemble
from storage import journal
from storage.commands import Command
from storage.found import read_only
from tests.monitors.live_market import NOW_NS, SYMBOLS, plan, rows, writer_on
from tests.monitors.views import HOUR_NS

SHARES = np.array([800.0, 300.0, 100.0, 50.0])
CASH_USD = 5_000.0
HELD = (
    *((symbol, shares, 100.0, "") for symbol, shares in zip(SYMBOLS, SHARES.tolist(), strict=True)),
    ("CASH", CASH_USD, float("nan"), ""),
)  # fmt: skip
LEVELS, STEP, CLEAR = (0.10, 0.15, 0.20), 0.05, 0.03
FAST_NS = 7 * 10**6  # of the machine's time from one row to the next


def history(closes: np.ndarray, step: str = "B") -> Bars:
    """Return rows from 2016 on, one per weekday or another step, at these closes, float64[n, 4]."""
    days = pd.date_range("2016-01-04", periods=len(closes), freq=step) + pd.Timedelta(hours=21)
    open_ = np.vstack([closes[:1], closes[:-1]])
    high, low = np.maximum(open_, closes) * 1.001, np.minimum(open_, closes) * 0.999
    ts_ns = days.as_unit("ns").asi8
    return Bars(ts_ns, open_, high, low, closes, np.full(closes.shape, 1e6))


def falls_by(*depths: float, days: int) -> Bars:
    """Return a market that falls by each of these and comes back to a new high, `days` each."""
    path = np.concatenate([1.0 - depth * np.sin(np.linspace(0, np.pi, days)) for depth in depths])
    path *= np.linspace(1.0, 1.01, len(path))
    return history(np.round(np.outer(path, [40.0, 50.0, 60.0, 70.0]), 2))


def watching(time=OF_BARS, **monitoring):
    quiet = {"single_name_warn": None, "single_name_critical": None, **monitoring}
    settings = Settings(
        monitoring=Monitoring(drawdown_levels=LEVELS, drawdown_step=STEP, drawdown_clear=CLEAR, **quiet),
        risk_management=RiskManagement(sector_limits=None),
    )
    return msgspec.structs.replace(plan(positions=HELD, settings=settings), time=time)


class Replayed:
    """A core that took a plan and rows, a moment of this machine's time apart."""

    def __init__(self, whole, bars, *, gap_ns=FAST_NS):
        self.core = LiveCore(assemble)
        self.outcomes = []
        self.now_ns = NOW_NS
        self.take(whole)
        for row in rows(0, len(bars.ts), bars):
            self.now_ns += gap_ns
            self.take(row)

    def take(self, given, **readings):
        self.outcomes.append(self.core.apply(given, Readings(self.now_ns, **readings)))
        return [one.label for one in self.outcomes[-1].transitions]

    def said(self, rule="drawdown"):
        return [one for outcome in self.outcomes for one in outcome.transitions if one.rule == rule]


def told_of(closes: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (session, word) by the specification: each level once, over 3 points below the first."""
    equity = closes @ SHARES + CASH_USD
    said, worst = [], 0
    levels = [level / 100 for level in (10, 15, 20, *range(25, 100, 5))]
    for day, fall in (1.0 - equity / equity.cummax()).items():
        session = f"{day:%Y-%m-%d}"
        passed = sum(fall >= level - 1e-9 for level in levels)
        if worst and fall <= 0.07 + 1e-9:
            worst = 0
            said.append((session, "resolved"))
        elif passed > worst:
            said.append((session, f"worse-{passed}" if worst else "fired"))
            worst = passed
    return said


@profile(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_years_in_a_moment_tell_each_drawdown_as_a_slow_reference_does(seed):
    noise = np.random.default_rng(seed).normal(0.0, 0.02, (500, len(SYMBOLS)))
    bars = history(np.round(40.0 * np.exp(np.cumsum(noise, axis=0)), 2))
    said = Replayed(watching(min_interval_days=0), bars).said()
    words = [(one.session, one.label) for one in said if not one.label.startswith("repeat")]
    assert words == told_of(pd.DataFrame(bars.close, pd.to_datetime(bars.ts)))
    assert all(one.mail for one in said)


@pytest.mark.parametrize("step", ["B", "1h", "1min"])
@profile(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_replay_says_what_a_live_monitor_said_whose_clock_read_the_time_of_each_bar(step, seed):
    noise = np.random.default_rng(seed).normal(0.0, 0.02, (300, len(SYMBOLS)))
    closes = np.round(40.0 * np.exp(np.cumsum(noise, axis=0)), 2)
    closes[50:53, 1] = np.nan  # A name goes stale
    bars = history(closes, step)
    lived = Replayed(watching(OF_MACHINE), bars.rows(0, 0))
    for row in rows(0, len(bars.ts), bars):
        lived.now_ns = int(row.bars.ts[0])
        lived.take(row)

    def told(life):
        said = [one for outcome in life.outcomes for one in outcome.transitions]
        return [msgspec.structs.replace(one, config_hash="") for one in said]

    assert told(Replayed(watching(), bars)) == told(lived)
    assert told(lived)


def test_a_second_drawdown_years_later_is_an_alert_of_its_own_and_both_are_over():
    said = Replayed(watching(), falls_by(0.17, 0.13, days=400)).said()
    words = [(one.session[:4], one.label, one.mail) for one in said if not one.label.startswith("repeat")]
    assert words == [
        ("2016", "fired", True), ("2016", "worse-2", True), ("2017", "resolved", True),
        ("2018", "fired", True), ("2018", "resolved", True),
    ]  # fmt: skip
    assert len({one.key for one in said}) == 2
    assert {one.detected_ns == one.ts_ns for one in said} == {True}


def test_what_fires_again_within_a_week_of_bars_is_recorded_and_not_mailed():
    closes = np.outer([1, 0.85, 0.99, 0.85, 0.99, *[1.0] * 5, 0.85], [40.0, 50.0, 60.0, 70.0])
    fired = [one.mail for one in Replayed(watching(), history(closes)).said() if one.label == "fired"]
    assert fired == [True, False, True]


@pytest.mark.parametrize("gap_ns", [0, 24 * HOUR_NS, -HOUR_NS])
def test_this_machine_s_clock_has_no_part_in_it(gap_ns):
    bars = falls_by(0.17, 0.13, days=60)
    digests = [one.digest for one in Replayed(watching(), bars, gap_ns=gap_ns).outcomes]
    assert digests == [one.digest for one in Replayed(watching(), bars).outcomes]


def test_between_two_bars_no_time_passes():
    life = Replayed(watching(), falls_by(0.17, days=20))
    before = len(life.said())
    for _ in range(20):
        life.now_ns += 24 * HOUR_NS
        life.take(Tick())
    assert len(life.said()) == before


def test_a_live_feed_s_alerts_go_by_the_machine_s_clock_as_ever():
    bars = falls_by(0.17, 0.13, days=60)
    for time in (OF_MACHINE, ""):
        fast = Replayed(watching(time), bars).said()
        assert [one.label for one in fast] == ["fired", "worse-2"]
        assert all(one.detected_ns < NOW_NS + 120 * FAST_NS for one in fast)
        lived = [one.label for one in Replayed(watching(time), bars, gap_ns=24 * HOUR_NS).said()]
        assert lived.count("resolved") == 2


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ({"loop_lag_ms": 5_000.0}, {}),
        ({"given": FeedStatus("down", "", "gone")}, {"given": FeedStatus("connected", "", "back")}),
    ],
    ids=["loop lag", "feed"],
)
def test_what_is_about_this_machine_goes_by_its_clock_however_many_years_pass(begins, ends):
    bars = falls_by(0.01, days=300)
    life = Replayed(watching(), bars.rows(0, 2))
    rest = iter(rows(2, 300, bars))

    def input_of(told):
        readings = {name: value for name, value in told.items() if name != "given"}
        return life.take(told.get("given") or next(rest), **readings)

    assert input_of(begins) == ["fired"]
    input_of(ends)
    for _ in range(100):
        life.now_ns += FAST_NS
        assert life.take(next(rest)) == []
    life.now_ns += HOUR_NS // 4
    assert life.take(next(rest)) == ["resolved"]
    rule = "loop_lag" if "loop_lag_ms" in begins else "feed"
    assert all(abs(one.detected_ns - NOW_NS) < HOUR_NS for one in life.said(rule))


def test_a_silence_lasts_as_long_as_it_does_for_whoever_gave_it():
    bars = falls_by(0.17, 0.13, days=100)
    life = Replayed(watching(), bars.rows(0, 2))
    until = {"rule": "drawdown", "subject": "*", "until_ns": str(life.now_ns + HOUR_NS)}
    life.take(Command("1", "silence", 0, "ann", until))
    for row in rows(2, 100, bars):
        life.take(row)
    assert life.said()
    assert {one.held_back for one in life.said()} >= {"silenced"}
    assert not any(one.mail for one in life.said())
    life.now_ns += 2 * HOUR_NS
    for row in rows(100, 200, bars):
        life.take(row)
    assert any(one.mail for one in life.said())


@pytest.mark.parametrize("cut", [1, 30, 75, 119])
def test_a_restart_anywhere_goes_on_in_the_time_of_the_bars(cut):
    bars = falls_by(0.17, 0.13, days=60)
    whole = Replayed(watching(), bars)
    parted = Replayed(watching(), bars.rows(0, cut))
    state = parted.core.snapshot()
    parted.core = LiveCore(assemble)
    parted.core.restore(state)
    assert parted.core.machine.monitors.listing.replayed_to_ns == bars.ts[cut - 1]
    parted.now_ns += 400 * 24 * HOUR_NS  # It lay still for a year
    parted.take(Start("code", "test"))
    for row in rows(cut, len(bars.ts), bars):
        parted.take(row)
    assert [one.notif_key for one in parted.said()] == [one.notif_key for one in whole.said()]


def run_daemon(directory, bars, *, last, told=None):
    writer, clock = writer_on(directory, snapshot_inputs=50), SystemClock()
    feed = ReplayFeed(MemoryFeed(Universe(SYMBOLS), bars.rows(0, last)), clock)
    daemon = Daemon(
        writer, feed, watching(), Start("code", "test"), clock, Health(clock, 1e9),
        ServiceManager({}), queue_rows=8, tick_s=1e9, parts=Parts(feed_ended=told),
    )  # fmt: skip
    try:
        asyncio.run(daemon.run())
        keys = writer.store.connection.execute("SELECT notif_key FROM outbox ORDER BY id").fetchall()
        return [key for (key,) in keys]
    finally:
        writer.store.close()


def test_a_journal_of_a_replay_is_decided_again_as_it_was_and_parts_say_what_the_whole_says(tmp_path):
    bars = falls_by(0.17, 0.13, days=60)
    for last in (40, 80, 120):
        parts = run_daemon(tmp_path / "parts", bars, last=last)
    assert parts == run_daemon(tmp_path / "whole", bars, last=120)
    assert sum(key.endswith(".resolved") for key in parts) == 2
    core = LiveCore(assemble)
    with read_only(tmp_path / "parts") as connection:
        for entry in journal.read(connection):
            assert core.apply(*inputs.decode(entry)).digest == entry.outcome


def test_whoever_groups_mails_hears_that_the_feed_has_ended(tmp_path):
    told = []
    run_daemon(tmp_path / "store", falls_by(0.01, days=5), last=5, told=lambda: told.append("ended"))
    assert told == ["ended"]


class Begun(Replayed):
    """A live monitor whose feed gives the first rows as history."""

    def __init__(self, whole, bars, n_history):
        super().__init__(whole, bars.rows(0, 0))
        for row in rows(0, n_history, bars):
            self.take(row._replace(backfilled=True))


def test_what_was_before_a_live_monitor_began_is_no_news_and_what_is_wrong_when_it_begins_is():
    bars = falls_by(0.3, 0.25, days=60)  # The second fall is at its deepest after 90 rows
    begun = Begun(watching(OF_MACHINE), bars, 90)
    assert not begun.said()
    assert not begun.core.machine.monitors.listing.alerts
    assert "fired" in begun.take(FeedStatus("connected", "", "everything has been given"))
    fired = begun.said()[-1]
    assert (fired.label, fired.since_session) == ("fired", str(pd.Timestamp(bars.ts[89]).date()))
    assert 0.2 < fired.value < 0.25
    assert fired.severity == "critical"  # All levels that it has passed, at once


def test_a_live_monitor_that_begins_in_calm_says_nothing_of_falls_before_it():
    bars = falls_by(0.3, 0.0, days=60)
    begun = Begun(watching(OF_MACHINE), bars, 100)
    begun.take(FeedStatus("connected", "", ""))
    for row in rows(100, 120, bars):
        begun.take(row)
    assert not begun.said()


def test_the_history_of_a_later_outage_is_news():
    bars = falls_by(0.0, 0.3, days=60)
    begun = Begun(watching(OF_MACHINE), bars, 60)
    begun.take(FeedStatus("connected", "", ""))
    begun.take(FeedStatus("stale", "", "nothing for 5 days"))
    for row in rows(60, 100, bars):
        begun.take(row._replace(backfilled=True))
    assert begun.said()[0].label == "fired"


def test_a_feed_that_fails_before_the_history_is_whole_is_told():
    begun = Begun(watching(OF_MACHINE), falls_by(0.3, days=60), 20)
    assert begun.take(FeedStatus("stale", "", "no answer")) == ["fired"]
    assert begun.said("feed")


def test_what_is_before_the_beginning_survives_a_restart():
    bars = falls_by(0.3, 0.0, days=60)
    begun = Begun(watching(OF_MACHINE), bars, 30)
    again = Replayed(watching(OF_MACHINE), bars.rows(0, 0))
    again.core.restore(begun.core.snapshot())
    for row in rows(30, 100, bars):
        again.take(row._replace(backfilled=True))
    again.take(FeedStatus("connected", "", ""))
    assert not again.said()
