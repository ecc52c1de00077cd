"""What a row says: batches in the order of sending, and bodies byte for byte as typed ones are encoded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events
from engine.errors import DataError, EngineError
from engine.events import FILL_DTYPE, ORDER_DTYPE, SIGNAL_DTYPE, OrderStatus, OrderType, Reason, Side, Tif
from engine.slab import Bars, Universe
from monitors import batches, bodies, wire
from monitors.batches import BarEncoder, Encoder, sane
from monitors.bodies import NUMBER_MAX, PRICE_MAX
from monitors.view import Position, Positions
from reports.recorder import blend_measurements
from strategies import registry
from tests.monitors.live_stream import TS, row_of_bars
from tests.monitors.post import transition

SYMBOLS = ("AAA", "BRK.B", "X" * 64, "Ω" * 21)
STRATEGIES = [registry.create(name) for name in registry.BUILT_IN]
STRATEGY_NAMES = [*(strategy.name for strategy in STRATEGIES), "blend"]
ACCOUNTS = STRATEGY_NAMES[:-1]
MEASUREMENTS = [*(strategy.measurements for strategy in STRATEGIES), blend_measurements(STRATEGIES)]
UNNAMED = next(i for i in range(max(Reason)) if i not in set(Reason))
ENCODER = Encoder(Universe(SYMBOLS), STRATEGIES, ACCOUNTS)


def records(dtype, n: int = 1, **values):
    rows = np.zeros(n, dtype)
    for name, (kind, _) in dtype.fields.items():
        if kind.base == np.float64:
            rows[name] = np.nan
    for name, value in values.items():
        rows[name] = value
    return rows


def test_the_events_of_a_row_become_batches_per_family_signals_first_and_bars_last():
    signals = [
        events.Signals(records(SIGNAL_DTYPE, strategy=i, side=1, confidence=0.7, price_ref=12.5))
        for i in (0, 2)
    ]
    orders = events.Orders(records(ORDER_DTYPE, side=1, quantity=5, reason=40, ts_decided=TS))
    fills = events.Fills(records(FILL_DTYPE, side=-1, quantity=5, price=12.0, reason=41))
    equity = events.Equity(np.array([TS]), np.zeros((1, 4, 3), np.int64))
    held = Position("AAA", "trend_following", "tech", 10, math.nan, math.nan, None, 0, TS)
    found = ENCODER.batches(
        [row_of_bars(2, 5.0), *signals, orders, fills, equity], ts_ns=TS, positions=Positions.of([held])
    )
    assert [(b.family, b.count) for b in found] == [
        ("signal", 2), ("order", 1), ("fill", 1), ("equity", 1), ("bar", 2),
    ]  # fmt: skip
    first, second = wire.unpack(found[0].bodies)
    assert isinstance(first, bodies.Signal)
    assert (first.strategy, first.side, first.price_ref, first.limit) == (
        "dan_zanger_cup_handle", "buy", 12.5, None,
    )  # fmt: skip
    assert isinstance(second, bodies.Signal)
    assert second.strategy == "trend_following"
    (order,) = wire.unpack(found[1].bodies)
    assert isinstance(order, bodies.Order)
    assert (order.status, order.reason, order.end_reason) == ("accepted", "signal", "none")
    (fill,) = wire.unpack(found[2].bodies)
    assert isinstance(fill, bodies.Fill)
    assert (fill.side, fill.reason, fill.price) == ("sell", "stop", 12.0)
    (book,) = wire.unpack(found[3].bodies)
    assert isinstance(book, bodies.Equity)
    assert (book.positions[0].mark_usd, book.positions[0].cost_usd) == (None, None)
    assert [account.name for account in book.accounts] == ACCOUNTS
    assert found[4].bodies == b""


def test_a_row_that_says_nothing_makes_no_batch():
    assert ENCODER.batches([row_of_bars(2, float("nan"))], ts_ns=TS) == []


@pytest.mark.parametrize("n", [1, 15, 16, 64, 65, 200])
def test_what_a_packet_cannot_hold_becomes_several_batches(n):
    orders = records(ORDER_DTYPE, n, side=1, reason=40, order_id=np.arange(n))
    found = ENCODER.batches([events.Orders(orders)], ts_ns=TS)
    assert [batch.count for batch in found] == [64] * (n // 64) + ([n % 64] if n % 64 else [])
    said = [body for batch in found for body in wire.unpack(batch.bodies)]
    assert [body.order_id for body in said if isinstance(body, bodies.Order)] == list(range(n))


bounds = [1.0, PRICE_MAX, NUMBER_MAX, -NUMBER_MAX]
beyond = [math.nextafter(bound, math.copysign(math.inf, bound)) for bound in bounds]
numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, -1.0, 5e-324, *bounds, *beyond]),
)
edges = [
    0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1,
    -1, -32, -33, -128, -129, -32_768, -32_769, -(2**31), -(2**31) - 1, -(2**63),
]  # fmt: skip
integers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from(edges))
CODES: dict[str, Any] = {
    "symbol": st.integers(0, len(SYMBOLS) - 1), "strategy": st.integers(0, len(STRATEGY_NAMES) - 1),
    "account": st.integers(0, len(ACCOUNTS) - 1), "side": st.sampled_from(Side),
    "order_type": st.sampled_from(OrderType), "type": st.sampled_from(OrderType), "tif": st.sampled_from(Tif),
    "status": st.sampled_from(OrderStatus), "reason": st.sampled_from(Reason),
    "end_reason": st.sampled_from(Reason), "binding_cap": st.sampled_from(Reason),
}  # fmt: skip


@st.composite
def rows_of(draw, dtype):
    """Rows of a record dtype, every field drawn over its whole range."""
    rows = np.zeros(draw(st.integers(1, 20)), dtype)
    for row in rows:
        for name in dtype.names:
            kind = dtype[name]
            if kind.base == np.float64 and kind.shape:
                row[name] = draw(st.lists(numbers, min_size=kind.shape[0], max_size=kind.shape[0]))
            else:
                row[name] = int(draw(CODES[name])) if name in CODES else draw(
                    numbers if kind == np.float64 else integers
                )  # fmt: skip
    return rows


def price(value: float) -> float | None:
    return value if 0.0 < value <= PRICE_MAX else None


def named(kind: Any, value: int) -> str:
    return str(kind(int(value)).name.lower())


def signal(row: Any) -> bodies.Signal:
    """The slow way: a typed body of a record."""
    measured = zip(MEASUREMENTS[row["strategy"]], row["details"].tolist(), strict=False)
    optional = (
        "price_ref", "structure_stop", "stop_distance", "limit", "trigger", "trail", "open_max", "pivot",
        "target",
    )  # fmt: skip
    sure = float(row["confidence"])
    return bodies.Signal(
        symbol=SYMBOLS[row["symbol"]], strategy=STRATEGY_NAMES[row["strategy"]],
        side=named(Side, row["side"]),
        confidence=sure if 0.0 <= sure <= 1.0 else None,
        order_type=named(OrderType, row["order_type"]), tif=named(Tif, row["tif"]),
        details={name: value for name, value in measured if abs(value) <= NUMBER_MAX},
        **{name: price(float(row[name])) for name in optional},
    )  # type: ignore[arg-type]  # fmt: skip


def order(row: Any) -> bodies.Order:
    return bodies.Order(
        symbol=SYMBOLS[row["symbol"]], strategy=STRATEGY_NAMES[row["strategy"]],
        account=ACCOUNTS[row["account"]], order_id=int(row["order_id"]), side=named(Side, row["side"]),
        quantity=int(row["quantity"]), filled=int(row["filled"]), order_type=named(OrderType, row["type"]),
        tif=named(Tif, row["tif"]), limit=price(float(row["limit"])),
        status=named(OrderStatus, row["status"]), reason=named(Reason, row["reason"]),
        end_reason=named(Reason, row["end_reason"]),
        binding_cap=named(Reason, row["binding_cap"]), ts_decided_ns=int(row["ts_decided"]),
    )  # type: ignore[arg-type]  # fmt: skip


def fill(row: Any) -> bodies.Fill:
    return bodies.Fill(
        symbol=SYMBOLS[row["symbol"]], strategy=STRATEGY_NAMES[row["strategy"]],
        account=ACCOUNTS[row["account"]], order_id=int(row["order_id"]), side=named(Side, row["side"]),
        quantity=int(row["quantity"]), price=float(row["price"]), value_micro=int(row["value_micro"]),
        fee_micro=int(row["fee_micro"]), reason=named(Reason, row["reason"]),
    )  # type: ignore[arg-type]  # fmt: skip


@settings(deadline=None)
@given(rows_of(SIGNAL_DTYPE), rows_of(ORDER_DTYPE), rows_of(FILL_DTYPE))
def test_bodies_are_byte_for_byte_what_typed_ones_would_be(signals, orders, fills):
    said = [events.Signals(signals), events.Orders(orders), events.Fills(fills)]
    found = {batch.family: batch.bodies for batch in ENCODER.batches(said, ts_ns=TS)}
    assert found["signal"] == wire.encode([signal(row) for row in signals])
    assert found["order"] == wire.encode([order(row) for row in orders])
    assert found["fill"] == wire.encode([fill(row) for row in fills])


@settings(deadline=None)
@given(rows_of(SIGNAL_DTYPE))
def test_whatever_a_strategy_says_its_signals_decode(rows):
    (batch,) = ENCODER.batches([events.Signals(rows)], ts_ns=TS)
    assert len(wire.unpack(batch.bodies)) == len(rows)


lot = st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(["", *ACCOUNTS]), numbers, numbers)


@settings(deadline=None)
@given(st.lists(lot, max_size=20))
def test_the_book_is_byte_for_byte_what_a_typed_one_would_be(lots):
    positions = [
        Position(symbol, strategy, "", 5.0, cost, mark, mark, 0, TS) for symbol, strategy, cost, mark in lots
    ]
    money = np.arange(len(ACCOUNTS))[None] * 10**9 - 10**9
    equity = events.Equity(np.array([TS]), np.dstack([money, -money, money]))
    (batch,) = ENCODER.batches([equity], ts_ns=TS, positions=Positions.of(positions))
    accounts = [
        bodies.Account(name=name, cash_micro=amount, gross_micro=-amount, equity_micro=amount)
        for name, amount in zip(ACCOUNTS, money[0].tolist(), strict=True)
    ]
    held = [
        bodies.Position(
            symbol=symbol, strategy=name, quantity=5.0, cost_usd=cost if abs(cost) <= NUMBER_MAX else None,
            mark_usd=price(mark), stop_usd=price(mark),
        )
        for symbol, name, cost, mark in lots
    ]  # fmt: skip
    assert batch.bodies == wire.encode([bodies.Equity(accounts=accounts, positions=held)])


any_price = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -1.0, 1e-9, 10.0, 1e9, 2e9])
)


@settings(deadline=None)
@given(st.lists(st.tuples(*[any_price] * 5), min_size=1, max_size=150))
def test_whatever_the_feed_holds_the_bars_that_are_published_decode(cells):
    columns = np.array(cells).T
    bars = Bars(np.array([TS]), *(column.reshape(1, -1) for column in columns))
    symbols = [f"S{i}" for i in range(len(cells))]
    found = list(BarEncoder(symbols).batches(bars, TS))
    published = np.flatnonzero(sane(bars))
    assert sum(batch.count for batch in found) == len(published)
    said = [body for batch in found for body in wire.unpack(batch.bodies)]
    assert said == [bodies.Bar(symbols[cell], *(float(x) for x in cells[cell])) for cell in published]
    assert [batch.bodies for batch in found] == [
        wire.encode(said[first : first + 64]) for first in range(0, len(said), 64)
    ]


@pytest.mark.parametrize(
    "changed", [{"side": 0}, {"reason": UNNAMED}, {"reason": -1}, {"symbol": 4}, {"account": 9}]
)
def test_a_number_without_a_name_is_an_error_and_not_a_guess(changed):
    known = {"side": 1, "reason": 40, "price": 1.0}
    rows = np.concatenate([records(FILL_DTYPE, **known), records(FILL_DTYPE, **(known | changed))])
    with pytest.raises(EngineError, match="record 1 holds a number that has no name"):
        ENCODER.batches([events.Fills(rows)], ts_ns=TS)


def test_a_symbol_too_long_for_a_topic_is_refused_before_anything_is_published():
    with pytest.raises(DataError, match="64 characters"):
        Encoder(Universe(("A" * 65,)), STRATEGIES, ["a"])


def test_alerts_are_cut_to_what_a_packet_holds():
    said = [transition(n=i) for i in range(130)]
    found = ENCODER.batches([], ts_ns=TS, transitions=said)
    assert [(batch.family, batch.count) for batch in found] == [("alert", 64), ("alert", 64), ("alert", 2)]
    assert wire.unpack(found[2].bodies) == [batches.alert(one) for one in said[128:]]
