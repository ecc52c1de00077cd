"""Candidates of the screen: what services, lists and prices say of a company, as one record.

Market value is price x shares where prices are given, else what a service states. A spread is that of the
quote; without one it is estimated from highs and lows (Corwin and Schultz 2012, mean of the last 20 pairs of
sessions). Numbers of shares are those of the day of the prices: what was fetched before a split is multiplied
by its ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.slab import ActionKind, Bars
from feeds.holdings import Company
from feeds.provider import Snapshot
from feeds.sessions import session_days
from universe.screen import Candidate

VOLUME_BARS = 20
ROWS_NEEDED = 250  # sessions in which a share has its 21 traded bars even if most days see no trade
_SHARES = ("EQUITY", "COMMON STOCK")  # as Yahoo and Alpha Vantage call them
PRICE_AGE_DAYS_MAX = 10  # an older close is no price any more
_USED = (
    "market_cap", "shares_outstanding", "float_shares", "average_volume", "bid", "sector", "exchange",
)  # fmt: skip


class PriceFigures(NamedTuple):
    """Of one symbol at its newest close. Averages are over the 20 traded bars before it, None with fewer.

    splits: day number and new shares per old share of each, the last year's.
    """

    close_usd: float
    average_volume: float | None
    dollar_volume_usd: float | None
    spread: float | None
    splits: tuple[tuple[int, float], ...] = ()


def price_figures(
    symbols: Sequence[str], bars: Bars, day: NDArray[np.int64], as_of_day: int
) -> dict[str, PriceFigures]:
    """Return the figures of every symbol with a close within the last days up to `as_of_day`.

    bars: up to that day and no further, prices as traded; day: int64[K], day numbers of their rows.
    """
    found = {}
    all_splits = bars.actions[bars.actions["kind"] == ActionKind.SPLIT]
    for i, symbol in enumerate(symbols):
        rows = np.flatnonzero(bars.volume[:, i] > 0.0)  # False for NaN
        if len(rows) and as_of_day - int(day[rows[-1]]) <= PRICE_AGE_DAYS_MAX:
            own = all_splits[(all_splits["symbol"] == i) & (all_splits["row"] <= rows[-1])]
            splits = tuple(zip(day[own["row"]].tolist(), own["value"].tolist(), strict=True))
            figures = _figures(*(getattr(bars, name)[rows, i] for name in _FIELDS))
            found[symbol] = figures._replace(splits=splits)
    return found


_FIELDS = ("high", "low", "close", "volume")
Float = NDArray[np.float64]


def _figures(high: Float, low: Float, close: Float, volume: Float) -> PriceFigures:
    prior = slice(-VOLUME_BARS - 1, -1)
    enough = len(close) > VOLUME_BARS
    pairs = pairwise(list(zip(high, low, close, strict=True))[-VOLUME_BARS - 1 :])
    spreads = [_pair_spread(*one, *other[:2]) for one, other in pairs]
    return PriceFigures(
        float(close[-1]),
        float(volume[prior].mean()) if enough else None,
        float((close[prior] * volume[prior]).mean()) if enough else None,
        float(np.mean(spreads)) if enough else None,
    )


def _pair_spread(*bars: float) -> float:
    from brokers.costs import corwin_schultz_pair  # Loads the compiler: only where prices are given

    estimate: float = getattr(corwin_schultz_pair, "py_func", corwin_schultz_pair)(*bars)
    return estimate


def candidate(
    symbol: str, snapshot: Snapshot | None, listed: Company | None, prices: PriceFigures | None
) -> Candidate | str:
    """Return a candidate, or why nothing can be said of the symbol. listed: what its list says of it."""
    if snapshot is None:
        return "no fundamentals are known of it"
    if snapshot.quote_type is not None and snapshot.quote_type.upper() not in _SHARES:
        return f"no share but of type {snapshot.quote_type.lower()}"
    if snapshot.currency not in (None, "USD"):
        return f"quoted in {snapshot.currency}"
    of_list = listed or Company(symbol)
    price = prices.close_usd if prices else snapshot.price
    spread, spread_source = _spread(snapshot, prices)
    used = [snapshot.origin(name) for name in _USED if getattr(snapshot, name) is not None]
    return Candidate(
        symbol=symbol,
        name=snapshot.name or of_list.name,
        sector=snapshot.sector or of_list.sector,
        industry=snapshot.industry or of_list.industry,
        exchange=snapshot.exchange or of_list.exchange,
        price_usd=price,
        market_cap_usd=_market_cap(snapshot, prices),
        average_volume=prices.average_volume if prices else snapshot.average_volume,
        dollar_volume_usd=prices.dollar_volume_usd if prices else _dollar_volume(snapshot),
        spread=spread,
        spread_source=spread_source,
        float_shares=_shares(snapshot, "float_shares", snapshot.float_shares, prices),
        known_at=min((origin.fetched_at for origin in used), default=None),
        sources=tuple(sorted({origin.source for origin in used})),
    )


def _market_cap(snapshot: Snapshot, prices: PriceFigures | None) -> float | None:
    field = "shares_history" if snapshot.shares_history else "shares_outstanding"
    known = snapshot.shares_history[-1].value if snapshot.shares_history else snapshot.shares_outstanding
    shares = _shares(snapshot, field, known, prices)
    if prices is not None and shares:
        return prices.close_usd * shares
    if snapshot.market_cap is not None or not shares or snapshot.price is None:
        return snapshot.market_cap
    return snapshot.price * shares


def _shares(snapshot: Snapshot, field: str, known: float | None, prices: PriceFigures | None) -> float | None:
    """Return a number of shares after the splits between the day on which it was fetched and the prices."""
    if known is None or prices is None or not prices.splits:
        return known
    fetched = int(session_days(np.array([snapshot.origin(field).fetched_at]))[0])
    return known * prod(ratio for day, ratio in prices.splits if day > fetched)


def _dollar_volume(snapshot: Snapshot) -> float | None:
    if snapshot.average_dollar_volume is not None:
        return snapshot.average_dollar_volume
    if snapshot.average_volume is None or snapshot.price is None:
        return None
    return snapshot.average_volume * snapshot.price


def _spread(snapshot: Snapshot, prices: PriceFigures | None) -> tuple[float | None, str]:
    bid, ask = snapshot.bid, snapshot.ask
    if bid and ask and bid <= ask:
        return (ask - bid) / ((ask + bid) / 2), "quote"
    if prices is not None and prices.spread is not None:
        return prices.spread, "estimate"
    return None, ""
