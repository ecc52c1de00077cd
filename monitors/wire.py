"""The wire: what a subscriber receives, as typed msgpack, and how the events of one row become it.

1. A frame is a `Message` (an envelope and one typed body), a `Heartbeat`, or a request or reply of the replay
   socket; each names the version of the schema. docs/streams.md has the tables.
2. Decoders are typed and bounded: any bytes give a value within its bounds, or `InvalidFrame`.
3. What is encoded here decodes here: a cell or field that the bounds refuse is left out or null.
4. The events of one row become at most one `Batch` per family, in the order of `FAMILIES`, which is the order
   of sending: what somebody acts on first, the bars last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from engine.errors import DataError
from engine.events import (
    N_DETAILS,
    Fills,
    Orders,
    OrderStatus,
    OrderType,
    Reason,
    Side,
    Signals,
    Tif,
    join_rows,
)
from engine.events import Equity as EquityEvent
from engine.slab import Bars, Universe
from monitors.alerts import Transition
from monitors.view import Position as HeldPosition
from reports.recorder import BLEND, blend_measurements

SCHEMA_VERSION: Final = 1
FAMILIES = ("signal", "order", "fill", "alert", "equity", "bar")
HEARTBEAT = "heartbeat"
SYMBOL_LENGTH = 64
TEXT_LENGTH = 1_000
PRICE_MAX, VOLUME_MAX, NUMBER_MAX = 1e9, 1e15, 1e18
TS_MAX_NS = 4_102_444_800_000_000_000  # the year 2100

Version = Literal[1]
Name = Annotated[str, Meta(min_length=1, max_length=SYMBOL_LENGTH)]
Text = Annotated[str, Meta(max_length=TEXT_LENGTH)]
Seq = Annotated[int, Meta(ge=1)]
SeqOrZero = Annotated[int, Meta(ge=0)]
Ts = Annotated[int, Meta(ge=0, le=TS_MAX_NS)]  # UTC nanoseconds
Price = Annotated[float, Meta(gt=0.0, le=PRICE_MAX)]  # dollars
Volume = Annotated[float, Meta(ge=0.0, le=VOLUME_MAX)]  # shares
Number = Annotated[float, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]  # NaN and infinity are out of bounds
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Quantity = Annotated[int, Meta(ge=0)]
Micro = int  # micro-dollars, int64
SideName = Literal["buy", "sell"]
FamilySeqs = dict[str, SeqOrZero]


class InvalidFrame(DataError):
    """Bytes from outside that are not a frame of this schema, or hold a value out of bounds."""


class Body(Struct, frozen=True, gc=False, tag_field="family"):
    """Base of what a message says; the tag `family` names which."""

    @property
    def topic(self) -> str:
        raise NotImplementedError


class Signal(Body, frozen=True, gc=False, tag="signal", tag_field="family"):
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


class Order(Body, frozen=True, gc=False, tag="order", tag_field="family"):
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


class Fill(Body, frozen=True, gc=False, tag="fill", tag_field="family"):
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
    cost_usd: Number
    mark_usd: Price | None
    stop_usd: Price | None


class Equity(Body, frozen=True, kw_only=True, gc=False, tag="equity", tag_field="family"):
    """The accounts at a close, and what they hold: the newest one is the whole book."""

    accounts: list[Account]
    positions: list[Position]

    @property
    def topic(self) -> str:
        return "equity"


class Alert(Body, frozen=True, kw_only=True, gc=False, tag="alert", tag_field="family"):
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


class Bar(Body, frozen=True, gc=False, tag="bar", tag_field="family"):
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


class Message(Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened. `seq` numbers the messages of the stream, `family_seq` those of the family;
    both grow by one from message to message and are never used twice. `ts_ns`: when it was known."""

    version: Version
    stream: Name
    epoch: SeqOrZero  # grows at each start of the publisher
    seq: Seq
    family_seq: Seq
    ts_ns: Ts
    body: AnyBody

    @property
    def topic(self) -> str:
        return self.body.topic

    @property
    def family(self) -> str:
        return str(self.body.__struct_config__.tag)


