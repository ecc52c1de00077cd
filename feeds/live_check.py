"""What a completed row of a live feed has to pass before it is given: the checks of files, and good sense.

A file can be looked at before it is used; a live row is traded on. So besides what makes a bar invalid
(`feeds.quality`), each bar is compared with the last good one of its symbol:

1. A price 21 times the last close, or a 21st of it, is refused, unless the next bar confirms it; so is a
   volume that no share has ever had.
2. A session that opens at a split's ratio of the last close, without a split being stated and without the
   trading that goes with such news (`feeds.split_suspicion`), is a *suspected split*: it gives no bar. That
   ends with the split being stated, the price leaving the ratio, trading that shows it to be real, or after a
   week.
3. What is refused or held back leaves no bar: NaN, never a carried price. It is told once per symbol and day.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from engine.slab import ActionKind, Bars, Float, Int, Universe
from feeds.live import FeedStatus, StatusKind
from feeds.quality import SHARES_MAX, Prices, fault, valid_bars
from feeds.sessions import iso_day, session_days, utc_text
from feeds.split_suspicion import RATIO_MAX, SplitSuspicion, opens_like_split, ratio_words

JUMP = RATIO_MAX + 1.0
CONFIRMS = 1.5  # a bar within this factor of a refused one confirms it
HELD_DAYS = 7
FUTURE_NS = 60_000_000_000  # clocks differ
_PRICES = ("open", "high", "low", "close", "volume")


class RowCheck:
    """Knows the last good close and the usual sessions of each symbol. Synchronous and deterministic."""

    def __init__(self, universe: Universe) -> None:
        n = len(universe)
        self._symbols = universe.symbols
        self._close: Float = np.full(n, np.nan)
        self._splits = SplitSuspicion(n)
        self._session: Int = np.full(n, -1)  # day number of the newest bar: the next of the day opens nothing
        self._refused: Float = np.full(n, np.nan)  # close of the jump that the next bar may confirm
        self._held_since: Int = np.full(n, -1)  # day number, -1: nothing is held back
        self._told: dict[tuple[str, str], int] = {}  # kind and symbol -> day

    def close(self, column: int) -> float:
        """Return the last good close of a symbol, NaN before the first."""
        return float(self._close[column])

    def split_before(self, column: int, ratio: float) -> None:
        """Change the basis of a symbol: `ratio` new shares per old one."""
        self._close[column] /= ratio
        self._refused[column] = np.nan
        self._held_since[column] = -1

    def take(self, bars: Bars, now_ns: int) -> tuple[Bars | None, list[FeedStatus]]:
        """Return a row (K = 1) without the bars that fail, and word of them; None for a row of the future."""
        ts_ns = int(bars.ts[0])
        if ts_ns > now_ns + FUTURE_NS:
            detail = f"a row of {utc_text(ts_ns)} is {(ts_ns - now_ns) / 1e9:,.0f} s ahead"
            return None, [FeedStatus("quarantined", "", detail)]
        day = int(session_days(bars.ts)[0])
        splits = bars.actions[bars.actions["kind"] == ActionKind.SPLIT]
        for column, ratio in zip(splits["symbol"].tolist(), splits["value"].tolist(), strict=True):
            self.split_before(column, ratio)
        prices = Prices(*(getattr(bars, name)[0] for name in _PRICES))
        present = ~np.isnan(np.stack(prices)).all(axis=0)
        good = valid_bars(prices)
        invalid = present & ~good
        huge = good & (prices.volume > SHARES_MAX)
        good &= ~huge
        jumped = good & self._jumped(prices)
        good &= ~jumped
        opening = good & (self._session != day)
        held = good & (self._held_since >= 0) & (day - self._held_since < HELD_DAYS)
        overdue = good & (self._held_since >= 0) & ~held
        split = good & ~overdue & self._splits.judge(prices, self._close, opening & ~overdue, held)
        good &= ~split
        self._session[opening] = day
        told = [
            *self._tell(invalid, "quarantined", day, prices),
            *self._tell(huge, "quarantined", day, prices),
            *self._tell(jumped, "quarantined", day, prices),
            *self._tell(split, "suspected_split", day, prices),
        ]
        self._splits.remember(prices, self._close, good & opening)
        self._remember(prices, good, jumped, split, day)
        if good.all() or not (present & ~good).any():
            return bars, told
        return _without(bars, present & ~good), told

    def suspect(self, column: int, price: float, ts_ns: int) -> FeedStatus | None:
        """Return word of a suspected split in the first price of a session, if it is one and not yet told."""
        day = int(session_days(np.array([ts_ns]))[0])
        if not opens_like_split(self.close(column), price) or not self._is_new("first_price", column, day):
            return None
        return FeedStatus("suspected_split", self._symbols[column], _split_detail(self.close(column), price))

    def _jumped(self, prices: Prices) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            factor = np.maximum(prices.high / self._close, self._close / prices.low)
            confirmed = np.abs(np.log(prices.close / self._refused)) <= math.log(CONFIRMS)
            jumped: NDArray[np.bool_] = (factor >= JUMP) & ~confirmed
        return jumped

    def _remember(
        self, prices: Prices, good: NDArray[np.bool_], jumped: NDArray[np.bool_],
        split: NDArray[np.bool_], day: int,
    ) -> None:  # fmt: skip
        self._close[good] = prices.close[good]
        self._refused[good] = np.nan
        self._refused[jumped] = prices.close[jumped]
        self._held_since[good] = -1
        self._held_since[split & (self._held_since < 0)] = day

    def _tell(
        self, where: NDArray[np.bool_], kind: StatusKind, day: int, prices: Prices
    ) -> Iterable[FeedStatus]:
        for column in np.flatnonzero(where).tolist():
            if not self._is_new(kind, column, day):
                continue
            bar = [float(value[column]) for value in prices]
            if kind == "suspected_split":
                detail = _split_detail(self.close(column), bar[0])
            elif bar[4] > SHARES_MAX:
                detail = f"volume {bar[4]:g}"
            elif not valid_bars(Prices(*(value[column : column + 1] for value in prices)))[0]:
                reason, words = fault(bar)
                detail = f"{words} ({reason.value})"
            else:
                detail = f"high {bar[1]:g}, low {bar[2]:g} against a last close of {self.close(column):g}"
            yield FeedStatus(kind, self._symbols[column], f"{iso_day(day)}: {detail}")

    def _is_new(self, kind: str, column: int, day: int) -> bool:
        key = (kind, self._symbols[column])
        if self._told.get(key) == day:
            return False
        self._told[key] = day
        return True


def _split_detail(before: float, price: float) -> str:
    words = ratio_words(before, price)
    return f"{price:g} after a close of {before:g} looks like a split {words} that is not stated"


def _without(bars: Bars, bad: NDArray[np.bool_]) -> Bars:
    """Return a row with no bar where `bad`."""
    fields = {name: np.where(bad, np.nan, getattr(bars, name)) for name in _PRICES}
    return Bars(bars.ts, **fields, actions=bars.actions, benchmark=bars.benchmark)
