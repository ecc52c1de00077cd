"""Fills: the stop and target table of the specification line by line, order types, volume, halts."""

from __future__ import annotations

from typing import Any

import pytest

from brokers.config import Intrabar
from engine.events import OrderType, Tif
from engine.slab import ActionKind
from tests.brokers.scenario import FLAT, Bar, play, signal

GTC = {"tif": int(Tif.GTC)}


def after_entry(bar: Bar, **config: Any) -> list[tuple[Any, ...]]:
    """Bought at 10 with a stop at 9 and a target at 12; then this bar."""
    played = play([FLAT, FLAT, bar], [signal(0, structure_stop=9.0, target=12.0)], **config)
    assert played.fills[0] == (1, 0, 100, 10.0, "signal")
    return [(price, why) for _, _, _, price, why in played.fills[1:]]


@pytest.mark.parametrize(
    ("bar", "fill"),
    [
        ((9.5, 9.8, 9.01, 9.5), []),  # Neither
        ((8.0, 9.5, 7.0, 9.0), [(8.0, "stop")]),  # o <= stop: gap loss in full
        ((9.0, 9.5, 8.0, 9.0), [(9.0, "stop")]),
        ((8.0, 13.0, 7.0, 9.0), [(8.0, "stop")]),  # The open comes before everything
        ((13.0, 14.0, 12.5, 13.0), [(13.0, "target")]),  # o >= target
        ((12.0, 14.0, 8.0, 13.0), [(12.0, "target")]),
        ((10.0, 11.0, 9.0, 10.0), [(9.0, "stop")]),  # l <= stop only: a touch is enough
        ((10.0, 12.5, 9.5, 12.0), [(12.0, "target")]),  # h > target only
        ((10.0, 12.0, 9.5, 12.0), []),  # A touch of the target does not fill
        ((10.0, 12.5, 8.5, 10.0), [(9.0, "stop")]),  # Both: worst
    ],
)
def test_stop_and_target_fill_as_the_table_says(bar: Bar, fill: list[Any]) -> None:
    assert after_entry(bar) == fill


@pytest.mark.parametrize(
    ("policy", "bar", "fill"),
    [
        (Intrabar.WORST, (10.0, 12.5, 8.9, 10.0), (9.0, "stop")),
        (Intrabar.BEST, (10.0, 12.5, 8.9, 10.0), (12.0, "target")),
        (Intrabar.PATH, (10.0, 12.5, 8.9, 10.0), (9.0, "stop")),  # The low is nearer to the open
        (Intrabar.PATH, (11.5, 12.5, 8.9, 10.0), (12.0, "target")),
        (Intrabar.PATH, (10.5, 12.5, 8.5, 10.0), (9.0, "stop")),  # As near: the worse
    ],
)
def test_both_levels_in_one_bar_are_resolved_by_the_policy(policy: Intrabar, bar: Bar, fill: Any) -> None:
    assert after_entry(bar, intrabar=policy) == [fill]


def test_stop_and_target_are_live_in_the_bar_of_the_entry_but_its_open_is_the_entry_itself() -> None:
    stopped = play([FLAT, (10.0, 10.5, 8.9, 9.5)], [signal(0, structure_stop=9.0)])
    assert stopped.fills == [(1, 0, 100, 10.0, "signal"), (1, 0, -100, 9.0, "stop")]
    taken = play([FLAT, (10.0, 10.5, 9.9, 10.4)], [signal(0, target=10.2)])
    assert taken.fills[1] == (1, 0, -100, 10.2, "target")
    above = play([FLAT, (10.0, 10.0, 9.9, 10.0)], [signal(0, target=9.5)])
    assert above.fills[1] == (1, 0, -100, 10.0, "target")  # Met at once; 9.5 was no price of this bar


def test_ambiguous_bars_are_counted() -> None:
    played = play([FLAT, FLAT, (10.0, 13.0, 8.0, 10.0)], [signal(0, structure_stop=9.0, target=12.0)])
    assert played.desk.ambiguous_bars == 1


