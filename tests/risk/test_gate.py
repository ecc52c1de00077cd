"""The gate: each refusal with its numbers, in order of precedence; caps, ties, and NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brokers.config import Sizing
from engine.events import OrderType, Reason, Tif
from engine.exits import ExitRules
from engine.slab import NS_PER_DAY, Membership
from tests.brokers.scenario import BLEND, FLAT, Bar, Played, play, signal

HELD = [FLAT, FLAT, FLAT]
ZERO_VOLUME: Bar = (10.0, 10.0, 10.0, 10.0, 0.0)


def refused(played: Played) -> list[tuple[str, float, float]]:
    return [
        (Reason(int(x["reason"])).name.lower(), float(x["value"]), float(x["limit"]))
        for x in played.done.rejections
    ]


NONE = (np.nan, np.nan)
OUT = Membership(np.zeros(1, np.int64), np.zeros((1, 1), np.uint8))


@pytest.mark.parametrize(
    ("reason", "numbers", "bars", "signals", "config"),
    [
        ("not_a_member", NONE, [FLAT], [signal(0)], {"membership": OUT, "rules": ExitRules(m_gate=1)}),
        ("m_gate", NONE, [FLAT], [signal(0)], {"rules": ExitRules(m_gate=1), "market": [1]}),
        ("already_held", NONE, HELD, [signal(0), signal(1)], {}),
        (
            "pending_order", NONE, HELD,
            [signal(0, order_type=OrderType.LIMIT, limit=5.0, tif=int(Tif.GTC)), signal(1)], {},
        ),
        ("stale_symbol", NONE, [ZERO_VOLUME], [signal(0)], {}),
        ("invalid_stop", (10.0, 10.0), [FLAT], [signal(0, structure_stop=10.0)], {}),
        ("invalid_stop", (11.0, 10.0), [FLAT], [signal(0, stop_distance=-1.0)], {}),
        ("invalid_stop", (np.nan, np.nan), [FLAT], [signal(0, price_ref=np.nan)], {}),
        ("invalid_stop", (np.nan, 10.0), [FLAT], [signal(0)], {"position_sizing": Sizing.FIXED_RISK}),
        (
            "max_positions", (1.0, 1.0), {0: HELD, 1: HELD}, [signal(0), signal(1, symbol=1)],
            {"max_positions": 1},
        ),
        ("cap_name", (1000.0, 9.0), [FLAT], [signal(0)], {"max_name": 0.0009}),
        ("cap_sector", (1000.0, 5.0), [FLAT], [signal(0)], {"sector_limits": {"other": 0.0005}}),
        ("cap_gross", (1000.0, 5.0), [FLAT], [signal(0)], {"max_gross": 0.0005}),
        ("cap_liquidity", (1000.0, 0.5), [(10.0, 10.0, 10.0, 10.0, 1.0)], [signal(0)], {"adv_cap": 0.05}),
        ("no_cash", (1000.0, 9.9 / 1.01), [FLAT], [signal(0)], {"capital_usd": 9.9}),
        ("below_min_notional", (1000.0, 1001.0), [FLAT], [signal(0)], {"min_notional_usd": 1001.0}),
    ],
)  # fmt: skip
def test_each_refusal_names_its_reason_and_its_numbers(
    reason: str, numbers: Any, bars: Any, signals: Any, config: dict[str, Any]
) -> None:
    ((got, value, limit),) = refused(play(bars, signals, **config))
    assert got == reason
    np.testing.assert_allclose((value, limit), numbers, rtol=1e-12)


def test_a_halted_portfolio_comes_before_everything_else() -> None:
    crash: list[Bar] = [FLAT, FLAT, (7.0, 7.0, 7.0, 7.0), ZERO_VOLUME]
    played = play(
        crash, [signal(0), signal(2)], fixed_notional_usd=10_000.0 / 1.02, portfolio_stop=0.2,
        rules=ExitRules(m_gate=1), market=[0, 0, 1],
    )  # fmt: skip
    (reason, value, limit), *_ = refused(played)
    assert (reason, limit) == ("halted_portfolio", 0.2)
    assert value == pytest.approx(0.3 * 0.98, rel=0.01)


def test_the_first_reason_that_applies_is_the_one_given() -> None:
    """Held, and with a bad stop, and on a bar without volume: held comes first."""
    played = play([FLAT, FLAT, ZERO_VOLUME], [signal(0), signal(2, structure_stop=11.0)])
    assert played.rejections == [(2, 0, "already_held")]


@pytest.mark.parametrize(
    ("config", "shares", "cap"),
    [
        ({"max_name": 0.05}, 50, Reason.CAP_NAME),
        ({"sector_limits": {"other": 0.04}}, 40, Reason.CAP_SECTOR),
        ({"max_gross": 0.03}, 30, Reason.CAP_GROSS),
        ({"adv_cap": 0.00002}, 20, Reason.CAP_LIQUIDITY),
        ({"capital_usd": 101.0, "commission_rate": 0.0}, 10, Reason.NO_CASH),
        ({"max_name": 0.05, "max_gross": 0.04}, 40, Reason.CAP_GROSS),
        ({}, 100, 0),
    ],
)
def test_a_smaller_size_names_the_cap_that_bound(config: dict[str, Any], shares: int, cap: int) -> None:
    played = play([FLAT], [signal(0)], **config)
    assert played.accepted == {0: shares}
    assert int(played.done.orders["binding_cap"][0]) == cap


def test_accepted_entries_of_the_same_close_count_against_the_caps_of_the_next() -> None:
    stories = {s: [FLAT] for s in range(3)}
    signals = [signal(0, symbol=s, confidence=0.9 - s / 10) for s in range(3)]
    played = play(stories, signals, sectors=("energy", "energy", "utilities"),
                  sector_limits={"energy": 0.15, "other": 1.0}, max_gross=0.22)  # fmt: skip
    assert played.accepted == {0: 100, 1: 50, 2: 70}


def test_a_queued_market_exit_frees_its_slot_and_its_cash_at_a_haircut() -> None:
    signals = [signal(0), signal(1, -1), signal(1, symbol=1)]
    played = play({0: HELD, 1: HELD}, signals, max_positions=1, capital_usd=1_000.0, fixed_notional_usd=990.0)
    assert played.accepted == {0: 99, 1: int((10 + 990 * 0.98) / 1.01 / 10)}


def test_a_resting_limit_exit_frees_neither_slot_nor_cash() -> None:
    resting = signal(1, -1, order_type=OrderType.LIMIT, limit=20.0, tif=int(Tif.GTC))
    played = play({0: HELD, 1: HELD}, [signal(0), resting, signal(1, symbol=1)], max_positions=1)
    assert played.rejections == [(1, 1, "max_positions")]


def ranked(signals: list[dict[str, Any]], stories: Any, **config: Any) -> list[tuple[int, int]]:
    """(symbol, strategy) in the order in which the gate served them."""
    played = play(stories, signals, **config)
    both = [
        (int(x["seq"]), int(x["symbol"]), int(x["strategy"])) for x in played.done.orders if x["status"] == 0
    ]
    return [(s, i) for _, s, i in sorted(both)]


def test_competing_buys_are_served_by_confidence_weight_volume_symbol_and_strategy() -> None:
    def thin(v: float) -> list[Bar]:
        return [(10.0, 10.0, 10.0, 10.0, v)]

    stories = {0: thin(10_000.0), 1: thin(10_000.0), 2: thin(20_000.0)}
    two = {"rules": [ExitRules(), ExitRules()], "fixed_notional_usd": 100.0}
    buys = [
        signal(0, symbol=0, strategy=0, confidence=0.7),
        signal(0, symbol=0, strategy=1, confidence=0.7),
        signal(0, symbol=1, strategy=0, confidence=0.7 + 1e-11),  # The same to 9 decimals
        signal(0, symbol=2, strategy=0, confidence=0.7),
        signal(0, symbol=2, strategy=1, confidence=0.8),
    ]
    order = [(2, 1), (2, 0), (0, 0), (0, 1), (1, 0)]
    assert ranked(buys, stories, **two) == order
    heavier = ranked(buys, stories, weights=[1.0, 3.0], **two)
    assert heavier == [(2, 1), (0, 1), (2, 0), (0, 0), (1, 0)]


@pytest.mark.parametrize("field", ["price_ref", "confidence"])
@pytest.mark.parametrize("sizing", list(Sizing))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_never_buys_more(field: str, sizing: Sizing, value: float) -> None:
    story = [FLAT] * 30
    config = {"position_sizing": sizing, "individual_stop": 0.08, "max_positions": 20}
    sane = play(story, [signal(25, confidence=1.0)], **config).accepted.get(0, 0)
    odd = play(story, [signal(25, **{field: value})], **config).accepted.get(0, 0)
    assert odd == 0 if field == "price_ref" else odd <= sane


def test_vol_target_without_a_volatility_buys_nothing() -> None:
    """Found by reading: NaN passed every cap and bought at the largest of them."""
    played = play([FLAT] * 5, [signal(3)], position_sizing=Sizing.VOL_TARGET, max_name=0.1)
    assert played.rejections == [(3, 0, "below_min_notional")]


def test_an_unknown_sector_has_the_limit_of_other() -> None:
    played = play([FLAT], [signal(0)], sectors=("",), sector_limits={"energy": 1.0, "other": 0.05})
    assert played.accepted == {0: 50}


def test_a_blend_is_gated_by_the_rules_of_its_leader() -> None:
    played = play([FLAT], [signal(0)], rules=ExitRules(m_gate=2), market=[2], **BLEND)
    assert played.rejections == [(0, 0, "m_gate")]


def test_a_name_is_bought_from_the_day_it_joins_and_held_when_it_leaves() -> None:
    day = 15_000 * NS_PER_DAY
    membership = Membership(
        np.array([day - 9 * NS_PER_DAY, day + NS_PER_DAY, day + 3 * NS_PER_DAY]),
        np.array([[0], [1], [0]], np.uint8),
    )
    signals = [signal(0), signal(1), signal(4, side=-1), signal(5)]
    played = play([FLAT] * 7, signals, membership=membership)
    assert played.rejections == [(0, 0, "not_a_member"), (5, 0, "not_a_member")]
    assert [(row, quantity) for row, _, quantity, _, _ in played.fills] == [(2, 100), (5, -100)]


def test_the_first_period_counts_for_all_time_before_it() -> None:
    late = Membership(np.array([16_000 * NS_PER_DAY]), np.ones((1, 1), np.uint8))
    assert not play([FLAT] * 2, [signal(0)], membership=late).rejections
    assert play([FLAT], [signal(0)], membership=OUT).rejections == [(0, 0, "not_a_member")]
