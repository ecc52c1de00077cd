"""The simulated broker's matching: which working orders, stops and targets a bar fills, and at what.

An order is decided at a close and can fill from the next bar on. Per session: at the open, exits and then
entries; inside the bar, waiting limit and stop orders, then the stops and targets of lots; at the close,
market-on-close orders. A bar without volume fills nothing.
"""

from __future__ import annotations

import numpy as np

from brokers.costs import fill_price
from engine.desk import (
    AMBIGUOUS,
    AT_CLOSE,
    AT_OPEN,
    ENTRIES,
    ENTRY,
    EXIT,
    EXITS,
    INTRABAR,
    LOTS,
    SESSION,
    emit_order,
    end_order,
    open_exit,
)
from engine.events import OrderStatus, OrderType, Reason, Tif
from engine.jit import routine, step
from engine.ledger import buy, sell
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


@step
def match(order, phase, open_, high, low, close):
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
            return open_ if side * (open_ - order.trigger) >= 0.0 else np.nan
        beyond = high - order.trigger if side > 0 else order.trigger - low
        return order.trigger if beyond >= 0.0 else np.nan
    return np.nan


@step
def volume_left(state, params, s, volume):
    """Return how many quantity units of this bar's volume may still fill, all accounts together."""
    if params.participation == np.inf:
        return NO_LIMIT
    allowed = np.int64(np.floor(params.participation * volume * params.units))
    if state.used[s, 0] == state.counters[SESSION]:
        allowed -= state.used[s, 1]
    return max(allowed, np.int64(0))


@step
def affordable(cash, price, params):
    """Return the largest quantity whose value and commission `cash` micro-dollars can pay at `price`."""
    if cash <= 0:
        return np.int64(0)
    per_unit = price * (1.0 + params.commission) / params.units * 1e6
    # Rounding can make value and commission up to a micro-dollar cheaper than this bound
    quantity = np.int64(np.floor((cash + 1.001) / per_unit))
    while quantity > 0:
        value = np.int64(np.rint(quantity / params.units * price * 1e6))
        if value + np.int64(np.rint(value * params.commission)) <= cash:
            break
        quantity -= 1
    return quantity


@routine
def fill_entry(state, out, params, ts, a, s, market_price, phase, volume):
    """Fill an entry at `market_price` as far as slots, stop, volume and cash allow."""
    account = state.accounts[a]
    order = state.orders[a, ENTRY, s]
    lot = state.lots[a, s]
    if lot.held == 0:
        if market_price > order.open_max and phase == AT_OPEN:
            end_order(state, out, ts, a, ENTRY, s, CANCELLED, ABOVE_LIMIT)
            return
        if not account.n_lots < params.max_positions:
            end_order(state, out, ts, a, ENTRY, s, CANCELLED, SLOT_AT_FILL)
            return
    order.attempts += 1
    wanted = order.quantity - order.filled
    quantity = min(wanted, volume_left(state, params, s, volume))
    if quantity > 0:
        price = market_price
        if order.type != LIMIT:
            price = fill_price(state, params, s, 1, market_price, quantity)
        stop = lot.stop
        if lot.held == 0:
            stop = initial_stop(order.structure_stop, order.stop_distance, price, params.individual_stop)
            if price <= order.structure_stop:
                end_order(state, out, ts, a, ENTRY, s, CANCELLED, STOP_ABOVE_ENTRY)
                return
        bought = min(quantity, affordable(account.cash, price, params))
        if bought == 0:
            end_order(state, out, ts, a, ENTRY, s, CANCELLED, CASH_AT_FILL)
            return
        buy(state, out, params, ts, a, s, order, bought, price, stop, phase)
        if bought < quantity:
            # Cut to what cash buys; the rest is not carried.
            end_order(state, out, ts, a, ENTRY, s, FILLED, CASH_AT_FILL)
            return
        if order.filled == order.quantity:
            end_order(state, out, ts, a, ENTRY, s, FILLED, 0)
            return
        emit_order(state, out, ts, a, s, order, PARTIAL, 0)
    triggered(order)
    if order.type == MARKET and order.attempts > params.entry_carry:
        end_order(state, out, ts, a, ENTRY, s, CANCELLED, CARRY_EXPIRED)


