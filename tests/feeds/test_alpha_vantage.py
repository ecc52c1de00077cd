"""Alpha Vantage over a real socket: what it answers, and the ways in which it fails with status 200."""

import datetime as dt
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from config.secret import Secret
from feeds.alpha_vantage import AlphaVantage, read_earnings, read_overview
from feeds.http import Http
from feeds.provider import Dated, Failure, ProviderError, Snapshot
from feeds.rate_limit import DayCount, RateLimit
from feeds.retry import Patience
from tests.feeds.faulty_server import Asked, FaultyServer, Reply, faulty_server, of

CANARY = "CANARYKEY7F3A9"
NOW = 1_795_000_000 * 10**9
OVERVIEW = {
    "Symbol": "AAA", "AssetType": "Common Stock", "Name": "Triple A  Inc", "Exchange": "NASDAQ",
    "Currency": "USD", "Sector": "TECHNOLOGY", "Industry": "SOFTWARE", "FiscalYearEnd": "December",
    "MarketCapitalization": "927869000", "EBITDA": "287100000", "PERatio": "None", "PEGRatio": "-",
    "DividendYield": "None", "EPS": "-2.08", "RevenueTTM": "1960000000", "ProfitMargin": "-0.169",
    "OperatingMarginTTM": "-0.169", "ReturnOnEquityTTM": "-0.281", "QuarterlyEarningsGrowthYOY": "-0.991",
    "SharesOutstanding": "50000000", "SharesFloat": "41000000", "PercentInstitutions": "65.5",
}  # fmt: skip
EARNINGS = {
    "symbol": "AAA",
    "annualEarnings": [
        {"fiscalDateEnding": "2026-09-30", "reportedEPS": "0.9"},
        {"fiscalDateEnding": "2025-12-31", "reportedEPS": "1.0"},
        {"fiscalDateEnding": "2024-12-31", "reportedEPS": "0.8"},
    ],
    "quarterlyEarnings": [
        {"fiscalDateEnding": "2026-09-30", "reportedDate": "2026-11-05", "reportedEPS": "0.35"},
        {"fiscalDateEnding": "2026-06-30", "reportedDate": "None", "reportedEPS": "None"},
        {"fiscalDateEnding": "2025-12-31", "reportedDate": "2026-02-10", "reportedEPS": "0.3"},
        {"fiscalDateEnding": "soon", "reportedEPS": "1"}, "damaged",
    ],
}  # fmt: skip


def about(asked: Asked) -> Reply:
    """What the service says of the symbol asked about."""
    document = OVERVIEW if asked.query["function"] == "OVERVIEW" else EARNINGS
    name = "Symbol" if document is OVERVIEW else "symbol"
    return of(document | {name: asked.query["symbol"]})


