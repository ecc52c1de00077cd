"""The book: what a fill, a corporate action and a close do to cash, lots and equity.

Money is int64 micro-dollars. The value of a fill is rounded once, half to even, when it happens; from
there on only integers are added, so that
1. cash = capital - sum of buys + sum of sells - fees + cash flows, exactly and in any order;
2. equity = cash + sum of rounded position values, exactly;
3. a trade's pnl = proceeds + income - cost - fees, and the pnl of all lots sums to the change of equity.
"""

from __future__ import annotations

import numpy as np

from engine.desk import (
    AT_CLOSE,
    COOLDOWN,
    ENTRY,
    EXIT,
    LOTS,
    MICRO,
    O_CASHFLOWS,
    O_FILLS,
    O_TRADES,
    OVERFLOW,
    end_order,
    list_insert,
    list_remove,
    next_seq,
)
from engine.events import CashKind, OrderStatus, Reason
from engine.jit import routine, step
from engine.slab import ActionKind

DIVIDEND, CASH_IN_LIEU, DELISTING = (
    int(CashKind.DIVIDEND),
    int(CashKind.CASH_IN_LIEU),
    int(CashKind.DELISTING),
)
CANCELLED, DELISTED = int(OrderStatus.CANCELLED), int(Reason.DELISTED)
PROCEEDS, MERGER = int(ActionKind.DELIST_PROCEEDS), int(ActionKind.DELIST_MERGER)
NASDAQ = int(ActionKind.DELIST_PERFORMANCE_NASDAQ)
# What holders recover after a delisting for performance (Shumway 1997; Shumway and Warther 1999).
RECOVERY_NYSE, RECOVERY_NASDAQ = 0.70, 0.45
VALUE_MAX_USD = 9.0e12  # int64 micro-dollars end at 9.2e12


@step
def money(quantity, price, units, counters):
    """Return the value of `quantity` at `price` in micro-dollars, rounded half to even."""
    value = quantity / units * price
    if not abs(value) < VALUE_MAX_USD:
        counters[OVERFLOW] = 1
        return np.int64(0)
    return np.int64(np.rint(value * MICRO))


@step
def fee_of(value, params):
    """Return the commission on a fill's value, micro-dollars."""
    return np.int64(np.rint(value * params.commission))


@step
def emit_fill(state, out, ts, a, s, order, quantity, price, value, fee):
    """Record a fill and count it against the bar's volume."""
    session = state.counters[2]
    if state.used[s, 0] != session:
        state.used[s, 0] = session
        state.used[s, 1] = 0
    state.used[s, 1] += quantity
    order.filled += quantity
    n = out.counts[O_FILLS]
    out.counts[O_FILLS] = n + 1
    row = out.fills[n]
    row.seq = next_seq(state.counters)
    row.ts = ts
    row.order_id = order.order_id
    row.account = a
    row.symbol = s
    row.strategy = order.strategy
    row.side = order.side
    row.quantity = quantity
    row.price = price
    row.value_micro = value
    row.fee_micro = fee
    row.reason = order.reason


@step
def buy(state, out, params, ts, a, s, order, quantity, price, stop, phase):
    """Book a bought quantity; the first fill of an order opens the lot with its stop."""
    account = state.accounts[a]
    lot = state.lots[a, s]
    value = money(quantity, price, params.units, state.counters)
    fee = fee_of(value, params)
    account.cash -= value + fee
    emit_fill(state, out, ts, a, s, order, quantity, price, value, fee)
    if lot.held == 0:
        lot.held = 1
        lot.strategy = order.strategy
        lot.quantity = 0
        lot.bought = 0.0
        lot.sold = 0.0
        lot.cost = 0
        lot.proceeds = 0
        lot.fees = 0
        lot.income = 0
        lot.ts_entry = ts
        lot.phase = phase
        lot.bars_held = 0
        lot.missing = 0
        lot.stop = stop
        lot.initial_stop = stop
        lot.target = order.target
        lot.pivot = order.pivot
        lot.mark = price
        lot.first_price = price
        lot.highest_close = np.nan
        lot.low = price
        lot.high = price
        lot.scaled = 0
        lot.quick = 0
        list_insert(state.lists[LOTS, a], account.n_lots, s)
        account.n_lots += 1
    lot.quantity += quantity
    lot.bought += quantity
    lot.cost += value
    lot.fees += fee


