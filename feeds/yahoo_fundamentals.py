"""Fundamentals of Yahoo, two requests per symbol: its quote summary, and earnings and shares by period.

yfinance brings cookie, crumb and consent. Its `Ticker.info`, `get_shares_full` and two income statements
would be six requests for the same figures, and the number of requests is what Yahoo limits.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from feeds.http import read_json, status_error
from feeds.provider import NUMBERS, Dated, Failure, ProviderError, Snapshot, about_another, figure, plain
from feeds.rate_limit import RateLimit
from feeds.retry import Patience, patiently
from feeds.symbols import symbol_key
from feeds.threads import in_daemon_thread
from feeds.yahoo_session import SERVICE, YahooSession, failure_of, yahoo_data

_SUMMARY = "https://query2.finance.yahoo.com/v10/finance/quoteSummary/"
_PERIODS = "https://query2.finance.yahoo.com/ws/fundamentals-timeseries/v1/finance/timeseries/"
_MODULES = (
    "quoteType", "assetProfile", "majorHoldersBreakdown", "financialData", "defaultKeyStatistics",
    "summaryDetail", "price",
)  # fmt: skip
_TEXTS = {
    "name": ("longName", "shortName"), "sector": ("sector",), "industry": ("industry",),
    "exchange": ("exchange",), "currency": ("currency",), "quote_type": ("quoteType",),
}  # fmt: skip
# Names that stand for the same figure, the better one first. Yahoo writes 0 for a size that it lacks.
_SIZES = {
    "price": ("regularMarketPrice", "currentPrice"), "market_cap": ("marketCap",),
    "shares_outstanding": ("sharesOutstanding", "impliedSharesOutstanding"), "float_shares": ("floatShares",),
    "average_volume": ("averageVolume", "averageDailyVolume3Month"), "bid": ("bid",), "ask": ("ask",),
    "institutional_holders": ("institutionsCount",),
    "institutional_share": ("institutionsPercentHeld", "heldPercentInstitutions"),
}  # fmt: skip
_FIGURES = {
    "volume": ("regularMarketVolume", "volume"), "eps_ttm": ("trailingEps",), "roe": ("returnOnEquity",),
    "earnings_growth": ("earningsQuarterlyGrowth", "earningsGrowth"),
}  # fmt: skip
_OTHER = {
    "pe_ratio": "trailingPE", "peg_ratio": "pegRatio", "dividend_yield": "dividendYield", "ebitda": "ebitda",
    "revenue_ttm": "totalRevenue", "profit_margin": "profitMargins", "operating_margin": "operatingMargins",
}  # fmt: skip
_SERIES = {
    "quarterly_eps": ("quarterlyDilutedEPS", "quarterlyBasicEPS"),
    "annual_eps": ("annualDilutedEPS", "annualBasicEPS"),
    "shares_history": ("quarterlyOrdinarySharesNumber",),
}


class YahooFundamentals:
    """Asks Yahoo. now_ns: UTC ns of the moment. timeout_s: for one answer, cookie and crumb included.

    base_url: server to ask instead of Yahoo.
    """

    name = "yahoo"
    fields = frozenset({*_TEXTS, *_SIZES, *_FIGURES, *_SERIES, "average_dollar_volume", "other"})

    def __init__(
        self, limit: RateLimit, now_ns: Callable[[], int], *, base_url: str | None = None,
        patience: Patience | None = None, timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        self._session = YahooSession(limit, base_url=base_url)
        self._data = yahoo_data(self._session)
        self._now_ns = now_ns
        self._patience = patience or Patience()
        self._timeout_s = timeout_s

    async def fetch(self, symbol: str, wanted: frozenset[str] | None = None) -> Snapshot:
        key = symbol_key(symbol)
        fields = read_summary(await self._ask(_SUMMARY, key, {
            "modules": ",".join(_MODULES), "corsDomain": "finance.yahoo.com", "formatted": "false",
        }), key)  # fmt: skip
        if wanted is None or wanted & _SERIES.keys():
            end = self._now_ns() // 10**9 // 86_400 * 86_400 + 86_400
            fields |= read_periods(await self._ask(_PERIODS, key, {
                "symbol": key, "type": ",".join(name for names in _SERIES.values() for name in names),
                "period1": "1483142400", "period2": str(end),
            }), key)  # fmt: skip
        return Snapshot(symbol=key, source=self.name, fetched_at=self._now_ns(), **fields)

    async def _ask(self, url: str, symbol: str, params: dict[str, str]) -> Any:
        def ask() -> Any:
            try:
                with self._session.deadline(self._timeout_s):
                    response = self._data.get(url + quote(symbol, safe=""), params=params)
            except Exception as error:
                raise failure_of(error, symbol, self._timeout_s) from None
            refused = status_error(SERVICE, response.status_code, {}, symbol)
            if refused is not None:
                raise refused
            return read_json(SERVICE, response.content, symbol)

        return await patiently(lambda: in_daemon_thread(ask), self._patience)


def read_summary(document: Any, symbol: str) -> dict[str, Any]:
    """Return fields of a snapshot from a quote summary. ProviderError for one that says nothing."""
    info = _flat(document)
    if not info.keys() - {"symbol"}:
        raise ProviderError(Failure.EMPTY, SERVICE, "nothing known of it: delisted?", symbol=symbol)
    another = about_another(SERVICE, symbol, info.get("symbol"))
    if another is not None:
        raise another
    fields: dict[str, Any] = {name: _first(info, keys, _text) for name, keys in _TEXTS.items()}
    fields |= {name: _first(info, keys, _size) for name, keys in _SIZES.items()}
    fields |= {name: _first(info, keys, figure) for name, keys in _FIGURES.items()}
    if fields["volume"] is not None and fields["volume"] < 0:
        fields["volume"] = None
    if fields["average_volume"] and fields["price"]:
        fields["average_dollar_volume"] = figure(fields["average_volume"] * fields["price"])
    if not any(fields.values()):
        raise ProviderError(
            Failure.MALFORMED, SERVICE, "an answer without any field that is known; has Yahoo changed it?",
            symbol=symbol,
        )  # fmt: skip
    if not any(fields.get(name) for name in NUMBERS):
        raise ProviderError(Failure.EMPTY, SERVICE, "a name without figures: delisted?", symbol=symbol)
    fields["other"] = {f: v for f, name in _OTHER.items() if (v := figure(info.get(name))) is not None}
    return fields


def read_periods(document: Any, symbol: str) -> dict[str, tuple[Dated, ...]]:
    """Return the series of a snapshot; empty where Yahoo has none, as of funds. ProviderError for an answer
    that is not about this company's periods."""
    if not isinstance(_at(document, "timeseries"), dict) or _at(document, "timeseries", "error"):
        raise ProviderError(Failure.MALFORMED, SERVICE, "an answer without periods", symbol=symbol)
    found: dict[str, tuple[Dated, ...]] = {}
    for item in _rows(_at(document, "timeseries", "result")):
        told = _at(item, "meta", "symbol")
        another = about_another(SERVICE, symbol, told[0] if isinstance(told, list) and told else None)
        if another is not None:
            raise another
        for name in item:
            found[name] = tuple(sorted(_dated(item[name]), key=lambda dated: dated.period_end))
    return {
        field: next((found[name] for name in names if found.get(name)), ())
        for field, names in _SERIES.items()
    }


def _flat(document: Any) -> dict[str, Any]:
    """Return the entries of all modules of the first result, a later module before an earlier one."""
    info: dict[str, Any] = {}
    for result in _rows(_at(document, "quoteSummary", "result"))[:1]:
        for module in _MODULES:
            entries = result.get(module)
            for name, value in entries.items() if isinstance(entries, dict) else ():
                raw = value.get("raw") if isinstance(value, dict) else value
                if raw is not None and name != "maxAge":
                    info[name] = raw
    return info


def _dated(entries: Any) -> list[Dated]:
    dated = []
    for entry in _rows(entries):
        value = figure(_at(entry, "reportedValue", "raw"))
        try:
            day = dt.date.fromisoformat(str(entry.get("asOfDate")))
        except ValueError:
            continue
        if value is not None:
            dated.append(Dated(period_end=day.isoformat(), value=value))
    return dated


def _first(info: Mapping[str, Any], names: tuple[str, ...], read: Callable[[object], Any]) -> Any:
    return next((value for name in names if (value := read(info.get(name))) is not None), None)


def _size(value: object) -> float | None:
    return figure(value, positive=True)


def _text(value: object) -> str | None:
    return plain(value) or None


def _rows(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _at(document: Any, *path: str) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document
