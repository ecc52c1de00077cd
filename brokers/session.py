"""One session after the other: the compiled pass that is the desk, and its Python shell.

The only place that knows gate, broker and ledger at once; each contributes step functions. The order of
steps within a session is the domain specification's, section 0.
"""

from __future__ import annotations

import numpy as np

from brokers.exits import (
    BEAR_BIT,
    SCALE_OUT,
    exit_is_whole,
    exit_reason,
    move_history,
    note_gain,
    remember_bar,
    rescale_history,
    scale_out_quantity,
    trail,
)
from brokers.matching import open_phase, stop_phase, waiting_phase
from engine.desk import (
    ACTIVE,
    AT_CLOSE,
    COOLDOWN,
    ENTRIES,
    ENTRY,
    EXIT,
    HALTED,
    INTRABAR,
    LOTS,
    O_SIGNALS,
    SESSION,
    emit_order,
    emit_rejection,
    emit_risk,
    end_order,
    open_exit,
)
from engine.events import OrderStatus, OrderType, Reason, RiskKind
from engine.jit import kernel, routine, step
from engine.ledger import (
    close_lots,
    delist_account,
    pay_dividend,
    rename_account,
    split_account,
    value_of_lots,
    write_equity,
)
from engine.slab import ActionKind
from risk.gate import gate_buy, precedes
from risk.sizing import adv_usd
from strategies.aggregation import blend_row

CURSOR = 5  # DeskState.counters: signals of the slab consumed so far
SPLIT, DIVIDEND, RENAME = int(ActionKind.SPLIT), int(ActionKind.DIVIDEND), int(ActionKind.RENAME)
DELIST_FIRST, DELIST_LAST = int(ActionKind.DELIST_PROCEEDS), int(ActionKind.DELIST_UNKNOWN)
CANCELLED = int(OrderStatus.CANCELLED)
KILL_SWITCH = int(Reason.KILL_SWITCH)
HALTED_PORTFOLIO, PORTFOLIO_STOP = int(Reason.HALTED_PORTFOLIO), int(Reason.PORTFOLIO_STOP)
NOT_HELD, EXIT_PENDING, BY_SIGNAL = int(Reason.NOT_HELD), int(Reason.EXIT_PENDING), int(Reason.SIGNAL)
WARNED, TO_HALTED = int(RiskKind.WARNING), int(RiskKind.HALTED)
TO_COOLDOWN, REARMED = int(RiskKind.COOLDOWN), int(RiskKind.REARMED)
TRAILING, MARKET = int(OrderType.TRAILING_STOP), int(OrderType.MARKET)
LIQUIDATE, HALVE = 0, 2


@kernel
def session_pass(tape, market, signals, params, tables, state, out, row):
    """Run sessions `row`.. of the slab; return the first row that was not run.

    Stops before a row for which the buffers of `out` might be too small. `signals` is sorted by
    (ts, symbol, strategy); `market` is int64[K], the gate's bits at each close.
    """
    n_rows = len(tape.ts)
    n_accounts = len(state.accounts)
    action = 0
    while action < len(tape.actions) and tape.actions[action].row < row:
        action += 1
    atr_bars = 0
    for i in range(len(tables.rules)):
        if tables.rules[i].trail_atr_multiple > 0.0:
            atr_bars = tables.rules[i].trail_atr_bars
    for t in range(row, n_rows):
        ts = tape.ts[t]
        first = state.counters[CURSOR]
        last = first
        while last < len(signals) and signals[last].ts == ts:
            last += 1
        next_action = action
        while next_action < len(tape.actions) and tape.actions[next_action].row == t:
            next_action += 1
        if not has_room(state, out, n_accounts, last - first, next_action - action):
            return t
        state.counters[SESSION] += 1
        if params.killed:
            for a in range(n_accounts):
                cancel_entries(state, out, ts, a, KILL_SWITCH)
        for k in range(action, next_action):
            apply_action(state, out, params, ts, tape.actions[k])
        action = next_action
        open_phase(state, out, params, tape, t)
        waiting_phase(state, out, params, tape, t, INTRABAR)
        stop_phase(state, out, params, tape, t)
        waiting_phase(state, out, params, tape, t, AT_CLOSE)
        remember_bar(state, tape, t, atr_bars)
        for a in range(n_accounts):
            gross, overdue = close_lots(state, params, tape, t, a)
            if overdue > 0:
                delist_missing(state, out, params, ts, a)
                gross = value_of_lots(state, params, a)
            write_equity(state.accounts[a], gross, out.equity[t, a])
            portfolio_stop(state, out, params, ts, a, market[t])
            apply_exit_rules(state, out, params, tables, tape, t, a, market[t])
        take_signals(state, out, params, tables, tape, t, signals, first, last, market[t])
        state.counters[CURSOR] = last
    return n_rows


