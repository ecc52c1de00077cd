"""A small HTTP server: one request per connection, its head bounded, its body ignored.

Loopback only, unless the settings say otherwise.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from engine.errors import ConfigError

REQUEST_BYTES_MAX = 4_096
TIMEOUT_S = 5.0
CONNECTIONS_MAX = 32

_REASONS = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    503: "Service Unavailable",
}  # fmt: skip


class Request(NamedTuple):
    method: str
    path: str  # without what follows a question mark
    headers: Mapping[str, str]  # names in lower case
    peer: str  # address of who asks


class Response(NamedTuple):
    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


class HttpServer:
    """Listens between `start` and `stop`, and has `answer` make the responses.

    Raises ConfigError for an address that others can reach, unless `public`.
    """

    def __init__(
        self, address: str, answer: Callable[[Request], Awaitable[Response]], *, public: bool = False
    ) -> None:
        self._host, self.port = checked_address(address, public=public)
        self._answer = answer
        self._open = 0

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address cannot be had."""
        try:
            self._server = await asyncio.start_server(
                self._serve, self._host, self.port, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            raise ConfigError(
                f"monitor.http_address: {self._host}:{self.port}: {error.strerror or error}"
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await self._respond(reader, str((writer.get_extra_info("peername") or "?")[0]))
                writer.write(
                    f"HTTP/1.1 {response.status} {_REASONS[response.status]}\r\n"
                    f"Content-Type: {response.kind}\r\nContent-Length: {len(response.body)}\r\n"
                    "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n".encode()
                    + response.body
                )
                await writer.drain()
        except (TimeoutError, OSError):
            pass
        finally:
            self._open -= 1
            with suppress(OSError):
                writer.close()

    async def _respond(self, reader: asyncio.StreamReader, peer: str) -> Response:
        if self._open > CONNECTIONS_MAX:
            return Response(503, b"too many connections\n")
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            head = b""
        request = parse(head, peer)
        return Response(400, b"not a request\n") if request is None else await self._answer(request)


def parse(head: bytes, peer: str) -> Request | None:
    """Return the request that a head makes, None when it makes none."""
    first, *lines = head.removesuffix(b"\r\n\r\n").decode("latin-1").split("\r\n")
    match first.split(" "):
        case [method, target, version] if version.startswith("HTTP/1.") and target.startswith("/"):
            pass
        case _:
            return None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        # Two that differ, or a name with blanks around it, are read one way here and another way elsewhere
        if not colon or not name or name != name.strip() or name.lower() in headers:
            return None
        headers[name.lower()] = value.strip()
    return Request(method, target.partition("?")[0], headers, peer)


def split_host(header: str) -> str:
    """Return the host of a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for certain."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def checked_address(address: str, *, public: bool) -> tuple[str, int]:
    """Return host and port. Raises ConfigError for an address that others can reach, unless `public`."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 65_536):
        raise ConfigError(f"monitor.http_address must be HOST:PORT, was {address!r}")
    host = host.strip("[]")
    if not public and not is_loopback(host):
        raise ConfigError(
            f"monitor.http_address: {address} can be reached from elsewhere; use 127.0.0.1, or set"
            " monitor.http_public"
        )
    return host, int(port)
