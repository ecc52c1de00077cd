"""How far the figures of a run could have come out differently: stationary-bootstrap intervals.

1. Days are resampled in blocks of geometric length (Politis and Romano 1994), mean
   max(5, round(1.75 n^(1/3))), wrapped around the end, so that runs of good and bad days stay together.
2. The benchmark is resampled with the account, day by day.
3. One seed, one result: numbers come from PCG64 in a fixed order.
4. Returns are resampled, never dollars: a drawdown stays between 0 and 1.

Trades are resampled one by one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.jit import kernel
from reports.daily import Daily
from reports.formulas import ANNUAL_SESSIONS
from reports.metrics import compute

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Rows = NDArray[np.void]

RESAMPLES = 2000
LEVEL = 0.95
SEED = 7
OF_DAYS = ("cagr", "sharpe", "sortino", "max_drawdown", "alpha")
OF_TRADES = {"expectancy_return": "ret", "expectancy_r": "r_multiple"}
_CHUNK = 64  # resamples of trades at once


class Interval(NamedTuple):
    """Percentiles of the resampled figure around its value; None and a reason where there are none."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    undefined: int  # resamples in which the figure was not defined


class Bootstrap(NamedTuple):
    intervals: dict[str, Interval]
    level: float
    resamples: int
    seed: int
    block_days: int  # mean length


def block_length(n: int) -> int:
    """Return the mean length of a block in days, for `n` days."""
    return max(5, round(1.75 * math.cbrt(n)))


def bootstrap(
    account: Daily, *, trades: Rows | None = None, benchmark: Float | None = None,
    risk_free_rate: float = 0.0, resamples: int = RESAMPLES, seed: int = SEED,
) -> Bootstrap:  # fmt: skip
    """Return 95 % percentile intervals. The arguments are those of `reports.metrics.compute`."""
    figures = compute(account, trades=trades, benchmark=benchmark, risk_free_rate=risk_free_rate)
    generator = np.random.Generator(np.random.PCG64(seed))
    n = len(account)
    block = block_length(n)
    made: dict[str, Float] = dict.fromkeys(OF_DAYS, np.empty(0))
    if n >= 2 and not account.ruined:
        against = np.full(n, np.nan) if benchmark is None else benchmark
        table = resampled_days(
            account.returns, against, generator, resamples=resamples, block=block,
            years=account.calendar_days / 365.25, rate=(1 + risk_free_rate) ** (1 / ANNUAL_SESSIONS) - 1,
        )  # fmt: skip
        made = dict(zip(OF_DAYS, table.T, strict=True))
    for name, column in OF_TRADES.items():
        values = np.empty(0) if trades is None else np.asarray(trades[column], np.float64)
        made[name] = resampled_means(values[~np.isnan(values)], generator, resamples=resamples)
    intervals = {}
    for name, values in made.items():
        figure = figures[name]
        known = values[np.isfinite(values)]
        low = high = None
        if figure.value is not None and len(known):
            low, high = (float(q) for q in np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)))
        intervals[name] = Interval(name, figure.value, low, high, figure.reason, len(values) - len(known))
    return Bootstrap(intervals, LEVEL, resamples, seed, block)


def resampled_days(
    returns: Float, benchmark: Float, generator: np.random.Generator, *, resamples: int, block: int,
    years: float, rate: float,
) -> Float:  # fmt: skip
    """Return float64[resamples, 5], the figures `OF_DAYS` of each resample, NaN where undefined.

    rate: risk-free, a day; years: what the returns span.
    """
    n = len(returns)
    made = np.full((resamples, len(OF_DAYS)), np.nan)
    with np.errstate(divide="ignore"):
        growth = np.log1p(np.maximum(returns, -1.0))
    expected = n // block + 1
    done = 0
    starts, lengths = np.empty(0, np.int64), np.empty(0, np.int64)
    while done < resamples:
        # The kernel stops where blocks run out; what it left over is used first.
        more = (resamples - done) * expected + 10 * expected
        starts = np.concatenate((starts, generator.integers(0, n, more)))
        lengths = np.concatenate((lengths, generator.geometric(1 / block, more)))
        done, used = resample_kernel(returns, growth, benchmark, starts, lengths, rate, years, done, made)
        starts, lengths = starts[used:], lengths[used:]
    return made


def resampled_means(values: Float, generator: np.random.Generator, *, resamples: int) -> Float:
    """Return float64[resamples], means of `values` drawn with replacement."""
    if len(values) == 0:
        return np.empty(0)
    parts = []
    for done in range(0, resamples, _CHUNK):
        chosen = generator.integers(0, len(values), (min(_CHUNK, resamples - done), len(values)))
        parts.append(values[chosen].mean(axis=1))
    return np.concatenate(parts)


@kernel
def resample_kernel(returns, growth, benchmark, starts, lengths, rate, years, first, out):  # type: ignore[no-untyped-def]
    """Write the figures of resamples `first`.. to `out`; return (resamples done, blocks used).

    Stops before a resample for which the blocks do not suffice. growth: ln(1 + returns).
    """
    n = len(returns)
    block = 0
    for k in range(first, len(out)):
        enough = 0
        needed = 0
        while block + needed < len(lengths) and enough < n:
            enough += lengths[block + needed]
            needed += 1
        if enough < n:
            return k, block
        level = high = 0.0
        deepest = 0.0
        total = squares = downside = 0.0
        pairs = 0
        sum_y = sum_x = sum_xx = sum_xy = 0.0
        left = n
        for b in range(block, block + needed):
            place = starts[b]
            for _ in range(min(lengths[b], left)):
                excess = returns[place] - rate
                total += excess
                squares += excess * excess
                if excess < 0.0:
                    downside += excess * excess
                level += growth[place]
                high = max(high, level)
                deepest = min(deepest, level - high)
                x = benchmark[place] - rate
                if x == x:
                    pairs += 1
                    sum_y += excess
                    sum_x += x
                    sum_xx += x * x
                    sum_xy += x * excess
                place += 1
                if place == n:
                    place = 0
            left -= min(lengths[b], left)
        block += needed
        mean = total / n
        variance = (squares - n * mean * mean) / (n - 1)
        if level > -np.inf and years * 365.25 >= 30.0:
            out[k, 0] = np.exp(level / years) - 1.0
        if variance > 1e-30:
            out[k, 1] = mean / np.sqrt(variance) * np.sqrt(252.0)
        if downside > 1e-30 * n:
            out[k, 2] = mean / np.sqrt(downside / n) * np.sqrt(252.0)
        out[k, 3] = 1.0 - np.exp(deepest) if level > -np.inf else 1.0
        if pairs >= 3:
            spread = sum_xx - sum_x * sum_x / pairs
            if spread > 1e-30 * pairs:
                slope = (sum_xy - sum_x * sum_y / pairs) / spread
                out[k, 4] = (sum_y - slope * sum_x) / pairs * 252.0
    return len(out), block
