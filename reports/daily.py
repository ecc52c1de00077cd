"""The daily history of an account: equity, returns, drawdowns, months (domain specification, section 10).

1. r_t = (E_t - F_t) / E_{t-1} - 1, where F_t is the external flow at the end of day t and E_0, the initial
   capital, is the first point. A flow at the start of a day joins its denominator instead.
2. `index` is the growth of one dollar: flows do not move it.
3. Intraday curves are reduced to the last value of each New York day, so that A = 252 holds for both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Days = NDArray[np.datetime64]

_DAY_NS = 86_400 * 10**9
_NEW_YORK_NS = 5 * 3600 * 10**9


class Drawdown(NamedTuple):
    """A decline from a high to the return to it. Places count from E_0 = 0; `recovery` is None while open,
    then `sessions` and `days` run to the end of the data."""

    depth: float  # 1 - index / high, positive
    peak: int
    trough: int
    recovery: int | None
    sessions: int
    days: int


@dataclass(frozen=True, eq=False)
class Daily:
    """One value per day. `flows` come at the end of their day, `flows_at_open` at its start (both may be
    left out); `gross` is the value of the positions; `bought_usd` and `sold_usd` are totals of the run."""

    ts: Int  # [n]
    equity: Float  # [n]
    capital: float
    flows: Float = field(default_factory=lambda: np.empty(0))
    flows_at_open: Float = field(default_factory=lambda: np.empty(0))
    gross: Float | None = None
    bought_usd: float | None = None
    sold_usd: float | None = None

    def __len__(self) -> int:
        return len(self.ts)

    @cached_property
    def days(self) -> Days:
        """datetime64[D][n], in New York."""
        return day_numbers(self.ts).astype("datetime64[D]")

    @property
    def calendar_days(self) -> int:
        """From the first session to the last. Nothing can fill before the first close, so E_0 is as of it."""
        return int((self.days[-1] - self.days[0]).astype(int)) if len(self) else 0

    @cached_property
    def ruined(self) -> bool:
        """Whether a day began without any capital: returns end there."""
        return bool(np.any(self._before <= 0))

    @cached_property
    def returns(self) -> Float:
        """float64[n]. From the day on that begins without capital, NaN."""
        before, made = self._before, np.full(len(self), np.nan)
        alive = np.logical_and.accumulate(before > 0) if len(self) else np.empty(0, bool)
        np.divide(self._after, before, out=made, where=alive)
        return made - 1

    @cached_property
    def index(self) -> Float:
        """float64[n + 1], growth of one dollar from E_0; it stays where the capital was lost."""
        if not (len(self.flows) or len(self.flows_at_open)):
            return np.concatenate(([1.0], self.equity / self.capital))
        growth = np.where(np.isnan(self.returns), 1.0, 1 + self.returns)
        return np.concatenate(([1.0], np.cumprod(growth)))

    @cached_property
    def underwater(self) -> Float:
        """float64[n + 1], 1 - index / its running maximum."""
        return np.asarray(1 - self.index / np.maximum.accumulate(self.index))

    def drawdowns(self) -> list[Drawdown]:
        """Return every drawdown in order of time."""
        below = self.underwater > 0
        steps = np.diff(below.astype(np.int8), prepend=0, append=0)
        date = np.concatenate((self.days[:1], self.days))
        found = []
        for first, end in zip(
            np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True
        ):
            peak, recovery = first - 1, end if end < len(below) else None
            last = end if recovery is not None else len(below) - 1
            trough = first + int(np.argmax(self.underwater[first:end]))
            days = int((date[last] - date[peak]).astype(int))
            found.append(Drawdown(float(self.underwater[trough]), peak, trough, recovery, last - peak, days))
        return found

    def monthly(self) -> tuple[Days, Float]:
        """Return the calendar months (datetime64[M]) and their returns; the first and the last as far as
        they go."""
        return self._by_period("M")

    def yearly(self) -> tuple[Days, Float]:
        return self._by_period("Y")

    def _by_period(self, unit: str) -> tuple[Days, Float]:
        period = self.days.astype(f"datetime64[{unit}]")
        last = np.flatnonzero(np.append(period[1:] != period[:-1], True)) if len(self) else np.empty(0, int)
        levels = np.concatenate(([1.0], self.index[1:][last]))
        made = np.full(len(last), np.nan)
        np.divide(levels[1:], levels[:-1], out=made, where=levels[:-1] > 0)
        return period[last], made - 1

    @cached_property
    def _before(self) -> Float:
        """What the return of a day is earned on."""
        before = np.concatenate(([self.capital], self.equity[:-1]))[: len(self)]
        return before + self.flows_at_open if len(self.flows_at_open) else before

    @property
    def _after(self) -> Float:
        return self.equity - self.flows if len(self.flows) else self.equity


def daily(
    ts: Int, equity_usd: Float, capital_usd: float, *, flows_usd: Float | None = None,
    gross_usd: Float | None = None, bought_usd: float | None = None, sold_usd: float | None = None,
) -> Daily:  # fmt: skip
    """Return the daily history of a curve. ts: int64[K] UTC ns, ascending; the arrays are float64[K] at
    those closes, flows in dollars paid in (negative: out) up to each."""
    last = last_of_each_day(ts)
    flows = np.empty(0)
    if flows_usd is not None and np.any(flows_usd):
        flows = np.diff(np.cumsum(flows_usd)[last], prepend=0.0)
    gross = None if gross_usd is None else gross_usd[last]
    return Daily(
        ts[last], equity_usd[last], capital_usd, flows,
        gross=gross, bought_usd=bought_usd, sold_usd=sold_usd,
    )  # fmt: skip


def day_numbers(ts: Int) -> Int:
    """Return days since 1970 in New York: at most 5 hours behind UTC, and no session spans its midnight."""
    return np.asarray((ts - _NEW_YORK_NS) // _DAY_NS)


def last_of_each_day(ts: Int) -> NDArray[np.intp]:
    """Return the positions of the last timestamp of each New York day."""
    if len(ts) == 0:
        return np.empty(0, np.intp)
    day = day_numbers(ts)
    return np.flatnonzero(np.append(day[1:] != day[:-1], True))
