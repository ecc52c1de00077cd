"""Indicators over whole arrays, for notebooks, dashboards and tests, and the recursions they share.

Strategies do not call the array functions: they stream, and keep their own state. What both need is one
step of a recursion, so those are kernels of their own at the top.

Invariants (the tests use the same numbers):
1. An indicator runs over a symbol's traded bars. Where an input is NaN the output is NaN and nothing moves.
2. Output at bar t depends on bars 0..t alone. Before its window is full it is NaN.
3. Window sums are re-summed from the oldest bar to the newest, recursions are evaluated bar by bar: no
   prefix sums, so that a value does not depend on how much history lies before its window.

All functions take float64[n_bars] or float64[n_bars, n_symbols] and return the same shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import EngineError
from engine.jit import kernel, step

Float = NDArray[np.float64]


@step
def ema_step(ema: float, close: float, weight: float) -> float:
    """Return the exponential average after `close`; `weight` = 2 / (span + 1)."""
    return ema + weight * (close - ema)


@step
def true_range_step(high: float, low: float, close_before: float) -> float:
    """Return the range of a bar including the gap from the close before it."""
    return max(high, close_before) - min(low, close_before)


@step
def wilder_step(value: float, true_range: float, n_ranges: int, period: int) -> float:
    """Return Wilder's average after the `n_ranges`-th true range (1 for the first, before which value = 0).

    Until `period` ranges have been seen the value is their sum, so that one float is all the state there
    is; from then on it is the average. Dividing it by s rescales it for a split in either phase.
    """
    if n_ranges < period:
        return value + true_range
    if n_ranges == period:
        return (value + true_range) / period
    return value + (true_range - value) / period


@kernel
def _ema(values: Float, weight: float, out: Float) -> None:
    average = values[0]
    for t in range(len(values)):
        average = ema_step(average, values[t], weight)
        out[t] = average


@kernel
def _sma(values: Float, n: int, out: Float) -> None:
    for t in range(n - 1, len(values)):
        total = 0.0
        for k in range(t - n + 1, t + 1):
            total += values[k]
        out[t] = total / n


@kernel
def _highest(values: Float, n: int, out: Float) -> None:
    for t in range(n - 1, len(values)):
        highest = values[t]
        for k in range(t - n + 1, t):
            highest = max(highest, values[k])
        out[t] = highest


@kernel
def _rolling_sd(values: Float, n: int, ddof: int, out: Float) -> None:
    for t in range(n - 1, len(values)):
        total = 0.0
        for k in range(t - n + 1, t + 1):
            total += values[k]
        mean = total / n
        squares = 0.0  # Second pass: E[x^2] - E[x]^2 cancels when the mean is far from zero
        for k in range(t - n + 1, t + 1):
            squares += (values[k] - mean) ** 2
        out[t] = np.sqrt(squares / (n - ddof))


@kernel
def _efficiency_ratio(values: Float, n: int, out: Float) -> None:
    for t in range(n, len(values)):
        path = 0.0
        for k in range(t - n + 1, t + 1):
            path += abs(values[k] - values[k - 1])
        out[t] = (values[t] - values[t - n]) / path if path > 0.0 else 0.0


@kernel
def _true_range(high: Float, low: Float, close: Float, out: Float) -> None:
    for t in range(1, len(close)):
        out[t] = true_range_step(high[t], low[t], close[t - 1])


@kernel
def _wilder_atr(high: Float, low: Float, close: Float, period: int, out: Float) -> None:
    value = 0.0
    for t in range(1, len(close)):
        value = wilder_step(value, true_range_step(high[t], low[t], close[t - 1]), t, period)
        if t >= period:
            out[t] = value


def ema(values: ArrayLike, span: int) -> Float:
    """Return e_t = e_{t-1} + 2/(span+1) (c_t - e_{t-1}), e_0 = c_0: defined from the first bar on.

    TA-Lib's EMA starts at bar span-1 from a simple mean instead; the two converge.
    """
    return _per_symbol(_ema, (values,), 2.0 / (_window(span, "span") + 1))


def sma(values: ArrayLike, n: int) -> Float:
    """Return the mean of the last n bars, the newest included."""
    return _per_symbol(_sma, (values,), _window(n))


def highest(values: ArrayLike, n: int) -> Float:
    """Return the maximum of the last n bars, the newest included."""
    return _per_symbol(_highest, (values,), _window(n))


def lowest(values: ArrayLike, n: int) -> Float:
    """Return the minimum of the last n bars, the newest included."""
    return -highest(-np.asarray(values, np.float64), n)


def rolling_sd(values: ArrayLike, n: int, *, ddof: int = 1) -> Float:
    """Return the standard deviation of the last n bars; ddof=0 is TA-Lib's STDDEV."""
    if not 0 <= ddof < _window(n):
        raise EngineError(f"ddof must be >= 0 and below n = {n}, was {ddof}")
    return _per_symbol(_rolling_sd, (values,), n, ddof)


def efficiency_ratio(values: ArrayLike, n: int) -> Float:
    """Return (c_t - c_{t-n}) / sum of |changes| over those n bars: Kaufman's ratio with the sign kept.

    In [-1, 1], positive for a rise; 0 where nothing moved.
    """
    return _per_symbol(_efficiency_ratio, (values,), _window(n))


def true_range(high: ArrayLike, low: ArrayLike, close: ArrayLike) -> Float:
    """Return max(h, c_{t-1}) - min(l, c_{t-1}). The first bar has none."""
    return _per_symbol(_true_range, (high, low, close))


def atr(
    high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14, *, method: str = "wilder"
) -> Float:
    """Return the average true range, in dollars, from bar `period` on (the first bar has no true range).

    method: "wilder", the mean of the first `period` ranges and then ATR += (TR - ATR) / period, equal to
    TA-Lib's; or "simple", the mean of the last `period` ranges.
    """
    if method == "wilder":
        return _per_symbol(_wilder_atr, (high, low, close), _window(period, "period"))
    if method == "simple":
        return sma(true_range(high, low, close), period)
    raise EngineError(f"method must be 'wilder' or 'simple', was {method!r}")


def _window(n: int, name: str = "n") -> int:
    if n < 1:
        raise EngineError(f"{name} must be >= 1, was {n}")
    return int(n)


def _per_symbol(function: Any, inputs: tuple[ArrayLike, ...], *parameters: float) -> Float:
    """Run a kernel over the traded bars of each symbol and put its results back where they belong."""
    arrays = [np.asarray(values, np.float64) for values in inputs]
    shape: tuple[int, ...] = arrays[0].shape
    if len(shape) not in (1, 2) or any(a.shape != shape for a in arrays):
        raise EngineError(
            "inputs must be float64[n_bars] or float64[n_bars, n_symbols] of one shape,"
            f" were {', '.join(str(a.shape) for a in arrays)}"
        )
    columns = [a if a.ndim == 2 else a[:, np.newaxis] for a in arrays]
    out = np.full(columns[0].shape, np.nan)
    for s in range(columns[0].shape[-1]):
        traded = ~np.isnan(np.stack([a[:, s] for a in columns])).any(axis=0)
        if not traded.any():
            continue
        result = np.full(int(traded.sum()), np.nan)
        function(*(a[traded, s] for a in columns), *parameters, result)
        out[traded, s] = result
    return out.reshape(shape)
