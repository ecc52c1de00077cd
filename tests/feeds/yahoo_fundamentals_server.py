"""What Yahoo answers about companies, cookie and crumb included; hooks replace any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.feeds.faulty_server import Asked, Reply, of

SUMMARY = {
    "quoteType": {"exchange": "NMS", "quoteType": "EQUITY", "symbol": "AAA", "longName": "Triple A, Inc."},
    "assetProfile": {"sector": "Technology", "industry": "Software - Application", "maxAge": 86400},
    "majorHoldersBreakdown": {"maxAge": 1, "institutionsCount": 214, "institutionsPercentHeld": 0.655},
    "financialData": {"currentPrice": 18.5, "returnOnEquity": 0.21, "totalRevenue": 1.96e9,
                      "earningsGrowth": 0.3, "ebitda": 2.871e8, "operatingMargins": 0.11},
    "defaultKeyStatistics": {"sharesOutstanding": 5e7, "floatShares": 41_000_000, "trailingEps": 1.2,
                             "earningsQuarterlyGrowth": 0.25, "heldPercentInstitutions": 0.6},
    "summaryDetail": {"bid": 18.4, "ask": 18.6, "volume": 400_000, "averageVolume": 500_000,
                      "marketCap": 925_000_000, "currency": "USD", "trailingPE": 15.4},
    "price": {"regularMarketPrice": {"raw": 18.5, "fmt": "18.50"}, "marketCap": 925_000_000,
              "regularMarketVolume": 400_000, "currency": "USD", "exchange": "NMS", "shortName": "AAA"},
}  # fmt: skip
PERIODS = {
    "quarterlyDilutedEPS": {"2025-09-30": 0.25, "2026-06-30": 0.33, "2026-09-30": 0.35},
    "annualDilutedEPS": {"2024-12-31": 0.8, "2025-12-31": 1.0},
    "quarterlyOrdinarySharesNumber": {"2026-09-30": 5e7},
}
NOT_FOUND = {
    "quoteSummary": {
        "result": None,
        "error": {"code": "Not Found", "description": "Quote not found for symbol: ZZZ"},
    }
}
NO_FUNDAMENTALS = {
    "quoteSummary": {
        "result": None,
        "error": {"code": "Not Found", "description": "No fundamentals data found for symbol: ZZZ"},
    }
}
BAD_CRUMB = {"finance": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}


def summary(**modules: Any) -> Reply:
    """A quote summary with some modules replaced."""
    return of({"quoteSummary": {"result": [SUMMARY | modules], "error": None}})


def periods(series: dict[str, dict[str, Any]]) -> Reply:
    """A reply with series of values by date."""
    result = [
        {
            "meta": {"symbol": ["AAA"], "type": [name]}, "timestamp": [0] * len(values),
            name: [None, *({"asOfDate": day, "periodType": "3M", "reportedValue": {"raw": value}}
                           for day, value in values.items())],
        }
        for name, values in series.items()
    ]  # fmt: skip
    return of({"timeseries": {"result": result, "error": None}})


class YahooAnswers:
    """Answers as Yahoo does: no data without the cookie and the crumb that are valid now, and what is AAA in
    the documents above is the symbol asked about."""

    def __init__(self) -> None:
        self.cookie = "A3=d1"
        self.crumb = "crumb.1"
        self.on_crumb: Callable[[Asked], Reply] | None = None
        self.on_summary: Callable[[Asked, str], Reply] = lambda asked, symbol: summary()
        self.on_periods: Callable[[Asked, str], Reply] = lambda asked, symbol: periods(PERIODS)

    def __call__(self, asked: Asked) -> Reply:
        symbol = asked.path.rsplit("/", 1)[1]
        allowed = self.cookie in asked.headers.get("Cookie", "")
        if asked.path == "/v1/test/getcrumb":
            if self.on_crumb is not None:
                return self.on_crumb(asked)
            return Reply(200, self.crumb.encode()) if allowed else of(BAD_CRUMB, 401)
        if not asked.path.startswith(("/v10/", "/ws/")):
            return Reply(404, b"<html>", {"Set-Cookie": f"{self.cookie}; Max-Age=3600; Path=/"})
        if not allowed or asked.query.get("crumb") != self.crumb:
            return of(BAD_CRUMB, 401)
        on_page = self.on_summary if asked.path.startswith("/v10/finance/quoteSummary/") else self.on_periods
        reply = on_page(asked, symbol)
        return replace(reply, body=reply.body.replace(b'"AAA"', f'"{symbol}"'.encode()))
