"""Exit rules of held lots, evaluated at the close of every bar on which the symbol traded."""

from __future__ import annotations

import numpy as np

from engine.desk import CLOSE, EXIT, HIGH, LOW, VOLUME
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
    seen = state.symbols[s].bars_seen
    if seen < n_bars:
        return np.nan
    mask = len(state.closes) - 1
    total = 0.0
    for k in range(n_bars, 0, -1):
        total += state.closes[(seen - k) & mask, s, CLOSE]
    return total / n_bars


@step
def lowest_prior_low(state, s, n_bars):
    """Return the lowest low of the `n_bars` bars before the newest; NaN with fewer."""
    seen = state.symbols[s].bars_seen
    if seen < n_bars + 1:
        return np.nan
    mask = len(state.ranges) - 1
    lowest = np.inf
    for k in range(n_bars + 1, 1, -1):
        lowest = min(lowest, state.ranges[(seen - k) & mask, s, LOW])
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
    traded = state.symbols[s]
    level = lot.highest_close - rules.trail_atr_multiple * traded.atr
    if traded.bars_seen > rules.trail_atr_bars and not level <= lot.stop and level == level:
        lot.stop = level


@step
def remember_bar(state, tape, t, atr_bars):
    """Append row t to the rings of every symbol that traded; advance the ATR where it is used.

    Wilder: the mean of the first n true ranges, then atr += (tr - atr)/n. Reading a row that nobody needs
    takes longer than all else here, so highs and lows are left alone where nothing looks back at them.
    """
    closes, ranges, symbols = state.closes, state.ranges, state.symbols
    close_mask, range_mask = len(closes) - 1, len(ranges) - 1
    with_ranges = atr_bars > 0 or range_mask > 0
    for s in range(tape.close.shape[1]):
        status = tape.status[t, s]
        if status < 2:
            continue
        traded = symbols[s]
        seen = traded.bars_seen if status == 2 else np.int64(0)
        traded.bars_seen = seen + 1
        close = tape.close[t, s]
        closes[seen & close_mask, s, CLOSE] = close
        closes[seen & close_mask, s, VOLUME] = tape.volume[t, s]
        if with_ranges:
            high, low = tape.high[t, s], tape.low[t, s]
            ranges[seen & range_mask, s, HIGH] = high
            ranges[seen & range_mask, s, LOW] = low
            if atr_bars > 0:
                advance_atr(traded, seen, atr_bars, high, low, close)


@step
def advance_atr(traded, seen, n, high, low, close):
    if seen > 0:
        previous = traded.atr_close
        tr = max(high, previous) - min(low, previous)
        if seen <= n:
            traded.atr += tr / n
        else:
            traded.atr += (tr - traded.atr) / n
    else:
        traded.atr = 0.0
    traded.atr_close = close


@step
def rescale_history(state, s, ratio):
    """Restate what is remembered of a symbol in the share basis after a split."""
    for k in range(len(state.closes)):
        state.closes[k, s, CLOSE] /= ratio
        state.closes[k, s, VOLUME] *= ratio
    for k in range(len(state.ranges)):
        state.ranges[k, s, HIGH] /= ratio
        state.ranges[k, s, LOW] /= ratio
    state.symbols[s].atr /= ratio
    state.symbols[s].atr_close /= ratio


@step
def move_history(state, old, new):
    """Hand what is remembered of a symbol to the column of its new name, unless that has traded already."""
    source, target = state.symbols[old], state.symbols[new]
    if target.bars_seen > 0:
        return
    for rings in (state.closes, state.ranges):
        for k in range(len(rings)):
            for j in range(2):
                rings[k, new, j] = rings[k, old, j]
    target.bars_seen = source.bars_seen
    target.atr = source.atr
    target.atr_close = source.atr_close
    source.bars_seen = 0


@step
def exit_is_whole(state, a, s):
    """Return whether the whole lot is already on its way out at the market."""
    order = state.orders[a, EXIT, s]
    return order.quantity > 0 and order.type == 0 and state.plans[a, EXIT, s].whole == 1
