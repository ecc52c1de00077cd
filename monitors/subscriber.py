"""The subscriber: an async iterator over a publisher's stream without a hole in it.

    async for message in Subscriber("tcp://127.0.0.1:5556", topics=["signal."]):
        print(message.seq, message.body)

1. The messages of a family come in order, each once. `family_seq` tells a hole from a topic that was not
   asked for: whole families are subscribed to, and topics within them are chosen here.
2. What a family missed is asked for before anything later of it is handed out. Meanwhile the live messages
   wait in ZeroMQ's queue; what overflows there is a hole like any other. Across families the order is that of
   `seq` too, except that a hole is noticed with the next message of its family, or the next heartbeat.
3. What cannot be had any more, a stream that went back, another stream, or a lag beyond its limit is never
   passed over in silence: `StreamError`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import zmq
import zmq.asyncio

from engine.clock import Clock, SystemClock
from engine.counted import counted
from engine.errors import ConfigError, SmallcapError
from monitors import wire
from monitors.bodies import FAMILIES
from monitors.curve import ClientKeys, check_address, protect_client
from monitors.wire import PACKET_TOPICS, Heartbeat, Message, Packet

SILENCE_S = 5.0  # without a heartbeat before that is told
REPLY_S = 2.0  # to wait for an answer
RETRIES = 10  # in a row, while the publisher is there
JITTER_S = 0.2  # so that all who missed something do not ask at once
RETRY_S_MAX = 2.0
LAG_MAX = 200_000  # messages
QUEUE_PACKETS, SOCKET_BYTES = 4_000, 1 << 20
FRAME_BYTES_MAX = 1 << 21
FUTURE_NS = 86_400_000_000_000  # clocks differ; by more than a day it is not a clock


class StreamError(SmallcapError):
    """The stream cannot be followed without a loss, or is not the one it was."""


class Notice(NamedTuple):
    """Something a person who watches the stream would want to know."""

    kind: str  # "joined", "missed", "gap", "restarted", "silent", "heard", "invalid"
    text: str


class Subscriber:
    """Iterate it with `async for`; leaving the loop closes the sockets.

    Args:
        address: of the publisher, tcp://HOST:PORT.
        topics: prefixes, such as "signal.", "bar.KRYS", "equity"; "" is everything.
        since: begin after this `seq`. None: with what happens from now on.
        snapshot: without `since`, begin with the newest event of each family.
        keys: needed where the publisher demands them.
        stream: refuse a publisher of any other stream.
        lag_max: messages to be behind before giving up; None: any number.
        stop_at_gap: raise when messages are no longer kept; False: tell `on_notice` and go on.
        on_notice: called with what is worth telling.

    Raises ConfigError for an address or topics that cannot be.
    """

    def __init__(
        self,
        address: str,
        topics: Sequence[str] = ("",),
        *,
        since: int | None = None,
        snapshot: bool = False,
        keys: ClientKeys | None = None,
        stream: str | None = None,
        lag_max: int | None = LAG_MAX,
        stop_at_gap: bool = True,
        on_notice: Callable[[Notice], None] = lambda notice: None,
        clock: Clock | None = None,
    ) -> None:
        check_address(address)
        self.address = address
        self.families = families_of(topics)
        self._topics = tuple(topics)
        self._whole = {family for family in self.families if f"{family}.".startswith(self._topics)}
        self._since = since
        self._snapshot = snapshot
        self._keys = keys
        self._stream = stream
        self._lag_max = lag_max
        self._stop_at_gap = stop_at_gap
        self._tell = on_notice
        self._clock = clock or SystemClock()
        self._requests = itertools.count(1)
        self._epoch = 0
        self._seen: dict[str, int] = {}  # by family: nothing of it is missing up to this `seq`
        self._family_seq: dict[str, int | None] = {}  # None: not known yet
        self._high_seq = 0  # the highest that the publishing socket ever told
        self._replay_port = 0

    @property
    def position(self) -> int:
        """The `seq` up to which everything was handed out for certain: to go on later, `since=position`.
        Before the publisher was heard it is where to begin, 0 where nothing was said about that.

        With several families it may lag by the time of a heartbeat, since a silent family may have a hole.
        """
        return min(self._seen.values(), default=self._since or 0)

    async def __aiter__(self) -> AsyncIterator[Message]:
        with self._sockets():
            begin = await self._heartbeat()
            self._stream = begin.stream
            unknown: dict[str, int | None] = dict.fromkeys(self.families)
            if self._since is not None:
                self._join(begin, self._since, unknown)
                replayed = self._catch_up(0, lag_max=None)
            elif self._snapshot:
                self._join(begin, 0, unknown)
                replayed = self._begin_with_snapshot()
            else:
                self._join(begin, begin.sent_seq, {family: begin.sent[family] for family in self.families})
                replayed = _nothing()
            async for message in replayed:
                yield message
            while True:
                frame = await self._receive()
                if isinstance(frame, Packet) and self._is_next(frame):
                    for message in self._new(frame):
                        yield message
                elif (n_missed := self._missed(frame)) > 0:
                    self._tell(Notice("missed", f"{counted(n_missed, 'messages')} missed; asking again"))
                    async for message in self._catch_up(n_missed, self._lag_max):
                        yield message

    @contextmanager
    def _sockets(self) -> Iterator[None]:
        context = zmq.asyncio.Context.instance()
        self._sub, self._dealer = context.socket(zmq.SUB), context.socket(zmq.DEALER)
        try:
            for socket in (self._sub, self._dealer):
                socket.maxmsgsize = FRAME_BYTES_MAX
                socket.linger = 0
                socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 1_000
                socket.heartbeat_ivl, socket.heartbeat_timeout = 5_000, 30_000
                protect_client(socket, self._keys)
            self._sub.rcvhwm, self._sub.rcvbuf = QUEUE_PACKETS, SOCKET_BYTES
            for topic in (
                *(PACKET_TOPICS[f] for f in self.families),
                wire.HEARTBEAT,
            ):  # When a heartbeat comes, all are in force
                self._sub.subscribe(topic)
            self._sub.connect(self.address)
            yield
        finally:
            self._sub.close()
            self._dealer.close()

    def _join(self, begin: Heartbeat, seq: int, family_seq: dict[str, int | None]) -> None:
        if seq > begin.high_seq:
            raise StreamError(
                f"{self.address}: the stream ends at {begin.high_seq}, before {seq}:"
                " it went back, or is another"
            )
        self._seen, self._family_seq = dict.fromkeys(self.families, seq), family_seq
        self._tell(Notice("joined", f"stream {begin.stream}, epoch {begin.epoch}, at {begin.high_seq}"))

    async def _receive(self) -> Packet | Heartbeat:
        """Return the next valid frame of the publishing socket. Raises StreamError for another stream."""
        while True:
            heard = asyncio.ensure_future(self._sub.recv_multipart())
            if not heard.done():  # Nothing is cancelled: what had just come would be lost
                await asyncio.wait((heard,), timeout=SILENCE_S)
            if heard.done():
                parts = heard.result()
            else:
                text = f"{self.address}: nothing heard for {SILENCE_S:.0f} s"
                self._tell(Notice("silent", f"{text}; no publisher there, or it does not admit this key"))
                parts = await heard
                self._tell(Notice("heard", f"{self.address}: the publisher is heard again"))
            try:
                topic, frame = parts
                if topic.decode() == wire.HEARTBEAT:
                    beat = wire.decode_heartbeat(frame)
                    self._follow(beat)
                    return beat
                packet = wire.decode_packet(frame, self._clock.now_ns() + FUTURE_NS)
            except (ValueError, wire.InvalidFrame) as error:
                self._tell(Notice("invalid", f"a frame is passed over: {error}"))
                continue
            if packet.stream == self._stream and packet.epoch >= self._epoch:
                self._high_seq = max(self._high_seq, packet.last_seq)
                return packet

    async def _heartbeat(self) -> Heartbeat:
        """Return the next heartbeat, passing over packets: those that matter come with the next range."""
        while not isinstance(frame := await self._receive(), Heartbeat):
            pass
        return frame

    def _follow(self, beat: Heartbeat) -> None:
        """Check that a heartbeat goes on from the one before; raise StreamError if it does not."""
        if self._stream not in (None, beat.stream):
            raise StreamError(f"{self.address}: is stream {beat.stream} now, was {self._stream}")
        if beat.high_seq < self._high_seq or beat.epoch < self._epoch:
            raise StreamError(
                f"{self.address}: the sequence went back from {self._high_seq} (epoch {self._epoch})"
                f" to {beat.high_seq} (epoch {beat.epoch}): an old copy of the store is being published"
            )
        if 0 < self._epoch < beat.epoch:
            self._tell(Notice("restarted", f"the publisher was restarted, epoch {beat.epoch}"))
        self._epoch, self._high_seq = beat.epoch, beat.high_seq
        if beat.replay_port != self._replay_port:
            host = self.address.rpartition(":")[0]
            if self._replay_port:
                self._dealer.disconnect(f"{host}:{self._replay_port}")
            self._dealer.connect(f"{host}:{beat.replay_port}")
            self._replay_port = beat.replay_port

    def _is_next(self, packet: Packet) -> bool:
        """Whether there is something new in a packet, and no hole before it."""
        known = self._family_seq.get(packet.family)
        return known is not None and packet.family_seq <= known + 1 <= packet.last_family_seq

    def _new(self, packet: Packet) -> Iterator[Message]:
        """Take the messages of a packet one by one, and yield those that were asked for."""
        family, known = packet.family, self._family_seq[packet.family] or 0
        for message in packet.messages(max(0, known + 1 - packet.family_seq)):
            self._seen[family], self._family_seq[family] = message.seq, message.family_seq
            if family in self._whole or message.topic.startswith(self._topics):
                yield message

    def _passed(self, seq: int) -> None:
        """Note that nothing of any family is missing up to `seq`."""
        self._seen = {family: max(seen, seq) for family, seen in self._seen.items()}

    def _missed(self, frame: Packet | Heartbeat) -> int:
        """Return how many messages were missed up to a heartbeat, or a packet that is not the next."""
        if isinstance(frame, Packet):
            return frame.last_family_seq - (self._family_seq[frame.family] or 0)
        n_missed = sum(frame.sent[family] - (known or 0) for family, known in self._family_seq.items())
        if n_missed <= 0:
            self._passed(frame.sent_seq)
        return n_missed

    async def _catch_up(self, n_missed: int, lag_max: int | None) -> AsyncIterator[Message]:
        """Yield what is missing, up to the newest message that the publisher has."""
        await asyncio.sleep(random.uniform(0.0, JITTER_S))
        while True:
            request = wire.RangeRequest(
                version=wire.SCHEMA_VERSION,
                request=next(self._requests),
                families=self.families,
                after_seq=self.position,
                missed=n_missed,
            )
            header, packets = await self._ask(request)
            n_missed = 0
            self._start_families(header)
            lag = sum(header.newest[family] - (known or 0) for family, known in self._family_seq.items())
            if lag_max is not None and lag > lag_max:
                raise StreamError(f"{self.address}: {lag} messages behind, the limit is {lag_max}")
            for packet in packets:
                self._check_gap(packet.family, self._family_seq[packet.family] or 0, packet.family_seq - 1)
                for message in self._new(packet):
                    yield message
            for family, last in header.end.items():
                known = self._family_seq[family] or 0
                self._check_gap(family, known, last)
                self._family_seq[family] = max(known, last)
            self._passed(header.through_seq)
            if header.through_seq >= header.high_seq:
                return

    async def _begin_with_snapshot(self) -> AsyncIterator[Message]:
        """Yield the newest event of each family."""
        request = wire.SnapshotRequest(
            version=wire.SCHEMA_VERSION, request=next(self._requests), families=self.families
        )
        header, packets = await self._ask(request)
        self._family_seq = dict(header.end)
        self._passed(header.through_seq)
        for packet in packets:
            for message in packet.messages():
                if message.topic.startswith(self._topics):
                    yield message

    def _start_families(self, header: wire.Reply) -> None:
        """Learn the position of families that have none yet."""
        for family, known in self._family_seq.items():
            if known is None:
                if family in header.forgotten:
                    self._gap(f"messages of family {family} after {self.position} are no longer kept")
                self._family_seq[family] = header.start[family]

    def _check_gap(self, family: str, known: int, last: int) -> None:
        """Tell of the messages of a family after `known` up to `last`, which are lost for good."""
        if last > known:
            self._gap(f"messages {known + 1} to {last} of family {family} are no longer kept")

    def _gap(self, text: str) -> None:
        if self._stop_at_gap:
            raise StreamError(f"{self.address}: {text}")
        self._tell(Notice("gap", text))

    async def _ask(
        self, request: wire.RangeRequest | wire.SnapshotRequest
    ) -> tuple[wire.Reply, list[Packet]]:
        """Return the answer. Raises StreamError after `RETRIES` in vain while the publisher is there."""
        failures = 0
        while failures < RETRIES:
            await self._dealer.send(wire.encode(request))
            try:
                async with asyncio.timeout(REPLY_S):
                    header, packets = await self._reply(request.request)
            except TimeoutError:
                failures += 1
                await self._heartbeat()  # However long it takes: a publisher that is away comes back
                wait_s = min(RETRY_S_MAX, 0.1 * 2.0**failures)
            else:
                if isinstance(header, wire.Reply):
                    return header, packets
                wait_s = header.retry_after_s
            await asyncio.sleep(wait_s + random.uniform(0.0, JITTER_S))
        raise StreamError(f"{self.address}: port {self._replay_port} serves no missed messages")

    async def _reply(self, request: int) -> tuple[wire.Reply | wire.Busy, list[Packet]]:
        """Wait for the answer to a request; answers to earlier ones, and what is none, are passed over."""
        ts_max_ns = self._clock.now_ns() + FUTURE_NS
        while True:
            parts = await self._dealer.recv_multipart()
            try:
                header = wire.decode_reply(parts[0])
                packets = [wire.decode_packet(part, ts_max_ns) for part in parts[1:]]
            except wire.InvalidFrame as error:
                self._tell(Notice("invalid", f"an answer is passed over: {error}"))
                continue
            if header.request != request:
                continue
            if isinstance(header, wire.Busy) or header.stream == self._stream:
                return header, packets


def families_of(topics: Sequence[str]) -> list[str]:
    """Return the families that hold these topics. Raises ConfigError for a topic that none has."""
    families = set()
    for topic in topics:
        matching = {f for f in FAMILIES if f.startswith(topic) or f"{f}.".startswith(topic[: len(f) + 1])}
        if not matching:
            raise ConfigError(
                f"topic {topic!r}: expected a prefix of"
                " bar.SYMBOL, signal.STRATEGY.SYMBOL, order.SYMBOL, fill.SYMBOL, equity or alert.RULE"
            )
        families |= matching
    if not families:
        raise ConfigError('no topic given; "" is all of them')
    return [family for family in FAMILIES if family in families]


async def _nothing() -> AsyncIterator[Message]:
    return
    yield
