"""The publisher: sends committed rows of the stream log to subscribers, and again to whoever missed them.

    XPUB    packet.FAMILY, packet   what an event says, its bars when the rest has been sent
            topic, message          the same one by one, for whoever subscribes to less than a family
            heartbeat               every second, and to whoever has just subscribed
    ROUTER  request, reply          a range of the log, or the newest event of each family

1. Only committed rows are sent, and in the order of the log: what is left of one event goes before the next.
2. Sending never waits. ZeroMQ drops what a slow subscriber cannot take; heartbeats tell it how far the stream
   has come, and it asks here for what it missed. Answers are bounded in size and in rate.
3. Nothing that arrives can stop the publisher: requests are typed, 1 KiB at most, or counted and dropped.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import NamedTuple
from urllib.parse import urlsplit

import zmq
import zmq.asyncio
import zmq.backend
from zmq.utils.monitor import parse_monitor_message

from engine.clock import Clock
from engine.errors import ConfigError
from engine.slab import Bars
from monitors import stream_log, wire
from monitors.batches import BarEncoder, Batch
from monitors.bodies import FAMILIES
from monitors.curve import AnySocket, Doorkeeper, ServerKeys, protect_server, require_protection
from monitors.stream_log import Identity, StreamRow

HEARTBEAT_S = 1.0
GREETING_S = 0.05  # between two extra heartbeats for newcomers
BACKLOG_FRAMES = 2_000  # packets or messages waiting for one subscriber before ZeroMQ drops
SOCKET_BYTES = 1 << 18  # the kernel's share; by default it grows to megabytes for each that stands still
INBOUND_BYTES = 1_024  # CURVE's handshake does not fit into 256
REPLY_MESSAGES = 1_000
REPLAY_PER_S, REPLAY_BURST = 20_000.0, 20_000.0  # messages, to all subscribers together
REQUEST_COST = 10.0  # messages that an answer counts for at least
FILES_WANTED, FILES_RESERVED = 65_536, 256

BarSource = Callable[[int], tuple[Sequence[str], Bars] | None]


class PublisherStats(NamedTuple):
    """Counts since the start."""

    peers: int  # connected to the publishing socket
    sent: dict[str, int]  # messages, by family
    requests: int  # answered
    replayed: int  # messages in answers
    refused: int  # requests refused because of their rate
    invalid: int  # requests that were not
    missed: int  # messages that subscribers said they had missed
    rejected_peers: int  # failed handshakes: garbage, unknown keys
    high_seq: int


class Publisher:
    """Publishes one store's stream. Use as an async context manager; nothing is bound before.

    Args:
        address: tcp://HOST:PORT. Off loopback `keys` are required.
        replay_port: where ranges are served, on the same host. 0 for both ports: any that is free.
        connection: to the store, for reading. One of its own, so that nothing uncommitted is seen.
        identity: from `stream_log.open_epoch`.
        bars_of: the symbols and the row of bars of a journal entry; None where it is no longer kept.
    """

    def __init__(
        self,
        address: str,
        replay_port: int,
        connection: sqlite3.Connection,
        identity: Identity,
        bars_of: BarSource,
        clock: Clock,
        keys: ServerKeys | None = None,
    ) -> None:
        require_protection(address, keys)
        self.subscribers_max = raise_file_limit()
        self.address = address
        self.replay_port = replay_port
        self._connection = connection
        self._identity = identity
        self._bars_of = bars_of
        self._clock = clock
        self._keys = keys
        at = stream_log.position(connection)
        self._high_seq, self._journal_seq = at.seq, at.journal_seq
        self._newest = dict(at.families)
        self._sent_seq, self._sent = at.seq, dict(at.families)
        self._counts = dict.fromkeys(FAMILIES, 0)
        self._wanted: set[str] = set()  # families of which packets are
        self._wanted_singly: set[str] = set()
        self._bar_encoder = BarEncoder(())
        self._bars: Iterator[None] | None = None  # of the newest row, as far as not sent
        self._bars_waiting = asyncio.Event()
        self._newcomers = asyncio.Event()
        self._tokens, self._refilled_s = REPLAY_BURST, clock.monotonic_s()
        self._requests = self._replayed = self._refused = self._invalid = self._missed = 0
        self._peers = self._rejected = 0

    async def __aenter__(self) -> Publisher:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        waiting = zmq.asyncio.Context.shadow(self._context)
        self._doorkeeper = Doorkeeper(self._context, self._keys) if self._keys else None
        self._pub = self._context.socket(zmq.XPUB)
        self._router = waiting.socket(zmq.ROUTER)
        self._monitor = waiting.socket(zmq.PAIR)
        self._pub.monitor(_MONITOR, _WATCHED)
        self._monitor.connect(_MONITOR)
        self._door = ExitStack()
        try:
            if self._doorkeeper is not None:  # Before the sockets are open: who comes first is not sent away
                self._door.enter_context(self._doorkeeper)
            for socket in (self._pub, self._router):
                socket.maxmsgsize = INBOUND_BYTES
                socket.handshake_ivl = 5_000
                socket.heartbeat_ivl, socket.heartbeat_timeout = 5_000, 30_000
                socket.backlog = 1_024
                protect_server(socket, self._keys)
            self._pub.sndhwm = BACKLOG_FRAMES
            self._pub.sndbuf = SOCKET_BYTES
            self._pub.xpub_verbose = 1  # Every newcomer is greeted, not the first of a topic alone
            self._router.sndhwm, self._router.rcvhwm = 4, 64
            host = self.address.rpartition(":")[0]
            self.address = _bind(self._pub, self.address)
            self.replay_port = urlsplit(_bind(self._router, f"{host}:{self.replay_port}")).port or 0
        except BaseException:
            self._close(linger_ms=0)
            raise
        asyncio.get_running_loop().add_reader(_descriptor(self._pub), self._read_subscriptions)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flush()
        asyncio.get_running_loop().remove_reader(_descriptor(self._pub))
        self._close(linger_ms=1_000)

    def _close(self, linger_ms: int) -> None:
        self._door.close()
        self._pub.disable_monitor()
        self._monitor.close(linger=0)
        self._router.close(linger=0)
        self._pub.close(linger=linger_ms)
        self._context.term()

    def publish(self, rows: Sequence[StreamRow]) -> None:
        """Send rows that are committed: all but bars at once; bars follow in packets while `run` runs."""
        for row in rows:
            self._flush()
            self._high_seq, self._journal_seq = row.last_seq, row.journal_seq
            self._newest[row.family] = row.last_family_seq
            if row.family == "bar":
                self._bars = self._sending(row)
                self._bars_waiting.set()
            else:
                _exhaust(self._sending(row))
        self._read_subscriptions()

    async def run(self) -> None:
        """Send bars and heartbeats and answer requests until cancelled."""
        async with asyncio.TaskGroup() as group:
            for task in (self._send_bars, self._beat, self._greet, self._answer, self._watch_peers):
                group.create_task(task())

    def reload_clients(self) -> None:
        """Read the directory of admitted clients again."""
        if self._doorkeeper is not None:
            self._doorkeeper.reload()

    def stats(self) -> PublisherStats:
        """Return what has been counted since the start."""
        return PublisherStats(
            self._peers, dict(self._counts), self._requests, self._replayed, self._refused, self._invalid,
            self._missed, self._rejected, self._high_seq,
        )  # fmt: skip

    def _sending(self, row: StreamRow) -> Iterator[None]:
        """Send a row, a packet at each step. Nothing is made of a family that nobody listens to."""
        whole, singly = row.family in self._wanted, row.family in self._wanted_singly
        if whole or singly:
            topic = wire.PACKET_TOPICS[row.family].encode()
            for packet in self._packets(row):
                if whole:
                    _send(self._pub, topic, _MORE)
                    _send(self._pub, self._frame(packet), zmq.DONTWAIT)
                if singly:
                    self._send_singly(packet)
                self._sent_seq, self._sent[row.family] = packet.last_seq, packet.last_family_seq
                self._counts[row.family] += packet.count
                yield
        self._sent_seq, self._sent[row.family] = row.last_seq, row.last_family_seq

    def _send_singly(self, packet: StreamRow) -> None:
        for message in wire.decode_packet(self._frame(packet)).messages():
            _send(self._pub, message.topic.encode(), _MORE)
            _send(self._pub, wire.encode(message), zmq.DONTWAIT)

    def _frame(self, packet: StreamRow) -> bytes:
        stream, epoch = self._identity
        return wire.packet_frame(stream, epoch, packet.seq, packet.family_seq, packet.ts_ns, packet.payload)

    def _packets(self, row: StreamRow) -> Iterator[StreamRow]:
        """Yield a row in parts that fit into a packet: almost always the row as it is."""
        batches: Iterable[Batch]
        if row.family == "bar":
            batches = self._bar_batches(row)
        elif row.count > wire.PACKET_MESSAGES:  # Written before there were packets
            batches = _cut(row)
        else:
            yield row
            return
        seq, family_seq = row.seq, row.family_seq
        for batch in batches:
            yield row._replace(seq=seq, family_seq=family_seq, count=batch.count, payload=batch.bodies)
            seq, family_seq = seq + batch.count, family_seq + batch.count

    def _bar_batches(self, row: StreamRow) -> Iterator[Batch]:
        found = self._bars_of(row.journal_seq)
        if found is None:
            return iter(())
        symbols, bars = found
        if self._bar_encoder.symbols is not symbols:
            self._bar_encoder = BarEncoder(symbols)
        return self._bar_encoder.batches(bars, row.ts_ns)

    def _flush(self) -> None:
        if self._bars is not None:
            _exhaust(self._bars)
            self._bars = None

    async def _send_bars(self) -> None:
        while True:
            await self._bars_waiting.wait()
            if self._bars is None or next(self._bars, _DONE) is _DONE:
                self._bars = None
                self._bars_waiting.clear()
            self._read_subscriptions()
            await asyncio.sleep(0)

    async def _beat(self) -> None:
        while True:
            self._heartbeat()
            await self._clock.sleep(HEARTBEAT_S)

    async def _greet(self) -> None:
        while True:
            await self._newcomers.wait()
            self._newcomers.clear()
            self._heartbeat()
            await self._clock.sleep(GREETING_S)

    def _heartbeat(self) -> None:
        beat = wire.Heartbeat(
            version=wire.SCHEMA_VERSION, stream=self._identity.stream, epoch=self._identity.epoch,
            high_seq=self._high_seq, journal_seq=self._journal_seq, sent=self._sent, sent_seq=self._sent_seq,
            now_ns=self._clock.now_ns(), replay_port=self.replay_port,
        )  # fmt: skip
        self._pub.send_multipart((wire.HEARTBEAT.encode(), wire.encode(beat)), zmq.DONTWAIT)
        self._read_subscriptions()

    def _read_subscriptions(self) -> None:
        """Note what is subscribed to. Called after each send too: ZeroMQ signals its descriptor only once."""
        for _ in range(1_000):
            if not int(_get(self._pub, zmq.EVENTS)) & _POLLIN:
                return
            frame = self._pub.recv(zmq.DONTWAIT)
            topic = frame[1:].decode("ascii", "replace")
            if frame[:1] == b"\x01":
                # A family stays wanted when its last subscriber leaves: topics need not be remembered
                self._wanted.update(f for f in FAMILIES if _concerns(topic, wire.PACKET_TOPICS[f]))
                self._wanted_singly.update(f for f in FAMILIES if _concerns(topic, f))
                if wire.HEARTBEAT.startswith(topic):
                    self._newcomers.set()
        asyncio.get_running_loop().call_soon(self._read_subscriptions)

    async def _answer(self) -> None:
        while True:
            frames = await self._router.recv_multipart()
            try:
                peer, frame = frames
                request = wire.decode_request(frame)
            except (ValueError, wire.InvalidFrame):
                self._invalid += 1
                continue
            # A peer that is gone, or does not read its answers, gets nothing: ROUTER drops
            await self._router.send_multipart([peer, *self._reply(request)])

    def _reply(self, request: wire.RangeRequest | wire.SnapshotRequest) -> list[bytes]:
        now_s = self._clock.monotonic_s()
        self._tokens = min(REPLAY_BURST, self._tokens + (now_s - self._refilled_s) * REPLAY_PER_S)
        self._refilled_s = now_s
        if self._tokens < 0.0:
            self._refused += 1
            retry_after_s = -self._tokens / REPLAY_PER_S
            return [
                wire.encode(
                    wire.Busy(
                        version=wire.SCHEMA_VERSION, request=request.request, retry_after_s=retry_after_s
                    )
                )
            ]
        if isinstance(request, wire.RangeRequest):
            self._missed += min(request.missed, max(self._high_seq - request.after_seq, 0))
            packets, through_seq = self._range(request.families, request.after_seq)
            start_seq = request.after_seq
        else:
            events = [stream_log.newest_event(self._connection, family) for family in request.families]
            packets = [packet for row in sorted(chain(*events)) for packet in self._packets(row)]
            start_seq = through_seq = self._high_seq
        self._requests += 1
        n_messages = sum(packet.count for packet in packets)
        self._replayed += n_messages
        self._tokens -= max(REQUEST_COST, n_messages)
        start, end = (
            {f: stream_log.family_position(self._connection, f, seq) for f in request.families}
            for seq in (start_seq, through_seq)
        )
        header = wire.Reply(
            version=wire.SCHEMA_VERSION, request=request.request, stream=self._identity.stream,
            epoch=self._identity.epoch, count=len(packets), through_seq=through_seq, high_seq=self._high_seq,
            newest={family: self._newest[family] for family in request.families},
            start={family: number for family, (number, _) in start.items()},
            end={family: number for family, (number, _) in end.items()},
            forgotten=[family for family, (_, known) in start.items() if not known],
        )  # fmt: skip
        return [wire.encode(header), *map(self._frame, packets)]

    def _range(self, families: Sequence[str], after_seq: int) -> tuple[list[StreamRow], int]:
        """Return packets of up to `REPLY_MESSAGES` messages, and the number through which none is missing."""
        packets: list[StreamRow] = []
        through_seq, n_messages = after_seq, 0
        while rows := stream_log.read(self._connection, families, through_seq, 64):
            for row in rows:
                for packet in self._packets(row):
                    if packet.last_seq <= after_seq:
                        continue
                    n_messages += packet.count
                    if n_messages > REPLY_MESSAGES:
                        return packets, through_seq
                    packets.append(packet)
                    through_seq = packet.last_seq
                through_seq = row.last_seq
        return packets, self._high_seq

    async def _watch_peers(self) -> None:
        while True:
            event = parse_monitor_message(await self._monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._peers += 1
            elif event == zmq.EVENT_DISCONNECTED:
                self._peers -= 1
            else:  # Its disconnection is reported too
                self._rejected += 1
                self._peers += 1


_DONE = object()
# Without the conveniences of zmq.Socket, which take two and three times as long
_get, _send = zmq.backend.Socket.get, zmq.backend.Socket.send
_MORE = zmq.DONTWAIT | zmq.SNDMORE
_POLLIN = int(zmq.POLLIN)  # Enumerations calculate slowly
_MONITOR = "inproc://publisher-peers"
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def raise_file_limit() -> int:
    """Allow this process as many open files as its hard limit does; return how many subscribers that serves.

    Raises ConfigError where not even sixteen could be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    subscribers = (max(soft, wanted) - FILES_RESERVED) // 2  # Each has two connections
    if subscribers < 16:
        raise ConfigError(
            f"open files are limited to {wanted}: raise it (ulimit -n, LimitNOFILE=) to 1024 or more"
        )
    return subscribers


def _concerns(topic: str, one: str) -> bool:
    """Whether a subscription to `topic` asks for what begins with `one`, or for some of it."""
    return topic.startswith(one) or one.startswith(topic)


def _cut(row: StreamRow) -> Iterator[Batch]:
    bodies = wire.unpack(row.payload)
    for first in range(0, len(bodies), wire.PACKET_MESSAGES):
        part = bodies[first : first + wire.PACKET_MESSAGES]
        yield Batch(row.family, len(part), row.ts_ns, wire.encode(part))


def _exhaust(steps: Iterator[None]) -> None:
    deque(steps, maxlen=0)


def _descriptor(socket: AnySocket) -> int:
    descriptor = socket.getsockopt(zmq.FD)
    assert isinstance(descriptor, int)
    return descriptor


def _bind(socket: AnySocket, address: str) -> str:
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise ConfigError(f"stream address {address}: {error.strerror}") from None
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()
