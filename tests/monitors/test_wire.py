"""The wire: what is encoded decodes, what decodes is sane, and no bytes raise anything but InvalidFrame."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from monitors import bodies, wire
from tests.monitors.live_stream import TS, body_of

FAMILY_NAMES = ("signal", "fill", "alert", "equity")


def message(body: bodies.AnyBody, **changed: object) -> wire.Message:
    envelope: dict[str, object] = {
        "version": 2, "stream": "s", "epoch": 1, "seq": 7, "family_seq": 3, "ts_ns": TS, "body": body,
    }  # fmt: skip
    return wire.Message(**(envelope | changed))  # type: ignore[arg-type]


def packet(*said: bodies.AnyBody, **changed: object) -> bytes:
    envelope: dict[str, object] = {"stream": "s", "epoch": 1, "seq": 7, "family_seq": 3, "ts_ns": TS}
    return wire.packet_frame(**(envelope | changed), bodies=wire.encode(said))  # type: ignore[arg-type]


def bar(**changed: object) -> bodies.Bar:
    prices: dict[str, object] = {
        "symbol": "AAA", "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0,
    }  # fmt: skip
    return bodies.Bar(**(prices | changed))  # type: ignore[arg-type]


FRAMES = [wire.encode(message(body_of(family, "AAA", 1))) for family in FAMILY_NAMES] + [
    wire.encode(message(bar())),
    packet(body_of("signal", "AAA", 1), body_of("signal", "BBB", 2)),
    packet(bar(), bar()),
    wire.encode(
        wire.Heartbeat(
            version=2, stream="s", epoch=1, high_seq=9, journal_seq=4, sent={"bar": 9}, sent_seq=9, now_ns=TS,
            replay_port=5557,
        )
    ),
    wire.encode(wire.RangeRequest(version=2, request=1, families=["bar"], after_seq=4)),
    wire.encode(wire.Busy(version=2, request=1, retry_after_s=0.5)),
]  # fmt: skip
DECODERS: tuple[Callable[[bytes], object], ...] = (
    wire.decode_message, wire.decode_packet, wire.decode_heartbeat, wire.decode_request, wire.decode_reply,
    wire.unpack,
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_message_comes_back_as_it_was(family):
    sent = message(body_of(family, "AAA", 5))
    assert wire.decode_message(wire.encode(sent)) == sent
    assert sent.family == family


def test_a_packet_is_its_messages_numbered_from_the_first():
    said = [body_of("signal", symbol, 5) for symbol in ("AAA", "BBB", "CCC")]
    received = wire.decode_packet(packet(*said))
    assert (received.family, received.last_seq, received.last_family_seq) == ("signal", 9, 5)
    assert list(received.messages()) == [
        message(body, seq=7 + i, family_seq=3 + i) for i, body in enumerate(said)
    ]
    assert [one.seq for one in received.messages(skip=2)] == [9]


def test_a_packet_is_framed_as_its_fields_would_be_encoded():
    fields = {"version": 2, "stream": "s", "epoch": 1, "seq": 7, "family_seq": 3, "ts_ns": TS}
    assert packet(bar()) == msgpack.encode({**fields, "bodies": [bar()]})


@pytest.mark.parametrize(
    "said", [[], [bar()] * (wire.PACKET_MESSAGES + 1), [bar(), body_of("signal", "AAA", 1)], [bar(low=-1.0)]]
)
def test_a_packet_that_cannot_be_is_refused(said):
    with pytest.raises(wire.InvalidFrame):
        wire.decode_packet(packet(*said))


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
        {"version": 1}, {"version": 0}, {"version": "2"}, {"seq": 0}, {"seq": -1}, {"family_seq": 0},
        {"seq": 2**63 - 1}, {"family_seq": 2**64 - 1},
        {"epoch": -1}, {"ts_ns": -1}, {"ts_ns": bodies.TS_MAX_NS + 1}, {"stream": ""}, {"stream": "x" * 65},
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
    assert wire.decode_packet(packet(bar()), ts_max_ns=TS).ts_ns == TS
    with pytest.raises(wire.InvalidFrame, match="later than"):
        wire.decode_packet(packet(bar()), ts_max_ns=TS - 1)


def test_a_field_that_is_missing_is_refused_and_one_that_is_new_is_passed_over():
    plain = msgspec.to_builtins(message(bar()))
    assert wire.decode_message(msgpack.encode({**plain, "new": [1]})) == message(bar())
    for name in plain:
        with pytest.raises(wire.InvalidFrame):
            wire.decode_message(msgpack.encode({k: v for k, v in plain.items() if k != name}))


def test_a_request_for_a_family_that_does_not_exist_is_refused():
    frame = wire.encode(wire.RangeRequest(version=2, request=1, families=["quotes"], after_seq=4))
    with pytest.raises(wire.InvalidFrame, match="families are"):
        wire.decode_request(frame)


WRONG = [float("nan"), float("inf"), -float("inf"), -1e300, 1e300, "1", [1], True, -(2**63)]


def replaced(tree: dict[str, object], at: str, value: object) -> dict[str, object]:
    return {name: value if name == at else old for name, old in tree.items()}


def test_c6_no_number_of_any_body_may_be_beyond_its_bounds():
    counts = {"fields": 0, "refused": 0}
    signed = {"value", "threshold"}  # Of an alert: any sign
    for said in (*(body_of(family, "AAA", 1) for family in FAMILY_NAMES), bar()):
        plain = msgspec.to_builtins(said)
        for name in [name for name, value in plain.items() if isinstance(value, int | float)]:
            counts["fields"] += 1
            for wrong in WRONG:
                if name.endswith("_micro") and isinstance(wrong, int) and not isinstance(wrong, bool):
                    continue
                if name in signed and wrong == -(2**63):
                    wrong = 10**19
                frame = packet(replaced(plain, name, wrong))  # type: ignore[arg-type]
                with pytest.raises(wire.InvalidFrame):
                    wire.decode_packet(frame)
                counts["refused"] += 1
    print(f"C-6: {counts}")
    assert counts["fields"] >= 14


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
            assert decoded.version == 2
            assert decoded.seq >= 1
            if isinstance(decoded.body, bodies.Bar):
                assert 0.0 < decoded.body.low <= bodies.PRICE_MAX
                assert 0.0 <= decoded.body.volume <= bodies.VOLUME_MAX
    return counts


def test_100_000_mutated_frames_raise_only_the_documented_error():
    counts = fuzz(100_000, seed=5)
    print(f"C-5: {counts}")
    assert counts["refused"] > 50_000
    assert counts["accepted"] > 100


@pytest.mark.nightly
def test_a_million_mutated_frames_raise_only_the_documented_error():
    counts = fuzz(1_000_000, seed=6)
    print(f"C-5: {counts}")
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
    print(f"C-7: {len(outcomes)} nested frames refused on a stack of 64 KiB")
    assert outcomes == ["refused"] * 3 * len(DECODERS)
