"""Momentum leaders: who in an index rose and fell most over a day, a week, a month or the year so far.

Domain specification, section 12. T is the newest session of the universe; a name without a bar at T or
without a reference close is left out and counted. Changes are on split-adjusted closes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.slab import Bars
from feeds.sessions import day_number, iso_day, previous_session

Float = NDArray[np.float64]
Int = NDArray[np.int64]

VOLUME_BARS = 20
LIMITS = (1, 200)


class Timeframe(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YTD = "ytd"


class Score(NamedTuple):
    """A strategy's newest signal: side BUY or SELL, "" for none within 60 sessions."""

    side: str
    confidence: float
    age_sessions: int | None


class Mover(NamedTuple):
    """A row of the board. None: not known. scores: None for a strategy that cannot judge the symbol yet."""

    symbol: str
    name: str
    sector: str
    last: float
    reference: float
    reference_date: str
    change: float
    excess: float | None
    volume: float
    relative_volume: float | None
    scores: Mapping[str, Score | None]
    final_score: float | None
    data_points: int


class Board(NamedTuple):
    """evaluated: names with a change; skipped: the others by reason; baseline_change: None where unknown."""

    as_of: str
    timeframe: Timeframe
    baseline: str
    baseline_change: float | None
    evaluated: int
    skipped: Mapping[str, int]
    risers: tuple[Mover, ...]
    underperformers: tuple[Mover, ...]


class Changes(NamedTuple):
    """Of each column: row and close of T's bar and of the reference, -1 and NaN where there is none."""

    last_row: int
    reference_row: Int
    change: Float


def changes(day: Int, close: Float, timeframe: Timeframe, row: int) -> Changes:
    """Return the changes up to row `row` (T). day: int64[K] day numbers of the sessions; close: [K, N], NaN
    where there is no bar."""
    there = ~np.isnan(close[: row + 1])
    stop = _stop(day, timeframe, row)
    before = there[:stop]
    found = before.any(axis=0) if stop else np.zeros(close.shape[1], np.bool_)
    reference_row = np.where(found, stop - 1 - np.argmax(before[::-1], axis=0) if stop else -1, -1)
    first_day = _first_day(day, timeframe, row)
    reference_row = np.where(day[reference_row] >= first_day, reference_row, -1)
    columns = np.arange(close.shape[1])
    reference = np.where(reference_row >= 0, close[reference_row, columns], np.nan)
    return Changes(row, reference_row, close[row] / reference - 1)


def _stop(day: Int, timeframe: Timeframe, row: int) -> int:
    """Return the row after the last one that may hold the reference close."""
    newest = int(day[row])
    last = {
        Timeframe.DAY: newest - 1,
        Timeframe.WEEK: newest - 7,
        Timeframe.MONTH: newest - 31,
        Timeframe.YTD: day_number(f"{iso_day(newest)[:4]}-01-01") - 1,
    }[timeframe]
    return int(np.searchsorted(day[:row], last, side="right"))


def _first_day(day: Int, timeframe: Timeframe, row: int) -> int:
    """Return the first day on which the reference close may lie."""
    newest = int(day[row])
    if timeframe is Timeframe.DAY:
        before = int(day[row - 1])
        weekday = (newest + 3) % 7  # 0 on a Monday
        # A weekday apart they are neighbours; only else is the calendar needed, which takes a second to load
        return before if newest - before == (3 if weekday == 0 else 1) else previous_session(newest)
    if timeframe is Timeframe.YTD:
        return day_number(f"{int(iso_day(newest)[:4]) - 1}-01-01")
    return int(day[0])


def relative_volume(volume: Float, row: int) -> Float:
    """Return v_T over the mean of the 20 traded bars before it, NaN where there are fewer. volume: [K, N]."""
    traded = volume[:row] > 0.0
    rank = traded[::-1].cumsum(axis=0)[::-1]  # 1 for the newest traded bar before T
    chosen = traded & (rank <= VOLUME_BARS)
    enough = chosen.sum(axis=0) == VOLUME_BARS
    mean = np.where(chosen, volume[:row], 0.0).sum(axis=0) / VOLUME_BARS
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(enough, volume[row] / mean, np.nan)


def newest_row(close: Float) -> int:
    """Return the row of the newest session in which any name has a bar. Raises DataError without any."""
    rows = np.flatnonzero(~np.isnan(close).all(axis=1))
    if not len(rows):
        raise DataError("none of the index's names has a bar in these prices")
    return int(rows[-1])


def board(
    symbols: Sequence[str],
    day: Int,
    bars: Bars,
    timeframe: Timeframe,
    *,
    limit: int,
    baseline: str,
    baseline_close: Float,
    about: Mapping[str, tuple[str, str]],
    scores: Sequence[Mapping[str, Score | None]],
    final: Float,
    missing: int = 0,
) -> Board:
    """Return the leaders of `symbols`, the columns of `bars`; day: int64[K], day numbers of its rows.

    limit: rows of each list, clamped to 1..200. baseline_close: float64[K], NaN where it has no bar.
    about: name and sector by symbol. scores, final: per symbol. missing: members without prices at all.
    """
    row = newest_row(bars.close)
    found = changes(day, bars.close, timeframe, row)
    (baseline_change,) = changes(day, baseline_close[:, None], timeframe, row).change.tolist()
    relative = relative_volume(bars.volume, row)
    n_bars = (~np.isnan(bars.close[: row + 1])).sum(axis=0)
    there = ~np.isnan(bars.close[row])
    valid: list[int] = np.flatnonzero(~np.isnan(found.change)).tolist()

    def mover(i: int) -> Mover:
        name, sector = about.get(symbols[i], ("", ""))
        reference_row = int(found.reference_row[i])
        change = float(found.change[i])
        return Mover(
            symbols[i], name, sector, float(bars.close[row, i]), float(bars.close[reference_row, i]),
            iso_day(int(day[reference_row])), change, known(change - baseline_change),
            float(bars.volume[row, i]), known(float(relative[i])), scores[i], known(float(final[i])),
            int(n_bars[i]),
        )  # fmt: skip

    n = min(max(limit, LIMITS[0]), LIMITS[1])
    up = sorted(valid, key=lambda i: (-found.change[i], symbols[i]))[:n]
    down = sorted((i for i in valid if found.change[i] < 0), key=lambda i: (found.change[i], symbols[i]))[:n]
    skipped = {
        "no prices": missing,
        "no bar on the day": int((~there).sum()),
        "no reference close": int((there & np.isnan(found.change)).sum()),
    }
    return Board(
        iso_day(int(day[row])), timeframe, baseline, known(baseline_change), len(valid), skipped,
        tuple(map(mover, up)), tuple(map(mover, down)),
    )  # fmt: skip


def known(value: float) -> float | None:
    return None if value != value else value
