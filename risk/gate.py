"""The gate: every BUY signal becomes an order or a rejection with the numbers behind it.

Precedence, caps and tie rules are those of the domain specification, section 8. The gate is greedy: it
takes the candidates of one close in order and charges each accepted one against the caps of the next.
A comparison that must hold to let an order pass is written so that NaN fails it.
"""

from __future__ import annotations

import numpy as np

from engine.desk import (
    ACTIVE,
    ENTRY,
    EXIT,
    HELD,
    LEAVING,
    MICRO,
    emit_order,
    emit_rejection,
    lowest,
    next_order_id,
)
from engine.events import OrderType, Reason
from engine.jit import step
from risk.sizing import adv_usd, target_value

HALTED_PORTFOLIO = int(Reason.HALTED_PORTFOLIO)
M_GATE = int(Reason.M_GATE)
ALREADY_HELD, PENDING_ORDER = int(Reason.ALREADY_HELD), int(Reason.PENDING_ORDER)
STALE_SYMBOL, INVALID_STOP = int(Reason.STALE_SYMBOL), int(Reason.INVALID_STOP)
MAX_POSITIONS, CAP_NAME = int(Reason.MAX_POSITIONS), int(Reason.CAP_NAME)
CAP_SECTOR, CAP_GROSS = int(Reason.CAP_SECTOR), int(Reason.CAP_GROSS)
CAP_LIQUIDITY, NO_CASH = int(Reason.CAP_LIQUIDITY), int(Reason.NO_CASH)
BELOW_MIN_NOTIONAL, BY_SIGNAL = int(Reason.BELOW_MIN_NOTIONAL), int(Reason.SIGNAL)
NOT_A_MEMBER = int(Reason.NOT_A_MEMBER)
BUY, TRAILING = 1, int(OrderType.TRAILING_STOP)
EXIT_HAIRCUT, CASH_BUFFER = 0.98, 1.01  # queued exits may fill lower, entries higher


@step
def precedes(state, left, right):
    """Return whether a candidate is served before another: confidence (9 decimals), strategy weight and
    ADV descending, then symbol and strategy ascending. The ADV is worked out when it decides."""
    if left.confidence != right.confidence:
        return left.confidence > right.confidence
    if left.weight != right.weight:
        return left.weight > right.weight
    for candidate in (left, right):
        if np.isnan(candidate.adv):
            candidate.adv = adv_usd(state, candidate.symbol)
    if left.adv != right.adv:
        return left.adv > right.adv
    if left.symbol != right.symbol:
        return left.symbol < right.symbol
    return left.strategy < right.strategy


@step
def rank_buys(state, tables, signals, first, last, candidates, precedence):
    """Put the numbers of the BUYs in `signals[first:last]` into `precedence`, first served first; return
    how many there are."""
    n = 0
    for k in range(first, last):
        signal = signals[k]
        if signal.side <= 0:
            continue
        new = candidates[n]
        new.signal = k
        new.confidence = np.rint(signal.confidence * 1e9)
        new.weight = tables.weights[signal.strategy] if signal.strategy < len(tables.weights) else 0.0
        new.adv = np.nan
        new.symbol = signal.symbol
        new.strategy = signal.strategy
        j = n
        while j > 0 and precedes(state, new, candidates[precedence[j - 1]]):
            precedence[j] = precedence[j - 1]
            j -= 1
        precedence[j] = n
        n += 1
    return n


@step
def initial_stop(structure_stop, stop_distance, price, individual_stop):
    """Return the stop for an entry at `price`: the highest of structure, distance and individual stop.

    NaN inputs stand for "none"; NaN is returned when there is no stop at all.
    """
    stop = np.nan
    if not np.isnan(structure_stop):
        stop = structure_stop
    if not np.isnan(stop_distance):
        level = price - stop_distance
        stop = level if np.isnan(stop) else max(stop, level)
    if not np.isnan(individual_stop):
        level = price * (1.0 - individual_stop)
        stop = level if np.isnan(stop) else max(stop, level)
    return stop