def test_stops_pay_slippage_and_targets_do_not() -> None:
    cost = {"slippage_bps": 100.0}
    assert after_entry((10.0, 12.5, 9.5, 12.0), slippage_bps=0.0) == [(12.0, "target")]
    played = play([FLAT, FLAT, (10.0, 11.0, 8.9, 10.0)], [signal(0, structure_stop=9.0)], **cost)
    assert played.fills[0][3] == pytest.approx(10.1)
    assert played.fills[1][3] == pytest.approx(9.0 * 0.99)
    played = play([FLAT, FLAT, (10.0, 12.5, 9.9, 10.0)], [signal(0, target=12.0)], **cost)
    assert played.fills[1][3] == 12.0


def test_a_queued_exit_and_a_gap_under_the_stop_are_one_exit_at_the_open() -> None:
    played = play([FLAT, FLAT, (8.0, 9.0, 7.0, 8.0)], [signal(0, structure_stop=9.0), signal(1, -1)])
    assert played.fills[1:] == [(2, 0, -100, 8.0, "signal")]


@pytest.mark.parametrize(
    ("fields", "bar", "price"),
    [
        ({"order_type": OrderType.LIMIT, "limit": 9.5}, (10.0, 10.0, 9.4, 9.6), 9.5),
        ({"order_type": OrderType.LIMIT, "limit": 9.5}, (10.0, 10.0, 9.5, 9.6), None),  # Touch
        ({"order_type": OrderType.LIMIT, "limit": 9.5}, (9.3, 9.4, 9.2, 9.3), 9.3),  # Better at the open
        ({"order_type": OrderType.STOP, "trigger": 10.5}, (10.0, 10.5, 9.9, 10.0), 10.5),
        ({"order_type": OrderType.STOP, "trigger": 10.5}, (11.0, 11.5, 10.9, 11.0), 11.0),
        ({"order_type": OrderType.STOP, "trigger": 10.5}, (10.0, 10.4, 9.9, 10.0), None),
        ({"order_type": OrderType.TRAILING_STOP, "trail": 0.5}, (10.0, 10.6, 9.9, 10.0), 10.5),
        ({"order_type": OrderType.MARKET_ON_CLOSE}, (10.0, 10.6, 9.9, 10.3), 10.3),
    ],
)
def test_an_entry_order_fills_at_its_price(fields: dict[str, Any], bar: Bar, price: float | None) -> None:
    played = play([FLAT, bar, FLAT], [signal(0, **fields)])
    assert [(t, x) for t, _, _, x, _ in played.fills] == ([] if price is None else [(1, price)])


@pytest.mark.parametrize(
    ("fields", "bar", "price"),
    [
        ({"order_type": OrderType.LIMIT, "limit": 10.5}, (10.0, 10.6, 9.9, 10.0), 10.5),
        ({"order_type": OrderType.LIMIT, "limit": 10.5}, (10.0, 10.5, 9.9, 10.0), None),
        ({"order_type": OrderType.LIMIT, "limit": 10.5}, (10.8, 11.0, 10.7, 10.8), 10.8),
        ({"order_type": OrderType.STOP, "trigger": 9.5}, (10.0, 10.0, 9.5, 9.8), 9.5),
        ({"order_type": OrderType.STOP, "trigger": 9.5}, (9.2, 9.4, 9.1, 9.3), 9.2),
        ({"order_type": OrderType.TRAILING_STOP, "trail": 0.5}, (10.0, 10.0, 9.4, 9.8), 9.5),
        ({"order_type": OrderType.MARKET_ON_CLOSE}, (10.0, 10.0, 9.4, 9.8), 9.8),
    ],
)
def test_an_exit_order_fills_at_its_price(fields: dict[str, Any], bar: Bar, price: float | None) -> None:
    played = play([FLAT, FLAT, bar, FLAT], [signal(0), signal(1, -1, **fields)])
    assert [(t, x) for t, _, _, x, _ in played.fills[1:]] == ([] if price is None else [(2, price)])


def test_day_orders_expire_and_good_till_cancelled_ones_wait() -> None:
    limit = {"order_type": OrderType.LIMIT, "limit": 9.5}
    bars = [FLAT, FLAT, (9.4, 9.5, 9.3, 9.4)]
    assert play(bars, [signal(0, **limit)]).fills == []
    assert play(bars, [signal(0, **limit, **GTC)]).fills == [(2, 0, 100, 9.4, "signal")]


