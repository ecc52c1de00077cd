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
    HELD,
    LEAVING,
    MICRO,
    end_order,
    exclude,
    include,
    lowest,
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
VALUE_MAX_USD = 9.0e12  # of one fill, and of the lots of an account; int64 micro-dollars end at 9.22e12
AMOUNT_MAX = 9.2e18  # of a sum, micro-dollars


@step
def money(quantity, price, units, counters):
    """Return the value of `quantity` at `price` in micro-dollars, rounded half to even."""
    value = shares_of(quantity, units) * price
    if not abs(value) < VALUE_MAX_USD:
        counters.overflow = 1
        return np.int64(0)
    return np.int64(np.rint(value * MICRO))


@step
def shares_of(quantity, units):
    """Return a quantity in shares. Division by one is left out: it takes as long as the rest of `money`."""
    return float(quantity) if units == 1.0 else quantity / units


@step
def add(total, amount, counters):
    """Return the sum of two amounts in micro-dollars, noting when it leaves the range of int64."""
    # In floating point: compiled code may take for granted that whole numbers never wrap around
    if not abs(float(total) + float(amount)) < AMOUNT_MAX:
        counters.overflow = 1
    return total + amount


@step
def fee_of(value, params):
    """Return the commission on a fill's value, micro-dollars."""
    return np.int64(np.rint(value * params.commission))


@step
def emit_fill(state, out, ts, order, quantity, price, value, fee):
    """Record a fill and count it against the bar's volume."""
    counters, counts = state.counters[0], out.counts[0]
    traded = state.symbols[order.symbol]
    if traded.used_session != counters.session:
        traded.used_session = counters.session
        traded.used = 0
    traded.used += quantity
    order.filled += quantity
    row = out.fills[counts.fills]
    counts.fills += 1
    row.seq = next_seq(counters)
    row.ts = ts
    row.order_id = order.order_id
    row.account = order.account
    row.symbol = order.symbol
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
    account, counters = state.accounts[a], state.counters[0]
    lot = state.lots[a, s]
    value = money(quantity, price, params.units, counters)
    fee = fee_of(value, params)
    account.cash = add(account.cash, -(value + fee), counters)
    emit_fill(state, out, ts, order, quantity, price, value, fee)
    if lot.quantity == 0:
        plan = state.plans[a, ENTRY, s]
        lot.strategy = order.strategy
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
        lot.target = plan.target
        lot.pivot = plan.pivot
        lot.mark = price
        lot.first_price = price
        lot.highest_close = np.nan
        lot.low = price
        lot.high = price
        lot.scaled = 0
        lot.quick = 0
        include(state.sets[HELD, a], s)
        account.n_lots += 1
    lot.quantity += quantity
    lot.bought += quantity
    lot.cost += value
    lot.fees += fee


@step
def sell(state, out, params, ts, a, s, order, quantity, price):
    """Book a sold quantity; the trade is closed with the last share."""
    account, counters = state.accounts[a], state.counters[0]
    lot = state.lots[a, s]
    value = money(quantity, price, params.units, counters)
    fee = fee_of(value, params)
    account.cash = add(account.cash, value - fee, counters)
    emit_fill(state, out, ts, order, quantity, price, value, fee)
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
    account, counts = state.accounts[a], out.counts[0]
    lot = state.lots[a, s]
    pnl = lot.proceeds + lot.income - lot.cost - lot.fees
    shares = shares_of(lot.bought, params.units)
    entry = lot.cost / MICRO / shares
    sold = shares_of(lot.sold, params.units)
    row = out.trades[counts.trades]
    counts.trades += 1
    row.seq = next_seq(state.counters[0])
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
    lot.quantity = 0
    exclude(state.sets[HELD, a], s)
    account.n_lots -= 1


@step
def cash_flow(state, out, ts, a, s, strategy, kind, quantity, per_share, amount):
    """Book a cash movement that is not a fill."""
    account, counters, counts = state.accounts[a], state.counters[0], out.counts[0]
    account.cash = add(account.cash, amount, counters)
    row = out.cashflows[counts.cashflows]
    counts.cashflows += 1
    row.seq = next_seq(counters)
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
        if order.quantity > 0:
            plan = state.plans[a, place, s]
            order.quantity = np.int64(np.floor(order.quantity * ratio + 1e-9))
            order.filled = np.int64(np.floor(order.filled * ratio + 1e-9))
            order.limit /= ratio
            plan.trigger /= ratio
            plan.trail /= ratio
            plan.open_max /= ratio
            plan.pivot /= ratio
            plan.target /= ratio
            plan.structure_stop /= ratio
            plan.stop_distance /= ratio
            plan.ref /= ratio
            if order.quantity <= order.filled:
                end_order(state, out, ts, a, place, s, CANCELLED, 0)
    if lot.quantity == 0:
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
        amount = money(fraction, lot.mark, params.units, state.counters[0])
        lot.income += amount
        cash_flow(state, out, ts, a, s, lot.strategy, CASH_IN_LIEU, 0, lot.mark, amount)
    exit_order = state.orders[a, EXIT, s]
    if exit_order.quantity > 0:
        exit_order.quantity = min(exit_order.quantity, exit_order.filled + whole)
        if whole == 0:
            end_order(state, out, ts, a, EXIT, s, CANCELLED, 0)
    if whole == 0:
        close_trade(state, out, params, ts, a, s, 0)