@step
def pending_usd(params, order, price):
    """Return what of an order has not been filled, in dollars at `price`."""
    return (order.quantity - order.filled) / params.units * price


@step
def sum_pending(state, params, a):
    """Sum up what entries start from at this close: `names`, symbols held or pending, less those wholly on
    their way out at the market; `spendable`, cash plus queued exits at a haircut, less pending entries."""
    account = state.accounts[a]
    if account.summed == state.counters[0].session:
        return
    names = account.n_lots
    spendable = account.cash / MICRO
    for word in range(state.sets.shape[2]):
        left = state.sets[LEAVING, a, word]
        while left != 0:
            s = lowest(word, left)
            left &= left - 1
            order = state.orders[a, EXIT, s]
            if order.type == 0:  # Only a market order is sure to be out at the next open
                spendable += pending_usd(params, order, state.lots[a, s].mark) * EXIT_HAIRCUT
                names -= state.plans[a, EXIT, s].whole
    for k in range(account.n_entries):
        s = state.entries[a, k]
        spendable -= pending_usd(params, state.orders[a, ENTRY, s], state.plans[a, ENTRY, s].ref)
        names += state.lots[a, s].quantity == 0
    account.names = names
    account.spendable = spendable
    account.summed = state.counters[0].session


@step
def sum_committed(state, params, tables, a):
    """Sum up the dollars in positions and pending entries: `committed`, and in `sector_usd` by sector."""
    account, by_sector = state.accounts[a], state.sector_usd[a]
    if account.committed_in == state.counters[0].session:
        return
    total = 0.0
    for sector in range(len(by_sector)):
        by_sector[sector] = 0.0
    for word in range(state.sets.shape[2]):
        left = state.sets[HELD, a, word]
        while left != 0:
            s = lowest(word, left)
            left &= left - 1
            lot = state.lots[a, s]
            value = lot.quantity / params.units * lot.mark
            total += value
            by_sector[tables.sector[s]] += value
    for k in range(account.n_entries):
        s = state.entries[a, k]
        value = pending_usd(params, state.orders[a, ENTRY, s], state.plans[a, ENTRY, s].ref)
        total += value
        by_sector[tables.sector[s]] += value
    account.committed = total
    account.committed_in = state.counters[0].session


@step
def is_member(tables, ts, s):
    """Return whether a symbol belongs to the index at `ts`. A name that leaves it may be held on."""
    p = len(tables.since_ns) - 1
    while p > 0 and tables.since_ns[p] > ts:
        p -= 1
    return tables.is_member[p, s] == 1


@step
def gate_buy(state, out, params, tables, ts, a, signal, status, market):
    """Turn one BUY signal into an accepted order of account `a`, or into a rejection."""
    s = signal.symbol
    i = signal.strategy
    account = state.accounts[a]
    leader = i if i < len(tables.weights) else np.int64(signal.details[0])
    ref = signal.price_ref
    equity = account.equity / MICRO
    reason = 0
    value = limit = notional = np.nan
    stop = initial_stop(signal.structure_stop, signal.stop_distance, ref, params.individual_stop)
    quantity = np.int64(0)
    binding = 0
    if params.barred != 0:
        reason = params.barred
    elif account.state != ACTIVE:
        reason = HALTED_PORTFOLIO
        value, limit = 1.0 - account.equity / account.hwm_risk, params.portfolio_stop
    elif not is_member(tables, ts, s):
        reason = NOT_A_MEMBER
    elif tables.rules[leader].m_gate & market != 0:
        reason = M_GATE
    elif state.lots[a, s].quantity > 0:
        reason = ALREADY_HELD
    elif state.orders[a, ENTRY, s].quantity > 0:
        reason = PENDING_ORDER
    elif status < 2:
        reason = STALE_SYMBOL
    elif not ref > 0.0 or stop >= ref or (params.sizing == 1 and np.isnan(stop)):
        reason, value, limit = INVALID_STOP, stop, ref
    else:
        sum_pending(state, params, a)
        if not account.names < params.max_positions:
            reason, value, limit = MAX_POSITIONS, float(account.names), params.max_positions
        else:
            wanted = target_value(state, params, s, equity, ref, stop, signal.confidence)
            if wanted >= 0.0:
                wanted, reason, binding, value, limit = capped_value(
                    state, params, tables, a, s, equity, ref, wanted
                )
            if reason == 0:
                if wanted < np.inf:  # False for NaN
                    quantity = np.int64(np.floor(wanted / ref * params.units))
                notional = quantity / params.units * ref
                if not (notional >= params.min_notional and quantity > 0):
                    reason, value, limit = BELOW_MIN_NOTIONAL, notional, params.min_notional
    if reason != 0:
        emit_rejection(state, out, ts, a, s, i, BUY, reason, value, limit)
        return
    accept_entry(state, out, ts, a, signal, leader, quantity, binding)
    # The next candidate of this close finds it pending
    account.names += 1
    account.spendable -= notional
    account.committed += notional
    state.sector_usd[a, tables.sector[s]] += notional


