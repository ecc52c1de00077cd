"""Slippage, spread, impact and commission by hand."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.config import SpreadModel
from brokers.costs import corwin_schultz_pair
from brokers.matching import affordable, pays_for
from engine.jit import kernel
from tests.brokers.scenario import FLAT, Bar, play, signal

pair: Any = getattr(corwin_schultz_pair, "py_func", corwin_schultz_pair)
K = 3 - 2 * math.sqrt(2)


def test_corwin_schultz_of_two_equal_ranges_is_their_closed_form() -> None:
    """h/l = 1.02 twice at one level: beta = 2 x, gamma = x with x = ln(1.02)^2."""
    x = math.log(1.02)
    alpha = (2 * x - math.sqrt(2) * x) / K - x / math.sqrt(K)
    spread = 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha))
    assert pair(10.2, 10.0, 10.1, 10.2, 10.0) == pytest.approx(spread, rel=1e-12)
    assert spread == pytest.approx(0.2 / 10.1)  # The whole range is spread when the price does not move


def test_corwin_schultz_removes_the_gap_overnight_and_is_never_negative() -> None:
    calm = pair(10.2, 10.0, 10.1, 10.2, 10.0)
    up = pair(10.2, 10.0, 10.02, 10.5, 10.3)  # Wholly above the close: shifted onto it
    assert up == pytest.approx(pair(10.2, 10.0, 10.02, 10.22, 10.02))
    down = pair(10.2, 10.0, 10.18, 9.6, 9.4)
    assert down == pytest.approx(pair(10.2, 10.0, 10.18, 10.18, 9.98))
    assert 0.0 < up < calm
    assert pair(10.0, 9.9, 9.95, 10.05, 9.95) == 0.0


def test_half_the_estimate_is_paid_and_it_is_capped_at_150_basis_points() -> None:
    calm: list[Bar] = [(10.05, 10.1, 10.0, 10.05)] * 25
    played = play(calm, [signal(20)], spread_model=SpreadModel.CORWIN_SCHULTZ)
    assert played.fills[0][3] == pytest.approx(
        10.05 * (1 + pair(10.1, 10.0, 10.05, 10.1, 10.0) / 2), rel=1e-12
    )
    wild: list[Bar] = [(10.5, 11.0, 10.0, 10.5)] * 25
    played = play(wild, [signal(20)], spread_model=SpreadModel.CORWIN_SCHULTZ)
    assert played.fills[0][3] == pytest.approx(10.5 * 1.0075, rel=1e-12)


def test_impact_is_three_quarters_of_volatility_times_the_root_of_the_share_of_volume() -> None:
    closes = [10.0 * (1.02 if k % 2 else 1.0) for k in range(30)]
    story: list[Bar] = [(c, c, c, c, 1_000.0) for c in closes]
    played = play(story, [signal(26)], impact_coefficient=0.75)
    sigma = float(np.std(np.diff(np.log(closes[6:27])), ddof=1))
    adv = float(np.mean([c * 1_000.0 for c in closes[7:27]]))
    quantity, o = played.fills[0][2], closes[27]
    assert played.fills[0][3] == pytest.approx(
        o * (1 + 0.75 * sigma * math.sqrt(quantity * o / adv)), rel=1e-12
    )


def test_costs_may_put_the_price_outside_the_bar() -> None:
    played = play([FLAT] * 4, [signal(0), signal(1, -1)], slippage_bps=50.0, half_spread_bps=50.0)
    assert [x[3] for x in played.fills] == [pytest.approx(10.1), pytest.approx(9.9)]


def test_commission_is_a_fraction_of_each_fills_value() -> None:
    played = play([FLAT] * 4, [signal(0), signal(1, -1)], commission_rate=0.001)
    assert played.done.fills["fee_micro"].tolist() == [1_000_000, 1_000_000]
    assert int(played.done.equity[-1, 0, 0]) == 10_000_000_000 - 2_000_000


class Params(NamedTuple):
    commission: float
    units: float


@kernel
def paid_for(cash: int, price: float, params: Params, quantity: int) -> tuple[int, bool]:
    return affordable(cash, price, params), pays_for(cash, quantity, price, params)


@given(
    st.integers(-10, 10**11),
    st.floats(0.01, 5000.0),
    st.sampled_from([0.0, 0.001, 0.01]),
    st.sampled_from([1.0, 1e6]),
    st.integers(1, 10**12),
)
def test_what_is_affordable_is_the_most_that_cash_can_pay(
    cash: int, price: float, rate: float, units: float, wanted: int
) -> None:
    def cost(q: int) -> int:
        value = round(q / units * price * 1e6)
        return value + round(value * rate)

    q, is_paid = paid_for(cash, price, Params(rate, units), wanted)
    assert q >= 0
    assert q == 0 or cost(q) <= cash
    assert units > 1.0 or cost(q + 2) > cash  # Within one share of the exact answer
    assert is_paid == (cost(wanted) <= cash)
    assert not is_paid or cash <= 0 or q >= wanted


def test_no_cash_pays_for_a_value_that_no_whole_number_holds() -> None:
    _, is_paid = paid_for(9 * 10**18, 1e7, Params(0.0, 1.0), 10**9)
    assert not is_paid
