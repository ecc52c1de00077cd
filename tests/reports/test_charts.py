"""Which charts a run has, and what stands at their axes: nothing is drawn of what is not there."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reports import charts, tearsheet
from reports.folder import RunFolder

DAYS = np.arange(np.datetime64("2021-03-01"), np.datetime64("2021-03-01") + 200)


@pytest.fixture
def folder(tmp_path):
    """Return a run of the first `n` days; without trades, its equity stands still."""

    def made(n, *, trades=True, benchmark=slice(None)):
        index = np.full(200, np.nan)
        index[benchmark] = 100.0 + np.arange(200)[benchmark]
        equity = 1000.0 + (np.arange(n) % 7 if trades else np.zeros(n))
        rolling = np.where(np.arange(n) >= 125, 1.5, np.nan)
        months = sorted({str(day)[:7] for day in DAYS[:n]})
        _write(tmp_path / "combined/daily.csv",
               ("date", "return", "drawdown", "sharpe_126", "benchmark", "benchmark_drawdown", "beta_126"),
               DAYS[:n], np.zeros(n), np.where(equity < 1006, 0.006, 0) * trades, rolling, index[:n],
               index[:n] * 0, np.full(n, np.nan))  # fmt: skip
        _write(tmp_path / "combined/equity_curve.csv", ("date", "equity", "cash", "exposure", "a", "b"),
               DAYS[:n], equity, equity, np.zeros(n), equity / 2, equity / 2)  # fmt: skip
        _write(tmp_path / "combined/monthly.csv", ("month", "return", "benchmark", "turnover"),
               months, *np.zeros((2, len(months))), np.full(len(months), 0.2 if trades else 0.0))  # fmt: skip
        _write(tmp_path / "combined/yearly.csv", ("year", "return", "benchmark"), ["2021"], [0.01], [-0.111])
        if trades:
            _write(tmp_path / "combined/sector_exposure.csv", ("date", "energy"), DAYS[:n], np.full(n, 0.3))
        earned = [0.004, -0.002] if trades else [0.0, 0.0]
        _write(tmp_path / "performance/attribution.csv", ("strategy", "contribution", "linked"),
               ["a", "b"], earned, earned)  # fmt: skip
        _write(tmp_path / "performance/metrics.csv", ("strategy", "final_equity", "total_return"),
               ["combined", "benchmark"], [equity[-1], 1099.0], [0.0, 0.99])  # fmt: skip
        return RunFolder(tmp_path)

    return made


def _write(path, names, *columns):
    path.parent.mkdir(exist_ok=True)
    rows = zip(
        *(["" if value == "nan" else value for value in map(str, column)] for column in columns), strict=True
    )
    path.write_text("\n".join(map(",".join, [names, *rows])) + "\n")


@pytest.mark.parametrize(("n", "trades"), [(200, True), (30, True), (30, False), (1, False)])
def test_every_place_of_a_chart_has_one(folder, n, trades):
    run = folder(n, trades=trades)
    page = tearsheet.render(run)
    places = set(re.findall(r'<div class="chart" id="([^"]+)"', page))
    assert places <= set(charts.figures(run))
    assert ("rolling-sharpe" in places) == (n == 200)
    assert ("sectors" in places) == ("turnover" in places) == trades
    assert ("equity" in places) == ("account-0" in places) == (n > 1)


def test_an_axis_of_parts_of_a_per_cent_does_not_round_them_away(folder):
    made = charts.figures(folder(30))
    axes = [figure["layout"].get(name, {}) for figure in made.values() for name in ("xaxis", "yaxis")]
    assert {axis["tickformat"] for axis in axes if "%" in axis.get("tickformat", "")} == {"~%", "%b\n%Y"}


def test_a_single_sector_has_its_name_on_the_chart(folder):
    assert charts.sectors(folder(30))["layout"]["showlegend"]


@pytest.mark.parametrize(("n", "title"), [(20, "By symbol"), (21, "The 20 symbols that mattered most")])
def test_no_more_symbols_are_promised_than_there_are(folder, tmp_path, n, title):
    run = folder(30)
    names = [f"S{i:02d}" for i in range(n)]
    earned = np.arange(1, n + 1) / 100
    _write(tmp_path / "performance/attribution_symbol.csv", ("symbol", "contribution", "linked"),
           names, earned, earned)  # fmt: skip
    assert f"<h3>{title}</h3>" in tearsheet.render(run)
    assert len(charts.attribution(run)["attribution-symbol"]["data"][0]["x"]) == 20


def test_few_trades_are_dots_to_be_found_and_many_a_cloud(folder, tmp_path):
    sizes = []
    for n in (100, 101):
        run = folder(30)
        _write(tmp_path / "trades/trades.csv", ("symbol", "entry_date", "mae", "mfe", "pnl"),
               ["A"] * n, ["2021-03-02"] * n, [-0.01] * n, [0.02] * n, [1.0] * n)  # fmt: skip
        sizes.append(charts.excursions(run)["data"][1]["marker"]["size"])
    assert sizes == [8, 4]


def test_few_months_are_named_each(folder):
    assert charts.turnover(folder(90))["layout"]["xaxis"]["dtick"] == "M1"
    assert charts.turnover(folder(200))["layout"]["xaxis"] == {}


def test_a_benchmark_with_other_days_than_the_run_says_which(folder):
    whole = tearsheet.render(folder(200))
    assert "The benchmark returned" in whole
    assert "where it has prices" not in whole
    late = tearsheet.render(folder(200, benchmark=slice(50, None)))
    assert f", over {DAYS[50]} to {DAYS[199]} alone, where it has prices." in late
    early = tearsheet.render(folder(200, benchmark=slice(None, 150)))
    assert f", over {DAYS[0]} to {DAYS[149]} alone, where it has prices." in early
    assert "where it has prices" not in tearsheet.render(folder(200, benchmark=slice(0, 0)))


def test_the_heat_map_is_in_per_cent_throughout(folder):
    assert "<td>\N{MINUS SIGN}11.1</td></tr>" in tearsheet.render(folder(30))
