"""Health and metrics over HTTP, for a probe and for Prometheus: GET /healthz, /readyz, /metrics.

Loopback only unless the settings say otherwise; it tells nothing about positions. One request per connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from engine.errors import ConfigError
from monitors.health import Health

REQUEST_BYTES_MAX = 4_096
TIMEOUT_S = 5.0
CONNECTIONS_MAX = 32

Gauges = Callable[[], Iterator[tuple[str, str, float]]]  # name, help, value


class HealthServer:
    """Serves while `run` runs. `gauges` yields what other parts measure.

    Raises ConfigError for an address that others can reach, unless `public`.
    """

    def __init__(self, address: str, health: Health, gauges: Gauges, *, public: bool = False) -> None:
        self._host, self.port = _split(address)
        if not public and not _is_loopback(self._host):
            raise ConfigError(
                f"monitor.http_address: {address} can be reached from elsewhere; use 127.0.0.1, or set"
                " monitor.http_public"
            )
        self._health = health
        self._gauges = gauges
        self._registry = _registry(health, gauges)
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
                if self._open > CONNECTIONS_MAX:
                    status, kind, body = _text(503, "too many connections\n")
                else:
                    status, kind, body = self._answer(await _request_line(reader))
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, OSError):
            pass
        finally:
            self._open -= 1
            with suppress(OSError):
                writer.close()

    def _answer(self, line: str | None) -> tuple[str, str, bytes]:
        match line.split() if line else []:
            case ["GET", path, version] if version.startswith("HTTP/1."):
                path = path.partition("?")[0]
            case [_, _, version] if version.startswith("HTTP/1."):
                return _text(405, "only GET\n")
            case _:
                return _text(400, "not a request\n")
        problems = self._health.problems()
        if path == "/healthz":
            return _text(503 if problems else 200, "\n".join(problems or ["ok"]) + "\n")
        if path == "/readyz":
            if self._health.stopping or not self._health.ready:
                problems.append("stopping" if self._health.stopping else "starting")
            return _text(503 if problems else 200, "\n".join(problems or ["ready"]) + "\n")
        if path == "/metrics":
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)
        return _text(404, "/healthz, /readyz, /metrics\n")


async def _request_line(reader: asyncio.StreamReader) -> str | None:
    """Return the first line of a request once its head is complete, None when it is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.LimitOverrunError, asyncio.IncompleteReadError):
        return None
    return head.partition(b"\r\n")[0].decode("latin-1")


_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable",
}  # fmt: skip


def _text(status: int, text: str) -> tuple[str, str, bytes]:
    return f"{status} {_REASONS[status]}", "text/plain; charset=utf-8", text.encode()


def _registry(health: Health, gauges: Gauges) -> Any:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    class Collector:
        def collect(self) -> Iterator[Any]:
            for name, count in sorted(health.counts.items()):
                yield CounterMetricFamily(f"smallcap_{name}", f"{name} since the start", value=count)
            now = (
                ("ready", "1 while inputs are taken", float(health.ready and not health.stopping)),
                ("healthy", "1 without a problem", float(not health.problems())),
                ("loop_lag_seconds", "how late the event loop is", health.lag_s),
                ("commit_seconds", "what the newest transaction took", health.commit_s),
                ("feed_age_seconds", "since the feed last gave anything", health.feed_age_s),
                ("newest_row_timestamp_seconds", "when the newest row was known", health.ts_ns / 1e9),
                ("journal_seq", "newest journal row", float(health.journal_seq)),
            )
            for name, meaning, value in (*now, *gauges()):
                yield GaugeMetricFamily(f"smallcap_{name}", meaning, value=value)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return registry


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 65_536):
        raise ConfigError(f"monitor.http_address must be HOST:PORT, was {address!r}")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
