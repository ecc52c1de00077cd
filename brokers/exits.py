"""Exit rules of held lots, evaluated at the close of every bar on which the symbol traded."""

from __future__ import annotations

import numpy as np

from engine.desk import CLOSE, EXIT, LOW, NEWEST, SEEN
from engine.events import Reason
from engine.jit import step

EXIT_SMA, EXIT_LOW = int(Reason.EXIT_SMA), int(Reason.EXIT_LOW)
FAILED_BREAKOUT, SCALE_OUT = int(Reason.FAILED_BREAKOUT), int(Reason.SCALE_OUT)
PROFIT_TAKE, MAX_HOLDING = int(Reason.PROFIT_TAKE), int(Reason.MAX_HOLDING)
BEAR_EXIT = int(Reason.BEAR_EXIT)
BEAR_BIT = 1


@step
def mean_close(state, s, n_bars):
    """Return the mean of the last `n_bars` closes, summed oldest to newest; NaN with fewer."""
    if state.history[SEEN, s] < n_bars:
        return np.nan
    mask = len(state.closes) - 1
    newest = state.history[NEWEST, s]
    total = 0.0
    for session in range(newest - n_bars + 1, newest + 1):
        total += state.closes[session & mask, CLOSE, s]
    return total / n_bars


@step
def lowest_prior_low(state, s, n_bars):
    """Return the lowest low of the `n_bars` bars before the newest; NaN with fewer."""
    if state.history[SEEN, s] < n_bars + 1:
        return np.nan
    mask = len(state.ranges) - 1
    newest = state.history[NEWEST, s]
    lowest = np.inf
    for session in range(newest - n_bars, newest):
        lowest = min(lowest, state.ranges[session & mask, LOW, s])
    return lowest


@step
def has_gained(lot, close, gain):
    """Return whether a close is at least `gain` above the first fill. (12 / 10 - 1 is less than 0.2.)"""
    return close >= lot.first_price * (1.0 + gain)


@step
def exit_reason(state, lot, rules, s, close, market):
    """Return why the whole lot must be sold at the next open, 0 for no reason."""
    if rules.sma_bars > 0 and close < mean_close(state, s, rules.sma_bars):
        return EXIT_SMA
    if rules.low_bars > 0 and close < lowest_prior_low(state, s, rules.low_bars):
        return EXIT_LOW
    if lot.bars_held <= rules.failed_breakout_bars and close < lot.pivot:
        return FAILED_BREAKOUT
    quick = rules.quick_gain > 0.0 and lot.quick == 1 and lot.bars_held < rules.quick_hold_bars
    if rules.take_profit_gain > 0.0 and has_gained(lot, close, rules.take_profit_gain) and not quick:
        return PROFIT_TAKE
    if rules.max_holding_bars > 0 and lot.bars_held >= rules.max_holding_bars:
        return MAX_HOLDING
    if rules.exit_in_bear != 0 and market & BEAR_BIT != 0:
        return BEAR_EXIT
    return 0


@step
def note_gain(lot, rules, close):
    """Remember that a gain of `quick_gain` came within `quick_bars`."""
    quick = rules.quick_gain > 0.0 and lot.bars_held <= rules.quick_bars
    if quick and has_gained(lot, close, rules.quick_gain):
        lot.quick = 1


@step
def scale_out_quantity(lot, rules, close):
    """Return how much of the lot the scale-out rule sells now, 0 for nothing."""
    wanted = rules.scale_out_gain > 0.0 and lot.scaled == 0
    if wanted and has_gained(lot, close, rules.scale_out_gain):
        return np.int64(np.floor(lot.quantity * rules.scale_out_fraction))
    return np.int64(0)


@step
def trail(state, lot, rules, s):
    """Raise the stop to k ATR under the highest close since the entry; it acts from the next session."""
    level = lot.highest_close - rules.trail_atr_multiple * state.symbols[s].atr
    if state.history[SEEN, s] > rules.trail_atr_bars and not level <= lot.stop and level == level:
        lot.stop = level


@step
def exit_is_whole(state, a, s):
    """Return whether the whole lot is already on its way out at the market."""
    order = state.orders[a, EXIT, s]
    return order.quantity > 0 and order.type == 0 and state.plans[a, EXIT, s].whole == 1