class Heartbeat(Struct, frozen=True, kw_only=True, gc=False):
    """Sent every second, and to whoever has just subscribed."""

    version: Version
    stream: Name
    epoch: SeqOrZero
    high_seq: SeqOrZero  # newest message that is safely stored; never goes back
    journal_seq: SeqOrZero  # the journal entry that caused it
    sent: FamilySeqs  # per family, the number of the newest message that was sent
    sent_seq: SeqOrZero  # newest of them all
    now_ns: Ts  # the publisher's clock
    replay_port: Annotated[int, Meta(ge=1, le=65_535)]  # where missed messages are served


class RangeRequest(Struct, frozen=True, kw_only=True, gc=False, tag="range"):
    """Ask for the messages of some families after `after_seq`."""

    version: Version
    request: SeqOrZero  # comes back with the reply
    families: Annotated[list[Name], Meta(min_length=1, max_length=len(FAMILIES))]
    after_seq: SeqOrZero
    missed: SeqOrZero = 0  # how many the subscriber knows to have missed; counted by the publisher


class SnapshotRequest(Struct, frozen=True, kw_only=True, gc=False, tag="snapshot"):
    """Ask for the newest batch of some families."""

    version: Version
    request: SeqOrZero
    families: Annotated[list[Name], Meta(min_length=1, max_length=len(FAMILIES))]


class Reply(Struct, frozen=True, kw_only=True, gc=False, tag="messages"):
    """Header of a reply; `count` frames follow, each a `Message`, in order of `seq`.

    Of a range: everything of the families with after_seq < seq <= through_seq. Of a snapshot: the newest
    batch of each family as of `through_seq`.
    """

    version: Version
    request: SeqOrZero
    stream: Name
    epoch: SeqOrZero
    count: SeqOrZero
    through_seq: SeqOrZero
    high_seq: SeqOrZero  # go on asking while through_seq < high_seq
    newest: FamilySeqs  # per family, the number of its newest message
    # Per family, the number of its newest message at the beginning and at the end of what was asked for. What
    # lies between and is not among the frames is lost for good.
    start: FamilySeqs
    end: FamilySeqs
    forgotten: list[Name]  # families whose `start` is later than asked for: what was before is no longer kept


class Busy(Struct, frozen=True, kw_only=True, gc=False, tag="busy"):
    """Too much is asked for; ask again after `retry_after_s`."""

    version: Version
    request: SeqOrZero
    retry_after_s: Annotated[float, Meta(ge=0.0, le=60.0)]


_T = TypeVar("_T")
_BodyT = TypeVar("_BodyT", bound=Body)
encode = msgspec.msgpack.Encoder().encode
_MESSAGE = msgspec.msgpack.Decoder(Message)
_HEARTBEAT = msgspec.msgpack.Decoder(Heartbeat)
_REQUEST: msgspec.msgpack.Decoder[RangeRequest | SnapshotRequest] = msgspec.msgpack.Decoder(
    RangeRequest | SnapshotRequest
)
_REPLY: msgspec.msgpack.Decoder[Reply | Busy] = msgspec.msgpack.Decoder(Reply | Busy)
_BODIES: msgspec.msgpack.Decoder[list[AnyBody]] = msgspec.msgpack.Decoder(list[AnyBody])


def decode_message(frame: bytes, ts_max_ns: int = TS_MAX_NS) -> Message:
    """Return the message in a frame. Raises InvalidFrame, also for one from after `ts_max_ns`."""
    message = _decode(_MESSAGE, frame)
    if message.ts_ns > ts_max_ns:
        raise InvalidFrame(f"message {message.seq}: ts_ns {message.ts_ns} is later than {ts_max_ns}")
    return message


def decode_heartbeat(frame: bytes) -> Heartbeat:
    """Return the heartbeat in a frame. Raises InvalidFrame."""
    return _decode(_HEARTBEAT, frame)


def decode_request(frame: bytes) -> RangeRequest | SnapshotRequest:
    """Return the request in a frame. Raises InvalidFrame."""
    request = _decode(_REQUEST, frame)
    if not set(request.families) <= set(FAMILIES):
        raise InvalidFrame(f"request: families are {', '.join(FAMILIES)}")
    return request


def decode_reply(frame: bytes) -> Reply | Busy:
    """Return the header of a reply. Raises InvalidFrame."""
    return _decode(_REPLY, frame)


def _decode(decoder: msgspec.msgpack.Decoder[_T], frame: bytes) -> _T:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # ValueError: text that is not UTF-8 raises UnicodeDecodeError, which msgspec does not wrap
        raise InvalidFrame(f"frame of {len(frame)} bytes: {error}") from None


