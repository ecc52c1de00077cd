"""The gate: every BUY signal becomes an order or a rejection with the numbers behind it.

Precedence, caps and tie rules are those of the domain specification, section 8. The gate is greedy: it
takes the candidates of one close in order and charges each accepted one against the caps of the next.
A comparison that must hold to let an order pass is written so that NaN fails it.
"""

from __future__ import annotations

import numpy as np

from engine.desk import (
    ACTIVE,
    ENTRIES,
    ENTRY,
    EXIT,
    EXITS,
    LOTS,
    MICRO,
    ORDER_ID,
    emit_order,
    emit_rejection,
)
from engine.events import OrderType, Reason
from engine.jit import routine, step
from risk.sizing import adv_usd, target_value

KILL_SWITCH, HALTED_PORTFOLIO = int(Reason.KILL_SWITCH), int(Reason.HALTED_PORTFOLIO)
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
def precedes(left, left_adv, right, right_adv, weights):
    """Return whether a candidate is served before another: confidence (9 decimals), strategy weight and
    ADV descending, then symbol and strategy ascending."""
    confidence_left, confidence_right = np.rint(left.confidence * 1e9), np.rint(right.confidence * 1e9)
    if confidence_left != confidence_right:
        return confidence_left > confidence_right
    n = len(weights)
    weight_left = weights[left.strategy] if left.strategy < n else 0.0
    weight_right = weights[right.strategy] if right.strategy < n else 0.0
    if weight_left != weight_right:
        return weight_left > weight_right
    if left_adv != right_adv:
        return left_adv > right_adv
    if left.symbol != right.symbol:
        return left.symbol < right.symbol
    return left.strategy < right.strategy


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
def pending_quantity(order):
    return order.quantity - order.filled


@step
def distinct_symbols(state, a):
    """Return symbols held or pending, less those wholly on their way out at the market."""
    account = state.accounts[a]
    n = account.n_lots
    for k in range(account.n_entries):
        if state.lots[a, state.lists[ENTRIES, a, k]].held == 0:
            n += 1
    for k in range(account.n_exits):
        order = state.orders[a, EXIT, state.lists[EXITS, a, k]]
        if order.whole == 1 and order.type == 0:
            n -= 1
    return n


@routine
def committed_usd(state, params, tables, a, sector):
    """Return dollars in positions and pending entries; of one sector, or of all for sector -1."""
    account = state.accounts[a]
    total = 0.0
    for k in range(account.n_lots):
        s = state.lists[LOTS, a, k]
        if sector < 0 or tables.sector[s] == sector:
            lot = state.lots[a, s]
            total += lot.quantity / params.units * lot.mark
    for k in range(account.n_entries):
        s = state.lists[ENTRIES, a, k]
        if sector < 0 or tables.sector[s] == sector:
            order = state.orders[a, ENTRY, s]
            total += pending_quantity(order) / params.units * order.ref
    return total


@step
def available_cash_usd(state, params, a):
    """Return what entries may still spend: cash, plus queued exits at a haircut, less pending entries."""
    account = state.accounts[a]
    total = account.cash / MICRO
    for k in range(account.n_exits):
        s = state.lists[EXITS, a, k]
        order = state.orders[a, EXIT, s]
        if order.type == 0:  # Only a market order is sure to be out at the next open
            total += pending_quantity(order) / params.units * state.lots[a, s].mark * EXIT_HAIRCUT
    for k in range(account.n_entries):
        order = state.orders[a, ENTRY, state.lists[ENTRIES, a, k]]
        total -= pending_quantity(order) / params.units * order.ref
    return total / (CASH_BUFFER + params.commission)


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
    value = limit = np.nan
    stop = initial_stop(signal.structure_stop, signal.stop_distance, ref, params.individual_stop)
    quantity = np.int64(0)
    binding = 0
    if params.killed:
        reason = KILL_SWITCH
    elif account.state != ACTIVE:
        reason = HALTED_PORTFOLIO
        value, limit = 1.0 - account.equity / account.hwm_risk, params.portfolio_stop
    elif not is_member(tables, ts, s):
        reason = NOT_A_MEMBER
    elif tables.rules[leader].m_gate & market != 0:
        reason = M_GATE
    elif state.lots[a, s].held == 1:
        reason = ALREADY_HELD
    elif state.orders[a, ENTRY, s].live == 1:
        reason = PENDING_ORDER
    elif status < 2:
        reason = STALE_SYMBOL
    elif not ref > 0.0 or stop >= ref or (params.sizing == 1 and np.isnan(stop)):
        reason, value, limit = INVALID_STOP, stop, ref
    else:
        n_symbols = distinct_symbols(state, a)
        if not n_symbols < params.max_positions:
            reason, value, limit = MAX_POSITIONS, float(n_symbols), params.max_positions
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
        return False
    accept_entry(state, out, ts, a, signal, leader, quantity, binding)
    return True


@step
def capped_value(state, params, tables, a, s, equity, ref, wanted):
    """Return (value, reason, binding cap, input, limit): `wanted` dollars cut by each cap in order.

    A cap that leaves less than one share refuses the entry with its own reason.
    """
    binding = 0
    share = ref / params.units
    sector = tables.sector[s]
    sector_limit = tables.sector_limits[sector]
    for cap in range(CAP_NAME, NO_CASH + 1):
        room = np.inf
        if cap == CAP_NAME and params.max_name < np.inf:
            room = params.max_name * equity
        elif cap == CAP_SECTOR and sector_limit < np.inf:
            room = sector_limit * equity - committed_usd(state, params, tables, a, sector)
        elif cap == CAP_GROSS and params.max_gross < np.inf:
            room = params.max_gross * equity - committed_usd(state, params, tables, a, -1)
        elif cap == CAP_LIQUIDITY and params.adv_cap < np.inf:
            room = params.adv_cap * adv_usd(state, s)
        elif cap == NO_CASH:
            room = available_cash_usd(state, params, a)
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
    state.lists[ENTRIES, a, account.n_entries] = s
    account.n_entries += 1
    order = state.orders[a, ENTRY, s]
    order.live = 1
    order.order_id = state.counters[ORDER_ID]
    state.counters[ORDER_ID] += 1
    order.strategy = leader
    order.side = BUY
    order.quantity = quantity
    order.filled = 0
    order.type = signal.order_type
    order.tif = signal.tif
    order.limit = signal.limit
    order.trigger = signal.trigger
    order.trail = signal.trail
    if signal.order_type == TRAILING and np.isnan(order.trigger):
        order.trigger = signal.price_ref + signal.trail
    order.open_max = signal.open_max
    order.pivot = signal.pivot
    order.target = signal.target
    order.structure_stop = signal.structure_stop
    order.stop_distance = signal.stop_distance
    order.ref = signal.price_ref
    order.attempts = 0
    order.reason = BY_SIGNAL
    order.binding_cap = binding
    order.ts_decided = ts
    order.whole = 0
    emit_order(state, out, ts, a, s, order, 0, 0)
