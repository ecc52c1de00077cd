"""Bringing the store up to date from two services over real sockets, either of which may misbehave."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config.secret import Secret
from engine.errors import DataError
from feeds.alpha_vantage import AlphaVantage
from feeds.fundamentals_refresh import Outcome, Refresher
from feeds.fundamentals_store import FundamentalsStore
from feeds.http import Http
from feeds.provider import Failure, Origin, ProviderError, Snapshot
from feeds.rate_limit import DayCount, RateLimit
from feeds.retry import Patience
from feeds.yahoo_fundamentals import YahooFundamentals
from tests.feeds.faulty_server import Asked, FaultyServer, Reply, faulty_server, of
from tests.feeds.test_alpha_vantage import DAILY, about
from tests.feeds.yahoo_fundamentals_server import (
    NOT_FOUND,
    PERIODS,
    SUMMARY,
    YahooAnswers,
    periods,
    summary,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1

T0 = 1_795_000_000 * 10**9
DAY = 86_400 * 10**9
NO_FLOAT = {
    "defaultKeyStatistics": {k: v for k, v in SUMMARY["defaultKeyStatistics"].items() if k != "floatShares"}
}


class World:
    """Both services, a store and a clock."""

    def __init__(self, yahoo: FaultyServer, alpha: FaultyServer, folder: Path) -> None:
        self.yahoo, self.alpha, self.folder = yahoo, alpha, folder
        self.answers = YahooAnswers()
        yahoo.answer = self.answers
        alpha.answer = about
        self.now = T0
        self.store = FundamentalsStore(folder / "fundamentals")
        self.key = True
        self.calls_a_day = 25
        self.options: dict[str, Any] = {"ttl_s": 7 * 86_400.0, "workers": 1}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Refresher]:
        quick = Patience(attempts=2, wait_s=0.001, wait_max_s=1.0)
        limit = RateLimit(None, clock=lambda: 0.0)
        day = DayCount(self.folder / "calls.json", "Alpha Vantage", self.calls_a_day, lambda: self.now / 1e9)
        alpha_limit = RateLimit(None, day=day, clock=lambda: 0.0)
        yahoo = YahooFundamentals(
            limit, lambda: self.now, base_url=self.yahoo.url, patience=quick,
            timeout_s=60.0,
        )  # fmt: skip
        async with Http("Alpha Vantage", self.alpha.url, alpha_limit, patience=quick, timeout_s=60.0) as http:
            alpha = AlphaVantage(http, Secret("key"), alpha_limit, lambda: self.now)
            sources = [yahoo, alpha] if self.key else [yahoo]
            yield Refresher(sources, self.store, now_ns=lambda: self.now, **self.options)

    async def refresh(self, *symbols: str, on_done: Callable[[str], None] = lambda symbol: None) -> Outcome:
        async with self.open() as refresher:
            return await refresher.refresh(symbols, on_done=on_done)

    def known(self, symbol: str = "AAA") -> Snapshot:
        known = self.store.as_of(symbol, self.now)
        assert known is not None
        return known


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with faulty_server() as yahoo, faulty_server() as alpha:
        yield World(yahoo, alpha, tmp_path)


def asked_about(server: FaultyServer) -> list[str]:
    return [asked.path.rsplit("/", 1)[1] for asked in server.asked if "quoteSummary" in asked.path]


async def test_what_yahoo_has_is_not_asked_of_alpha_vantage(world: World) -> None:
    outcome = await world.refresh("AAA", "BBB")
    assert outcome.fetched == ["AAA", "BBB"]
    assert (outcome.fresh, outcome.failed, outcome.unasked, outcome.stopped) == ([], {}, [], {})
    assert outcome.answers == {"yahoo": 2}
    assert world.alpha.asked == []


async def test_a_field_that_yahoo_lacks_comes_from_alpha_vantage_with_its_name(world: World) -> None:
    world.answers.on_summary = lambda asked, symbol: summary(**NO_FLOAT)
    outcome = await world.refresh("AAA")
    assert outcome.answers == {"yahoo": 1, "alpha_vantage": 1}
    assert [asked.query["function"] for asked in world.alpha.asked] == ["OVERVIEW"]
    known = world.known()
    assert known.float_shares == 4.1e7
    assert known.origin("float_shares") == Origin("alpha_vantage", T0)
    assert known.market_cap == 925_000_000
    assert known.origin("market_cap") == Origin("yahoo", T0)


async def test_earnings_that_yahoo_lacks_come_from_alpha_vantage_with_their_report_dates(
    world: World,
) -> None:
    world.answers.on_periods = lambda asked, symbol: periods(
        {"annualDilutedEPS": PERIODS["annualDilutedEPS"]}
    )
    await world.refresh("AAA")
    assert [asked.query["function"] for asked in world.alpha.asked] == ["EARNINGS"]
    known = world.known()
    assert [dated.value for dated in known.quarterly_eps] == [0.3, 0.35]
    assert [dated.value for dated in known.annual_eps] == [0.8, 1.0]
    assert known.origin("quarterly_eps").source == "alpha_vantage"
    assert known.origin("annual_eps").source == "yahoo"


async def test_without_a_key_what_yahoo_lacks_stays_unknown(world: World) -> None:
    world.key = False
    world.answers.on_summary = lambda asked, symbol: summary(**NO_FLOAT)
    assert (await world.refresh("AAA")).fetched == ["AAA"]
    assert world.known().float_shares is None


async def test_a_symbol_that_yahoo_does_not_know_is_asked_of_alpha_vantage(world: World) -> None:
    world.answers.on_summary = lambda asked, symbol: of(NOT_FOUND, 404) if symbol == "ZZZ" else summary()
    outcome = await world.refresh("ZZZ", "AAA")
    assert outcome.fetched == ["ZZZ", "AAA"]
    assert outcome.gaps["ZZZ"].failure is Failure.UNKNOWN_SYMBOL
    assert world.known("ZZZ").source == "alpha_vantage"


def bad(asked: Asked, symbol: str) -> Reply:
    """One reply per fault, by symbol."""
    nan = b'{"quoteSummary": {"result": [{"price": {"marketCap": NaN, "regularMarketPrice": 3}}]}}'
    return {
        "GONE": of(NOT_FOUND, 404), "HTML": Reply(200, b"<html>"), "CUT": Reply(200, b'{"quote'),
        "DOWN": Reply(503), "EMPTY": of({"quoteSummary": {"result": []}}), "NAN": Reply(200, nan),
        "RENAMED": of({"quoteSummary": {"result": [{"price": {"mktCap": 1}}]}}),
        "HUGE": Reply(200, b"x" * 1_000_000, repeat=100),
        "EVIL": Reply(302, headers={"Location": "http://169.254.169.254/"}),
    }.get(symbol, summary())  # fmt: skip


async def test_one_bad_symbol_never_spoils_a_run(world: World) -> None:
    world.key = False
    world.answers.on_summary = bad
    names = ["GONE", "AAA", "HTML", "CUT", "BBB", "DOWN", "EMPTY", "CCC", "NAN", "RENAMED", "HUGE", "DDD",
             "EVIL", "../X", "EEE"]  # fmt: skip
    outcome = await world.refresh(*names)
    assert outcome.fetched == ["AAA", "BBB", "CCC", "NAN", "DDD", "EEE"]
    kinds = {s: e.failure if isinstance(e, ProviderError) else "data" for s, e in outcome.failed.items()}
    assert kinds == {
        "GONE": "unknown_symbol", "HTML": "malformed", "CUT": "malformed", "DOWN": "unavailable",
        "EMPTY": "empty", "RENAMED": "malformed", "HUGE": "refused", "EVIL": "refused", "../X": "data",
    }  # fmt: skip
    assert (outcome.unasked, outcome.stopped) == ([], {})
    assert world.known("NAN").market_cap is None


async def test_a_second_run_asks_only_about_what_is_missing_or_too_old(world: World) -> None:
    await world.refresh("AAA")
    world.yahoo.asked.clear()
    world.now += 6 * DAY
    outcome = await world.refresh("AAA", "BBB")
    assert (outcome.fresh, outcome.fetched, asked_about(world.yahoo)) == (["AAA"], ["BBB"], ["BBB"])
    world.now += DAY
    outcome = await world.refresh("AAA", "BBB")
    assert (outcome.fresh, outcome.fetched) == (["BBB"], ["AAA"])
    assert len(world.store.versions("AAA")) == 2
    world.options["ttl_s"] = None
    world.now += 1000 * DAY
    assert (await world.refresh("AAA", "BBB")).fresh == ["AAA", "BBB"]


async def test_a_run_that_is_cancelled_keeps_what_it_has_and_the_next_goes_on_there(world: World) -> None:
    stopped_at = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(asked: Asked, symbol: str) -> Reply:
        if symbol != "CCC" or len(world.yahoo.asked) > 100:
            return summary()
        loop.call_soon_threadsafe(stopped_at.set)
        return Reply(hang=True)

    world.answers.on_summary = answer
    outcome = Outcome()
    async with world.open() as refresher:
        task = asyncio.create_task(refresher.refresh(["AAA", "BBB", "CCC", "DDD"], outcome))
        await asyncio.wait_for(stopped_at.wait(), 600)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (outcome.fetched, outcome.unasked, outcome.failed) == (["AAA", "BBB"], ["CCC", "DDD"], {})
    world.answers.on_summary = lambda asked, symbol: summary()
    world.yahoo.asked.clear()
    again = await world.refresh("AAA", "BBB", "CCC", "DDD")
    assert (again.fresh, asked_about(world.yahoo)) == (["AAA", "BBB"], ["CCC", "DDD"])


async def test_a_service_that_limits_is_left_alone_and_the_rest_stays_unasked(world: World) -> None:
    world.key = False
    world.answers.on_summary = lambda asked, symbol: summary() if symbol == "AAA" else Reply(429)
    outcome = await world.refresh("AAA", "BBB", "CCC", "DDD")
    assert outcome.fetched == ["AAA"]
    assert list(outcome.failed) == ["BBB"]
    assert outcome.unasked == ["CCC", "DDD"]
    assert outcome.stopped["yahoo"].failure is Failure.RATE_LIMITED
    assert set(asked_about(world.yahoo)) == {"AAA", "BBB"}


async def test_a_service_that_fails_for_five_symbols_in_a_row_is_left_alone(world: World) -> None:
    world.key = False
    world.answers.on_summary = lambda asked, symbol: of(NOT_FOUND, 404) if symbol == "S3" else Reply(500)
    outcome = await world.refresh(*(f"S{i}" for i in range(12)))
    # S3 is answered well, if only to say that it does not exist
    assert list(outcome.failed) == [f"S{i}" for i in range(9)]
    assert outcome.unasked == ["S9", "S10", "S11"]
    assert outcome.stopped["yahoo"].failure is Failure.UNAVAILABLE


async def test_failures_between_successes_do_not_stop_a_service(world: World) -> None:
    world.key = False
    world.answers.on_summary = lambda asked, symbol: Reply(500) if symbol[1:] in "13579" else summary()
    outcome = await world.refresh(*(f"S{i}" for i in range(10)))
    names = list(outcome.failed)
    assert (names, outcome.unasked, outcome.stopped) == (["S1", "S3", "S5", "S7", "S9"], [], {})


async def test_alpha_vantage_goes_on_alone_where_yahoo_stops(world: World) -> None:
    world.answers.on_summary = lambda asked, symbol: Reply(429)
    outcome = await world.refresh("AAA", "BBB")
    assert outcome.fetched == ["AAA", "BBB"]
    assert set(asked_about(world.yahoo)) == {"AAA"}
    assert world.known("BBB").origin("market_cap").source == "alpha_vantage"


async def test_a_field_that_nobody_needs_is_not_worth_a_request(world: World) -> None:
    world.answers.on_summary = lambda asked, symbol: summary(assetProfile={"sector": "Energy"})
    await world.refresh("AAA")
    assert world.known().industry is None
    assert world.alpha.asked == []


async def test_a_day_without_requests_left_at_alpha_vantage_does_not_stop_yahoo(world: World) -> None:
    world.answers.on_summary = lambda asked, symbol: summary(**NO_FLOAT)
    world.calls_a_day = 1
    outcome = await world.refresh("AAA", "BBB", "CCC")
    assert outcome.fetched == ["AAA", "BBB", "CCC"]
    assert outcome.answers == {"yahoo": 3, "alpha_vantage": 1}
    assert outcome.stopped["alpha_vantage"].failure is Failure.QUOTA_EXHAUSTED
    world.now += DAY
    world.yahoo.asked.clear()
    again = await world.refresh("AAA", "BBB", "CCC")
    assert (again.fetched, again.fresh, asked_about(world.yahoo)) == (["BBB"], ["AAA", "CCC"], [])
    assert world.known("BBB").float_shares == 4.1e7
    assert world.known("CCC").float_shares is None


async def test_a_notice_that_the_day_is_used_up_counts_like_an_empty_quota(world: World) -> None:
    world.answers.on_summary = lambda asked, symbol: summary(**NO_FLOAT)
    world.alpha.answer = lambda asked: of({"Information": DAILY})
    outcome = await world.refresh("AAA", "BBB")
    assert outcome.fetched == ["AAA", "BBB"]
    assert outcome.stopped["alpha_vantage"].failure is Failure.QUOTA_EXHAUSTED
    assert len(world.alpha.asked) == 1


async def test_an_old_version_stays_when_nobody_answers(world: World) -> None:
    await world.refresh("AAA")
    world.now += 8 * DAY
    world.answers.on_summary = lambda asked, symbol: Reply(500)
    world.alpha.answer = lambda asked: Reply(500)
    outcome = await world.refresh("AAA")
    assert list(outcome.failed) == ["AAA"]
    assert world.known().market_cap == 925_000_000
    assert world.known().fetched_at == T0


async def test_a_damaged_file_is_one_bad_symbol(world: World) -> None:
    await world.refresh("AAA", "BBB")
    (world.store.folder / "AAA.jsonl").write_text("damaged")
    world.now += 8 * DAY
    outcome = await world.refresh("AAA", "BBB")
    assert outcome.fetched == ["BBB"]
    assert "not a stored version" in str(outcome.failed["AAA"])


async def test_what_a_run_beside_this_one_has_asked_about_is_fresh(world: World) -> None:
    loop, over = asyncio.get_running_loop(), threading.Event()
    beside: list[asyncio.Task[Outcome]] = []

    def begin() -> None:
        beside.append(loop.create_task(world.refresh("BBB", "CCC")))
        beside[0].add_done_callback(lambda task: over.set())

    def answer(asked: Asked, symbol: str) -> Reply:
        if symbol == "AAA":
            loop.call_soon_threadsafe(begin)
            over.wait(120)
        return periods(PERIODS)

    world.answers.on_periods = answer
    outcome = await world.refresh("AAA", "BBB", "CCC")
    assert (await beside[0]).fetched == ["BBB", "CCC"]
    assert (outcome.fetched, outcome.fresh, outcome.unasked) == (["AAA"], ["BBB", "CCC"], [])


async def test_a_full_disk_ends_the_run_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            await world.refresh("AAA", "BBB", "CCC")
    assert asked_about(world.yahoo) == ["AAA"]


async def test_several_workers_do_the_same_and_no_symbol_twice(world: World) -> None:
    world.options["workers"] = 4
    names = [f"S{i}" for i in range(20)]
    done: list[str] = []
    outcome = await world.refresh(*names, on_done=done.append)
    assert sorted(outcome.fetched) == sorted(names) == sorted(done)
    assert sorted(asked_about(world.yahoo)) == sorted(names)