def test_a_trailing_trigger_follows_the_market_only_after_the_bar() -> None:
    trailing = {"order_type": OrderType.TRAILING_STOP, "trail": 1.0, **GTC}
    bars = [FLAT, FLAT, (10.0, 12.0, 10.0, 11.5), (11.5, 11.6, 10.9, 11.0)]
    played = play(bars, [signal(0), signal(1, -1, **trailing)])
    assert played.fills[1:] == [(3, 0, -100, 11.0, "signal")]  # 12 - 1; the bar's own high did not count


def test_a_gap_under_the_stop_comes_before_a_resting_limit_exit() -> None:
    """Found by reading: the limit sold at 11 although the lot had left at the open, at 8."""
    limit = {"order_type": OrderType.LIMIT, "limit": 11.0, **GTC}
    played = play(
        [FLAT, FLAT, (8.0, 11.5, 8.0, 11.0)], [signal(0, structure_stop=9.0), signal(1, -1, **limit)]
    )
    assert played.fills[1:] == [(2, 0, -100, 8.0, "stop")]


@pytest.mark.parametrize(("policy", "price"), [(Intrabar.WORST, 9.0), (Intrabar.BEST, 11.0)])
def test_a_resting_limit_exit_and_the_stop_in_one_bar_follow_the_policy(
    policy: Intrabar, price: float
) -> None:
    limit = {"order_type": OrderType.LIMIT, "limit": 11.0, **GTC}
    bars = [FLAT, FLAT, (10.0, 11.5, 8.0, 10.0)]
    played = play(bars, [signal(0, structure_stop=9.0), signal(1, -1, **limit)], intrabar=policy)
    assert [x[3] for x in played.fills[1:]] == [price]


def test_of_a_stop_order_and_the_lots_stop_the_higher_comes_first() -> None:
    stop = {"order_type": OrderType.STOP, "trigger": 8.5, **GTC}
    played = play(
        [FLAT, FLAT, (10.0, 10.0, 8.0, 9.0)], [signal(0, structure_stop=9.0), signal(1, -1, **stop)]
    )
    assert played.fills[1:] == [(2, 0, -100, 9.0, "stop")]


def thin(n: int, volume: float = 1000.0) -> list[Bar]:
    return [(10.0, 10.0, 10.0, 10.0, volume)] * n


def test_a_200_share_order_on_1000_share_bars_fills_100_today_and_100_later() -> None:
    played = play(thin(4), [signal(0)], participation=0.1, fixed_notional_usd=2_000.0)
    assert [(t, q) for t, _, q, _, _ in played.fills] == [(1, 100), (2, 100)]


def test_the_rest_of_an_entry_stays_three_bars() -> None:
    played = play(thin(8), [signal(0)], participation=0.1, fixed_notional_usd=9_000.0)
    assert [(t, q) for t, _, q, _, _ in played.fills] == [(1, 100), (2, 100), (3, 100), (4, 100)]
    assert played.ends == [(4, 0, "carry_expired")]


def test_an_exit_stays_until_it_is_done_and_ignores_volume_after_its_bars() -> None:
    bars = thin(2, 1e6) + thin(8, 100.0)
    played = play(bars, [signal(0), signal(1, -1)], participation=0.1, exit_waive_bars=3)
    assert [(t, q) for t, _, q, _, _ in played.fills] == [(1, 100), (2, -10), (3, -10), (4, -10), (5, -70)]


def test_accounts_share_the_volume_of_a_bar() -> None:
    from engine.exits import ExitRules

    both = [signal(0, strategy=0), signal(0, strategy=1)]
    played = play(thin(2), both, rules=[ExitRules(), ExitRules()], participation=0.06)
    assert [q for _, _, q, _, _ in played.fills] == [60]


def test_a_stop_order_hit_on_a_bar_without_volume_left_is_sold_at_the_next_open() -> None:
    stop = {"order_type": OrderType.STOP, "trigger": 9.5, **GTC}
    bars: list[Bar] = [FLAT, FLAT, (10.0, 10.0, 9.4, 9.8, 5.0), (9.9, 10.0, 9.8, 9.9)]
    played = play(bars, [signal(0), signal(1, -1, **stop)], participation=0.1)
    assert played.fills[1:] == [(3, 0, -100, 9.9, "signal")]