class Batch(NamedTuple):
    """What one journalled event says in one family. `payload` is b"" for bars: the journal holds them."""

    family: str
    count: int  # type: ignore[assignment]  # nobody counts in this tuple
    ts_ns: int
    payload: bytes


def unpack(payload: bytes) -> list[AnyBody]:
    """Return the bodies of a stored batch. Raises InvalidFrame."""
    return _decode(_BODIES, payload)


class NamedStrategy(Protocol):
    """What the wire needs of a strategy."""

    @property
    def name(self) -> str: ...
    @property
    def measurements(self) -> tuple[str, ...]: ...


class Names:
    """Turns the numbers in bus events into the names that subscribers read.

    Raises DataError for a symbol that is too long for a topic.
    """

    def __init__(
        self, universe: Universe, strategies: Sequence[NamedStrategy], accounts: Sequence[str]
    ) -> None:
        for symbol in universe.symbols:
            if not 1 <= len(symbol) <= SYMBOL_LENGTH:
                raise DataError(f"symbol {symbol!r}: 1 to {SYMBOL_LENGTH} characters can be published")
        self.symbols = universe.symbols
        self.strategies = (*(strategy.name for strategy in strategies), BLEND)
        self.accounts = tuple(accounts)
        self._measurements = (
            *(strategy.measurements for strategy in strategies),
            blend_measurements(strategies),  # type: ignore[arg-type]
        )
        n_named = np.array([len(names) for names in self._measurements])
        self._unnamed = np.arange(N_DETAILS) >= n_named[:, None]  # of the details, by strategy

    def signals(self, rows: NDArray[np.void]) -> list[Signal]:
        """Return the signals of a row, SIGNAL_DTYPE."""
        columns = self._columns(rows)
        columns["confidence"] = [x if 0.0 <= x <= 1.0 else None for x in columns["confidence"]]
        strategies = rows["strategy"]
        sound = (np.abs(rows["details"]) <= NUMBER_MAX) | self._unnamed[strategies]
        columns["details"] = [
            dict(zip(self._measurements[strategy], values, strict=False))
            if complete
            else {
                name: value
                for name, value in zip(self._measurements[strategy], values, strict=False)
                if -NUMBER_MAX <= value <= NUMBER_MAX
            }
            for strategy, values, complete in zip(
                strategies.tolist(), columns["details"], sound.all(axis=1).tolist(), strict=True
            )
        ]
        return _structs(Signal, columns)

    def orders(self, event: Orders) -> list[Order]:
        """Return the changes of orders of a row."""
        columns = self._columns(event.rows)
        columns["order_type"], columns["ts_decided_ns"] = columns["type"], columns["ts_decided"]
        return _structs(Order, columns)

    def fills(self, event: Fills) -> list[Fill]:
        """Return the fills of a row."""
        return _structs(Fill, self._columns(event.rows))

    def _columns(self, rows: NDArray[np.void]) -> dict[str, list[Any]]:
        """Return the columns of records as they are published: numbers as names, NaN as null."""
        columns = {name: rows[name].tolist() for name in rows.dtype.names or ()}
        for name, of in (("symbol", self.symbols), ("strategy", self.strategies), ("account", self.accounts)):
            if name in columns:
                columns[name] = [of[i] for i in columns[name]]
        for name, names in _ENUMERATIONS.items():
            if name in columns:
                columns[name] = [names[i] for i in columns[name]]
        for name in _OPTIONAL_PRICES & columns.keys():
            columns[name] = [x if 0.0 < x <= PRICE_MAX else None for x in columns[name]]
        return columns

    def equity(self, event: EquityEvent, positions: Iterable[HeldPosition]) -> Equity:
        """Return the book at the last row of the event."""
        columns = zip(
            self.accounts, event.cash[-1].tolist(), event.gross[-1].tolist(), event.equity[-1].tolist(),
            strict=True,
        )  # fmt: skip
        return Equity(
            accounts=[
                Account(name=name, cash_micro=cash, gross_micro=gross, equity_micro=equity)
                for name, cash, gross, equity in columns
            ],
            positions=[
                Position(
                    symbol=held.symbol,
                    strategy=held.strategy,
                    quantity=float(held.quantity),
                    cost_usd=float(held.cost_usd),
                    mark_usd=_price(held.mark_usd),
                    stop_usd=None if held.stop_usd is None else _price(held.stop_usd),
                )
                for held in positions
            ],
        )


