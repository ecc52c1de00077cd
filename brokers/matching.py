"""The simulated broker's matching: which working orders, stops and targets a bar fills, and at what.

An order is decided at a close and can fill from the next bar on. Per session: at the open, exits and then
entries; inside the bar, waiting limit and stop orders, then the stops and targets of lots; at the close,
market-on-close orders. A bar without volume fills nothing.
"""

from __future__ import annotations

import numpy as np

from brokers.costs import fill_price
from brokers.exits import exit_is_whole
from engine.desk import (
    AT_CLOSE,
    AT_OPEN,
    ENTRY,
    EXIT,
    HELD,
    INTRABAR,
    LEAVING,
    MICRO,
    emit_order,
    end_order,
    lowest,
    open_exit,
)
from engine.events import OrderStatus, OrderType, Reason, Tif
from engine.intake import TOLERANCE
from engine.jit import routine, step
from engine.ledger import AMOUNT_MAX, buy, sell, shares_of
from risk.gate import initial_stop

MARKET, LIMIT, STOP = int(OrderType.MARKET), int(OrderType.LIMIT), int(OrderType.STOP)
TRAILING, ON_CLOSE = int(OrderType.TRAILING_STOP), int(OrderType.MARKET_ON_CLOSE)
DAY = int(Tif.DAY)
PARTIAL, FILLED = int(OrderStatus.PARTIAL), int(OrderStatus.FILLED)
CANCELLED, EXPIRED = int(OrderStatus.CANCELLED), int(OrderStatus.EXPIRED)
STOP_ABOVE_ENTRY, ABOVE_LIMIT = int(Reason.STOP_ABOVE_ENTRY), int(Reason.ABOVE_LIMIT)
NO_TRADE, CASH_AT_FILL = int(Reason.NO_TRADE), int(Reason.CASH_AT_FILL)
SLOT_AT_FILL, CARRY_EXPIRED = int(Reason.SLOT_AT_FILL), int(Reason.CARRY_EXPIRED)
BY_STOP, BY_TARGET = int(Reason.STOP), int(Reason.TARGET)
WORST, BEST = 0, 1
NO_LIMIT = np.int64(2**62)
JUST_ABOVE = 1.0 + 2.0 * TOLERANCE  # No open of a valid bar is above its high times this


@step
def match(order, trigger, phase, open_, high, low, close):
    """Return the market price at which an order trades in this phase of the bar, NaN if it does not.

    A limit must be traded through inside the bar, a touch does not fill it; a stop is hit by a touch.
    """
    side = order.side
    if phase == AT_CLOSE:
        return close if order.type == ON_CLOSE else np.nan
    if order.type == MARKET:
        return open_ if phase == AT_OPEN else np.nan
    if order.type == LIMIT:
        if phase == AT_OPEN:
            return open_ if side * (order.limit - open_) >= 0.0 else np.nan
        beyond = order.limit - low if side > 0 else high - order.limit
        return order.limit if beyond > 0.0 else np.nan
    if order.type == STOP or order.type == TRAILING:
        if phase == AT_OPEN:
            return open_ if side * (open_ - trigger) >= 0.0 else np.nan
        beyond = high - trigger if side > 0 else trigger - low
        return trigger if beyond >= 0.0 else np.nan
    return np.nan


@step
def market_price(order, plan, tape, t, s, phase):
    """Return what `match` says of the bar of row t. Inside the bar, an order that could have traded at the
    open and is still there has had its chance."""
    if order.type == MARKET:  # Most orders: of the bar they need the open alone
        return tape.open[t, s] if phase == AT_OPEN else np.nan
    open_, high, low, close = tape.open[t, s], tape.high[t, s], tape.low[t, s], tape.close[t, s]
    if phase == INTRABAR and not np.isnan(match(order, plan.trigger, AT_OPEN, open_, high, low, close)):
        return np.nan
    return match(order, plan.trigger, phase, open_, high, low, close)


