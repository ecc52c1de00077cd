"""Blending: the votes of all strategies on a symbol become one decision (domain specification, section 5).

The last signal of each strategy votes while it is at most `signal_ttl` sessions old, with freshness
2^(-age/10). B and S are the sums of weight x confidence x freshness of buyers and sellers, W the sum of
the voters' weights, net = (B - S)/W.
"""

from __future__ import annotations

import numpy as np

from engine.desk import EXIT, HELD, emit_rejection, lowest
from engine.events import Reason
from engine.jit import routine, step

HALF_LIFE_SESSIONS = 10.0
CONFLICT, BELOW_MIN = int(Reason.CONFLICT), int(Reason.BELOW_MIN)
D_LEADER, D_NET, D_BUY, D_SELL, D_SHARES = 0, 1, 2, 3, 4  # details of an aggregated signal
BLEND_MEASUREMENTS = ("leader", "net", "buy", "sell")


@step
def freshness(age_sessions):
    return 2.0 ** (-age_sessions / HALF_LIFE_SESSIONS)


@step
def remember_vote(state, signal):
    """Take note of a strategy's newest signal."""
    state.votes[signal.symbol, signal.strategy] = signal
    state.vote_session[signal.symbol, signal.strategy] = state.counters[0].session


@step
def move_votes(state, old, new):
    """Hand the votes on a symbol to the column of its new name; of two the newer stands."""
    for i in range(state.votes.shape[1]):
        if state.vote_session[old, i] > state.vote_session[new, i]:
            state.votes[new, i] = state.votes[old, i]
            state.vote_session[new, i] = state.vote_session[old, i]
        state.vote_session[old, i] = -1


@routine
def tally_votes(state, params, weights, s):
    """Return (B, S, W, leader): the leader is the fresh buyer with the largest vote, -1 for none."""
    buy = sell = total = 0.0
    leader = -1
    best = 0.0
    for i in range(len(weights)):
        session = state.vote_session[s, i]
        if session < 0:
            continue
        age = state.counters[0].session - session
        if age > params.signal_ttl:
            continue
        vote = state.votes[s, i]
        strength = weights[i] * vote.confidence * freshness(age)
        total += weights[i]
        if vote.side > 0:
            buy += strength
            if age == 0 and strength > best:
                best = strength
                leader = i
        else:
            sell += strength
    return buy, sell, total, leader


@step
def decide(buy, sell, total, leader, held, min_confidence):
    """Return the side of the blend: 1 buy, -1 sell, 0 neither."""
    if not total > 0.0:
        return 0
    if abs(buy - sell) <= 1e-12:
        return -1 if held and sell > 0.0 else 0
    net = (buy - sell) / total
    if net >= min_confidence and leader >= 0:
        return 1
    if -net >= min_confidence:
        return -1
    return 0


@step
def blend_symbol(state, out, params, weights, ts, s, signals, first, stop):
    """Decide on one symbol and write the aggregated signal, if any; return its side.

    `signals[first:stop]` are the raw signals of this session for the symbol; those that the decision
    does not carry out are recorded as `conflict` or `below_min`.
    """
    held = state.lots[0, s].quantity > 0
    if first == stop and state.orders[0, EXIT, s].quantity > 0:
        return 0
    buy, sell, total, leader = tally_votes(state, params, weights, s)
    side = decide(buy, sell, total, leader, held, params.min_confidence)
    net = (buy - sell) / total if total > 0.0 else 0.0
    for k in range(first, stop):
        raw = signals[k]
        own_exit = held and raw.side < 0 and raw.strategy == state.lots[0, s].strategy
        if raw.side != side and not own_exit:
            reason = CONFLICT if buy > 0.0 and sell > 0.0 else BELOW_MIN
            emit_rejection(
                state, out, ts, 0, s, raw.strategy, raw.side, reason, abs(net), params.min_confidence
            )
    if side == 0:
        return 0
    counts = out.counts[0]
    n = counts.signals
    counts.signals = n + 1
    row = out.signals[n]
    if side > 0:
        out.signals[n] = state.votes[s, leader]  # Its stop, pivot and limits stand behind the entry
        for i in range(len(weights)):
            state.shares[s, i] = 0.0
            age = state.counters[0].session - state.vote_session[s, i]
            vote = state.votes[s, i]
            if state.vote_session[s, i] >= 0 and age <= params.signal_ttl and vote.side > 0:
                state.shares[s, i] = weights[i] * vote.confidence * freshness(age) / buy
    else:
        row.price_ref = state.lots[0, s].mark
        if first < stop:
            row.price_ref = signals[first].price_ref
        row.structure_stop = np.nan
        row.stop_distance = np.nan
        row.order_type = 0
        row.tif = 0
        row.limit = np.nan
        row.trigger = np.nan
        row.trail = np.nan
        row.open_max = np.nan
        row.pivot = np.nan
        row.target = np.nan
    row.ts = ts
    row.symbol = s
    row.strategy = len(weights)
    row.side = side
    row.confidence = min(1.0, abs(net))
    for k in range(len(row.details)):
        row.details[k] = np.nan
    row.details[D_LEADER] = leader
    row.details[D_NET] = net
    row.details[D_BUY] = buy
    row.details[D_SELL] = sell
    if side > 0:
        for i in range(min(len(weights), len(row.details) - D_SHARES)):
            row.details[D_SHARES + i] = state.shares[s, i]
    return side


@routine
def blend_row(state, out, params, weights, ts, signals, first, stop):
    """Decide on every symbol with a fresh signal and on every held symbol, symbols ascending.

    `signals[first:stop]` are this session's raw signals sorted by (symbol, strategy). Returns how many
    aggregated signals were appended to `out.signals`.
    """
    before = out.counts[0].signals
    for k in range(first, stop):
        remember_vote(state, signals[k])
    held = state.sets[HELD, 0]
    k = fresh = first
    for word in range(len(held)):
        left = held[word]
        while fresh < stop and signals[fresh].symbol >> 6 == word:
            left |= np.int64(1) << (signals[fresh].symbol & 63)
            fresh += 1
        while left != 0:
            s = lowest(word, left)
            left &= left - 1
            end = k
            while end < stop and signals[end].symbol == s:
                end += 1
            blend_symbol(state, out, params, weights, ts, s, signals, k, end)
            k = end
    return out.counts[0].signals - before
