"""What a source of fundamentals says of one symbol, and how it fails.

1. A `Snapshot` is what one source knew of one symbol at one moment. What it did not say is None (an empty
   tuple for series), never 0 and never NaN: a NaN is refused.
2. A source answers with a snapshot or raises `ProviderError`; its kind says what to do next.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from engine.errors import SmallcapError
from feeds.symbols import symbol_key


def _require_moment(name: str, ns: int) -> None:
    if not 0 <= ns < 2**63:
        raise ValueError(f"{name} must be int64 UTC ns >= 0, was {ns}")


class Dated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A figure of one fiscal period, or of one day.

    period_end: ISO date. available_at: UTC ns from which it was public, None where the source does not tell.
    """

    period_end: str
    value: float
    available_at: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"value of {self.period_end} must be finite, was {self.value}")
        _require_moment("available_at", self.available_at or 0)


class Origin(NamedTuple):
    """Which source said something, and when it was asked (UTC ns)."""

    source: str
    fetched_at: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `source` said of `symbol` when it was asked at `fetched_at` (UTC ns), from which it is known.

    Prices and money in `currency`, volumes in shares a day. Shares of something are fractions of 1.
    `origins` names the source of every field that another source than `source` filled in.
    """

    symbol: str
    source: str
    fetched_at: int
    name: str | None = None
    sector: str | None = None  # in the words of the source
    industry: str | None = None
    exchange: str | None = None  # code of the source: NMS, NYQ, NASDAQ
    currency: str | None = None
    quote_type: str | None = None  # EQUITY, ETF, MUTUALFUND, ...
    price: float | None = None
    market_cap: float | None = None
    shares_outstanding: float | None = None
    float_shares: float | None = None
    volume: float | None = None  # of the last session
    average_volume: float | None = None  # three months
    average_dollar_volume: float | None = None  # as stated, else average_volume x price
    bid: float | None = None
    ask: float | None = None
    eps_ttm: float | None = None
    earnings_growth: float | None = None  # quarterly, year over year
    roe: float | None = None
    institutional_holders: float | None = None  # number of institutions
    institutional_share: float | None = None  # of the shares outstanding
    quarterly_eps: tuple[Dated, ...] = ()  # oldest first
    annual_eps: tuple[Dated, ...] = ()
    shares_history: tuple[Dated, ...] = ()  # shares outstanding by day
    other: dict[str, float] = {}  # figures without a field of their own, by the source's name in lower case
    origins: dict[str, Origin] = {}

    def __post_init__(self) -> None:
        _require_moment("fetched_at", self.fetched_at)
        for name in NUMBERS:
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} of {self.symbol} must be finite or None, was {value}")
            if value is not None and value < 0 and name in _NOT_NEGATIVE:
                raise ValueError(f"{name} of {self.symbol} must be >= 0, was {value}")
        for name, value in self.other.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} of {self.symbol} must be finite, was {value}")

    @property
    def missing(self) -> frozenset[str]:
        """Return the names of the fields about which nothing is known."""
        return frozenset(name for name in FIELDS if getattr(self, name) in (None, (), {}))

    def origin(self, field: str) -> Origin:
        """Return who said a field and when."""
        return self.origins.get(field, Origin(self.source, self.fetched_at))

    def filled_from(self, other: Snapshot) -> Snapshot:
        """Return this snapshot with what it lacks taken from `other`, field by field.

        A series is one field: earnings of two sources follow two definitions and are never mixed.
        """
        names = sorted(self.missing - other.missing)
        if not names:
            return self
        origins = self.origins | {name: other.origin(name) for name in names}
        return msgspec.structs.replace(
            self, origins=origins, **{name: getattr(other, name) for name in names}
        )


_NOT_A_FIELD = ("symbol", "source", "fetched_at", "origins")
FIELDS = tuple(name for name in Snapshot.__struct_fields__ if name not in _NOT_A_FIELD)
NUMBERS = (
    "price", "market_cap", "shares_outstanding", "float_shares", "volume", "average_volume",
    "average_dollar_volume", "bid", "ask", "eps_ttm", "earnings_growth", "roe", "institutional_holders",
    "institutional_share",
)  # fmt: skip
_NOT_NEGATIVE = frozenset(NUMBERS) - {"eps_ttm", "earnings_growth", "roe"}


class Failure(StrEnum):
    """How a request to a source failed."""

    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"  # 5xx, or no connection
    MALFORMED = "malformed"  # an answer that is not what was asked for
    REFUSED = "refused"  # by us: a body too large, a redirect to a private address
    EMPTY = "empty"  # the symbol is known, and nothing is said of it
    UNKNOWN_SYMBOL = "unknown_symbol"
    QUOTA_EXHAUSTED = "quota_exhausted"


_RETRY = frozenset({Failure.TIMEOUT, Failure.RATE_LIMITED, Failure.UNAVAILABLE, Failure.MALFORMED})
_STOP = frozenset({Failure.UNAUTHORIZED, Failure.RATE_LIMITED, Failure.QUOTA_EXHAUSTED})


class ProviderError(SmallcapError):
    """A source gave no usable answer. `str` is one line for the user, without keys or queries of URLs."""

    def __init__(
        self, failure: Failure, service: str, detail: str, *, symbol: str = "",
        retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        about = f" about {symbol}" if symbol else ""
        super().__init__(f"{service}{about}: {' '.join(detail.split())}")
        self.failure = failure
        self.service = service
        self.detail = detail
        self.symbol = symbol
        self.retry_after_s = retry_after_s

    @property
    def retry(self) -> bool:
        """Whether asking again soon may help."""
        return self.failure in _RETRY

    @property
    def stop(self) -> bool:
        """Whether the service should not be asked about anything else either in this run."""
        return self.failure in _STOP


def about_another(service: str, symbol: str, told: object) -> ProviderError | None:
    """Return the failure of an answer that names another symbol than the one asked about, however a share
    class is written: figures of another company are worse than none."""
    if not isinstance(told, str) or not told.strip() or _bare(told) == _bare(symbol):
        return None
    detail = f"an answer about {told.strip().upper()[:20]}: renamed?"
    return ProviderError(Failure.UNKNOWN_SYMBOL, service, detail, symbol=symbol)


def _bare(symbol: str) -> str:
    return symbol_key(symbol).replace("-", "")


def figure(value: object, *, positive: bool = False) -> float | None:
    """Return a source's cell as a number, None for what is none: absent, text such as "None" or "-", NaN.

    positive: what is not above 0 is none either, for prices and sizes that sources state as 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number) or (positive and number <= 0):
        return None
    return number


def plain(value: object) -> str:
    """Return a source's text on one line, "" for what is none.

    Half of a character, which JSON can hold and no file can, becomes a question mark.
    """
    return " ".join(value.split()).encode(errors="replace").decode() if isinstance(value, str) else ""


class FundamentalsProvider(Protocol):
    """A source of fundamentals. `fields`: those of a snapshot that it can know."""

    name: str
    fields: frozenset[str]

    async def fetch(self, symbol: str, wanted: frozenset[str] | None = None) -> Snapshot:
        """Return what the source says of a symbol now, retries and rate limit included. ProviderError.

        wanted: fields that are enough (None: all), where asking for fewer costs fewer requests.
        """
        ...
