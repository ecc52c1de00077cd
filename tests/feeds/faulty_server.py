"""A server on loopback that answers as it is told: well, badly, slowly, without end, or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; `n` counts those for the same path and query, from 1."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    n: int


@dataclass(frozen=True)
class Reply:
    """body: what is sent. announced: its Content-Length where that is a lie. drip: bytes one by one, with
    `pause_s` before each. repeat: the body that often. hang: nothing until the test is over."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    drip: bool = False
    pause_s: float = 0.05
    repeat: int = 1
    hang: bool = False


def of(document: Any, status: int = 200, **headers: str) -> Reply:
    """A document as JSON. Underscores in the names of headers are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(document).encode(), named)


class FaultyServer:
    """What is answered, and what was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Callable[[Asked], Reply] = lambda asked: Reply(404)
        self.asked: list[Asked] = []
        self.sent = 0  # bytes of bodies that were taken
        self.over = threading.Event()

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            with lock:
                n = 1 + sum(a.path == parts.path and a.query == query for a in server.asked)
                asked = Asked(parts.path, query, dict(self.headers.items()), n)
                server.asked.append(asked)
            try:
                self._send(server.answer(asked))
            except OSError:
                self.close_connection = True  # the client has gone

        do_POST = do_GET

        def _send(self, reply: Reply) -> None:
            if reply.hang:
                server.over.wait(120)
                raise OSError
            length = len(reply.body) * reply.repeat if reply.announced is None else reply.announced
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if reply.drip:
                for i in range(len(reply.body)):
                    if server.over.wait(reply.pause_s):
                        raise OSError
                    self.wfile.write(reply.body[i : i + 1])
                    self.wfile.flush()
            else:
                for _ in range(reply.repeat):
                    self.wfile.write(reply.body)
                    server.sent += len(reply.body)
            self.close_connection = reply.announced is not None

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that goes away in mid-answer is what the tests are about

    lock = threading.Lock()
    http = Server(("127.0.0.1", 0), Handler)
    server = FaultyServer(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        http.shutdown()
        thread.join()
        http.server_close()
