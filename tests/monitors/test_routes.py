"""POST /halt: within reach of whoever is on this machine, out of reach of a web page and of strangers."""

import pytest

from config.secret import Secret
from engine.clock import ManualClock
from monitors.health import Health
from monitors.http import HttpServer
from monitors.routes import Door, Routes
from tests.monitors.test_http import ask, no_gauges

SECRET = "s\u00e9same"
GOOD = {"Host": "127.0.0.1:8311", "X-Smallcap-Halt": "yes"}
BEARER = {"Authorization": f"Bearer {SECRET}".encode().decode("latin-1")}


class Served:
    """A server with a kill switch that notes who threw it."""

    def __init__(self, *, token=None, public=False):
        self.thrown = []
        health = Health(ManualClock(), 60.0)
        door = Door(self._halt, None if token is None else Secret(token), public)
        self.server = HttpServer("127.0.0.1:0", Routes(health, no_gauges, door).answer, public=public)

    async def _halt(self, by):
        self.thrown.append(by)

    async def __aenter__(self):
        await self.server.start()
        return self

    async def __aexit__(self, *_):
        await self.server.stop()

    async def halt(self, headers, method="POST"):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return await ask(self.server, f"{method} /halt HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))


@pytest.mark.parametrize("host", ["127.0.0.1:8311", "localhost", "LOCALHOST:1", "[::1]:8311"])
async def test_it_is_thrown_from_this_machine(host):
    async with Served() as served:
        status, said = await served.halt({**GOOD, "Host": host})
        assert (status, served.thrown) == (200, ["POST /halt from 127.0.0.1"])
        assert "halt --resume" in said


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Host": "127.0.0.1"}, "needs the header"),
        ({**GOOD, "X-Smallcap-Halt": "no"}, "needs the header"),
        ({**GOOD, "Origin": "http://evil.test"}, "not from a web page"),
        ({**GOOD, "Origin": "http://127.0.0.1:8311"}, "not from a web page"),
        ({**GOOD, "Origin": "null"}, "not from a web page"),
        ({**GOOD, "Host": "evil.test"}, "the Host is not this machine"),
        ({**GOOD, "Host": "127.0.0.1.evil.test:8311"}, "the Host is not this machine"),
        ({**GOOD, "Host": "192.0.2.1"}, "the Host is not this machine"),
        ({"X-Smallcap-Halt": "yes"}, "the Host is not this machine"),
    ],
)
async def test_what_a_web_page_could_send_is_refused(headers, said):
    async with Served() as served:
        status, body = await served.halt(headers)
        assert status == 403
        assert body.startswith(said)
        assert served.thrown == []


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        {}, {"Authorization": "Bearer wrong"}, {"Authorization": SECRET},
        {"Authorization": "Bearer \xfc\xdf"}, BEARER,
    ],
)  # fmt: skip
async def test_with_a_token_only_the_token_throws_it(public, given):
    async with Served(token=SECRET, public=public) as served:
        status, _ = await served.halt({**GOOD, **({"Host": "monitor.fund.test"} if public else {}), **given})
        assert (status, len(served.thrown)) == ((200, 1) if given is BEARER else (403, 0))


async def test_where_others_can_reach_it_there_is_none_without_a_token():
    async with Served(public=True) as served:
        assert await served.halt(GOOD) == (403, "others can reach this address: set monitor.http_token\n")
        assert served.thrown == []


async def test_looking_at_it_throws_nothing():
    async with Served() as served:
        assert (await served.halt(GOOD, method="GET"))[0] == 405
        assert served.thrown == []
