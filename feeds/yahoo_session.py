"""The session through which yfinance talks to Yahoo: paced, bounded, and unable to be led astray.

yfinance knows Yahoo's cookies, crumbs and consent pages, but accepts any redirect, any size, and one timeout
per request of several. Its sessions are curl_cffi's, which look like a browser to Yahoo; this is one of them.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from curl_cffi import requests
from curl_cffi.const import CurlECode, CurlFollow
from curl_cffi.requests import exceptions
from yfinance.data import YfData

from feeds.http import BODY_MAX, checked_base_url, status_error
from feeds.provider import Failure, ProviderError
from feeds.rate_limit import RateLimit

SERVICE = "Yahoo"
# Pages about companies. What /v8/ says of prices yfinance tells apart itself; a 404 is usual for cookies.
_PAGES = ("/v10/", "/ws/")
_CRUMB = "/v1/"
_CHARTS, _HEAD_BYTES = "/v8/finance/chart/", 1_000
_CURRENCY = re.compile(rb'"currency" ?: ?"([^"]+)"')
_SYMBOL = re.compile(rb'"symbol" ?: ?"([^"]*)"')


class YahooSession(requests.Session[requests.Response]):
    """Safe to use from several threads.

    base_url: server to ask instead of Yahoo, path and query unchanged. Raises ConfigError for one that may
    not be asked.
    """

    def __init__(self, limit: RateLimit, *, base_url: str | None = None, body_max: int = BODY_MAX) -> None:
        super().__init__(impersonate="chrome", trust_env=base_url is None)
        self._base = str(checked_base_url(base_url)).rstrip("/") if base_url else None
        self._limit = limit
        self._body_max = body_max
        self._call = threading.local()

    @property
    def chart_status(self) -> int:
        """The HTTP status of the last chart that this thread asked for, 0 before."""
        return getattr(self._call, "chart_status", 0)

    @contextlib.contextmanager
    def deadline(self, timeout_s: float) -> Iterator[None]:
        """Within, all requests of this thread share `timeout_s`. Waiting for a turn is not counted."""
        self._call.until = time.monotonic() + timeout_s
        self._call.timeout_s = timeout_s
        try:
            yield
        finally:
            del self._call.until

    def request(self, method: Any, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(url)
        if self._base is not None:
            url = self._base + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        wait_s = self._limit.reserve()
        time.sleep(wait_s)
        if hasattr(self._call, "until"):
            self._call.until += wait_s
            options["timeout"] = self._time_left()
        body = bytearray()

        def collect(chunk: bytes) -> int:
            if len(body) + len(chunk) > self._body_max:
                raise ProviderError(
                    Failure.REFUSED, SERVICE,
                    f"an answer of more than {self._body_max / 1e6:g} MB, not read on",
                )  # fmt: skip
            body.extend(chunk)
            return len(chunk)

        options |= {"allow_redirects": CurlFollow.SAFE, "content_callback": collect}
        response = super().request(method, url, **options)
        response.content = bytes(body)
        self._check(response, parts.path)
        return response

    def _time_left(self) -> float:
        left: float = self._call.until - time.monotonic()
        if left <= 0:
            raise ProviderError(Failure.TIMEOUT, SERVICE, f"no answer within {self._call.timeout_s:g} s")
        return left

    def _check(self, response: requests.Response, path: str) -> None:
        """Raise what yfinance would only ask again about, with another cookie, or would hide Retry-After of.

        An expired crumb is answered with 401 or 403: that is left to yfinance, which gets a new one.
        """
        status = response.status_code
        if status == 404 and path.startswith(_PAGES):
            if b'"error"' not in response.content:  # A gateway's, or of an address that Yahoo has left
                raise ProviderError(Failure.MALFORMED, SERVICE, "a 404 that says nothing of a symbol")
            if b"No fundamentals data" in response.content:
                raise ProviderError(Failure.EMPTY, SERVICE, "nothing known of it: delisted, or no share?")
            raise ProviderError(Failure.UNKNOWN_SYMBOL, SERVICE, "no such symbol: delisted or renamed?")
        if (status == 429 or status >= 500) and path.startswith((*_PAGES, _CRUMB)):
            error = status_error(SERVICE, status, {k.lower(): v or "" for k, v in response.headers.items()})
            assert error is not None
            self._limit.hold(min(error.retry_after_s or 0.0, 60.0))
            raise error
        if path.startswith(_CHARTS):
            self._call.chart_status = status
        if status == 200 and path.startswith(_CHARTS):
            head = response.content[:_HEAD_BYTES]
            if not (
                b'"chart"' in head and b'"meta"' in head
            ):  # yfinance takes it for a symbol without prices
                raise ProviderError(Failure.MALFORMED, SERVICE, "an answer that is no chart")
            about = _SYMBOL.search(head)
            if about and about[1].decode(errors="replace").upper() != unquote(path[len(_CHARTS) :]).upper():
                raise ProviderError(Failure.MALFORMED, SERVICE, "an answer about another symbol")
            currency = _CURRENCY.search(head)
            if currency and currency[1] != b"USD":
                detail = f"quoted in {currency[1].decode(errors='replace')[:10]}, and accounts are in dollars"
                raise ProviderError(Failure.EMPTY, SERVICE, detail)


class _YahooData(YfData):  # type: ignore[misc]
    """yfinance's cookies and crumbs, kept in memory: on disk they are pickles that all processes share."""

    def _load_cookie_curlCffi(self) -> bool:
        """Use the cookie that the session has, until Yahoo refuses it: yfinance then changes its strategy."""
        self._cookie = True if self._cookie_strategy == "basic" and len(self._session.cookies) else None
        return self._cookie is not None

    def _save_cookie_curlCffi(self) -> bool:
        return False


def yahoo_data(session: YahooSession) -> Any:
    """Return yfinance's way to ask Yahoo through this session. Its own is one per process, for all users."""
    return type.__call__(_YahooData, session=session)


def failure_of(error: Exception, symbol: str, timeout_s: float) -> ProviderError:
    """Return what an exception out of yfinance or curl means, in words that repeat nothing of a URL."""
    if isinstance(error, ProviderError):
        return ProviderError(
            error.failure, SERVICE, error.detail, symbol=symbol, retry_after_s=error.retry_after_s
        )
    failure, detail = Failure.MALFORMED, f"an answer that yfinance cannot read ({type(error).__name__})"
    if isinstance(error, exceptions.Timeout):
        failure, detail = Failure.TIMEOUT, f"no answer within {timeout_s:g} s"
    elif "SSRF" in str(error):
        failure, detail = Failure.REFUSED, "a redirect to an address that is not of the public internet"
    elif isinstance(error, exceptions.InvalidSchema):
        failure, detail = Failure.REFUSED, "a redirect to an address that is none of the web"
    elif getattr(error, "code", None) == CurlECode.BAD_CONTENT_ENCODING:
        detail = "an answer that cannot be unpacked"
    elif isinstance(error, exceptions.IncompleteRead):
        failure, detail = Failure.UNAVAILABLE, "the connection was cut"
    elif isinstance(error, exceptions.RequestException):
        failure, detail = Failure.UNAVAILABLE, f"no connection ({type(error).__name__})"
    return ProviderError(failure, SERVICE, detail, symbol=symbol)
