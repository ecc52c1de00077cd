"""Yahoo through its cache, against a server on loopback that behaves well or badly."""

import datetime as dt
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import DataError
from feeds.panel import PanelFeed
from feeds.yahoo import Politeness, yahoo_feed
from feeds.yahoo_cache import YahooCache
from tests.feeds.price_files import DAYS, actions_of, column, rows_of
from tests.feeds.yahoo_server import NOT_FOUND, Yahoo, chart, yahoo_server

NOW = dt.datetime(2024, 3, 9, 12, tzinfo=dt.UTC).timestamp()  # the Saturday after DAYS
BARS = {day: 20.0 + i for i, day in enumerate(DAYS)}
HOUR = 3600.0

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1


@pytest.fixture
def yahoo() -> Iterator[Yahoo]:
    with yahoo_server() as server:
        server.answer = lambda symbol, n: (200, chart(symbol, BARS))
        yield server


def fetch(yahoo: Yahoo, folder: Path, *symbols: str, now: float = NOW, **options: Any) -> PanelFeed:
    waits: list[float] = options.pop("waits", [])
    start, end = options.pop("start", DAYS[0]), options.pop("end", DAYS[-1])
    return yahoo_feed(
        symbols or ("AAA",), start, end, cache_dir=folder, base_url=yahoo.url, clock=lambda: now,
        sleep=waits.append, seed=1, **options,
    )  # fmt: skip


def test_bars_come_through_with_their_dividends(yahoo: Yahoo, tmp_path: Path) -> None:
    yahoo.answer = lambda symbol, n: (200, chart(symbol, BARS, dividends={DAYS[2]: 0.25}))
    feed = fetch(yahoo, tmp_path, "BBB", "aaa")
    bars = rows_of(feed)
    assert feed.universe.symbols == ("AAA", "BBB")
    assert column(bars, feed, "AAA").tolist() == list(BARS.values())
    assert actions_of(bars) == [(2, 0, 1, 0.25), (2, 1, 1, 0.25)]
    assert feed.quality.notes == ()


def test_young_bars_are_not_asked_for_again(yahoo: Yahoo, tmp_path: Path) -> None:
    fetch(yahoo, tmp_path)
    asked = yahoo.asked.copy()
    fetch(yahoo, tmp_path, now=NOW + HOUR)
    fetch(yahoo, tmp_path, start=DAYS[2], end=DAYS[3], now=NOW + HOUR)
    assert yahoo.asked == asked
    fetch(yahoo, tmp_path, now=NOW + 13 * HOUR)
    assert yahoo.asked != asked