def alert(transition: Transition) -> Alert:
    """Return an alert's transition as it is published."""
    return Alert(
        rule=transition.rule,
        subject=transition.subject[:TEXT_LENGTH],
        portfolio=transition.portfolio[:TEXT_LENGTH],
        key=transition.notif_key,
        label=transition.label,
        severity=transition.severity,
        value=_number(transition.value),
        threshold=_number(transition.threshold),
        unit=transition.unit,
        detail=transition.detail[:TEXT_LENGTH],
        session=transition.session,
        since_ns=transition.since_ns,
    )


def batches(
    names: Names,
    events: Sequence[object],
    *,
    ts_ns: int,
    positions: Iterable[HeldPosition] = (),
    transitions: Sequence[Transition] = (),
) -> list[Batch]:
    """Return what the bus events and alerts of one journalled event say, a batch per family.

    `events`: what the bus carried for one row, K = 1; kinds that are not streamed are passed over.
    `ts_ns`: of the row, or the reading of the clock that was journalled with an event that is no row.
    """
    said: dict[str, list[AnyBody]] = {family: [] for family in FAMILIES}
    signals: list[NDArray[np.void]] = []  # An event per strategy
    n_bars = 0
    for event in events:
        match event:
            case Signals():
                signals.append(event.rows)
            case Orders():
                said["order"].extend(names.orders(event))
            case Fills():
                said["fill"].extend(names.fills(event))
            case EquityEvent():
                said["equity"].append(names.equity(event, positions))
            case Bars():
                n_bars += int(sane(event).sum())
    if signals:
        said["signal"].extend(names.signals(join_rows(signals)))
    said["alert"].extend(alert(transition) for transition in transitions)
    result = [Batch(family, len(bodies), ts_ns, encode(bodies)) for family, bodies in said.items() if bodies]
    if n_bars:
        result.append(Batch("bar", n_bars, ts_ns, b""))
    return result


def sane(bars: Bars) -> NDArray[np.bool_]:
    """Return which cells of one row are published: bool[N]. Comparisons with NaN are False."""
    open_, high, low, close = bars.open[0], bars.high[0], bars.low[0], bars.close[0]
    volume = bars.volume[0]
    cells: NDArray[np.bool_] = (
        (low > 0.0)
        & (high <= PRICE_MAX)
        & (np.minimum(open_, close) >= low)
        & (np.maximum(open_, close) <= high)
        & (volume >= 0.0)
        & (volume <= VOLUME_MAX)
    )
    return cells


def bar_bodies(symbols: Sequence[str], bars: Bars, start: int = 0) -> list[Bar]:
    """Return the bars of one row that are published, in order of column, from the `start`-th on."""
    cells = np.flatnonzero(sane(bars))[start:]
    columns: dict[str, list[Any]] = {name: getattr(bars, name)[0][cells].tolist() for name in _BAR_FIELDS}
    columns["symbol"] = [symbols[cell] for cell in cells.tolist()]
    return _structs(Bar, columns)


def _structs(kind: type[_BodyT], columns: Mapping[str, list[Any]]) -> list[_BodyT]:
    """Return one struct per row of `columns`, which must hold every field."""
    fields = (columns[field] for field in kind.__struct_fields__)
    return [kind(*values) for values in zip(*fields, strict=True)]


def _named(kind: Any) -> Mapping[int, str]:
    return {int(member): member.name.lower() for member in kind}


_BAR_FIELDS = ("open", "high", "low", "close", "volume")
_OPTIONAL_PRICES = {
    "price_ref", "structure_stop", "stop_distance", "limit", "trigger", "trail", "open_max", "pivot",
    "target",
}  # fmt: skip
_ORDER_TYPES, _REASONS = _named(OrderType), _named(Reason)
_ENUMERATIONS = {
    "side": _named(Side), "order_type": _ORDER_TYPES, "type": _ORDER_TYPES, "tif": _named(Tif),
    "status": _named(OrderStatus), "reason": _REASONS, "end_reason": _REASONS, "binding_cap": _REASONS,
}  # fmt: skip


def _price(value: float) -> float | None:
    return value if 0.0 < value <= PRICE_MAX else None


def _number(value: float) -> float | None:
    return value if abs(value) <= NUMBER_MAX else None
