"""What is printed fits 80 columns and says what is not defined."""

from dataclasses import replace

import numpy as np
import pytest

from feeds.quality import Quality
from reports.daily import day_numbers
from reports.performance import summarise
from scripts import tables
from tests.reports.made_run import recorder, replay


@pytest.fixture
def summary():
    made = replay(recorder(), 2)
    return summarise(made.equity(), made.accounts, made.capital_usd, made.benchmark_close())


def test_the_table_has_a_line_per_account_the_whole_and_the_benchmark(capsys, summary):
    tables.print_summary(summary)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["first", "second", "combined", "benchmark"]
    assert "60,316.00" in lines[1]
    assert lines[5] == "- : needs 30 calendar days, has 5; returns do not vary"


def test_a_benchmark_with_other_days_than_the_run_says_which(capsys):
    made = replay(recorder(), 2)
    close, days = made.benchmark_close(), made.equity().ts
    close[0] = np.nan
    tables.print_summary(summarise(made.equity(), made.accounts, made.capital_usd, close))
    first, last = day_numbers(days)[[1, -1]].astype("datetime64[D]")
    said = f"benchmark: over {first} to {last} alone, where it has prices"
    assert said in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", ["40", "80", "300"])
def test_no_line_is_longer_than_eighty_columns(capsys, monkeypatch, summary, columns):
    monkeypatch.setenv("COLUMNS", columns)
    name = "a_strategy_of_a_third_party_with_a_name_that_goes_on_and_on"
    long = summary._replace(accounts={name: summary.accounts["first"]})
    tables.print_summary(long)
    tables.print_counts(
        12_345_678,
        {"signals": 1_000_000, "orders": 200_000, "fills": 200_000, "trades": 90_000, "rejections": 800_000},
        {f"a_reason_of_refusal_{i}": 100_000 for i in range(9)},
        20,
    )
    tables.print_untraded({name: "because " * 30})
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "and 4 other reasons" in shown.replace("\n ", "")


def test_a_figure_that_rounds_to_nothing_has_no_sign(capsys, summary):
    lost = summary.combined.all | {"cagr": summary.combined.all["cagr"]._replace(value=-0.0002)}
    tables.print_summary(summary._replace(combined=replace(summary.combined, all=lost)))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("combined"))
    assert " 0.0% " in line
    assert "-0.0%" not in line


@pytest.mark.parametrize("columns", ["30", "300"])
def test_a_narrow_window_costs_no_figure(capsys, monkeypatch, summary, columns):
    monkeypatch.setenv("COLUMNS", columns)
    tables.print_summary(summary)
    assert "60,316.00" in capsys.readouterr().out


def test_quarantined_rows_and_remarks_are_told(capsys):
    table = {
        "file": ["a"] * 3,
        "row": [1, 2, 3],
        "symbol": ["A"] * 3,
        "date": ["d"] * 3,
        "reason": ["bad_adj_close", "bad_date", "bad_adj_close"],
        "detail": [""] * 3,
    }
    tables.print_quality(Quality(table, ("cached bars are used, up to 3 days old",)))
    assert capsys.readouterr().out.splitlines() == [
        "data: rows set aside 1: bad_date 1",
        "data: adjustments set aside, their bars used 2: bad_adj_close 2",
        "data: cached bars are used, up to 3 days old",
    ]
