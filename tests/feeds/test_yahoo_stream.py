"""Yahoo's stream as a live feed: real sockets, virtual time, servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection

from engine.clock import ManualClock
from feeds.live import LiveRow
from feeds.live_hours import TradingDay
from feeds.yahoo_socket import InvalidFrame, YahooSocket, decode, listening
from feeds.yahoo_stream import YahooStream
from tests.feeds.live_driving import Driver, driving, utc_ns
from tests.feeds.test_yahoo_poll import answering, closes, poll
from tests.feeds.yahoo_server import Yahoo, chart, yahoo_server
from tests.feeds.yahoo_stream_server import Stream, frame, stream_server

# Half a day before a holiday: 13:30 to 17:00 UTC
SESSION, BEFORE = "2024-07-03", ("2024-06-28", "2024-07-01", "2024-07-02")
OPEN, CLOSE = utc_ns("2024-07-03T13:30"), utc_ns("2024-07-03T17:00")
HISTORY = {day: 20.0 + i for i, day in enumerate(BEFORE)}
EXPECTED_S = 120.0
TROUBLE = {"stale", "down"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1


@pytest.fixture
def yahoo() -> Iterator[Yahoo]:
    with yahoo_server() as server:
        server.answer = lambda symbol, n: (200, chart(symbol, HISTORY))
        yield server


@pytest.fixture
async def stream() -> AsyncIterator[Stream]:
    async with stream_server() as server:
        yield server


@asynccontextmanager
async def streaming(
    yahoo: Yahoo, stream: Stream, folder: Path, start_ns: int = OPEN - 300 * 10**9, *symbols: str,
    after_ns: int = 0,
) -> AsyncIterator[Driver]:  # fmt: skip
    clock = ManualClock(start_ns)
    polled = poll(yahoo, folder, clock, *(symbols or ("AAA", "BBB")))
    feed = YahooStream(polled, clock, url=stream.url, expected_s=EXPECTED_S, seed=1)
    async with driving(feed, clock, after_ns) as driver:
        await driver.until(lambda: "connected" in driver.kinds(), step_s=0.0)
        await heard(driver, stream)
        yield driver


async def heard(driver: Driver, stream: Stream) -> None:
    """Wait in real time until the client is connected."""
    async with asyncio.timeout(600):
        while stream.behave is None and not stream.connected:
            await asyncio.sleep(0.002)


async def trade(driver: Driver, stream: Stream, until_ns: int, price: float = 22.0) -> None:
    """Let both symbols trade every 100 seconds until then."""
    await trade_at(driver, stream, until_ns, {"AAA": price, "BBB": price})


async def test_a_session_heard_whole_is_given_from_its_trades_soon_after_the_close(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    async with streaming(yahoo, stream, tmp_path) as driver:
        await trade(driver, stream, CLOSE + 30 * 10**9)
        await driver.advance(65)
        await driver.until(lambda: len(driver.rows) == 4, step_s=0.0, pace_s=0.003)
        assert CLOSE < driver.clock.now_ns() <= CLOSE + 120 * 10**9
    row = driver.rows[3]
    assert (row.source, row.backfilled) == ("yahoo_stream", False)
    assert row.bars.ts.tolist() == [CLOSE]
    assert row.bars.open[0].tolist() == row.bars.close[0].tolist() == [22.0, 22.0]
    assert row.bars.volume[0].tolist() == [1_260.0, 1_260.0]
    assert not TROUBLE & set(driver.kinds())
    assert stream.subscribed == [{"AAA", "BBB"}]


async def test_a_session_with_a_gap_is_polled_and_marked_as_backfilled(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    async with streaming(yahoo, stream, tmp_path) as driver:
        yahoo.answer = answering(driver.clock, {**HISTORY, SESSION: 23.5})
        await trade(driver, stream, OPEN + 600 * 10**9)
        stream.behave = close_with(1011)
        await stream.cut(1011)
        await driver.until(lambda: "down" in driver.kinds(), step_s=1.0, pace_s=0.003)
        stream.behave = None
        await driver.until(lambda: stream.connected, step_s=1.0, pace_s=0.003)
        await trade(driver, stream, CLOSE + 30 * 10**9)
        await driver.until(lambda: len(driver.rows) == 4, step_s=30.0, pace_s=0.003)
    row = driver.rows[3]
    assert (row.source, row.backfilled) == ("yahoo_poll", True)
    assert row.bars.close[0].tolist() == [23.5, 23.5]
    told = [kind for kind in driver.kinds() if kind not in ("row", "connected")]
    assert told == ["down", "recovered"]
    assert stream.subscribed[-1] == {"AAA", "BBB"}


@pytest.mark.parametrize("late_s", [1, 3_600])
async def test_the_first_session_is_not_made_of_the_trades_since_connecting(
    yahoo: Yahoo, stream: Stream, tmp_path: Path, late_s: int
) -> None:
    async with streaming(yahoo, stream, tmp_path, OPEN + late_s * 10**9) as driver:
        yahoo.answer = answering(driver.clock, {**HISTORY, SESSION: 23.5})
        await trade(driver, stream, CLOSE + 30 * 10**9)
        await driver.advance(120)
        assert len(driver.rows) == 3  # A minute after the close a whole session would have been given
        await driver.until(lambda: len(driver.rows) == 4, step_s=30.0, pace_s=0.003)
        assert driver.clock.now_ns() >= CLOSE + 900 * 10**9
    row = driver.rows[3]
    assert (row.source, row.backfilled) == ("yahoo_poll", True)
    assert (row.bars.open[0, 0], row.bars.close[0, 0], row.bars.volume[0, 0]) == (23.5, 23.5, 1_000.0)
    assert not TROUBLE & set(driver.kinds())


async def test_what_was_missed_before_a_restart_is_filled_in_and_the_next_session_is_heard(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    after_ns = utc_ns("2024-06-28T20:00")
    async with streaming(yahoo, stream, tmp_path, after_ns=after_ns) as driver:
        assert closes(driver) == [[21.0, 21.0], [22.0, 22.0]]
        assert [row.backfilled for row in driver.rows] == [True, True]
        await trade(driver, stream, CLOSE + 30 * 10**9)
        await driver.advance(65)
        await driver.until(lambda: len(driver.rows) == 3, step_s=0.0, pace_s=0.003)
    assert (driver.rows[2].source, driver.rows[2].backfilled) == ("yahoo_stream", False)
    days = [int(row.bars.ts[0]) for row in driver.rows]
    assert days == [utc_ns("2024-07-01T20:00"), utc_ns("2024-07-02T20:00"), CLOSE]


async def test_an_outage_over_the_close_is_polled_and_the_session_comes_once(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    async with streaming(yahoo, stream, tmp_path) as driver:
        yahoo.answer = answering(driver.clock, {**HISTORY, SESSION: 23.5})
        await trade(driver, stream, CLOSE - 200 * 10**9)
        stream.behave = close_with(1011)
        await stream.cut(1011)
        await driver.until(lambda: "down" in driver.kinds(), step_s=1.0, pace_s=0.003)
        await driver.until(lambda: driver.clock.now_ns() > CLOSE + 90 * 10**9, step_s=30.0, pace_s=0.003)
        stream.behave = None
        await driver.until(lambda: stream.connected, step_s=1.0, pace_s=0.003)
        assert len(driver.rows) == 3
        await driver.until(lambda: len(driver.rows) == 4, step_s=30.0, pace_s=0.003)
        await driver.advance(600)
    assert len(driver.rows) == 4
    assert (driver.rows[3].source, driver.rows[3].backfilled) == ("yahoo_poll", True)
    assert closes(driver)[3] == [23.5, 23.5]


async def test_a_restart_between_close_and_final_bar_waits_for_it(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    start_ns, after_ns = CLOSE + 120 * 10**9, utc_ns("2024-07-02T20:00")
    async with streaming(yahoo, stream, tmp_path, start_ns, after_ns=after_ns) as driver:
        yahoo.answer = answering(driver.clock, {**HISTORY, SESSION: 23.5})
        assert driver.rows == []
        await driver.until(lambda: driver.rows, step_s=30.0, pace_s=0.003)
        assert driver.clock.now_ns() >= CLOSE + 900 * 10**9
    assert closes(driver) == [[23.5, 23.5]]
    assert driver.rows[0].backfilled


def close_with(code: int):  # type: ignore[no-untyped-def]
    async def behave(connection: ServerConnection, n: int) -> None:
        await connection.close(code)

    return behave


async def silent(connection: ServerConnection, n: int) -> None:
    await connection.wait_closed()


async def half_open(connection: ServerConnection, n: int) -> None:
    connection.transport.pause_reading()  # Nothing is read, no ping answered, nothing closed
    await asyncio.sleep(3)


async def garbage(connection: ServerConnection, n: int) -> None:
    rng = random.Random(n)
    with contextlib.suppress(Exception):
        while True:
            await connection.send(rng.randbytes(rng.randrange(1, 300)))
            await connection.send("{" * rng.randrange(1, 2_000))
            await connection.send('{"message": "%s"}' % ("QUFB" * rng.randrange(5)))
            await asyncio.sleep(0.001)


FAULTS = {
    "silent": silent,
    "half-open": half_open,
    "clean close": close_with(1000),
    "abnormal close": close_with(1011),
    "garbage": garbage,
}


@pytest.mark.parametrize("fault", FAULTS, ids=list(FAULTS))
async def test_a_dead_stream_is_seen_within_twice_the_expected_interval_and_asked_again(
    yahoo: Yahoo, stream: Stream, tmp_path: Path, fault: str
) -> None:
    stream.behave = FAULTS[fault]
    async with streaming(yahoo, stream, tmp_path, OPEN - 30 * 10**9) as driver:
        await driver.until(lambda: TROUBLE & set(driver.kinds()), step_s=5.0, pace_s=0.003)
        open_s = 30.0
        (told_s,) = [s for s, kind in zip(driver.when_s, driver.kinds(), strict=True) if kind in TROUBLE]
        assert open_s <= told_s <= open_s + 2 * EXPECTED_S
        before = stream.n_connections
        await driver.until(lambda: stream.n_connections >= before + 2, step_s=5.0, pace_s=0.003)
        stream.behave = None
        await driver.until(lambda: stream.connected, step_s=5.0, pace_s=0.003)
        await trade(driver, stream, driver.clock.now_ns() + 60 * 10**9)
        await driver.until(lambda: "recovered" in driver.kinds(), step_s=1.0, pace_s=0.003)
        assert len(TROUBLE & set(driver.kinds())) == 1
        assert [kind for kind in driver.kinds() if kind in TROUBLE] in (["stale"], ["down"])


@pytest.mark.parametrize("fault", FAULTS, ids=list(FAULTS))
async def test_outside_the_session_a_dead_stream_is_no_news(
    yahoo: Yahoo, stream: Stream, tmp_path: Path, fault: str
) -> None:
    stream.behave = FAULTS[fault]
    async with streaming(yahoo, stream, tmp_path, OPEN - 1_800 * 10**9) as driver:
        await driver.advance(1_700)
    assert not TROUBLE & set(driver.kinds())
    assert stream.n_connections >= 1


async def test_a_server_that_closes_at_once_is_not_asked_without_a_wait(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    stream.behave = close_with(1000)
    async with streaming(yahoo, stream, tmp_path) as driver:
        await driver.advance(300)
    assert 4 <= stream.n_connections <= 14  # Waits of 2, 4, 8, ... seconds


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 302 Found\r\nLocation: ws://[::bad/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
        b"\x00\xff\r\n\r\n",
        b"",
    ],
)
async def test_no_answer_to_the_handshake_ends_the_client(reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port, clock = server.sockets[0].getsockname()[1], ManualClock(OPEN)
        trading = TradingDay(OPEN)
        socket = YahooSocket(["AAA"], clock, trading, url=f"ws://127.0.0.1:{port}/", expected_s=EXPECTED_S)
        async with listening(socket) as running:
            assert (await socket.heard()).listening is False
            told = (await socket.heard()).status
            assert told is not None
            assert told.kind == "down"
            assert not running.done()


async def test_a_suspected_split_is_told_with_the_first_trade_and_gives_no_bar(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    async with streaming(yahoo, stream, tmp_path) as driver:
        await driver.advance(310)
        now_ns = driver.clock.now_ns()
        await stream.send(frame("AAA", 11.0, now_ns, 100), frame("BBB", 22.1, now_ns, 100))
        await driver.until(lambda: "suspected_split" in driver.kinds(), step_s=1.0, pace_s=0.003)
        assert driver.clock.now_ns() - now_ns <= 40 * 10**9
        await trade_at(driver, stream, CLOSE + 30 * 10**9, {"AAA": 11.0, "BBB": 22.0})
        await driver.until(lambda: len(driver.rows) == 4, step_s=5.0, pace_s=0.003)
    np.testing.assert_equal(closes(driver)[3], [np.nan, 22.0])
    assert next(s.symbol for s in driver.statuses if s.kind == "suspected_split") == "AAA"


async def trade_at(driver: Driver, stream: Stream, until_ns: int, prices: dict[str, float]) -> None:
    while (now_ns := driver.clock.now_ns()) < until_ns:
        volume = max(0, (now_ns - OPEN) // (10 * 10**9))
        await stream.send(*(frame(symbol, price, now_ns, volume) for symbol, price in prices.items()))
        await driver.advance(min(100.0, (until_ns - now_ns) / 1e9))


async def test_a_split_stated_over_http_comes_with_the_row(
    yahoo: Yahoo, stream: Stream, tmp_path: Path
) -> None:
    async with streaming(yahoo, stream, tmp_path, OPEN - 300 * 10**9, "AAA", "BBB") as driver:
        adjusted = {**dict.fromkeys((*BEFORE, SESSION), 11.0)}
        yahoo.answer = answering(driver.clock, adjusted, splits={SESSION: 2})
        await trade_at(driver, stream, CLOSE + 30 * 10**9, {"AAA": 11.0, "BBB": 11.0})
        await driver.until(lambda: len(driver.rows) == 4, step_s=5.0, pace_s=0.003)
    row = driver.rows[3]
    assert isinstance(row, LiveRow)
    assert row.source == "yahoo_stream"
    assert closes(driver)[3] == [11.0, 11.0]
    assert row.bars.actions.tolist() == [(0, 0, 0, 2.0), (0, 1, 0, 2.0)]


def test_every_frame_is_either_a_trade_or_invalid() -> None:
    columns = {"AAA": 0}
    good = frame("AAA", 12.34, OPEN, 500)
    tick = decode(good, columns)
    assert tick is not None
    assert (tick.ts_ns, tick.price, tick.day_volume) == (OPEN, 12.34, 500.0)
    assert decode(frame("AAA", 12.34, OPEN, 500, market_hours=0), columns) is None
    rng = random.Random(7)
    n_invalid = 0
    for _ in range(5_000):
        data = bytearray(good.encode())
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            decode(bytes(data[: rng.randrange(len(data) + 1)]), columns)
        except InvalidFrame:
            n_invalid += 1
    assert n_invalid > 4_000
    for odd in ("[]", "1", "null", '"x"', "[" * 100_000, '{"message": 5}', '{"message": "QQ=="}', b"\xff"):
        with pytest.raises(InvalidFrame):
            decode(odd, columns)
