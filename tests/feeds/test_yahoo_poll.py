"""Yahoo's daily bars as a live feed, in virtual time against a server on loopback."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.clock import ManualClock
from engine.errors import DataError
from engine.slab import ActionKind, Universe
from feeds.live import FeedStatus
from feeds.yahoo import Politeness
from feeds.yahoo_poll import YahooPoll, YahooSettings
from tests.feeds.live_driving import Driver, driving, utc_ns
from tests.feeds.price_files import DAYS
from tests.feeds.yahoo_server import NOT_FOUND, Yahoo, chart, yahoo_server

BARS = {day: 20.0 + i for i, day in enumerate(DAYS)}
MONDAY, TUESDAY = "2024-03-11", "2024-03-12"  # after the Friday that ends DAYS; they end at 20:00 UTC
SATURDAY = utc_ns("2024-03-09T12:00")
MONDAY_AFTERNOON = utc_ns("2024-03-11T19:50")
PATIENT = Politeness(batch=20, workers=2, attempts=1, wait_s=0.01, wait_max_s=0.02, pause_s=0.0)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1


@pytest.fixture
def yahoo() -> Iterator[Yahoo]:
    with yahoo_server() as server:
        server.answer = lambda symbol, n: (200, chart(symbol, BARS))
        yield server


def poll(yahoo: Yahoo, folder: Path, clock: ManualClock, *symbols: str, benchmark: str = "") -> YahooPoll:
    settings = YahooSettings(folder, PATIENT, base_url=yahoo.url, timeout_s=60.0)
    universe = Universe(tuple(sorted(symbols or ("AAA", "BBB"))), benchmark=benchmark)
    return YahooPoll(universe, dt.date(2024, 3, 1), settings, clock, seed=1)


def answering(clock: ManualClock, bars: dict[str, float], **options: Any) -> Any:
    """Answer as Yahoo would at the clock's time: with the days that have begun."""

    def answer(symbol: str, n: int) -> tuple[int, bytes]:
        today = str(np.datetime64(clock.now_ns(), "D"))
        return 200, chart(symbol, {day: close for day, close in bars.items() if day <= today}, **options)

    return answer


def closes(driver: Driver) -> list[list[float]]:
    return [row.bars.close[0].tolist() for row in driver.rows]


