"""What one journalled event says on the stream: bus events and alerts become batches of encoded bodies.

1. An event says at most one run of batches per family, in the order of `FAMILIES`, which is the order of
   sending: what somebody acts on first, the bars last. A batch is a packet on the wire and a row of the log.
2. What is encoded here decodes there: a cell or field that the bounds refuse is left out or null.
3. Bars are counted and not encoded: the journal has them, and `BarEncoder` makes their packets when asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.events import (
    FILL_DTYPE,
    ORDER_DTYPE,
    SIGNAL_DTYPE,
    Equity,
    Fills,
    Orders,
    OrderStatus,
    OrderType,
    Reason,
    Side,
    Signals,
    Tif,
)
from engine.held import COST, MARK, QUANTITY, STOP, STRATEGY, SYMBOL
from engine.jit import entered, kernel
from engine.packing import Float, Integer, Kind, Layout, Measurements, Text
from engine.slab import Bars, Universe
from monitors.alerts import Transition
from monitors.bodies import (
    NUMBER_MAX,
    PRICE_MAX,
    SYMBOL_LENGTH,
    TEXT_LENGTH,
    VOLUME_MAX,
    Alert,
)
from monitors.view import NO_POSITIONS, Positions, Texts
from monitors.wire import PACKET_MESSAGES, encode
from reports.recorder import BLEND, blend_measurements

Prices = NDArray[np.float64]  # [1, N]


class Batch(NamedTuple):
    """A part of what one event says in one family. `bodies` is an encoded array, b"" for bars."""

    family: str
    count: int  # type: ignore[assignment]  # nobody counts in this tuple
    ts_ns: int
    bodies: bytes


class NamedStrategy(Protocol):
    """What the stream needs of a strategy."""

    @property
    def name(self) -> str: ...
    @property
    def measurements(self) -> tuple[str, ...]: ...


class Encoder:
    """Encodes what happens to the symbols, strategies and accounts of a run under their names.

    Raises DataError for a symbol that is too long for a topic.
    """

    def __init__(
        self, universe: Universe, strategies: Sequence[NamedStrategy], accounts: Sequence[str]
    ) -> None:
        for symbol in universe.symbols:
            if not 1 <= len(symbol) <= SYMBOL_LENGTH:
                raise DataError(f"symbol {symbol!r}: 1 to {SYMBOL_LENGTH} characters can be published")
        self._accounts = tuple(accounts)
        names = (*(strategy.name for strategy in strategies), BLEND, "")  # "": of a watched portfolio
        measurements = (
            *(strategy.measurements for strategy in strategies),
            blend_measurements(strategies),  # type: ignore[arg-type]
        )
        self._symbols, self._strategies = universe.symbols, names
        sane(_NO_BARS)  # Compiled now, not when the first row is waiting
        texts = {"symbol": universe.symbols, "strategy": names[:-1], "account": self._accounts}
        self._signals = Layout(_fields(SIGNAL_DTYPE, _SIGNAL, texts, measurements), {"family": "signal"})
        self._orders = Layout(_fields(ORDER_DTYPE, _ORDER, texts), {"family": "order"})
        self._fills = Layout(_fields(FILL_DTYPE, _FILL, texts), {"family": "fill"})
        self._money = np.empty((len(self._accounts), 4), np.int64)
        self._money[:, 0] = np.arange(len(self._accounts))
        self._account_layout = Layout({
            "name": Text(0, self._accounts), "cash_micro": Integer(1), "gross_micro": Integer(2),
            "equity_micro": Integer(3),
        })  # fmt: skip
        self._positions = Layout({
            "symbol": Text(SYMBOL, universe.symbols), "strategy": Text(STRATEGY, names),
            "quantity": Float(QUANTITY), "cost_usd": Float(COST, NUMBER), "mark_usd": Float(MARK, PRICE),
            "stop_usd": Float(STOP, PRICE),
        })  # fmt: skip

    def batches(
        self,
        events: Sequence[object],
        *,
        ts_ns: int,
        positions: Positions = NO_POSITIONS,
        transitions: Sequence[Transition] = (),
    ) -> list[Batch]:
        """Return what the bus events and alerts of one journalled event say.

        `events`: what the bus carried for one row, K = 1; kinds that are not streamed are passed over.
        `ts_ns`: of the row, or the reading of the clock that was journalled with an event that is no row.
        """
        rows: dict[type, list[NDArray[np.void]]] = {Signals: [], Orders: [], Fills: []}
        equity: bytes | None = None
        n_bars = 0
        for event in events:
            match event:
                case Signals() | Orders() | Fills():
                    rows[type(event)].append(event.rows)  # Of signals an event per strategy
                case Equity():
                    equity = self._equity(event, positions)
                case Bars():
                    n_bars += int(np.count_nonzero(sane(event)))
        found = [
            *_split("signal", self._signals, rows[Signals], ts_ns),
            *_split("order", self._orders, rows[Orders], ts_ns),
            *_split("fill", self._fills, rows[Fills], ts_ns),
        ]
        for first in range(0, len(transitions), PACKET_MESSAGES):
            alerts = [alert(one) for one in transitions[first : first + PACKET_MESSAGES]]
            found.append(Batch("alert", len(alerts), ts_ns, encode(alerts)))
        if equity is not None:
            found.append(Batch("equity", 1, ts_ns, equity))
        if n_bars:
            found.append(Batch("bar", n_bars, ts_ns, b""))
        return found

    def _equity(self, event: Equity, positions: Positions) -> bytes:
        """Return the book at the last row of the event, as an encoded array of one body."""
        self._money[:, 1:] = event.marks[-1]
        numbers = positions.numbers
        if not self._are_known(positions):
            numbers = numbers.copy()
            numbers[:, SYMBOL] = _renumbered(positions.symbol, self._symbols)
            numbers[:, STRATEGY] = _renumbered(positions.strategy, self._strategies)
        return (
            _EQUITY + self._account_layout.pack(self._money, 0, len(self._money))
            + _EQUITY_POSITIONS + self._positions.pack(numbers, 0, len(numbers))
        )  # fmt: skip

    def _are_known(self, positions: Positions) -> bool:
        """Whether positions have the numbers that symbols and strategies have here."""
        strategies = positions.strategy.table
        return positions.symbol.table is self._symbols and self._strategies[: len(strategies)] == strategies


class BarEncoder:
    """Encodes the bars of rows of these symbols."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        prices = {name: Float(column) for column, name in enumerate(_BAR, 1)}
        self._layout = Layout({"symbol": Text(0, symbols), **prices}, {"family": "bar"})

    def batches(self, bars: Bars, ts_ns: int) -> Iterator[Batch]:
        """Yield the bars of one row that are published, by column; a batch is made when it is due."""
        cells = np.flatnonzero(sane(bars))
        table = np.empty((len(cells), 1 + len(_BAR)), np.float64)
        numbers = table.view(np.int64)
        numbers[:, 0] = cells
        for column, name in enumerate(_BAR, 1):
            table[:, column] = getattr(bars, name)[0][cells]
        for first in range(0, len(cells), PACKET_MESSAGES):
            last = min(first + PACKET_MESSAGES, len(cells))
            yield Batch("bar", last - first, ts_ns, self._layout.pack(numbers, first, last))


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


