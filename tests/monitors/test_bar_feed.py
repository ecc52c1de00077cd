"""Bars of another process over real sockets: whole rows, back-fill, and a publisher that goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from engine.clock import SystemClock
from engine.errors import ConfigError
from engine.slab import Bars, Universe
from feeds.live import FeedEvent, FeedStatus, LiveRow
from monitors import bar_feed, stream_log
from monitors.bar_feed import BarFeed
from tests.monitors.live_stream import TS, Store, publishing
from tests.ports import free_port


class Prices(Store):
    """Bars that pass every check: the close is 100 and the number of the journal entry."""

    def __init__(self, path: Path, n_symbols: int) -> None:
        super().__init__(path, n_symbols)
        self.absent: dict[int, int] = {}  # journal entry -> column without a bar

    def bars(self, journal_seq: int) -> tuple[Sequence[str], Bars]:
        prices = np.full((1, len(self.symbols)), 100.0 + journal_seq)
        if journal_seq in self.absent:
            prices[0, self.absent[journal_seq]] = np.nan
        return self.symbols, Bars(np.array([TS]), prices, prices, prices, prices, 100.0 * prices)

    def row(self, absent: int | None = None) -> None:
        """Commit a row."""
        if absent is not None:
            self.absent[stream_log.position(self.connection).journal_seq + 1] = absent
        self.rows = self.commit("bar")

    def batches(self, family, n, journal_seq):  # type: ignore[no-untyped-def]
        absent = journal_seq in self.absent
        return [
            batch._replace(count=batch.count - absent) for batch in super().batches(family, n, journal_seq)
        ]


@pytest.fixture
def store(tmp_path: Path) -> Prices:
    return Prices(tmp_path / "live.db", n_symbols=5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar_feed, "RETRY_S", 0.05)


@asynccontextmanager
async def following(store: Prices, address: str, after_ts_ns: int = 0) -> AsyncIterator[list[FeedEvent]]:
    events: list[FeedEvent] = []
    feed = BarFeed(Universe(store.symbols), address, SystemClock(), seed=1)

    async def follow() -> None:
        async for event in feed.events(after_ts_ns):
            events.append(event)

    task = asyncio.create_task(follow())
    try:
        yield events
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(events: list[FeedEvent], n_rows: int = 0, kind: str = "") -> None:
    async with asyncio.timeout(600):
        while len(rows(events)) < n_rows or (kind and kind not in kinds(events)):
            await asyncio.sleep(0.01)


def rows(events: list[FeedEvent]) -> list[LiveRow]:
    return [event for event in events if isinstance(event, LiveRow)]


def kinds(events: list[FeedEvent]) -> list[str]:
    return [event.kind for event in events if isinstance(event, FeedStatus)]


def closes(events: list[FeedEvent]) -> list[list[float]]:
    return [row.bars.close[0].tolist() for row in rows(events)]


async def test_what_was_published_is_backfilled_and_what_is_published_then_is_live(store: Prices) -> None:
    for _ in range(3):
        store.row()
    async with publishing(store) as publisher, following(store, publisher.address) as events:
        await until(events, kind="connected")
        store.row()
        publisher.publish(store.rows)
        await until(events, n_rows=4)
    assert closes(events) == [[100.0 + seq] * 5 for seq in (1, 2, 3, 4)]
    assert [row.backfilled for row in rows(events)] == [True, True, True, False]
    assert [int(row.bars.ts[0]) for row in rows(events)] == [TS + seq for seq in (1, 2, 3, 4)]


async def test_only_rows_after_the_last_one_known_are_given(store: Prices) -> None:
    for _ in range(4):
        store.row()
    async with publishing(store) as publisher, following(store, publisher.address, TS + 2) as events:
        await until(events, kind="connected")
    assert closes(events) == [[103.0] * 5, [104.0] * 5]


async def test_a_row_in_which_a_symbol_has_no_bar_is_whole_with_the_next_one(store: Prices) -> None:
    async with publishing(store) as publisher, following(store, publisher.address) as events:
        await until(events, kind="connected")
        for absent in (None, 2, None):
            store.row(absent)
            publisher.publish(store.rows)
        await until(events, n_rows=3)
    np.testing.assert_equal(closes(events)[1], [102.0, 102.0, np.nan, 102.0, 102.0])
    assert kinds(events) == ["connected"]


async def test_a_publisher_that_restarts_leaves_no_gap(store: Prices) -> None:
    address, replay_port = f"tcp://127.0.0.1:{free_port()}", free_port()
    async with contextlib.AsyncExitStack() as before:
        publishes = publishing(store, address=address, replay_port=replay_port)
        publisher = await before.enter_async_context(publishes)
        async with following(store, address) as events:
            await until(events, kind="connected")
            store.row()
            publisher.publish(store.rows)
            await until(events, n_rows=1)
            await before.aclose()
            for _ in range(2):
                store.row()
            async with publishing(store, address=address, replay_port=replay_port) as again:
                store.row()
                again.publish(store.rows)
                await until(events, n_rows=4)
    assert closes(events) == [[100.0 + seq] * 5 for seq in (1, 2, 3, 4)]


def test_an_address_that_cannot_be_is_refused_at_once(store: Prices) -> None:
    with pytest.raises(ConfigError):
        BarFeed(Universe(store.symbols), "nonsense", SystemClock())
