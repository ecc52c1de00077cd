"""A publisher in a process of its own, to be killed, stopped, flooded and weighed.

    python -m tests.monitors.publishing_process DATABASE PUBLISH_PORT REPLAY_PORT EVENTS_PER_S [KEY CLIENTS]

Every event says something that no other run of the program would say: what was sent without having been
committed can be told from what was. A line of its standard input is an order: `publish FAMILIES N TIMES`,
`stats`, `stop`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from benchmarks.clock import peak_rss_bytes
from engine.clock import SystemClock
from monitors import stream_log
from monitors.curve import load_server
from monitors.publisher import Publisher
from tests.monitors.live_stream import Store, body_of, connect, cut


class Process:
    def __init__(self, database: Path, per_s: float) -> None:
        self.store = Store(database)
        self.per_s = per_s

    def commit(self, families: list[str], n: int) -> list[stream_log.StreamRow]:
        connection = self.store.connection
        connection.execute("BEGIN IMMEDIATE")
        journal_seq = stream_log.position(connection).journal_seq + 1
        batches = []
        for family in families:
            said = [body_of(family, "AAA", int.from_bytes(os.urandom(3), "big") + 1) for _ in range(n)]
            batches += cut(family, said, self.store.ts_ns)
        rows = stream_log.append(connection, journal_seq, batches)
        connection.execute("COMMIT")
        return rows

    async def run(self, publish_port: int, replay_port: int, keys: list[str]) -> None:
        loop = asyncio.get_running_loop()
        orders: asyncio.Queue[str] = asyncio.Queue()
        loop.add_reader(sys.stdin, lambda: orders.put_nowait(sys.stdin.readline()))
        self.store.connection.execute("BEGIN IMMEDIATE")
        identity = stream_log.open_epoch(self.store.connection, os.urandom(8).hex())
        self.store.connection.execute("COMMIT")
        server = load_server(Path(keys[0]), Path(keys[1])) if keys else None
        reading = connect(self.store.path)
        address = f"tcp://127.0.0.1:{publish_port}"
        async with (
            Publisher(
                address, replay_port, reading, identity, self.store.bars, SystemClock(), server
            ) as publisher,
            asyncio.TaskGroup() as group,
        ):
            running = group.create_task(publisher.run())
            pouring = group.create_task(self.pour(publisher)) if self.per_s else None
            bound = {"address": publisher.address, "replay_port": publisher.replay_port}
            print(json.dumps(bound), flush=True)
            while (order := (await orders.get()).split()) and order[0] != "stop":
                if order[0] == "publish":
                    for i in range(int(order[3])):
                        publisher.publish(self.commit(order[1].split(","), int(order[2])))
                        if i % 10 == 0:
                            await asyncio.sleep(0)
                stats = publisher.stats()._asdict()
                print(json.dumps(stats | {"rss_max_mib": peak_rss_bytes() / 2**20}), flush=True)
            for task in (running, pouring):
                if task is not None:
                    task.cancel()

    async def pour(self, publisher: Publisher) -> None:
        while True:
            publisher.publish(self.commit(["signal", "fill"], 3))
            await asyncio.sleep(1.0 / self.per_s)


if __name__ == "__main__":
    database, publish_port, replay_port, per_s, *keys = sys.argv[1:]
    asyncio.run(Process(Path(database), float(per_s)).run(int(publish_port), int(replay_port), keys))
