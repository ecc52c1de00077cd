"""History warms a paper account up and is not traded, across restarts and in every replay alike."""

import msgspec
import pytest

from engine.events import Fills, Orders, Reason, Rejections, Signals
from feeds.live import FeedStatus
from monitors.core import LiveCore
from monitors.inputs import LIVE, Plan
from scripts.live_assembly import assemble
from storage.commands import Command
from tests.monitors.live_market import N_ROWS, at, plan, rows, writer_on

BOUNDARY = 30
CONNECTED = FeedStatus("connected", "", "caught up")


def inputs_of(trade_from, n_backfilled=0, connected_at=None):
    """Return a plan, and the rows of the market, the first of them back-filled."""
    found = [msgspec.structs.replace(plan(), trade_from=trade_from)]
    for i, row in enumerate(rows()):
        if i == connected_at:
            found.append(CONNECTED)
        found.append(row._replace(backfilled=i < n_backfilled))
    return found


def outcomes_of(inputs):
    core = LiveCore(assemble)
    return core, [core.apply(one, at()) for one in inputs]


def dates_of(outcomes, kind):
    """Return the rows of one kind of event by the number of the outcome that held them."""
    return {i: event.rows for i, one in enumerate(outcomes) for event in one.events if type(event) is kind}


def first_buy(outcomes):
    """Return the number of the first outcome in which an order to buy was accepted."""
    orders = dates_of(outcomes, Orders)
    return min(i for i, part in orders.items() if ((part["side"] == 1) & (part["status"] <= 2)).any())


def test_back_fill_gives_every_signal_and_no_order_and_the_first_live_row_is_traded():
    _, warmed = outcomes_of(inputs_of(LIVE, n_backfilled=BOUNDARY))
    _, traded = outcomes_of(inputs_of(""))
    assert first_buy(traded) < BOUNDARY < first_buy(warmed)
    assert not any(i <= BOUNDARY for i in dates_of(warmed, Orders) | dates_of(warmed, Fills))
    signals, expected = dates_of(warmed, Signals), dates_of(traded, Signals)
    assert {i: part.tobytes() for i, part in signals.items()} == {
        i: part.tobytes() for i, part in expected.items()
    }
    reasons = {
        Reason(int(reason))
        for i, part in dates_of(warmed, Rejections).items()
        if i <= BOUNDARY
        for reason in part["reason"]
    }
    assert reasons <= {Reason.WARM_UP, Reason.NOT_HELD}
    assert Reason.WARM_UP in reasons
    expected_first = min(i for i, part in signals.items() if i > BOUNDARY and (part["side"] == 1).any())
    assert first_buy(warmed) == expected_first


def test_what_is_back_filled_after_the_feed_had_caught_up_is_traded():
    _, polled = outcomes_of(inputs_of(LIVE, n_backfilled=N_ROWS, connected_at=BOUNDARY))
    _, live = outcomes_of(inputs_of(LIVE, n_backfilled=BOUNDARY))
    fills = [part.tobytes() for part in dates_of(polled, Fills).values()]
    assert fills == [part.tobytes() for part in dates_of(live, Fills).values()]
    assert fills


def test_a_date_rules_whatever_is_back_filled():
    day = "2022-01-24"
    _, dated = outcomes_of(inputs_of(day, n_backfilled=N_ROWS))
    sessions = [one.view.session for one in dated]
    first = first_buy(dated)
    assert sessions[first] >= day
    assert all(sessions[i] >= day for i in dates_of(dated, Orders))
    _, never = outcomes_of(inputs_of("2099-01-01"))
    assert not dates_of(never, Orders)


@pytest.mark.parametrize("cut", [1, BOUNDARY - 5, BOUNDARY + 1, BOUNDARY + 2, N_ROWS - 2])
def test_a_restart_anywhere_decides_the_same(cut):
    inputs = inputs_of(LIVE, n_backfilled=N_ROWS, connected_at=BOUNDARY)
    core, outcomes = outcomes_of(inputs)
    first, _ = outcomes_of(inputs[:cut])
    second = LiveCore(assemble)
    second.restore(first.snapshot())
    assert [second.apply(one, at()).digest for one in inputs[cut:]] == [one.digest for one in outcomes[cut:]]
    assert second.snapshot() == core.snapshot()


def test_a_journal_is_decided_again_as_it_was_and_trading_once_begun_goes_on(tmp_path):
    inputs = inputs_of(LIVE, n_backfilled=BOUNDARY)
    writer = writer_on(tmp_path, snapshot_inputs=1_000)
    for one in inputs[: BOUNDARY + 5]:
        writer.take(one, at())
    writer.store.close()
    again = writer_on(tmp_path)
    again.take(msgspec.structs.replace(plan(), trade_from="2099-01-01"), at())
    rest = [again.take(one, at()).outcome for one in inputs[BOUNDARY + 5 :]]
    again.store.close()
    _, expected = outcomes_of(inputs)
    fills = [part.tobytes() for part in dates_of(rest, Fills).values()]
    assert fills == [part.tobytes() for part in dates_of(expected[BOUNDARY + 5 :], Fills).values()]
    assert fills


def test_a_plan_of_before_there_was_a_choice_trades_from_its_first_row():
    plain = msgspec.structs.asdict(plan())
    del plain["trade_from"]
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=Plan)
    assert old.trade_from == ""
    _, outcomes = outcomes_of([old, *(row._replace(backfilled=True) for row in rows())])
    assert first_buy(outcomes) < BOUNDARY


def test_the_kill_switch_comes_before_the_warm_up_and_does_not_end_it():
    inputs = inputs_of(LIVE, n_backfilled=N_ROWS)
    inputs.insert(5, Command("1", "halt", 0, "ann"))
    inputs.insert(20, Command("2", "resume", 0, "ann"))
    _, outcomes = outcomes_of(inputs)
    assert not dates_of(outcomes, Orders)
    refused = [
        {
            Reason(int(r))
            for i, part in dates_of(outcomes, Rejections).items()
            if i in span
            for r in part["reason"]
        }
        for span in (range(6, 20), range(21, len(inputs)))
    ]
    assert Reason.KILL_SWITCH in refused[0]
    assert Reason.WARM_UP not in refused[0]
    assert Reason.WARM_UP in refused[1]
    assert Reason.KILL_SWITCH not in refused[1]
