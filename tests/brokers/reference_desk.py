"""A second desk: slow, obvious, plain Python, written from the domain specification (sections 0, 5, 8 and 9).

It shares no code with the compiled desk; only enums, the configuration and the exit rules are common
language. Money is int micro-dollars. Where the specification is silent it follows the desk, and says so
with the word "Silent".
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from brokers.config import DeskConfig, Intrabar, Mode, PortfolioAction, Sizing, SpreadModel
from engine.events import CashKind, OrderStatus, OrderType, Reason, RiskKind, Tif
from engine.exits import ExitRules
from engine.slab import ActionKind

MICRO = 1_000_000
NAN = math.nan
WAITING = (OrderType.LIMIT, OrderType.STOP, OrderType.TRAILING_STOP)
STOPS = (OrderType.STOP, OrderType.TRAILING_STOP)


@dataclass
class Lot:
    strategy: int
    quantity: int
    stop: float
    target: float
    pivot: float
    first_price: float
    mark: float
    entered: int  # ts
    phase: str
    initial_stop: float
    cost: int = 0
    proceeds: int = 0
    fees: int = 0
    income: int = 0
    bars_held: int = 0
    missing: int = 0
    highest_close: float = -math.inf
    scaled: bool = False
    quick: bool = False


@dataclass
class Order:
    symbol: int
    strategy: int
    side: int
    quantity: int
    type: int
    tif: int
    reason: int
    limit: float = NAN
    trigger: float = NAN
    trail: float = NAN
    open_max: float = NAN
    pivot: float = NAN
    target: float = NAN
    structure_stop: float = NAN
    stop_distance: float = NAN
    ref: float = NAN
    filled: int = 0
    attempts: int = 0
    whole: bool = False
    ended: bool = False

    @property
    def rest(self) -> int:
        return self.quantity - self.filled


@dataclass
class Account:
    cash: int
    equity: int
    hwm: int
    state: str = "active"
    cooldown: int = 0
    warned: int = 0
    lots: dict[int, Lot] = field(default_factory=dict)
    entries: dict[int, Order] = field(default_factory=dict)  # in gate order
    exits: dict[int, Order] = field(default_factory=dict)


@dataclass
class Log:
    """What happened, per kind, in order."""

    fills: list[tuple[Any, ...]] = field(default_factory=list)
    rejections: list[tuple[Any, ...]] = field(default_factory=list)
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    cashflows: list[tuple[Any, ...]] = field(default_factory=list)
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    risk: list[tuple[Any, ...]] = field(default_factory=list)
    equity: list[list[tuple[int, int]]] = field(default_factory=list)  # per row and account: cash, equity


def best_stop(structure: float, distance: float, price: float, individual: float | None) -> float:
    """Section 8: the stop is the highest of structure stop, fill - distance and fill x 0.92."""
    levels = [structure, price - distance]
    if individual is not None:
        levels.append(price * (1.0 - individual))
    levels = [level for level in levels if level == level]
    return max(levels) if levels else NAN


def corwin_schultz(bar: tuple[float, ...], after: tuple[float, ...]) -> float:
    """Section 9; bars are (close, high, low, volume)."""
    close, high_1, low_1, _ = bar
    _, high_2, low_2, _ = after
    if low_2 > close:
        high_2, low_2 = high_2 - (low_2 - close), low_2 - (low_2 - close)
    elif high_2 < close:
        high_2, low_2 = high_2 + (close - high_2), low_2 + (close - high_2)
    beta = math.log(high_1 / low_1) ** 2 + math.log(high_2 / low_2) ** 2
    gamma = math.log(max(high_1, high_2) / min(low_1, low_2)) ** 2
    k = 3 - 2 * math.sqrt(2)
    alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
    return max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)))


class ReferenceDesk:
    def __init__(
        self,
        config: DeskConfig,
        rules: list[ExitRules],
        weights: list[float],
        sectors: list[str],
        membership: Any = None,
    ) -> None:
        self.membership = membership
        self.c = config
        self.rules = rules
        self.weights = [w / sum(weights) for w in weights]
        self.sectors = sectors
        self.units = MICRO if config.fractional_shares else 1
        self.blend = config.mode == Mode.BLEND
        total = round(config.capital_usd * MICRO)
        shares, before, edge = [], 0, 0.0
        for w in self.weights:
            edge += w
            shares.append(round(edge * total) - before)
            before = round(edge * total)
        shares[-1] += total - before
        self.accounts = [Account(x, x, x) for x in ([total] if self.blend else shares)]
        n = len(sectors)
        self.history: list[list[tuple[float, float, float, float]]] = [[] for _ in range(n)]
        self.votes: dict[tuple[int, int], tuple[int, Any]] = {}
        self.log = Log()
        self.session = 0
        self.used = [0] * n

    # What is known of a symbol

    def is_member(self, s: int) -> bool:
        if self.membership is None:
            return True
        periods = list(zip(*self.membership, strict=True))
        begun = [members for since, members in periods if since <= self.ts]
        return bool((begun or [periods[0][1]])[-1][s])

    def adv(self, s: int) -> float:
        bars = self.history[s][-20:]
        return sum(c * v for c, _, _, v in bars) / len(bars) if bars else 0.0

    def daily_volatility(self, s: int) -> float:
        closes = [bar[0] for bar in self.history[s][-21:]]
        if len(closes) < 21:
            return NAN
        return statistics.stdev(math.log(b / a) for a, b in pairwise(closes))

    def spread(self, s: int) -> float:
        bars = self.history[s][-21:]
        pairs = [corwin_schultz(a, b) for a, b in pairwise(bars)]
        return min(sum(pairs) / len(pairs), 0.0150) if pairs else 0.0

    def atr(self, s: int, n: int) -> float:
        bars = self.history[s]
        ranges = [max(high, before[0]) - min(low, before[0]) for before, (_, high, low, _) in pairwise(bars)]
        if len(ranges) < n:
            return NAN
        value = sum(ranges[:n]) / n
        for r in ranges[n:]:
            value += (r - value) / n
        return value

    # Money

    def micro(self, quantity: float, price: float) -> int:
        """Half to even, of the product in float64: prices in cents make exact ties common."""
        return round(quantity / self.units * price * MICRO)

    def fee(self, value: int) -> int:
        return round(value * self.c.commission_rate)

    def cost_price(self, s: int, side: int, price: float, quantity: int) -> float:
        cost = self.c.slippage_bps / 1e4
        if self.c.spread_model == SpreadModel.CORWIN_SCHULTZ:
            cost += self.spread(s) / 2
        else:
            cost += self.c.half_spread_bps / 1e4
        sigma, adv = self.daily_volatility(s), self.adv(s)
        if self.c.impact_coefficient > 0 and sigma > 0 and adv > 0:
            cost += self.c.impact_coefficient * sigma * math.sqrt(quantity / self.units * price / adv)
        return price * (1 + side * cost)

    # The log

    def status(self, a: int, order: Order, status: OrderStatus, why: int = 0) -> None:
        self.log.orders.append(
            (
                self.ts,
                a,
                order.symbol,
                order.side,
                order.quantity,
                order.filled,
                int(status),
                order.reason,
                int(why),
            )
        )

    def end(self, a: int, order: Order, status: OrderStatus, why: int = 0) -> None:
        place = self.accounts[a].entries if order.side > 0 else self.accounts[a].exits
        assert place.pop(order.symbol) is order
        order.ended = True
        self.status(a, order, status, why)

    def reject(self, a: int, s: int, strategy: int, side: int, reason: int) -> None:
        self.log.rejections.append((self.ts, a, s, strategy, side, int(reason)))

    def fill(
        self, a: int, order: Order, quantity: int, price: float, phase: str = "", stop: float = NAN
    ) -> None:
        account, s = self.accounts[a], order.symbol
        value = self.micro(quantity, price)
        fee = self.fee(value)
        account.cash -= order.side * value + fee
        order.filled += quantity
        self.used[s] += quantity
        self.log.fills.append(
            (self.ts, a, s, order.strategy, order.side, quantity, price, value, fee, order.reason)
        )
        if order.side > 0:
            if s not in account.lots:
                account.lots[s] = Lot(
                    order.strategy, 0, stop, order.target, order.pivot, price, price, self.ts, phase, stop
                )
            lot = account.lots[s]
            lot.quantity += quantity
            lot.cost += value
        else:
            lot = account.lots[s]
            lot.quantity -= quantity
            lot.proceeds += value
        lot.fees += fee
        if lot.quantity == 0:
            self.close(a, s, order.reason)

    def close(self, a: int, s: int, reason: int) -> None:
        lot = self.accounts[a].lots.pop(s)
        pnl = lot.proceeds + lot.income - lot.cost - lot.fees
        self.log.trades.append(
            (lot.entered, self.ts, a, s, lot.strategy, pnl, lot.fees, lot.income, lot.bars_held, int(reason))
        )

    def cash_flow(self, a: int, s: int, kind: CashKind, quantity: int, per_share: float, amount: int) -> None:
        self.accounts[a].cash += amount
        self.log.cashflows.append((self.ts, a, s, int(kind), quantity, per_share, amount))

    # 1. Corporate actions

    def act(self, s: int, kind: int, value: float) -> None:
        for a in range(len(self.accounts)):
            if kind == ActionKind.SPLIT:
                self.split(a, s, value)
            elif kind == ActionKind.DIVIDEND:
                self.dividend(a, s, value)
            else:
                self.delist(a, s, kind, value)
        if kind == ActionKind.SPLIT:
            r = value
            self.history[s] = [(c / r, h / r, low / r, v * r) for c, h, low, v in self.history[s]]

    def split(self, a: int, s: int, ratio: float) -> None:
        account = self.accounts[a]
        for place in (account.entries, account.exits):
            order = place.get(s)
            if order is None:
                continue
            order.quantity = math.floor(order.quantity * ratio + 1e-9)
            order.filled = math.floor(order.filled * ratio + 1e-9)
            for name in ("limit", "trigger", "trail", "open_max", "pivot", "target", "structure_stop",
                         "stop_distance", "ref"):  # fmt: skip
                setattr(order, name, getattr(order, name) / ratio)
            if order.rest <= 0:
                self.end(a, order, OrderStatus.CANCELLED)
        lot = account.lots.get(s)
        if lot is None:
            return
        for name in ("mark", "stop", "initial_stop", "target", "pivot", "first_price", "highest_close"):
            setattr(lot, name, getattr(lot, name) / ratio)
        exact = lot.quantity * ratio
        lot.quantity = math.floor(exact + 1e-9)
        fraction = exact - lot.quantity
        if fraction > 1e-9:
            amount = self.micro(fraction, lot.mark)
            lot.income += amount
            self.cash_flow(a, s, CashKind.CASH_IN_LIEU, 0, lot.mark, amount)
        order = account.exits.get(s)
        if order is not None and order.rest > lot.quantity:
            order.quantity = order.filled + lot.quantity
        if lot.quantity == 0:
            if order is not None:
                self.end(a, order, OrderStatus.CANCELLED)
            self.close(a, s, 0)

    def dividend(self, a: int, s: int, per_share: float) -> None:
        lot = self.accounts[a].lots.get(s)
        if lot is None:
            return
        amount = self.micro(lot.quantity, per_share)
        lot.income += amount
        self.cash_flow(a, s, CashKind.DIVIDEND, lot.quantity, per_share, amount)
        if self.c.dividend_lowers_stop and per_share > 0.05 * lot.mark:
            lot.stop -= per_share
            lot.initial_stop -= per_share

    def delist(self, a: int, s: int, kind: int, value: float) -> None:
        account = self.accounts[a]
        for place in (account.entries, account.exits):
            if s in place:
                self.end(a, place[s], OrderStatus.CANCELLED, Reason.DELISTED)
        lot = account.lots.get(s)
        if lot is None:
            return
        share = {
            ActionKind.DELIST_PROCEEDS: value,
            ActionKind.DELIST_MERGER: lot.mark,
            ActionKind.DELIST_PERFORMANCE_NASDAQ: lot.mark * 0.45,
        }.get(ActionKind(kind), lot.mark * 0.70)
        amount = self.micro(lot.quantity, share)
        self.cash_flow(a, s, CashKind.DELISTING, lot.quantity, share, amount)
        lot.proceeds += amount
        self.close(a, s, Reason.DELISTED)

    # 2. and 3. Fills

    def bar(self, s: int) -> tuple[float, float, float, float, float]:
        return tuple(float(x[self.t, s]) for x in self.ohlcv)  # type: ignore[return-value]

    def volume_left(self, s: int) -> float:
        if self.c.participation is None:
            return math.inf
        allowed = math.floor(self.c.participation * self.bar(s)[4] * self.units)
        return max(0, allowed - self.used[s])

    def at_open(self, order: Order) -> float:
        o = self.bar(order.symbol)[0]
        if order.type == OrderType.MARKET:
            return o
        if order.type == OrderType.LIMIT:
            better = o <= order.limit if order.side > 0 else o >= order.limit
            return o if better else NAN
        if order.type in STOPS:
            through = o >= order.trigger if order.side > 0 else o <= order.trigger
            return o if through else NAN
        return NAN

    def in_bar(self, order: Order) -> float:
        _, h, low, _, _ = self.bar(order.symbol)
        if order.type == OrderType.LIMIT:  # Through, not touch
            through = low < order.limit if order.side > 0 else h > order.limit
            return order.limit if through else NAN
        if order.type in STOPS:
            touched = h >= order.trigger if order.side > 0 else low <= order.trigger
            return order.trigger if touched else NAN
        return NAN

    def try_entry(self, a: int, order: Order, market: float, phase: str) -> None:
        account, s = self.accounts[a], order.symbol
        new = s not in account.lots
        if new and phase == "open" and market > order.open_max:
            return self.end(a, order, OrderStatus.CANCELLED, Reason.ABOVE_LIMIT)
        if new and self.c.max_positions is not None and len(account.lots) >= self.c.max_positions:
            return self.end(a, order, OrderStatus.CANCELLED, Reason.SLOT_AT_FILL)
        order.attempts += 1
        quantity = min(order.rest, self.volume_left(s))
        if quantity > 0:
            price = market if order.type == OrderType.LIMIT else self.cost_price(s, 1, market, quantity)
            stop = NAN
            if new:
                if price <= order.structure_stop:
                    return self.end(a, order, OrderStatus.CANCELLED, Reason.STOP_ABOVE_ENTRY)
                stop = best_stop(order.structure_stop, order.stop_distance, price, self.c.individual_stop)
            bought = self.affordable(account.cash, price, int(quantity))
            if bought == 0:
                return self.end(a, order, OrderStatus.CANCELLED, Reason.CASH_AT_FILL)
            self.fill(a, order, bought, price, phase, stop)
            if bought < quantity:
                return self.end(a, order, OrderStatus.FILLED, Reason.CASH_AT_FILL)
            if order.rest == 0:
                return self.end(a, order, OrderStatus.FILLED)
            self.status(a, order, OrderStatus.PARTIAL)
        if order.type in STOPS:
            order.type = OrderType.MARKET  # Silent: what a hit stop did not fill is a market order
        if order.type == OrderType.MARKET and order.attempts > self.c.entry_carry_bars:
            self.end(a, order, OrderStatus.CANCELLED, Reason.CARRY_EXPIRED)
        return None

    def affordable(self, cash: int, price: float, quantity: int) -> int:
        def cost(q: int) -> int:
            value = self.micro(q, price)
            return value + self.fee(value)

        if cash <= 0:
            return 0
        if cost(quantity) <= cash:
            return quantity
        low, high = 0, quantity  # cost(low) <= cash < cost(high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cost(middle) <= cash else (low, middle)
        return low

    def try_exit(self, a: int, order: Order, market: float) -> None:
        account, s = self.accounts[a], order.symbol
        lot = account.lots[s]
        if order.whole:
            order.quantity = order.filled + lot.quantity
        wanted = min(order.rest, lot.quantity)
        quantity = wanted
        if order.attempts < self.c.exit_waive_bars:
            quantity = int(min(wanted, self.volume_left(s)))
        order.attempts += 1
        if quantity > 0:
            limit = order.type == OrderType.LIMIT
            price = market if limit else self.cost_price(s, -1, market, quantity)
            self.fill(a, order, quantity, price)
            if quantity == wanted:
                self.end(a, order, OrderStatus.FILLED)
                if s not in account.lots and s in account.entries:  # Silent: the rest of its entry ends too
                    self.end(a, account.entries[s], OrderStatus.CANCELLED, order.reason)
                return
            self.status(a, order, OrderStatus.PARTIAL)
        if order.type in STOPS:
            order.type = OrderType.MARKET

    def traded(self, s: int) -> bool:
        return bool(self.bar_status[self.t, s] >= 2)

    def open(self) -> None:
        for a, account in enumerate(self.accounts):
            for s in sorted(account.exits):
                price = self.at_open(account.exits[s]) if self.traded(s) else NAN
                if price == price:
                    self.try_exit(a, account.exits[s], price)
        for a, account in enumerate(self.accounts):
            for order in list(account.entries.values()):
                if not self.traded(order.symbol):
                    if order.tif == Tif.DAY:
                        self.end(a, order, OrderStatus.CANCELLED, Reason.NO_TRADE)
                    continue
                price = self.at_open(order)
                if price == price:
                    self.try_entry(a, order, price, "open")

    def waiting(self, phase: str) -> None:
        """Silent on resting orders: inside the bar before the lots' own stops, unless those come first."""
        for side in (-1, 1):
            for a, account in enumerate(self.accounts):
                place = account.exits if side < 0 else account.entries
                names = sorted(place) if side < 0 else list(place)
                for s in names:
                    order = place[s]
                    if order.type != OrderType.MARKET:
                        self.wait(a, order, phase)

    def wait(self, a: int, order: Order, phase: str) -> None:
        s = order.symbol
        if not self.traded(s):
            if phase == "close" and order.tif == Tif.DAY:
                self.end(a, order, OrderStatus.CANCELLED, Reason.NO_TRADE)
            return
        price = NAN
        if phase == "close":
            if order.type == OrderType.MARKET_ON_CLOSE:
                price = self.bar(s)[3]
        elif self.at_open(order) != self.at_open(order):
            price = self.in_bar(order)
            if order.side < 0 and price == price and self.lot_first(a, order):
                price = NAN
        before = order.filled
        if price == price:
            if order.side < 0:
                self.try_exit(a, order, price)
            else:
                self.try_entry(a, order, price, phase)
        if phase != "close" or order.ended:
            return
        if order.tif == Tif.DAY:
            self.end(a, order, OrderStatus.EXPIRED)
        elif order.type == OrderType.TRAILING_STOP and order.filled == before:
            _, h, low, _, _ = self.bar(s)
            if order.side > 0:
                order.trigger = min(order.trigger, low + order.trail)
            else:
                order.trigger = max(order.trigger, h - order.trail)

    def lot_first(self, a: int, order: Order) -> bool:
        """Silent: a resting exit and the lot's own stop and target in one bar; gaps, nearness, policy."""
        lot = self.accounts[a].lots[order.symbol]
        o, h, low, _, _ = self.bar(order.symbol)
        if o <= lot.stop or o >= lot.target:
            return True
        down_first = {
            Intrabar.WORST: True, Intrabar.BEST: False, Intrabar.PATH: o - low <= h - o,
        }[self.c.intrabar]  # fmt: skip
        ups = [("lot", lot.target)] if h > lot.target else []
        downs = [("lot", lot.stop)] if low <= lot.stop else []
        mine = ("order", order.limit if order.type == OrderType.LIMIT else order.trigger)
        (ups if order.type == OrderType.LIMIT else downs).append(mine)
        up = min(ups, key=lambda x: x[1])[0] if ups else None
        down = max(downs, key=lambda x: x[1])[0] if downs else None
        if up is None or down is None:
            return (up or down) == "lot"
        return (down if down_first else up) == "lot"

    def stops(self) -> None:
        for a, account in enumerate(self.accounts):
            for s in sorted(account.lots):
                order = account.exits.get(s)
                leaving = order is not None and order.whole and order.type == OrderType.MARKET
                if self.traded(s) and not leaving:
                    self.stop_or_target(a, s)

    def stop_or_target(self, a: int, s: int) -> None:
        account = self.accounts[a]
        lot = account.lots[s]
        o, h, low, close, _ = self.bar(s)
        entry_bar = lot.entered == self.ts
        if entry_bar and lot.phase == "close":
            return
        what, price = None, NAN
        if not entry_bar and o <= lot.stop:
            what, price = Reason.STOP, o
        elif not entry_bar and o >= lot.target:
            what, price = Reason.TARGET, o
        else:
            stop, target = low <= lot.stop, h > lot.target
            if entry_bar and lot.phase == "intrabar" and stop:
                # Silent: the low may have come before the entry
                stop = self.c.intrabar == Intrabar.WORST or close <= lot.stop
            if stop and target:
                if self.c.intrabar == Intrabar.PATH:
                    stop = o - low <= h - o
                else:
                    stop = self.c.intrabar == Intrabar.WORST
            if stop:
                what, price = Reason.STOP, lot.stop
            elif target:
                what, price = Reason.TARGET, lot.target
                if entry_bar:  # Silent: bought above its target; what it fetches is a price of this bar
                    price = max(price, o if lot.phase == "open" else low)
        if what is None:
            return
        for place in (account.entries, account.exits):
            if s in place:
                self.end(a, place[s], OrderStatus.CANCELLED, what)
        kind = OrderType.LIMIT if what == Reason.TARGET else OrderType.STOP
        order = Order(s, lot.strategy, -1, lot.quantity, kind, Tif.GTC, int(what), whole=True)
        account.exits[s] = order
        self.try_exit(a, order, price)
        if not order.ended:
            order.type = OrderType.MARKET
            if order.filled == 0:
                self.status(a, order, OrderStatus.ACCEPTED)

    # 4. The close

    def remember(self) -> None:
        for s in range(len(self.sectors)):
            if self.traded(s):
                _, h, low, c, v = self.bar(s)
                if self.bar_status[self.t, s] == 3:
                    self.history[s] = []
                self.history[s].append((c, h, low, v))
        for account in self.accounts:
            for s, lot in account.lots.items():
                status = self.bar_status[self.t, s]
                lot.missing = lot.missing + 1 if status == 0 else 0
                if status >= 2:
                    lot.bars_held += 1
                    lot.highest_close = max(lot.highest_close, self.bar(s)[3])

    def mark(self, a: int) -> None:
        account = self.accounts[a]
        for s in sorted(account.lots):
            limit = self.c.delist_after_sessions
            if limit is not None and account.lots[s].missing >= limit:
                self.delist(a, s, ActionKind.DELIST_UNKNOWN, 0.0)
        gross = 0
        for s, lot in account.lots.items():
            if self.bar_status[self.t, s] > 0:
                lot.mark = self.bar(s)[3]
            gross += self.micro(lot.quantity, lot.mark)
        account.equity = account.cash + gross
        if account.state != "cooldown":
            account.hwm = max(account.hwm, account.equity)
        self.log.equity[-1].append((account.cash, account.equity))

    def risk(self, a: int, kind: RiskKind) -> None:
        self.log.risk.append((self.ts, a, int(kind)))

    def portfolio_stop(self, a: int) -> None:
        account = self.accounts[a]
        if account.state == "active":
            drawdown = 1.0 - account.equity / account.hwm if account.hwm else NAN
            if drawdown <= 0:
                account.warned = 0
            for i, level in enumerate(sorted(self.c.drawdown_warnings)):
                if account.warned <= i and drawdown >= level:
                    account.warned = i + 1
                    self.risk(a, RiskKind.WARNING)
            if self.c.portfolio_stop is not None and drawdown >= self.c.portfolio_stop:
                account.state = "halted"
                self.risk(a, RiskKind.HALTED)
                for order in list(account.entries.values()):
                    self.end(a, order, OrderStatus.CANCELLED, Reason.HALTED_PORTFOLIO)
                for s in sorted(account.lots):
                    quantity = account.lots[s].quantity
                    if self.c.portfolio_action == PortfolioAction.LIQUIDATE:
                        self.queue(a, s, quantity, True, Reason.PORTFOLIO_STOP)
                    elif self.c.portfolio_action == PortfolioAction.HALVE:
                        self.queue(a, s, quantity // 2, False, Reason.PORTFOLIO_STOP)
        elif account.state == "halted":
            if not account.lots:
                account.state, account.cooldown = "cooldown", self.c.rearm_sessions
                self.risk(a, RiskKind.COOLDOWN)
        else:
            account.cooldown -= 1
            if account.cooldown <= 0 and not (self.c.rearm_regime and self.bear):
                account.state, account.hwm, account.warned = "active", account.equity, 0
                self.risk(a, RiskKind.REARMED)

    def queue(self, a: int, s: int, quantity: int, whole: bool, reason: int) -> None:
        """Queue a market sell for the next open."""
        account = self.accounts[a]
        old = account.exits.get(s)
        if quantity < 1 or (old is not None and old.whole and old.type == OrderType.MARKET):
            return
        if old is not None:
            if not whole:
                return
            self.end(a, old, OrderStatus.CANCELLED, reason)
        if whole and s in account.entries:
            self.end(a, account.entries[s], OrderStatus.CANCELLED, reason)
        strategy = account.lots[s].strategy
        order = Order(s, strategy, -1, quantity, OrderType.MARKET, Tif.GTC, int(reason), whole=whole)
        account.exits[s] = order
        self.status(a, order, OrderStatus.ACCEPTED)

    def exit_rules(self, a: int) -> None:
        account = self.accounts[a]
        for s in sorted(account.lots):
            if not self.traded(s):
                continue
            lot, close = account.lots[s], self.bar(s)[3]
            r = self.rules[lot.strategy]
            first = lot.first_price
            if r.quick_gain > 0 and lot.bars_held <= r.quick_bars and close >= first * (1 + r.quick_gain):
                lot.quick = True
            reason = self.why_sell(s, lot, r, close)
            if reason:
                self.queue(a, s, lot.quantity, True, reason)
                continue
            if (
                r.scale_out_gain > 0
                and not lot.scaled
                and close >= first * (1 + r.scale_out_gain)
                and s not in account.exits
            ):
                part = math.floor(lot.quantity * r.scale_out_fraction)
                if part > 0:
                    lot.scaled = True
                    self.queue(a, s, part, False, Reason.SCALE_OUT)
            if r.trail_atr_multiple > 0:
                level = lot.highest_close - r.trail_atr_multiple * self.atr(s, r.trail_atr_bars)
                if level > lot.stop or (level == level and lot.stop != lot.stop):
                    lot.stop = level

    def why_sell(self, s: int, lot: Lot, r: ExitRules, close: float) -> int:
        closes = [bar[0] for bar in self.history[s]]
        if r.sma_bars and len(closes) >= r.sma_bars and close < sum(closes[-r.sma_bars :]) / r.sma_bars:
            return Reason.EXIT_SMA
        lows = [bar[2] for bar in self.history[s]]
        if r.low_bars and len(lows) > r.low_bars and close < min(lows[-r.low_bars - 1 : -1]):
            return Reason.EXIT_LOW
        if r.failed_breakout_bars and lot.bars_held <= r.failed_breakout_bars and close < lot.pivot:
            return Reason.FAILED_BREAKOUT
        patient = lot.quick and lot.bars_held < r.quick_hold_bars
        if r.take_profit_gain and close >= lot.first_price * (1 + r.take_profit_gain) and not patient:
            return Reason.PROFIT_TAKE
        if r.max_holding_bars and lot.bars_held >= r.max_holding_bars:
            return Reason.MAX_HOLDING
        if r.exit_in_bear and self.bear:
            return Reason.BEAR_EXIT
        return 0

    # 5. Signals

    def take(self, signals: list[Any]) -> None:
        for x in signals:
            if x["side"] < 0:
                self.sell_signal(x, raw_of_blend=self.blend)
        if self.blend:
            signals = self.aggregate(signals)
            for x in signals:
                if x["side"] < 0:
                    self.sell_signal(x, raw_of_blend=False)
        weights = [*self.weights, 0.0]
        buys = [x for x in signals if x["side"] > 0]
        buys.sort(
            key=lambda x: (
                -round(x["confidence"] * 1e9),
                -weights[x["strategy"]],
                -self.adv(x["symbol"]),
                x["symbol"],
                x["strategy"],
            )
        )
        for x in buys:
            self.gate(x)

    def sell_signal(self, x: Any, raw_of_blend: bool) -> None:
        s = x["symbol"]
        a = 0 if self.blend else x["strategy"]
        account = self.accounts[a]
        lot = account.lots.get(s)
        if raw_of_blend and (lot is None or lot.strategy != x["strategy"]):
            return
        old = account.exits.get(s)
        if lot is None:
            if s in account.entries:
                self.end(a, account.entries[s], OrderStatus.CANCELLED, Reason.SIGNAL)
            else:
                self.reject(a, s, x["strategy"], -1, Reason.NOT_HELD)
        elif old is not None and (
            (old.whole and old.type == OrderType.MARKET) or x["order_type"] != OrderType.MARKET
        ):
            self.reject(a, s, x["strategy"], -1, Reason.EXIT_PENDING)
        elif x["order_type"] == OrderType.MARKET:
            self.queue(a, s, lot.quantity, True, Reason.SIGNAL)
        else:
            trigger = x["trigger"]
            if x["order_type"] == OrderType.TRAILING_STOP and trigger != trigger:
                trigger = x["price_ref"] - x["trail"]
            order = Order(
                s, lot.strategy, -1, lot.quantity, x["order_type"], x["tif"], int(Reason.SIGNAL),
                x["limit"], trigger, x["trail"], whole=True,
            )  # fmt: skip
            account.exits[s] = order
            self.status(a, order, OrderStatus.ACCEPTED)

    def aggregate(self, signals: list[Any]) -> list[Any]:
        account = self.accounts[0]
        for x in signals:
            self.votes[x["symbol"], x["strategy"]] = (self.session, x)
        made = []
        for s in sorted({x["symbol"] for x in signals} | set(account.lots)):
            fresh = [x for x in signals if x["symbol"] == s]
            if not fresh and s in account.exits:
                continue
            buy = sell = total = best = 0.0
            leader = -1
            for i, w in enumerate(self.weights):
                if (s, i) not in self.votes:
                    continue
                at, vote = self.votes[s, i]
                age = self.session - at
                if age > self.c.signal_ttl_sessions:
                    continue
                strength = w * vote["confidence"] * 2 ** (-age / 10)
                total += w
                if vote["side"] > 0:
                    buy += strength
                    if age == 0 and strength > best:
                        best, leader = strength, i
                else:
                    sell += strength
            side, net = 0, 0.0
            lot = account.lots.get(s)
            if total > 0:
                net = (buy - sell) / total
                if abs(buy - sell) <= 1e-12:
                    side = -1 if lot is not None and sell > 0 else 0
                elif net >= self.c.min_confidence and leader >= 0:
                    side = 1
                elif -net >= self.c.min_confidence:
                    side = -1
            for x in fresh:
                own = lot is not None and x["side"] < 0 and x["strategy"] == lot.strategy
                if x["side"] != side and not own:
                    reason = Reason.CONFLICT if buy > 0 and sell > 0 else Reason.BELOW_MIN
                    self.reject(0, s, x["strategy"], x["side"], reason)
            if side > 0:
                x = dict(self.votes[s, leader][1])
                made.append(
                    {**x, "strategy": len(self.weights), "confidence": min(1.0, net), "leader": leader}
                )
            elif side < 0:
                made.append(
                    {"symbol": s, "strategy": len(self.weights), "side": -1, "order_type": OrderType.MARKET}
                )
        return made

    def committed(self, a: int, sector: str | None) -> float:
        account = self.accounts[a]
        total = 0.0
        for s in sorted(account.lots):
            if sector in (None, self.sectors[s]):
                total += account.lots[s].quantity / self.units * account.lots[s].mark
        for s, order in account.entries.items():
            if sector in (None, self.sectors[s]):
                total += order.rest / self.units * order.ref
        return total

    def spendable(self, a: int) -> float:
        account = self.accounts[a]
        total = account.cash / MICRO
        for s in sorted(account.exits):
            order = account.exits[s]
            if order.type == OrderType.MARKET:
                total += order.rest / self.units * account.lots[s].mark * 0.98
        for order in account.entries.values():
            total -= order.rest / self.units * order.ref
        return total / (1.01 + self.c.commission_rate)

    def target_value(self, s: int, equity: float, ref: float, stop: float, confidence: float) -> float:
        c = self.c
        n = float(c.max_positions or 20)
        if c.position_sizing == Sizing.FIXED_NOTIONAL:
            return c.fixed_notional_usd
        if c.position_sizing == Sizing.FIXED_RISK:
            return c.risk_per_trade * equity * ref / (ref - stop)
        if c.position_sizing == Sizing.VOL_TARGET:
            b = c.target_volatility / (n * math.sqrt(1 / n + (1 - 1 / n) * 0.3))
            sigma = self.daily_volatility(s) * math.sqrt(252)
            return equity * b / max(sigma, 0.10)
        if c.position_sizing == Sizing.CONFIDENCE:
            return equity / n * (0.5 + min(1.0, max(0.0, (confidence - 0.5) / 0.5)))
        return equity / n

    def gate(self, x: Any) -> None:
        c, s = self.c, x["symbol"]
        a = 0 if self.blend else x["strategy"]
        leader = x["leader"] if self.blend else x["strategy"]
        account = self.accounts[a]
        ref = x["price_ref"]
        equity = account.equity / MICRO
        stop = best_stop(x["structure_stop"], x["stop_distance"], ref, c.individual_stop)

        def no(reason: Reason) -> None:
            self.reject(a, s, x["strategy"], 1, reason)

        if account.state != "active":
            return no(Reason.HALTED_PORTFOLIO)
        if not self.is_member(s):
            return no(Reason.NOT_A_MEMBER)
        if self.rules[leader].m_gate & self.market:
            return no(Reason.M_GATE)
        if s in account.lots:
            return no(Reason.ALREADY_HELD)
        if s in account.entries:
            return no(Reason.PENDING_ORDER)
        if not self.traded(s):
            return no(Reason.STALE_SYMBOL)
        if not ref > 0 or stop >= ref or (c.position_sizing == Sizing.FIXED_RISK and stop != stop):
            return no(Reason.INVALID_STOP)
        going = sum(1 for o in account.exits.values() if o.whole and o.type == OrderType.MARKET)
        n_symbols = len(set(account.lots) | set(account.entries)) - going
        if c.max_positions is not None and n_symbols >= c.max_positions:
            return no(Reason.MAX_POSITIONS)
        value = self.target_value(s, equity, ref, stop, x["confidence"])
        if value != value:
            return no(Reason.BELOW_MIN_NOTIONAL)  # Silent: volatility unknown
        sector = self.sectors[s]
        rooms: list[tuple[Reason, float]] = []
        if c.max_name is not None:
            rooms.append((Reason.CAP_NAME, c.max_name * equity))
        limits = c.sector_limits
        limit = None if limits is None else limits.get(sector, limits["other"])
        if limit is not None:
            rooms.append((Reason.CAP_SECTOR, limit * equity - self.committed(a, sector)))
        if c.max_gross is not None:
            rooms.append((Reason.CAP_GROSS, c.max_gross * equity - self.committed(a, None)))
        if c.adv_cap is not None:
            rooms.append((Reason.CAP_LIQUIDITY, c.adv_cap * self.adv(s)))
        rooms.append((Reason.NO_CASH, self.spendable(a)))
        share = ref / self.units
        for reason, room in rooms:
            if room < value:
                if room < share <= value:
                    return no(reason)
                value = room
        quantity = max(0, math.floor(value / ref * self.units))
        if quantity == 0 or quantity / self.units * ref < (c.min_notional_usd or 0.0):
            return no(Reason.BELOW_MIN_NOTIONAL)
        trigger = x["trigger"]
        if x["order_type"] == OrderType.TRAILING_STOP and trigger != trigger:
            trigger = ref + x["trail"]
        order = Order(
            s, leader, 1, quantity, x["order_type"], x["tif"], int(Reason.SIGNAL), x["limit"], trigger,
            x["trail"], x["open_max"], x["pivot"], x["target"], x["structure_stop"], x["stop_distance"], ref,
        )  # fmt: skip
        account.entries[s] = order
        self.status(a, order, OrderStatus.ACCEPTED)
        return None

    def run(self, tape: Any, market: Any, signals: Any) -> Log:
        """Run every session of a tape; `signals` are SIGNAL_DTYPE rows sorted by (ts, symbol, strategy)."""
        self.ohlcv = (tape.open, tape.high, tape.low, tape.close, tape.volume)
        self.bar_status = tape.status
        by_ts: dict[int, list[Any]] = {}
        for row in signals:
            x = {name: row[name].item() for name in row.dtype.names if name != "details"}
            by_ts.setdefault(x["ts"], []).append(x)
        for t in range(len(tape.ts)):
            self.t, self.ts = t, int(tape.ts[t])
            self.market = int(market[t])
            self.bear = bool(self.market & 1)
            self.session += 1
            self.used = [0] * len(self.sectors)
            self.log.equity.append([])
            for action in tape.actions[tape.actions["row"] == t]:
                self.act(int(action["symbol"]), int(action["kind"]), float(action["value"]))
            self.open()
            self.waiting("intrabar")
            self.stops()
            self.waiting("close")
            self.remember()
            for a in range(len(self.accounts)):
                self.mark(a)
                self.portfolio_stop(a)
                self.exit_rules(a)
            self.take(by_ts.get(self.ts, []))
        return self.log
