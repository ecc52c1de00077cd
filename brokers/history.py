"""What the desk remembers of the last bars of every symbol: for sizes, costs, exit rules and ties.

Invariants:
1. The bar that a symbol traded k bars before its newest lies at place (NEWEST - k) & mask of its column, and
   SEEN counts the bars since it began or resumed.
2. So the newest bars of all symbols that trade in every session share a place, and a row of the market is
   written as a row. A symbol that comes back from sessions without a trade has its column turned first.
"""

from __future__ import annotations

import numpy as np

from engine.desk import CLOSE, HIGH, LOW, NEWEST, SEEN, VOLUME
from engine.jit import routine, step


@step
def remember_bar(state, tape, t, atr_bars):
    """Append row t to the rings of every symbol that traded; advance the ATR where it is used.

    Reading a row that nobody needs takes longer than all else here, so highs and lows are left alone where
    nothing looks back at them.
    """
    session = state.counters[0].session
    status, seen, newest = tape.status[t], state.history[SEEN], state.history[NEWEST]
    if late_symbols(status, seen, newest, session) > 0:
        catch_up(state.closes, state.ranges, status, seen, newest, session)
    closes = state.closes[session & (len(state.closes) - 1)]
    keep(closes[CLOSE], status, tape.close[t])
    keep(closes[VOLUME], status, tape.volume[t])
    if atr_bars > 0 or len(state.ranges) > 1:
        ranges = state.ranges[session & (len(state.ranges) - 1)]
        keep(ranges[HIGH], status, tape.high[t])
        keep(ranges[LOW], status, tape.low[t])
    if atr_bars > 0:
        for s in range(len(status)):
            if status[s] >= 2:
                bar = tape.high[t, s], tape.low[t, s], tape.close[t, s]
                advance_atr(state.symbols[s], seen[s], atr_bars, *bar)
    for s in range(len(status)):
        seen[s] += np.int64(status[s] >= 2)
    for s in range(len(status)):
        before = newest[s]
        newest[s] = session if status[s] >= 2 else before


@step
def late_symbols(status, seen, newest, session):
    """Return how many symbols of a row have a column that does not end at the session before."""
    n = 0
    for s in range(len(status)):
        behind = (newest[s] != session - 1) & (seen[s] > 0)
        n += (status[s] == 3) | ((status[s] == 2) & behind)
    return n


@routine
def catch_up(closes, ranges, status, seen, newest, session):
    """Forget what lies before a resumed bar; turn the columns of others that trade again after a pause."""
    for s in range(len(status)):
        if status[s] == 3:
            seen[s] = 0
        elif status[s] == 2 and seen[s] > 0 and newest[s] != session - 1:
            missed = session - 1 - newest[s]
            for j in range(2):
                turn(closes, j, s, missed & (len(closes) - 1))
                turn(ranges, j, s, missed & (len(ranges) - 1))


@step
def turn(ring, j, s, n):
    """Move what column (j, s) holds up by `n` places, around the end: reversed as a whole, then in parts."""
    if n > 0:
        reverse(ring, j, s, 0, len(ring) - 1)
        reverse(ring, j, s, 0, n - 1)
        reverse(ring, j, s, n, len(ring) - 1)


@step
def reverse(ring, j, s, first, last):
    while first < last:
        value = ring[first, j, s]
        ring[first, j, s] = ring[last, j, s]
        ring[last, j, s] = value
        first += 1
        last -= 1


@step
def keep(places, status, values):
    """Write `values` where the symbol traded. Both are read first: without a branch it becomes vector
    instructions."""
    for s in range(len(status)):
        old, new = places[s], values[s]
        places[s] = new if status[s] >= 2 else old


@step
def advance_atr(traded, seen, n, high, low, close):
    """Wilder: the mean of the first n true ranges, then atr += (tr - atr)/n."""
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
        state.closes[k, CLOSE, s] /= ratio
        state.closes[k, VOLUME, s] *= ratio
    for k in range(len(state.ranges)):
        state.ranges[k, HIGH, s] /= ratio
        state.ranges[k, LOW, s] /= ratio
    state.symbols[s].atr /= ratio
    state.symbols[s].atr_close /= ratio


@step
def move_history(state, old, new):
    """Hand what is remembered of a symbol to the column of its new name, unless that has traded already."""
    if state.history[SEEN, new] > 0:
        return
    for rings in (state.closes, state.ranges):
        for k in range(len(rings)):
            for j in range(2):
                rings[k, j, new] = rings[k, j, old]
    source, target = state.symbols[old], state.symbols[new]
    target.atr = source.atr
    target.atr_close = source.atr_close
    for j in range(2):
        state.history[j, new] = state.history[j, old]
    state.history[SEEN, old] = 0
