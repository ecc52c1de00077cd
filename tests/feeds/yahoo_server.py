"""A server on loopback that speaks Yahoo's chart API, well or badly."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
Answer = Callable[[str, int], tuple[int, bytes]]  # symbol, number of the request for it from 1


NO_PERIOD = {"timezone": "EST", "start": 0, "end": 0, "gmtoffset": -18000}


def chart(
    symbol: str,
    bars: dict[str, float],
    *,
    dividends: dict[str, float] | None = None,
    splits: dict[str, int] | None = None,
) -> bytes:
    """The chart of a symbol: close by date. splits: new shares for an old one, by date."""
    opens = [int(dt.datetime.fromisoformat(f"{d}T09:30").replace(tzinfo=NEW_YORK).timestamp()) for d in bars]
    close = list(bars.values())
    events = {
        str(stamp): {"amount": dividends[day], "date": stamp}
        for day, stamp in zip(bars, opens, strict=True)
        if dividends and day in dividends
    }
    result = {
        "meta": {
            "currency": "USD", "symbol": symbol, "exchangeTimezoneName": "America/New_York",
            "instrumentType": "EQUITY", "timezone": "EST", "gmtoffset": -18000, "priceHint": 2,
            "regularMarketTime": opens[-1] if opens else 0, "firstTradeDate": 0, "validRanges": ["1d", "max"],
            "dataGranularity": "1d", "range": "",
            "currentTradingPeriod": {part: NO_PERIOD for part in ("pre", "regular", "post")},
        },
        "timestamp": opens,
        "indicators": {
            "quote": [{
                "open": close, "close": close, "high": [c and c + 1 for c in close],
                "low": [c and c - 1 for c in close], "volume": [c and 1000 for c in close],
            }],
            "adjclose": [{"adjclose": close}],
        },
    }  # fmt: skip
    if events:
        result["events"] = {"dividends": events}
    if splits:
        stated = {
            str(stamp): {"date": stamp, "numerator": splits[day], "denominator": 1, "splitRatio": "n:1"}
            for day, stamp in zip(bars, opens, strict=True)
            if day in splits
        }
        result["events"] = {"splits": stated}
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()


NOT_FOUND = json.dumps(
    {"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}
).encode()


class Yahoo:
    """What the server answers, and how often it was asked for each symbol."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Answer = lambda symbol, n: (404, NOT_FOUND)
        self.asked: Counter[str] = Counter()
        self.queries: dict[str, dict[str, str]] = {}  # newest by symbol
        self.release = threading.Event()  # answers that hang wait for it

    def hang(self, symbol: str, n: int) -> tuple[int, bytes]:
        self.release.wait(20)
        return 500, b""


@contextmanager
def yahoo_server() -> Iterator[Yahoo]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if not path.startswith("/v8/finance/chart/"):
                self._send(404, b"")
                return
            symbol = path.rsplit("/", 1)[1]
            with lock:
                yahoo.asked[symbol] += 1
                n = yahoo.asked[symbol]
                yahoo.queries[symbol] = dict(parse_qsl(query))
            self._send(*yahoo.answer(symbol, n))

        def _send(self, status: int, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the client has gone

        def log_message(self, *args: Any) -> None:
            pass

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    yahoo = Yahoo(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield yahoo
    finally:
        yahoo.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
