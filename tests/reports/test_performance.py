"""The basic figures against closed forms, and what is undefined says so."""

import math

import numpy as np
import pytest

from engine.events import Equity
from reports.performance import METRICS, contributions, measure, summarise
from tests.reports.made_run import close_ns

DAY = 86_400 * 10**9
FIRST = close_ns("2023-01-03")


def daily(n):
    return FIRST + DAY * np.arange(n)


def test_a_doubling_in_a_year_is_a_cagr_of_one_hundred_per_cent():
    ts = np.array([FIRST, FIRST + 365 * DAY])
    made = measure(ts, np.array([100.0, 200.0]), 100.0)
    assert made.total_return == 1.0
    assert made.cagr == pytest.approx(2.0 ** (365.25 / 365) - 1, rel=1e-15)


def test_initial_capital_is_the_first_point_of_the_curve():
    made = measure(daily(40), np.full(40, 90.0), 100.0)
    assert made.max_drawdown == pytest.approx(0.1)
    assert made.total_return == pytest.approx(-0.1)


def test_drawdown_is_positive_and_from_the_highest_point_so_far():
    equity = np.array([100.0, 120.0, 90.0, 130.0, 117.0])
    assert measure(daily(5), equity, 100.0).max_drawdown == pytest.approx(0.25)


def test_sharpe_is_mean_over_deviation_of_daily_excess_returns_annualised():
    returns = np.array([0.01, -0.02, 0.015, 0.0, 0.005])
    made = measure(daily(5), 100 * np.cumprod(1 + returns), 100.0, risk_free_rate=0.05)
    excess = returns - (1.05 ** (1 / 252) - 1)
    assert made.sharpe == pytest.approx(excess.mean() / excess.std(ddof=1) * math.sqrt(252), rel=1e-12)


def test_intraday_curves_are_measured_by_their_days():
    returns = np.array([0.01, -0.02, 0.015])
    closes = 100 * np.cumprod(1 + returns)
    whole = measure(daily(3), closes, 100.0)
    ts = np.sort(np.concatenate((daily(3), daily(3) - 3600 * 10**9)))
    noon_and_close = np.column_stack((closes * 1.001, closes)).ravel()
    made = measure(ts, noon_and_close, 100.0)
    assert made.sharpe == whole.sharpe


@pytest.mark.parametrize(
    ("equity", "name", "why"),
    [
        (np.array([100.0, 101.0]), "cagr", "needs 30 calendar days, has 1"),
        (np.full(40, 100.0), "sharpe", "returns do not vary"),
        (100 * 1.001 ** np.arange(1, 41), "sharpe", "returns do not vary"),
        (np.array([101.0]), "sharpe", "needs 2 days of returns"),
        (np.concatenate((np.full(39, 50.0), [0.0])), "cagr", "all capital was lost"),
        (np.array([0.0, 0.0, 0.0]), "sharpe", "all capital was lost"),
    ],
)
def test_what_is_not_defined_is_nan_with_a_reason(equity, name, why):
    made = measure(daily(len(equity)), equity, 100.0)
    assert math.isnan(getattr(made, name))
    assert made.undefined[name] == why
    assert made.figures()[name] is None


def test_a_run_without_bars_keeps_its_capital_and_defines_nothing_else():
    made = measure(np.empty(0, np.int64), np.empty(0), 100.0)
    assert made.final_equity == 100.0
    assert set(made.undefined) == set(METRICS) - {"final_equity"}
    assert made.undefined["sharpe"] == "no bars"


def test_contributions_sum_to_the_return_of_the_whole():
    parts = contributions(["a", "b"], [60.0, 40.0], [66.0, 38.0])
    assert [part.total_return for part in parts] == pytest.approx([0.1, -0.05])
    assert sum(part.contribution for part in parts) == pytest.approx(104 / 100 - 1)


def test_the_benchmark_starts_with_the_same_capital_at_its_first_price():
    equity = np.full((4, 1), 100_000_000)
    curve = Equity(daily(4), np.dstack([equity, equity * 0, equity]))
    made = summarise(curve, ["a"], [100.0], np.array([np.nan, 50.0, 60.0, np.nan]))
    assert made.benchmark is not None
    assert made.benchmark.final_equity == pytest.approx(120.0)
    assert summarise(curve, ["a"], [100.0], np.full(4, np.nan)).benchmark is None