@step
def has_room(state, out, n_accounts, n_signals, n_actions):
    """Return whether each buffer surely holds what one row can produce."""
    busy = n_signals + n_actions * n_accounts
    for a in range(n_accounts):
        account = state.accounts[a]
        busy += account.n_lots + account.n_entries + account.n_exits
    written = 0
    for k in range(len(out.counts)):
        written = max(written, out.counts[k])
    return written + 6 * busy + 8 * n_accounts <= len(out.orders)


@routine
def apply_action(state, out, params, ts, action):
    """Apply one corporate action to positions, orders, stops and history of all accounts."""
    s = action.symbol
    for a in range(len(state.accounts)):
        if action.kind == SPLIT:
            split_account(state, out, params, ts, a, s, action.value)
        elif action.kind == DIVIDEND:
            pay_dividend(state, out, params, ts, a, s, action.value)
        elif action.kind == RENAME:
            rename_account(state, a, s, np.int64(action.value))
        elif action.kind >= DELIST_FIRST and action.kind <= DELIST_LAST:
            delist_account(state, out, params, ts, a, s, action.kind, action.value)
    if action.kind == SPLIT:
        rescale_history(state, s, action.value)
    elif action.kind == RENAME:
        move_history(state, s, np.int64(action.value))


@routine
def delist_missing(state, out, params, ts, a):
    """Pay out lots whose symbol has had no bar for `delist_after` sessions, as of unknown cause."""
    account = state.accounts[a]
    k = 0
    while k < account.n_lots:
        s = state.lists[LOTS, a, k]
        if state.lots[a, s].missing >= params.delist_after:
            delist_account(state, out, params, ts, a, s, DELIST_LAST, 0.0)
        else:
            k += 1


@routine
def portfolio_stop(state, out, params, ts, a, market):
    """Advance the portfolio stop: active, halted until flat, cooling down, re-armed."""
    account = state.accounts[a]
    if account.state == ACTIVE:
        drawdown = 1.0 - account.equity / account.hwm_risk
        if drawdown <= 0.0:
            account.warned = 0
        if account.warned < 1 and drawdown >= params.warning_1:
            account.warned = 1
            emit_risk(state, out, ts, a, WARNED, drawdown, params.warning_1)
        if account.warned < 2 and drawdown >= params.warning_2:
            account.warned = 2
            emit_risk(state, out, ts, a, WARNED, drawdown, params.warning_2)
        if drawdown >= params.portfolio_stop:
            account.state = HALTED
            emit_risk(state, out, ts, a, TO_HALTED, drawdown, params.portfolio_stop)
            cancel_entries(state, out, ts, a, HALTED_PORTFOLIO)
            if params.portfolio_action == LIQUIDATE or params.portfolio_action == HALVE:
                for k in range(account.n_lots):
                    s = state.lists[LOTS, a, k]
                    quantity = state.lots[a, s].quantity
                    whole = 1
                    if params.portfolio_action == HALVE:
                        quantity = quantity // 2
                        whole = 0
                    queue_exit(state, out, ts, a, s, quantity, whole, PORTFOLIO_STOP)
    elif account.state == HALTED:
        if account.n_lots == 0:
            account.state = COOLDOWN
            account.cooldown_left = params.rearm_sessions
            emit_risk(state, out, ts, a, TO_COOLDOWN, float(params.rearm_sessions), np.nan)
    else:
        account.cooldown_left -= 1
        waits = params.rearm_regime and market & BEAR_BIT != 0
        if account.cooldown_left <= 0 and not waits:
            account.state = ACTIVE
            account.hwm_risk = account.equity
            account.warned = 0
            emit_risk(state, out, ts, a, REARMED, account.equity / 1e6, np.nan)


@step
def cancel_entries(state, out, ts, a, reason):
    """Cancel every waiting entry of an account."""
    while state.accounts[a].n_entries > 0:
        s = state.lists[ENTRIES, a, 0]
        end_order(state, out, ts, a, ENTRY, s, CANCELLED, reason)


@routine
def queue_exit(state, out, ts, a, s, quantity, whole, reason):
    """Queue a market sell for the next open; a whole exit replaces what else works for the lot."""
    if quantity < 1 or exit_is_whole(state, a, s):
        return
    if state.orders[a, EXIT, s].live == 1:
        if whole == 0:
            return
        end_order(state, out, ts, a, EXIT, s, CANCELLED, reason)
    if whole == 1 and state.orders[a, ENTRY, s].live == 1:
        end_order(state, out, ts, a, ENTRY, s, CANCELLED, reason)
    order = open_exit(state, a, s, quantity, whole, MARKET, 1, reason, ts)
    emit_order(state, out, ts, a, s, order, 0, 0)