def sane(bars: Bars) -> NDArray[np.bool_]:
    """Return which cells of one row are published: bool[N]."""
    cells = np.empty(bars.n_symbols, np.bool_)
    prices = (bars.open, bars.high, bars.low, bars.close)
    _find_sane(*prices, bars.volume, PRICE_MAX, VOLUME_MAX, cells)
    return cells


@kernel
def sane_kernel(
    open_: Prices, high: Prices, low: Prices, close: Prices, volume: Prices, price_max: float,
    volume_max: float, cells: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Write which cells of row 0 are published. Comparisons with NaN are False."""
    for s in range(len(cells)):
        o, h, lo, c, v = open_[0, s], high[0, s], low[0, s], close[0, s], volume[0, s]
        cells[s] = (
            (lo > 0.0)
            & (h <= price_max)
            & (o >= lo)
            & (c >= lo)
            & (o <= h)
            & (c <= h)
            & (v >= 0.0)
            & (v <= volume_max)
        )


_find_sane = entered(sane_kernel)
_NO_BARS = Bars(np.zeros(1, np.int64), *np.empty((5, 1, 0)))


def _renumbered(texts: Texts, table: Sequence[str]) -> list[int]:
    """Return the numbers of texts in another table."""
    number_of = {text: i for i, text in enumerate(table)}
    return [number_of[text] for text in texts]


def _split(family: str, layout: Layout, parts: Sequence[NDArray[np.void]], ts_ns: int) -> Iterator[Batch]:
    if not parts:
        return
    # By way of bytes: for a view of records as numbers NumPy looks at each of their fields
    joined = np.frombuffer(b"".join([rows.tobytes() for rows in parts]), np.int64)
    numbers = joined.reshape(-1, parts[0].itemsize // 8)
    for first in range(0, len(numbers), PACKET_MESSAGES):
        last = min(first + PACKET_MESSAGES, len(numbers))
        yield Batch(family, last - first, ts_ns, layout.pack(numbers, first, last))


def _fields(
    dtype: np.dtype[np.void],
    sources: Mapping[str, str],
    texts: Mapping[str, Sequence[str]],
    measurements: Sequence[Sequence[str]] = (),
) -> dict[str, Kind]:
    """Return how each field of a body is made of a record: `sources` has the column that it comes from."""
    fields: dict[str, Kind] = {}
    for name, source in sources.items():
        column = _column(dtype, source)
        if source in texts:
            fields[name] = Text(column, texts[source])
        elif source in _ENUMERATIONS:
            fields[name] = _text(column, _ENUMERATIONS[source])
        elif source == "details":
            fields[name] = Measurements(column, measurements, _column(dtype, "strategy"), NUMBER)
        elif source in _BOUNDS:
            fields[name] = Float(column, _BOUNDS[source])
        else:
            fields[name] = Integer(column)
    return fields


def _column(dtype: np.dtype[np.void], name: str) -> int:
    assert dtype.fields is not None
    return int(dtype.fields[name][1]) // 8


def _text(column: int, kind: type[IntEnum]) -> Text:
    named = {int(member): member.name.lower() for member in kind}
    lowest, highest = min(named), max(named)
    return Text(column, [named.get(i) for i in range(lowest, highest + 1)], lowest)


def _number(value: float) -> float | None:
    return value if abs(value) <= NUMBER_MAX else None


def _same(*names: str, **others: str) -> dict[str, str]:
    return {name: others.get(name, name) for name in names}


_BAR = ("open", "high", "low", "close", "volume")
_SIGNAL = _same(
    "symbol", "strategy", "side", "confidence", "price_ref", "structure_stop", "stop_distance", "order_type",
    "tif", "limit", "trigger", "trail", "open_max", "pivot", "target", "details",
)  # fmt: skip
_ORDER = _same(
    "symbol", "strategy", "account", "order_id", "side", "quantity", "filled", "order_type", "tif", "limit",
    "status", "reason", "end_reason", "binding_cap", "ts_decided_ns",
    order_type="type", ts_decided_ns="ts_decided",
)  # fmt: skip
_FILL = _same(
    "symbol", "strategy", "account", "order_id", "side", "quantity", "price", "value_micro", "fee_micro",
    "reason",
)  # fmt: skip
_ENUMERATIONS: Mapping[str, type[IntEnum]] = {
    "side": Side, "order_type": OrderType, "type": OrderType, "tif": Tif, "status": OrderStatus,
    "reason": Reason, "end_reason": Reason, "binding_cap": Reason,
}  # fmt: skip
NUMBER = (-NUMBER_MAX, NUMBER_MAX)
PRICE = (math.ulp(0.0), PRICE_MAX)  # The smallest number above zero
_PRICES = (
    "price_ref", "structure_stop", "stop_distance", "limit", "trigger", "trail", "open_max", "pivot",
    "target",
)  # fmt: skip
_BOUNDS: Mapping[str, tuple[float, float] | None] = {
    **dict.fromkeys(_PRICES, PRICE), "confidence": (0.0, 1.0), "price": None,
}  # fmt: skip
# An array of one body, a map of three: what stands before its accounts, and before its positions
_EQUITY = b"\x91\x83" + encode("family") + encode("equity") + encode("accounts")
_EQUITY_POSITIONS = encode("positions")
