"""The momentum board against its definition, a name and a frame at a time."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.slab import Bars
from feeds.sessions import closes_of_years, day_number, previous_session, session_closes, session_days
from universe.momentum import Timeframe, board, changes, relative_volume

NAN = math.nan
SESSIONS = session_days(closes_of_years(2022, 2023))  # all of two years
EPOCH = dt.date(1970, 1, 1)
SYMBOLS = ("AA", "BB", "CC")


def date_of(day: int) -> dt.date:
    return EPOCH + dt.timedelta(days=int(day))


@st.composite
def prices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days, closes and volumes of a stretch of sessions with holes, across the turn of a year or not."""
    first = draw(st.integers(0, len(SESSIONS) - 80))
    day = SESSIONS[first : first + draw(st.integers(3, 80))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    close = np.round(rng.uniform(5, 15, (len(day), 3)), 2)
    close[rng.random(close.shape) < draw(st.sampled_from([0.0, 0.1, 0.6]))] = NAN
    close[: rng.integers(0, len(day)), 2] = NAN  # listed later
    volume = np.where(np.isnan(close), NAN, rng.integers(0, 4, close.shape) * 1000.0)
    return day, close, volume


def reference(
    day: np.ndarray, close: np.ndarray, s: int, t: int, frame: Timeframe
) -> tuple[int, float] | None:
    """Row and close that the change of a symbol counts from, None for none."""
    today = date_of(day[t])
    for row in range(t - 1, -1, -1):
        on = date_of(day[row])
        if np.isnan(close[row, s]):
            continue
        if frame is Timeframe.DAY:
            return (row, close[row, s]) if day[row] == previous_session(int(day[t])) else None
        if frame is Timeframe.WEEK and on <= today - dt.timedelta(days=7):
            return row, close[row, s]
        if frame is Timeframe.MONTH and on <= today - dt.timedelta(days=31):
            return row, close[row, s]
        if frame is Timeframe.YTD and on.year < today.year:
            return (row, close[row, s]) if on.year == today.year - 1 else None
    return None


@settings(deadline=None, max_examples=200)
@given(prices(), st.sampled_from(list(Timeframe)))
def test_changes_are_those_of_the_definition(tape: Any, frame: Timeframe) -> None:
    day, close, _ = tape
    for t in range(1, len(day)):
        found = changes(day, close, frame, t)
        for s in range(3):
            wanted = reference(day, close, s, t, frame)
            if wanted is None or np.isnan(close[t, s]):
                assert np.isnan(found.change[s])
            else:
                assert found.change[s] == close[t, s] / wanted[1] - 1
                assert found.reference_row[s] == wanted[0]


@settings(deadline=None)
@given(prices())
def test_relative_volume_is_over_the_twenty_traded_bars_before(tape: Any) -> None:
    day, _, volume = tape
    t = len(day) - 1
    for s, value in enumerate(relative_volume(volume, t)):
        before = [v for v in volume[:t, s] if v > 0][-20:]
        if len(before) < 20 or np.isnan(volume[t, s]):
            assert np.isnan(value)
        else:
            assert value == pytest.approx(volume[t, s] / (sum(before) / 20), rel=1e-12)


def made(close: np.ndarray, day: np.ndarray, **options: Any) -> Any:
    """A board of a few closes."""
    shape = close.shape
    volume = np.where(np.isnan(close), NAN, 1e6)
    bars = Bars(session_closes(day), close, close, close, close, volume)
    symbols = tuple(f"S{i}" for i in range(shape[1]))
    return board(
        symbols, day, bars, options.pop("frame", Timeframe.DAY), limit=options.pop("limit", 50),
        baseline="IWM", baseline_close=options.pop("baseline", np.full(len(day), NAN)), about={},
        scores=[{}] * shape[1], final=np.full(shape[1], NAN), **options,
    )  # fmt: skip


def test_lists_are_sorted_then_by_symbol_and_underperformers_only_fell() -> None:
    close = np.array([[10.0, 10.0, 10.0, 10.0, 10.0], [11.0, 9.0, 11.0, 10.0, 8.0]])
    found = made(close, SESSIONS[:2])
    assert [m.symbol for m in found.risers] == ["S0", "S2", "S3", "S1", "S4"]
    assert [m.symbol for m in found.underperformers] == ["S4", "S1"]
    assert [m.symbol for m in made(close, SESSIONS[:2], limit=2).risers] == ["S0", "S2"]


@pytest.mark.parametrize(("limit", "n"), [(0, 1), (-5, 1), (50, 50), (200, 200), (500, 200)])
def test_the_limit_is_clamped(limit: int, n: int) -> None:
    close = np.full((2, 250), 10.0)
    assert len(made(close, SESSIONS[:2], limit=limit).risers) == n


def test_names_left_out_are_counted_and_the_newest_session_is_that_of_any_name() -> None:
    close = np.array([[10.0, 10.0, NAN, NAN], [10.0, NAN, 10.0, NAN], [11.0, 11.0, NAN, 11.0], [NAN] * 4])
    found = made(close, SESSIONS[:4], missing=7)
    assert found.as_of == date_of(SESSIONS[2]).isoformat()
    assert [m.symbol for m in found.risers] == ["S0"]
    assert found.skipped == {"no prices": 7, "no bar on the day": 1, "no reference close": 2}
    assert found.evaluated == 1


def test_excess_is_over_the_baseline_and_unknown_without_it() -> None:
    close = np.array([[10.0], [11.0]])
    with_baseline = made(close, SESSIONS[:2], baseline=np.array([100.0, 102.0]))
    assert with_baseline.baseline_change == pytest.approx(0.02)
    assert with_baseline.risers[0].excess == pytest.approx(0.08)
    without = made(close, SESSIONS[:2])
    assert (without.baseline_change, without.risers[0].excess) == (None, None)


def test_a_day_goes_back_over_a_holiday_but_not_over_a_hole_in_the_data() -> None:
    labor_day = int(np.searchsorted(SESSIONS, day_number("2023-09-05")))
    close = np.array([[10.0], [11.0]])
    assert made(close, SESSIONS[labor_day - 1 : labor_day + 1]).risers[0].reference_date == "2023-09-01"
    assert made(close, SESSIONS[[labor_day - 2, labor_day]]).skipped["no reference close"] == 1


def test_nothing_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="none of the index's names has a bar"):
        made(np.full((2, 1), NAN), SESSIONS[:2])
