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
    note_gain,
    scale_out_quantity,
    trail,
)
from brokers.history import move_history, remember_bar, rescale_history
from brokers.matching import fill_orders, stop_phase
from engine.desk import (
    ACTIVE,
    AT_CLOSE,
    AT_OPEN,
    COOLDOWN,
    ENTRY,
    EXIT,
    HALTED,
    HELD,
    INTRABAR,
    emit_order,
    emit_rejection,
    emit_risk,
    end_order,
    lowest,
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
from risk.gate import gate_buy, rank_buys
from strategies.aggregation import blend_row, move_votes

SPLIT, DIVIDEND, RENAME = int(ActionKind.SPLIT), int(ActionKind.DIVIDEND), int(ActionKind.RENAME)
DELIST_FIRST, DELIST_LAST = int(ActionKind.DELIST_PROCEEDS), int(ActionKind.DELIST_UNKNOWN)
CANCELLED = int(OrderStatus.CANCELLED)
HALTED_PORTFOLIO, PORTFOLIO_STOP = int(Reason.HALTED_PORTFOLIO), int(Reason.PORTFOLIO_STOP)
NOT_HELD, EXIT_PENDING, BY_SIGNAL = int(Reason.NOT_HELD), int(Reason.EXIT_PENDING), int(Reason.SIGNAL)
WARNED, TO_HALTED = int(RiskKind.WARNING), int(RiskKind.HALTED)
TO_COOLDOWN, REARMED = int(RiskKind.COOLDOWN), int(RiskKind.REARMED)
TRAILING, MARKET = int(OrderType.TRAILING_STOP), int(OrderType.MARKET)
LIQUIDATE, HALVE = 0, 2
OUT_OF_RANGE = -1


@kernel
def session_pass(tape, market, signals, params, tables, state, out, equity, row):
    """Run sessions `row`.. of the slab; return the first row that was not run, OUT_OF_RANGE where an amount
    left the range of int64 micro-dollars.

    Stops before a row for which the buffers of `out` might be too small. `signals` is sorted by
    (ts, symbol, strategy); `market` is int64[K], the gate's bits at each close. `equity` is int64[K, A, 3]:
    cash, gross and equity of each account at each close.
    """
    n_rows = len(tape.ts)
    n_accounts = len(state.accounts)
    action = 0
    while action < len(tape.actions) and tape.actions[action].row < row:
        action += 1
    atr_bars = 0
    any_rules = False
    for i in range(len(tables.rules)):
        any_rules = any_rules or tables.rules[i].on != 0
        if tables.rules[i].trail_atr_multiple > 0.0:
            atr_bars = tables.rules[i].trail_atr_bars
    counters = state.counters[0]
    for t in range(row, n_rows):
        ts = tape.ts[t]
        first = counters.cursor
        last = first
        while last < len(signals) and signals[last].ts == ts:
            last += 1
        next_action = action
        while next_action < len(tape.actions) and tape.actions[next_action].row == t:
            next_action += 1
        if not has_room(state, out, tables, last - first, next_action - action):
            return t if counters.overflow == 0 else OUT_OF_RANGE
        counters.session += 1
        if params.barred != 0:
            for a in range(n_accounts):
                cancel_entries(state, out, ts, a, params.barred)
        for k in range(action, next_action):
            apply_action(state, out, params, ts, tape.actions[k])
        action = next_action
        for phase in range(AT_OPEN, AT_CLOSE + 1):
            fill_orders(state, out, params, tape, t, phase)
            if phase == INTRABAR:
                stop_phase(state, out, params, tape, t)
        remember_bar(state, tape, t, atr_bars)
        for a in range(n_accounts):
            gross, overdue = close_lots(state, params, tape, t, a)
            if overdue > 0:
                delist_missing(state, out, params, ts, a)
                gross = value_of_lots(state, params, a)
            write_equity(state.accounts[a], counters, gross, equity[t, a])
            portfolio_stop(state, out, params, tables, ts, a, market[t])
            if any_rules:
                apply_exit_rules(state, out, tables, tape, t, a, market[t])
        take_signals(state, out, params, tables, tape, t, signals, first, last, market[t])
        counters.cursor = last
    counters.cursor = 0  # A snapshot does not tell how the bars were cut
    return n_rows if counters.overflow == 0 else OUT_OF_RANGE


@step
def has_room(state, out, tables, n_signals, n_actions):
    """Return whether each buffer surely holds what one row can produce."""
    n_accounts = len(state.accounts)
    busy = n_signals + n_actions * n_accounts
    for a in range(n_accounts):
        account = state.accounts[a]
        busy += account.n_lots + account.n_entries + account.n_exits
    counts = out.counts[0]
    room = min(
        len(out.signals) - counts.signals, len(out.orders) - counts.orders, len(out.fills) - counts.fills,
        len(out.rejections) - counts.rejections, len(out.cashflows) - counts.cashflows,
        len(out.trades) - counts.trades, len(out.risk) - counts.risk, len(out.candidates),
    )  # fmt: skip
    return 6 * busy + (8 + len(tables.warnings)) * n_accounts <= room


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
            rename_account(state, out, ts, a, s, np.int64(action.value))
        elif action.kind >= DELIST_FIRST and action.kind <= DELIST_LAST:
            delist_account(state, out, params, ts, a, s, action.kind, action.value)
    if action.kind == SPLIT:
        rescale_history(state, s, action.value)
    elif action.kind == RENAME:
        move_history(state, s, np.int64(action.value))
        if params.blend == 1:
            move_votes(state, s, np.int64(action.value))


@routine
def delist_missing(state, out, params, ts, a):
    """Pay out lots whose symbol has had no bar for `delist_after` sessions, as of unknown cause."""
    for word in range(state.sets.shape[2]):
        left = state.sets[HELD, a, word]
        while left != 0:
            s = lowest(word, left)
            left &= left - 1
            if state.lots[a, s].missing >= params.delist_after:
                delist_account(state, out, params, ts, a, s, DELIST_LAST, 0.0)


@step
def portfolio_stop(state, out, params, tables, ts, a, market):
    """Advance the portfolio stop: active, halted until flat, cooling down, re-armed."""
    account = state.accounts[a]
    if account.state != ACTIVE:
        rearm(state, out, params, ts, a, market)
        return
    drawdown = 1.0 - account.equity / account.hwm_risk
    if drawdown <= 0.0:
        account.warned = 0
    warnings = tables.warnings
    due = account.warned < len(warnings) and drawdown >= warnings[account.warned]
    if due or drawdown >= params.portfolio_stop:
        warn_or_halt(state, out, params, warnings, ts, a, drawdown)


@routine
def warn_or_halt(state, out, params, warnings, ts, a, drawdown):
    account = state.accounts[a]
    while account.warned < len(warnings) and drawdown >= warnings[account.warned]:
        emit_risk(state, out, ts, a, WARNED, drawdown, warnings[account.warned])
        account.warned += 1
    if not drawdown >= params.portfolio_stop:
        return
    account.state = HALTED
    emit_risk(state, out, ts, a, TO_HALTED, drawdown, params.portfolio_stop)
    cancel_entries(state, out, ts, a, HALTED_PORTFOLIO)
    if params.portfolio_action != LIQUIDATE and params.portfolio_action != HALVE:
        return
    for word in range(state.sets.shape[2]):
        left = state.sets[HELD, a, word]
        while left != 0:
            s = lowest(word, left)
            left &= left - 1
            quantity = state.lots[a, s].quantity
            whole = 1
            if params.portfolio_action == HALVE:
                quantity = quantity // 2
                whole = 0
            queue_exit(state, out, ts, a, s, quantity, whole, PORTFOLIO_STOP)


@routine
def rearm(state, out, params, ts, a, market):
    account = state.accounts[a]
    if account.state == HALTED:
        if account.n_lots == 0:
            account.state = COOLDOWN
            account.cooldown_left = params.rearm_sessions
            emit_risk(state, out, ts, a, TO_COOLDOWN, float(params.rearm_sessions), np.nan)
        return
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
        end_order(state, out, ts, a, ENTRY, state.entries[a, 0], CANCELLED, reason)


@step
def queue_exit(state, out, ts, a, s, quantity, whole, reason):
    """Queue a market sell for the next open; a whole exit replaces what else works for the lot."""
    if quantity < 1 or exit_is_whole(state, a, s):
        return
    if state.orders[a, EXIT, s].quantity > 0:
        if whole == 0:
            return
        end_order(state, out, ts, a, EXIT, s, CANCELLED, reason)
    if whole == 1 and state.orders[a, ENTRY, s].quantity > 0:
        end_order(state, out, ts, a, ENTRY, s, CANCELLED, reason)
    order = open_exit(state, a, s, quantity, whole, MARKET, 1, reason, ts)
    emit_order(state, out, ts, order, 0, 0)


@step
def apply_exit_rules(state, out, tables, tape, t, a, market):
    """Evaluate the exit rules of every lot whose symbol traded."""
    held = state.sets[HELD, a]
    for word in range(len(held)):
        left = held[word]
        while left != 0:
            s = lowest(word, left)
            left &= left - 1
            lot = state.lots[a, s]
            rules = tables.rules[lot.strategy]
            if rules.on == 0 or tape.status[t, s] < 2:
                continue
            close = tape.close[t, s]
            note_gain(lot, rules, close)
            reason = exit_reason(state, lot, rules, s, close, market)
            quantity = lot.quantity
            whole = 1
            if reason == 0:
                quantity = scale_out_quantity(lot, rules, close)
                whole = 0
                reason = SCALE_OUT
                if state.orders[a, EXIT, s].quantity > 0:
                    quantity = np.int64(0)
                if rules.trail_atr_multiple > 0.0:
                    trail(state, lot, rules, s)
            if quantity > 0:
                lot.scaled = max(lot.scaled, 1 - whole)
                queue_exit(state, out, tape.ts[t], a, s, quantity, whole, reason)


@step
def take_signals(state, out, params, tables, tape, t, signals, first, last, market):
    """Carry out this session's signals: sells first, then the blend, then buys through the gate."""
    ts = tape.ts[t]
    if params.blend == 1:
        for k in range(first, last):
            sell_own_lot(state, out, ts, signals[k])
        start = out.counts[0].signals
        last = start + blend_row(state, out, params, tables.weights, ts, signals, first, last)
        first = start
        signals = out.signals
    for k in range(first, last):
        if signals[k].side < 0:
            a = signals[k].strategy if params.blend == 0 else np.int64(0)
            sell_signal(state, out, ts, a, signals[k])
    n = rank_buys(state, tables, signals, first, last, out.candidates, out.precedence)
    for k in range(n):
        signal = signals[out.candidates[out.precedence[k]].signal]
        a = signal.strategy if params.blend == 0 else np.int64(0)
        status = tape.status[t, signal.symbol]
        gate_buy(state, out, params, tables, ts, a, signal, status, market)


@routine
def sell_own_lot(state, out, ts, signal):
    """Raw SELLs of a blend close only lots of the strategy that gave them; the rest is the aggregator's to
    decide and to record."""
    lot = state.lots[0, signal.symbol]
    if signal.side < 0 and lot.quantity > 0 and lot.strategy == signal.strategy:
        sell_signal(state, out, ts, np.int64(0), signal)


@step
def sell_signal(state, out, ts, a, signal):
    """Turn a SELL into an exit of the lot, or record why there is nothing to do."""
    s = signal.symbol
    quantity = state.lots[a, s].quantity
    if quantity == 0:
        if state.orders[a, ENTRY, s].quantity > 0:
            end_order(state, out, ts, a, ENTRY, s, CANCELLED, BY_SIGNAL)
        else:
            emit_rejection(state, out, ts, a, s, signal.strategy, -1, NOT_HELD, np.nan, np.nan)
    elif exit_is_whole(state, a, s) or (
        signal.order_type != MARKET and state.orders[a, EXIT, s].quantity > 0
    ):
        emit_rejection(state, out, ts, a, s, signal.strategy, -1, EXIT_PENDING, np.nan, np.nan)
    elif signal.order_type == MARKET:
        queue_exit(state, out, ts, a, s, quantity, 1, BY_SIGNAL)
    else:
        order = open_exit(state, a, s, quantity, 1, signal.order_type, signal.tif, BY_SIGNAL, ts)
        order.limit = signal.limit
        plan = state.plans[a, EXIT, s]
        plan.trigger = signal.trigger
        plan.trail = signal.trail
        if signal.order_type == TRAILING and np.isnan(plan.trigger):
            plan.trigger = signal.price_ref - signal.trail
        emit_order(state, out, ts, order, 0, 0)
