"""The spacing of calls, and the count of a day that outlives the process."""

import datetime as dt
import threading
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from feeds.provider import Failure, ProviderError
from feeds.rate_limit import DayCount, RateLimit

NOON = dt.datetime(2026, 11, 20, 12, tzinfo=ZoneInfo("America/New_York")).timestamp()


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@settings(deadline=None)
@given(per_minute=st.integers(1, 600), gaps=st.lists(st.floats(0, 90), min_size=2, max_size=60))
def test_no_minute_ever_sees_more_calls_than_allowed(per_minute: int, gaps: list[float]) -> None:
    clock = Clock()
    limit = RateLimit(per_minute, clock=clock)
    calls = []
    for gap in gaps:
        clock.now += gap
        calls.append(clock.now + limit.reserve())
    assert calls == sorted(calls)
    for first, past in zip(calls, calls[per_minute:], strict=False):
        assert past - first >= 60 - 1e-6


def test_a_call_that_is_late_does_not_wait() -> None:
    clock = Clock()
    limit = RateLimit(5, clock=clock)
    assert limit.reserve() == 0
    assert limit.reserve() == 12
    clock.now += 100
    assert limit.reserve() == 0


def test_the_longer_of_limit_and_throttle_counts() -> None:
    limit = RateLimit(60, interval_s=3.0, clock=Clock())
    assert [limit.reserve() for _ in range(3)] == [0, 3, 6]
    free = RateLimit(None, clock=Clock())
    assert [free.reserve() for _ in range(3)] == [0, 0, 0]


def test_a_service_that_asks_for_a_pause_gets_it() -> None:
    limit = RateLimit(60, clock=Clock())
    limit.hold(30)
    limit.hold(5)
    assert [limit.reserve() for _ in range(2)] == [30, 31]


def test_threads_get_a_moment_each() -> None:
    limit = RateLimit(60, clock=Clock())
    waits: list[float] = []
    threads = [threading.Thread(target=lambda: waits.append(limit.reserve())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == list(range(20))


def test_the_count_of_a_day_survives_a_restart_and_ends_at_midnight_in_new_york(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "new" / "calls.json"
    for _ in range(3):
        DayCount(path, "Test", 3, clock).take()  # a process each
    count = DayCount(path, "Test", 3, clock)
    assert count.left == 0
    with pytest.raises(ProviderError, match="Test: all 3 requests of 2026-11-20 are used up") as caught:
        count.take()
    assert (caught.value.failure, caught.value.stop) == (Failure.QUOTA_EXHAUSTED, True)
    clock.now += 11.9 * 3600
    assert count.left == 0
    clock.now += 0.2 * 3600
    assert count.left == 3
    count.take()
    assert count.left == 2


def test_the_services_word_that_the_day_is_used_up_is_believed(tmp_path: Path) -> None:
    count = DayCount(tmp_path / "calls.json", "Test", 25, Clock())
    limit = RateLimit(None, day=count, clock=Clock())
    limit.reserve()
    assert count.left == 24
    limit.exhaust()
    with pytest.raises(ProviderError):
        limit.reserve()


def test_a_damaged_count_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "calls.json").write_text("x")
    assert DayCount(tmp_path / "calls.json", "Test", 25, Clock()).left == 25


def test_a_count_that_is_no_text_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "calls.json").write_bytes(b'{"day":"\xff"}')
    assert DayCount(tmp_path / "calls.json", "S", 25, lambda: 0.0).left == 25


def test_a_count_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "universe").write_text("a file where a folder should be")
    path = tmp_path / "universe" / "calls.json"
    with pytest.raises(DataError, match=r"calls\.json: cannot be written \("):
        DayCount(path, "Test", 25, lambda: 0.0).take()


def test_two_processes_at_once_never_spend_more_than_there_is(tmp_path: Path) -> None:
    spent = []

    def spend() -> None:
        count = DayCount(tmp_path / "calls.json", "Test", 10, Clock())
        for _ in range(10):
            try:
                count.take()
            except ProviderError:
                return
            spent.append(1)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spent) == 10
