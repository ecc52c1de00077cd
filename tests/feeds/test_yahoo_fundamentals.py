"""Yahoo's fundamentals over a real socket: cookie, crumb, answers, and everything that goes wrong."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import ConfigError
from feeds.provider import FIELDS, Dated, Failure, ProviderError, Snapshot
from feeds.rate_limit import RateLimit
from feeds.retry import Patience
from feeds.yahoo_fundamentals import YahooFundamentals, read_periods, read_summary
from tests.feeds.faulty_server import Asked, FaultyServer, Reply, faulty_server, of
from tests.feeds.yahoo_fundamentals_server import (
    NO_FUNDAMENTALS,
    NOT_FOUND,
    PERIODS,
    SUMMARY,
    YahooAnswers,
    periods,
    summary,
)

NOW = 1_795_000_000 * 10**9
QUICK = Patience(attempts=3, wait_s=0.001, wait_max_s=5.0)
ONE = (Dated(period_end="2025-12-31", value=1.0),)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.answer = YahooAnswers()
        yield server


def answers(server: FaultyServer) -> YahooAnswers:
    assert isinstance(server.answer, YahooAnswers)
    return server.answer


def source(server: FaultyServer, **options: Any) -> YahooFundamentals:
    options = {"patience": QUICK, "timeout_s": 60.0, "base_url": server.url} | options
    limit = options.pop("limit", None) or RateLimit(None, clock=lambda: 0.0)
    return YahooFundamentals(limit, lambda: NOW, **options)


async def failure(server: FaultyServer, symbol: str = "AAA", **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await source(server, **options).fetch(symbol)
    assert str(caught.value).startswith(f"Yahoo about {symbol}: ")
    return caught.value


async def test_two_requests_make_one_snapshot(server: FaultyServer) -> None:
    snapshot = await source(server).fetch("aaa")
    assert snapshot == Snapshot(
        symbol="AAA", source="yahoo", fetched_at=NOW, name="Triple A, Inc.", sector="Technology",
        industry="Software - Application", exchange="NMS", currency="USD", quote_type="EQUITY", price=18.5,
        market_cap=9.25e8, shares_outstanding=5e7, float_shares=4.1e7, volume=4e5, average_volume=5e5,
        average_dollar_volume=9.25e6, bid=18.4, ask=18.6, eps_ttm=1.2, earnings_growth=0.25, roe=0.21,
        institutional_holders=214.0, institutional_share=0.655,
        quarterly_eps=tuple(Dated(period_end=d, value=v) for d, v in PERIODS["quarterlyDilutedEPS"].items()),
        annual_eps=tuple(Dated(period_end=d, value=v) for d, v in PERIODS["annualDilutedEPS"].items()),
        shares_history=(Dated(period_end="2026-09-30", value=5e7),),
        other={"pe_ratio": 15.4, "ebitda": 2.871e8, "revenue_ttm": 1.96e9, "operating_margin": 0.11},
    )  # fmt: skip
    assert [path for path in server.paths() if path != "/"] == [
        "/v1/test/getcrumb", "/v10/finance/quoteSummary/AAA",
        "/ws/fundamentals-timeseries/v1/finance/timeseries/AAA",
    ]  # fmt: skip
    assert set(FIELDS) == set(YahooFundamentals.fields)


@pytest.mark.parametrize("cookie_too", [False, True])
async def test_cookie_and_crumb_are_fetched_once_and_anew_when_they_expire(
    server: FaultyServer, cookie_too: bool
) -> None:
    yahoo = source(server)
    await yahoo.fetch("AAA")
    asked = len(server.asked)
    for symbol in ("BBB", "CCC"):
        await yahoo.fetch(symbol)
    assert len(server.asked) == asked + 4
    assert server.paths().count("/v1/test/getcrumb") == 1
    answers(server).crumb = "crumb.2"
    if cookie_too:
        answers(server).cookie = "A3=d2"
    assert (await yahoo.fetch("DDD")).price == 18.5
    assert {asked.query["crumb"] for asked in server.asked if "DDD" in asked.path} == {"crumb.1", "crumb.2"}


async def test_a_crumb_that_is_never_accepted_is_a_refusal(server: FaultyServer) -> None:
    answers(server).on_crumb = lambda asked: Reply(200, b"useless")
    error = await failure(server)
    assert (error.failure, error.stop, error.detail) == (
        Failure.UNAUTHORIZED, True, "access refused (401)",
    )  # fmt: skip


async def test_only_the_summary_is_asked_for_where_no_series_is_wanted(server: FaultyServer) -> None:
    snapshot = await source(server).fetch("AAA", frozenset({"market_cap"}))
    assert snapshot.quarterly_eps == ()
    assert not any("timeseries" in path for path in server.paths())


@pytest.mark.parametrize(
    ("reply", "expected", "attempts", "line"),
    [
        (Reply(429), Failure.RATE_LIMITED, 3, "too many requests (429)"),
        (Reply(429, headers={"Retry-After": "3600"}), Failure.RATE_LIMITED, 1,
         "too many requests (429), asks to wait 3600 s"),
        (Reply(500), Failure.UNAVAILABLE, 3, "out of order (500)"),
        (Reply(503, b"<html>"), Failure.UNAVAILABLE, 3, "out of order (503)"),
        (of(NOT_FOUND, 404), Failure.UNKNOWN_SYMBOL, 1, "no such symbol: delisted or renamed?"),
        (of(NO_FUNDAMENTALS, 404), Failure.EMPTY, 1, "nothing known of it: delisted, or no share?"),
        (Reply(404, b"<html>Not Found"), Failure.MALFORMED, 3, "a 404 that says nothing of a symbol"),
        (Reply(200, b"<html>Will be back"), Failure.MALFORMED, 3, "a web page instead of an answer in JSON"),
        (Reply(200, b'{"quoteSummary": {"res'), Failure.MALFORMED, 3,
         "damaged or incomplete JSON instead of an answer in JSON"),
        (Reply(200, b'{"quoteSummary"', announced=500), Failure.UNAVAILABLE, 3, "the connection was cut"),
        (Reply(302, headers={"Location": "http://169.254.169.254/latest/"}), Failure.REFUSED, 1,
         "a redirect to an address that is not of the public internet"),
        (Reply(302, headers={"Location": "http://localhost:1/"}), Failure.REFUSED, 1,
         "a redirect to an address that is not of the public internet"),
        (Reply(302, headers={"Location": "file:///etc/passwd"}), Failure.REFUSED, 1,
         "a redirect to an address that is none of the web"),
        (Reply(200, b"not packed", {"Content-Encoding": "gzip"}), Failure.MALFORMED, 3,
         "an answer that cannot be unpacked"),
        (Reply(200, b"x" * 1_000_000, repeat=100), Failure.REFUSED, 1,
         "an answer of more than 10 MB, not read on"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("page", ["summary", "periods"])
async def test_each_fault_has_its_name_on_either_page(
    server: FaultyServer, reply: Reply, expected: Failure, attempts: int, line: str, page: str
) -> None:
    setattr(answers(server), f"on_{page}", lambda asked, symbol: reply)
    error = await failure(server)
    assert (error.failure, error.detail) == (expected, line)
    path = {"summary": "quoteSummary", "periods": "timeseries"}[page]
    assert sum(path in asked for asked in server.paths()) == attempts


@pytest.mark.parametrize("document", [{"quoteSummary": {"result": []}}, {"quoteSummary": None}, [], 1])
async def test_a_summary_that_says_nothing_is_of_a_delisted_company(
    server: FaultyServer, document: Any
) -> None:
    answers(server).on_summary = lambda asked, symbol: of(document)
    error = await failure(server)
    assert (error.failure, error.detail) == (Failure.EMPTY, "nothing known of it: delisted?")


async def test_a_fault_that_passes_is_waited_out(server: FaultyServer) -> None:
    seen: list[str] = []

    def flaky(asked: Asked, symbol: str) -> Reply:
        seen.append(symbol)
        return {1: Reply(500), 2: Reply(429, headers={"Retry-After": "0"})}.get(len(seen), summary())

    answers(server).on_summary = flaky
    assert (await source(server).fetch("AAA")).price == 18.5
    assert len(seen) == 3


@pytest.mark.parametrize(
    "reply", [Reply(hang=True), Reply(200, b"x" * 10_000, drip=True)], ids=["silent", "slow drip"]
)
async def test_one_deadline_covers_silence_and_a_slow_drip(server: FaultyServer, reply: Reply) -> None:
    yahoo = source(server, timeout_s=2.0, patience=Patience(attempts=1))
    answers(server).on_summary = lambda asked, symbol: reply
    async with asyncio.timeout(600):
        with pytest.raises(ProviderError, match=r"^Yahoo about BBB: no answer within 2 s$") as caught:
            await yahoo.fetch("BBB")
    assert caught.value.failure is Failure.TIMEOUT


async def test_a_server_that_hangs_on_cookie_and_crumb_has_one_deadline_for_both(
    server: FaultyServer,
) -> None:
    answers(server).on_crumb = lambda asked: Reply(hang=True)
    error = await failure(server, timeout_s=2.0, patience=Patience(attempts=1))
    assert error.failure is Failure.TIMEOUT
    assert not any("quoteSummary" in path for path in server.paths())


async def test_nobody_at_home_is_one_line() -> None:
    error = await failure(FaultyServer("http://127.0.0.1:9"))
    assert error.failure is Failure.UNAVAILABLE
    assert error.detail == "no connection (ConnectionError)"


async def test_every_request_waits_for_its_turn_and_a_429_holds_back_the_rest(server: FaultyServer) -> None:
    clock = [0.0]
    limit = RateLimit(None, clock=lambda: clock[0])
    answers(server).on_summary = lambda asked, symbol: Reply(429, headers={"Retry-After": "7"})
    await failure(server, limit=limit, patience=Patience(attempts=1))
    assert limit.reserve() == 7.0


async def test_no_cookie_is_left_on_disk_for_others_to_unpickle(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yfinance import cache

    def touched() -> None:
        raise AssertionError("the cookie cache on disk is used")

    monkeypatch.setattr(cache, "get_cookie_cache", touched)
    await source(server).fetch("AAA")


def test_a_base_url_is_checked() -> None:
    with pytest.raises(ConfigError, match="must begin with https://"):
        source(FaultyServer("http://example.com"))


async def test_a_fetch_that_is_given_up_does_not_keep_the_program_waiting(server: FaultyServer) -> None:
    arrived = threading.Event()

    def hang(asked: Asked, symbol: str) -> Reply:
        arrived.set()
        return Reply(hang=True)

    answers(server).on_summary = hang
    task = asyncio.create_task(source(server).fetch("AAA"))
    while not arrived.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "blocking-call")


def read(**modules: Any) -> dict[str, Any]:
    return read_summary({"quoteSummary": {"result": [SUMMARY | modules]}}, "AAA")


@pytest.mark.parametrize("absent", [float("nan"), float("inf"), None, "", "N/A", 0, {}, {"raw": None}, []])
def test_a_market_cap_that_is_none_is_absent(absent: Any) -> None:
    fields = read(price={"marketCap": absent}, summaryDetail={"bid": 0, "ask": absent})
    assert fields["market_cap"] is None
    assert fields["bid"] is None
    assert fields["ask"] is None
    Snapshot(symbol="AAA", source="yahoo", fetched_at=1, **fields)


def test_nan_in_the_json_itself_is_absent() -> None:
    from feeds.http import read_json

    body = b'{"quoteSummary": {"result": [{"price": {"marketCap": NaN, "regularMarketPrice": 3}}]}}'
    fields = read_summary(read_json("Yahoo", body), "AAA")
    assert (fields["market_cap"], fields["price"]) == (None, 3.0)


def test_renamed_fields_are_a_malformed_answer_and_a_name_without_figures_an_empty_one() -> None:
    renamed = {"quoteSummary": {"result": [{"price": {"mktCap": 1e9, "lastPx": 3.0}}]}}
    with pytest.raises(ProviderError, match="without any field that is known") as caught:
        read_summary(renamed, "AAA")
    assert caught.value.failure is Failure.MALFORMED
    with pytest.raises(ProviderError, match="a name without figures: delisted") as caught:
        read_summary({"quoteSummary": {"result": [{"quoteType": {"longName": "Old Co"}}]}}, "AAA")
    assert caught.value.failure is Failure.EMPTY


@pytest.mark.parametrize(
    "result",
    [None, [], {}, [1, None], [{"quarterlyDilutedEPS": [None, {"asOfDate": "soon"}, {"reportedValue": 1}]}],
     [{"quarterlyNormalizedEPS": [{"asOfDate": "2025-12-31"}]}]],
)  # fmt: skip
def test_a_company_without_earnings_has_empty_series(result: Any) -> None:
    assert read_periods({"timeseries": {"result": result, "error": None}}, "AAA") == {
        "quarterly_eps": (),
        "annual_eps": (),
        "shares_history": (),
    }


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"finance": {"result": None, "error": {"code": "Internal Server Error"}}},
     {"timeseries": None}, {"timeseries": {"result": None, "error": {"code": "Internal Server Error"}}}],
)  # fmt: skip
def test_an_error_in_place_of_earnings_is_no_company_without_earnings(document: Any) -> None:
    with pytest.raises(ProviderError, match="Yahoo about AAA: an answer without periods") as caught:
        read_periods(document, "AAA")
    assert caught.value.failure is Failure.MALFORMED


async def test_an_answer_about_another_company_is_none_about_this_one(server: FaultyServer) -> None:
    answers = YahooAnswers()
    server.answer = answers
    other = periods({"quarterlyDilutedEPS": {"2025-12-31": 1.0}}).body.replace(b"AAA", b"ZZZ")
    for change in (
        {"on_summary": lambda asked, symbol: summary(quoteType=SUMMARY["quoteType"] | {"symbol": "ZZZ"})},
        {
            "on_summary": lambda asked, symbol: summary(),
            "on_periods": lambda asked, symbol: Reply(200, other),
        },
    ):
        vars(answers).update(change)
        error = await failure(server)
        assert str(error) == "Yahoo about AAA: an answer about ZZZ: renamed?"
        assert error.failure is Failure.UNKNOWN_SYMBOL


def test_a_share_class_may_be_written_otherwise_in_an_answer() -> None:
    for told in ("BRK-B", "BRK.B", "BRKB", "brk-b", "", None, 7):
        assert read_summary(
            {"quoteSummary": {"result": [SUMMARY | {"quoteType": {"symbol": told}}]}}, "BRK-B"
        )["price"]


def test_basic_earnings_stand_in_for_diluted_ones_that_are_missing() -> None:
    import json

    document = json.loads(periods({"quarterlyBasicEPS": {"2025-12-31": 1.0}, "annualDilutedEPS": {}}).body)
    assert read_periods(document, "AAA")["quarterly_eps"] == ONE
    document = json.loads(
        periods({"quarterlyBasicEPS": {"2025-12-31": 9.0}, "quarterlyDilutedEPS": {"2025-12-31": 1.0}}).body
    )
    assert read_periods(document, "AAA")["quarterly_eps"] == ONE