@step
def sell(state, out, params, ts, a, s, order, quantity, price):
    """Book a sold quantity; the trade is closed with the last share."""
    account = state.accounts[a]
    lot = state.lots[a, s]
    value = money(quantity, price, params.units, state.counters)
    fee = fee_of(value, params)
    account.cash += value - fee
    emit_fill(state, out, ts, a, s, order, quantity, price, value, fee)
    lot.quantity -= quantity
    lot.sold += quantity
    lot.proceeds += value
    lot.fees += fee
    lot.low = min(lot.low, price)
    lot.high = max(lot.high, price)
    if lot.quantity == 0:
        close_trade(state, out, params, ts, a, s, order.reason)


@step
def close_trade(state, out, params, ts, a, s, reason):
    """Record the round trip of an emptied lot and free its place."""
    account = state.accounts[a]
    lot = state.lots[a, s]
    pnl = lot.proceeds + lot.income - lot.cost - lot.fees
    shares = lot.bought / params.units
    entry = lot.cost / MICRO / shares
    sold = lot.sold / params.units
    n = out.counts[O_TRADES]
    out.counts[O_TRADES] = n + 1
    row = out.trades[n]
    row.seq = next_seq(state.counters)
    row.ts_entry = lot.ts_entry
    row.ts_exit = ts
    row.account = a
    row.symbol = s
    row.strategy = lot.strategy
    row.quantity = np.int64(np.rint(lot.bought))
    row.entry_price = entry
    row.exit_price = lot.proceeds / MICRO / sold if sold > 0.0 else np.nan
    row.pnl_micro = pnl
    row.fees_micro = lot.fees
    row.income_micro = lot.income
    row.ret = pnl / lot.cost
    risk = entry - lot.initial_stop
    row.r_multiple = pnl / MICRO / (shares * risk) if risk > 0.0 else np.nan
    row.bars_held = lot.bars_held
    row.mae = min(lot.low / entry - 1.0, 0.0)
    row.mfe = max(lot.high / entry - 1.0, 0.0)
    row.initial_stop = lot.initial_stop
    row.reason = reason
    lot.held = 0
    lot.quantity = 0
    list_remove(state.lists[LOTS, a], account.n_lots, s)
    account.n_lots -= 1


@step
def cash_flow(state, out, ts, a, s, strategy, kind, quantity, per_share, amount):
    """Book a cash movement that is not a fill."""
    state.accounts[a].cash += amount
    n = out.counts[O_CASHFLOWS]
    out.counts[O_CASHFLOWS] = n + 1
    row = out.cashflows[n]
    row.seq = next_seq(state.counters)
    row.ts = ts
    row.account = a
    row.symbol = s
    row.strategy = strategy
    row.kind = kind
    row.quantity = quantity
    row.per_share = per_share
    row.amount_micro = amount


@routine
def split_account(state, out, params, ts, a, s, ratio):
    """Apply a split to the lot and the working orders of (a, s), before the open.

    Quantities times ratio; the fraction of a share is paid at the previous close. Prices over ratio.
    """
    lot = state.lots[a, s]
    for place in (ENTRY, EXIT):
        order = state.orders[a, place, s]
        if order.live == 1:
            order.quantity = np.int64(np.floor(order.quantity * ratio + 1e-9))
            order.filled = np.int64(np.floor(order.filled * ratio + 1e-9))
            order.limit /= ratio
            order.trigger /= ratio
            order.trail /= ratio
            order.open_max /= ratio
            order.pivot /= ratio
            order.target /= ratio
            order.structure_stop /= ratio
            order.stop_distance /= ratio
            order.ref /= ratio
            if order.quantity <= order.filled:
                end_order(state, out, ts, a, place, s, CANCELLED, 0)
    if lot.held == 0:
        return
    lot.mark /= ratio
    lot.stop /= ratio
    lot.initial_stop /= ratio
    lot.target /= ratio
    lot.pivot /= ratio
    lot.first_price /= ratio
    lot.highest_close /= ratio
    lot.low /= ratio
    lot.high /= ratio
    lot.bought *= ratio
    lot.sold *= ratio
    exact = lot.quantity * ratio
    whole = np.int64(np.floor(exact + 1e-9))
    fraction = exact - whole
    lot.quantity = whole
    if fraction > 1e-9:
        amount = money(fraction, lot.mark, params.units, state.counters)
        lot.income += amount
        cash_flow(state, out, ts, a, s, lot.strategy, CASH_IN_LIEU, 0, lot.mark, amount)
    exit_order = state.orders[a, EXIT, s]
    if exit_order.live == 1 and exit_order.quantity - exit_order.filled > whole:
        exit_order.quantity = exit_order.filled + whole
    if whole == 0:
        if exit_order.live == 1:
            end_order(state, out, ts, a, EXIT, s, CANCELLED, 0)
        close_trade(state, out, params, ts, a, s, 0)


