"""How much to buy: target value in dollars, before any cap (domain specification, section 8)."""

from __future__ import annotations

import numpy as np

from engine.desk import CLOSE, NEWEST, SEEN, VOLUME
from engine.jit import routine, step

EQUAL_WEIGHT, FIXED_RISK, VOL_TARGET, CONFIDENCE, FIXED_NOTIONAL = range(5)
ADV_BARS = 20
VOL_BARS = 20
VOLATILITY_FLOOR = 0.10  # annualised
MEAN_CORRELATION = 0.3  # assumed between positions in vol_target


@step
def adv_usd(state, s):
    """Return the mean dollar volume of the last 20 traded bars, the newest included; of fewer if the
    symbol has traded fewer; 0 if it never traded."""
    return mean_dollar_volume(state.closes, state.history, s)


@routine
def mean_dollar_volume(closes, history, s):
    n = min(history[SEEN, s], ADV_BARS)
    if n == 0:
        return 0.0
    mask = len(closes) - 1
    newest = history[NEWEST, s]
    total = 0.0
    for session in range(newest - n + 1, newest + 1):
        bar = closes[session & mask]
        total += bar[CLOSE, s] * bar[VOLUME, s]
    return total / n


@step
def volatility_daily(state, s):
    """Return the standard deviation (ddof 1) of the last 20 log returns, NaN with fewer."""
    return deviation_of_returns(state.closes, state.history, s)


@routine
def deviation_of_returns(closes, history, s):
    if history[SEEN, s] < VOL_BARS + 1:
        return np.nan
    mask = len(closes) - 1
    total = 0.0
    squares = 0.0
    newest = history[NEWEST, s]
    previous = closes[(newest - VOL_BARS) & mask, CLOSE, s]
    for session in range(newest - VOL_BARS + 1, newest + 1):
        close = closes[session & mask, CLOSE, s]
        change = np.log(close / previous)
        total += change
        squares += change * change
        previous = close
    variance = (squares - total * total / VOL_BARS) / (VOL_BARS - 1)
    return np.sqrt(max(variance, 0.0))


@step
def target_value(state, params, s, equity, ref, stop, confidence):
    """Return the dollars to put into an entry at `ref`; NaN when the method needs what is missing.

    `equity` in dollars; `stop` in dollars, NaN for none. vol_target sizes a position of volatility
    sigma to E b / sigma, b = tau / (N sqrt(1/N + (1 - 1/N) rho)), so that N such positions with mean
    correlation rho have volatility tau.
    """
    if params.sizing == FIXED_NOTIONAL:
        return params.fixed_notional
    if params.sizing == FIXED_RISK:
        return params.risk_per_trade * equity * ref / (ref - stop)
    if params.sizing == VOL_TARGET:
        n = params.slots
        budget = params.target_volatility / (n * np.sqrt(1.0 / n + (1.0 - 1.0 / n) * MEAN_CORRELATION))
        sigma = volatility_daily(state, s) * np.sqrt(params.periods_per_year)
        return equity * budget / max(sigma, VOLATILITY_FLOOR)
    value = equity / params.slots
    if params.sizing == CONFIDENCE:
        value *= 0.5 + min(1.0, max(0.0, (confidence - 0.5) / 0.5))
    return value
