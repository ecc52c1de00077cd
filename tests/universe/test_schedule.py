"""A day of the plan has one run, also where it has 23 or 25 hours."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Schedule
from universe.schedule import WallClock

NEW_YORK = ZoneInfo("America/New_York")
CHANGES = {  # of the clocks, in 2026
    "America/New_York": ((3, 8), (11, 1)),
    "Europe/Berlin": ((3, 29), (10, 25)),
    "Australia/Lord_Howe": ((4, 5), (10, 4)),
}


@pytest.mark.parametrize("zone", CHANGES)
@given(st.sampled_from([0, 1]), st.integers(1, 72), st.integers(0, 4), st.sampled_from([0, 1, 15, 30, 59]))
def test_a_daily_refresh_runs_once_on_every_day_whatever_the_clocks_do(
    zone: str, which: int, hours_before: int, hour: int, minute: int
) -> None:
    place = ZoneInfo(zone)
    plan = Schedule(frequency="daily", time=f"{hour:02}:{minute:02}", timezone=zone)
    trigger = WallClock(plan)
    now = datetime(2026, *CHANGES[zone][which], 12, tzinfo=UTC) - timedelta(hours=hours_before)
    moments: list[datetime] = []
    while len(moments) < 6:
        fires = trigger.get_next_fire_time(moments[-1] if moments else None, now.astimezone(place))
        assert fires is not None
        assert fires.astimezone(UTC) >= now
        now = fires.astimezone(UTC) + timedelta(milliseconds=5)
        moments.append(fires)
    assert [(b.date() - a.date()).days for a, b in itertools.pairwise(moments)] == [1] * 5
    assert all(fires.hour in (hour, hour + 1) for fires in moments)
    assert sum((fires.hour, fires.minute) != (hour, minute) for fires in moments) <= 1


@pytest.mark.parametrize("second", [False, True])
def test_a_time_of_the_hour_that_comes_twice_is_that_of_the_first(second: bool) -> None:
    trigger = WallClock(Schedule(frequency="daily", time="01:30", timezone="America/New_York"))
    now = datetime(2026, 11, 1, 6 if second else 5, 10, tzinfo=UTC).astimezone(NEW_YORK)
    assert now.hour == 1
    fires = trigger.get_next_fire_time(None, now)
    assert fires is not None
    expected = (
        datetime(2026, 11, 2, 6, 30, tzinfo=UTC) if second else datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    )
    assert fires.astimezone(UTC) == expected


@pytest.mark.parametrize("at", ["00:00", "01:30", "02:00", "02:30", "03:00", "23:59"])
def test_each_day_has_one_run_at_every_change_of_the_clocks_from_2007_to_2037(at: str) -> None:
    trigger = WallClock(Schedule(frequency="daily", time=at, timezone="America/New_York"))
    for year in range(2007, 2038):
        for month, sunday in ((3, 2), (11, 1)):
            first = datetime(year, month, 1, 12, tzinfo=UTC)
            change = first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (sunday - 1))
            before, after = (change + timedelta(hours=h) for h in (-12, 12))
            assert before.astimezone(NEW_YORK).utcoffset() != after.astimezone(NEW_YORK).utcoffset()
            now, moments = change - timedelta(days=2), []
            while len(moments) < 4:
                fires = trigger.get_next_fire_time(moments[-1] if moments else None, now.astimezone(NEW_YORK))
                assert fires is not None
                now = fires.astimezone(UTC) + timedelta(milliseconds=5)
                moments.append(fires)
            assert [(b.date() - a.date()).days for a, b in itertools.pairwise(moments)] == [1] * 3


def test_weekly_and_monthly_refreshes_keep_to_their_day() -> None:
    start = datetime(2026, 11, 22, 12, tzinfo=NEW_YORK)
    weekly = WallClock(Schedule(frequency="weekly", day="sunday", time="22:30"))
    first = datetime(2026, 11, 22, 22, 30, tzinfo=NEW_YORK)
    assert weekly.get_next_fire_time(None, start) == first
    assert weekly.get_next_fire_time(first, first) == first + timedelta(days=7)
    monthly = WallClock(Schedule(frequency="monthly", day_of_month=3, time="06:00"))
    assert monthly.get_next_fire_time(None, start) == datetime(2026, 12, 3, 6, 0, tzinfo=NEW_YORK)


def test_a_machine_that_slept_makes_up_for_its_time_once() -> None:
    daily = WallClock(Schedule(frequency="daily", time="06:00"))
    slept = datetime(2026, 11, 17, 6, 0, tzinfo=NEW_YORK)
    woke = datetime(2026, 11, 22, 12, 0, tzinfo=NEW_YORK)
    assert daily.get_next_fire_time(slept, woke) == datetime(2026, 11, 23, 6, 0, tzinfo=NEW_YORK)
