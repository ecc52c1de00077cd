"""run.json holds what a run was, as strict JSON."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from brokers.desk import POSITION_DTYPE
from feeds.quality import NO_ROWS, Quality
from reports import manifest
from reports.performance import summarise
from tests.reports.made_run import DAYS, UNIVERSE, recorder, replay


def test_what_json_cannot_hold_becomes_null():
    text = manifest.to_json({"a": float("nan"), "b": [np.float64("inf"), np.int64(3)], "c": (True, None)})
    assert json.loads(text) == {"a": None, "b": [None, 3], "c": [True, None]}


def test_the_data_are_described_by_days_source_and_what_was_set_aside():
    feed = SimpleNamespace(universe=UNIVERSE, source="made by hand", fingerprint="f00")
    described = manifest.describe_data(feed, Quality(NO_ROWS, ("a remark",)), replay(recorder(), 2))
    assert described["first"] == "2024-03-07"
    assert described["last"] == "2024-03-12"
    assert described["rows"] == 4
    assert described["source"] == "made by hand"
    assert described["notes"] == ["a remark"]


def test_a_feed_that_says_nothing_of_itself_is_described_by_its_type():
    described = manifest.describe_data(SimpleNamespace(universe=UNIVERSE), Quality(NO_ROWS), recorder())
    assert described["source"] == "SimpleNamespace"
    assert described["first"] is None


@pytest.mark.parametrize(("fractional", "quantity"), [(False, 2_500_000), (True, 2.5)])
def test_open_positions_are_named(fractional, quantity):
    rows = np.zeros(1, POSITION_DTYPE)
    rows["symbol"], rows["quantity"], rows["ts_entry"], rows["stop"] = 2, 2_500_000, DAYS[1], np.nan
    made = replay(recorder(fractional_shares=fractional), 2)
    (position,) = manifest.describe_positions(made, rows)
    assert position["symbol"] == "CCC"
    assert position["account"] == position["strategy"] == "first"
    assert position["quantity"] == quantity
    assert position["entry_date"] == "2024-03-08"


def test_undefined_figures_are_null_and_come_with_their_reason():
    made = replay(recorder(), 2)
    summary = summarise(made.equity(), made.accounts, made.capital_usd, made.benchmark_close())
    assert manifest.metrics(summary)["second"]["sharpe"] is None
    assert manifest.undefined(summary)["second"]["sharpe"] == "returns do not vary"
    assert "benchmark" in manifest.metrics(summary)


def test_versions_name_the_interpreter_and_the_compilers():
    assert {"python", "numpy", "numba", "llvmlite"} <= set(manifest.code_versions())
