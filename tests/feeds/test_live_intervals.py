"""Intervals of a session: where they begin and end, on whole days, half days and holidays."""

from __future__ import annotations

import numpy as np
import pytest

from feeds.live_intervals import Intervals
from tests.feeds.live_driving import utc_ns

SETTLE_NS = 20 * 10**9


def spans(minutes: int, moment: str) -> tuple[str, str]:
    intervals = Intervals(minutes)
    over, coming = intervals.last_closed(utc_ns(moment)), intervals.current_or_next(utc_ns(moment))
    assert over.close_ns <= utc_ns(moment) < coming.close_ns
    return tuple(  # type: ignore[return-value]
        f"{minute(one.open_ns)[5:]}-{minute(one.close_ns)[11:]}" for one in (over, coming)
    )


def minute(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[m]"))


@pytest.mark.parametrize(
    ("minutes", "moment", "expected"),
    [
        (5, "2024-03-11T13:30", ("03-08T20:55-21:00", "03-11T13:30-13:35")),  # The opening after a weekend
        (5, "2024-03-11T13:37", ("03-11T13:30-13:35", "03-11T13:35-13:40")),
        (5, "2024-03-11T13:40", ("03-11T13:35-13:40", "03-11T13:40-13:45")),
        (60, "2024-03-11T19:45", ("03-11T18:30-19:30", "03-11T19:30-20:00")),  # The last hour is half of one
        (60, "2024-03-11T20:00", ("03-11T19:30-20:00", "03-12T13:30-14:30")),
        (15, "2024-07-03T16:59", ("07-03T16:30-16:45", "07-03T16:45-17:00")),  # Half a day
        (15, "2024-07-03T17:01", ("07-03T16:45-17:00", "07-05T13:30-13:45")),  # and the holiday after it
        (1, "2024-03-08T14:30:30", ("03-07T20:59-21:00", "03-08T14:30-14:31")),  # Winter time
    ],
)
def test_the_newest_interval_that_is_over_and_the_one_that_is_on(
    minutes: int, moment: str, expected: tuple[str, str]
) -> None:
    assert spans(minutes, moment) == expected


def test_an_interval_is_on_until_it_has_settled() -> None:
    intervals, end = Intervals(5), utc_ns("2024-03-11T13:35")
    assert intervals.last_closed(end + SETTLE_NS - 1, SETTLE_NS).close_ns < end
    assert intervals.current_or_next(end + SETTLE_NS - 1, SETTLE_NS).close_ns == end
    assert intervals.last_closed(end + SETTLE_NS, SETTLE_NS).close_ns == end


def test_only_what_begins_on_the_grid_of_a_session_is_a_bar() -> None:
    begins = ["2024-07-03T13:30", "2024-07-03T16:45", "2024-07-03T16:46", "2024-07-03T17:00",
              "2024-07-03T13:15", "2024-07-04T13:30", "2024-07-05T13:45"]  # fmt: skip
    ends = Intervals(15).ends(np.array([utc_ns(one) for one in begins]))
    assert ends.tolist() == [
        utc_ns("2024-07-03T13:45"), utc_ns("2024-07-03T17:00"), -1, -1, -1, -1, utc_ns("2024-07-05T14:00"),
    ]  # fmt: skip


@pytest.mark.parametrize(("minutes", "n"), [(1, 390), (5, 78), (15, 26), (60, 7)])
def test_a_session_is_its_intervals_without_a_gap(minutes: int, n: int) -> None:
    intervals = Intervals(minutes)
    assert intervals.per_session == n
    ends, at = [], utc_ns("2024-03-11T13:30")
    while at < utc_ns("2024-03-11T20:00"):
        coming = intervals.current_or_next(at)
        assert coming.open_ns == at
        ends.append(at := coming.close_ns)
    assert (len(ends), ends[-1]) == (n, utc_ns("2024-03-11T20:00"))
