"""Indicators: equal to their definitions and, where those are the same, to TA-Lib's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine import indicators
from engine.errors import EngineError
from engine.jit import kernel

N = 120


def walk(seed: int, n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return high, low and close of a random walk, with gaps between bars."""
    rng = np.random.default_rng(seed)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    return close * (1 + rng.random(n) * 0.02), close * (1 - rng.random(n) * 0.02), close


def rolling(function: Callable[[np.ndarray], float], values: np.ndarray, n: int) -> np.ndarray:
    """Return function(last n values) at each bar, NaN before there are n."""
    return np.array(
        [function(values[t - n + 1 : t + 1]) if t >= n - 1 else np.nan for t in range(len(values))]
    )


HLC = walk(1)
CLOSE = HLC[2]
CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]] = {
    "sma": (lambda c: indicators.sma(c, 10), rolling(np.mean, CLOSE, 10)),
    "highest": (lambda c: indicators.highest(c, 10), rolling(np.max, CLOSE, 10)),
    "lowest": (lambda c: indicators.lowest(c, 10), rolling(np.min, CLOSE, 10)),
    "sd": (lambda c: indicators.rolling_sd(c, 10), rolling(lambda w: float(np.std(w, ddof=1)), CLOSE, 10)),
    "efficiency": (
        lambda c: indicators.efficiency_ratio(c, 10),
        rolling(lambda w: float((w[-1] - w[0]) / np.abs(np.diff(w)).sum()), CLOSE, 11),
    ),
    "ema": (
        lambda c: indicators.ema(c, 9),
        # e_0 = c_0, so the oldest close has the weight of all the closes before it
        np.array([0.8**t * CLOSE[0] + sum(0.2 * 0.8**k * CLOSE[t - k] for k in range(t)) for t in range(N)]),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_matches_the_definition(case: tuple[Any, np.ndarray]) -> None:
    function, expected = case
    np.testing.assert_allclose(function(CLOSE), expected, rtol=1e-9)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_future_cannot_change_the_past(case: tuple[Any, np.ndarray]) -> None:
    function, _ = case
    later = CLOSE.copy()
    later[60:] = 1.0
    assert function(later)[:60].tobytes() == function(CLOSE)[:60].tobytes()


@pytest.mark.parametrize("name", ["sma", "highest", "lowest", "sd", "efficiency"])
def test_what_lies_before_its_window_changes_no_bit(name: str) -> None:
    function, _ = CASES[name]
    later = function(np.concatenate([CLOSE[:40] * 1e6, CLOSE]))[-N + 10 :]
    assert later.tobytes() == function(CLOSE)[10:].tobytes()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_symbol_runs_over_its_traded_bars(case: tuple[Any, np.ndarray]) -> None:
    function, expected = case
    panel = np.full((N + 3, 3), np.nan)
    panel[:N, 0] = CLOSE
    traded = np.delete(np.arange(N + 3), [0, 50, 51])
    panel[traded, 2] = CLOSE
    out = function(panel)
    np.testing.assert_allclose(out[:N, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(out[traded, 2], expected, rtol=1e-9)
    assert np.isnan(out[[0, 50, 51], 2]).all()
    assert np.isnan(out[:, 1]).all()


def test_true_range_includes_the_gap() -> None:
    high, low, close = np.array([11.0, 15.0, 9.0]), np.array([9.0, 14.0, 8.0]), np.array([10.0, 14.5, 8.5])
    assert indicators.true_range(high, low, close).tolist()[1:] == [5.0, 6.5]
    assert np.isnan(indicators.true_range(high, low, close)[0])


def test_atr_wilder_starts_from_the_mean_of_the_first_ranges() -> None:
    ranges = indicators.true_range(*HLC)
    atr = indicators.atr(*HLC, 14)
    assert np.isnan(atr[:14]).all()
    assert atr[14] == pytest.approx(ranges[1:15].mean())
    for t in range(15, N):
        assert atr[t] == pytest.approx((13 * atr[t - 1] + ranges[t]) / 14)


def test_atr_simple_is_the_mean_of_the_last_ranges() -> None:
    ranges = indicators.true_range(*HLC)
    np.testing.assert_allclose(
        indicators.atr(*HLC, 14, method="simple"), rolling(np.mean, ranges, 14), rtol=1e-9
    )


def test_wilder_step_rescales_in_both_phases() -> None:
    @kernel
    def average(ranges: np.ndarray, split_at: int) -> float:
        value = 0.0
        for i in range(len(ranges)):
            if i == split_at:
                value /= 2.0
            value = indicators.wilder_step(value, ranges[i], i + 1, 14)
        return value

    ranges = np.random.default_rng(2).random(30)
    for split_at in (5, 20):
        before_split = ranges.copy()
        before_split[:split_at] *= 2.0
        assert average(before_split, split_at) == average(ranges, -1)


def test_nothing_that_moves_has_efficiency_zero() -> None:
    assert indicators.efficiency_ratio(np.full(12, 5.0), 10).tolist()[10:] == [0.0, 0.0]


def test_sd_of_large_values_does_not_cancel() -> None:
    values = 1e9 + np.arange(20) % 2
    assert indicators.rolling_sd(values, 20, ddof=0)[-1] == pytest.approx(0.5)


def test_agrees_with_talib_where_the_definitions_are_the_same() -> None:
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed")
    high, low, close = walk(3, 600)
    for ours, theirs in (
        (indicators.sma(close, 20), talib.SMA(close, 20)),
        (indicators.highest(close, 20), talib.MAX(close, 20)),
        (indicators.lowest(close, 20), talib.MIN(close, 20)),
        (indicators.true_range(high, low, close), talib.TRANGE(high, low, close)),
        (indicators.atr(high, low, close, 14), talib.ATR(high, low, close, 14)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    # TA-Lib takes E[x^2] - E[x]^2, which loses half of the digits
    np.testing.assert_allclose(indicators.rolling_sd(close, 20, ddof=0), talib.STDDEV(close, 20), rtol=1e-6)


def test_ema_agrees_with_talib_after_the_seed_has_decayed() -> None:
    """TA-Lib starts from the mean of the first `span` closes, we start from the first close."""
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed")
    _, _, close = walk(4, 600)
    ours, theirs = indicators.ema(close, 20), talib.EMA(close, 20)
    assert np.isnan(theirs[:19]).all()
    assert not np.isclose(ours[19], theirs[19], rtol=1e-4)
    seed_weight = (1 - 2 / 21) ** np.arange(len(close) - 19)
    difference = (ours - theirs)[19:]
    np.testing.assert_allclose(difference, difference[0] * seed_weight, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(ours[300:], theirs[300:], rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: indicators.sma(CLOSE, 0), r"n must be >= 1, was 0"),
        (lambda: indicators.ema(CLOSE, 0), r"span must be >= 1, was 0"),
        (lambda: indicators.rolling_sd(CLOSE, 5, ddof=5), r"ddof must be >= 0 and below n = 5, was 5"),
        (lambda: indicators.atr(*HLC, method="ema"), r"method must be 'wilder' or 'simple', was 'ema'"),
        (lambda: indicators.true_range(CLOSE, CLOSE[1:], CLOSE), r"of one shape, were \(120,\), \(119,\)"),
        (lambda: indicators.sma(np.zeros((2, 2, 2)), 2), r"were \(2, 2, 2\)"),
    ],
)
def test_refuses_what_has_no_meaning(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        call()


def test_too_short_a_history_has_no_values() -> None:
    assert np.isnan(indicators.sma(CLOSE[:5], 10)).all()
    assert np.isnan(indicators.atr(*(a[:5] for a in HLC))).all()
    assert indicators.sma(np.empty(0), 10).shape == (0,)
