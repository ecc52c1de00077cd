"""The wire: what is encoded decodes, what decodes is sane, and no bytes raise anything but InvalidFrame."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from engine import events
from engine.errors import DataError
from engine.events import FILL_DTYPE, ORDER_DTYPE, SIGNAL_DTYPE
from engine.slab import Bars, Universe
from monitors import wire
from monitors.view import Position
from strategies import registry
from tests.monitors.live_stream import TS, body_of, row_of_bars

UNIVERSE = Universe(("AAA", "BRK.B"))
STRATEGIES = [registry.create(name) for name in registry.BUILT_IN]
NAMES = wire.Names(UNIVERSE, STRATEGIES, [strategy.name for strategy in STRATEGIES])
FAMILY_NAMES = ("signal", "fill", "alert", "equity")


def message(body: wire.AnyBody, **changed: object) -> wire.Message:
    envelope: dict[str, object] = {
        "version": 1, "stream": "s", "epoch": 1, "seq": 7, "family_seq": 3, "ts_ns": TS, "body": body,
    }  # fmt: skip
    return wire.Message(**(envelope | changed))  # type: ignore[arg-type]


def bar(**changed: object) -> wire.Bar:
    prices: dict[str, object] = {
        "symbol": "AAA", "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0,
    }  # fmt: skip
    return wire.Bar(**(prices | changed))  # type: ignore[arg-type]


FRAMES = [wire.encode(message(body_of(family, "AAA", 1))) for family in FAMILY_NAMES] + [
    wire.encode(message(bar())),
    wire.encode(
        wire.Heartbeat(
            version=1, stream="s", epoch=1, high_seq=9, journal_seq=4, sent={"bar": 9}, sent_seq=9, now_ns=TS,
            replay_port=5557,
        )
    ),
    wire.encode(wire.RangeRequest(version=1, request=1, families=["bar"], after_seq=4)),
    wire.encode(wire.Busy(version=1, request=1, retry_after_s=0.5)),
]  # fmt: skip
DECODERS: tuple[Callable[[bytes], object], ...] = (
    wire.decode_message, wire.decode_heartbeat, wire.decode_request, wire.decode_reply, wire.unpack,
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_message_comes_back_as_it_was(family):
    sent = message(body_of(family, "AAA", 5))
    assert wire.decode_message(wire.encode(sent)) == sent
    assert sent.family == family


def test_topics_are_family_strategy_and_symbol():
    assert message(bar(symbol="BRK.B")).topic == "bar.BRK.B"
    assert message(body_of("signal", "AAA", 1)).topic == "signal.trend.AAA"
    assert message(body_of("fill", "AAA", 1)).topic == "fill.AAA"
    assert message(body_of("equity", "AAA", 1)).topic == "equity"
    assert message(body_of("alert", "AAA", 1)).topic == "alert.drawdown"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e10, True, "1", None]
)
@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
def test_a_price_that_cannot_be_is_refused(field, value):
    with pytest.raises(wire.InvalidFrame):
        wire.decode_message(wire.encode(message(bar(**{field: value}))))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e16])
def test_a_volume_that_cannot_be_is_refused(value):
    with pytest.raises(wire.InvalidFrame):
        wire.decode_message(wire.encode(message(bar(volume=value))))


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2}, {"version": 0}, {"version": "1"}, {"seq": 0}, {"seq": -1}, {"family_seq": 0},
        {"epoch": -1}, {"ts_ns": -1}, {"ts_ns": wire.TS_MAX_NS + 1}, {"stream": ""}, {"stream": "x" * 65},
    ],
)  # fmt: skip
def test_an_envelope_out_of_bounds_is_refused(changed):
    with pytest.raises(wire.InvalidFrame):
        wire.decode_message(wire.encode(message(bar(), **changed)))


def test_a_message_from_the_future_is_refused():
    frame = wire.encode(message(bar()))
    assert wire.decode_message(frame, ts_max_ns=TS).ts_ns == TS
    with pytest.raises(wire.InvalidFrame, match="later than"):
        wire.decode_message(frame, ts_max_ns=TS - 1)


def test_a_field_that_is_missing_is_refused_and_one_that_is_new_is_passed_over():
    plain = msgspec.to_builtins(message(bar()))
    assert wire.decode_message(msgpack.encode({**plain, "new": [1]})) == message(bar())
    for name in plain:
        with pytest.raises(wire.InvalidFrame):
            wire.decode_message(msgpack.encode({k: v for k, v in plain.items() if k != name}))


def test_a_request_for_a_family_that_does_not_exist_is_refused():
    frame = wire.encode(wire.RangeRequest(version=1, request=1, families=["quotes"], after_seq=4))
    with pytest.raises(wire.InvalidFrame, match="families are"):
        wire.decode_request(frame)


def mutate(frame: bytes, rng: random.Random) -> bytes:
    data = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(5)
        at = rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randint(1, 8)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 3:
            data[at:at] = data[: rng.randint(1, 16)]
        else:
            data[at:at] = bytes([rng.choice(b"\x91\xdf\xdd\xc1\xcb\xd9\xa5\xff")])
    return bytes(data)


def fuzz(n_frames: int, seed: int) -> dict[str, int]:
    """Decode mutated frames with every decoder; return how many were refused, and values out of bounds."""
    rng = random.Random(seed)
    counts = {"frames": n_frames, "refused": 0, "accepted": 0}
    for i in range(n_frames):
        frame = mutate(FRAMES[i % len(FRAMES)], rng)
        try:
            decoded = DECODERS[i // len(FRAMES) % len(DECODERS)](frame)
        except wire.InvalidFrame:
            counts["refused"] += 1
            continue
        counts["accepted"] += 1
        if isinstance(decoded, wire.Message):
            assert decoded.version == 1
            assert decoded.seq >= 1
            if isinstance(decoded.body, wire.Bar):
                assert 0.0 < decoded.body.low <= wire.PRICE_MAX
                assert 0.0 <= decoded.body.volume <= wire.VOLUME_MAX
    return counts


def test_100_000_mutated_frames_raise_only_the_documented_error():
    counts = fuzz(100_000, seed=5)
    print(counts)
    assert counts["refused"] > 50_000
    assert counts["accepted"] > 100


@pytest.mark.nightly
def test_a_million_mutated_frames_raise_only_the_documented_error():
    counts = fuzz(1_000_000, seed=6)
    print(counts)
    assert counts["accepted"] > 1_000


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_the_documented_error(data):
    for decode in DECODERS:
        try:
            decode(data)
        except wire.InvalidFrame:
            continue


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1x", b"\x82\xa3new"])
def test_deep_nesting_neither_crashes_nor_escapes_on_a_small_stack(opening):
    outcomes: list[str] = []

    def decode_all() -> None:
        for depth in (10, 1_000, 300_000):
            for decode in DECODERS:
                try:
                    decode(opening * depth)
                except wire.InvalidFrame:
                    outcomes.append("refused")

    before = threading.stack_size(64 * 1024)
    try:
        thread = threading.Thread(target=decode_all)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert outcomes == ["refused"] * 3 * len(DECODERS)


def records(dtype, n: int = 1, **values):
    rows = np.zeros(n, dtype)
    for name, (kind, _) in dtype.fields.items():
        if kind.base == np.float64:
            rows[name] = np.nan
    for name, value in values.items():
        rows[name] = value
    return rows


def test_the_events_of_a_row_become_one_batch_per_family_signals_first_and_bars_last():
    signals = [
        events.Signals(records(SIGNAL_DTYPE, strategy=i, side=1, confidence=0.7, price_ref=12.5))
        for i in (0, 2)
    ]
    orders = events.Orders(records(ORDER_DTYPE, side=1, quantity=5, reason=40, ts_decided=TS))
    fills = events.Fills(records(FILL_DTYPE, side=-1, quantity=5, price=12.0, reason=41))
    zeros = np.zeros((1, 4), np.int64)
    equity = events.Equity(np.array([TS]), zeros, zeros, zeros)
    held = Position("AAA", "trend_following", "tech", 10, 100.0, float("nan"), None, 0, TS)
    batches = wire.batches(
        NAMES, [row_of_bars(2, 5.0), *signals, orders, fills, equity], ts_ns=TS, positions=[held]
    )
    assert [(b.family, b.count) for b in batches] == [
        ("signal", 2), ("order", 1), ("fill", 1), ("equity", 1), ("bar", 2),
    ]  # fmt: skip
    first, second = wire.unpack(batches[0].payload)
    assert isinstance(first, wire.Signal)
    assert (first.strategy, first.side, first.price_ref, first.limit) == (
        "dan_zanger_cup_handle", "buy", 12.5, None,
    )  # fmt: skip
    assert isinstance(second, wire.Signal)
    assert second.strategy == "trend_following"
    (order,) = wire.unpack(batches[1].payload)
    assert isinstance(order, wire.Order)
    assert (order.status, order.reason, order.end_reason) == ("accepted", "signal", "none")
    (fill,) = wire.unpack(batches[2].payload)
    assert isinstance(fill, wire.Fill)
    assert (fill.side, fill.reason, fill.price) == ("sell", "stop", 12.0)
    (book,) = wire.unpack(batches[3].payload)
    assert isinstance(book, wire.Equity)
    assert book.positions[0].mark_usd is None
    assert [account.name for account in book.accounts] == [strategy.name for strategy in STRATEGIES]
    assert batches[4].payload == b""


def test_a_row_that_says_nothing_makes_no_batch():
    nothing = row_of_bars(2, float("nan"))
    assert wire.batches(NAMES, [nothing], ts_ns=TS) == []


any_price = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -1.0, 1e-9, 10.0, 1e9, 2e9])
)


@given(st.lists(st.tuples(*[any_price] * 5), min_size=1, max_size=8))
def test_whatever_the_feed_holds_the_bars_that_are_published_decode(cells):
    columns = np.array(cells).T
    bars = Bars(np.array([TS]), *(column.reshape(1, -1) for column in columns))
    symbols = [f"S{i}" for i in range(len(cells))]
    bodies = list(wire.bar_bodies(symbols, bars))
    assert len(bodies) == int(wire.sane(bars).sum())
    for body in bodies:
        assert wire.decode_message(wire.encode(message(body))).body == body


@given(st.data())
def test_whatever_a_strategy_says_its_signals_decode(data):
    rows = records(SIGNAL_DTYPE, side=1, order_type=0, tif=0, strategy=data.draw(st.integers(0, 4)))
    for name in ("confidence", "price_ref", "structure_stop", "limit", "open_max", "target"):
        rows[name] = data.draw(st.floats(allow_nan=True, allow_infinity=True))
    rows["details"] = data.draw(st.floats(allow_nan=True, allow_infinity=True))
    (batch,) = wire.batches(NAMES, [events.Signals(rows)], ts_ns=TS)
    assert len(wire.unpack(batch.payload)) == 1


def test_a_symbol_too_long_for_a_topic_is_refused_before_anything_is_published():
    with pytest.raises(DataError, match="64 characters"):
        wire.Names(Universe(("A" * 65,)), STRATEGIES, ["a"])
