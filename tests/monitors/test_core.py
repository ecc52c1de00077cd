"""The core: what it decides depends on its inputs alone, and is what the backtest decides."""

import asyncio
import dataclasses

import msgspec
import numpy as np
import pytest

from config.settings import Backtest
from engine.errors import ConfigError, DataError
from engine.events import Fills, Orders, Signals
from engine.loop import Loop
from engine.slab import Bars, join
from feeds.live import FeedStatus, LiveRow
from monitors.core import LiveCore
from monitors.inputs import Plan, Start, Stop, Tick
from reports.recorder import Recorder
from scripts.live_assembly import assemble
from storage.commands import Command
from tests.monitors.live_market import N_ROWS, at, market, plan, rows, settings_of


def core_with(first=None, n_rows=0):
    core = LiveCore(assemble)
    core.apply(first or plan(), at())
    return core, [core.apply(row, at()) for row in rows(0, n_rows)]


def test_the_live_path_gives_the_orders_and_fills_of_a_backtest_to_the_last_bit():
    _, outcomes = core_with(n_rows=N_ROWS)
    machine = assemble(plan())
    loop: Loop = machine.loop
    recorder = Recorder.attached_to(loop)
    asyncio.run(loop.process(market()))  # One slab of 60 rows
    for kind in (Signals, Orders, Fills):
        live = [event.rows for outcome in outcomes for event in outcome.events if type(event) is kind]
        assert b"".join(part.tobytes() for part in live) == recorder.rows(kind).tobytes()
    assert len(recorder.rows(Fills)) > 10
    assert machine.book.money_micro() != outcomes[0].view.equity_micro


@pytest.mark.parametrize("cut", [1, 23, 59])
def test_a_restored_core_decides_as_if_it_had_never_stopped(cut):
    core, outcomes = core_with(n_rows=N_ROWS)
    first, _ = core_with(n_rows=cut)
    second = LiveCore(assemble)
    second.restore(first.snapshot())
    later = [second.apply(row, at()) for row in rows(cut)]
    assert [one.digest for one in later] == [one.digest for one in outcomes[cut:]]
    assert second.snapshot() == core.snapshot()


def test_starts_and_stops_change_no_alert():
    plain, outcomes = core_with(n_rows=N_ROWS)
    stopped, _ = core_with()
    found = []
    for row in rows():
        stopped.apply(Start("code", "test"), at())
        found += stopped.apply(row, at()).transitions
        stopped.apply(Stop("test"), at())
    assert found == [one for outcome in outcomes for one in outcome.transitions]
    assert len(found) > 5
    assert stopped.snapshot() == plain.snapshot()


def test_a_row_that_cannot_follow_is_told_and_not_taken():
    core, _ = core_with(n_rows=5)
    before = core.snapshot()
    (late,) = rows(2, 3)
    assert core.admit(late).kind == "late"
    narrow = np.full((1, 3), 10.0)
    wrong = LiveRow(Bars(np.array([2**60]), narrow, narrow, narrow, narrow, narrow), "test", False)
    assert core.admit(wrong).kind == "quarantined"
    assert core.snapshot() == before
    (next_one,) = rows(5, 6)
    assert core.admit(next_one) is next_one


def test_the_kill_switch_stops_every_entry_at_the_next_input_until_a_person_clears_it():
    core, _ = core_with(n_rows=12)
    core.apply(Command("1", "halt", 0, "ann"), at())
    restored = LiveCore(assemble)
    restored.restore(core.snapshot())
    assert restored.killed
    events = [event for row in rows(12, 50) for event in restored.apply(row, at()).events]
    accepted = [event.rows[event.rows["side"] == 1] for event in events if isinstance(event, Orders)]
    bought = [event.rows[event.rows["side"] == 1] for event in events if isinstance(event, Fills)]
    assert sum(int((part["status"] <= 2).sum()) for part in accepted) == 0
    assert sum(map(len, bought)) == 0
    assert any((event.rows["side"] == -1).any() for event in events if isinstance(event, Fills))
    restored.apply(Command("2", "resume", 0, "ann"), at())
    events = [event for row in rows(50) for event in restored.apply(row, at()).events]
    assert any((event.rows["side"] == 1).any() for event in events if isinstance(event, Orders))


