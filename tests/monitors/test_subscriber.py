"""Publisher and subscriber over real sockets: who joins late or misses something gets the whole stream."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from engine.errors import ConfigError
from monitors import bodies, stream_log, wire
from monitors import publisher as publishing_module
from monitors import subscriber as subscribing_module
from monitors.batches import Batch
from monitors.publisher import Publisher
from monitors.subscriber import Notice, StreamError, Subscriber, families_of
from tests.monitors.live_stream import TS, Store, body_of, publishing
from tests.ports import free_port

Told = list[tuple[int, int, bodies.AnyBody]]
EVERYTHING = ("signal", "fill", "alert", "equity", "bar")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "live.db", n_symbols=20)


async def collect(subscriber: Subscriber, through_seq: asyncio.Future[int] | int) -> Told:
    """Follow until everything up to a number, known now or later, was handed out."""
    told: Told = []
    async with asyncio.timeout(600):
        messages = aiter(subscriber)
        while True:
            last = through_seq if isinstance(through_seq, int) else _result(through_seq)
            if last is not None and told and told[-1][0] >= last:
                return told
            message = await anext(messages)
            told.append((message.seq, message.family_seq, message.body))


async def append_all(subscriber: Subscriber, told: Told) -> None:
    async for message in subscriber:
        told.append((message.seq, message.family_seq, message.body))


def _result(future: asyncio.Future[int]) -> int | None:
    return future.result() if future.done() else None


def chosen(told: Told, topics: Sequence[str], after: int = 0) -> Told:
    return [entry for entry in told if entry[0] > after and entry[2].topic.startswith(tuple(topics))]


async def settled(condition) -> None:
    async with asyncio.timeout(600):
        while not condition():
            await asyncio.sleep(0.01)


async def following(publisher: Publisher, n_peers: int) -> None:
    """Wait until this many subscribers are connected and greeted."""
    await settled(lambda: publisher.stats().peers >= n_peers)


async def test_what_is_published_arrives_once_in_order_and_as_it_was(store):
    async with publishing(store) as publisher:
        joined = asyncio.Event()
        subscriber = Subscriber(publisher.address, on_notice=lambda notice: joined.set())
        last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        following = asyncio.create_task(collect(subscriber, last))
        await joined.wait()
        for _ in range(30):
            publisher.publish(store.commit(*EVERYTHING, n=3))
            await asyncio.sleep(0)
        last.set_result(store.commit("equity")[-1].last_seq)
        publisher.publish(stream_log.read(store.connection, None, last.result() - 1, 9))
        assert await following == store.messages()


@pytest.mark.parametrize(("since", "position"), [(95, 95), (0, 0), (None, 0)])
def test_before_the_publisher_was_heard_the_position_is_where_to_begin(since, position):
    assert Subscriber("tcp://127.0.0.1:1", ["signal."], since=since).position == position


async def test_following_goes_on_at_the_position_where_it_was_left(store):
    told: Told = []
    async with publishing(store) as publisher:
        for _ in range(10):
            publisher.publish(store.commit("signal", "fill", n=5))
        position = 0
        while position < 95:
            subscriber = Subscriber(publisher.address, ["signal."], since=position)
            messages = aiter(subscriber)
            for _ in range(7):
                message = await anext(messages)
                told.append((message.seq, message.family_seq, message.body))
                if message.seq == 95:
                    break
            position = subscriber.position
            await messages.aclose()  # type: ignore[attr-defined]
    assert told == store.messages(["signal"])


async def heard(sub: zmq.asyncio.Socket, n: int) -> list[list[bytes]]:
    """Return the next `n` frames; heartbeats come in between, one every second."""
    frames: list[list[bytes]] = []
    while len(frames) < n:
        frame = await sub.recv_multipart()
        frames += [frame] if frame[0] != b"heartbeat" else []
    return frames


async def test_signals_are_sent_before_the_bars_of_their_row(store):
    async with publishing(store) as publisher:
        sub = zmq.asyncio.Context.instance().socket(zmq.SUB)
        sub.connect(publisher.address)
        for topic in ("signal", "bar", "heartbeat"):
            sub.subscribe(topic)
        assert (await sub.recv_multipart())[0] == b"heartbeat"
        publisher.publish(store.commit("signal", "bar"))
        topics = [topic for topic, _ in await heard(sub, 2)]
        sub.close(0)
        assert [topic.split(b".")[0] for topic in topics] == [b"signal", b"bar"]


async def test_a_late_joiner_gets_everything_since_a_number_and_then_goes_on(store):
    async with publishing(store) as publisher:
        for _ in range(20):
            publisher.publish(store.commit(*EVERYTHING, n=4))
        for since in (0, 3, 100, 333):
            told = await collect(Subscriber(publisher.address, since=since), store.last_seq)
            assert told == chosen(store.messages(), [""], after=since)


async def test_topics_choose_and_their_absence_is_no_hole(store):
    topics = ["signal.trend.S0003", "bar.S0001", "equity"]
    notices: list[Notice] = []
    async with publishing(store) as publisher:
        subscriber = Subscriber(publisher.address, topics, since=0, on_notice=notices.append)
        last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        following = asyncio.create_task(collect(subscriber, last))
        for i in range(40):
            publisher.publish(store.commit(*random.Random(i).sample(EVERYTHING, 3), n=5))
            await asyncio.sleep(0.002)
        rows = store.commit("equity")
        last.set_result(rows[-1].last_seq)
        publisher.publish(rows)
        assert await following == chosen(store.messages(), topics)
    assert [notice.kind for notice in notices] == ["joined"]


async def test_a_snapshot_is_the_newest_of_each_family_and_the_stream_goes_on_from_it(store):
    async with publishing(store) as publisher:
        publisher.publish(store.commit("signal", "equity", "bar"))
        publisher.publish(store.commit("equity", "bar"))
        subscriber = Subscriber(publisher.address, snapshot=True)
        messages = aiter(subscriber)
        first = [await anext(messages) for _ in range(22)]
        assert [m.family for m in first] == ["signal", "equity", *["bar"] * 20]
        assert first[1].body == body_of("equity", "", 2)
        publisher.publish(store.commit("fill"))
        assert (await anext(messages)).body == body_of("fill", "S0000", 3)
        await messages.aclose()  # type: ignore[attr-defined]


class Lossy:
    """Sits between publisher and subscriber and loses messages: a publishing socket that forwards by dice."""

    def __init__(self, upstream: Publisher, loss: float, seed: int) -> None:
        context = zmq.asyncio.Context.instance()
        self._sub, self._pub = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
        self._sub.connect(upstream.address)
        self._pub.xpub_verbose = 1
        self._pub.bind("tcp://127.0.0.1:0")
        self.address = self._pub.get_string(zmq.LAST_ENDPOINT)
        self._loss, self._rng = loss, random.Random(seed)
        self.lost = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._up())
            group.create_task(self._down())

    async def _up(self) -> None:
        while True:
            await self._sub.send(await self._pub.recv())

    async def _down(self) -> None:
        while True:
            parts = await self._sub.recv_multipart()
            if parts[0] != b"heartbeat" and self._rng.random() < self._loss:
                self.lost += 1
            else:
                await self._pub.send_multipart(parts)

    def close(self) -> None:
        self._sub.close(0)
        self._pub.close(0)


@pytest.mark.parametrize("topics", [[""], ["signal.", "fill."]])
async def test_every_hole_is_noticed_and_filled(store, topics):
    notices: list[Notice] = []
    async with publishing(store) as publisher:
        lossy = Lossy(publisher, loss=0.1, seed=3)
        running = asyncio.create_task(lossy.run())
        subscriber = Subscriber(lossy.address, topics, since=0, on_notice=notices.append)
        told: Told = []
        following = asyncio.create_task(append_all(subscriber, told))
        await settled(lambda: notices)
        for _ in range(60):
            publisher.publish(store.commit("signal", "fill", "bar", n=3))
            await asyncio.sleep(0.005)
        publisher.publish(store.commit("signal"))
        reference = chosen(store.messages(), topics)
        # The hole at the end of one family may be filled after the end of another
        await settled(lambda: len(told) >= len(reference))
        for task in (running, following):
            task.cancel()
        await asyncio.gather(running, following, return_exceptions=True)
        lossy.close()
    print(f"messages lost {lossy.lost}, holes {sum(n.kind == 'missed' for n in notices)}")
    for family in families_of(topics):
        of_family = [entry for entry in told if wire_family(entry) == family]
        assert of_family == [entry for entry in reference if wire_family(entry) == family]
    assert lossy.lost > 10
    assert any(notice.kind == "missed" for notice in notices)


def wire_family(entry: tuple[int, int, bodies.AnyBody]) -> str:
    return entry[2].topic.partition(".")[0]


async def test_a_message_that_comes_when_the_silence_has_lasted_too_long_is_not_lost(store, monkeypatch):
    monkeypatch.setattr(subscribing_module, "SILENCE_S", 0.05)
    notices: list[Notice] = []
    told: Told = []
    async with publishing(store) as publisher:
        subscriber = Subscriber(publisher.address, ["signal."], on_notice=notices.append)
        following = asyncio.create_task(append_all(subscriber, told))
        await settled(lambda: notices)
        for n in range(1, 6):
            publisher.publish(store.commit("signal"))
            time.sleep(0.1)  # The fault itself: the loop sees message and end of the time in one turn
            await settled(lambda n=n: len(told) == n)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert "missed" not in {notice.kind for notice in notices}
    assert told == store.messages()


async def test_a_lost_tail_is_noticed_by_the_heartbeat(store):
    async with publishing(store) as publisher:
        subscriber = Subscriber(publisher.address, ["signal."], since=0)
        messages = aiter(subscriber)
        publisher.publish(store.commit("signal"))
        assert (await anext(messages)).seq == 1
        rows = store.commit("signal", "bar", n=5)
        publisher._wanted.clear()  # As if ZeroMQ dropped all of it
        publisher.publish(rows)
        async with asyncio.timeout(600):
            assert [(await anext(messages)).seq for _ in range(5)] == [2, 3, 4, 5, 6]
        await messages.aclose()  # type: ignore[attr-defined]
        assert publisher.stats().missed == 5


async def test_a_subscriber_outlives_restarts_of_the_publisher(store):
    notices: list[Notice] = []
    address, replay_port = f"tcp://127.0.0.1:{free_port()}", free_port()
    async with publishing(store, address=address, replay_port=replay_port) as publisher:
        subscriber = Subscriber(address, since=0, on_notice=notices.append)
        last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        following = asyncio.create_task(collect(subscriber, last))
        publisher.publish(store.commit(*EVERYTHING))
        await settled(lambda: subscriber.position == store.last_seq)
    for _ in range(3):
        store.commit(*EVERYTHING, n=2)  # Committed, and the process died before it was sent
        async with publishing(store, address=address, replay_port=replay_port) as publisher:
            publisher.publish(store.commit("fill"))
            await settled(lambda: subscriber.position == store.last_seq)
    async with publishing(store, address=address, replay_port=replay_port) as publisher:
        rows = store.commit("fill")
        last.set_result(rows[-1].last_seq)
        publisher.publish(rows)
        assert await following == store.messages()
    assert [notice.kind for notice in notices].count("restarted") == 4


async def test_a_stream_that_went_back_stops_the_subscriber(store, tmp_path):
    address, replay_port = f"tcp://127.0.0.1:{free_port()}", free_port()
    async with publishing(store, address=address, replay_port=replay_port) as publisher:
        subscriber = Subscriber(address, ["signal."], since=0)
        messages = aiter(subscriber)
        for _ in range(3):
            publisher.publish(store.commit("signal"))
            await anext(messages)
    old_copy = Store(tmp_path / "yesterday.db")
    old_copy.epoch = store.epoch
    old_copy.commit("signal")
    async with publishing(old_copy, address=address, replay_port=replay_port):
        with pytest.raises(StreamError, match=r"went back from 3 .* to 1 "):
            async with asyncio.timeout(600):
                await anext(messages)


async def test_a_number_beyond_the_end_of_the_stream_is_refused(store):
    async with publishing(store) as publisher:
        with pytest.raises(StreamError, match="ends at 0, before 5"):
            await collect(Subscriber(publisher.address, since=5), 1)


async def test_another_stream_is_refused(store):
    async with publishing(store) as publisher:
        with pytest.raises(StreamError, match="is stream stream-of-tests now, was mine"):
            await collect(Subscriber(publisher.address, stream="mine"), 1)


def forget_before(store: Store, journal_seq: int) -> None:
    stream_log.prune(store.connection, journal_seq - 1)


async def test_messages_no_longer_kept_stop_the_subscriber_or_are_told(store):
    async with publishing(store) as publisher:
        for _ in range(10):
            publisher.publish(store.commit("signal"))
        forget_before(store, 6)
        with pytest.raises(StreamError, match="family signal after 2 are no longer kept"):
            await collect(Subscriber(publisher.address, ["signal."], since=2), 10)
        notices: list[Notice] = []
        subscriber = Subscriber(
            publisher.address, ["signal."], since=2, stop_at_gap=False, on_notice=notices.append
        )
        assert [seq for seq, _, _ in await collect(subscriber, 10)] == [6, 7, 8, 9, 10]
        assert [notice.kind for notice in notices] == ["joined", "gap"]


async def test_bars_that_the_journal_forgot_are_a_gap_and_no_endless_question(store):
    async with publishing(store) as publisher:
        for _ in range(3):
            publisher.publish(store.commit("bar"))
        publisher._bars_of = lambda journal_seq: None if journal_seq < 3 else store.bars(journal_seq)
        notices: list[Notice] = []
        subscriber = Subscriber(
            publisher.address, ["bar."], since=0, stop_at_gap=False, on_notice=notices.append
        )
        told = await collect(subscriber, 60)
        assert [seq for seq, _, _ in told] == list(range(41, 61))
        assert notices[1].text == "messages 1 to 40 of family bar are no longer kept"


async def test_a_lag_beyond_the_limit_stops_loudly(store):
    async with publishing(store) as publisher:
        subscriber = Subscriber(publisher.address, ["signal."], since=0, lag_max=50)
        messages = aiter(subscriber)
        publisher.publish(store.commit("signal"))
        await anext(messages)
        publisher._wanted.clear()
        publisher.publish(store.commit("signal", n=51))
        with pytest.raises(StreamError, match="51 messages behind, the limit is 50"):
            async with asyncio.timeout(600):
                await anext(messages)


async def test_garbage_on_the_wire_is_told_and_passed_over(store):
    notices: list[Notice] = []
    async with publishing(store) as publisher:
        subscriber = Subscriber(publisher.address, ["signal."], since=0, on_notice=notices.append)
        messages = aiter(subscriber)
        publisher.publish(store.commit("signal"))
        await anext(messages)
        for parts in (
            [b"packet.signal"],
            [b"packet.signal", b"junk"],
            [b"packet.signal\xff", b"", b""],
            [b"heartbeat", b"\xc1"],
        ):
            publisher._pub.send_multipart(parts)
        publisher.publish(store.commit("signal"))
        assert (await anext(messages)).seq == 2
        await messages.aclose()  # type: ignore[attr-defined]
    assert [notice.kind for notice in notices] == ["joined", *["invalid"] * 4]


async def test_a_message_of_a_far_future_is_passed_over_as_invalid(store):
    notices: list[Notice] = []
    store.ts_ns = bodies.TS_MAX_NS - 1_000
    async with publishing(store) as publisher:
        subscriber = Subscriber(publisher.address, ["signal."], on_notice=notices.append)
        messages = asyncio.create_task(anext(aiter(subscriber)))  # type: ignore[arg-type]
        await settled(lambda: notices)
        publisher.publish(store.commit("signal"))
        await settled(lambda: any("later than" in notice.text for notice in notices))
        messages.cancel()
        await asyncio.gather(messages, return_exceptions=True)


async def requests(publisher: Publisher, *frames: bytes) -> AsyncIterator[list[bytes]]:
    dealer = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    dealer.connect(f"tcp://127.0.0.1:{publisher.replay_port}")
    try:
        for frame in frames:
            await dealer.send(frame)
            yield await dealer.recv_multipart()
    finally:
        dealer.close(0)


def range_request(after_seq: int, **changed: object) -> bytes:
    return wire.encode(
        {
            "type": "range",
            "version": 2,
            "request": 1,
            "families": list(bodies.FAMILIES),
            "after_seq": after_seq,
        }
        | changed
    )


async def test_answers_are_bounded_and_say_how_far_they_reach(store):
    async with publishing(store) as publisher:
        for _ in range(60):
            publisher.publish(store.commit("signal", "bar", n=5))
        async for parts in requests(publisher, range_request(7)):
            header = wire.decode_reply(parts[0])
            assert isinstance(header, wire.Reply)
            packets = [wire.decode_packet(part) for part in parts[1:]]
            assert header.count == len(packets)
            assert (header.through_seq, header.high_seq) == (1_005, 1_500)
            numbers = [one.seq for packet in packets for one in packet.messages()]
            assert numbers == list(range(6, 1_006))  # Number 8 is in the packet that begins with 6
            assert len(numbers) == publishing_module.REPLY_MESSAGES


async def test_a_row_from_before_there_were_packets_is_served_in_packets(store):
    async with publishing(store) as publisher:
        said = [body_of("signal", f"S{i:04d}", 1) for i in range(150)]
        store.connection.execute("BEGIN")
        batch = Batch("signal", len(said), TS, wire.encode(said))
        (row,) = stream_log.append(store.connection, 1, [batch])
        store.connection.execute("COMMIT")
        publisher.publish([row])
        assert row.count == 150
        assert await collect(Subscriber(publisher.address, since=0), 150) == store.messages()
        assert [seq for seq, *_ in await collect(Subscriber(publisher.address, since=100), 150)] == [
            *range(101, 151)
        ]
        assert await collect(Subscriber(publisher.address, snapshot=True), 150) == store.messages()


async def test_a_topic_within_a_family_can_be_had_from_zeromq_message_by_message(store):
    async with publishing(store) as publisher:
        sub = zmq.asyncio.Context.instance().socket(zmq.SUB)
        sub.connect(publisher.address)
        for topic in ("signal.trend.S0003", "bar.S0001", "heartbeat"):
            sub.subscribe(topic)
        assert (await sub.recv_multipart())[0] == b"heartbeat"
        publisher.publish(store.commit("signal", "bar", n=6))
        told = [wire.decode_message(frame) for _, frame in await heard(sub, 2)]
        sub.close(0)
    assert [(one.seq, one.topic) for one in told] == [(4, "signal.trend.S0003"), (8, "bar.S0001")]


async def test_the_newest_event_of_a_family_is_all_of_its_packets(store):
    async with publishing(store) as publisher:
        publisher.publish(store.commit("signal", n=3))
        publisher.publish(store.commit("signal", n=150))
        publisher.publish(store.commit("fill"))
        told = await collect(Subscriber(publisher.address, ["signal."], snapshot=True), 153)
        assert [seq for seq, _, _ in told] == list(range(4, 154))


async def test_whoever_asks_for_too_much_is_told_to_wait(store, monkeypatch):
    monkeypatch.setattr(publishing_module, "REPLAY_PER_S", 2.0)
    async with publishing(store) as publisher:
        for _ in range(10):
            publisher.publish(store.commit("bar"))
        publisher._tokens = 100.0
        frames = [range_request(0), range_request(0)]
        replies = [wire.decode_reply(parts[0]) async for parts in requests(publisher, *frames)]
        assert isinstance(replies[0], wire.Reply)
        assert isinstance(replies[1], wire.Busy)
        assert 0.0 < replies[1].retry_after_s <= 50.0
        assert publisher.stats().refused == 1
        monkeypatch.setattr(publishing_module, "REPLAY_PER_S", 200.0)
        # The subscriber waits and gets it all
        assert await collect(Subscriber(publisher.address, since=0), 200) == store.messages()


async def test_requests_that_are_none_are_counted_and_answer_nobody(store):
    async with publishing(store) as publisher:
        dealer = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        dealer.connect(f"tcp://127.0.0.1:{publisher.replay_port}")
        bad = [b"", b"junk", range_request(-1), range_request(0, version=1), range_request(0, families=["x"])]
        bad += [range_request(2**63 - 1), range_request(2**64 - 1)]  # Of these a database knows no next
        for frame in bad:
            await dealer.send(frame)
        await dealer.send_multipart([b"a", b"b"])
        await dealer.send(range_request(0, missed=2**62))
        assert isinstance(wire.decode_reply((await dealer.recv_multipart())[0]), wire.Reply)
        assert publisher.stats().invalid == 8
        assert publisher.stats().missed == 0  # As many as there are at most
        dealer.close(0)


async def test_nothing_is_made_of_a_family_that_nobody_listens_to(store):
    async with publishing(store) as publisher:
        publisher._bars_of = None  # type: ignore[assignment]  # Would fail if it were asked
        for _ in range(3):
            publisher.publish(store.commit("bar"))
        subscriber = Subscriber(publisher.address, ["signal."], since=0)
        messages = aiter(subscriber)
        publisher.publish(store.commit("signal", "bar"))
        assert (await anext(messages)).seq == 61
        await messages.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("topic", ["sgnal.", "bars", "bar,AAA", "equityx", "heartbeat"])
def test_a_topic_that_cannot_come_is_refused(topic):
    with pytest.raises(ConfigError, match="expected a prefix of"):
        Subscriber("tcp://127.0.0.1:1", [topic])


def test_a_topic_or_its_beginning_names_its_families():
    assert families_of([""]) == list(bodies.FAMILIES)
    assert families_of(["bar.KRYS", "equ"]) == ["equity", "bar"]
    assert families_of(["signal.trend_following.KRYS"]) == ["signal"]


@pytest.mark.parametrize(
    "address", ["", "foo", "ipc:///tmp/x", "tcp://", "tcp://127.0.0.1", "tcp://h:x", "tcp://h:99999"]
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConfigError, match="expected tcp://HOST:PORT"):
        Subscriber(address)


def test_messages_of_the_tests_are_of_the_past():
    assert TS < bodies.TS_MAX_NS
