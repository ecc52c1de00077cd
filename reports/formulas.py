"""The formulas of the figures, each a function of a `Case` (domain specification, section 10).

A formula returns a number or raises `Undefined` with the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.counted import counted
from reports.daily import Daily, Drawdown
from reports.regression import Regression, regress

ANNUAL_SESSIONS = 252
CAGR_DAYS_MIN = 30
SQN_TRADES_MIN = 30
NEWEY_WEST_LAGS = 5
LOST = "all capital was lost"

Float = NDArray[np.float64]
Rows = NDArray[np.void]


class Undefined(Exception):
    """Raised by a definition; the text is the reason."""


@dataclass(frozen=True, eq=False)
class Case:
    """What definitions are functions of, and what several of them need."""

    account: Daily
    trades: Rows | None
    benchmark: Float | None
    risk_free_rate: float

    @property
    def rate_a_day(self) -> float:
        return float((1 + self.risk_free_rate) ** (1 / ANNUAL_SESSIONS) - 1)

    @property
    def returns(self) -> Float:
        """At least one, and none after a total loss."""
        if not len(self.account):
            raise Undefined("no bars")
        if self.account.ruined:
            raise Undefined(LOST)
        return self.account.returns

    @property
    def excess(self) -> Float:
        return self.returns - self.rate_a_day

    @cached_property
    def longest(self) -> Drawdown:
        """The first of the longest drawdowns."""
        _some_bars(self)
        found = self.account.drawdowns()
        if not found:
            raise Undefined("no drawdown")
        return max(found, key=lambda drawdown: drawdown.sessions)

    @cached_property
    def months(self) -> Float:
        _some_bars(self)
        made = self.account.monthly()[1]
        return made[~np.isnan(made)]

    @property
    def pairs(self) -> tuple[Float, Float]:
        """Returns of the account and of the benchmark on the days that have both."""
        if self.benchmark is None:
            raise Undefined("no benchmark")
        both = ~np.isnan(self.benchmark)
        return self.returns[both], self.benchmark[both]

    @cached_property
    def regression(self) -> Regression:
        returns, against = self.pairs
        if len(returns) < 3:
            raise Undefined("needs 3 days with a benchmark")
        if not _varies(against):
            raise Undefined("benchmark does not vary")
        return regress(returns - self.rate_a_day, against - self.rate_a_day, lags=NEWEY_WEST_LAGS)

    @property
    def active(self) -> Float:
        returns, against = self.pairs
        if len(returns) < 2:
            raise Undefined("needs 2 days with a benchmark")
        return returns - against

    @property
    def closed(self) -> Rows:
        """At least one trade."""
        if self.trades is None:
            raise Undefined("not an account that trades")
        if not len(self.trades):
            raise Undefined("no closed trades")
        return self.trades

    @property
    def r_multiples(self) -> Float:
        every: Float = self.closed["r_multiple"]
        known = every[~np.isnan(every)]
        if not len(known):
            raise Undefined("no trade had a stop below its entry")
        return np.asarray(known)


def _some_bars(case: Case) -> None:
    if not len(case.account):
        raise Undefined("no bars")


def _varies(values: Float) -> bool:
    # A constant return leaves a deviation of rounding errors, not of zero.
    return bool(np.std(values) > 1e-15 * max(1.0, float(np.abs(values).max())))


def _two(values: Float) -> Float:
    if len(values) < 2:
        raise Undefined("needs 2 days of returns")
    return values


def _varying(values: Float) -> Float:
    if not _varies(_two(values)):
        raise Undefined("returns do not vary")
    return values


def final_equity(case: Case) -> float:
    return float(case.account.equity[-1]) if len(case.account) else case.account.capital


def total_return(case: Case) -> float:
    _some_bars(case)
    return float(case.account.index[-1]) - 1


def cagr(case: Case) -> float:
    _some_bars(case)
    days, growth = case.account.calendar_days, float(case.account.index[-1])
    if days < CAGR_DAYS_MIN:
        raise Undefined(f"needs {CAGR_DAYS_MIN} calendar days, has {days}")
    if growth <= 0:
        raise Undefined(LOST)
    return float(growth ** (365.25 / days) - 1)


def volatility(case: Case) -> float:
    return float(np.std(_two(case.returns), ddof=1)) * math.sqrt(ANNUAL_SESSIONS)


def sharpe(case: Case) -> float:
    excess = _varying(case.excess)
    return float(np.mean(excess)) / float(np.std(excess, ddof=1)) * math.sqrt(ANNUAL_SESSIONS)


def sortino(case: Case) -> float:
    excess = _two(case.excess)
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2)))
    if downside <= 1e-15:
        raise Undefined("no day below the target")
    return float(np.mean(excess)) / downside * math.sqrt(ANNUAL_SESSIONS)


def max_drawdown(case: Case) -> float:
    _some_bars(case)
    return float(np.max(case.account.underwater))


def unrecovered(case: Case) -> str | None:
    return "not recovered at the end" if case.longest.recovery is None else None


def ulcer(case: Case) -> float:
    _some_bars(case)
    return math.sqrt(float(np.mean(case.account.underwater[1:] ** 2)))


def calmar(case: Case) -> float:
    growth, drawdown = cagr(case), max_drawdown(case)
    if drawdown == 0:
        raise Undefined("no drawdown")
    return growth / drawdown


def upi(case: Case) -> float:
    growth, depth = cagr(case), ulcer(case)
    if depth == 0:
        raise Undefined("no drawdown")
    return (growth - case.risk_free_rate) / depth


def _gross(case: Case) -> Float:
    _some_bars(case)
    if case.account.gross is None:
        raise Undefined("not an account that trades")
    return case.account.gross


def exposure_mean(case: Case) -> float:
    gross = _gross(case)
    if np.any(case.account.equity <= 0):
        raise Undefined(LOST)
    return float(np.mean(gross / case.account.equity))


def exposure_share(case: Case) -> float:
    return float(np.mean(_gross(case) > 0))


def turnover(case: Case) -> float:
    _some_bars(case)
    bought, sold = case.account.bought_usd, case.account.sold_usd
    if bought is None or sold is None:
        raise Undefined("not an account that trades")
    mean = float(np.mean(case.account.equity))
    if mean <= 0:
        raise Undefined(LOST)
    return min(bought, sold) / mean * ANNUAL_SESSIONS / len(case.account)


def trade_count(case: Case) -> float:
    if case.trades is None:
        raise Undefined("not an account that trades")
    return len(case.trades)


def profit_factor(case: Case) -> float:
    pnl = case.closed["pnl_micro"]
    losses = -int(pnl[pnl < 0].sum())
    if losses == 0:
        raise Undefined("no losing trade")
    return int(pnl[pnl > 0].sum()) / losses


def sqn(case: Case) -> float:
    multiples = case.r_multiples
    if len(multiples) < 2:
        raise Undefined("needs 2 trades with an initial stop")
    if not _varies(multiples):
        raise Undefined("R does not vary")
    n = min(len(multiples), 100)
    return math.sqrt(n) * float(np.mean(multiples)) / float(np.std(multiples, ddof=1))


def few_trades(case: Case) -> str | None:
    n = len(case.r_multiples)
    return f"{counted(n, 'trades')}, fewer than {SQN_TRADES_MIN}" if n < SQN_TRADES_MIN else None


def tail_ratio(case: Case) -> float:
    low, high = np.quantile(case.returns, (0.05, 0.95))
    if low == 0:
        raise Undefined("the 5 % quantile is 0")
    return float(high) / abs(float(low))


def value_at_risk(case: Case) -> float:
    return -float(np.quantile(case.returns, 0.05))


def expected_shortfall(case: Case) -> float:
    returns = case.returns
    return -float(np.mean(returns[returns <= np.quantile(returns, 0.05)]))


def tracking_error(case: Case) -> float:
    return float(np.std(case.active, ddof=1)) * math.sqrt(ANNUAL_SESSIONS)


def information_ratio(case: Case) -> float:
    active = case.active
    if not _varies(active):
        raise Undefined("returns do not differ from the benchmark's")
    return float(np.mean(active)) / float(np.std(active, ddof=1)) * math.sqrt(ANNUAL_SESSIONS)


def _capture(case: Case, sign: int) -> float:
    returns, against = case.pairs
    chosen = against * sign > 0
    if not np.any(chosen):
        raise Undefined(f"the benchmark had no {'up' if sign > 0 else 'down'} day")
    return _annual(returns[chosen]) / _annual(against[chosen])


def _annual(returns: Float) -> float:
    growth = float(np.prod(1 + returns))
    if growth <= 0:
        raise Undefined(LOST)
    return float(growth ** (ANNUAL_SESSIONS / len(returns)) - 1)


def up_capture(case: Case) -> float:
    return _capture(case, 1)


def down_capture(case: Case) -> float:
    return _capture(case, -1)