@step
def pay_dividend(state, out, params, ts, a, s, per_share):
    """Pay a dividend on what was held through the previous close."""
    lot = state.lots[a, s]
    if lot.quantity == 0:
        return
    amount = money(lot.quantity, per_share, params.units, state.counters[0])
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
        if state.orders[a, place, s].quantity > 0:
            end_order(state, out, ts, a, place, s, CANCELLED, DELISTED)
    lot = state.lots[a, s]
    if lot.quantity == 0:
        return
    price = delisting_price(kind, value, lot.mark)
    amount = money(lot.quantity, price, params.units, state.counters[0])
    cash_flow(state, out, ts, a, s, lot.strategy, DELISTING, lot.quantity, price, amount)
    lot.proceeds += amount
    lot.sold += lot.quantity
    lot.quantity = 0
    lot.low = min(lot.low, price)
    lot.high = max(lot.high, price)
    close_trade(state, out, params, ts, a, s, DELISTED)


@routine
def rename_account(state, out, ts, a, old, new):
    """Move the lot and the working orders of column `old` to column `new`.

    Two lots become one: shares and amounts add up; stop, target and entry stay those of the lot in `new`,
    and an exit order that comes along sells what `old` held. An order that finds its place taken is
    cancelled.
    """
    lot, into = state.lots[a, old], state.lots[a, new]
    merged = lot.quantity > 0 and into.quantity > 0
    for place in (ENTRY, EXIT):
        order = state.orders[a, place, old]
        if order.quantity == 0:
            continue
        if state.orders[a, place, new].quantity > 0:
            end_order(state, out, ts, a, place, old, CANCELLED, 0)
            continue
        plan = state.plans[a, place, old]
        order.symbol = new
        if merged and place == EXIT:
            order.quantity = order.filled + min(order.quantity - order.filled, lot.quantity)
            plan.whole = 0
        state.orders[a, place, new] = order
        state.plans[a, place, new] = plan
        order.quantity = 0
        if place == EXIT:
            exclude(state.sets[LEAVING, a], old)
            include(state.sets[LEAVING, a], new)
        else:
            for k in range(state.accounts[a].n_entries):
                if state.entries[a, k] == old:
                    state.entries[a, k] = new
    if lot.quantity == 0:
        return
    exclude(state.sets[HELD, a], old)
    if merged:
        into.quantity += lot.quantity
        into.bought += lot.bought
        into.sold += lot.sold
        into.cost += lot.cost
        into.proceeds += lot.proceeds
        into.fees += lot.fees
        into.income += lot.income
        into.low = min(into.low, lot.low)
        into.high = max(into.high, lot.high)
        state.accounts[a].n_lots -= 1
    else:
        state.lots[a, new] = lot
        include(state.sets[HELD, a], new)
    lot.quantity = 0


@step
def close_lots(state, params, tape, t, a):
    """Count the bar of row t for every lot of an account and mark it: bars held, extremes, missing sessions.

    Returns (value of the lots in micro-dollars, how many have been without a bar for `delist_after`
    sessions).
    """
    lots, held = state.lots[a], state.sets[HELD, a]
    status_of, close_of, low_of, high_of = tape.status[t], tape.close[t], tape.low[t], tape.high[t]
    ts = tape.ts[t]
    gross, bound = np.int64(0), 0.0
    overdue = 0
    for word in range(len(held)):
        left = held[word]
        while left != 0:
            s = lowest(word, left)
            left &= left - 1
            lot = lots[s]
            status = status_of[s]
            if status == 0:
                lot.missing += 1
                if lot.missing >= params.delist_after:
                    overdue += 1
            else:
                close = close_of[s]
                lot.missing = 0
                lot.mark = close
                if status >= 2:
                    lot.bars_held += 1
                    # Written each time: a branch on what is no more likely than not costs more than a store
                    lot.highest_close = lot.highest_close if close <= lot.highest_close else close
                    # A lot bought at this close has seen nothing of the bar
                    if lot.phase != AT_CLOSE or lot.ts_entry != ts:
                        lot.low = min(lot.low, low_of[s])
                        lot.high = max(lot.high, high_of[s])
            value = lot_value(lot, params)
            gross += np.int64(value)
            bound += value
    check_gross(bound, state.counters[0])
    return gross, overdue


@step
def lot_value(lot, params):
    """Return the value of a lot at its mark in whole micro-dollars, as a float."""
    return np.rint(shares_of(lot.quantity, params.units) * lot.mark * MICRO)


@step
def check_gross(bound, counters):
    """Note that a sum of lot values left the range of int64; `bound` is the sum as a float. No lot is worth
    less than nothing, so none is out of range when the sum is not."""
    if not bound < VALUE_MAX_USD * MICRO:
        counters.overflow = 1


@step
def value_of_lots(state, params, a):
    """Return the value of an account's lots at their marks, micro-dollars."""
    held = state.sets[HELD, a]
    gross, bound = np.int64(0), 0.0
    for word in range(len(held)):
        left = held[word]
        while left != 0:
            value = lot_value(state.lots[a, lowest(word, left)], params)
            left &= left - 1
            gross += np.int64(value)
            bound += value
    check_gross(bound, state.counters[0])
    return gross


@step
def write_equity(account, counters, gross, equity):
    """Take over the value of an account's lots and write its row of `equity`: cash, gross, equity."""
    account.gross = gross
    account.equity = add(account.cash, gross, counters)
    account.hwm = max(account.hwm, account.equity)
    if account.state != COOLDOWN:
        account.hwm_risk = max(account.hwm_risk, account.equity)
    equity[0] = account.cash
    equity[1] = gross
    equity[2] = account.equity
