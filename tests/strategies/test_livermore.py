"""Livermore breakout: equals its definition, condition by condition; does not notice slabs."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.exits import ExitRules
from engine.slab import NS_PER_DAY, Tape
from strategies import base
from strategies.base import SignalBuffer
from strategies.livermore import LivermoreBreakout
from strategies.registry import create
from tests.strategies.bases import before_splits, one_symbol, perturbed_after, random_bases, signals_per_year
from tests.strategies.market_tape import market_tape
from tests.strategies.random_tapes import cut, keys, make_tape, run, same_state, universe
from tests.strategies.reference_livermore import livermore_signals

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "original": {"confidence": "original"},
    "mid": {"stop_mode": "mid"},
    "contraction": {"max_contraction": 0.8},
    "odd_window": {"max_contraction": 0.9, "consolidation_window": 15},
    "atr": {"max_atr_ratio": 0.95},
    "sma": {"above_sma": 100},
    "atr_sma": {"max_atr_ratio": 1.0, "above_sma": 60},
    "extension": {"max_extension": 0.10},
    "cooldown": {"cooldown_bars": 30},
}
ALL_ON = {"max_contraction": 1.5, "max_atr_ratio": 1.2, "above_sma": 60, "max_extension": 0.2}
N_ROWS = 300


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_matches_the_definition(options: dict[str, Any]) -> None:
    tape = random_bases(1, N_ROWS)
    strategy = create("livermore", **options)
    signals = run(strategy, [tape])
    expected, tally = livermore_signals(tape, **options)
    assert [(k[0], k[1]) for k in keys(signals)] == [row[:2] for row in expected]
    assert len(signals) >= 5
    ours = np.column_stack([signals["confidence"], signals["structure_stop"], signals["details"][:, :5]])
    np.testing.assert_allclose(ours, np.array([row[2:] for row in expected]), rtol=1e-9)
    assert Counter({k: n for k, n in strategy.tally().items() if n}) == tally
    assert sum(tally.values()) == (tape.status >= 2).sum()


def test_the_future_cannot_change_the_past() -> None:
    tape = random_bases(3, N_ROWS)
    signals = run(create("livermore", **ALL_ON), [tape])
    for row in (150, 250):
        other = run(create("livermore", **ALL_ON), [perturbed_after(tape, row)])
        ts = tape.ts[row]
        past = signals[signals["ts"] < ts]
        assert len(past)
        assert past.tobytes() == other[other["ts"] < ts].tobytes()


@pytest.mark.parametrize("n_rows", [1, 7, 64])
@pytest.mark.parametrize("options", [{}, ALL_ON], ids=["off", "all_on"])
def test_slabs_do_not_matter(n_rows: int, options: dict[str, Any]) -> None:
    tape = random_bases(4, N_ROWS)
    whole, parts = create("livermore", **options), create("livermore", **options)
    signals = run(whole, [tape])
    assert len(signals)
    assert run(parts, cut(tape, list(range(0, N_ROWS, n_rows)))).tobytes() == signals.tobytes()
    assert same_state(whole.state(), parts.state())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, N_ROWS - 1), max_size=6), st.integers(0, 3))
def test_random_cuts_do_not_matter(bounds: list[int], seed: int) -> None:
    tape = random_bases(seed, N_ROWS, 6)
    assert (
        run(create("livermore", **ALL_ON), cut(tape, bounds)).tobytes()
        == run(create("livermore", **ALL_ON), [tape]).tobytes()
    )


@pytest.mark.parametrize("row", [30, 150])
@pytest.mark.parametrize("options", [{}, ALL_ON], ids=["off", "all_on"])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(row: int, options: dict[str, Any]) -> None:
    tape = random_bases(5, N_ROWS)
    before, after = cut(tape, [row])
    first, second = create("livermore", **options), create("livermore", **options)
    head = run(first, [before])
    run(second, [random_bases(6, 40)])
    second.restore(first.state())
    tail = run(second, [after], start=False)
    assert len(tail)
    whole = run(create("livermore", **options), [tape])
    assert np.concatenate([head, tail]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("row", [30, 200])
@pytest.mark.parametrize("options", [{}, ALL_ON], ids=["off", "all_on"])
def test_a_split_changes_no_signal(row: int, options: dict[str, Any]) -> None:
    """Rescaling at the ex-date equals fully adjusted history, bit for bit for a ratio of 2."""
    adjusted = random_bases(7, N_ROWS, dirty=False)
    one = run(create("livermore", **options), [adjusted])
    other = run(create("livermore", **options), [before_splits(adjusted, row, 2.0)])
    later = adjusted.ts[row]
    assert len(one[one["ts"] >= later])
    assert one[one["ts"] >= later].tobytes() == other[other["ts"] >= later].tobytes()
    assert keys(one) == keys(other)


def test_a_full_buffer_stops_before_the_row_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "ROWS_MAX", 0)  # The buffer stays as small as it is made here
    tape = random_bases(8, N_ROWS)
    expected = run(create("livermore"), [tape])
    assert len(expected) > 24
    strategy = LivermoreBreakout()
    strategy.start(universe(12))
    assert strategy._out is not None
    strategy._out = SignalBuffer(strategy._out.rows[:12].copy(), strategy._out.count)
    assert run(strategy, [tape], start=False).tobytes() == expected.tobytes()
    assert len(strategy._out.rows) < len(expected)


def test_signals_of_a_row_are_in_order_of_symbol_and_completely_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "ROWS_MAX", 0)  # The signals go where this test wrote
    strategy = LivermoreBreakout()
    tape = random_bases(9, N_ROWS)
    strategy.start(universe(12))
    assert strategy._out is not None
    strategy._out.rows.view(np.uint8)[:] = 99
    signals = strategy.on_bars(tape, 3)
    places = list(zip(signals["ts"].tolist(), signals["symbol"].tolist(), strict=True))
    assert places == sorted(set(places))
    assert set(signals["strategy"]) == {3}
    assert set(signals["side"]) == {1}
    assert set(signals["order_type"]) | set(signals["tif"]) == {0}
    for name in ("stop_distance", "limit", "trigger", "trail", "open_max", "target"):
        assert np.isnan(signals[name]).all()
    assert np.isnan(signals["details"][:, 5:]).all()
    assert (signals["pivot"] == signals["details"][:, 0]).all()


# A range by hand: 45 closes that alternate between 95 and 99, high and low a dollar around them, so that
# U = 100 and D = 94; then a close of 103 on 1.5 times the volume.


def flat_range(
    *, n_bars: int = 46, high: float = 99.0, low: float = 95.0, last_half: tuple[float, float] | None = None,
    breakout: float = 103.0, volume: float = 1500.0, before: float | None = None,
) -> Tape:  # fmt: skip
    closes = np.where(np.arange(n_bars) % 2, high, low)
    if last_half:
        closes[-11:] = np.where(np.arange(11) % 2, *last_half)
    if before is not None:
        closes[:-25] = before
    closes[-1] = breakout
    volumes = np.full(n_bars, 1000.0)
    volumes[-1] = volume
    return one_symbol(closes, volumes, spread=1.0)


def outcome(tape: Tape, **options: Any) -> str:
    """Return the condition at which the last bar ended."""
    before, last = cut(tape, [len(tape.ts) - 1])
    strategy = create("livermore", **options)
    run(strategy, [before])
    earlier = strategy.tally()
    strategy.on_bars(last, 0)
    (condition,) = [name for name, n in strategy.tally().items() if n != earlier[name]]
    return condition


def test_the_range_made_by_hand() -> None:
    tape = flat_range()
    (signal,) = run(create("livermore"), [tape])
    assert (signal["ts"], signal["price_ref"], signal["pivot"]) == (tape.ts[-1], 103.0, 100.0)
    assert signal["structure_stop"] == 94.0
    assert signal["details"][:5].tolist() == pytest.approx([100, 94, 6 / 94, 1.5, 0.03])
    assert signal["confidence"] == pytest.approx(0.5 + 0.3 * (1 - 6 / 94 / 0.15) + 0.2 * (0.2 / 1.7))


@pytest.mark.parametrize(
    ("options", "good", "bad", "condition"),
    [
        ({}, {"volume": 1300.0}, {"volume": 1299.0}, "volume"),
        ({}, {"breakout": 102.0}, {"breakout": 101.99}, "breakout"),
        ({}, {"low": 88.0}, {"low": 87.9}, "range"),  # 100 / 86.957 = 1.15
        ({"max_contraction": 0.8}, {"last_half": (98.4, 95.7)}, {"last_half": (98.5, 95.5)}, "contraction"),
        ({"max_atr_ratio": 0.8}, {"n_bars": 80, "last_half": (97.0, 97.0)}, {"n_bars": 80}, "atr_ratio"),
        ({"above_sma": 60}, {"n_bars": 80}, {"n_bars": 80, "before": 120.0}, "above_sma"),
        ({"max_extension": 0.05}, {"breakout": 104.9}, {"breakout": 105.1}, "extension"),
        ({}, {"n_bars": 41}, {"n_bars": 40}, "warmup"),
        ({"max_atr_ratio": 5.0}, {"n_bars": 52}, {"n_bars": 51}, "warmup"),
    ],
    ids=["volume", "breakout", "range", "contraction", "atr", "sma", "extension", "warmup", "atr_warmup"],
)
def test_each_condition_on_both_sides_of_its_threshold(
    options: dict[str, Any], good: dict[str, Any], bad: dict[str, Any], condition: str
) -> None:
    assert outcome(flat_range(**good), **options) == "signal"
    assert outcome(flat_range(**bad), **options) == condition


def test_the_average_is_of_the_last_60_closes_the_newest_included() -> None:
    seen = set()
    for before in np.arange(100.0, 120.0, 0.2):
        tape = flat_range(n_bars=80, before=float(before))
        seen.add(outcome(tape, above_sma=60))
        assert outcome(tape, above_sma=60) == (
            "signal" if tape.close[-60:, 0].mean() < 103.0 else "above_sma"
        )
    assert seen == {"signal", "above_sma"}


def test_a_range_of_nothing_is_no_range() -> None:
    closes = np.full(46, 100.0)
    closes[-1] = 103.0
    volumes = np.append(np.full(45, 1000.0), 1500.0)
    assert outcome(one_symbol(closes, volumes)) == "range"


def test_the_stop_can_be_the_middle() -> None:
    (signal,) = run(create("livermore", stop_mode="mid"), [flat_range()])
    assert signal["structure_stop"] == 97.0


def test_bars_without_volume_and_missing_bars_are_as_if_absent() -> None:
    tape = flat_range()
    marked = [np.insert(a, 40, a[40] * 2.0, axis=0) for a in tape[1:6]]
    marked[4][40] = 0.0
    absent = [np.insert(a, 40, np.nan, axis=0) for a in tape[1:6]]
    ts = np.arange(len(tape.ts) + 1) * NS_PER_DAY
    (expected,) = run(create("livermore", **ALL_ON | {"above_sma": 30, "max_atr_ratio": 0}), [tape])
    for arrays in (marked, absent):
        (signal,) = run(create("livermore"), [make_tape(ts, *arrays)])
        assert signal["details"].tobytes() == expected["details"].tobytes()


@pytest.mark.parametrize(("days", "n_signals"), [(60, 1), (61, 0)])
def test_a_gap_of_more_than_60_days_starts_anew(days: int, n_signals: int) -> None:
    tape = flat_range()
    ts = tape.ts.copy()
    ts[40:] += (days - 1) * NS_PER_DAY
    assert len(run(create("livermore"), [make_tape(ts, *tape[1:6])])) == n_signals


def test_exits_are_rules_of_the_lot() -> None:
    assert create("livermore").exits == ExitRules(low_bars=20)
    exits = create("livermore", exit_low=0, failed_breakout_bars=10, max_holding_bars=60).exits
    assert exits == ExitRules(failed_breakout_bars=10, max_holding_bars=60)


def test_memory_grows_with_what_is_switched_on() -> None:
    shapes = {}
    for name, options in (("off", {}), ("on", {"above_sma": 200, "max_atr_ratio": 0.8})):
        strategy = create("livermore", **options)
        strategy.start(universe(3))
        shapes[name] = [strategy.state()[k].shape for k in ("highs", "closes", "atrs")]
    assert shapes == {"off": [(32, 3), (1, 1), (1, 1)], "on": [(32, 3), (256, 3), (3, 2)]}
    assert create("livermore").warmup_bars == 40
    assert create("livermore", above_sma=200).warmup_bars == 199


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"consolidation_window": 1}, r"livermore\.consolidation_window must be >= 2, was 1"),
        ({"max_range_percentage": 0}, r"livermore\.max_range_percentage must be > 0, was 0\.0"),
        ({"stop_mode": "none"}, r"livermore\.stop_mode: expected one of lower, mid, was 'none'"),
    ],
)
def test_refuses_parameters_without_meaning(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("livermore", **parameters)


@pytest.mark.market
def test_fires_as_often_as_the_specification_measured() -> None:
    """Domain.md section 13: 1,022 of 707 names in 2013, 613 of 1,186 in 2020, 1,453 of 1,499 in 2023."""
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is not set")
    tape = market_tape(Path(folder))
    signals = run(create("livermore"), [tape])
    per_year, n_names = signals_per_year(tape, signals)
    print("Livermore signals per year:", per_year)
    for year, per_name in ((2013, 1022 / 707), (2020, 613 / 1186), (2023, 1453 / 1499)):
        assert 0.5 < per_year[year] / (per_name * n_names[year]) < 2.0
    assert 0.65 < np.median(signals["confidence"]) < 0.75
