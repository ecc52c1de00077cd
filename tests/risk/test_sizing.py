"""Sizes against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from brokers.config import Sizing
from engine.desk import allocate_state
from engine.slab import ActionKind
from risk.sizing import deviation_of_returns, mean_dollar_volume
from tests.brokers.scenario import FLAT, Bar, play, signal

STORY: list[Bar] = [FLAT] * 30


def bought(story: list[Bar], sizing: Sizing, confidence: float = 0.5, **config: Any) -> int:
    buy = signal(len(story) - 1, confidence=confidence, **config.pop("fields", {}))
    return play(story, [buy], position_sizing=sizing, **config).accepted[0]


def test_equal_weight_is_equity_over_slots() -> None:
    assert bought(STORY, Sizing.EQUAL_WEIGHT, max_positions=20) == 50  # 10,000 / 20 / 10
    assert bought(STORY, Sizing.EQUAL_WEIGHT, max_positions=None) == 50


def test_fixed_risk_loses_one_percent_of_equity_at_the_stop() -> None:
    """0.01 x 10,000 x 10 / (10 - 9.2) = 1,250 dollars = 125 shares; 125 x 0.8 = 100."""
    assert bought(STORY, Sizing.FIXED_RISK, individual_stop=0.08) == 125
    assert bought(STORY, Sizing.FIXED_RISK, fields={"structure_stop": 9.5}) == 200


def test_confidence_scales_a_slot_from_half_to_one_and_a_half() -> None:
    sizes = [bought(STORY, Sizing.CONFIDENCE, c, max_positions=20) for c in (0.2, 0.5, 0.75, 1.0)]
    assert sizes == [25, 25, 50, 75]


def test_vol_target_takes_the_floor_of_ten_percent() -> None:
    """N = 20: b = 0.15 / (20 sqrt(0.05 + 0.95 x 0.3)) = 0.0129580...; E b / 0.1 = 1,295.8 dollars."""
    assert bought(STORY, Sizing.VOL_TARGET, max_positions=20) == 129
    b = 0.15 / (20 * math.sqrt(0.05 + 0.95 * 0.3))
    assert int(10_000 * b / 0.1 / 10) == 129


def test_vol_target_halves_when_volatility_doubles() -> None:
    story: list[Bar] = [(x, x, x, x) for x in (10.0 * 1.02 ** (k % 2) for k in range(30))]
    sigma = np.std([math.log(1.02) * (-1) ** k for k in range(20)], ddof=1) * math.sqrt(252)
    b = 0.15 / (20 * math.sqrt(0.05 + 0.95 * 0.3))
    assert bought(story, Sizing.VOL_TARGET, max_positions=20) == int(10_000 * b / sigma / story[-1][0])  # type: ignore[index]


def test_fixed_notional_is_dollars_per_entry() -> None:
    assert bought(STORY, Sizing.FIXED_NOTIONAL, fixed_notional_usd=777.0) == 77
    assert (
        bought(STORY, Sizing.FIXED_NOTIONAL, fixed_notional_usd=777.0, fractional_shares=True) == 77_700_000
    )


def test_size_uses_the_split_adjusted_history() -> None:
    bars: list[Bar] = [(10.0, 10.0, 10.0, 10.0, 100.0)] * 20 + [(5.0, 5.0, 5.0, 5.0, 200.0)] * 2
    played = play(bars, [signal(21)], actions=[(20, 0, int(ActionKind.SPLIT), 2.0)], adv_cap=0.5,
                  position_sizing=Sizing.VOL_TARGET, max_positions=20)  # fmt: skip
    assert played.accepted == {0: 100}  # Half of 1,000 dollars of volume; and no 50 % crash in the volatility


def test_dollar_volume_and_volatility_of_an_empty_history_are_zero_and_unknown() -> None:
    state = allocate_state(1, 1, 1, 1, close_bars=22, range_bars=1, blend=False)
    closes, history = state.closes, state.history
    adv, volatility = (getattr(f, "py_func", f) for f in (mean_dollar_volume, deviation_of_returns))
    assert adv(closes, history, 0) == 0.0
    assert math.isnan(volatility(closes, history, 0))
    for k in range(25):
        closes[k % len(closes), :, 0] = (1.0 + k, 10.0)
        history[:, 0] = (k + 1, k)
        recent = [1.0 + j for j in range(max(0, k - 19), k + 1)]
        assert adv(closes, history, 0) == pytest.approx(10 * np.mean(recent))
        assert math.isnan(volatility(closes, history, 0)) == (k < 20)