@step
def volume_left(state, params, tape, t, s):
    """Return how many quantity units of the bar's volume may still fill, all accounts together."""
    if params.participation == np.inf:
        return NO_LIMIT
    allowed = np.int64(np.floor(params.participation * tape.volume[t, s] * params.units))
    traded = state.symbols[s]
    if traded.used_session == state.counters[0].session:
        allowed -= traded.used
    return max(allowed, np.int64(0))


@step
def pays_for(cash, quantity, price, params):
    """Return whether `cash` micro-dollars can pay value and commission of a quantity at `price`."""
    value = np.rint(shares_of(quantity, params.units) * price * MICRO)
    # Beyond the range of int64 it would turn negative
    return value < AMOUNT_MAX and np.int64(value) + np.int64(np.rint(value * params.commission)) <= cash


@routine
def affordable(cash, price, params):
    """Return the largest quantity that `cash` micro-dollars can pay for at `price`."""
    if cash <= 0:
        return np.int64(0)
    per_unit = price * (1.0 + params.commission) / params.units * MICRO
    # Rounding can make value and commission up to a micro-dollar cheaper than this bound
    quantity = np.int64(np.floor((cash + 1.001) / per_unit))
    while quantity > 0 and not pays_for(cash, quantity, price, params):
        quantity -= 1
    return quantity


@step
def fill_entry(state, out, params, tape, t, a, s, market_price, phase):
    """Fill an entry at `market_price` as far as slots, stop, volume and cash allow."""
    ts = tape.ts[t]
    account = state.accounts[a]
    order, plan = state.orders[a, ENTRY, s], state.plans[a, ENTRY, s]
    lot = state.lots[a, s]
    end_reason = status = 0
    if lot.quantity == 0 and phase == AT_OPEN and market_price > plan.open_max:
        status, end_reason = CANCELLED, ABOVE_LIMIT
    elif lot.quantity == 0 and not account.n_lots < params.max_positions:
        status, end_reason = CANCELLED, SLOT_AT_FILL
    else:
        plan.attempts += 1
        quantity = min(order.quantity - order.filled, volume_left(state, params, tape, t, s))
        if quantity > 0:
            price = market_price
            if order.type != LIMIT:
                price = fill_price(state, params, s, 1, market_price, quantity)
            stop = lot.stop
            if lot.quantity == 0:
                stop = initial_stop(plan.structure_stop, plan.stop_distance, price, params.individual_stop)
            bought = quantity
            if not pays_for(account.cash, quantity, price, params):
                bought = min(quantity, affordable(account.cash, price, params))
            if lot.quantity == 0 and price <= plan.structure_stop:
                status, end_reason = CANCELLED, STOP_ABOVE_ENTRY
            elif bought == 0:
                status, end_reason = CANCELLED, CASH_AT_FILL
            else:
                buy(state, out, params, ts, a, s, order, bought, price, stop, phase)
                if bought < quantity:
                    # Cut to what cash buys; the rest is not carried.
                    status, end_reason = FILLED, CASH_AT_FILL
                elif order.filled == order.quantity:
                    status = FILLED
                else:
                    emit_order(state, out, ts, order, PARTIAL, 0)
        if status == 0:
            triggered(order)
            if order.type == MARKET and plan.attempts > params.entry_carry:
                status, end_reason = CANCELLED, CARRY_EXPIRED
    if status != 0:
        end_order(state, out, ts, a, ENTRY, s, status, end_reason)


