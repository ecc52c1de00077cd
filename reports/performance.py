"""The basic figures of an equity curve (domain specification, section 10; the full set is a later report).

Returns are r_t = E_t / E_{t-1} - 1 with the initial capital as the first point E_0. Intraday curves are
reduced to the last value of each New York day first, so that A = 252 holds for both. A figure that is
not defined is NaN, and `undefined` says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from engine.events import Equity

ANNUAL_SESSIONS = 252
CAGR_DAYS_MIN = 30
METRICS = ("final_equity", "total_return", "cagr", "max_drawdown", "sharpe")

_NEW_YORK = ZoneInfo("America/New_York")
_DAY_NS = 86_400 * 10**9

Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Performance(NamedTuple):
    """`max_drawdown` is positive: the largest 1 - E / running maximum. NaN where undefined."""

    final_equity: float  # dollars
    total_return: float
    cagr: float
    max_drawdown: float
    sharpe: float  # mean over standard deviation (ddof 1) of daily excess returns, x sqrt(252)
    undefined: dict[str, str]  # figure -> why it is not defined

    def figures(self) -> dict[str, float | None]:
        """Return the figures by name, None where undefined: what JSON can hold."""
        return {name: None if name in self.undefined else getattr(self, name) for name in METRICS}


def measure(ts: Int, equity_usd: Float, capital_usd: float, *, risk_free_rate: float = 0.0) -> Performance:
    """Return the figures of one account. ts: int64[K] UTC ns, ascending; equity_usd: float64[K] at
    those closes; risk_free_rate: a year."""
    last = _last_of_each_day(ts)
    curve = np.concatenate(([capital_usd], equity_usd[last]))
    undefined: dict[str, str] = {}
    if len(last) == 0:
        why = "no bars"
        undefined = dict.fromkeys(METRICS[1:], why)
        return Performance(capital_usd, math.nan, math.nan, math.nan, math.nan, undefined)
    days = (_day(int(ts[last[-1]])) - _day(int(ts[last[0]]))).days
    final = float(curve[-1])
    return Performance(
        final_equity=final,
        total_return=(final - capital_usd) / capital_usd,
        cagr=_cagr(curve, days, undefined),
        max_drawdown=float(np.max(1 - curve / np.maximum.accumulate(curve))),
        sharpe=_sharpe(curve, risk_free_rate, undefined),
        undefined=undefined,
    )


class Contribution(NamedTuple):
    """A strategy's part in the total return. Contributions add up to it: capital is never moved."""

    strategy: str
    total_return: float
    weight: float  # of the initial capital
    contribution: float


def contributions(
    names: Sequence[str], capital_usd: Sequence[float], final_usd: Sequence[float]
) -> list[Contribution]:
    """Return a row per account: return on its own capital, weight, and profit over the total capital."""
    total = sum(capital_usd)
    return [
        Contribution(name, (final - capital) / capital, capital / total, (final - capital) / total)
        for name, capital, final in zip(names, capital_usd, final_usd, strict=True)
    ]


class Summary(NamedTuple):
    """The figures of each account, of all together, and of the benchmark held with the same capital."""

    accounts: dict[str, Performance]
    combined: Performance
    benchmark: Performance | None
    attribution: list[Contribution]

    def account_rows(self) -> dict[str, Performance]:
        return {**self.accounts, "combined": self.combined}

    def combined_rows(self) -> dict[str, Performance]:
        rows = {"combined": self.combined}
        return {**rows, "benchmark": self.benchmark} if self.benchmark else rows


def summarise(
    curve: Equity, accounts: Sequence[str], capital_usd: Sequence[float], benchmark_close: Float, *,
    risk_free_rate: float = 0.0,
) -> Summary:  # fmt: skip
    """Return the figures of a run. benchmark_close: float64[K] at `curve.ts`, NaN where there is none."""
    rate = risk_free_rate
    equity_usd = curve.equity / 1e6
    total_usd = curve.equity.sum(axis=1) / 1e6
    held = np.flatnonzero(~np.isnan(benchmark_close))
    final_usd = equity_usd[-1] if len(equity_usd) else np.array(capital_usd)
    benchmark = None
    if len(held):
        worth = sum(capital_usd) * benchmark_close[held] / benchmark_close[held[0]]
        benchmark = measure(curve.ts[held], worth, sum(capital_usd), risk_free_rate=rate)
    return Summary(
        accounts={
            name: measure(curve.ts, equity_usd[:, i], capital_usd[i], risk_free_rate=rate)
            for i, name in enumerate(accounts)
        },
        combined=measure(curve.ts, total_usd, sum(capital_usd), risk_free_rate=rate),
        benchmark=benchmark,
        attribution=contributions(accounts, capital_usd, [float(value) for value in final_usd]),
    )


def _cagr(curve: Float, days: int, undefined: dict[str, str]) -> float:
    if days < CAGR_DAYS_MIN:
        undefined["cagr"] = f"needs {CAGR_DAYS_MIN} calendar days, has {days}"
        return math.nan
    if curve[-1] <= 0:
        undefined["cagr"] = "all capital was lost"
        return math.nan
    return float((curve[-1] / curve[0]) ** (365.25 / days) - 1)


def _sharpe(curve: Float, risk_free_rate: float, undefined: dict[str, str]) -> float:
    if np.any(curve[:-1] <= 0):
        undefined["sharpe"] = "all capital was lost"
        return math.nan
    returns = curve[1:] / curve[:-1] - 1 - ((1 + risk_free_rate) ** (1 / ANNUAL_SESSIONS) - 1)
    if len(returns) < 2:
        undefined["sharpe"] = "needs 2 days of returns"
        return math.nan
    deviation = float(np.std(returns, ddof=1))
    # A constant return leaves a deviation of rounding errors, not of zero.
    if deviation <= 1e-15 * max(1.0, float(np.abs(returns).max())):
        undefined["sharpe"] = "returns do not vary"
        return math.nan
    return float(np.mean(returns)) / deviation * math.sqrt(ANNUAL_SESSIONS)


def _last_of_each_day(ts: Int) -> NDArray[np.intp]:
    """Return the positions of the last timestamp of each New York day."""
    if len(ts) == 0:
        return np.empty(0, np.intp)
    # New York is at most 5 hours behind UTC, and no US session spans its midnight, winter or summer.
    day = (ts - 5 * 3600 * 10**9) // _DAY_NS
    return np.flatnonzero(np.append(day[1:] != day[:-1], True))


def _day(ts: int) -> datetime:
    moment = datetime.fromtimestamp(ts // 10**9, _NEW_YORK)
    return moment.replace(hour=0, minute=0, second=0, tzinfo=None)
