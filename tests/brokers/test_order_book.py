"""A model of the order book, moved step by step together with the desk (hypothesis decides the steps).

The model knows one symbol, one account and no costs; it keeps what a trader would write on paper: what is
held, which entry and which exit work, and what must have happened after each bar.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from brokers.config import DeskConfig
from brokers.desk import Desk
from engine.events import SIGNAL_DTYPE, OrderStatus, OrderType, Tif
from engine.exits import ExitRules
from engine.intake import Intake
from engine.slab import ACTION_DTYPE, NS_PER_DAY, ActionKind, Bars, Universe
from tests.brokers.done import Done
from tests.brokers.random_market import Named, examples
from tests.brokers.scenario import BARE

cents = st.integers(800, 1200).map(lambda x: x / 100)
kinds = st.sampled_from(list(OrderType))


class Paper:
    """One order as a trader notes it."""

    def __init__(self, side: int, kind: int, tif: int, level: float, trail: float, left: int) -> None:
        self.side, self.kind, self.tif, self.level, self.trail, self.left = (
            side,
            kind,
            tif,
            level,
            trail,
            left,
        )
        self.tries = self.filled = 0

    def price(self, moment: str, o: float, h: float, low: float, c: float) -> float | None:
        up = self.side > 0
        if self.kind == OrderType.MARKET:
            return o if moment == "open" else None
        if self.kind == OrderType.MARKET_ON_CLOSE:
            return c if moment == "close" else None
        if moment == "close":
            return None
        if self.kind == OrderType.LIMIT:
            if moment == "open":
                return o if (o <= self.level if up else o >= self.level) else None
            return self.level if (low < self.level if up else h > self.level) else None
        if moment == "open":
            return o if (o >= self.level if up else o <= self.level) else None
        return self.level if (h >= self.level if up else low <= self.level) else None


class OrderBook(RuleBasedStateMachine):
    @initialize(
        share=st.sampled_from([None, 0.1]), waive=st.sampled_from([1, 3]), carry=st.sampled_from([0, 2])
    )
    def open_account(self, share: float | None, waive: int, carry: int) -> None:
        self.config = DeskConfig(
            **{
                **BARE, "capital_usd": 1e9, "participation": share, "entry_carry_bars": carry,
                "exit_waive_bars": waive,
            }
        )  # fmt: skip
        universe = Universe(("S",))
        self.desk = Desk(universe, [Named("s", ExitRules())], self.config)
        self.intake = Intake()
        self.intake.start(universe)
        self.day, self.close = 20_000, 10.0
        self.held = 0
        self.entry: Paper | None = None
        self.exit: Paper | None = None
        self.next: dict[str, Any] | None = None
        self.ratio = 1.0
        self.expected: list[tuple[int, int, float]] = []
        self.got: list[tuple[int, int, float]] = []
        self.story: dict[int, list[int]] = {}

    @rule(side=st.sampled_from([1, -1]), kind=kinds, tif=st.sampled_from(list(Tif)), away=cents, trail=cents)
    def decide(self, side: int, kind: OrderType, tif: Tif, away: float, trail: float) -> None:
        level = round(self.close * away / 10, 2)
        self.next = {"side": side, "kind": int(kind), "tif": int(tif), "level": level, "trail": trail / 10}

    @rule(ratio=st.sampled_from([2.0, 0.5, 3.0]))
    def split(self, ratio: float) -> None:
        self.ratio = ratio

    @rule(gap=cents, range_=st.tuples(cents, cents), volume=st.sampled_from([0, 7, 100, 350, 100_000]))
    def trade(self, gap: float, range_: tuple[float, float], volume: int) -> None:
        o = round(self.close / self.ratio * gap / 10, 2)
        c = round(o * range_[0] / 10, 2)
        spread = abs(range_[1] - 10) / 10
        self.session(
            o, round(max(o, c) * (1 + spread), 2), round(min(o, c) * (1 - spread), 2), c, float(volume)
        )

    @rule()
    def halt(self) -> None:
        self.session(*[math.nan] * 5)

    def session(self, o: float, h: float, low: float, c: float, v: float) -> None:
        self.day += 1
        self.model(o, h, low, c, v)
        ts = np.array([self.day * NS_PER_DAY])
        actions = [(0, 0, int(ActionKind.SPLIT), self.ratio)] if self.ratio != 1.0 else []
        bars = Bars(ts, *(np.array([[x]]) for x in (o, h, low, c, v)), np.array(actions, ACTION_DTYPE))
        tape, signals = self.intake.on_bars(bars), [self.signal(ts[0], v)]
        done = Done(self.desk.process(tape, np.zeros(1, np.int64), signals))
        self.got = [(int(x["side"]), int(x["quantity"]), float(x["price"])) for x in done.fills]
        for row in done.orders:
            self.story.setdefault(int(row["order_id"]), []).append(int(row["status"]))
        self.ratio, self.next = 1.0, None

    def signal(self, ts: int, v: float) -> Any:
        if self.next is None:
            return np.empty(0, SIGNAL_DTYPE)
        x, row = self.next, np.zeros(1, SIGNAL_DTYPE)
        for name, kind in SIGNAL_DTYPE.fields.items():  # type: ignore[union-attr]
            if kind[0].kind == "f" or name == "details":
                row[name] = np.nan
        row["ts"], row["side"], row["confidence"], row["price_ref"] = ts, x["side"], 0.7, self.close
        row["order_type"], row["tif"], row["limit"], row["trigger"] = (
            x["kind"],
            x["tif"],
            x["level"],
            x["level"],
        )
        row["trail"] = x["trail"]
        return row

    def model(self, o: float, h: float, low: float, c: float, v: float) -> None:
        self.expected = []
        self.rebase()
        traded = v > 0
        self.volume = math.inf if self.config.participation is None else math.floor(0.1 * v) if traded else 0
        if not traded and self.entry and self.entry.tif == Tif.DAY:
            self.entry = None
        if not traded and self.exit and self.exit.tif == Tif.DAY and self.exit.kind != OrderType.MARKET:
            self.exit = None
        if traded:
            done_at_open: set[int] = set()
            for moment in ("open", "bar", "close"):
                for name in ("exit", "entry"):
                    order = getattr(self, name)
                    if order is None or id(order) in done_at_open:
                        continue
                    price = order.price(moment, o, h, low, c)
                    if price is not None:
                        if moment == "open":
                            done_at_open.add(id(order))
                        self.fill(name, order, price)
            for name in ("exit", "entry"):
                order = getattr(self, name)
                if order is None or order.kind == OrderType.MARKET:
                    continue
                if order.tif == Tif.DAY:
                    setattr(self, name, None)
                elif order.kind == OrderType.TRAILING_STOP:
                    follow = low + order.trail if order.side > 0 else h - order.trail
                    order.level = min(order.level, follow) if order.side > 0 else max(order.level, follow)
        if not math.isnan(c):
            self.close = c
        elif self.ratio != 1.0:
            self.close /= self.ratio
        self.accept(traded)

    def rebase(self) -> None:
        r = self.ratio
        self.held = math.floor(self.held * r)
        for name in ("entry", "exit"):
            order = getattr(self, name)
            if order is not None and r != 1.0:
                order.level, order.trail = order.level / r, order.trail / r
                if name == "entry":
                    total = math.floor((order.left + order.filled) * r)
                    order.filled = math.floor(order.filled * r)
                    order.left = total - order.filled
                    if order.left <= 0:
                        self.entry = None
        if self.held == 0:
            self.exit = None

    def fill(self, name: str, order: Paper, price: float) -> None:
        waived = name == "exit" and order.tries >= self.config.exit_waive_bars
        order.tries += 1
        wanted = self.held if name == "exit" else order.left
        quantity = wanted if waived else int(min(wanted, self.volume))
        self.volume = max(0, self.volume - quantity)
        if quantity:
            self.expected.append((order.side, quantity, price))
            self.held += order.side * quantity
            if name == "entry":
                order.left -= quantity
                order.filled += quantity
        if quantity == wanted:
            setattr(self, name, None)
            if name == "exit":
                self.entry = None
            return
        if order.kind in (OrderType.STOP, OrderType.TRAILING_STOP):
            order.kind = OrderType.MARKET
        if name == "entry" and order.kind == OrderType.MARKET and order.tries > self.config.entry_carry_bars:
            self.entry = None

    def accept(self, traded: bool) -> None:
        x = self.next
        if x is None:
            return
        paper = Paper(x["side"], x["kind"], x["tif"], x["level"], x["trail"], 0)
        if x["side"] > 0:
            if traded and self.held == 0 and self.entry is None:
                paper.left = math.floor(1_000.0 / self.close)
                if paper.left:
                    self.entry = paper
        elif self.held == 0:
            self.entry = None
        elif self.exit is None or (self.exit.kind != OrderType.MARKET and x["kind"] == OrderType.MARKET):
            self.exit = paper
            if x["kind"] == OrderType.MARKET:
                self.entry = None

    @invariant()
    def the_same_fills_holdings_and_working_orders(self) -> None:
        if not hasattr(self, "desk"):
            return
        assert [x[:2] for x in self.got] == [x[:2] for x in self.expected]
        for x, y in zip(self.got, self.expected, strict=True):
            assert abs(x[2] - y[2]) <= 1e-12 * y[2]
        positions = self.desk.open_positions()
        assert int(positions["quantity"].sum()) == self.held
        working = self.desk._state.orders["quantity"][0, :, 0] > 0
        assert working.tolist() == [self.entry is not None, self.exit is not None]
        ended = (OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED)
        assert all(status not in ended for story in self.story.values() for status in story[:-1])


OrderBook.TestCase.settings = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=examples(80), stateful_step_count=30
)
TestOrderBook = OrderBook.TestCase
