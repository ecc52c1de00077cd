"""The book: rounding, round trips, splits and dividends in a trade, and what is too large for it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import EngineError
from engine.slab import ActionKind
from tests.brokers.scenario import FLAT, Bar, play, signal

MICRO = 1_000_000


def flat(price: float) -> Bar:
    return (price, price, price, price)


def test_the_value_of_a_fill_is_rounded_once_to_the_micro_dollar() -> None:
    price = 1 / 3
    played = play([flat(price)] * 3, [signal(0)], fixed_notional_usd=1.0)
    (fill,) = played.done.fills
    assert (int(fill["quantity"]), int(fill["value_micro"])) == (3, 1_000_000)
    assert int(played.done.equity[-1, 0, 2]) == 10_000 * MICRO


def test_a_round_trip_says_what_it_earned_risked_and_saw() -> None:
    bars: list[Bar] = [FLAT, FLAT, (10.0, 12.0, 9.5, 11.0), flat(11.0)]
    played = play(bars, [signal(0, structure_stop=9.0), signal(2, -1)], commission_rate=0.001)
    (trade,) = played.done.trades
    assert (trade["quantity"], trade["entry_price"], trade["exit_price"]) == (100, 10.0, 11.0)
    assert (int(trade["fees_micro"]), int(trade["pnl_micro"])) == (2_100_000, 97_900_000)
    assert trade["ret"] == pytest.approx(0.0979)
    assert trade["r_multiple"] == pytest.approx(0.979)
    assert (trade["mae"], trade["mfe"]) == (pytest.approx(-0.05), pytest.approx(0.2))
    assert (played.row(trade["ts_entry"]), played.row(trade["ts_exit"]), int(trade["bars_held"])) == (1, 3, 2)
    assert played.desk.open_positions().tolist() == []


def test_a_trade_through_a_split_and_a_dividend_keeps_its_cost_and_counts_its_income() -> None:
    actions = [(2, 0, int(ActionKind.SPLIT), 2.0), (2, 0, int(ActionKind.DIVIDEND), 0.1)]
    played = play([FLAT, FLAT, flat(5.0), flat(5.0)], [signal(0), signal(2, -1)], actions=actions)
    (trade,) = played.done.trades
    assert (int(trade["quantity"]), float(trade["entry_price"])) == (200, 5.0)
    assert int(trade["income_micro"]) == int(trade["pnl_micro"]) == 20 * MICRO


def test_a_lot_that_a_reverse_split_makes_nothing_is_paid_out_and_closed() -> None:
    played = play(
        [FLAT, FLAT, flat(10_000.0)], [signal(0)], fixed_notional_usd=100.0,
        actions=[(2, 0, int(ActionKind.SPLIT), 0.001)],
    )  # fmt: skip
    assert len(played.done.trades) == 1
    assert played.desk.open_positions().tolist() == []
    assert int(played.done.equity[-1, 0, 0]) == 10_000 * MICRO


def test_open_positions_are_listed_with_their_entry_mark_and_stop() -> None:
    played = play([FLAT, FLAT, flat(10.5)], [signal(0, structure_stop=9.0)])
    (p,) = played.desk.open_positions()
    assert (p["quantity"], p["entry_price"], p["mark"], p["stop"]) == (100, 10.0, 10.5, 9.0)


def test_a_halted_position_is_marked_at_its_last_close() -> None:
    played = play([FLAT, flat(10.0), None, (12.0, 12.0, 12.0, 12.0, 0.0)], [signal(0)])
    assert (played.done.equity[:, 0, 1] // MICRO).tolist() == [0, 1000, 1000, 1200]


def test_an_amount_beyond_the_ledger_stops_the_run() -> None:
    huge = 1e11
    with pytest.raises(EngineError, match="left the range of the ledger"):
        play([FLAT, FLAT, flat(huge)], [signal(0)])


def test_lots_that_are_together_too_large_stop_the_run_too() -> None:
    """Each of the two is worth 8e12 dollars, which the ledger can hold; their sum it cannot."""
    story = [FLAT, FLAT, flat(2e7)]
    buys = [signal(0, symbol=0), signal(0, symbol=1)]
    play({0: story}, buys[:1], capital_usd=8e6, fixed_notional_usd=4e6)
    with pytest.raises(EngineError, match="left the range of the ledger"):
        play({0: story, 1: story}, buys, capital_usd=9e6, fixed_notional_usd=4e6)


def test_capital_is_split_over_the_sleeves_to_the_last_micro_dollar() -> None:
    from engine.exits import ExitRules

    played = play([FLAT], [], rules=[ExitRules()] * 3, capital_usd=100.0)
    assert int(played.done.equity[0, :, 0].sum()) == 100 * MICRO
    assert np.ptp(played.done.equity[0, :, 0]) <= 1