def test_an_earlier_start_is_fetched_and_a_later_one_does_not_shrink_the_cache(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    fetch(yahoo, tmp_path, start=DAYS[2])
    fetch(yahoo, tmp_path, start=DAYS[0])
    assert yahoo.asked["AAA"] == 2
    fetch(yahoo, tmp_path, start=DAYS[2], ttl_hours=0)
    entry = YahooCache(tmp_path / "yahoo").find("AAA")
    assert entry is not None
    assert entry.end - entry.start == 4


@pytest.mark.parametrize(
    "bad",
    [
        (500, b"Internal Server Error"),
        (200, b"<html>Will be right back</html>"),
        (200, chart("AAA", BARS)[:300]),
    ],
    ids=["500", "html", "truncated"],
)
def test_a_broken_answer_is_asked_for_again_with_growing_waits(
    yahoo: Yahoo, tmp_path: Path, bad: tuple[int, bytes]
) -> None:
    # yfinance repeats a request that failed with 4xx or 5xx once by itself.
    n_bad = 4 if bad[0] == 500 else 2
    yahoo.answer = lambda symbol, n: bad if n <= n_bad else (200, chart(symbol, BARS))
    waits: list[float] = []
    feed = fetch(yahoo, tmp_path, waits=waits)
    assert feed.n_bars == 5
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1.5 <= 2 * 1.5 >= waits[1] >= 1.0


def test_a_rate_limit_is_waited_for(yahoo: Yahoo, tmp_path: Path) -> None:
    yahoo.answer = lambda symbol, n: (429, b"Too Many Requests") if n <= 4 else (200, chart(symbol, BARS))
    waits: list[float] = []
    assert fetch(yahoo, tmp_path, waits=waits).n_bars == 5
    assert len(waits) == 2


def test_a_lasting_rate_limit_stops_the_asking_and_the_cache_is_used_with_its_age(
    yahoo: Yahoo, tmp_path: Path
) -> None:
    symbols = ("AAA", "BBB", "CCC", "DDD")
    fetch(yahoo, tmp_path, *symbols)
    yahoo.answer = lambda symbol, n: (429, b"Too Many Requests")
    yahoo.asked.clear()
    feed = fetch(yahoo, tmp_path, *symbols, now=NOW + 72 * HOUR, politeness=Politeness(workers=1, attempts=2))
    assert feed.n_bars == 20
    assert set(yahoo.asked) == {"AAA"}
    (note,) = feed.quality.notes
    assert note.startswith("Yahoo gave no answer for AAA, BBB, CCC, DDD (rate limit); cached bars are used")
    assert note.endswith("up to 3 days old")


def test_a_server_that_hangs_or_is_gone_falls_back_on_the_cache(yahoo: Yahoo, tmp_path: Path) -> None:
    fetch(yahoo, tmp_path)
    yahoo.answer = yahoo.hang
    impatient = {"now": NOW + 24 * HOUR, "timeout_s": 0.1, "politeness": Politeness(attempts=1)}
    assert any("24 hours old" in note for note in fetch(yahoo, tmp_path, **impatient).quality.notes)
    gone = Yahoo("http://127.0.0.1:9")
    assert any("24 hours old" in note for note in fetch(gone, tmp_path, **impatient).quality.notes)


def test_nothing_fetched_and_nothing_cached_is_one_line(yahoo: Yahoo, tmp_path: Path) -> None:
    yahoo.answer = lambda symbol, n: (500, b"")
    with pytest.raises(DataError, match=r"^Yahoo: no bars of AAA \(.*\) and none cached; try again later$"):
        fetch(yahoo, tmp_path)
    yahoo.answer = lambda symbol, n: (404, NOT_FOUND)
    with pytest.raises(DataError, match=r"^Yahoo: no bars of AAA \(.*\) and none cached$"):
        fetch(yahoo, tmp_path)


def test_no_answer_is_not_told_as_an_answer_that_there_is_nothing(yahoo: Yahoo, tmp_path: Path) -> None:
    yahoo.answer = lambda symbol, n: (500, b"") if symbol == "ZZZ" else (200, chart(symbol, BARS))
    feed = fetch(yahoo, tmp_path, "AAA", "ZZZ")
    assert any(note.startswith("Yahoo gave no answer for ZZZ (") for note in feed.quality.notes)


@pytest.mark.parametrize("empty", [(404, NOT_FOUND), (200, chart("ZZZ", {}))], ids=["404", "empty"])
def test_a_symbol_without_data_is_named_and_the_rest_is_used(
    yahoo: Yahoo, tmp_path: Path, empty: tuple[int, bytes]
) -> None:
    yahoo.answer = lambda symbol, n: empty if symbol == "ZZZ" else (200, chart(symbol, BARS))
    waits: list[float] = []
    feed = fetch(yahoo, tmp_path, "AAA", "ZZZ", waits=waits)
    assert feed.universe.symbols == ("AAA",)
    assert any(note.startswith("Yahoo has no bars of ZZZ (") for note in feed.quality.notes)
    assert waits == []


def test_rows_without_prices_are_set_aside(yahoo: Yahoo, tmp_path: Path) -> None:
    holes: dict[str, Any] = BARS | {DAYS[1]: None}
    yahoo.answer = lambda symbol, n: (200, chart(symbol, holes))
    feed = fetch(yahoo, tmp_path)
    assert feed.quality.counts == {"non_finite": 1}
    assert np.isnan(rows_of(feed).close[:, 0]).tolist() == [False, True, False, False, False]


def test_the_bar_of_a_session_that_is_not_over_is_left_out(yahoo: Yahoo, tmp_path: Path) -> None:
    noon = dt.datetime(2024, 3, 8, 17, tzinfo=dt.UTC).timestamp()
    feed = fetch(yahoo, tmp_path, now=noon, end=None)
    assert feed.n_rows == 4
    assert any("today's bar of AAA is left out" in note for note in feed.quality.notes)


def test_batches_are_paced(yahoo: Yahoo, tmp_path: Path) -> None:
    waits: list[float] = []
    fetch(yahoo, tmp_path, "AAA", "BBB", "CCC", waits=waits, politeness=Politeness(batch=1, workers=1))
    assert len(waits) == 2


def test_a_damaged_cache_file_is_fetched_anew(yahoo: Yahoo, tmp_path: Path) -> None:
    fetch(yahoo, tmp_path)
    (tmp_path / "yahoo" / "AAA.parquet").write_bytes(b"damaged")
    assert fetch(yahoo, tmp_path).n_bars == 5


def test_the_cookies_are_private(yahoo: Yahoo, tmp_path: Path) -> None:
    fetch(yahoo, tmp_path)
    assert stat.S_IMODE((tmp_path / "yahoo-private").stat().st_mode) == 0o700


@pytest.mark.parametrize("symbol", ["../AAA", "", ".A", "A/B"])
def test_what_is_no_symbol_never_becomes_a_path(yahoo: Yahoo, tmp_path: Path, symbol: str) -> None:
    with pytest.raises(DataError, match="is no symbol"):
        fetch(yahoo, tmp_path, symbol)
    assert not yahoo.asked
