"""Health over HTTP: small, honest, on loopback, and not to be stopped by what arrives."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import ManualClock
from engine.errors import ConfigError
from monitors.health import Health
from monitors.http import REQUEST_BYTES_MAX, HttpServer, parse
from monitors.routes import Routes


def no_gauges():
    yield "outbox_depth", "what waits", 3.0


def server_at(address, health=None, **options):
    routes = Routes(health or Health(ManualClock(), 60.0), no_gauges)
    return HttpServer(address, routes.answer, **options)


@pytest.fixture
async def served():
    health = Health(ManualClock(), feed_dead_s=60.0)
    server = server_at("127.0.0.1:0", health)
    await server.start()
    yield health, server
    await server.stop()


async def ask(server, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 600)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body.decode()


async def get(server, path):
    return await ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_ready_only_while_inputs_are_taken(served):
    health, server = served
    assert await get(server, "/readyz") == (503, "starting\n")
    assert (await get(server, "/healthz"))[0] == 200
    health.ready = True
    assert await get(server, "/readyz") == (200, "ready\n")
    health.stopping = True
    assert await get(server, "/readyz") == (503, "stopping\n")


async def test_a_problem_is_named(served):
    health, server = served
    health.lag_s = 3.0
    assert await get(server, "/healthz") == (503, "event loop: 3.0 s late\n")


async def test_metrics_are_what_prometheus_reads(served):
    health, server = served
    health.counts["rows"] += 7
    status, body = await get(server, "/metrics")
    assert status == 200
    lines = body.splitlines()
    assert "smallcap_rows_total 7.0" in lines
    assert "smallcap_signals_total 0.0" in lines
    assert "smallcap_outbox_depth 3.0" in lines
    assert "smallcap_healthy 1.0" in lines


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"POST /halt HTTP/1.1\r\nHost: localhost\r\nX-Smallcap-Halt: yes\r\n\r\n", 405),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n folded\r\n\r\n", 400),
        (b"GET /elsewhere HTTP/1.1\r\n\r\n", 404),
        (b"hello\r\n\r\n", 400),
        (b"\xff\xfe\x00 \r\n\r\n", 400),
        (b"GET " + b"/a" * REQUEST_BYTES_MAX + b" HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_what_is_no_question_gets_an_answer_and_stops_nothing(served, request_bytes, status):
    _, server = served
    assert (await ask(server, request_bytes))[0] == status
    assert (await get(server, "/healthz"))[0] == 200


@pytest.mark.parametrize("address", ["0.0.0.0:8311", "192.0.2.1:80", "[::]:80", "example.org:80"])
def test_an_address_that_others_can_reach_is_refused(address):
    with pytest.raises(ConfigError, match="http_public"):
        server_at(address)
    server_at(address, public=True)


@pytest.mark.parametrize("address", ["", "8311", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        server_at(address)


async def test_a_port_that_is_taken_is_told():
    first = server_at("127.0.0.1:0")
    await first.start()
    second = server_at(f"127.0.0.1:{first.port}")
    with pytest.raises(ConfigError, match="http_address"):
        await second.start()
    await first.stop()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_none(head):
    parse(head + b"\r\n\r\n", "")