@routine
def fill_exit(state, out, params, ts, a, s, market_price, volume):
    """Fill a sell order at `market_price` as far as volume allows; the rest keeps working."""
    order = state.orders[a, EXIT, s]
    lot = state.lots[a, s]
    if order.whole == 1:
        order.quantity = order.filled + lot.quantity
    wanted = min(order.quantity - order.filled, lot.quantity)
    quantity = wanted
    if order.attempts < params.exit_waive:
        quantity = min(wanted, volume_left(state, params, s, volume))
    order.attempts += 1
    if quantity > 0:
        price = market_price
        if order.type != LIMIT:
            price = fill_price(state, params, s, -1, market_price, quantity)
        sell(state, out, params, ts, a, s, order, quantity, price)
        if quantity == wanted:
            reason = order.reason
            end_order(state, out, ts, a, EXIT, s, FILLED, 0)
            if lot.held == 0 and state.orders[a, ENTRY, s].live == 1:
                end_order(state, out, ts, a, ENTRY, s, CANCELLED, reason)
            return
        emit_order(state, out, ts, a, s, order, PARTIAL, 0)
    triggered(order)


@step
def triggered(order):
    """Turn what a stop order that was hit has not filled into a market order."""
    if order.type == STOP or order.type == TRAILING:
        order.type = MARKET


@step
def open_phase(state, out, params, tape, t):
    """At the open: all exits, symbols ascending, then all entries in gate order."""
    ts = tape.ts[t]
    n_accounts = len(state.accounts)
    for a in range(n_accounts):
        account = state.accounts[a]
        k = 0
        while k < account.n_exits:
            n_before = account.n_exits
            s = state.lists[EXITS, a, k]
            if tape.status[t, s] >= 2:
                order = state.orders[a, EXIT, s]
                price = match(
                    order, AT_OPEN, tape.open[t, s], tape.high[t, s], tape.low[t, s], tape.close[t, s]
                )
                if not np.isnan(price):
                    fill_exit(state, out, params, ts, a, s, price, tape.volume[t, s])
            if account.n_exits == n_before:
                k += 1
    for a in range(n_accounts):
        account = state.accounts[a]
        k = 0
        while k < account.n_entries:
            n_before = account.n_entries
            s = state.lists[ENTRIES, a, k]
            order = state.orders[a, ENTRY, s]
            if tape.status[t, s] >= 2:
                price = match(
                    order, AT_OPEN, tape.open[t, s], tape.high[t, s], tape.low[t, s], tape.close[t, s]
                )
                if not np.isnan(price):
                    fill_entry(state, out, params, ts, a, s, price, AT_OPEN, tape.volume[t, s])
            elif order.tif == DAY:
                end_order(state, out, ts, a, ENTRY, s, CANCELLED, NO_TRADE)
            if account.n_entries == n_before:
                k += 1


@routine
def waiting_phase(state, out, params, tape, t, phase):
    """Inside the bar or at its close: orders that wait for a price, exits before entries.

    An order that filled partly at the open has had its chance in this bar.
    """
    ts = tape.ts[t]
    for place in (EXIT, ENTRY):
        which = EXITS if place == EXIT else ENTRIES
        for a in range(len(state.accounts)):
            account = state.accounts[a]
            k = 0
            while k < (account.n_exits if place == EXIT else account.n_entries):
                s = state.lists[which, a, k]
                order = state.orders[a, place, s]
                if tape.status[t, s] >= 2 and order.type != MARKET:
                    before = order.filled
                    price = np.nan
                    at_open = match(order, AT_OPEN, tape.open[t, s], 0.0, 0.0, 0.0)
                    if phase == AT_CLOSE or np.isnan(at_open):
                        price = match(
                            order, phase, tape.open[t, s], tape.high[t, s], tape.low[t, s],
                            tape.close[t, s],
                        )  # fmt: skip
                    inside = place == EXIT and phase == INTRABAR and not np.isnan(price)
                    if inside and lot_leaves_first(
                        state,
                        params,
                        state.lots[a, s],
                        order,
                        tape.open[t, s],
                        tape.high[t, s],
                        tape.low[t, s],
                    ):
                        price = np.nan
                    if not np.isnan(price):
                        if place == EXIT:
                            fill_exit(state, out, params, ts, a, s, price, tape.volume[t, s])
                        else:
                            fill_entry(state, out, params, ts, a, s, price, phase, tape.volume[t, s])
                    if order.live == 1 and order.filled == before and phase == AT_CLOSE:
                        roll_waiting(state, out, tape, t, a, place, s)
                    elif order.live == 1 and phase == AT_CLOSE and order.tif == DAY:
                        end_order(state, out, ts, a, place, s, EXPIRED, 0)
                elif phase == AT_CLOSE and order.type != MARKET and order.tif == DAY:
                    end_order(state, out, ts, a, place, s, CANCELLED, NO_TRADE)
                if order.live == 1:
                    k += 1


