"""A positions file: what is read, what is refused, and how actions change it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from engine.slab import ACTION_DTYPE, ActionKind, Bars, Tape, Universe
from monitors.drawdown import DrawdownTracker
from monitors.positions_file import Held
from monitors.watched import WatchedDesk


def test_a_symbol_without_prices_is_refused():
    with pytest.raises(DataError, match="no prices of ZZZ"):
        WatchedDesk(Universe(("AAA",)), [Held("ZZZ", 1.0, 1.0, "")])


def test_a_share_class_is_found_however_it_is_written_and_only_once():
    universe = Universe(("AAA", "BRK-B"))
    desk = WatchedDesk(universe, [Held("BRK.B", 3.0, 30.0, "")])
    assert desk.state()["told"].tolist() == [0.0, 3.0]
    with pytest.raises(DataError, match=r"BRK\.B and BRK/B are one share"):
        WatchedDesk(universe, [Held("BRK.B", 3.0, 30.0, ""), Held("BRK/B", 1.0, 1.0, "")])


def session(desk, close, *actions, status=2):
    price = np.full((1, 1), close)
    rows = np.array(list(actions), ACTION_DTYPE)
    bars = Bars(np.array([1]), price, price, price, price, price)
    tape = Tape(
        bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume,
        np.full((1, 1), status, np.uint8), rows, bars.benchmark,
    )  # fmt: skip
    (equity,) = desk.process(tape, np.zeros(1, np.int64), [])
    return equity.marks[0, 0].tolist()


def test_splits_and_dividends_leave_the_portfolio_worth_what_it_is():
    desk = WatchedDesk(Universe(("AAA",)), [Held("AAA", 10.0, 100.0, "")])
    assert session(desk, 20.0) == [0, 200_000_000, 200_000_000]
    assert session(desk, 10.0, (0, 0, ActionKind.SPLIT, 2.0)) == [0, 200_000_000, 200_000_000]
    assert session(desk, 9.0, (0, 0, ActionKind.DIVIDEND, 1.0)) == [20_000_000, 180_000_000, 200_000_000]
    assert desk.profits_micro() == {"AAA": 100_000_000}


def test_without_a_bar_the_last_mark_stands():
    desk = WatchedDesk(Universe(("AAA",)), [Held("AAA", 10.0, 100.0, "")])
    session(desk, 20.0)
    assert session(desk, np.nan, status=0)[2] == 200_000_000
    other = WatchedDesk(Universe(("AAA",)), [Held("AAA", 10.0, 100.0, "")])
    other.restore(desk.state())
    assert other.money_micro() == desk.money_micro()


def test_more_than_the_ledger_can_hold_is_unknown():
    desk = WatchedDesk(Universe(("AAA",)), [Held("AAA", 1e12, 1e12, "")])
    session(desk, 2e6)
    assert desk.money_micro() == (0, None)
    assert desk.profits_micro() == {}
    more = reloaded(desk, Held("AAA", 2e12, 1e12, ""))
    assert (more.money_micro(), more.flow_micro()) == ((0, None), 0)
    assert session(more, 2.0)[2] == 4 * 10**18


CASH = Held("CASH", 100.0, math.nan, "")


def desk_of(*shares):
    return WatchedDesk(Universe(("AAA",)), [*(Held("AAA", n, n * 10.0, "") for n in shares), CASH])


def reloaded(desk, *held):
    """Return the desk under a file that holds these lines now."""
    fresh = WatchedDesk(Universe(("AAA",)), held)
    fresh.restore(desk.state())
    return fresh


def test_shares_that_came_or_went_are_money_paid_in_or_out_at_the_last_close():
    desk = desk_of(10.0)
    session(desk, 20.0)
    more = reloaded(desk, Held("AAA", 15.0, 150.0, ""), CASH)
    assert more.money_micro()[1] == 400_000_000
    assert more.flow_micro() == 100_000_000
    assert more.profits_micro() == desk.profits_micro() == {"AAA": 100_000_000}
    none = reloaded(more, CASH)
    assert none.money_micro() == (100_000_000, 100_000_000)
    assert none.flow_micro() == -200_000_000
    assert none.profits_micro() == {"AAA": 100_000_000}  # What was earned stays earned


def test_a_file_that_did_not_change_keeps_what_a_split_made_and_one_that_caught_up_pays_nothing():
    desk = desk_of(10.0)
    session(desk, 20.0)
    session(desk, 10.0, (0, 0, ActionKind.SPLIT, 2.0))
    same = reloaded(desk, Held("AAA", 10.0, 100.0, ""), CASH)
    assert same.money_micro() == desk.money_micro()
    caught_up = reloaded(desk, Held("AAA", 20.0, 100.0, ""), CASH)
    assert caught_up.money_micro() == desk.money_micro()
    assert same.flow_micro() == caught_up.flow_micro() == 0


def test_cash_that_is_told_anew_holds_its_dividends_and_cash_that_is_not_keeps_them():
    desk = desk_of(10.0)
    session(desk, 20.0, (0, 0, ActionKind.DIVIDEND, 1.0))
    held = Held("AAA", 10.0, 100.0, "")
    assert reloaded(desk, held, CASH).money_micro()[0] == 110_000_000
    told = reloaded(desk, held, CASH._replace(shares=110.0))
    assert (told.money_micro()[0], told.flow_micro()) == (110_000_000, 0)
    paid_in = reloaded(desk, held, CASH._replace(shares=150.0))
    assert (paid_in.money_micro()[0], paid_in.flow_micro()) == (150_000_000, 40_000_000)


def test_what_comes_before_its_first_price_is_paid_in_at_that_price():
    bought = reloaded(desk_of(), Held("AAA", 10.0, 100.0, ""), CASH)
    assert bought.money_micro()[1] is None
    assert session(bought, 20.0)[2] == 300_000_000
    assert bought.flow_micro() == 200_000_000
    session(bought, 25.0)
    assert bought.flow_micro() == 200_000_000
    assert bought.profits_micro() == {"AAA": 50_000_000}


def tape_of(prices, *actions):
    price = np.array([prices])
    bars = Bars(np.array([1]), price, price, price, price, price)
    return Tape(
        bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume, np.full(price.shape, 2, np.uint8),
        np.array(list(actions), ACTION_DTYPE), bars.benchmark,
    )  # fmt: skip


def test_a_renamed_symbol_takes_its_shares_along_and_a_file_that_follows_pays_nothing():
    universe = Universe(("AAA", "BBB"))
    desk = WatchedDesk(universe, [Held("AAA", 10.0, 100.0, "")])
    desk.process(tape_of([20.0, 20.0], (0, 0, ActionKind.RENAME, 1.0)), np.zeros(1, np.int64), [])
    assert desk.profits_micro() == {"BBB": 100_000_000}
    follows = WatchedDesk(universe, [Held("BBB", 10.0, 100.0, "")])
    follows.restore(desk.state())
    assert (follows.money_micro(), follows.flow_micro()) == (desk.money_micro(), 0)


closes = st.floats(1.0, 50.0)
holdings = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 500))


@given(st.lists(st.tuples(closes, closes, st.none() | holdings), min_size=2, max_size=25))
def test_the_drawdown_is_that_of_the_prices_whatever_is_written_into_the_file(days):
    """Against a naive count: the return of what was held from close to close, chained."""

    def desk_with(a, b, cash):
        lines = [Held("AAA", a, math.nan, ""), Held("BBB", b, math.nan, ""), CASH._replace(shares=cash)]
        return WatchedDesk(Universe(("AAA", "BBB")), lines)

    def drawdown():
        tracker.update("", desk.money_micro()[1], desk.flow_micro(), desk.profits_micro())
        return tracker.value

    held, desk, tracker = (10, 10, 50), desk_with(10, 10, 50), DrawdownTracker()
    level = highest = 1.0
    worth = None
    for a, b, changed in days:
        desk.process(tape_of([a, b]), np.zeros(1, np.int64), [])
        if worth is not None:
            level *= (held[0] * a + held[1] * b + held[2]) / worth
        highest = max(highest, level)
        assert drawdown() == pytest.approx(1 - level / highest, abs=1e-6)
        if changed is not None:
            before, held, desk = desk, changed, desk_with(*changed)
            desk.restore(before.state())
            assert drawdown() == pytest.approx(1 - level / highest, abs=1e-6)
        worth = held[0] * a + held[1] * b + held[2]
