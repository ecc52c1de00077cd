"""Every figure against a closed form, and against empyrical where the definitions agree."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import TRADE_DTYPE
from reports.daily import daily
from reports.metrics import DEFINITIONS, HEADLINE, METRICS, compute
from reports.regression import regress
from tests.reports.made_run import close_ns

DAY = 86_400 * 10**9
FIRST = close_ns("2023-01-03")


def history(returns, **more):
    returns = np.asarray(returns, float)
    ts = FIRST + DAY * np.arange(len(returns))
    return daily(ts, 100 * np.cumprod(1 + returns), 100.0, **more)


def trades(pnl, r=None, ret=None):
    rows = np.zeros(len(pnl), TRADE_DTYPE)
    rows["pnl_micro"] = np.array(pnl) * 10**6
    rows["r_multiple"] = np.nan if r is None else r
    rows["ret"] = 0.0 if ret is None else ret
    return rows


def noise(n=750, seed=5):
    return np.random.Generator(np.random.PCG64(seed)).standard_t(4, n) * 0.01 + 0.0004


def value(returns, name, **more):
    return compute(history(returns), **more)[name].value


def test_every_figure_is_a_number_or_has_a_reason():
    for returns in ([], [0.01], [0.0, 0.0], noise()):
        for figure in compute(history(returns)).values():
            assert (figure.value is None) == bool(figure.reason)
            assert figure.value is None or math.isfinite(figure.value)
            assert figure.convention
            assert figure.title


def test_names_are_unique_and_the_headline_comes_first():
    assert len(set(METRICS)) == len(METRICS)
    assert METRICS[: len(HEADLINE)] == HEADLINE
    assert {d.unit for d in DEFINITIONS} <= {
        "usd", "fraction", "ratio", "R", "sessions", "days", "count",
    }  # fmt: skip


@pytest.mark.peers
class TestAgainstEmpyrical:
    """Same returns, same number to 1e-10."""

    @pytest.fixture(autouse=True)
    def _oracle(self):
        self.oracle = pytest.importorskip("empyrical", reason="empyrical is not installed: make peers")

    @pytest.mark.parametrize("seed", range(3))
    def test_figures_of_returns_agree(self, seed):
        e, r, b = self.oracle, noise(seed=seed), noise(seed=seed + 100) + 0.5 * noise(seed=seed)
        made = compute(history(r), benchmark=b)
        pairs = {
            "sharpe": e.sharpe_ratio(r), "volatility": e.annual_volatility(r),
            "sortino": e.sortino_ratio(r), "max_drawdown": -e.max_drawdown(r),
            "tail_ratio": e.tail_ratio(r), "var_95": -e.value_at_risk(r), "beta": e.beta(r, b),
            "es_95": -e.conditional_value_at_risk(r), "total_return": e.cum_returns_final(r),
            "alpha": ((1 + e.alpha(r, b)) ** (1 / 252) - 1) * 252,
            "up_capture": e.up_capture(r, b), "down_capture": e.down_capture(r, b),
        }  # fmt: skip
        for name, expected in pairs.items():
            assert made[name].value == pytest.approx(expected, rel=1e-10), name

    def test_the_excess_return_ratio_is_the_information_ratio_over_the_root_of_a_year(self):
        r, b = noise(seed=1), noise(seed=2)
        expected = self.oracle.excess_sharpe(r, b) * math.sqrt(252)
        assert value(r, "information_ratio", benchmark=b) == pytest.approx(expected, rel=1e-10)

    def test_a_risk_free_rate_lowers_the_ratio_of_sharpe_as_a_daily_rate(self):
        r = noise()
        expected = self.oracle.sharpe_ratio(r, risk_free=1.04 ** (1 / 252) - 1)
        assert value(r, "sharpe", risk_free_rate=0.04) == pytest.approx(expected, rel=1e-10)


def test_the_longest_drawdown_runs_from_the_high_to_the_return_to_it():
    made = compute(
        daily(FIRST + DAY * np.array([0, 1, 4, 5, 6]), np.array([110.0, 99, 104, 110, 120]), 100.0)
    )
    assert (made["drawdown_sessions"].value, made["drawdown_days"].value) == (3, 5)
    assert made["drawdown_sessions"].flag is None
    assert made["max_drawdown"].value == pytest.approx(0.1)
    assert made["ulcer"].value == pytest.approx(math.sqrt((0.1**2 + (6 / 110) ** 2) / 5))


def test_a_drawdown_that_has_not_ended_is_flagged_and_counts_to_the_end():
    made = compute(daily(FIRST + DAY * np.arange(4), np.array([110.0, 99, 104, 109]), 100.0))
    assert made["drawdown_sessions"].value == 3
    assert made["drawdown_sessions"].flag == "not recovered at the end"


def test_a_curve_that_only_rises_has_no_drawdown_and_no_ratio_to_it():
    made = compute(history([0.01] * 40))
    assert made["max_drawdown"].value == 0.0
    assert {made[name].reason for name in ("calmar", "upi", "drawdown_days")} == {"no drawdown"}
    assert made["sortino"].reason == "no day below the target"


def test_calmar_and_upi_are_growth_over_depth():
    made = compute(history(noise()), risk_free_rate=0.02)
    assert made["calmar"].value == made["cagr"].value / made["max_drawdown"].value
    assert made["upi"].value == (made["cagr"].value - 0.02) / made["ulcer"].value


def test_a_deposit_is_no_return():
    ts = FIRST + DAY * np.arange(3)
    made = daily(ts, np.array([101.0, 152.0, 152.0]), 100.0, flows_usd=np.array([0.0, 50.0, 0.0]))
    assert made.returns == pytest.approx([0.01, 102 / 101 - 1, 0.0])
    assert compute(made)["total_return"].value == pytest.approx(0.02)
    assert compute(made)["max_drawdown"].value == 0.0


def test_exposure_is_the_mean_share_and_the_share_of_sessions():
    curve = daily(FIRST + DAY * np.arange(4), np.full(4, 200.0), 200.0, gross_usd=np.array([0, 100, 50, 0.0]))
    made = compute(curve)
    assert made["exposure_mean"].value == pytest.approx(150 / 800)
    assert made["exposure_share"].value == 0.5


def test_turnover_is_the_smaller_side_over_mean_equity_a_year():
    ts = FIRST + DAY * np.arange(126)
    curve = daily(ts, np.full(126, 1000.0), 1000.0, bought_usd=600.0, sold_usd=500.0)
    assert compute(curve)["turnover"].value == pytest.approx(1.0)


def test_trades_are_measured_in_dollars_per_cent_and_r():
    made = compute(
        history([0.01]),
        trades=trades([100, -50, 30, 0], r=[2.0, -1.0, 0.6, np.nan], ret=[0.1, -0.05, 0.03, 0]),
    )
    assert made["trades"].value == 4
    assert made["hit_rate"].value == 0.5
    assert made["profit_factor"].value == pytest.approx(2.6)
    assert made["expectancy_usd"].value == pytest.approx(20.0)
    assert made["expectancy_return"].value == pytest.approx(0.02)
    assert made["expectancy_r"].value == pytest.approx(1.6 / 3)
    r = np.array([2.0, -1.0, 0.6])
    assert made["sqn"].value == pytest.approx(math.sqrt(3) * r.mean() / r.std(ddof=1))
    assert made["sqn"].flag == "3 trades, fewer than 30"


def test_sqn_counts_at_most_one_hundred_trades():
    r = noise(400)
    made = compute(history([0.01]), trades=trades([1] * 400, r=r))["sqn"]
    assert made.value == pytest.approx(10 * r.mean() / r.std(ddof=1))
    assert made.flag is None


@pytest.mark.parametrize(
    ("rows", "name", "why"),
    [
        (None, "trades", "not an account that trades"),
        (trades([]), "hit_rate", "no closed trades"),
        (trades([5]), "profit_factor", "no losing trade"),
        (trades([5]), "sqn", "no trade had a stop below its entry"),
        (trades([5], r=1.0), "sqn", "needs 2 trades with an initial stop"),
    ],
)
def test_a_figure_of_trades_that_is_not_defined_says_why(rows, name, why):
    assert compute(history([0.01]), trades=rows)[name].reason == why


def test_best_and_worst_months_are_calendar_months():
    made = compute(history([0.001] * 28 + [0.0] + [-0.002] * 28))
    assert made["best_month"].value == pytest.approx(1.001**28 - 1)
    assert made["worst_month"].value == pytest.approx(0.998**28 - 1)


@given(
    returns=st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=120),
)
@settings(max_examples=50, deadline=None)
def test_months_and_years_compound_to_the_whole(returns):
    curve = history(returns)
    for _, parts in (curve.monthly(), curve.yearly()):
        assert np.prod(1 + parts) == pytest.approx(np.prod(1 + np.array(returns)), rel=1e-9)
    assert all(0 < d.depth <= 1 and d.sessions >= 1 for d in curve.drawdowns())


def test_an_exact_line_is_found_with_no_error():
    x = noise(100)
    fit = regress(0.0002 + 1.5 * x, x, lags=5)
    assert (fit.intercept, fit.slope) == pytest.approx((0.0002, 1.5))
    assert (fit.intercept_error, fit.slope_error) == pytest.approx((0.0, 0.0), abs=1e-15)


def test_newey_west_errors_equal_the_definition_written_as_double_sums():
    x, e = noise(60, seed=1), noise(60, seed=2)
    y = 0.8 * x + e
    design = np.column_stack((np.ones(60), x))
    bread = np.linalg.inv(design.T @ design)
    beta = bread @ design.T @ y
    u = y - design @ beta
    meat = np.zeros((2, 2))
    for t in range(60):
        for s in range(60):
            weight = max(0.0, 1 - abs(t - s) / 6)
            meat += weight * u[t] * u[s] * np.outer(design[t], design[s])
    expected = np.sqrt(np.diag(bread @ meat @ bread))
    fit = regress(y, x, lags=5)
    assert (fit.intercept, fit.slope) == pytest.approx(tuple(beta), rel=1e-10)
    assert (fit.intercept_error, fit.slope_error) == pytest.approx(tuple(expected), rel=1e-9)


def test_days_without_a_benchmark_are_left_out_of_the_comparison():
    r, b = noise(), noise(seed=9)
    holes = b.copy()
    holes[::3] = np.nan
    keep = ~np.isnan(holes)
    made = compute(history(r), benchmark=holes)
    assert made["tracking_error"].value == pytest.approx((r - b)[keep].std(ddof=1) * math.sqrt(252))
    assert compute(history(r))["beta"].reason == "no benchmark"
    assert compute(history(r), benchmark=np.zeros(len(r)))["beta"].reason == "benchmark does not vary"


def test_captures_need_a_day_of_their_kind():
    made = compute(history([0.01, 0.02]), benchmark=np.array([0.01, 0.02]))
    assert made["up_capture"].value == pytest.approx(1.0)
    assert made["down_capture"].reason == "the benchmark had no down day"


def test_after_a_total_loss_there_are_no_returns_to_measure():
    curve = daily(FIRST + DAY * np.arange(40), np.concatenate((np.full(20, 50.0), np.zeros(20))), 100.0)
    made = compute(curve)
    assert made["total_return"].value == -1.0
    assert made["max_drawdown"].value == 1.0
    for name in ("cagr", "sharpe", "var_95", "volatility"):
        assert made[name].reason == "all capital was lost"
