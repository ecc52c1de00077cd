"""Yahoo's minutes as a live feed, in virtual time against a server on loopback, well-behaved and not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.clock import ManualClock
from engine.errors import DataError
from engine.slab import Universe
from feeds.yahoo_minutes import SETTLE_S, YahooMinutes, first_day
from feeds.yahoo_poll import YahooSettings
from tests.feeds.live_driving import Driver, driving, utc_ns
from tests.feeds.test_yahoo_poll import PATIENT
from tests.feeds.yahoo_minutes_server import STEP_S, Extra, minutes
from tests.feeds.yahoo_server import NOT_FOUND, Yahoo, yahoo_server

FRIDAY = dt.date(2024, 3, 8)
OPEN = utc_ns("2024-03-11T13:30")  # the Monday, in summer time already; Friday was 14:30 to 21:00
SUNDAY = utc_ns("2024-03-10T12:00")
S = 10**9

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1


@pytest.fixture
def yahoo() -> Iterator[Yahoo]:
    with yahoo_server() as server:
        yield server


def price(symbol: str, begin_s: int) -> float:
    """A price that names its bar."""
    return {"AAA": 20.0, "BBB": 50.0, "IWM": 200.0}[symbol] + begin_s // 60 % 1_440 / 1_000


def feed(
    yahoo: Yahoo,
    folder: Path,
    clock: ManualClock,
    interval: str,
    start: dt.date = FRIDAY,
    benchmark: str = "",
) -> YahooMinutes:
    settings = YahooSettings(folder, PATIENT, base_url=yahoo.url, timeout_s=60.0)
    universe = Universe(("AAA", "BBB"), benchmark=benchmark)
    return YahooMinutes(universe, start, settings, clock, interval, seed=1)


def begins_s(driver: Driver, interval: str) -> list[int]:
    """Return when the bar of each row begins, from its price."""
    return [round((row.bars.close[0, 0] - 20.0) * 1_000) for row in driver.rows]


@pytest.mark.parametrize(("interval", "n"), [("1m", 390), ("5m", 78), ("15m", 26), ("1h", 7)])
async def test_the_bars_of_the_last_session_are_given_first_and_each_new_one_after_its_end(
    yahoo: Yahoo, tmp_path: Path, interval: str, n: int
) -> None:
    clock = ManualClock(OPEN - 60 * S)
    yahoo.answer = minutes(yahoo, clock, price)
    async with driving(feed(yahoo, tmp_path, clock, interval, benchmark="IWM"), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
        assert driver.kinds() == ["row"] * n + ["connected"]
        assert all(row.backfilled for row in driver.rows)
        assert driver.rows[-1].bars.ts.tolist() == [utc_ns("2024-03-08T21:00")]
        await driver.until(lambda: len(driver.rows) == n + 1)
        end = OPEN + STEP_S[interval] * S
        assert end + SETTLE_S * S <= clock.now_ns() <= end + (SETTLE_S + 60) * S
        await driver.until(lambda: len(driver.rows) == n + 2)
    first, second = driver.rows[n:]
    assert [row.backfilled for row in (first, second)] == [False, False]
    assert first.bars.ts.tolist() == [end]
    assert second.bars.ts.tolist() == [end + STEP_S[interval] * S]
    assert first.bars.close[0].tolist() == [price(symbol, OPEN // S) for symbol in ("AAA", "BBB")]
    assert first.bars.benchmark[0].tolist() == [price("IWM", OPEN // S), 1_000.0]
    assert first.bars.high[0, 0] == first.bars.close[0, 0] + 0.1
    assert {row.source for row in driver.rows} == {"yahoo_poll"}


async def test_the_bar_that_is_on_and_the_hours_around_the_session_are_never_given(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(OPEN + 7 * 60 * S)  # In the middle of the second bar
    odd = [(OPEN // S + 6 * 60 + 13, 3.0), (OPEN // S + 411, 3.0)]  # Yahoo's live row, at the time of a trade
    yahoo.answer = minutes(yahoo, clock, price, lambda symbol: Extra(rows=tuple(odd)))
    async with driving(feed(yahoo, tmp_path, clock, "5m"), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
        await driver.until(lambda: len(driver.rows) == 78 + 4)
    closes = np.concatenate([row.bars.close[0] for row in driver.rows])
    assert closes.min() >= 20.0
    spans = np.diff([row.bars.ts[0] for row in driver.rows])
    assert set(spans[:77].tolist()) == set(spans[78:].tolist()) == {300 * S}
    assert not {"quarantined", "down"} & set(driver.kinds())


async def test_an_early_close_ends_the_session_and_a_holiday_has_none(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(utc_ns("2024-07-05T13:31"))  # The day after the holiday; 3 July ended at 17:00
    yahoo.answer = minutes(yahoo, clock, price)
    start = dt.date(2024, 7, 3)
    async with driving(feed(yahoo, tmp_path, clock, "1h", start), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 5)
    ends = [str(np.datetime64(int(row.bars.ts[0]), "ns").astype("datetime64[m]")) for row in driver.rows]
    assert ends == [f"2024-07-03T{end}" for end in ("14:30", "15:30", "16:30", "17:00")] + [
        "2024-07-05T14:30"
    ]


async def test_a_symbol_that_does_not_trade_has_no_bar_and_nobody_is_told(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(OPEN - 60 * S)
    yahoo.answer = minutes(
        yahoo,
        clock,
        lambda symbol, begin_s: None if symbol == "BBB" and begin_s % 120 else price(symbol, begin_s),
    )
    async with driving(feed(yahoo, tmp_path, clock, "1m"), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 390 + 4)
    given = [np.isnan(row.bars.close[0]).tolist() for row in driver.rows[-4:]]
    assert given == [[False, False], [False, True]] * 2
    assert set(driver.kinds()) == {"row", "connected"}


async def test_a_bar_that_comes_after_its_row_is_late_and_changes_nothing(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(OPEN - 60 * S)
    begin_s = OPEN // S

    def delayed(symbol: str, at_s: int) -> float | None:
        known = clock.now_ns() // S >= begin_s + 130 or symbol == "AAA" or at_s != begin_s
        return price(symbol, at_s) if known else None

    yahoo.answer = minutes(yahoo, clock, delayed)
    async with driving(feed(yahoo, tmp_path, clock, "1m"), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 390 + 4)
    assert np.isnan(driver.rows[390].bars.close[0]).tolist() == [False, True]
    assert len({int(row.bars.ts[0]) for row in driver.rows}) == len(driver.rows)
    assert [(one.symbol, "13:31" in one.detail) for one in driver.statuses if one.kind == "late"] == [
        ("BBB", True)
    ]


@pytest.mark.parametrize(
    "bad",
    [
        (429, b"Too Many Requests"),
        (200, b"<html>Will be right back</html>"),
        (200, b""),
        (500, b"no"),
        (200, b"[]"),
    ],
    ids=["429", "a web page", "empty", "500", "another shape"],
)
async def test_an_outage_is_told_once_and_its_bars_are_back_filled(
    yahoo: Yahoo, tmp_path: Path, bad: tuple[int, bytes]
) -> None:
    clock, broken = ManualClock(OPEN - 60 * S), [False]
    good = minutes(yahoo, clock, price)
    yahoo.answer = lambda symbol, n: bad if broken[0] else good(symbol, n)
    async with driving(feed(yahoo, tmp_path, clock, "5m"), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 79)
        broken[0] = True
        await driver.until(lambda: clock.now_ns() > OPEN + 1_500 * S)
        broken[0] = False
        await driver.until(lambda: "recovered" in driver.kinds() and len(driver.rows) >= 84)
    assert [kind for kind in driver.kinds()[79:] if kind != "row"] == ["down", "recovered"]
    ends = [int(row.bars.ts[0]) for row in driver.rows[78:]]
    assert ends == [OPEN + 300 * S * (k + 1) for k in range(len(ends))]
    assert [row.backfilled for row in driver.rows[79:82]] == [True] * 3


async def test_only_what_was_missed_is_given_after_a_restart_checked_against_the_past(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(OPEN + 1_800 * S)
    after = OPEN + 900 * S
    absurd = OPEN // S + 900
    yahoo.answer = minutes(
        yahoo, clock, lambda symbol, at_s: price(symbol, at_s) * (100 if at_s == absurd else 1)
    )
    async with driving(feed(yahoo, tmp_path, clock, "5m"), clock, after) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    assert [int(row.bars.ts[0]) for row in driver.rows] == [OPEN + 1_200 * S, OPEN + 1_500 * S]
    assert np.isnan(driver.rows[0].bars.close).all()
    assert [one.kind for one in driver.statuses] == ["quarantined", "quarantined", "connected"]


async def test_a_split_in_the_history_gives_bars_as_they_were_traded(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(OPEN + 330 * S)

    def adjusted(symbol: str, at_s: int) -> float:
        return 10.0 if symbol == "AAA" else 50.0  # Of Friday too: all in the shares of today

    yahoo.answer = minutes(
        yahoo, clock, adjusted, lambda symbol: Extra(splits=((OPEN // S, 2),) if symbol == "AAA" else ())
    )
    async with driving(feed(yahoo, tmp_path, clock, "5m"), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 80)
    assert {row.bars.close[0, 0] for row in driver.rows[:78]} == {20.0}
    assert {row.bars.volume[0, 0] for row in driver.rows[:78]} == {500.0}
    assert {row.bars.close[0, 0] for row in driver.rows[78:]} == {10.0}
    assert [row.bars.actions.tolist() for row in driver.rows[77:]] == [[], [(0, 0, 0, 2.0)], []]
    assert set(driver.kinds()) == {"row", "connected"}


async def test_a_split_is_given_once_though_its_session_begins_earlier_in_a_later_answer(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    clock = ManualClock(OPEN + 130 * S)
    split = Extra(splits=((OPEN // S, 2),))

    def slow(symbol: str, at_s: int) -> float | None:
        return None if at_s == OPEN // S and clock.now_ns() < OPEN + 200 * S else 10.0

    yahoo.answer = minutes(yahoo, clock, slow, lambda symbol: split)
    async with driving(feed(yahoo, tmp_path, clock, "1m"), clock) as driver:
        await driver.until(lambda: len(driver.rows) == 390 + 4)
    stated = [row.bars.actions["symbol"].tolist() for row in driver.rows if len(row.bars.actions)]
    assert stated == [[0, 1]]


@pytest.mark.parametrize(
    ("interval", "start", "said"),
    [
        (
            "1m",
            dt.date(2024, 3, 1),
            r"keeps 1m bars for 7 days: --start must be 2024-03-04 or later, was 2024-03-01",
        ),
        ("5m", dt.date(2024, 1, 1), "60 days"),
        ("1h", dt.date(2022, 1, 1), "730 days"),
    ],
)
def test_a_day_that_yahoo_no_longer_keeps_is_refused_with_the_first_that_it_does(
    yahoo: Yahoo, tmp_path: Path, interval: str, start: dt.date, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        feed(yahoo, tmp_path, ManualClock(SUNDAY), interval, start)


@pytest.mark.parametrize("interval", list(STEP_S))
async def test_all_that_yahoo_keeps_is_asked_for_within_its_limits(
    yahoo: Yahoo, tmp_path: Path, interval: str
) -> None:
    clock = ManualClock(utc_ns("2024-03-11T20:30"))
    answers: list[int] = []
    good = minutes(yahoo, clock, lambda symbol, at_s: price(symbol, at_s) if at_s % 3_600 == 1_800 else None)

    def answer(symbol: str, n: int) -> tuple[int, bytes]:
        status, body = good(symbol, n)
        answers.append(status)
        return status, body

    yahoo.answer = answer
    start = first_day(interval, clock.now_ns())
    async with driving(feed(yahoo, tmp_path, clock, interval, start), clock) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    assert set(answers) == {200}
    assert str(np.datetime64(int(driver.rows[0].bars.ts[0]), "ns"))[:10] <= str(start + dt.timedelta(days=4))


async def test_a_gap_longer_than_yahoo_keeps_is_told(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SUNDAY)
    yahoo.answer = minutes(yahoo, clock, price)
    async with driving(feed(yahoo, tmp_path, clock, "1m"), clock, utc_ns("2024-02-20T15:00")) as driver:
        await driver.until(lambda: "connected" in driver.kinds())
    assert driver.statuses[0].kind == "late"
    assert "from 2024-02-20 to 2024-03-04 are left out" in driver.statuses[0].detail
    assert len(driver.rows) == 5 * 390


async def test_symbols_that_yahoo_does_not_know_are_refused(yahoo: Yahoo, tmp_path: Path) -> None:
    clock = ManualClock(SUNDAY)
    yahoo.answer = lambda symbol, n: (404, NOT_FOUND)
    async with driving(feed(yahoo, tmp_path, clock, "5m"), clock) as driver:
        with pytest.raises(DataError, match="no 5m bars of the 2 symbols, AAA first"):
            await driver.until(lambda: driver.events)
