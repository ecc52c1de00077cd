"""Requests to a service that fails in every way, over a real socket."""

import asyncio
import gzip
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from config.secret import Secret
from engine.errors import ConfigError
from feeds.http import Http, checked_base_url, is_public, read_json, retry_after_s
from feeds.provider import Failure, ProviderError
from feeds.rate_limit import RateLimit
from feeds.retry import Patience
from tests.feeds.faulty_server import Asked, FaultyServer, Reply, faulty_server, of

CANARY = "canary-7f3a9"
QUICK = Patience(attempts=3, wait_s=0.001, wait_max_s=5.0)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


@pytest.fixture
def waits() -> Iterator[list[float]]:
    """The waits between attempts, as stamina scheduled them."""
    seen: list[float] = []
    hooks = get_on_retry_hooks()

    def note(details: RetryDetails) -> None:
        seen.append(details.wait_for)

    set_on_retry_hooks([*hooks, note])
    yield seen
    set_on_retry_hooks(hooks)


def unlimited() -> RateLimit:
    return RateLimit(None, clock=lambda: 0.0)


async def get(server: FaultyServer, **options: Any) -> bytes:
    options = {"patience": QUICK, "timeout_s": 60.0} | options
    async with Http("Test", server.url, unlimited(), **options) as http:
        return await http.get(
            "/q", lambda body: body, params={"symbol": "AAA"}, secrets={"apikey": Secret(CANARY)},
            symbol="AAA",
        )  # fmt: skip


async def failure(server: FaultyServer, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await get(server, **options)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in text
    return caught.value


PACKED = gzip.compress(b"symbol,name\n" * 1_000)


@pytest.mark.parametrize("packing", ["gzip", "GZIP", "x-gzip"])
async def test_a_packed_answer_comes_through_whole(server: FaultyServer, packing: str) -> None:
    server.answer = lambda asked: Reply(200, PACKED, {"Content-Encoding": packing})
    assert await get(server) == gzip.decompress(PACKED)
    assert server.asked[0].headers["Accept-Encoding"] == "gzip"


async def test_an_answer_comes_through_and_the_key_goes_out(server: FaultyServer) -> None:
    server.answer = lambda asked: of({"a": 1})
    assert await get(server) == b'{"a": 1}'
    (asked,) = server.asked
    assert asked.query == {"symbol": "AAA", "apikey": CANARY}
    assert asked.headers["Host"] == server.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("reply", "expected", "attempts", "line"),
    [
        (Reply(401), Failure.UNAUTHORIZED, 1, "access refused (401)"),
        (Reply(403), Failure.UNAUTHORIZED, 1, "access refused (403)"),
        (Reply(404), Failure.UNKNOWN_SYMBOL, 1, "no such symbol (404)"),
        (Reply(400), Failure.MALFORMED, 3, "an answer of status 400"),
        (Reply(429), Failure.RATE_LIMITED, 3, "too many requests (429)"),
        (Reply(500), Failure.UNAVAILABLE, 3, "out of order (500)"),
        (Reply(503), Failure.UNAVAILABLE, 3, "out of order (503)"),
        (Reply(200, b"[1,", announced=100), Failure.UNAVAILABLE, 3, "the connection was cut"),
        (
            Reply(200, PACKED[:-9], {"Content-Encoding": "gzip"}),
            Failure.UNAVAILABLE,
            3,
            "the connection was cut",
        ),
        (
            Reply(200, PACKED + PACKED, {"Content-Encoding": "gzip"}),
            Failure.MALFORMED,
            3,
            "an answer that cannot be unpacked",
        ),
        (
            Reply(200, b"[1]", {"Content-Encoding": "gzip"}),
            Failure.MALFORMED,
            3,
            "an answer that cannot be unpacked",
        ),
        (Reply(200, PACKED, {"Content-Encoding": "br"}), Failure.MALFORMED, 3, "an answer packed as br"),
    ],
)
async def test_a_status_says_what_is_wrong_and_whether_to_ask_again(
    server: FaultyServer, reply: Reply, expected: Failure, attempts: int, line: str
) -> None:
    server.answer = lambda asked: reply
    error = await failure(server)
    assert error.failure is expected
    assert str(error) == f"Test about AAA: {line}"
    assert len(server.asked) == attempts


async def test_a_fault_that_passes_is_waited_out_with_growing_waits(
    server: FaultyServer, waits: list[float]
) -> None:
    server.answer = lambda asked: Reply(500) if asked.n < 4 else of(1)
    patience = Patience(attempts=5, wait_s=0.01, wait_max_s=0.025)
    assert await get(server, patience=patience) == b"1"
    low, high = (0.01, 0.02, 0.025), (0.02, 0.025, 0.025)
    assert all(a - 1e-9 <= wait <= b + 1e-9 for a, wait, b in zip(low, waits, high, strict=True))


async def test_retry_after_is_honoured_and_without_it_the_back_off_grows(
    server: FaultyServer, waits: list[float]
) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(429, headers={"Retry-After": "0"}) if asked.n == 1 else Reply(429)

    server.answer = answer
    assert (await failure(server)).retry_after_s is None
    assert waits[0] == 0.0 < 0.002 <= waits[1]


async def test_a_retry_after_beyond_our_patience_is_not_waited_for(
    server: FaultyServer, waits: list[float]
) -> None:
    server.answer = lambda asked: Reply(429, headers={"Retry-After": "3600"})
    error = await failure(server)
    assert (error.failure, error.retry_after_s, error.stop) == (Failure.RATE_LIMITED, 3600.0, True)
    assert str(error) == "Test about AAA: too many requests (429), asks to wait 3600 s"
    assert waits == []


