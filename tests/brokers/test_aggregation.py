"""Blended votes: the worked example of section 5, ties, freshness, own exits."""

from __future__ import annotations

from typing import Any

import pytest

from engine.exits import ExitRules
from engine.slab import ActionKind
from tests.brokers.scenario import BLEND, FLAT, Played, play, signal

WEIGHTS = [0.35, 0.25, 0.20, 0.20]  # CAN SLIM, Zanger, trend, Livermore


def blend(
    signals: list[dict[str, Any]], weights: list[float] = WEIGHTS, n: int = 12, **config: Any
) -> Played:
    rules = [ExitRules()] * len(weights)
    return play([FLAT] * n, signals, rules=rules, weights=weights, **BLEND, **config)


def vote(row: int, strategy: int, confidence: float, side: int = 1) -> dict[str, Any]:
    return signal(row, side, strategy=strategy, confidence=confidence)


def test_the_worked_example_does_not_trade() -> None:
    """B = 0.462, S = 0.120, W = 0.80, net = 0.4275."""
    played = blend([vote(0, 0, 0.82), vote(0, 1, 0.70), vote(0, 2, 0.60, -1)])
    assert played.fills == []
    assert played.rejections == [(0, 0, "conflict")] * 3
    assert played.done.rejections["value"].tolist() == pytest.approx([0.4275] * 3)
    assert (
        len(blend([vote(0, 0, 0.82), vote(0, 1, 0.70), vote(0, 2, 0.60, -1)], min_confidence=0.42).fills) == 1
    )


def test_one_side_and_fresh_is_the_weighted_mean() -> None:
    played = blend([vote(0, 0, 0.82), vote(0, 1, 0.70)])
    (made,) = played.done.signals
    assert made["confidence"] == pytest.approx((0.35 * 0.82 + 0.25 * 0.70) / 0.60)
    leader, net, buy, sell, *shares = made["details"][:8]
    assert (leader, sell) == (0.0, 0.0)
    assert net == pytest.approx(made["confidence"])
    assert shares == pytest.approx([0.287 / 0.462, 0.175 / 0.462, 0.0, 0.0])
    assert buy == pytest.approx(0.462)
    assert int(played.done.fills["strategy"][0]) == 0


def test_a_weak_vote_alone_is_below_the_minimum() -> None:
    assert blend([vote(0, 0, 0.49)]).rejections == [(0, 0, "below_min")]
    assert blend([vote(0, 0, 0.50)]).rejections == []


def test_votes_fade_and_are_forgotten_after_their_time() -> None:
    """A SELL of 0.6 against a BUY of 0.9 with equal weights: net = (0.9 - 0.6 d) / 2 while it votes."""
    for age in range(1, 8):
        played = blend([vote(0, 1, 0.6, -1), vote(age, 0, 0.9)], [0.5, 0.5], min_confidence=0.1)
        (made,) = played.done.signals[played.done.signals["side"] == 1]
        faded = 0.6 * 2 ** (-age / 10)
        assert made["details"][1] == pytest.approx((0.9 - faded) / 2 if age <= 5 else 0.9)


def test_a_buy_needs_a_fresh_buyer() -> None:
    """The stale BUY alone carries the net, but the only news is a weak SELL."""
    played = blend([vote(0, 0, 0.4), vote(1, 1, 0.0, -1)], [0.9, 0.1], min_confidence=0.3, n=4)
    assert len(played.done.signals[played.done.signals["ts"] > played.bars.ts[0]]) == 0


def test_an_exact_tie_sells_what_is_held_and_otherwise_does_nothing() -> None:
    tie = [vote(3, 0, 0.7), vote(3, 1, 0.7, -1)]
    assert blend(tie, [0.5, 0.5]).fills == []
    held = blend([vote(0, 2, 0.9), *tie], [0.4, 0.4, 0.2], signal_ttl_sessions=1)
    assert [(t, why) for t, _, _, _, why in held.fills] == [(1, "signal"), (4, "signal")]


def test_a_strategys_own_sell_closes_its_lot_whatever_the_net_says() -> None:
    played = blend([vote(0, 2, 0.9), vote(2, 0, 1.0), vote(2, 1, 1.0), vote(2, 2, 0.5, -1)])
    assert [(t, q > 0) for t, _, q, _, _ in played.fills][:2] == [(1, True), (3, False)]


def test_anothers_sell_alone_sells_when_the_net_is_low_enough() -> None:
    played = blend([vote(0, 0, 0.9), vote(8, 1, 0.8, -1)], [0.5, 0.5])
    assert [t for t, *_ in played.fills] == [1, 9]
    weak = blend([vote(0, 0, 0.9), vote(8, 1, 0.4, -1)], [0.5, 0.5])
    assert [t for t, *_ in weak.fills] == [1]
    assert weak.rejections == [(8, 0, "below_min")]


def test_voters_without_weight_decide_nothing() -> None:
    assert blend([vote(0, 1, 1.0)], [1.0, 0.0]).rejections == [(0, 0, "below_min")]


def test_a_vote_on_a_symbol_goes_on_under_its_new_name_and_gives_way_to_a_newer_one() -> None:
    """A SELL of 0.6 under the old name against a BUY of 0.9 under the new one, 3 rows later."""
    bars = {0: [FLAT] * 2, 1: [None, FLAT, FLAT, FLAT, FLAT, FLAT]}
    rename = (2, 0, int(ActionKind.RENAME), 1.0)

    def net(*more: dict[str, Any]) -> float:
        buy = signal(3, symbol=1, strategy=0, confidence=0.9)
        played = play(
            bars, [vote(0, 1, 0.6, -1), *more, buy], actions=[rename], rules=[ExitRules()] * 2,
            weights=[0.5, 0.5], min_confidence=0.1, **BLEND,
        )  # fmt: skip
        (made,) = played.done.signals[played.done.signals["side"] == 1]
        return float(made["details"][1])

    assert net() == pytest.approx((0.9 - 0.6 * 2 ** (-3 / 10)) / 2)
    newer = signal(1, -1, symbol=1, strategy=1, confidence=0.3)
    assert net(newer) == pytest.approx((0.9 - 0.3 * 2 ** (-2 / 10)) / 2)
