"""The benchmark runs at a tiny size. No time is asserted."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from benchmarks import c_pass, loop, market, report, whole_loop
from benchmarks.loop import MONEY

KEYS = {
    "ema_vs_c", "ema_vs_vectorbt", "four_vs_c", "k1_vs_k4096", "one_symbol_100k_s", "peak_over_panel",
    "seconds", "bars_per_s", "hashes", "machine",
}  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return loop.measure(small=True, repeats=1, with_peers=False)


def test_the_report_holds_every_ratio_and_the_seconds_behind_it(measured: dict[str, Any]) -> None:
    assert measured.keys() >= KEYS
    assert {"ema_k4096", "ema_k1", "four_k4096", "four_k1", "one_symbol_100k"} <= measured["seconds"].keys()
    assert all(math.isfinite(seconds) for seconds in measured["seconds"].values())
    assert measured["ema_vs_vectorbt"] is None
    assert measured["notes"]["vectorbt"] == "not asked for"


def test_the_report_is_one_json_object(measured: dict[str, Any]) -> None:
    assert json.loads(json.dumps(measured)) == measured


def test_any_slabbing_gives_the_same_hash(measured: dict[str, Any]) -> None:
    hashes = measured["hashes"]
    assert hashes["ema_k1"] == hashes["ema_k4096"]
    assert hashes["four_k1"] == hashes["four_k4096"]


def test_the_tables_show_every_ratio(measured: dict[str, Any]) -> None:
    text = report.as_table(measured)
    assert "EMA cross, whole loop: speed over C" in text
    assert "peak memory over the panel" in text
    assert report.as_markdown(measured).startswith("| Ratio | Measured | Target |")


def test_the_c_pass_computes_what_the_loop_computes() -> None:
    if c_pass.compiler() is None:
        pytest.skip("no C compiler")
    universe, bars = market.random_walks(30, 500, seed=3)
    ours = whole_loop.ema_cross(universe, bars, 4096)().cross()
    theirs = c_pass.prepare(c_pass.build(), bars, **MONEY)()
    assert ours.n_orders > 100
    assert (ours.n_orders, ours.n_fills) == (theirs.n_orders, theirs.n_fills)
    assert ours.equity_micro.tolist() == theirs.equity_micro.tolist()


def test_without_a_compiler_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(c_pass.NoCompiler, match="install gcc or clang"):
        c_pass.build()


def test_the_panel_is_the_same_for_the_same_seed_and_its_bars_are_valid() -> None:
    first, second = (market.random_walks(5, 50)[1] for _ in range(2))
    assert first.close.tobytes() == second.close.tobytes()
    assert (first.high >= first.low).all()
    assert (first.low > 0.0).all()
