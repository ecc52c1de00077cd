"""The figures of a run: each account, all together, and the benchmark held with the same capital."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.events import CashKind, Equity, Side
from reports.daily import Daily, daily
from reports.metrics import HEADLINE, METRICS, Figure, compute, reasons, values

__all__ = ["HEADLINE", "METRICS", "Contribution", "Performance", "Summary", "measure", "summarise"]

MICRO = 1e6
Float = NDArray[np.float64]
Int = NDArray[np.int64]
Rows = NDArray[np.void]


@dataclass(frozen=True, eq=False)
class Performance:
    """The figures of one account (`reports.metrics`), and the daily history that they are of."""

    all: dict[str, Figure]
    history: Daily

    def __getattr__(self, name: str) -> float:
        """Return a figure's value, NaN where undefined."""
        figure = self.__dict__.get("all", {}).get(name)
        if figure is None:
            raise AttributeError(name)
        return math.nan if figure.value is None else float(figure.value)

    @property
    def undefined(self) -> dict[str, str]:
        """Figure -> why it is not defined."""
        return reasons(self.all)

    def figures(self) -> dict[str, float | None]:
        """Return the figures by name, None where undefined: what JSON can hold."""
        return values(self.all)


def measure(ts: Int, equity_usd: Float, capital_usd: float, *, risk_free_rate: float = 0.0) -> Performance:
    """Return the figures of a curve alone. ts: int64[K] UTC ns, ascending; equity_usd: float64[K] at those
    closes; risk_free_rate: a year."""
    history = daily(ts, equity_usd, capital_usd)
    return Performance(compute(history, risk_free_rate=risk_free_rate), history)


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

    @property
    def benchmark_days(self) -> tuple[str, str] | None:
        """First and last day of the benchmark where they are not those of the run; None where they are."""
        if self.benchmark is None:
            return None
        ours, theirs = self.combined.history.days, self.benchmark.history.days
        if (theirs[0], theirs[-1]) == (ours[0], ours[-1]):
            return None
        return str(theirs[0]), str(theirs[-1])

    def combined_rows(self) -> dict[str, Performance]:
        rows = {"combined": self.combined}
        return {**rows, "benchmark": self.benchmark} if self.benchmark else rows


def summarise(
    curve: Equity, accounts: Sequence[str], capital_usd: Sequence[float], benchmark_close: Float, *,
    risk_free_rate: float = 0.0, trades: Rows | None = None, fills: Rows | None = None,
    cashflows: Rows | None = None,
) -> Summary:  # fmt: skip
    """Return the figures of a run. benchmark_close: float64[K] at `curve.ts`, NaN where there is none;
    trades, fills, cashflows: all rows of the run, None where they are not known."""
    held = np.flatnonzero(~np.isnan(benchmark_close))
    benchmark = None
    if len(held):
        worth = sum(capital_usd) * benchmark_close[held] / benchmark_close[held[0]]
        benchmark = measure(curve.ts[held], worth, sum(capital_usd), risk_free_rate=risk_free_rate)

    def performance(columns: slice) -> Performance:
        chosen = np.arange(len(accounts))[columns]
        bought, sold = _traded(_of(fills, chosen))
        history = daily(
            curve.ts, curve.equity[:, columns].sum(axis=1) / MICRO, float(sum(capital_usd[columns])),
            flows_usd=_flows(curve.ts, _of(cashflows, chosen)),
            gross_usd=curve.gross[:, columns].sum(axis=1) / MICRO, bought_usd=bought, sold_usd=sold,
        )  # fmt: skip
        against = None if benchmark is None else aligned(history, benchmark.history)
        figures = compute(
            history, trades=_of(trades, chosen), benchmark=against, risk_free_rate=risk_free_rate
        )
        return Performance(figures, history)

    final_usd = curve.equity[-1] / MICRO if len(curve.equity) else np.array(capital_usd)
    return Summary(
        accounts={name: performance(slice(i, i + 1)) for i, name in enumerate(accounts)},
        combined=performance(slice(None)),
        benchmark=benchmark,
        attribution=contributions(accounts, capital_usd, [float(value) for value in final_usd]),
    )


def aligned(account: Daily, benchmark: Daily) -> Float:
    """Return float64[n], the benchmark's returns on the days of `account`, NaN where it, or the day
    before, has no price: one return of many days is not compared with one of a single day."""
    made = np.full(len(account), np.nan)
    place = np.searchsorted(account.days, benchmark.days)
    consecutive = np.flatnonzero(np.diff(place) == 1) + 1
    made[place[consecutive]] = benchmark.returns[consecutive]
    return made


def _of(rows: Rows | None, accounts: NDArray[np.intp]) -> Rows | None:
    return None if rows is None else rows[np.isin(rows["account"], accounts)]


def _traded(fills: Rows | None) -> tuple[float | None, float | None]:
    if fills is None:
        return None, None
    bought = fills["side"] == Side.BUY
    value = fills["value_micro"]
    return int(value[bought].sum()) / MICRO, int(value[~bought].sum()) / MICRO


def _flows(ts: Int, cashflows: Rows | None) -> Float | None:
    """Return float64[K], dollars paid in from outside up to each close since the one before."""
    if cashflows is None:
        return None
    outside = cashflows[cashflows["kind"] == CashKind.EXTERNAL_FLOW]
    made = np.zeros(len(ts))
    np.add.at(made, np.searchsorted(ts, outside["ts"]), outside["amount_micro"] / MICRO)
    return made
