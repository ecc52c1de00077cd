"""The equity curve as SVG: where the numbers are."""

import re

import numpy as np
import pytest

from reports.files import floats, write_csv
from reports.folder import RunFolder
from reports.static_chart import HEIGHT, WIDTH, equity


def folder(path, own, benchmark, first="2020-12-28"):
    days = [str(np.datetime64(first) + i) for i in range(len(own))]
    write_csv(path / "combined/equity_curve.csv", ("date", "equity"), (days, floats(np.array(own, float))))
    write_csv(path / "combined/daily.csv", ("date", "benchmark"), (days, floats(np.array(benchmark, float))))
    return RunFolder(path)


def paths(svg):
    """Return the steps of each curve, the lines of the grid left out."""
    found = re.findall(r'<path d="([^"]+)" stroke="(#\w+)"', svg)
    steps = [(re.findall(r"([ML])([\d.]+) ([\d.-]+)", d), colour) for d, colour in found]
    return [each for each, colour in steps if colour != "#eceff2"]


def test_curves_reach_from_the_first_day_to_the_last_on_a_logarithmic_scale(tmp_path):
    svg = equity(folder(tmp_path, [100, 1000, 10_000, 1000, 100], [100] * 5))
    benchmark, own = paths(svg)
    assert [float(x) for _, x, _ in own] == [0, 250, 500, 750, WIDTH]
    y = [float(y) for *_, y in own]
    assert 0 < y[2] < y[1] < y[0] < HEIGHT
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.2)
    assert {float(y) for *_, y in benchmark} == {y[0]}
    for label in ("$100", "$1k", "$10k", ">2021<"):
        assert label in svg


def test_a_day_without_the_benchmark_breaks_its_line(tmp_path):
    benchmark, _ = paths(equity(folder(tmp_path, [100] * 5, [100, 101, np.nan, 102, 103])))
    assert [pen for pen, *_ in benchmark] == ["M", "L", "M", "L"]


def test_long_histories_are_thinned_and_keep_their_ends(tmp_path):
    own = np.linspace(100, 200, 4001)
    (drawn,) = paths(equity(folder(tmp_path, own, [np.nan] * 4001)))
    assert 500 < len(drawn) < 800
    assert [float(drawn[0][1]), float(drawn[-1][1])] == [0, WIDTH]


def test_nothing_is_drawn_of_nothing(tmp_path):
    assert equity(folder(tmp_path, [100], [100])) == ""
