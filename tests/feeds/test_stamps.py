"""Date columns of every type vendors use."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from feeds.sessions import BAD_TIME, day_number
from feeds.stamps import read_stamps

DAY = day_number("2024-03-08") * 86_400_000_000_000
HALF_PAST_NINE = DAY + (9 * 60 + 30) * 60_000_000_000


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([dt.date(2024, 3, 8)]),
        pa.array([np.datetime64("2024-03-08", "us")]),
        pa.array(["2024-03-08"]),
        pa.array(["2024-03-08 00:00:00"]),
        pa.array(["20240308"]),
        pa.array([20240308]),
        pa.array([20240308.0]),
        pa.array(["2024-03-08"]).dictionary_encode(),
    ],
)
def test_a_date_is_midnight_of_the_wall_clock(cells: pa.Array) -> None:
    stamps = read_stamps(cells, None, None)
    assert stamps.ns.tolist() == [DAY]
    assert not stamps.zoned


@pytest.mark.parametrize("text", ["2024-03-08T14:30:00Z", "2024-03-08 09:30:00-05:00"])
def test_text_with_an_offset_is_a_moment(text: str) -> None:
    stamps = read_stamps(pa.array([text]), None, None)
    assert stamps.zoned
    assert stamps.ns[0] == HALF_PAST_NINE + 5 * 3_600_000_000_000


def test_a_timestamp_with_a_zone_is_a_moment() -> None:
    cells = pa.array([np.datetime64("2024-03-08T14:30", "us")]).cast(pa.timestamp("us", "UTC"))
    assert read_stamps(cells, None, None).zoned


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_an_epoch_is_a_moment_in_any_unit(unit: int) -> None:
    stamps = read_stamps(pa.array([1_709_908_200 * unit]), None, None)
    assert stamps.zoned
    assert stamps.ns[0] == 1_709_908_200 * 10**9


def test_an_epoch_may_be_text_as_all_dates_of_a_csv_file_are() -> None:
    cells = pa.array([None, "", "1709908200", " 1709908260 ", "2024-03-08", "1709908200000000000000"])
    stamps = read_stamps(cells, None, None)
    assert stamps.zoned
    seconds = [BAD_TIME, BAD_TIME, 1_709_908_200 * 10**9, 1_709_908_260 * 10**9, BAD_TIME, BAD_TIME]
    assert stamps.ns.tolist() == seconds
    assert read_stamps(pa.array(["1709908200000"]), None, None).ns[0] == 1_709_908_200 * 10**9
    assert read_stamps(pa.array(["1709908200"]), None, False).ns[0] == BAD_TIME  # Dates came before it


def test_stooq_times_are_added_to_the_dates() -> None:
    stamps = read_stamps(pa.array(["20240308", "20240308"]), pa.array(["093000", "000000"]), None)
    assert stamps.ns.tolist() == [HALF_PAST_NINE, DAY]


def test_what_cannot_be_read_is_marked_and_the_rest_is_kept() -> None:
    cells = pa.array(["2024-03-08", None, "", "03/08/2024", "2024-13-01", "2024"])
    assert read_stamps(cells, None, None).ns.tolist() == [DAY, *[BAD_TIME] * 5]


def test_an_offset_among_dates_without_is_unreadable() -> None:
    stamps = read_stamps(pa.array(["2024-03-08", "2024-03-08T14:30:00Z"]), None, None)
    assert (stamps.ns == BAD_TIME).tolist() == [False, True]
    stamps = read_stamps(pa.array(["2024-03-08"]), None, True)  # earlier cells of the file had offsets
    assert np.all(stamps.ns == BAD_TIME)


@pytest.mark.parametrize(
    "cells",
    [
        pa.array(["2024-03-08", "2999-01-01", "0001-01-01", "9999-12-31"]),
        pa.array([dt.date(2024, 3, 8), dt.date(2999, 1, 1), dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
        pa.array(np.array(["2024-03-08", "2999-01-01", "0001-01-01", "9999-12-31"], "datetime64[s]")),
        pa.array([20240308, 29990101, 10**19 - 1, 1], pa.uint64()),
    ],
)
def test_a_year_that_nanoseconds_do_not_reach_is_unreadable_and_not_another_year(cells: pa.Array) -> None:
    assert read_stamps(cells, None, None).ns.tolist() == [DAY, *[BAD_TIME] * 3]


def test_an_epoch_that_nanoseconds_do_not_reach_is_unreadable() -> None:
    cells = pa.array([1_709_908_200, 32_472_144_000, 1e300])
    assert read_stamps(cells, None, None).ns.tolist() == [1_709_908_200 * 10**9, BAD_TIME, BAD_TIME]
