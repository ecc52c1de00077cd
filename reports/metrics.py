"""Every figure of an account with its convention (domain specification, section 10).

1. A figure that is not defined has the value None and a reason; it is never 0 or NaN.
2. Its convention travels with it: formula, unit, what it is annualised by.
3. A = 252 sessions a year. Shares are fractions of 1. Losses (drawdown, VaR, ES) are positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports import formulas
from reports.daily import Daily
from reports.formulas import Case, Undefined

Rows = NDArray[np.void]
HEADLINE = ("final_equity", "total_return", "cagr", "max_drawdown", "sharpe")


class Figure(NamedTuple):
    """A number, or None and why. `flag`: what a reader must know beside a number that is defined."""

    name: str
    title: str
    value: float | None
    reason: str | None
    unit: str
    convention: str
    flag: str | None = None


def compute(
    account: Daily, *, trades: Rows | None = None, benchmark: NDArray[np.float64] | None = None,
    risk_free_rate: float = 0.0,
) -> dict[str, Figure]:  # fmt: skip
    """Return all figures by name, in the order in which they are shown.

    trades: TRADE_DTYPE rows of the account, None for what is no account (a benchmark). benchmark:
    float64[n], its returns on the days of `account`, NaN where it has none. risk_free_rate: a year.
    """
    case = Case(account, trades, benchmark, risk_free_rate)
    return {definition.name: _figure(definition, case) for definition in DEFINITIONS}


def values(figures: Mapping[str, Figure]) -> dict[str, float | None]:
    return {name: figure.value for name, figure in figures.items()}


def reasons(figures: Mapping[str, Figure]) -> dict[str, str]:
    """Return why figures are undefined, for those that are."""
    return {name: figure.reason for name, figure in figures.items() if figure.reason is not None}


class Definition(NamedTuple):
    name: str
    title: str
    unit: str  # usd, fraction, ratio, R, sessions, days, count
    convention: str
    value: Callable[[Case], float]
    flag: Callable[[Case], str | None] = lambda case: None


def _figure(definition: Definition, case: Case) -> Figure:
    name, title, unit, convention, value, flag = definition
    try:
        made = float(value(case))
    except Undefined as undefined:
        return Figure(name, title, None, str(undefined), unit, convention)
    if not math.isfinite(made):
        return Figure(name, title, None, "not a finite number", unit, convention)
    return Figure(name, title, made, None, unit, convention, flag(case))


def _mean(field: str, scale: float = 1.0) -> Callable[[Case], float]:
    return lambda case: float(np.mean(case.closed[field])) / scale


def _of_regression(value: Callable[[Any], float]) -> Callable[[Case], float]:
    return lambda case: value(case.regression)


_D = Definition
DEFINITIONS = (
    _D("final_equity", "final equity", "usd", "equity at the last close", formulas.final_equity),
    _D("total_return", "return", "fraction", "growth of the flow-adjusted index - 1",
       formulas.total_return),
    _D("cagr", "CAGR", "fraction",
       "(prod(1 + r))^(365.25 / calendar days) - 1, first to last session; from 30 days on", formulas.cagr),
    _D("max_drawdown", "max drawdown", "fraction",
       "max(1 - index / running maximum), positive; the initial capital is the first point",
       formulas.max_drawdown),
    _D("sharpe", "Sharpe", "ratio", "mean(r - rf) / sd(r - rf) x sqrt(252), ddof 1, daily",
       formulas.sharpe),
    _D("volatility", "volatility", "fraction", "sd(r) x sqrt(252), ddof 1, daily", formulas.volatility),
    _D("sortino", "Sortino", "ratio",
       "mean(r - rf) / sqrt(mean over all days of min(r - rf, 0)^2) x sqrt(252)", formulas.sortino),
    _D("drawdown_sessions", "longest drawdown, sessions", "sessions",
       "from the high to the return to it; an open one runs to the end",
       lambda case: case.longest.sessions, formulas.unrecovered),
    _D("drawdown_days", "longest drawdown, days", "days", "calendar days of the same drawdown",
       lambda case: case.longest.days, formulas.unrecovered),
    _D("calmar", "Calmar", "ratio", "CAGR / max drawdown, whole period", formulas.calmar),
    _D("ulcer", "Ulcer index", "fraction", "sqrt(mean(drawdown^2)) over all sessions", formulas.ulcer),
    _D("upi", "Ulcer performance", "ratio", "(CAGR - rf) / Ulcer index", formulas.upi),
    _D("exposure_mean", "exposure, mean", "fraction", "mean(value of positions / equity) at the closes",
       formulas.exposure_mean),
    _D("exposure_share", "exposure, sessions", "fraction", "share of sessions that end with a position",
       formulas.exposure_share),
    _D("turnover", "turnover a year", "ratio", "min(buys, sells) / mean equity x 252 / sessions",
       formulas.turnover),
    _D("trades", "trades", "count",
       "closed round trips: an entry until its quantity is sold; open ones are not counted",
       formulas.trade_count),
    _D("hit_rate", "hit rate", "fraction", "share of trades with a net pnl > 0",
       lambda case: float(np.mean(case.closed["pnl_micro"] > 0))),
    _D("profit_factor", "profit factor", "ratio", "sum of gains / |sum of losses|, net of all costs",
       formulas.profit_factor),
    _D("expectancy_usd", "expectancy, $", "usd", "mean net pnl of a trade", _mean("pnl_micro", 1e6)),
    _D("expectancy_return", "expectancy, %", "fraction", "mean net return of a trade on its cost",
       _mean("ret")),
    _D("expectancy_r", "expectancy, R", "R",
       "mean of pnl / (quantity x (entry - initial stop)) over trades with a stop below the entry",
       lambda case: float(np.mean(case.r_multiples))),
    _D("sqn", "SQN", "ratio", "sqrt(min(n, 100)) x mean(R) / sd(R), ddof 1", formulas.sqn,
       formulas.few_trades),
    _D("tail_ratio", "tail ratio", "ratio", "q95 / |q05| of daily returns, linear quantiles",
       formulas.tail_ratio),
    _D("var_95", "VaR 95", "fraction", "- 5 % quantile of daily returns, historical, one day",
       formulas.value_at_risk),
    _D("es_95", "ES 95", "fraction", "- mean of the daily returns at or below their 5 % quantile",
       formulas.expected_shortfall),
    _D("best_day", "best day", "fraction", "largest daily return", lambda case: case.returns.max()),
    _D("worst_day", "worst day", "fraction", "smallest daily return", lambda case: case.returns.min()),
    _D("best_month", "best month", "fraction", "calendar months, first and last as far as they go",
       lambda case: case.months.max()),
    _D("worst_month", "worst month", "fraction", "calendar months, first and last as far as they go",
       lambda case: case.months.min()),
    _D("alpha", "alpha a year", "fraction", "intercept of r - rf on b - rf (OLS, daily) x 252",
       _of_regression(lambda fit: fit.intercept * formulas.ANNUAL_SESSIONS)),
    _D("alpha_error", "alpha, std. error", "fraction", "Newey-West, 5 lags, x 252",
       _of_regression(lambda fit: fit.intercept_error * formulas.ANNUAL_SESSIONS)),
    _D("beta", "beta", "ratio", "slope of r - rf on b - rf (OLS, daily)",
       _of_regression(lambda fit: fit.slope)),
    _D("beta_error", "beta, std. error", "ratio", "Newey-West, 5 lags",
       _of_regression(lambda fit: fit.slope_error)),
    _D("information_ratio", "information ratio", "ratio", "mean(r - b) / sd(r - b) x sqrt(252), ddof 1",
       formulas.information_ratio),
    _D("tracking_error", "tracking error", "fraction", "sd(r - b) x sqrt(252), ddof 1",
       formulas.tracking_error),
    _D("up_capture", "up capture", "ratio",
       "annualised growth over annualised growth of the benchmark, days on which it rose",
       formulas.up_capture),
    _D("down_capture", "down capture", "ratio",
       "annualised growth over annualised growth of the benchmark, days on which it fell",
       formulas.down_capture),
)  # fmt: skip
METRICS = tuple(definition.name for definition in DEFINITIONS)
