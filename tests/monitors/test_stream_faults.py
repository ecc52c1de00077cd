"""What the stream promises when processes die, stand still, join by the hundred, or mean harm.

Real processes and sockets. Rows C-1 to C-5 of the reliability page, small here and large with `-m nightly`;
each prints its counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from monitors import curve
from monitors.subscriber import Notice, Subscriber
from tests.monitors.live_stream import Store, publishing
from tests.monitors.test_subscriber import EVERYTHING, Told, chosen, settled, wire_family
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
nightly = pytest.mark.nightly


class Child:
    """A publishing process."""

    def __init__(self, process: asyncio.subprocess.Process, told: dict[str, Any]) -> None:
        self.process = process
        self.address: str = told["address"]
        self.replay_port: int = told["replay_port"]

    @classmethod
    async def start(cls, database: Path, ports: tuple[int, int], per_s: float = 0.0, *keys: Path) -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.monitors.publishing_process",
            str(database), *map(str, ports), str(per_s), *map(str, keys),
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return cls(process, await answer_of(process))

    async def tell(self, order: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n".encode())
        return await answer_of(self.process)

    async def end(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(with_signal)
        await self.process.wait()


async def answer_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(600):
        line = await process.stdout.readline()
    assert line, "the process died"
    return dict(json.loads(line))


@asynccontextmanager
async def child_publishing(database: Path, per_s: float = 0.0, *keys: Path) -> AsyncIterator[Child]:
    child = await Child.start(database, (0, 0), per_s, *keys)
    try:
        yield child
    finally:
        await child.end()


@pytest.mark.parametrize("kills", [3, pytest.param(1_000, marks=[nightly, pytest.mark.timeout(5_400)])])
async def test_c1_no_kill_of_the_publisher_loses_changes_or_reorders_a_message(tmp_path, kills):
    rng = random.Random(kills)
    ports = free_port(), free_port()
    database = tmp_path / "live.db"
    told: Told = []
    notices: list[Notice] = []
    subscriber = Subscriber(f"tcp://127.0.0.1:{ports[0]}", since=0, on_notice=notices.append)

    async def follow() -> None:
        async for message in subscriber:
            told.append((message.seq, message.family_seq, message.body))

    following = asyncio.create_task(follow())
    store = Store(database)
    for _ in range(kills):
        child = await Child.start(database, ports, per_s=500.0)
        before = store.last_seq
        await settled(lambda before=before: told and told[-1][0] > before)
        await asyncio.sleep(rng.uniform(0.0, 0.15))
        await child.end()
    child = await Child.start(database, ports)
    await settled(lambda: following.done() or (told and told[-1][0] == store.last_seq))
    await child.end()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    kinds = [notice.kind for notice in notices]
    counts = {kind: kinds.count(kind) for kind in ("restarted", "missed", "invalid", "gap")}
    print(f"C-1: {kills} kills, {len(told)} messages, {counts}")
    assert told == store.messages()
    assert len(told) > 6 * kills
    assert 0 < counts["restarted"] <= kills  # One that died before its first heartbeat is not noticed
    assert counts["gap"] == counts["invalid"] == 0


def by_family(told: Told) -> dict[str, Told]:
    """Part messages by family: across families their order is that of `seq` only where nothing was missed."""
    parted: dict[str, Told] = {}
    for entry in told:
        parted.setdefault(wire_family(entry), []).append(entry)
    return parted


@pytest.mark.parametrize("joins", [30, pytest.param(1_000, marks=[nightly, pytest.mark.timeout(3_600)])])
async def test_c2_whoever_joins_at_any_time_misses_nothing(tmp_path, joins):
    store = Store(tmp_path / "live.db", n_symbols=8)
    rng = random.Random(joins)
    topic_choices = ([""], ["signal."], ["bar.S0003", "equity"], ["fill.S0000", "alert."])
    n_checked = 0
    notices: list[Notice] = []

    @lru_cache(maxsize=1)
    def through(last_seq: int) -> Told:  # Read once for all that joined together
        return store.messages()

    async with publishing(store) as publisher:

        async def pour(seconds: float) -> None:
            for _ in range(round(seconds / 0.005)):
                families = [family for family in EVERYTHING if rng.random() < 0.6] or ["signal"]
                publisher.publish(store.commit(*families, n=3))
                await asyncio.sleep(0.005)
            publisher.publish(store.commit(*EVERYTHING))

        async def join(pouring: asyncio.Task[None]) -> None:
            nonlocal n_checked
            await asyncio.sleep(rng.uniform(0.0, 1.0))
            topics = rng.choice(topic_choices)
            since = rng.choice([None, 0, rng.randrange(max(1, store.last_seq))])
            snapshot = since is None and rng.random() < 0.5
            told: Told = []
            subscriber = Subscriber(
                publisher.address, topics, since=since, snapshot=snapshot, on_notice=notices.append
            )

            async def follow() -> None:
                async for message in subscriber:
                    told.append((message.seq, message.family_seq, message.body))

            following = asyncio.create_task(follow())
            await pouring
            await settled(lambda: following.done() or subscriber.position == store.last_seq)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            reference = chosen(through(store.last_seq), topics)
            if since is not None:
                assert by_family(told) == by_family(chosen(reference, topics, after=since))
            elif not snapshot:
                first_seq = min((seq for seq, _, _ in told), default=store.last_seq + 1)
                assert by_family(told) == by_family(chosen(reference, topics, after=first_seq - 1))
            else:
                state = {body.topic: body for _, _, body in told}
                final = {body.topic: body for _, _, body in reference}
                assert all(final[topic] == body for topic, body in state.items())
                assert {topic for topic in final if topic.startswith(("equity", "bar."))} <= state.keys()
            n_checked += 1

        for first in range(0, joins, 30):
            async with asyncio.TaskGroup() as group:
                pouring = group.create_task(pour(1.2))
                for _ in range(first, min(first + 30, joins)):
                    group.create_task(join(pouring))
        n_holes = sum(notice.kind == "missed" for notice in notices)
        print(f"C-2: {n_checked} joins, {store.last_seq} messages, {n_holes} holes, {publisher.stats()}")
    assert n_checked == joins


async def has_lines(path, n):
    async with asyncio.timeout(600):
        while not path.exists() or path.read_bytes().count(b"\n") < n:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "messages", [30_000, pytest.param(200_000, marks=[nightly, pytest.mark.timeout(3_600)])]
)
async def test_c3_a_subscriber_that_stands_still_harms_nobody_and_is_told_what_it_missed(tmp_path, messages):
    async with child_publishing(tmp_path / "live.db") as child:
        command = ["main.py", "subscribe", "--address", child.address, "--topic", "signal.", "--since", "0"]
        readers = []
        for name in ("healthy", "stopped"):
            output = tmp_path / f"{name}.jsonl"
            readers.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    *command,
                    "--count",
                    str(messages),
                    "--output",
                    str(output),
                    cwd=ROOT,
                    stderr=asyncio.subprocess.PIPE,
                )
            )
        healthy, stopped = readers
        for reader in readers:
            assert reader.stderr is not None
            assert (await reader.stderr.readline()).startswith(b"joined")
        for round_ in range(1, 4):  # What comes after the first round comes live, not from the log
            await child.tell("publish signal 10 10")
            for name in ("healthy", "stopped"):
                await has_lines(tmp_path / f"{name}.jsonl", 100 * round_)
        stopped.send_signal(signal.SIGSTOP)
        before = await child.tell("stats")
        slowest_s = 0.0
        for thousand in range(1, messages // 1_000):
            start = time.monotonic()
            await child.tell("publish signal 5 200")
            slowest_s = max(slowest_s, time.monotonic() - start)
            await has_lines(tmp_path / "healthy.jsonl", 300 + 1_000 * thousand)
        after = await child.tell("publish signal 5 140")
        _, healthy_said = await asyncio.wait_for(healthy.communicate(), 600)
        stopped.send_signal(signal.SIGCONT)
        _, stopped_said = await asyncio.wait_for(stopped.communicate(), 600)
        final = await child.tell("stats")
    reference = [seq for seq, _, _ in Store(tmp_path / "live.db").messages()]
    for name in ("healthy", "stopped"):
        with (tmp_path / f"{name}.jsonl").open() as lines:
            assert [json.loads(line)["seq"] for line in lines] == reference
    grown_mib = after["rss_max_mib"] - before["rss_max_mib"]
    print(
        f"C-3: {messages} messages, publisher grew {grown_mib:.1f} MiB, slowest thousand {slowest_s:.3f} s,"
        f" stopped one missed {final['missed']}, replayed {final['replayed']}; it said {stopped_said!r}"
    )
    assert b"missed" not in healthy_said
    assert b"missed; asking" in stopped_said
    assert final["missed"] > 0
    assert grown_mib <= 64


def garbage(rng: random.Random) -> bytes:
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    kinds = (
        rng.randbytes(rng.randint(1, 200)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        greeting[: rng.randint(1, 64)],
        greeting + rng.randbytes(60),
        greeting + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB" + b"\x00\xff" + rng.randbytes(300),
        greeting + b"\x06" + (1 << 62).to_bytes(8, "big") + rng.randbytes(50),
        b"",
    )
    return rng.choice(kinds)


@pytest.mark.parametrize("peers", [400, pytest.param(100_000, marks=[nightly, pytest.mark.timeout(3_600)])])
async def test_c5_garbage_peers_do_not_stop_the_publisher(tmp_path, peers):
    rng = random.Random(peers)
    async with child_publishing(tmp_path / "live.db") as child:
        before = await child.tell("publish signal 1 1")
        messages = aiter(Subscriber(child.address, since=0))
        assert (await anext(messages)).seq == 1
        ports = int(child.address.rpartition(":")[2]), child.replay_port
        refused = 0
        for i in range(peers):
            with socket.socket() as peer:
                peer.settimeout(5)
                try:
                    peer.connect(("127.0.0.1", ports[i % 2]))
                    peer.sendall(garbage(rng))
                except OSError:
                    refused += 1
        await child.tell("publish signal 1 1")
        async with asyncio.timeout(600):
            assert (await anext(messages)).seq == 2
        after = await child.tell("stats")
        await messages.aclose()  # type: ignore[attr-defined]
    grown_mib = after["rss_max_mib"] - before["rss_max_mib"]
    print(f"C-5: {peers} garbage peers ({refused} cut short), {after['rejected_peers']} failed handshakes")
    print(f"     publisher grew {grown_mib:.1f} MiB")
    assert grown_mib <= 64


async def test_c5_a_bomb_of_subscriptions_is_cut_by_the_limit_of_a_frame(tmp_path):
    async with child_publishing(tmp_path / "live.db") as child:
        before = await child.tell("publish signal 1 1")
        bomb = zmq.asyncio.Context.instance().socket(zmq.SUB)
        bomb.linger = 0
        bomb.connect(child.address)
        for i in range(1_000):
            bomb.subscribe(f"signal.{i:04d}".encode() + os.urandom(1_024))
        messages = aiter(Subscriber(child.address, since=0))
        assert (await anext(messages)).seq == 1
        await child.tell("publish signal 1 1")
        assert (await anext(messages)).seq == 2
        after = await child.tell("stats")
        await messages.aclose()  # type: ignore[attr-defined]
        bomb.close()
    grown_mib = after["rss_max_mib"] - before["rss_max_mib"]
    print(f"C-5: 1,000 subscriptions of 1 kB, publisher grew {grown_mib:.1f} MiB")
    assert grown_mib <= 8


@pytest.mark.parametrize(
    "subscribers", [200, pytest.param(2_000, marks=[nightly, pytest.mark.timeout(3_600)])]
)
async def test_c4_hundreds_of_curve_subscribers_get_everything(tmp_path, subscribers):
    messages = 200 if subscribers > 1_000 else 20
    _, secret = curve.make_keys(tmp_path / "publisher", "publisher")
    _, own = curve.make_keys(tmp_path / "clients", "alice")
    database = tmp_path / "live.db"
    async with child_publishing(database, 0.0, secret, tmp_path / "clients") as child:
        loads = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.monitors.many_subscribers",
                child.address,
                str(own),
                str(tmp_path / "publisher" / "publisher.key"),
                str(subscribers // 2),
                str(messages),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            for _ in range(2)
        ]
        start = time.monotonic()
        for load in loads:
            await answer_of(load)
        connect_s = time.monotonic() - start
        for _ in range(messages):
            await child.tell("publish signal 1 1")
            await asyncio.sleep(0.05)
        results = [await answer_of(load) for load in loads]
        stats = await child.tell("stats")
        for load in loads:
            await load.wait()
    print(f"C-4: {subscribers} CURVE subscribers, connected in {connect_s:.1f} s")
    print(f"     {messages} messages at 20 a second")
    print(f"     {results}, publisher {stats['rss_max_mib']:.0f} MiB, peers {stats['peers']}")
    assert sum(result["delivered"] for result in results) == subscribers * messages