@step
def apply_exit_rules(state, out, params, tables, tape, t, a, market):
    """Evaluate the exit rules of every lot whose symbol traded."""
    account = state.accounts[a]
    for k in range(account.n_lots):
        s = state.lists[LOTS, a, k]
        if tape.status[t, s] < 2:
            continue
        lot = state.lots[a, s]
        rules = tables.rules[lot.strategy]
        if rules.on == 0:
            continue
        close = tape.close[t, s]
        note_gain(lot, rules, close)
        reason = exit_reason(state, lot, rules, s, close, market)
        if reason != 0:
            queue_exit(state, out, tape.ts[t], a, s, lot.quantity, 1, reason)
            continue
        quantity = scale_out_quantity(lot, rules, close)
        if quantity > 0 and state.orders[a, EXIT, s].live == 0:
            lot.scaled = 1
            queue_exit(state, out, tape.ts[t], a, s, quantity, 0, SCALE_OUT)
        if rules.trail_atr_multiple > 0.0:
            trail(state, lot, rules, s)


@step
def take_signals(state, out, params, tables, tape, t, signals, first, last, market):
    """Carry out this session's signals: sells first, then the blend, then buys through the gate."""
    ts = tape.ts[t]
    blend = params.blend == 1
    for k in range(first, last):
        if signals[k].side < 0:
            sell_signal(state, out, ts, signals[k], blend)
    if not blend:
        gate_buys(state, out, params, tables, tape, t, signals, first, last, market)
        return
    start = out.counts[O_SIGNALS]
    n = blend_row(state, out, params, tables.weights, ts, signals, first, last)
    for k in range(start, start + n):
        if out.signals[k].side < 0:
            sell_signal(state, out, ts, out.signals[k], False)
    gate_buys(state, out, params, tables, tape, t, out.signals, start, start + n, market)


@step
def sell_signal(state, out, ts, signal, own_lots_only):
    """Turn a SELL into an exit of the lot, or record why there is nothing to do.

    `own_lots_only`: raw signals of a blend close only lots of the strategy that gave them; the rest is
    the aggregator's to decide and to record.
    """
    s = signal.symbol
    a = signal.strategy if signal.strategy < len(state.accounts) else np.int64(0)
    if own_lots_only:
        a = np.int64(0)
    lot = state.lots[a, s]
    if own_lots_only and (lot.held == 0 or lot.strategy != signal.strategy):
        return
    if lot.held == 0:
        if state.orders[a, ENTRY, s].live == 1:
            end_order(state, out, ts, a, ENTRY, s, CANCELLED, BY_SIGNAL)
        else:
            emit_rejection(state, out, ts, a, s, signal.strategy, -1, NOT_HELD, np.nan, np.nan)
    elif state.orders[a, EXIT, s].live == 1 and (exit_is_whole(state, a, s) or signal.order_type != MARKET):
        emit_rejection(state, out, ts, a, s, signal.strategy, -1, EXIT_PENDING, np.nan, np.nan)
    elif signal.order_type == MARKET:
        queue_exit(state, out, ts, a, s, lot.quantity, 1, BY_SIGNAL)
    else:
        order = open_exit(state, a, s, lot.quantity, 1, signal.order_type, signal.tif, BY_SIGNAL, ts)
        order.limit = signal.limit
        order.trigger = signal.trigger
        order.trail = signal.trail
        if signal.order_type == TRAILING and np.isnan(order.trigger):
            order.trigger = signal.price_ref - signal.trail
        emit_order(state, out, ts, a, s, order, 0, 0)


@step
def gate_buys(state, out, params, tables, tape, t, signals, first, last, market):
    """Show the BUYs of one close to the gate in its order of precedence."""
    chosen, adv = out.chosen, out.adv
    n = 0
    for k in range(first, last):
        if signals[k].side > 0:
            adv_new = adv_usd(state, signals[k].symbol)
            j = n
            while j > 0 and precedes(signals[k], adv_new, signals[chosen[j - 1]], adv[j - 1], tables.weights):
                chosen[j] = chosen[j - 1]
                adv[j] = adv[j - 1]
                j -= 1
            chosen[j] = k
            adv[j] = adv_new
            n += 1
    for j in range(n):
        signal = signals[chosen[j]]
        a = signal.strategy if params.blend == 0 else np.int64(0)
        status = tape.status[t, signal.symbol]
        gate_buy(state, out, params, tables, tape.ts[t], a, signal, status, market)
