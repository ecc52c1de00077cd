"""What a server on loopback answers that speaks Yahoo's chart API of minutes, as Yahoo would at a moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.clock import ManualClock
from feeds.sessions import session_days, trading_hours
from tests.feeds.yahoo_server import Answer, Yahoo

STEP_S = {"1m": 60, "5m": 300, "15m": 900, "1h": 3_600}
KEPT_DAYS = {"1m": 30, "5m": 60, "15m": 60, "1h": 730}
PERIOD = {"timezone": "EST", "gmtoffset": -18000}
Price = Callable[[str, int], float | None]  # symbol, when its bar begins in s -> close, None for no trade


class Extra(NamedTuple):
    """What Yahoo adds to a chart: rows at times of its own, and what it states."""

    rows: tuple[tuple[int, float], ...] = ()  # when in s, price
    splits: tuple[tuple[int, int], ...] = ()  # when in s, new shares for an old one


def minutes(
    yahoo: Yahoo, clock: ManualClock, price: Price, extra: Callable[[str], Extra] | None = None
) -> Answer:
    """Answer with the bars that have begun by the clock's time, the one that is on among them.

    The bar that is on has a price of 1, the bars before and after the session one of 2: none may be used.
    """

    def answer(symbol: str, n: int) -> tuple[int, bytes]:
        query, now_s = yahoo.queries[symbol], clock.now_ns() / 1e9
        step_s = STEP_S[query["interval"]]
        first_s, last_s = int(query["period1"]), min(int(query["period2"]), now_s)
        if first_s < now_s - KEPT_DAYS[query["interval"]] * 86_400:
            return 422, error(f"{query['interval']} data not available for startTime={first_s}")
        if query["interval"] == "1m" and int(query["period2"]) - first_s > 8 * 86_400:
            return 422, error(
                "Only 8 days worth of 1m granularity data are allowed to be fetched per request."
            )
        days = session_days(np.array([first_s, int(last_s)]) * 10**9)
        hours = trading_hours(int(days[0]), int(days[1]))
        rows: list[tuple[int, float | None]] = []
        periods = []
        for open_ns, close_ns in zip(hours.opens.tolist(), hours.closes.tolist(), strict=True):
            open_s, close_s = open_ns // 10**9, close_ns // 10**9
            periods.append([{"start": open_s, "end": close_s, **PERIOD}])
            rows.append((open_s - step_s, 2.0))
            for begin_s in range(open_s, close_s, step_s):
                over = min(begin_s + step_s, close_s) <= now_s
                rows.append((begin_s, price(symbol, begin_s) if over else 1.0))
            rows.append((close_s, 2.0))
        stated = extra(symbol) if extra else Extra()
        rows = [row for row in sorted([*rows, *stated.rows], key=lambda row: row[0]) if row[0] <= last_s]
        return 200, chart_of_rows(symbol, rows, periods, query["interval"], stated.splits)

    return answer


def error(words: str) -> bytes:
    return json.dumps(
        {"chart": {"result": None, "error": {"code": "Unprocessable", "description": words}}}
    ).encode()


def chart_of_rows(
    symbol: str, rows: list[tuple[int, float | None]], periods: list[Any], interval: str,
    splits: tuple[tuple[int, int], ...],
) -> bytes:  # fmt: skip
    close = [one[1] for one in rows]
    result: dict[str, Any] = {
        "meta": {
            "currency": "USD", "symbol": symbol, "exchangeTimezoneName": "America/New_York",
            "instrumentType": "EQUITY", "timezone": "EST", "gmtoffset": -18000, "priceHint": 2,
            "regularMarketTime": rows[-1][0] if rows else 0, "firstTradeDate": 0, "validRanges": ["1d"],
            "dataGranularity": interval, "range": "", "tradingPeriods": periods,
            "currentTradingPeriod": {
                part: {"start": 0, "end": 0, **PERIOD} for part in ("pre", "regular", "post")
            },
        },
        "timestamp": [one[0] for one in rows],
        "indicators": {
            "quote": [{
                "open": close, "close": close, "high": [c and c + 0.1 for c in close],
                "low": [c and c - 0.1 for c in close], "volume": [c and 1000 for c in close],
            }],
        },
    }  # fmt: skip
    if splits:
        result["events"] = {
            "splits": {
                str(when): {"date": when, "numerator": n, "denominator": 1, "splitRatio": f"{n}:1"}
                for when, n in splits
            }
        }
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()
