"""One request for bars to Yahoo through yfinance, and what its failures mean.

Traps of yfinance 1.7 that this module stands between: `auto_adjust` is on by default; a failed reply to a
range in the past is kept in an in-process cache and served again on the next attempt; rate limits are not
retried; an unknown time zone costs a second request per symbol; cookies are pickled into a shared folder.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from engine.errors import DataError, MissingPackage
from feeds.provider import Failure, ProviderError
from feeds.rate_limit import RateLimit

_EXCHANGE_ZONE = "America/New_York"
_ABOUT_THE_SYMBOL = (200, 400, 404, 422)  # statuses under which Yahoo says that it has no bars


class YahooError(Exception):
    """Yahoo gave no usable answer; trying again may help."""


class RateLimited(YahooError):
    """Yahoo refuses further requests for now."""


class NoData(Exception):
    """Yahoo answered that it has nothing for this symbol; trying again is no use."""


class YahooClient:
    """Fetches bars. Safe to use from several threads.

    private_dir: folder for yfinance's cookies, made accessible to this user alone: they are pickles.
    base_url: server to ask instead of Yahoo, for tests and mirrors.
    """

    def __init__(self, private_dir: Path, *, base_url: str | None = None, timeout_s: float = 10.0) -> None:
        try:
            import yfinance

            from feeds.yahoo_session import YahooSession
        except ImportError:
            raise MissingPackage("Yahoo prices need yfinance: pip install yfinance") from None
        try:
            private_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.chmod(private_dir, 0o700)
        except OSError as error:
            raise DataError(f"{private_dir}: cannot be made private ({error.strerror})") from None
        yfinance.set_tz_cache_location(str(private_dir.resolve()))  # It outlives a change of folder
        yfinance.config.debug.hide_exceptions = False
        # yfinance 1.7 uses what pandas 3.1 deprecates, and pandas shows that to everybody
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"yfinance\.")
        self._yfinance = yfinance
        self._session = YahooSession(RateLimit(None, clock=time.monotonic), base_url=base_url)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()

    def history(self, symbol: str, start: dt.date, end: dt.date, interval: str = "1d") -> Any:
        """Return a DataFrame of the sessions from `start` to `end`, both included, unadjusted but for splits.

        interval: 1d, or 1m, 5m, 15m, 1h; the index is then when a bar begins, in exchange time.
        Columns: Open, High, Low, Close, Adj Close, Volume, Dividends, Stock Splits. Rows without prices are
        kept. Raises RateLimited, YahooError or NoData.
        """
        from yfinance.data import YfData
        from yfinance.exceptions import YFPricesMissingError, YFRateLimitError, YFTzMissingError

        with self._lock:
            YfData.cache_get.cache_clear()  # else the failure of the last attempt is the answer to this one
            ticker = self._yfinance.Ticker(symbol, session=self._session)
        ticker._tz = _EXCHANGE_ZONE  # else yfinance asks for it first, at the price of a second request
        try:
            frame = ticker.history(
                start=start, end=end + dt.timedelta(days=1), interval=interval, auto_adjust=False,
                actions=True, keepna=True, timeout=self._timeout_s,
            )  # fmt: skip
        except YFRateLimitError:
            raise RateLimited("rate limit") from None
        except (YFPricesMissingError, YFTzMissingError) as error:
            if self._session.chart_status not in _ABOUT_THE_SYMBOL:  # yfinance takes any other for delisted
                raise YahooError(f"an answer of status {self._session.chart_status}") from None
            raise NoData(_one_line(error)) from None
        except ProviderError as error:
            if error.failure is Failure.RATE_LIMITED:
                raise RateLimited("rate limit") from None
            if error.failure is Failure.EMPTY:
                raise NoData(error.detail) from None
            raise YahooError(error.detail) from None
        except Exception as error:  # whatever a broken reply makes yfinance trip over
            raise YahooError(_one_line(error)) from None
        missing = {"Open", "High", "Low", "Close", "Adj Close", "Volume"} - set(frame.columns)
        if frame.empty or missing:
            raise NoData("no bars in the reply")
        return frame


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}" if text else type(error).__name__
