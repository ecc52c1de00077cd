"""Sessions kept on disk are those that are worked out, and a bad file is not believed."""

import os

import numpy as np
import pytest

from feeds import exchange_calendar
from feeds.exchange_calendar import sessions_of_years


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sessions_of_years.cache_clear()
    yield tmp_path / "smallcap"
    sessions_of_years.cache_clear()


@pytest.fixture
def times_worked_out(monkeypatch):
    """Count how often the calendar is worked out."""
    times = []
    real = exchange_calendar._worked_out

    def counted(first, last):
        times.append((first, last))
        return real(first, last)

    monkeypatch.setattr(exchange_calendar, "_worked_out", counted)
    return times


def again():
    sessions_of_years.cache_clear()
    return sessions_of_years(2020, 2021)


def test_what_is_read_is_what_was_worked_out(cache, times_worked_out):
    first, second = sessions_of_years(2020, 2021), again()
    assert times_worked_out == [(2020, 2021)]
    assert len(first.days) == 253 + 252
    for one, other in zip(first, second, strict=True):
        assert one.dtype == other.dtype == np.int64
        np.testing.assert_array_equal(one, other)
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_a_damaged_file_is_replaced(cache, times_worked_out, damage):
    expected = sessions_of_years(2020, 2021)
    (file,) = cache.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:] if damage is None else damage)
    np.testing.assert_array_equal(again().closes, expected.closes)
    assert len(times_worked_out) == 2
    assert file.read_bytes() == data


def test_a_file_that_others_could_have_written_is_not_believed(cache, times_worked_out):
    sessions_of_years(2020, 2021)
    cache.chmod(0o777)
    again()
    assert len(times_worked_out) == 2


def test_years_and_versions_have_files_of_their_own(cache, times_worked_out, monkeypatch):
    sessions_of_years(2020, 2021)
    sessions_of_years(2015, 2021)
    monkeypatch.setattr(exchange_calendar, "version", lambda _: "99.0")
    again()
    assert times_worked_out == [(2020, 2021), (2015, 2021), (2020, 2021)]
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("place", ["/proc/nowhere", "~nobody-here"])
def test_where_nothing_can_be_kept_they_are_worked_out_each_time(place, monkeypatch, times_worked_out):
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    sessions_of_years(2020, 2021)
    again()
    assert len(times_worked_out) == 2
    assert not os.path.exists(place)