async def test_a_rate_limit_holds_back_every_request_to_the_service(server: FaultyServer) -> None:
    limit = RateLimit(None, clock=lambda: 0.0)
    server.answer = lambda asked: Reply(429, headers={"Retry-After": "4"})
    async with Http("Test", server.url, limit, patience=Patience(attempts=1)) as http:
        with pytest.raises(ProviderError):
            await http.get("/q", bytes)
    assert limit.reserve() == 4.0


@pytest.mark.parametrize(
    "reply", [Reply(hang=True), Reply(200, b"x" * 10_000, drip=True)], ids=["silent", "slow drip"]
)
async def test_one_deadline_covers_silence_and_a_slow_drip(server: FaultyServer, reply: Reply) -> None:
    server.answer = lambda asked: reply
    async with asyncio.timeout(600):
        error = await failure(server, timeout_s=0.2, patience=Patience(attempts=4, wait_s=0.001))
    assert str(error) == "Test about AAA: no answer within 0.2 s"
    assert error.failure is Failure.TIMEOUT
    assert len(server.asked) > 1  # On a busy machine the deadline of an attempt may come before its question


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_without_end_is_not_read_on(server: FaultyServer, packed: bool) -> None:
    megabyte = b"x" * 1_000_000
    big = Reply(200, megabyte, repeat=100)
    if packed:
        big = Reply(200, gzip.compress(megabyte * 30), {"Content-Encoding": "gzip"})
    server.answer = lambda asked: big
    error = await failure(server)
    assert error.failure is Failure.REFUSED
    assert str(error) == "Test about AAA: an answer of more than 10 MB, not read on"
    assert len(server.asked) == 1
    assert server.sent < 50_000_000


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("http://169.254.169.254/latest/meta-data/", "to http://169.254.169.254, which is not https"),
        ("https://169.254.169.254/", "169.254.169.254 leads to 169.254.169.254, which is no address"),
        ("https://localhost/", "localhost leads to "),
        ("https://0/", "0 leads to 0.0.0.0, which is no address"),
        ("https://[::ffff:169.254.169.254]/", "which is no address of the public internet"),
        ("file:///etc/passwd", "which is not https"),
    ],
)  # fmt: skip
async def test_a_redirect_into_a_private_network_is_refused(
    server: FaultyServer, target: str, line: str
) -> None:
    server.answer = lambda asked: Reply(302, headers={"Location": target})
    error = await failure(server)
    assert error.failure is Failure.REFUSED
    assert line in str(error)
    assert len(server.asked) == 1


async def test_a_redirect_within_the_service_is_followed_and_a_circle_is_not(server: FaultyServer) -> None:
    server.answer = lambda asked: Reply(302, headers={"Location": "/b"}) if asked.path == "/q" else of(1)
    assert await get(server) == b"1"
    server.answer = lambda asked: Reply(302, headers={"Location": "/q"})
    assert str(await failure(server)) == "Test about AAA: more than 3 redirects"


async def test_nobody_at_home_is_one_line() -> None:
    error = await failure(FaultyServer("http://127.0.0.1:9"))
    assert error.failure is Failure.UNAVAILABLE
    assert str(error) == "Test about AAA: no connection to 127.0.0.1 (ConnectError)"


async def test_the_log_never_holds_the_key(server: FaultyServer, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = lambda asked: Reply(500) if asked.n == 1 else of(1)
    with caplog.at_level(logging.DEBUG):
        await get(server)
    assert "out of order (500); attempt 2" in caplog.text
    assert CANARY not in caplog.text


async def test_a_reader_may_fail_too_and_is_asked_again(server: FaultyServer) -> None:
    server.answer = lambda asked: Reply(200, b"<html>") if asked.n == 1 else of([1])
    async with Http("Test", server.url, unlimited(), patience=QUICK) as http:
        assert await http.get("/q", lambda body: read_json("Test", body)) == [1]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<!doctype html><html>", "a web page"),
        (b'{"a": [1, 2', "damaged or incomplete JSON"),
        (b"\xff\xfe", "damaged or incomplete JSON"),
        (b"  ", "nothing"),
    ],
)
def test_what_is_not_json_is_named(body: bytes, what: str) -> None:
    with pytest.raises(ProviderError, match=f"^Test about AAA: {what} instead of an answer in JSON$"):
        read_json("Test", body, "AAA")


DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "soon", "date": DATE}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "9" * 400}, 999_999_999.0),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers) == expected


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.1", "172.16.0.1", "127.0.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1",
     "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "224.0.0.1", "ff02::1"],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_known_as_such(address: str) -> None:
    assert not is_public(address)
    assert is_public("8.8.8.8")
    assert is_public("2606:4700::1111")
    assert is_public("::ffff:8.8.8.8")


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "ftp://example.com", "example.com", "https://user:pw@example.com", "",
     "https://example.com/?a=1", "https://[::1", "http://127.0.0.1.example.com", "http://10.0.0.1"],
)  # fmt: skip
def test_a_base_url_is_https_unless_it_is_this_machine(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_base_url(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.com", "http://127.0.0.1:80/x", "http://localhost:1", "http://[::1]:2"]
)
def test_a_base_url_may_be_a_server_on_this_machine(url: str) -> None:
    assert checked_base_url(url).host


async def test_a_name_that_leads_to_a_private_address_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver that rebinds: the name is public in spelling and private in fact."""

    async def rebound(host: str, *args: Any, **options: Any) -> list[Any]:
        return [(2, 1, 6, "", ("8.8.8.8", 0)), (2, 1, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound)
    error = await failure(FaultyServer("https://example.com"))
    assert str(error).startswith("Test about AAA: example.com leads to 10.0.0.7, which is no address")
