"""What a fill costs beyond its price: slippage, half-spread and impact move the price, commission is a fee.

Every fill that pays slippage gets its price from `fill_price`; limit orders and targets do not pay it.
Costs may put the price outside the bar; it is not clamped (domain specification, section 9).
"""

from __future__ import annotations

import numpy as np

from engine.desk import CLOSE, HIGH, LOW, NEWEST, SEEN
from engine.jit import routine, step
from risk.sizing import adv_usd, volatility_daily

SPREAD_BARS = 20
SPREAD_MAX = 0.0150
_ROOT8 = 3.0 - 2.0 * np.sqrt(2.0)


@step
def corwin_schultz_pair(high_1, low_1, close_1, high_2, low_2):
    """Return the Corwin-Schultz (2012) spread estimate of two consecutive sessions, as a fraction.

    The overnight gap is removed first: when session 2 lies wholly above or below the close of
    session 1 it is shifted to it. Negative estimates become 0.
    """
    gap = 0.0
    if low_2 > close_1:
        gap = low_2 - close_1
    elif high_2 < close_1:
        gap = high_2 - close_1
    high_2 -= gap
    low_2 -= gap
    beta = np.log(high_1 / low_1) ** 2 + np.log(high_2 / low_2) ** 2
    gamma = np.log(max(high_1, high_2) / min(low_1, low_2)) ** 2
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / _ROOT8 - np.sqrt(gamma / _ROOT8)
    spread = 2.0 * (np.exp(alpha) - 1.0) / (1.0 + np.exp(alpha))
    return max(spread, 0.0)


@step
def spread_estimate(state, s):
    """Return the mean Corwin-Schultz estimate over the last 20 traded bars, capped at 150 bp; 0 before
    there are two bars."""
    return mean_spread(state.closes, state.ranges, state.history, s)


@routine
def mean_spread(closes, ranges, history, s):
    pairs = min(history[SEEN, s] - 1, SPREAD_BARS)
    if pairs < 1:
        return 0.0
    close_mask, range_mask = len(closes) - 1, len(ranges) - 1
    newest = history[NEWEST, s]
    total = 0.0
    for session in range(newest - pairs, newest):
        close = closes[session & close_mask, CLOSE, s]
        first, second = ranges[session & range_mask], ranges[(session + 1) & range_mask]
        total += corwin_schultz_pair(first[HIGH, s], first[LOW, s], close, second[HIGH, s], second[LOW, s])
    return min(total / pairs, SPREAD_MAX)


@step
def fill_price(state, params, s, side, price, quantity):
    """Return the price paid (side 1) or received (side -1) when the market trades at `price`.

    price x (1 +- (slippage + half-spread + impact)), impact = coefficient x daily volatility x
    sqrt(value / ADV). What it uses of the market was known at the previous close.
    """
    cost = params.slippage
    if params.corwin_schultz:
        cost += 0.5 * spread_estimate(state, s)
    else:
        cost += params.half_spread
    if params.impact > 0.0:
        sigma = volatility_daily(state, s)
        adv = adv_usd(state, s)
        if sigma > 0.0 and adv > 0.0:
            cost += params.impact * sigma * np.sqrt(quantity / params.units * price / adv)
    return price * (1.0 + side * cost)
