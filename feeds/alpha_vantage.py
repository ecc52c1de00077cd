"""Fundamentals of Alpha Vantage: the functions OVERVIEW and EARNINGS, one request each.

Traps of the service: what is absent is "None" or "-"; failures come with status 200, as a sentence under
"Note", "Information" or "Error Message", and that sentence may quote the key, so it is never passed on; an
unknown symbol is an empty object; the first of the annual figures is often the sum of an unfinished year.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from config.secret import Secret
from engine.facts import PERIOD_UNKNOWN
from feeds.http import Http, read_json
from feeds.provider import Dated, Failure, ProviderError, Snapshot, about_another, figure, plain
from feeds.rate_limit import RateLimit
from feeds.symbols import symbol_key
from feeds.visibility import visible_from

BASE_URL = "https://www.alphavantage.co"
SERVICE = "Alpha Vantage"
_TEXTS = {
    "name": "Name", "sector": "Sector", "industry": "Industry", "exchange": "Exchange",
    "currency": "Currency", "quote_type": "AssetType",
}  # fmt: skip
_SIZES = {
    "market_cap": "MarketCapitalization", "shares_outstanding": "SharesOutstanding",
    "float_shares": "SharesFloat",
}  # fmt: skip
_FIGURES = {"eps_ttm": "EPS", "earnings_growth": "QuarterlyEarningsGrowthYOY", "roe": "ReturnOnEquityTTM"}
_OTHER = {
    "pe_ratio": "PERatio", "peg_ratio": "PEGRatio", "dividend_yield": "DividendYield", "ebitda": "EBITDA",
    "revenue_ttm": "RevenueTTM", "profit_margin": "ProfitMargin", "operating_margin": "OperatingMarginTTM",
}  # fmt: skip
_OVERVIEW = frozenset({*_TEXTS, *_SIZES, *_FIGURES, "institutional_share", "other"})
_EARNINGS = frozenset({"quarterly_eps", "annual_eps"})
_ABSENT = ("", "-", "none", "null", "n/a", "nan")
_YEAR_DAYS_MIN = 320  # between the ends of two fiscal years


class AlphaVantage:
    """Asks Alpha Vantage. now_ns: UTC ns of the moment. limit: also holds the count of the day's requests."""

    name = "alpha_vantage"
    fields = _OVERVIEW | _EARNINGS

    def __init__(self, http: Http, key: Secret, limit: RateLimit, now_ns: Callable[[], int]) -> None:
        self._http = http
        self._key = key
        self._limit = limit
        self._now_ns = now_ns

    async def fetch(self, symbol: str, wanted: frozenset[str] | None = None) -> Snapshot:
        wanted = self.fields if wanted is None else wanted
        fields: dict[str, Any] = {}
        if wanted & _OVERVIEW:
            fields |= read_overview(await self._ask("OVERVIEW", symbol))
        if wanted & _EARNINGS:
            fields |= read_earnings(await self._ask("EARNINGS", symbol))
        if not any(fields.values()):
            raise ProviderError(
                Failure.UNKNOWN_SYMBOL,
                SERVICE,
                "nothing known: delisted, renamed, or no share?",
                symbol=symbol,
            )
        return Snapshot(symbol=symbol_key(symbol), source=self.name, fetched_at=self._now_ns(), **fields)

    async def _ask(self, function: str, symbol: str) -> Mapping[str, Any]:
        def read(body: bytes) -> Mapping[str, Any]:
            document = read_json(SERVICE, body, symbol)
            if not isinstance(document, dict):
                raise ProviderError(Failure.MALFORMED, SERVICE, "no JSON object", symbol=symbol)
            error = told_failure(document, symbol)
            if error is not None:
                if error.failure is Failure.QUOTA_EXHAUSTED:
                    self._limit.exhaust()
                raise error
            another = about_another(SERVICE, symbol, document.get("Symbol") or document.get("symbol"))
            if another is not None:
                raise another
            return document

        return await self._http.get(
            "/query", read, params={"function": function, "symbol": symbol_key(symbol)},
            secrets={"apikey": self._key}, symbol=symbol,
        )  # fmt: skip


def told_failure(document: Mapping[str, Any], symbol: str) -> ProviderError | None:
    """Return the failure that an answer with status 200 tells of in words, None for a real answer."""
    texts = [str(document[name]) for name in ("Note", "Information", "Error Message") if name in document]
    if not texts:
        return None
    text = " ".join(texts).lower()
    if "per minute" in text or "per second" in text or "sparingly" in text:
        failure, detail = Failure.RATE_LIMITED, "asks for fewer requests a minute"
    elif "per day" in text or "daily" in text:
        failure, detail = Failure.QUOTA_EXHAUSTED, "says that today's requests are used up"
    elif "premium" in text:
        failure, detail = Failure.UNAUTHORIZED, "says that this needs a premium key"
    elif "invalid api call" in text:
        failure, detail = Failure.UNKNOWN_SYMBOL, "refuses the symbol"
    elif "apikey" in text or "api key" in text:
        failure, detail = Failure.UNAUTHORIZED, "refuses the key; see data_sources.alpha_vantage_key"
    else:
        failure, detail = Failure.MALFORMED, "answers with a notice instead of data"
    return ProviderError(failure, SERVICE, detail, symbol=symbol)


def read_overview(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a snapshot from an OVERVIEW."""
    institutions = figure(document.get("PercentInstitutions"), positive=True)
    return {
        **{field: _text(document.get(name)) for field, name in _TEXTS.items()},
        **{field: figure(document.get(name), positive=True) for field, name in _SIZES.items()},
        **{field: figure(document.get(name)) for field, name in _FIGURES.items()},
        "institutional_share": None if institutions is None else institutions / 100.0,
        "other": {f: v for f, name in _OTHER.items() if (v := figure(document.get(name))) is not None},
    }


def read_earnings(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the series of a snapshot from EARNINGS. A fiscal year was reported with its last quarter."""
    quarters = list(_entries(document.get("quarterlyEarnings")))
    reported = {end: _reported(entry) for end, _, entry in quarters}
    years = sorted((end, value) for end, value, _ in _entries(document.get("annualEarnings")))
    whole = [
        (end, value)
        for i, (end, value) in enumerate(years)
        if i == 0 or (end - years[i - 1][0]).days >= _YEAR_DAYS_MIN
    ]
    return {
        "quarterly_eps": tuple(
            Dated(period_end=end.isoformat(), value=value, available_at=_reported(entry))
            for end, value, entry in sorted(quarters, key=lambda quarter: quarter[0])
        ),
        "annual_eps": tuple(
            Dated(period_end=end.isoformat(), value=value, available_at=reported.get(end))
            for end, value in whole
        ),
    }


def _entries(rows: Any) -> Iterable[tuple[dt.date, float, Mapping[str, Any]]]:
    """Yield period end, EPS and row of what was reported; estimates and damaged rows are left out."""
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            value = figure(row.get("reportedEPS"))
            try:
                end = dt.date.fromisoformat(str(row.get("fiscalDateEnding")))
            except ValueError:
                continue
            if value is not None:
                yield end, value, row


def _reported(entry: Mapping[str, Any]) -> int | None:
    """Return from when a quarter was public (UTC ns): a date counts from the next day."""
    text = _text(entry.get("reportedDate"))
    return visible_from(text, PERIOD_UNKNOWN, "") if text else None


def _text(value: object) -> str | None:
    text = plain(value)
    return None if text.lower() in _ABSENT else text
