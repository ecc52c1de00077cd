"""What the monitor answers over HTTP: GET /healthz, /readyz, /metrics, and POST /halt, the kill switch.

Nothing here tells about positions, and nothing makes the monitor buy: to clear the kill switch takes a person
at the command line. POST /halt must not be within reach of a web page that the operator happens to open:

1. it needs a header of its own, which a page may send elsewhere only with consent, and none is given;
2. a request with an Origin, or with a Host that is not this machine, is refused;
3. where others can reach the address it needs the token of the settings; with a token it needs it everywhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from config.secret import Secret
from monitors.health import Health
from monitors.http import Request, Response, is_loopback, split_host
from monitors.metrics import Gauges, metrics, registry

HALT_HEADER = "x-smallcap-halt"
PATHS = "GET /healthz, /readyz, /metrics; POST /halt"


class Door(NamedTuple):
    """How the kill switch is reached. `halt(by)` returns when entries are stopped."""

    halt: Callable[[str], Awaitable[None]]
    token: Secret | None = None
    public: bool = False  # others can reach the address


class Routes:
    """Answers requests. Without a door there is no POST /halt."""

    def __init__(self, health: Health, gauges: Gauges, door: Door | None = None) -> None:
        self._health = health
        self._registry: Any = registry(health, gauges)
        self._door = door

    async def answer(self, request: Request) -> Response:
        """Return the response to a request."""
        match request.method, request.path:
            case "GET", "/healthz":
                problems = self._health.problems()
                return _lines(problems or ["ok"], 503 if problems else 200)
            case "GET", "/readyz":
                return self._readiness()
            case "GET", "/metrics":
                kind, body = metrics(self._registry)
                return Response(200, body, kind)
            case "POST", "/halt" if self._door is not None:
                return await self._halt(request, self._door)
            case "GET", "/halt":
                return _lines([f"the kill switch wants POST and the header {HALT_HEADER}: yes"], 405)
            case "GET", _:
                return _lines([PATHS], 404)
        return _lines([PATHS], 405)

    def _readiness(self) -> Response:
        problems = self._health.problems()
        if self._health.stopping or not self._health.ready:
            problems.append("stopping" if self._health.stopping else "starting")
        return _lines(problems or ["ready"], 503 if problems else 200)

    async def _halt(self, request: Request, door: Door) -> Response:
        refusal = _refusal(request, door)
        if refusal:
            return _lines([refusal], 403)
        await door.halt(f"POST /halt from {request.peer}")
        return _lines(["nothing is bought from the next row on; to clear: halt --resume"], 200)


def _refusal(request: Request, door: Door) -> str:
    """Return why the kill switch may not be thrown by this request, "" if it may."""
    if request.headers.get(HALT_HEADER, "").lower() != "yes":
        return f"needs the header {HALT_HEADER}: yes"
    if "origin" in request.headers:
        return "not from a web page"
    if door.token is None:
        if door.public:
            return "others can reach this address: set monitor.http_token"
    elif not _has_token(request.headers.get("authorization", ""), door.token):
        return "needs the header Authorization: Bearer and monitor.http_token"
    if not door.public and not is_loopback(split_host(request.headers.get("host", ""))):
        return "the Host is not this machine"
    return ""


def _has_token(given: str, token: Secret) -> bool:
    # As bytes, which is what was sent: compare_digest refuses text beyond ASCII
    return hmac.compare_digest(given.encode("latin-1"), f"Bearer {token.reveal()}".encode())


def _lines(lines: list[str], status: int) -> Response:
    return Response(status, "".join(f"{line}\n" for line in lines).encode())
