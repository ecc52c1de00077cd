"""Whether a session opens at a price that a split explains better than news does.

A split that nobody stated and a fall by half open at the same price. What tells them apart, measured on the
daily history of 400 small caps (docs/feeds.md):

1. A split opens at its ratio but for an ordinary night, less what the market has moved.
2. It is traded like any other day, in dollars and from high to low; news is traded several times as much and
   swings several times as wide. The two together are the evidence of news.
3. A name that opens so far away every few weeks does not need a split for it.

3:2 wants more to be believed than n:1: real falls by a third are common, such splits are not. Smaller ratios
(4:3, 5:4) cannot be told from falls at all and are not suspected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.slab import Float
from feeds.quality import Prices

RATIO_MAX = 20
_RATIOS = np.array([1.5, *range(2, RATIO_MAX + 1)])
_OFF = np.array([0.07, *[0.14] * (RATIO_MAX - 1)])  # of log price: as far from its ratio as a split opens
_NEWS = np.array([1.25, *[2.0] * (RATIO_MAX - 1)])  # evidence from which it is no split
_OFF_HELD = 0.14  # later days: the price has wandered
_DOLLARS, _RANGE = 4.0, 3.0  # times the usual: evidence of 1 each
_PER_NIGHT = 0.12  # evidence for each usual night, beyond one, that the opening is off the ratio
_NIGHT_MIN, _NIGHT_MAX, _RANGE_MIN = 0.008, 0.05, 0.005  # of log price
_WILD = 0.5  # of the opening's distance: another night of the window went that far
_WINDOW = 20  # sessions
_MARKET_NAMES = 10  # whose median night is the market's

Mask = NDArray[np.bool_]


class SplitSuspicion:
    """Remembers how each of `n` symbols usually opens and trades."""

    def __init__(self, n: int) -> None:
        # By session, newest last: dollars traded, log of high over low, log of open over the close before
        self._dollars, self._range, self._night = (np.full((_WINDOW, n), np.nan) for _ in range(3))

    def judge(self, prices: Prices, before: Float, opening: Mask, held: Mask) -> Mask:
        """Return where a bar is held back.

        before: the last good closes. opening: bars that open a session. held: symbols held back already.
        """
        night = _log_ratio(prices.open, before)
        known = opening & ~np.isnan(night)
        market = float(np.median(night[known])) if np.count_nonzero(known) >= _MARKET_NAMES else 0.0
        which, off = nearest_ratio(night - market)
        suspected: Mask = held & (off <= _OFF_HELD)
        looked_at = np.flatnonzero(opening & (off <= np.where(held, _OFF_HELD, _OFF[which])))
        if len(looked_at):  # Few days have any
            news = self._news(prices, off, looked_at)
            with np.errstate(invalid="ignore"):
                wild = np.abs(self._night[:, looked_at]) >= _WILD * np.abs(night[looked_at])
            suspected[looked_at] = ~(news >= _NEWS[which[looked_at]]) & ~wild.any(axis=0)
        return suspected

    def remember(self, prices: Prices, before: Float, where: Mask) -> None:
        """Take sessions that opened with a good bar."""
        columns = np.flatnonzero(where & (prices.volume > 0.0))
        if len(columns) == 0:
            return
        one = Prices(*(value[columns] for value in prices))
        newest = (
            one.volume * one.close,
            _log_ratio(one.high, one.low),
            _log_ratio(one.open, before[columns]),
        )
        for window, value in zip((self._dollars, self._range, self._night), newest, strict=True):
            window[:-1, columns] = window[1:, columns]
            window[-1, columns] = value

    def _news(self, prices: Prices, off: Float, columns: NDArray[np.intp]) -> Float:
        """Return the evidence of news, NaN for a symbol without a past."""
        one = Prices(*(value[columns] for value in prices))
        usual_dollars, usual_range, usual_night = (
            _median(window[:, columns]) for window in (self._dollars, self._range, np.abs(self._night))
        )
        dollars = _log_ratio(one.volume * one.close, usual_dollars) / np.log(_DOLLARS)
        swing = np.log(one.high / one.low) / np.maximum(usual_range, _RANGE_MIN)
        with np.errstate(divide="ignore"):  # A bar of one price swings by nothing
            swung = np.log(swing) / np.log(_RANGE)
        nights = off[columns] / np.clip(1.48 * usual_night, _NIGHT_MIN, _NIGHT_MAX)
        evidence: Float = (
            np.maximum(dollars, 0.0) + np.maximum(swung, 0.0) + _PER_NIGHT * np.maximum(nights - 1.0, 0.0)
        )
        return evidence


def nearest_ratio(distance: Float) -> tuple[NDArray[np.intp], Float]:
    """Return which ratio is nearest to a distance of log price, and how far off it is, inf for NaN."""
    off = np.abs(np.abs(distance)[:, None] - np.log(_RATIOS))
    which = np.argmin(np.where(np.isnan(off), np.inf, off), axis=1)
    nearest = off[np.arange(len(off)), which]
    return which, np.where(np.isnan(nearest), np.inf, nearest)


def opens_like_split(before: float, price: float) -> bool:
    """Return whether a price is at a whole ratio of a close; what will be traded is not known yet."""
    if not (before > 0.0 and price > 0.0):
        return False
    which, off = nearest_ratio(np.log(np.array([price / before])))
    return bool(which[0] > 0 and off[0] <= _OFF[which[0]])


def ratio_words(before: float, price: float) -> str:
    """Return the split that would explain a price after a close, such as 2:1, 3:2 or 1:10."""
    which, _ = nearest_ratio(np.log(np.array([price / before])))
    new, old = (3, 2) if which[0] == 0 else (round(float(_RATIOS[which[0]])), 1)
    return f"{new}:{old}" if price < before else f"{old}:{new}"


def _log_ratio(a: Float, b: Float) -> Float:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio: Float = np.log(a / b)
    return np.where(np.isfinite(ratio), ratio, np.nan)


def _median(window: Float) -> Float:
    """Return the median of each column, NaN for one without a number."""
    found = np.full(window.shape[1], np.nan)
    some = ~np.isnan(window).all(axis=0)
    found[some] = np.nanmedian(window[:, some], axis=0)
    return found
