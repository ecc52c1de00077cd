"""Cells and CSV files: exact, safe to open in a spreadsheet, whole or not there."""

import csv
import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reports import files
from tests.reports.made_run import DAYS, close_ns


@given(hnp.arrays(np.float64, st.integers(0, 20)))
def test_every_float_reads_back_to_the_same_bits(values):
    cells = files.floats(values)
    assert len(cells) == len(values)
    for cell, value in zip(cells, values, strict=True):
        assert (cell == "") == math.isnan(value)
        if cell:
            assert np.float64(cell).tobytes() == value.tobytes()
            assert (
                len(cell) <= len(repr(float(value))) + 4
            )  # shortest digits, if not always Python's notation


@given(st.integers(-(2**63), 2**63 - 1))
def test_money_is_the_exact_decimal_of_its_micro_dollars(micro):
    (cell,) = files.money(np.array([micro]))
    whole, _, rest = cell.lstrip("-").partition(".")
    assert int(whole) * 1_000_000 + int(rest.ljust(6, "0")) == abs(micro)
    assert cell.startswith("-") == (micro < 0)
    assert 2 <= len(rest) <= 6


def test_money_shows_two_decimals_or_as_many_as_there_are():
    assert files.money(np.array([0, 5, -1_500_000, 12_345_678])) == ["0.00", "0.000005", "-1.50", "12.345678"]


def test_share_quantities_are_whole_unless_fractions_are_on():
    quantity = np.array([3_500_000, 2_000_000])
    assert files.shares(quantity, False) == ["3500000", "2000000"]
    assert files.shares(quantity, True) == ["3.5", "2"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_calculate_is_defused(start):
    cell = next(csv.reader([files.text_cell(start + "HYPERLINK(1)")]))[0]
    assert cell.startswith("'" + start)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_text_survives_a_round_trip_through_a_csv_reader(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("round") / "t.csv"
    texts = [text for text in texts if "\r" not in text and "\0" not in text]
    files.write_csv(path, ["text", "n"], [files.text(texts), ["1"] * len(texts)])
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    assert [row[0].removeprefix("'") for row in rows] == [text.removeprefix("'") for text in texts]


def test_numbers_below_zero_are_not_taken_for_formulas():
    assert files.floats(np.array([-1.5])) == ["-1.5"]


def test_a_negative_index_names_nothing():
    assert files.chosen(["A", "=B"], np.array([1, -1, 0])) == ["'=B", "", "A"]


def test_daily_timestamps_are_dates_in_new_york():
    dates = files.Dates(np.array(DAYS))
    assert dates.daily
    assert dates(np.array(DAYS[:2])) == ["2024-03-07", "2024-03-08"]


def test_the_change_to_summer_time_and_half_days_stay_daily():
    dates = files.Dates(np.array([close_ns("2024-03-08"), close_ns("2024-03-11") - 3 * 3600 * 10**9]))
    assert dates.daily


def test_intraday_timestamps_are_utc_instants():
    ts = np.array([DAYS[0], DAYS[0] + 60 * 10**9, DAYS[0] + 61 * 10**9 + 500_000_000])
    assert files.Dates(ts)(ts) == ["2024-03-07T21:00:00Z", "2024-03-07T21:01:00Z", "2024-03-07T21:01:01.5Z"]


def test_lines_end_in_lf_and_an_empty_table_is_its_header(tmp_path):
    files.write_csv(tmp_path / "a/b.csv", ["x", "y"], [["1", "2"], ["", "3"]])
    assert (tmp_path / "a/b.csv").read_bytes() == b"x,y\n1,\n2,3\n"
    files.write_csv(tmp_path / "c.csv", ["x"], [[]])
    assert (tmp_path / "c.csv").read_bytes() == b"x\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    files.write_atomic(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_bytes() == b"old"


def test_written_files_can_be_read_by_others(tmp_path):
    files.write_atomic(tmp_path / "a.csv", b"")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o644 & ~umask