@step
def fill_exit(state, out, params, tape, t, a, s, market_price):
    """Fill a sell order at `market_price` as far as volume allows; the rest keeps working."""
    ts = tape.ts[t]
    order, plan = state.orders[a, EXIT, s], state.plans[a, EXIT, s]
    lot = state.lots[a, s]
    if plan.whole == 1:
        order.quantity = order.filled + lot.quantity
    wanted = min(order.quantity - order.filled, lot.quantity)
    quantity = wanted
    if plan.attempts < params.exit_waive:
        quantity = min(wanted, volume_left(state, params, tape, t, s))
    plan.attempts += 1
    if quantity > 0:
        price = market_price
        if order.type != LIMIT:
            price = fill_price(state, params, s, -1, market_price, quantity)
        sell(state, out, params, ts, a, s, order, quantity, price)
        if quantity == wanted:
            reason = order.reason
            end_order(state, out, ts, a, EXIT, s, FILLED, 0)
            if lot.quantity == 0 and state.orders[a, ENTRY, s].quantity > 0:
                end_order(state, out, ts, a, ENTRY, s, CANCELLED, reason)
            return
        emit_order(state, out, ts, order, PARTIAL, 0)
    triggered(order)


@step
def triggered(order):
    """Turn what a stop order that was hit has not filled into a market order."""
    if order.type == STOP or order.type == TRAILING:
        order.type = MARKET


@step
def fill_orders(state, out, params, tape, t, phase):
    """Fill what trades in this phase of the bar: exits, symbols ascending, then entries in gate order.

    Orders at the market trade at the open. The rest wait for their price at the open and inside the bar, or
    for the close; day orders that have not traded by then expire.
    """
    ts = tape.ts[t]
    for a in range(len(state.accounts)):
        leaving = state.sets[LEAVING, a]
        for word in range(len(leaving)):
            left = leaving[word]
            while left != 0:
                s = lowest(word, left)
                left &= left - 1
                order = state.orders[a, EXIT, s]
                if order.type == MARKET and phase != AT_OPEN:
                    continue
                if tape.status[t, s] >= 2:
                    plan = state.plans[a, EXIT, s]
                    price = market_price(order, plan, tape, t, s, phase)
                    inside = phase == INTRABAR and not np.isnan(price)
                    if inside and lot_leaves_first(
                        state.counters[0], params, state.lots[a, s], order, plan, tape, t, s
                    ):
                        price = np.nan
                    before = order.filled
                    if not np.isnan(price):
                        fill_exit(state, out, params, tape, t, a, s, price)
                    if phase == AT_CLOSE:
                        roll_waiting(state, out, tape, t, a, EXIT, s, before)
                elif phase == AT_CLOSE and order.tif == DAY:
                    end_order(state, out, ts, a, EXIT, s, CANCELLED, NO_TRADE)
    for a in range(len(state.accounts)):
        account = state.accounts[a]
        k = 0
        while k < account.n_entries:
            s = state.entries[a, k]
            order = state.orders[a, ENTRY, s]
            if order.type != MARKET or phase == AT_OPEN:
                if tape.status[t, s] >= 2:
                    price = market_price(order, state.plans[a, ENTRY, s], tape, t, s, phase)
                    before = order.filled
                    if not np.isnan(price):
                        fill_entry(state, out, params, tape, t, a, s, price, phase)
                    if phase == AT_CLOSE:
                        roll_waiting(state, out, tape, t, a, ENTRY, s, before)
                elif order.tif == DAY:
                    end_order(state, out, ts, a, ENTRY, s, CANCELLED, NO_TRADE)
            if order.quantity > 0:
                k += 1


@routine
def lot_leaves_first(counters, params, lot, order, plan, tape, t, s):
    """Return whether the lot's own stop or target comes before an exit order that fills inside the bar.

    What gaps through goes at the open. Of two levels on one side of the market the nearer comes first; of
    two on opposite sides, the one that the intrabar policy takes.
    """
    open_, high, low = tape.open[t, s], tape.high[t, s], tape.low[t, s]
    if open_ <= lot.stop or open_ >= lot.target:
        return True
    hit_stop = low <= lot.stop
    hit_target = high > lot.target
    down_first = params.intrabar == WORST or (params.intrabar != BEST and open_ - low <= high - open_)
    if order.type == LIMIT:
        target_nearer = hit_target and lot.target <= order.limit
        if hit_stop and not target_nearer:
            counters.ambiguous += 1
        return target_nearer or (hit_stop and down_first)
    stop_nearer = hit_stop and lot.stop >= plan.trigger
    if hit_target and not stop_nearer:
        counters.ambiguous += 1
    return stop_nearer or (hit_target and not down_first)