@step
def capped_value(state, params, tables, a, s, equity, ref, wanted):
    """Return (value, reason, binding cap, input, limit): `wanted` dollars cut by each cap in order.

    A cap that leaves less than one share refuses the entry with its own reason.
    """
    binding = 0
    share = ref / params.units
    sector = tables.sector[s]
    sector_limit = tables.sector_limits[sector]
    account = state.accounts[a]
    if sector_limit < np.inf or params.max_gross < np.inf:
        sum_committed(state, params, tables, a)
    for cap in range(CAP_NAME, NO_CASH + 1):
        room = np.inf
        if cap == CAP_NAME and params.max_name < np.inf:
            room = params.max_name * equity
        elif cap == CAP_SECTOR and sector_limit < np.inf:
            room = sector_limit * equity - state.sector_usd[a, sector]
        elif cap == CAP_GROSS and params.max_gross < np.inf:
            room = params.max_gross * equity - account.committed
        elif cap == CAP_LIQUIDITY and params.adv_cap < np.inf:
            room = params.adv_cap * adv_usd(state, s)
        elif cap == NO_CASH:
            room = account.spendable / (CASH_BUFFER + params.commission)
        if not room >= wanted:
            if not room >= share and wanted >= share:
                return wanted, cap, binding, wanted, room
            wanted = room
            binding = cap
    return wanted, 0, binding, np.nan, np.nan


@step
def accept_entry(state, out, ts, a, signal, leader, quantity, binding):
    """Put an entry order into its place, behind those accepted before it."""
    s = signal.symbol
    account = state.accounts[a]
    state.entries[a, account.n_entries] = s
    account.n_entries += 1
    order = state.orders[a, ENTRY, s]
    order.order_id = next_order_id(state.counters[0])
    order.account = a
    order.symbol = s
    order.strategy = leader
    order.side = BUY
    order.quantity = quantity
    order.filled = 0
    order.type = signal.order_type
    order.tif = signal.tif
    order.limit = signal.limit
    order.reason = BY_SIGNAL
    order.binding_cap = binding
    order.ts_decided = ts
    plan = state.plans[a, ENTRY, s]
    plan.trigger = signal.trigger
    plan.trail = signal.trail
    if signal.order_type == TRAILING and np.isnan(plan.trigger):
        plan.trigger = signal.price_ref + signal.trail
    plan.open_max = signal.open_max
    plan.pivot = signal.pivot
    plan.target = signal.target
    plan.structure_stop = signal.structure_stop
    plan.stop_distance = signal.stop_distance
    plan.ref = signal.price_ref
    plan.attempts = 0
    plan.whole = 0
    emit_order(state, out, ts, order, 0, 0)
