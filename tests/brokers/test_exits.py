"""Exit rules: evaluated at a close, carried out at the next open."""

from __future__ import annotations

from typing import Any

import pytest

from engine.exits import ExitRules
from tests.brokers.scenario import FLAT, Bar, play, signal


def flat(price: float) -> Bar:
    return (price, price, price, price)


def exits(prices: list[float], rules: ExitRules, **fields: Any) -> list[tuple[int, int, str]]:
    """(row, quantity, why) of what is sold of 100 shares bought at the open of row 1 at 10."""
    played = play([FLAT, FLAT, *map(flat, prices)], [signal(0, **fields)], rules=rules)
    return [(t, q, why) for t, _, q, _, why in played.fills[1:]]


@pytest.mark.parametrize(
    ("rules", "prices", "sold"),
    [
        (ExitRules(sma_bars=3), [10.0, 9.9, 9.9], [(4, -100, "exit_sma")]),
        (ExitRules(sma_bars=3), [10.0, 10.0, 10.0], []),  # Equal is not below
        (ExitRules(sma_bars=9), [9.0, 8.0, 7.0], []),  # Not warm
        (ExitRules(low_bars=2), [10.1, 10.0, 9.9, 9.9], [(5, -100, "exit_low")]),
        (ExitRules(low_bars=2), [10.0, 10.0], []),
        (ExitRules(max_holding_bars=3), [10.0, 10.0, 10.0], [(4, -100, "max_holding")]),
        (ExitRules(take_profit_gain=0.25), [12.4, 12.5, 12.5], [(4, -100, "profit_take")]),
        (ExitRules(scale_out_gain=0.2), [12.0, 12.0, 12.5], [(3, -25, "scale_out")]),  # Once
    ],
)
def test_each_rule_sells_at_the_open_after_it_fires(
    rules: ExitRules, prices: list[float], sold: list[Any]
) -> None:
    assert exits(prices, rules) == sold


def test_a_failed_breakout_is_a_close_under_the_pivot_within_its_bars() -> None:
    rules = ExitRules(failed_breakout_bars=3)
    assert exits([10.0, 9.7, 9.7], rules, pivot=9.8) == [(4, -100, "failed_breakout")]
    assert exits([10.0, 10.0, 9.7, 9.7], rules, pivot=9.8) == []
    assert exits([10.0, 9.7], rules) == []  # No pivot


def test_a_quick_gain_is_held_for_its_bars_before_the_profit_is_taken() -> None:
    rules = ExitRules(take_profit_gain=0.25, quick_gain=0.2, quick_bars=2, quick_hold_bars=5)
    slow = [10.0, 12.6, 12.6, 12.6, 12.6, 12.6]
    assert exits(slow, rules) == [(4, -100, "profit_take")]  # +20 % came in the third bar
    quick = [12.1, 12.6, 12.6, 12.6, 12.6, 12.6]
    assert exits(quick, rules) == [(6, -100, "profit_take")]


def test_the_trailing_stop_rises_with_the_highest_close_and_acts_from_the_next_session() -> None:
    rules = ExitRules(trail_atr_multiple=2.0, trail_atr_bars=2)
    bars: list[Bar] = [(10.0, 10.5, 9.5, 10.0)] * 4 + [(12.0, 12.5, 9.0, 12.0), (11.0, 11.0, 8.0, 9.0)]
    played = play(bars, [signal(0)], rules=rules)
    # ATR(2) after the wide bar: 1 + (3.5 - 1) / 2 = 2.25; stop = 12 - 4.5 = 7.5, under 10 - 2 = 8 of before
    assert played.fills[1:] == [(5, 0, -100, 8.0, "stop")]


def test_a_bear_market_sells_where_the_rule_says_so() -> None:
    played = play([FLAT] * 4, [signal(0)], rules=ExitRules(exit_in_bear=1), market=[0, 0, 1, 0])
    assert [(t, why) for t, _, _, _, why in played.fills[1:]] == [(3, "bear_exit")]


def test_bars_without_volume_count_for_nothing() -> None:
    still: Bar = (10.0, 10.0, 10.0, 10.0, 0.0)
    played = play([FLAT, FLAT, still, still, FLAT, FLAT], [signal(0)], rules=ExitRules(max_holding_bars=2))
    assert [t for t, *_ in played.fills] == [1, 5]


def test_a_whole_exit_replaces_a_scale_out_that_waits() -> None:
    halt: Bar = (12.0, 12.0, 12.0, 12.0, 0.0)
    played = play(
        [FLAT, FLAT, flat(12.0), halt, flat(12.0)],
        [signal(0), signal(3, -1)],
        rules=ExitRules(scale_out_gain=0.2),
    )
    assert [(t, q, why) for t, _, q, _, why in played.fills[1:]] == [(4, -100, "signal")]


def test_a_scale_out_kept_back_by_another_exit_is_taken_later() -> None:
    from engine.events import OrderType

    day = signal(1, -1, order_type=OrderType.LIMIT, limit=20.0)
    gtc = signal(1, -1, order_type=OrderType.LIMIT, limit=13.0, tif=1)
    prices = [flat(12.0)] * 3
    rules = ExitRules(scale_out_gain=0.2)
    assert [t for t, *_ in play([FLAT, FLAT, *prices], [signal(0), day], rules=rules).fills] == [1, 3]
    assert [t for t, *_ in play([FLAT, FLAT, *prices], [signal(0), gtc], rules=rules).fills] == [1]