def test_selling_the_lot_ends_the_rest_of_its_entry() -> None:
    limit = {"order_type": OrderType.LIMIT, "limit": 10.0, **GTC}
    bars = [*thin(2, 100.0), *thin(3, 1000.0)]
    played = play(bars, [signal(0), signal(1, -1, **limit)], participation=0.1, entry_carry_bars=10)
    assert played.fills == [(1, 0, 10, 10.0, "signal"), (2, 0, -10, 10.0, "signal")]
    assert played.ends == [(2, 0, "signal")]


@pytest.mark.parametrize("halt", [None, (10.0, 10.0, 10.0, 10.0, 0.0)])
def test_in_a_halt_day_entries_cancel_exits_wait_and_stops_are_tested_when_trade_resumes(halt: Bar) -> None:
    entry = play([FLAT, halt, FLAT], [signal(0)])
    assert (entry.fills, entry.ends) == ([], [(1, 0, "no_trade")])
    leave = play([FLAT, FLAT, halt, (9.0, 9.0, 9.0, 9.0)], [signal(0), signal(1, -1)])
    assert leave.fills[1:] == [(3, 0, -100, 9.0, "signal")]
    stop = play([FLAT, FLAT, halt, (8.0, 8.5, 7.0, 8.0)], [signal(0, structure_stop=9.0)])
    assert stop.fills[1:] == [(3, 0, -100, 8.0, "stop")]


def test_post_order_reasons_are_recorded() -> None:
    gap_down = play([FLAT, (8.0, 8.0, 8.0, 8.0)], [signal(0, structure_stop=9.0)])
    assert gap_down.ends == [(1, 0, "stop_above_entry")]
    gap_up = play([FLAT, (11.0, 11.0, 11.0, 11.0)], [signal(0, open_max=10.5)])
    assert gap_up.ends == [(1, 0, "above_limit")]
    short = play([FLAT, (11.0, 11.0, 11.0, 11.0)], [signal(0)], capital_usd=505.0, fixed_notional_usd=500.0)
    assert short.ends == [(1, 0, "cash_at_fill")]
    assert short.fills[0][2] == 45  # 505 / 11
    halted: list[Bar] = [FLAT, FLAT, (10.0, 10.0, 10.0, 10.0, 0.0)]
    two = {0: halted, 1: [FLAT] * 3}
    slot = play(two, [signal(0), signal(1, -1), signal(1, symbol=1)], max_positions=1)
    assert slot.ends == [(2, 1, "slot_at_fill")]


def test_a_split_moves_quantity_stop_target_and_pays_the_fraction() -> None:
    action = (2, 0, int(ActionKind.SPLIT), 0.15)
    bars: list[Bar] = [FLAT, FLAT, (66.0, 67.0, 65.0, 66.0), (61.0, 62.0, 59.0, 60.0)]
    played = play(bars, [signal(0, structure_stop=9.0)], actions=[action], fixed_notional_usd=1_010.0)
    assert played.fills[1] == (3, 0, -15, pytest.approx(60.0), "stop")
    flow = played.done.cashflows[0]
    assert flow["amount_micro"] == round(0.15 * 10.0 / 0.15 * 1e6)


def test_an_order_rounds_with_its_lot_in_a_reverse_split() -> None:
    """49 x (1/49) is 0.99... in floating point: it was cancelled as nothing."""
    action = (1, 0, int(ActionKind.SPLIT), 1 / 49)
    bars: list[Bar] = [FLAT, (490.0, 490.0, 490.0, 490.0)]
    played = play(bars, [signal(0)], actions=[action], fixed_notional_usd=490.0)
    assert played.fills == [(1, 0, 1, 490.0, "signal")]


@pytest.mark.parametrize(
    ("kind", "value", "share"),
    [
        (ActionKind.DELIST_PROCEEDS, 3.5, 3.5),
        (ActionKind.DELIST_MERGER, 0.0, 10.0),
        (ActionKind.DELIST_PERFORMANCE_NYSE, 0.0, 7.0),
        (ActionKind.DELIST_PERFORMANCE_NASDAQ, 0.0, 4.5),
        (ActionKind.DELIST_UNKNOWN, 0.0, 7.0),
    ],
)
def test_a_delisting_pays_what_its_kind_recovers(kind: ActionKind, value: float, share: float) -> None:
    played = play([FLAT, FLAT, None], [signal(0)], actions=[(2, 0, int(kind), value)])
    assert int(played.done.cashflows["amount_micro"][0]) == round(100 * share * 1e6)
    assert played.done.trades["reason"][0] == 26