async def test_history_is_given_first_and_the_next_session_after_its_close(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(MONDAY_AFTERNOON)
    yahoo.answer = answering(clock, {**BARS, MONDAY: 30.0})
    async with driving(poll(yahoo, tmp_path, clock), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
        assert driver.kinds() == ["row"] * 5 + ["connected"]
        assert all(row.backfilled for row in driver.rows)
        await driver.until(lambda: len(driver.rows) == 6)
        assert utc_ns("2024-03-11T20:15") <= clock.now_ns() < utc_ns("2024-03-11T20:17")
    assert closes(driver) == [[close, close] for close in (*BARS.values(), 30.0)]
    assert driver.rows[-1].bars.ts.tolist() == [utc_ns("2024-03-11T20:00")]
    assert not driver.rows[-1].backfilled


async def test_only_what_is_missing_after_a_restart_is_given(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SATURDAY)
    after = utc_ns("2024-03-06T21:00")
    async with driving(poll(yahoo, tmp_path, clock), clock, after) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    assert closes(driver) == [[23.0, 23.0], [24.0, 24.0]]


async def test_a_session_that_is_on_gives_no_bar(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(utc_ns("2024-03-08T18:00"))  # The market is open
    async with driving(poll(yahoo, tmp_path, clock), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
        assert len(driver.rows) == 4
        await driver.until(lambda: len(driver.rows) == 5)
        assert clock.now_ns() >= utc_ns("2024-03-08T21:15")


@pytest.mark.parametrize(
    "bad",
    [(429, b"Too Many Requests"), (200, b"<html>Will be right back</html>"), (200, b""), (500, b"no")],
    ids=["429", "a web page", "empty", "500"],
)
async def test_a_failing_yahoo_is_told_once_and_asked_again_until_it_answers(
    yahoo: Yahoo, tmp_path: Path, bad: tuple[int, bytes]
) -> None:
    clock = ManualClock(SATURDAY)
    broken = [True]
    yahoo.answer = lambda symbol, n: bad if broken[0] else (200, chart(symbol, BARS))
    async with driving(poll(yahoo, tmp_path, clock), clock) as driver:
        await driver.until(lambda: yahoo.asked.total() >= 4 and clock.monotonic_s() > 600)
        assert driver.kinds() == ["down"]
        broken[0] = False
        await driver.until(lambda: "connected" in driver.kinds())
    assert driver.kinds() == ["down", "recovered", *["row"] * 5, "connected"]


async def test_waits_between_rounds_grow_and_are_jittered(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SATURDAY)
    asked_s: list[float] = []

    def refuse(symbol: str, n: int) -> tuple[int, bytes]:
        asked_s.append(clock.monotonic_s())
        return 429, b""

    yahoo.answer = refuse
    async with driving(poll(yahoo, tmp_path, clock, "AAA"), clock) as driver:
        await driver.until(lambda: len(set(asked_s)) >= 5)
    waits = np.diff(np.unique(asked_s))
    assert all(30.0 * 2**k <= wait <= 90.0 * 2**k + 1 for k, wait in enumerate(waits[:4]))
    assert len({wait / 2**k for k, wait in enumerate(waits[:4])}) == 4


@pytest.mark.parametrize(
    "bad",
    [
        (500, b""),
        (401, b'{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}'),
        (403, b"{}"),
        (500, b"{}"),
        (503, b'{"finance":{"result":null,"error":{"code":"Service Unavailable"}}}'),
        (200, b'{"chart":{"result":null,"error":null}}'),
        (200, b'{"chart":{"result":null,"error":{"code":"Internal Server Error"}}}'),
    ],
    ids=["500", "401", "403", "500 in JSON", "503", "no result", "an error with status 200"],
)
async def test_a_symbol_without_an_answer_holds_the_row_for_a_while_and_is_late_then(
    yahoo: Yahoo, tmp_path: Path, bad: tuple[int, bytes]
) -> None:
    clock = ManualClock(MONDAY_AFTERNOON)
    good = answering(clock, {**BARS, MONDAY: 30.0, TUESDAY: 31.0})
    monday, tuesday = utc_ns("2024-03-11T20:15"), utc_ns("2024-03-12T20:15")

    def answer(symbol: str, n: int) -> tuple[int, bytes]:
        return bad if symbol == "BBB" and monday <= clock.now_ns() < tuesday else good(symbol, n)

    yahoo.answer = answer
    async with driving(poll(yahoo, tmp_path, clock, "AAA", "BBB", "CCC"), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 6)
        assert monday + 1_700 * 10**9 <= clock.now_ns() < monday + 3_600 * 10**9
        await driver.until(lambda: len(driver.rows) == 7)
    np.testing.assert_equal(closes(driver)[5:], [[30.0, np.nan, 30.0], [31.0, 31.0, 31.0]])
    after = driver.kinds()[6:]
    assert after == ["down", "recovered", "stale", "row", "late", "row"]
    assert [s.symbol for s in driver.statuses[-2:]] == ["BBB", "BBB"]


async def test_a_bar_that_was_missing_in_an_answer_is_late_when_it_comes(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(MONDAY_AFTERNOON)
    whole = answering(clock, {**BARS, MONDAY: 30.0, TUESDAY: 31.0})
    lacking = answering(clock, {**BARS, TUESDAY: 31.0})
    tuesday = utc_ns("2024-03-12T20:15")

    def answer(symbol: str, n: int) -> tuple[int, bytes]:
        return lacking(symbol, n) if symbol == "BBB" and clock.now_ns() < tuesday else whole(symbol, n)

    yahoo.answer = answer
    async with driving(poll(yahoo, tmp_path, clock), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 7)
    np.testing.assert_equal(closes(driver)[5:], [[30.0, np.nan], [31.0, 31.0]])
    assert driver.statuses[-1].symbol == "BBB"
    assert driver.statuses[-1].detail == f"its bar of {MONDAY} came after the row was given"


async def test_a_session_that_yahoo_does_not_have_yet_is_asked_for_again(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(MONDAY_AFTERNOON)
    good = answering(clock, {**BARS, MONDAY: 30.0})
    lagging = utc_ns("2024-03-11T20:25")
    yahoo.answer = lambda symbol, n: (
        good(symbol, n) if clock.now_ns() > lagging else (200, chart(symbol, BARS))
    )
    async with driving(poll(yahoo, tmp_path, clock), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 6)
    assert clock.now_ns() > lagging
    assert closes(driver)[5] == [30.0, 30.0]


async def test_a_symbol_that_yahoo_does_not_know_delays_nothing(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SATURDAY)
    yahoo.answer = lambda symbol, n: (404, NOT_FOUND) if symbol == "ZZZ" else (200, chart(symbol, BARS))
    async with driving(poll(yahoo, tmp_path, clock, "AAA", "ZZZ"), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    np.testing.assert_equal(closes(driver), [[close, np.nan] for close in BARS.values()])
    assert clock.monotonic_s() < 1


async def test_a_stated_split_comes_as_an_action_with_raw_prices_around_it(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(SATURDAY)
    adjusted = {day: 10.0 for day in DAYS}  # Yahoo states the past in today's shares
    yahoo.answer = lambda symbol, n: (200, chart(symbol, adjusted, splits={DAYS[3]: 2}))
    async with driving(poll(yahoo, tmp_path, clock, "AAA"), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    assert [c[0] for c in closes(driver)] == [20.0, 20.0, 20.0, 10.0, 10.0]
    (action,) = driver.rows[3].bars.actions.tolist()
    assert action == (0, 0, ActionKind.SPLIT, 2.0)
    assert driver.kinds() == [*["row"] * 5, "connected"]


async def test_a_split_that_yahoo_does_not_state_yet_is_held_back_and_told_then_taken_when_stated(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(MONDAY_AFTERNOON)
    flat = {**{day: 20.0 for day in DAYS}, MONDAY: 10.0}
    good = answering(clock, flat)
    adjusted = answering(clock, {**dict.fromkeys((*DAYS, MONDAY, TUESDAY), 10.0)}, splits={MONDAY: 2})
    stated = utc_ns("2024-03-12T20:00")
    yahoo.answer = lambda symbol, n: adjusted(symbol, n) if clock.now_ns() > stated else good(symbol, n)
    async with driving(poll(yahoo, tmp_path, clock, "AAA"), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 7)
    assert np.isnan(driver.rows[5].bars.close[0, 0])
    told = [s for s in driver.statuses if s.kind == "suspected_split"]
    assert [s.symbol for s in told] == ["AAA"]
    assert "2:1" in told[0].detail
    assert closes(driver)[6] == [10.0]
    assert driver.rows[6].bars.actions.tolist() == [(0, 0, ActionKind.SPLIT, 2.0)]


async def test_the_benchmark_is_carried_beside_the_symbols(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SATURDAY)
    async with driving(poll(yahoo, tmp_path, clock, "AAA", benchmark="IWM"), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    assert driver.rows[0].bars.benchmark.tolist() == [[20.0, 1000.0]]
    assert driver.rows[0].bars.n_symbols == 1


async def test_the_feed_shows_signs_of_life_through_a_weekend(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SATURDAY)
    feed = poll(yahoo, tmp_path, clock, "AAA")
    async with driving(feed, clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
        for _ in range(20):
            await clock.advance(3_600)
            assert feed.alive_s is not None
            assert clock.monotonic_s() - feed.alive_s <= 30.0


async def test_a_quarantined_bar_leaves_no_price(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SATURDAY)
    yahoo.answer = lambda symbol, n: (200, chart(symbol, {**BARS, DAYS[4]: 2_200.0}))
    async with driving(poll(yahoo, tmp_path, clock, "AAA"), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    np.testing.assert_equal([c[0] for c in closes(driver)], [20.0, 21.0, 22.0, 23.0, np.nan])
    assert isinstance(driver.events[5], FeedStatus)
    assert (driver.events[5].kind, driver.events[5].symbol) == ("quarantined", "AAA")


def test_symbols_that_cannot_be_are_refused_at_once(yahoo: Yahoo, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.\./x"):
        poll(yahoo, tmp_path, ManualClock(SATURDAY), "../x")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(-5.0, "price_not_positive"), (0.0, "price_not_positive"), (2_200.0, "price_spike"), (None, "")],
)
async def test_a_bar_of_the_past_that_cannot_be_is_told_and_given_to_nobody(
    yahoo: Yahoo, tmp_path: Path, bad: float | None, reason: str
) -> None:
    clock = ManualClock(SATURDAY)
    broken: dict[str, Any] = {**BARS, DAYS[2]: bad}
    yahoo.answer = lambda symbol, n: (200, chart(symbol, broken if symbol == "AAA" else BARS))
    async with driving(poll(yahoo, tmp_path, clock), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    np.testing.assert_equal(closes(driver)[2], [np.nan, BARS[DAYS[2]]])
    told = [(one.symbol, reason in one.detail) for one in driver.statuses if one.kind == "quarantined"]
    assert told == ([("AAA", True)] if reason else [])  # Nothing is Yahoo's word for no bar