def test_a_command_that_comes_twice_counts_once():
    core, _ = core_with(n_rows=3)
    core.apply(Command("1", "halt", 0, "ann"), at())
    core.apply(Command("2", "resume", 0, "ann"), at())
    after = core.snapshot()
    core.apply(Command("1", "halt", 0, "ann"), at())
    assert core.snapshot() == after


def test_a_kill_switch_and_a_lost_feed_are_alerts():
    core, _ = core_with(n_rows=3)
    found = core.apply(Command("1", "halt", 0, "ann"), at()).transitions
    assert [one.rule for one in found] == ["monitor_degraded"]
    assert "ann" in found[0].detail
    found = core.apply(FeedStatus("down", "", "refused"), at(1)).transitions
    assert [one.rule for one in found] == ["feed"]


def test_new_limits_take_over_the_book_and_another_universe_is_refused():
    core, _ = core_with(n_rows=14)
    equity = core.machine.book.money_micro()
    tighter = plan(settings=settings_of(max_positions=1))
    core.can_change_to(tighter)
    outcome = core.apply(tighter, at())
    assert core.machine.book.money_micro() == equity
    assert outcome.view.positions, "something is held, or this shows nothing"
    other = msgspec.structs.replace(tighter, symbols=("AAA", "BBB", "CCC", "EEE"))
    with pytest.raises(DataError, match="another universe"):
        core.can_change_to(other)
    assert core.plan == tighter


def test_whole_shares_do_not_become_millionths_under_a_running_book():
    core, _ = core_with(n_rows=14)
    settings = msgspec.structs.replace(settings_of(), backtest=Backtest(fractional_shares=True))
    with pytest.raises(ConfigError, match=r"backtest\.fractional_shares.*another --store"):
        core.can_change_to(plan(settings=settings))


def test_watched_positions_are_marked_and_judged_but_not_traded():
    held = (("AAA", 100.0, 4_000.0, "technology"), ("CASH", 500.0, float("nan"), ""))
    core, outcomes = core_with(plan(positions=held), n_rows=N_ROWS)
    assert core.machine.book.money_micro() == (
        500_000_000,
        500_000_000 + round(market().close[-1, 0] * 100 * 1e6),
    )
    assert not any(isinstance(event, Fills) for outcome in outcomes for event in outcome.events)
    assert any(isinstance(event, Signals) for outcome in outcomes for event in outcome.events)
    assert "drawdown" in {one.rule for outcome in outcomes for one in outcome.transitions}


def test_a_watched_portfolio_with_an_unknown_price_has_no_equity_and_says_so():
    held = (("AAA", 100.0, 4_000.0, ""),)
    core = LiveCore(assemble)
    core.apply(plan(positions=held), at())
    bars = market().rows(0, 1)
    prices = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for column in prices.values():
        column[0, 0] = np.nan  # AAA has no bar
    outcome = core.apply(LiveRow(dataclasses.replace(bars, **prices), "test", False), at())
    assert outcome.view.equity_micro is None
    assert any("unknown" in one.detail for one in outcome.transitions)


def test_before_its_first_row_nothing_is_said_of_a_book_that_nobody_could_know():
    held = (("AAA", 100.0, 4_000.0, "technology"), ("CASH", 500.0, float("nan"), ""))
    core = LiveCore(assemble)
    assert core.apply(plan(positions=held), at()).transitions == []
    assert core.apply(Tick(), at(60)).transitions == []
    assert [one.rule for one in core.apply(FeedStatus("down", "", "refused"), at(61)).transitions] == ["feed"]
    core.apply(FeedStatus("connected", "", ""), at(62))
    (row,) = rows(0, 1)
    found = core.apply(row, at(63)).transitions
    assert all(0 < one.value < 1 for one in found if one.rule in ("sector", "single_name"))
    assert {"sector", "single_name"} <= {one.rule for one in found}


def test_slabs_of_any_size_and_single_rows_are_one_path():
    whole = join([row.bars for row in rows()])
    assert whole.close.tobytes() == market().close.tobytes()


def test_ticks_and_the_same_view_say_nothing_new():
    core, _ = core_with(n_rows=10)
    assert not core.apply(Tick(), at(1)).transitions
    assert isinstance(core.plan, Plan)