def test_twenty_missing_sessions_are_a_delisting_of_unknown_cause() -> None:
    played = play([FLAT, FLAT, *[None] * 20], [signal(0)], delist_after_sessions=20)
    flow = played.done.cashflows[0]
    assert (played.row(flow["ts"]), flow["per_share"]) == (21, 7.0)


def test_a_dividend_is_paid_on_what_was_held_through_the_close_before() -> None:
    actions = [(t, 0, int(ActionKind.DIVIDEND), 0.5) for t in (1, 2)]
    played = play([FLAT, FLAT, FLAT], [signal(0)], actions=actions)
    assert [(played.row(x["ts"]), int(x["amount_micro"])) for x in played.done.cashflows] == [(2, 50_000_000)]


def test_a_renamed_symbol_keeps_its_lot_its_stop_and_its_history() -> None:
    from engine.exits import ExitRules

    bars = {0: [FLAT] * 4, 1: [None] * 4 + [(9.0, 9.0, 9.0, 9.0), (8.9, 8.9, 8.9, 8.9)]}
    rename = (4, 0, int(ActionKind.RENAME), 1.0)
    played = play(bars, [signal(0)], actions=[rename], rules=ExitRules(sma_bars=3))
    assert played.fills[1:] == [(5, 1, -100, 8.9, "exit_sma")]


RENAME = (3, 0, int(ActionKind.RENAME), 1.0)


def test_a_symbol_renamed_to_one_that_is_held_becomes_one_lot_with_it() -> None:
    """Shares and costs add up; stop and entry stay those of the lot that has the name already."""
    bars = {0: [FLAT] * 3, 1: [FLAT] * 3 + [(12.0, 12.0, 8.5, 12.0), FLAT, FLAT]}
    buys = [signal(0, structure_stop=9.0), signal(1, symbol=1, structure_stop=8.0)]
    played = play(bars, [*buys, signal(4, -1, symbol=1)], actions=[RENAME])
    assert played.fills == [
        (1, 0, 100, 10.0, "signal"), (2, 1, 100, 10.0, "signal"), (5, 1, -200, 10.0, "signal")
    ]  # fmt: skip
    (trade,) = played.done.trades
    assert (int(trade["quantity"]), played.row(trade["ts_entry"]), trade["initial_stop"]) == (200, 2, 8.0)
    assert (trade["mae"], trade["mfe"]) == (pytest.approx(-0.15), pytest.approx(0.2))
    assert (played.done.equity[:, 0, 2] // 1_000_000).tolist() == [10_000] * 3 + [10_400] + [10_000] * 2


def test_an_exit_that_comes_along_with_a_renamed_lot_sells_what_that_lot_held() -> None:
    bars = {0: [FLAT] * 3, 1: [FLAT] * 5}
    story = [signal(0), signal(0, symbol=1), signal(2, -1)]
    played = play(bars, story, actions=[RENAME])
    assert played.fills[2:] == [(3, 1, -100, 10.0, "signal")]
    assert played.desk.open_positions()[["symbol", "quantity"]].tolist() == [(1, 100)]


def test_a_renamed_order_that_finds_its_place_taken_is_cancelled() -> None:
    """Both columns have an entry pending, then both an exit: one of each is left."""
    bars = {0: [FLAT] * 3, 1: [FLAT] * 5}
    entries = play(bars, [signal(2), signal(2, symbol=1)], actions=[RENAME])
    assert entries.fills == [(3, 1, 100, 10.0, "signal")]
    assert entries.done.orders["status"].tolist() == [0, 0, 3, 2]
    both = [signal(0), signal(0, symbol=1)]
    exits = play(bars, [*both, signal(2, -1), signal(2, -1, symbol=1)], actions=[RENAME])
    assert exits.fills[2:] == [(3, 1, -200, 10.0, "signal")]
    assert exits.desk.open_positions().tolist() == []
