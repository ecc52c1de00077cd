"""The wire: the frames that publisher and subscriber exchange, as typed msgpack.

1. Messages travel in packets: what one event says in one family, up to `PACKET_MESSAGES` at a time. Whoever
   subscribes to less than a family gets its messages one by one.
2. Every frame names the version of the schema. docs/streams.md has the tables.
3. Decoders are typed and bounded: any bytes give a value within its bounds, or `InvalidFrame`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from engine.errors import DataError
from monitors.bodies import FAMILIES, TS_MAX_NS, AnyBody, Name, Seq, SeqOrZero, Ts

SCHEMA_VERSION: Final = 2
HEARTBEAT = "heartbeat"
PACKET_MESSAGES = 64
PACKET_TOPICS = {family: f"packet.{family}" for family in FAMILIES}

Version = Literal[2]
FamilySeqs = dict[str, SeqOrZero]


class InvalidFrame(DataError):
    """Bytes from outside that are not a frame of this schema, or hold a value out of bounds."""


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


class Packet(Struct, frozen=True, kw_only=True, gc=False):
    """Messages of one family about one event; `seq` and `family_seq` are of the first, and grow by one."""

    version: Version
    stream: Name
    epoch: SeqOrZero
    seq: Seq
    family_seq: Seq
    ts_ns: Ts
    bodies: Annotated[list[AnyBody], Meta(min_length=1, max_length=PACKET_MESSAGES)]

    @property
    def family(self) -> str:
        return str(self.bodies[0].__struct_config__.tag)

    @property
    def last_seq(self) -> int:
        return self.seq + len(self.bodies) - 1

    @property
    def last_family_seq(self) -> int:
        return self.family_seq + len(self.bodies) - 1

    def messages(self, skip: int = 0) -> Iterator[Message]:
        """Yield the messages, without the first `skip`."""
        for i in range(skip, len(self.bodies)):
            yield Message(
                version=self.version, stream=self.stream, epoch=self.epoch, seq=self.seq + i,
                family_seq=self.family_seq + i, ts_ns=self.ts_ns, body=self.bodies[i],
            )  # fmt: skip


class _Envelope(Struct, frozen=True, kw_only=True, gc=False):
    """A packet up to its bodies, which are encoded already."""

    version: Version
    stream: Name
    epoch: SeqOrZero
    seq: Seq
    family_seq: Seq
    ts_ns: Ts


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
    """Ask for the newest event of some families."""

    version: Version
    request: SeqOrZero
    families: Annotated[list[Name], Meta(min_length=1, max_length=len(FAMILIES))]


class Reply(Struct, frozen=True, kw_only=True, gc=False, tag="messages"):
    """Header of a reply; `count` frames follow, each a `Packet`, in order of `seq`.

    Of a range: everything of the families with after_seq < seq <= through_seq; the first packet may begin
    earlier. Of a snapshot: the newest event of each family as of `through_seq`.
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
encode = msgspec.msgpack.Encoder().encode
_MESSAGE = msgspec.msgpack.Decoder(Message)
_PACKET = msgspec.msgpack.Decoder(Packet)
_HEARTBEAT = msgspec.msgpack.Decoder(Heartbeat)
_REQUEST: msgspec.msgpack.Decoder[RangeRequest | SnapshotRequest] = msgspec.msgpack.Decoder(
    RangeRequest | SnapshotRequest
)
_REPLY: msgspec.msgpack.Decoder[Reply | Busy] = msgspec.msgpack.Decoder(Reply | Busy)
_BODIES: msgspec.msgpack.Decoder[list[AnyBody]] = msgspec.msgpack.Decoder(list[AnyBody])


def packet_frame(stream: str, epoch: int, seq: int, family_seq: int, ts_ns: int, bodies: bytes) -> bytes:
    """Return the frame of the packet with these bodies, an encoded array."""
    envelope = _Envelope(
        version=SCHEMA_VERSION, stream=stream, epoch=epoch, seq=seq, family_seq=family_seq, ts_ns=ts_ns
    )
    # A map of six fields, made one of seven
    return b"\x87" + encode(envelope)[1:] + b"\xa6bodies" + bodies


def decode_packet(frame: bytes, ts_max_ns: int = TS_MAX_NS) -> Packet:
    """Return the packet in a frame. Raises InvalidFrame, also for one from after `ts_max_ns`."""
    packet = _decode(_PACKET, frame)
    if packet.ts_ns > ts_max_ns:
        raise InvalidFrame(f"packet {packet.seq}: ts_ns {packet.ts_ns} is later than {ts_max_ns}")
    if len(set(map(type, packet.bodies))) > 1:
        raise InvalidFrame(f"packet {packet.seq}: holds messages of several families")
    return packet


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


def unpack(payload: bytes) -> list[AnyBody]:
    """Return the bodies of an encoded array. Raises InvalidFrame."""
    return _decode(_BODIES, payload)


def _decode(decoder: msgspec.msgpack.Decoder[_T], frame: bytes) -> _T:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # ValueError: text that is not UTF-8 raises UnicodeDecodeError, which msgspec does not wrap
        raise InvalidFrame(f"frame of {len(frame)} bytes: {error}") from None