def new_york(*moment: int) -> int:
    return int(dt.datetime(*moment, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 10**9


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.answer = about
        yield server


async def fetch(
    server: FaultyServer, *symbols: str, limit: RateLimit | None = None, wanted: frozenset[str] | None = None,
    **options: Any,
) -> list[Snapshot]:  # fmt: skip
    limit = limit or RateLimit(None, clock=lambda: 0.0)
    options = {"patience": Patience(attempts=3, wait_s=0.001), "timeout_s": 60.0} | options
    async with Http("Alpha Vantage", server.url, limit, **options) as http:
        source = AlphaVantage(http, Secret(CANARY), limit, lambda: NOW)
        return [await source.fetch(symbol, wanted) for symbol in symbols or ("AAA",)]


async def failure(server: FaultyServer, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await fetch(server, **options)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def test_both_answers_become_one_snapshot_with_the_figures_of_the_old_cache(
    server: FaultyServer,
) -> None:
    (snapshot,) = await fetch(server)
    assert snapshot == Snapshot(
        symbol="AAA", source="alpha_vantage", fetched_at=NOW, name="Triple A Inc", sector="TECHNOLOGY",
        industry="SOFTWARE", exchange="NASDAQ", currency="USD", quote_type="Common Stock",
        market_cap=927869000.0, shares_outstanding=5e7, float_shares=4.1e7, eps_ttm=-2.08,
        earnings_growth=-0.991, roe=-0.281, institutional_share=0.655,
        quarterly_eps=(
            Dated(period_end="2025-12-31", value=0.3, available_at=new_york(2026, 2, 11)),
            Dated(period_end="2026-09-30", value=0.35, available_at=new_york(2026, 11, 6)),
        ),
        annual_eps=(
            Dated(period_end="2024-12-31", value=0.8),
            Dated(period_end="2025-12-31", value=1.0, available_at=new_york(2026, 2, 11)),
        ),
        other={"ebitda": 287100000.0, "revenue_ttm": 1.96e9, "profit_margin": -0.169,
               "operating_margin": -0.169},
    )  # fmt: skip
    assert [asked.query["apikey"] for asked in server.asked] == [CANARY, CANARY]


async def test_only_what_is_wanted_is_asked_for(server: FaultyServer) -> None:
    (snapshot,) = await fetch(server, wanted=frozenset({"annual_eps"}))
    assert [asked.query["function"] for asked in server.asked] == ["EARNINGS"]
    assert snapshot.annual_eps
    assert snapshot.market_cap is None
    await fetch(server, wanted=frozenset({"float_shares"}))
    assert [asked.query["function"] for asked in server.asked] == ["EARNINGS", "OVERVIEW"]


NOTE = "Thank you! Our standard API call frequency is 5 calls per minute and 500 calls per day."
SPARE = "Please consider spreading out your free API requests more sparingly (1 request per second)."
DAILY = f"We have detected your API key as {CANARY} and our standard API rate limit is 25 requests per day."
DEMO = "The **demo** API key is for demo purposes only. Please claim your free API key."
BAD_KEY = f"the parameter apikey {CANARY} is invalid or missing. Please claim your free API key."
PREMIUM = f"Thank you! This is a premium endpoint. Your key {CANARY}."
BAD_CALL = "Invalid API call. Please retry or visit the documentation for OVERVIEW."


@pytest.mark.parametrize(
    ("notice", "expected", "attempts"),
    [
        ({"Note": NOTE}, Failure.RATE_LIMITED, 3),
        ({"Information": SPARE}, Failure.RATE_LIMITED, 3),
        ({"Information": DAILY}, Failure.QUOTA_EXHAUSTED, 1),
        ({"Information": DEMO}, Failure.UNAUTHORIZED, 1),
        ({"Information": PREMIUM}, Failure.UNAUTHORIZED, 1),
        ({"Error Message": BAD_KEY}, Failure.UNAUTHORIZED, 1),
        ({"Error Message": BAD_CALL}, Failure.UNKNOWN_SYMBOL, 1),
        ({"Information": "We are moving."}, Failure.MALFORMED, 3),
        ({}, Failure.UNKNOWN_SYMBOL, 1),
        ([], Failure.MALFORMED, 3),
    ],
)
async def test_a_notice_with_status_200_is_no_data_and_never_quotes_the_key(
    server: FaultyServer, notice: Any, expected: Failure, attempts: int
) -> None:
    server.answer = lambda asked: of(notice)
    error = await failure(server, wanted=frozenset({"roe"}))
    assert error.failure is expected
    assert len(server.asked) == attempts
    assert str(error).startswith("Alpha Vantage about AAA: ")


async def test_a_throttle_note_that_passes_is_waited_out(server: FaultyServer) -> None:
    server.answer = lambda asked: of({"Note": NOTE} if asked.n == 1 else OVERVIEW)
    (snapshot,) = await fetch(server, wanted=frozenset({"roe"}))
    assert snapshot.roe == -0.281


async def test_the_services_word_that_the_day_is_used_up_ends_the_asking_for_today(
    server: FaultyServer, tmp_path: Path
) -> None:
    day = DayCount(tmp_path / "calls.json", "Alpha Vantage", 25, lambda: NOW / 1e9)
    server.answer = lambda asked: of({"Information": DAILY})
    for _ in range(2):
        limit = RateLimit(None, day=day, clock=lambda: 0.0)
        assert (await failure(server, limit=limit)).failure is Failure.QUOTA_EXHAUSTED
    assert len(server.asked) == 1


async def test_every_request_counts_against_the_day_retries_included(
    server: FaultyServer, tmp_path: Path
) -> None:
    day = DayCount(tmp_path / "calls.json", "Alpha Vantage", 4, lambda: NOW / 1e9)
    good = server.answer
    server.answer = lambda asked: Reply(500) if asked.n == 1 else good(asked)
    await fetch(server, limit=RateLimit(None, day=day, clock=lambda: 0.0))
    assert day.left == 0
    error = await failure(server, limit=RateLimit(None, day=day, clock=lambda: 0.0))
    assert error.failure is Failure.QUOTA_EXHAUSTED
    assert len(server.asked) == 4


@pytest.mark.parametrize("wanted", ["roe", "annual_eps"])
async def test_an_answer_about_another_company_is_none_about_this_one(
    server: FaultyServer, wanted: str
) -> None:
    server.answer = lambda asked: about(replace(asked, query=asked.query | {"symbol": "ZZZ"}))
    error = await failure(server, wanted=frozenset({wanted}))
    assert str(error) == "Alpha Vantage about AAA: an answer about ZZZ: renamed?"


def broken(asked: Asked) -> Reply:
    return {
        "HTML": Reply(200, b"<html>Service is being upgraded</html>"),
        "CUT": Reply(200, b'{"Symbol": "CUT", "MarketCap'),
        "BYTES": Reply(200, b"\x00\xff\xfe"),
    }[asked.query["symbol"]]


@pytest.mark.parametrize("symbol", ["HTML", "CUT", "BYTES"])
async def test_what_is_not_json_is_asked_for_again_and_named(server: FaultyServer, symbol: str) -> None:
    server.answer = broken
    with pytest.raises(ProviderError, match="instead of an answer in JSON") as caught:
        await fetch(server, symbol)
    assert caught.value.failure is Failure.MALFORMED
    assert len(server.asked) == 3


@pytest.mark.parametrize("absent", ["None", "-", "", "NaN", None, [], {}, True])
def test_what_is_absent_is_none_and_never_a_number(absent: Any) -> None:
    fields = read_overview(dict.fromkeys(OVERVIEW, absent))
    assert not any(fields.values())
    assert read_earnings({"quarterlyEarnings": absent, "annualEarnings": absent}) == {
        "quarterly_eps": (), "annual_eps": (),
    }  # fmt: skip


def test_a_size_of_zero_is_absent_and_a_growth_of_zero_is_not() -> None:
    fields = read_overview(
        OVERVIEW | {"MarketCapitalization": "0", "QuarterlyEarningsGrowthYOY": "0", "EPS": "inf"}
    )
    assert fields["market_cap"] is None
    assert fields["earnings_growth"] == 0.0
    assert fields["eps_ttm"] is None
