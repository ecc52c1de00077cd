"""The bodies: what a message of the stream can say, as closed types with bounds on every value.

A body is one of six structs; its tag `family` names which. docs/streams.md has the tables.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

FAMILIES = ("signal", "order", "fill", "alert", "equity", "bar")  # in the order of sending
SYMBOL_LENGTH = 64
TEXT_LENGTH = 1_000
PRICE_MAX, VOLUME_MAX, NUMBER_MAX = 1e9, 1e15, 1e18
SEQ_MAX = 1 << 62  # One more than it is a number of the database still
TS_MAX_NS = 4_102_444_800_000_000_000  # the year 2100

Name = Annotated[str, Meta(min_length=1, max_length=SYMBOL_LENGTH)]
Text = Annotated[str, Meta(max_length=TEXT_LENGTH)]
Seq = Annotated[int, Meta(ge=1, le=SEQ_MAX)]
SeqOrZero = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Ts = Annotated[int, Meta(ge=0, le=TS_MAX_NS)]  # UTC nanoseconds
Price = Annotated[float, Meta(gt=0.0, le=PRICE_MAX)]  # dollars
Volume = Annotated[float, Meta(ge=0.0, le=VOLUME_MAX)]  # shares
Number = Annotated[float, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]  # NaN and infinity are out of bounds
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Quantity = Annotated[int, Meta(ge=0)]
Micro = int  # micro-dollars, int64
SideName = Literal["buy", "sell"]


class Signal(Struct, frozen=True, gc=False, tag="signal", tag_field="family"):
    """A strategy's decision at the close of the bar. Null: the signal has none."""

    symbol: Name
    strategy: Name
    side: SideName
    confidence: Unit | None
    price_ref: Price | None
    structure_stop: Price | None
    stop_distance: Price | None
    order_type: Literal["market", "limit", "stop", "trailing_stop", "market_on_close"]
    tif: Literal["day", "gtc"]
    limit: Price | None
    trigger: Price | None
    trail: Price | None
    open_max: Price | None
    pivot: Price | None
    target: Price | None
    details: dict[str, Number]  # what the strategy measured

    @property
    def topic(self) -> str:
        return f"signal.{self.strategy}.{self.symbol}"


class Order(Struct, frozen=True, gc=False, tag="order", tag_field="family"):
    """A change of an order's status."""

    symbol: Name
    strategy: Name
    account: Name
    order_id: SeqOrZero
    side: SideName
    quantity: Quantity
    filled: Quantity
    order_type: Literal["market", "limit", "stop", "trailing_stop", "market_on_close"]
    tif: Literal["day", "gtc"]
    limit: Price | None
    status: Literal["accepted", "partial", "filled", "cancelled", "expired", "rejected"]
    reason: Name  # why it was made
    end_reason: Name  # why it ended, "none" while it has not
    binding_cap: Name  # the cap that cut its size, "none" for none
    ts_decided_ns: Ts  # the close at which it was decided

    @property
    def topic(self) -> str:
        return f"order.{self.symbol}"


class Fill(Struct, frozen=True, gc=False, tag="fill", tag_field="family"):
    symbol: Name
    strategy: Name
    account: Name
    order_id: SeqOrZero
    side: SideName
    quantity: Quantity
    price: Price
    value_micro: Micro
    fee_micro: Micro
    reason: Name

    @property
    def topic(self) -> str:
        return f"fill.{self.symbol}"


class Account(Struct, frozen=True, kw_only=True, gc=False):
    """equity = cash + gross, exactly."""

    name: Name
    cash_micro: Micro
    gross_micro: Micro
    equity_micro: Micro


class Position(Struct, frozen=True, kw_only=True, gc=False):
    """A lot that is held, marked at the newest close."""

    symbol: Name
    strategy: Annotated[str, Meta(max_length=SYMBOL_LENGTH)]  # "" in a watched portfolio
    quantity: Number
    cost_usd: Number | None
    mark_usd: Price | None
    stop_usd: Price | None


class Equity(Struct, frozen=True, kw_only=True, gc=False, tag="equity", tag_field="family"):
    """The accounts at a close, and what they hold: the newest one is the whole book."""

    accounts: list[Account]
    positions: list[Position]

    @property
    def topic(self) -> str:
        return "equity"


class Alert(Struct, frozen=True, kw_only=True, gc=False, tag="alert", tag_field="family"):
    """An alert fired, grew worse, was repeated, or was resolved."""

    rule: Name
    subject: Text
    portfolio: Text
    key: Name  # names the notification: the same in mail and stream, and when it is sent again
    label: Name  # as of `monitors.alerts.Transition`
    severity: Literal["info", "warning", "critical"]
    value: Number | None  # null: could not be computed, which is a breach
    threshold: Number | None
    unit: Name
    detail: Text
    session: Text
    since_ns: Ts

    @property
    def topic(self) -> str:
        return f"alert.{self.rule}"


class Bar(Struct, frozen=True, gc=False, tag="bar", tag_field="family"):
    symbol: Name
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Volume

    @property
    def topic(self) -> str:
        return f"bar.{self.symbol}"


AnyBody = Signal | Order | Fill | Alert | Equity | Bar