@step
def pay_dividend(state, out, params, ts, a, s, per_share):
    """Pay a dividend on what was held through the previous close."""
    lot = state.lots[a, s]
    if lot.held == 0:
        return
    amount = money(lot.quantity, per_share, params.units, state.counters)
    lot.income += amount
    cash_flow(state, out, ts, a, s, lot.strategy, DIVIDEND, lot.quantity, per_share, amount)
    if params.dividend_lowers_stop and per_share > 0.05 * lot.mark:
        lot.stop -= per_share
        lot.initial_stop -= per_share


@step
def delisting_price(kind, value, mark):
    """Return dollars per share that a holder receives; `mark` is the last close."""
    if kind == PROCEEDS:
        return value
    if kind == MERGER:
        return mark
    if kind == NASDAQ:
        return mark * RECOVERY_NASDAQ
    return mark * RECOVERY_NYSE


@routine
def delist_account(state, out, params, ts, a, s, kind, value):
    """End everything of (a, s): cancel its orders and pay out the lot."""
    for place in (ENTRY, EXIT):
        if state.orders[a, place, s].live == 1:
            end_order(state, out, ts, a, place, s, CANCELLED, DELISTED)
    lot = state.lots[a, s]
    if lot.held == 0:
        return
    price = delisting_price(kind, value, lot.mark)
    amount = money(lot.quantity, price, params.units, state.counters)
    cash_flow(state, out, ts, a, s, lot.strategy, DELISTING, lot.quantity, price, amount)
    lot.proceeds += amount
    lot.sold += lot.quantity
    lot.quantity = 0
    lot.low = min(lot.low, price)
    lot.high = max(lot.high, price)
    close_trade(state, out, params, ts, a, s, DELISTED)


@routine
def rename_account(state, a, old, new):
    """Move the lot and the working orders of column `old` to the empty column `new`."""
    account = state.accounts[a]
    if state.lots[a, old].held == 1 and state.lots[a, new].held == 0:
        state.lots[a, new] = state.lots[a, old]
        state.lots[a, old].held = 0
        list_remove(state.lists[LOTS, a], account.n_lots, old)
        list_insert(state.lists[LOTS, a], account.n_lots - 1, new)
    for place in (ENTRY, EXIT):
        if state.orders[a, place, old].live == 1 and state.orders[a, place, new].live == 0:
            state.orders[a, place, new] = state.orders[a, place, old]
            state.orders[a, place, old].live = 0
            if place == ENTRY:
                names, n = state.lists[1, a], account.n_entries
                for k in range(n):
                    if names[k] == old:
                        names[k] = new
            else:
                names, n = state.lists[2, a], account.n_exits
                list_remove(names, n, old)
                list_insert(names, n - 1, new)


@step
def close_lots(state, params, tape, t, a):
    """Count the bar of row t for every lot of an account and mark it: bars held, extremes, missing sessions.

    Returns (value of the lots in micro-dollars, how many have been without a bar for `delist_after`
    sessions).
    """
    lots, symbols, counters = state.lots, state.lists, state.counters
    gross = np.int64(0)
    overdue = 0
    for k in range(state.accounts[a].n_lots):
        s = symbols[LOTS, a, k]
        lot = lots[a, s]
        status = tape.status[t, s]
        if status == 0:
            lot.missing += 1
            if lot.missing >= params.delist_after:
                overdue += 1
        else:
            close = tape.close[t, s]
            lot.missing = 0
            lot.mark = close
            if status >= 2:
                lot.bars_held += 1
                if not close <= lot.highest_close:
                    lot.highest_close = close
                # A lot bought at this close has seen nothing of the bar
                if lot.phase != AT_CLOSE or lot.ts_entry != tape.ts[t]:
                    if tape.low[t, s] < lot.low:
                        lot.low = tape.low[t, s]
                    if tape.high[t, s] > lot.high:
                        lot.high = tape.high[t, s]
        gross += money(lot.quantity, lot.mark, params.units, counters)
    return gross, overdue


@step
def value_of_lots(state, params, a):
    """Return the value of an account's lots at their marks, micro-dollars."""
    gross = np.int64(0)
    for k in range(state.accounts[a].n_lots):
        lot = state.lots[a, state.lists[LOTS, a, k]]
        gross += money(lot.quantity, lot.mark, params.units, state.counters)
    return gross


@step
def write_equity(account, gross, equity):
    """Take over the value of an account's lots and write its row of `equity`: cash, gross, equity."""
    account.gross = gross
    account.equity = account.cash + gross
    account.hwm = max(account.hwm, account.equity)
    if account.state != COOLDOWN:
        account.hwm_risk = max(account.hwm_risk, account.equity)
    equity[0] = account.cash
    equity[1] = gross
    equity[2] = account.equity