@step
def lot_leaves_first(state, params, lot, order, open_, high, low):
    """Return whether the lot's own stop or target comes before an exit order that fills inside the bar.

    What gaps through goes at the open. Of two levels on one side of the market the nearer comes first; of
    two on opposite sides, the one that the intrabar policy takes.
    """
    if open_ <= lot.stop or open_ >= lot.target:
        return True
    hit_stop = low <= lot.stop
    hit_target = high > lot.target
    down_first = params.intrabar == WORST or (params.intrabar != BEST and open_ - low <= high - open_)
    if order.type == LIMIT:
        target_nearer = hit_target and lot.target <= order.limit
        if hit_stop and not target_nearer:
            state.counters[AMBIGUOUS] += 1
        return target_nearer or (hit_stop and down_first)
    stop_nearer = hit_stop and lot.stop >= order.trigger
    if hit_target and not stop_nearer:
        state.counters[AMBIGUOUS] += 1
    return stop_nearer or (hit_target and not down_first)


@step
def roll_waiting(state, out, tape, t, a, place, s):
    """After a session without a fill: day orders expire, trailing triggers follow the market."""
    order = state.orders[a, place, s]
    if order.tif == DAY:
        end_order(state, out, tape.ts[t], a, place, s, EXPIRED, 0)
    elif order.type == TRAILING:
        if order.side > 0:
            order.trigger = min(order.trigger, tape.low[t, s] + order.trail)
        else:
            order.trigger = max(order.trigger, tape.high[t, s] - order.trail)


@step
def stop_phase(state, out, params, tape, t):
    """Test the stop and target of every lot against the bar."""
    for a in range(len(state.accounts)):
        account = state.accounts[a]
        k = 0
        while k < account.n_lots:
            s = state.lists[LOTS, a, k]
            lot = state.lots[a, s]
            high = tape.high[t, s]
            # Nearly all lots end here; false for a level or a bar that is not there
            if not (tape.low[t, s] <= lot.stop or high > lot.target or tape.open[t, s] >= lot.target):
                k += 1
                continue
            n_before = account.n_lots
            exit_order = state.orders[a, EXIT, s]
            # A whole lot that is being sold at the market needs no stop: it is one exit.
            leaving = exit_order.live == 1 and exit_order.whole == 1 and exit_order.type == MARKET
            if tape.status[t, s] >= 2 and not leaving:
                test_lot(state, out, params, tape, t, a, s)
            if account.n_lots == n_before:
                k += 1


@routine
def test_lot(state, out, params, tape, t, a, s):
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
            state.counters[AMBIGUOUS] += 1
            hit_stop = params.intrabar == WORST or tape.close[t, s] <= lot.stop
        if hit_stop and hit_target:
            state.counters[AMBIGUOUS] += 1
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
        if state.orders[a, place, s].live == 1:
            end_order(state, out, ts, a, place, s, CANCELLED, reason)
    kind = LIMIT if reason == BY_TARGET else STOP
    order = open_exit(state, a, s, lot.quantity, 1, kind, 1, reason, ts)
    order.limit = lot.target if reason == BY_TARGET else np.nan
    fill_exit(state, out, params, ts, a, s, price, tape.volume[t, s])
    if order.live == 1:
        # What the bar's volume could not take is sold at the following opens.
        order.type = MARKET
        order.limit = np.nan
        if order.filled == 0:
            emit_order(state, out, ts, a, s, order, 0, 0)
