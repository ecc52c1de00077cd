"""The session through which yfinance asks, for prices as for fundamentals: no server can lead it astray."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from curl_cffi.requests import RequestsError

from feeds.provider import Failure, ProviderError
from feeds.rate_limit import RateLimit
from feeds.yahoo_client import NoData, YahooClient, YahooError
from feeds.yahoo_session import YahooSession
from tests.feeds.faulty_server import FaultyServer, Reply, faulty_server, of
from tests.feeds.yahoo_server import chart

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


def session(server: FaultyServer) -> YahooSession:
    return YahooSession(RateLimit(None, clock=lambda: 0.0), base_url=server.url)


def test_whatever_host_is_asked_for_the_base_url_gets_it(server: FaultyServer) -> None:
    server.answer = lambda asked: of(asked.path)
    answer = session(server).get("https://query1.finance.yahoo.com/v8/a?b=c", params={"d": "e"}, timeout=60)
    assert answer.json() == "/v8/a"
    assert server.asked[0].query == {"b": "c", "d": "e"}


def test_a_redirect_to_a_private_address_is_refused_whatever_the_page(server: FaultyServer) -> None:
    server.answer = lambda asked: Reply(302, headers={"Location": "http://169.254.169.254/latest/"})
    for path in ("/", "/v8/finance/chart/AAA", "/v10/x"):
        with pytest.raises(RequestsError, match="SSRF"):
            session(server).get(f"https://query1.finance.yahoo.com{path}", timeout=60)


def test_a_body_without_end_is_not_read_on_whatever_the_page(server: FaultyServer) -> None:
    server.answer = lambda asked: Reply(200, b"x" * 1_000_000, repeat=100)
    with pytest.raises(ProviderError, match="more than 10 MB") as caught:
        session(server).get("https://query1.finance.yahoo.com/v8/finance/chart/AAA", timeout=60)
    assert caught.value.failure is Failure.REFUSED
    assert server.sent < 50_000_000


def test_a_chart_of_another_symbol_is_not_taken_for_that_of_the_one_asked_about(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.answer = lambda asked: Reply(200, chart("^BBB", {"2024-03-04": 10.0}))
    client = YahooClient(tmp_path, base_url=server.url)
    days = dt.date(2024, 3, 1), dt.date(2024, 3, 8)
    with pytest.raises(YahooError, match="about another symbol"):
        client.history("AAA", *days)
    assert client.history("^bbb", *days)["Close"].tolist() == [10.0]


@pytest.mark.parametrize(("currency", "taken"), [("USD", True), ("CAD", False), ("GBp", False), ("", True)])
def test_prices_in_another_currency_are_none_in_dollars(
    server: FaultyServer, tmp_path: Path, currency: str, taken: bool
) -> None:
    body = chart("AAA", {"2024-03-04": 10.0}).replace(b'"USD"', f'"{currency}"'.encode())
    server.answer = lambda asked: Reply(200, body)
    client = YahooClient(tmp_path, base_url=server.url)
    days = dt.date(2024, 3, 1), dt.date(2024, 3, 8)
    if taken:
        assert client.history("AAA", *days)["Close"].tolist() == [10.0]
    else:
        with pytest.raises(NoData, match=f"^quoted in {currency}, and accounts are in dollars$"):
            client.history("AAA", *days)
        assert sum("chart" in path for path in server.paths()) == 1


def test_prices_go_through_it_as_well(server: FaultyServer, tmp_path: Path) -> None:
    server.answer = lambda asked: Reply(200, b"x" * 1_000_000, repeat=100)
    client = YahooClient(tmp_path, base_url=server.url)
    with pytest.raises(YahooError, match="more than 10 MB"):
        client.history("AAA", dt.date(2024, 3, 1), dt.date(2024, 3, 8))