@routine
def roll_waiting(state, out, tape, t, a, place, s, filled_before):
    """At the close of a session: day orders expire, triggers of trailing orders without a fill follow the
    market."""
    order = state.orders[a, place, s]
    if order.quantity == 0:
        return
    if order.tif == DAY:
        end_order(state, out, tape.ts[t], a, place, s, EXPIRED, 0)
    elif order.type == TRAILING and order.filled == filled_before:
        plan = state.plans[a, place, s]
        if order.side > 0:
            plan.trigger = min(plan.trigger, tape.low[t, s] + plan.trail)
        else:
            plan.trigger = max(plan.trigger, tape.high[t, s] - plan.trail)


@step
def stop_phase(state, out, params, tape, t):
    """Test the stop and target of every lot against the bar."""
    for a in range(len(state.accounts)):
        held = state.sets[HELD, a]
        for word in range(len(held)):
            left = held[word]
            while left != 0:
                s = lowest(word, left)
                left &= left - 1
                lot = state.lots[a, s]
                # Nearly all lots pass; false for a level or a bar that is not there
                if tape.low[t, s] <= lot.stop or tape.high[t, s] * JUST_ABOVE >= lot.target:
                    test_lot(state, out, params, tape, t, a, s)


@routine
def test_lot(state, out, params, tape, t, a, s):
    # A whole lot that is being sold at the market needs no stop: it is one exit.
    if tape.status[t, s] < 2 or exit_is_whole(state, a, s):
        return
    lot = state.lots[a, s]
    open_, high, low = tape.open[t, s], tape.high[t, s], tape.low[t, s]
    entered = lot.ts_entry == tape.ts[t]
    if entered and lot.phase == AT_CLOSE:
        return
    price = np.nan
    reason = BY_STOP
    if not entered and open_ <= lot.stop:
        price = open_
    elif not entered and open_ >= lot.target:
        price, reason = open_, BY_TARGET
    else:
        hit_stop = low <= lot.stop
        hit_target = high > lot.target
        if entered and lot.phase == INTRABAR and hit_stop:
            # The low may have come before the entry.
            state.counters[0].ambiguous += 1
            hit_stop = params.intrabar == WORST or tape.close[t, s] <= lot.stop
        if hit_stop and hit_target:
            state.counters[0].ambiguous += 1
            if params.intrabar == WORST:
                hit_target = False
            elif params.intrabar == BEST:
                hit_stop = False
            elif open_ - low <= high - open_:
                hit_target = False
            else:
                hit_stop = False
        if hit_stop:
            price = lot.stop
        elif hit_target:
            price, reason = lot.target, BY_TARGET
            if entered:
                # A target below the entry was met at once, at a price of this bar
                price = max(price, open_ if lot.phase == AT_OPEN else low)
    if np.isnan(price):
        return
    ts = tape.ts[t]
    for place in (ENTRY, EXIT):
        if state.orders[a, place, s].quantity > 0:
            end_order(state, out, ts, a, place, s, CANCELLED, reason)
    kind = LIMIT if reason == BY_TARGET else STOP
    order = open_exit(state, a, s, lot.quantity, 1, kind, 1, reason, ts)
    order.limit = lot.target if reason == BY_TARGET else np.nan
    fill_exit(state, out, params, tape, t, a, s, price)
    if order.quantity > 0:
        # What the bar's volume could not take is sold at the following opens.
        order.type = MARKET
        order.limit = np.nan
        if order.filled == 0:
            emit_order(state, out, ts, order, 0, 0)
