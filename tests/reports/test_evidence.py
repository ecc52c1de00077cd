"""The files behind the tear sheet, against slow references."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from reports.arrow import as_arrow, as_numpy, significant, text_array
from reports.evidence import rolling_beta, rolling_sharpe
from reports.folder import RunFolder
from tests.reports import written_run


def test_rolling_figures_are_those_of_each_window():
    random = np.random.default_rng(5)
    ours, theirs = random.normal(size=40), random.normal(size=40)
    sharpe, beta = rolling_sharpe(ours, 10), rolling_beta(ours, theirs, 10)
    assert np.isnan(sharpe[:9]).all()
    assert np.isnan(beta[:9]).all()
    for end in range(10, 41):
        x, y = ours[end - 10 : end], theirs[end - 10 : end]
        assert sharpe[end - 1] == pytest.approx(x.mean() / x.std(ddof=1) * math.sqrt(252))
        assert beta[end - 1] == pytest.approx(np.polyfit(y, x, 1)[0])


def test_returns_that_do_not_vary_have_no_rolling_sharpe_and_a_flat_benchmark_no_beta():
    assert np.isnan(rolling_sharpe(np.zeros(20), 10)).all()
    assert np.isnan(rolling_beta(np.ones(20), np.zeros(20), 10)).all()


def test_a_missing_day_of_the_benchmark_is_missing_in_every_window_that_holds_it():
    theirs = np.arange(30.0) ** 2
    theirs[15] = np.nan
    beta = rolling_beta(np.arange(30.0), theirs, 10)
    assert np.isnan(beta[15:25]).all()
    assert not np.isnan(beta[[9, 14, 25]]).any()


def test_the_files_say_what_the_run_did(tmp_path, monkeypatch):
    written_run.write(tmp_path, monkeypatch, "AAA")
    folder = RunFolder(tmp_path)
    months = folder.table("combined/monthly.csv")
    assert months.text("month") == ["2024-03"]
    assert months.numbers("bought").tolist() == [3001.0]
    daily = folder.table("combined/daily.csv")
    growth = np.cumprod(1 + daily.numbers("return"))
    assert growth * 100_000 == pytest.approx(folder.table("combined/equity_curve.csv").numbers("equity"))
    worst = folder.table("combined/drawdowns.csv")
    assert worst.text("peak") == ["2024-03-07"]
    assert worst.text("recovery") == ["2024-03-11"]
    assert folder.table("performance/intervals.csv").text("metric")[0] == "cagr"


def test_bars_around_the_trade_are_kept_with_their_names_and_days(tmp_path, monkeypatch):
    written_run.write(tmp_path, monkeypatch, "AAA")
    bars = pq.read_table(tmp_path / "trades/bars.parquet").to_pydict()
    assert bars["symbol"] == ["AAA"] * 4
    assert bars["date"] == ["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"]
    assert bars["close"] == pytest.approx([10.0, 10.2, 11.0, 11.0])


def test_significant_digits_read_back_as_short_as_they_were_meant():
    values = np.array([123456.789, 1.23456789, -0.000123456789, 0.0, np.nan, 98765432.1, 1e-300])
    short = [123457.0, 1.23457, -0.000123457, 0.0, 98765432.0, 1e-300]
    made = significant(values).tolist()
    assert np.isnan(made.pop(4))
    assert made == short


def test_arrays_survive_the_way_to_arrow_and_back():
    values = np.array([1.5, np.nan, -2.0])
    assert np.array_equal(as_numpy(as_arrow(values)), values, equal_nan=True)
    assert as_numpy(as_arrow(np.array([3, 4], np.int32))).tolist() == [3, 4]
    assert text_array(["a", "", "\u00e9"]).to_pylist() == ["a", "", "\u00e9"]
