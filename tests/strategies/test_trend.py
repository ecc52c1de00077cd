"""EMA trend: equals its definition, cannot see the future, does not notice how bars are cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.slab import ACTION_DTYPE, NS_PER_DAY, ActionKind, Tape
from strategies import base
from strategies.base import SignalBuffer
from strategies.registry import create
from strategies.trend import EmaTrend
from tests.strategies.random_tapes import (
    cut,
    keys,
    make_tape,
    perturbed_after,
    random_tape,
    run,
    same_state,
    universe,
)
from tests.strategies.reference_trend import trend_signals

N_ROWS = 300


def from_closes(closes: Any, *, spread: float = 0.0) -> Tape:
    close = np.asarray(closes, dtype=float).reshape(-1, 1)
    ts = np.arange(len(close)) * NS_PER_DAY
    return make_tape(ts, close, close + spread, close - spread, close, np.full(close.shape, 1000.0))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("options", [{}, {"pending_bars": 3}, {"atr_method": "simple"}])
def test_matches_the_definition(seed: int, options: dict[str, Any]) -> None:
    tape = random_tape(seed, N_ROWS)
    signals = run(create("trend", **options), [tape])
    expected = trend_signals(
        tape, pending_bars=options.get("pending_bars", 0), simple="atr_method" in options
    )
    assert keys(signals) == [row[:3] for row in expected]
    assert len(signals) > 100
    ours = np.column_stack([signals["confidence"], signals["stop_distance"], signals["details"][:, 4]])
    np.testing.assert_allclose(ours, np.array([row[3:] for row in expected]), rtol=1e-9)


def test_the_future_cannot_change_the_past() -> None:
    tape = random_tape(3, N_ROWS)
    signals = run(create("trend"), [tape])
    for row in (80, 200):
        other = run(create("trend"), [perturbed_after(tape, row)])
        ts = tape.ts[row]
        assert signals[signals["ts"] < ts].tobytes() == other[other["ts"] < ts].tobytes()


@pytest.mark.parametrize("n_rows", [1, 7, 64])
def test_slabs_do_not_matter(n_rows: int) -> None:
    tape = random_tape(4, N_ROWS)
    whole, parts = create("trend"), create("trend")
    signals = run(whole, [tape])
    assert run(parts, cut(tape, list(range(0, N_ROWS, n_rows)))).tobytes() == signals.tobytes()
    assert same_state(whole.state(), parts.state())
    assert whole.tally() == parts.tally()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, N_ROWS - 1), max_size=6), st.integers(0, 3))
def test_random_cuts_do_not_matter(bounds: list[int], seed: int) -> None:
    tape = random_tape(seed, N_ROWS, 8)
    assert run(create("trend"), cut(tape, bounds)).tobytes() == run(create("trend"), [tape]).tobytes()


@pytest.mark.parametrize("row", [30, 150])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(row: int) -> None:
    tape = random_tape(5, N_ROWS)
    before, after = cut(tape, [row])
    first, second = create("trend"), create("trend")
    head = run(first, [before])
    run(second, [random_tape(6, 20)])
    second.restore(first.state())
    tail = run(second, [after], start=False)
    assert np.concatenate([head, tail]).tobytes() == run(create("trend"), [tape]).tobytes()


def test_a_split_changes_no_signal() -> None:
    """Rescaling at the ex-date equals fully adjusted history, bit for bit for a ratio of 2."""
    adjusted = random_tape(7, N_ROWS, 10, actions=False)
    raw = [a.copy() for a in adjusted[1:6]]
    for prices in raw[:4]:
        prices[:150] *= 2.0
    raw[4][:150] /= 2.0
    splits = np.array([(150, s, ActionKind.SPLIT, 2.0) for s in range(10)], ACTION_DTYPE)
    tape = Tape._make([adjusted.ts, *raw, adjusted.status, splits, adjusted.benchmark])
    one, other = run(create("trend"), [adjusted]), run(create("trend"), [tape])
    later = adjusted.ts[150]
    assert one[one["ts"] >= later].tobytes() == other[other["ts"] >= later].tobytes()
    assert keys(one) == keys(other)


def test_a_full_buffer_stops_before_the_row_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "ROWS_MAX", 0)  # The buffer stays as small as it is made here
    tape = random_tape(8, N_ROWS)
    expected = run(create("trend"), [tape])
    assert len(expected) > 60
    strategy = EmaTrend()
    strategy.start(universe(30))
    assert strategy._out is not None
    strategy._out = SignalBuffer(strategy._out.rows[:30].copy(), strategy._out.count)
    assert run(strategy, [tape], start=False).tobytes() == expected.tobytes()
    assert len(strategy._out.rows) < len(expected)


def test_signals_of_a_row_are_in_order_of_symbol_and_completely_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "ROWS_MAX", 0)  # The signals go where this test wrote
    strategy = EmaTrend()
    tape = random_tape(9, N_ROWS)
    strategy.start(universe(30))
    assert strategy._out is not None
    strategy._out.rows.view(np.uint8)[:] = 99
    signals = strategy.on_bars(tape, 3)
    assert np.all(np.diff(signals["ts"] * 1000 + signals["symbol"]) > 0)
    assert set(signals["strategy"]) == {3}
    for name in ("structure_stop", "limit", "trigger", "trail", "open_max", "pivot", "target"):
        assert np.isnan(signals[name]).all()
    assert np.isnan(signals["details"][:, 7:]).all()
    assert np.isnan(signals["stop_distance"]).tolist() == (signals["side"] == -1).tolist()


def test_a_step_up_buys_on_the_step() -> None:
    """Flat at 10, then 11: fast = 10 + 2/11, slow = 10 + 2/31, ATR = 1/14 x 1."""
    signals = run(create("trend"), [from_closes([10.0] * 70 + [11.0])])
    assert keys(signals) == [(70 * NS_PER_DAY, 0, 1)]
    fast, slow, fast_prev, slow_prev, atr, gap, er = signals["details"][0][:7]
    assert (fast, slow, fast_prev, slow_prev) == pytest.approx((10 + 2 / 11, 10 + 2 / 31, 10, 10))
    assert (atr, er) == pytest.approx((1 / 14, 1.0))
    assert gap == pytest.approx((2 / 11 - 2 / 31) * 14)
    assert signals["confidence"][0] == 1.0
    assert signals["stop_distance"][0] == pytest.approx(2 / 14)


def test_no_signal_before_bar_60() -> None:
    assert len(run(create("trend"), [from_closes([10.0] * 59 + [11.0, 11.5, 12.0])])) == 0
    assert len(run(create("trend"), [from_closes([10.0] * 60 + [11.0])])) == 1


def test_equal_averages_are_not_yet_a_cross() -> None:
    signals = run(create("trend"), [from_closes([10.0] * 100)])
    assert len(signals) == 0


def test_a_bar_without_volume_moves_nothing() -> None:
    tape = random_tape(10, N_ROWS, 3, gaps=False, actions=False)
    row = 150
    with_mark = [np.insert(a, row, a[row - 1] * 1.5, axis=0) for a in tape[1:6]]
    with_mark[4][row] = 0.0
    ts = np.insert(tape.ts, row, tape.ts[row - 1] + 1)
    assert keys(run(create("trend"), [make_tape(ts, *with_mark)])) == keys(run(create("trend"), [tape]))


@pytest.mark.parametrize(("days", "reset"), [(60, False), (61, True)])
def test_a_gap_of_more_than_60_days_starts_anew(days: int, reset: bool) -> None:
    closes = np.array([10.0] * 70 + [11.0]).reshape(-1, 1)
    ts = np.arange(71) * NS_PER_DAY
    ts[70] = ts[69] + days * NS_PER_DAY
    tape = make_tape(ts, closes, closes, closes, closes, np.full(closes.shape, 100.0))
    assert len(run(create("trend"), [tape])) == (0 if reset else 1)


def test_every_traded_bar_is_in_the_tally() -> None:
    tape = random_tape(11, N_ROWS)
    strategy = create("trend")
    signals = run(strategy, [tape])
    tally = strategy.tally()
    assert sum(tally.values()) == (tape.status >= 2).sum()
    assert tally["signal"] == len(signals)


def test_the_original_confidence_hardly_ever_reaches_a_half() -> None:
    signals = run(create("trend", confidence_model="original"), [random_tape(12, N_ROWS)])
    fast, slow = signals["details"][:, 0], signals["details"][:, 1]
    np.testing.assert_allclose(signals["confidence"], np.clip(5 * np.abs(fast - slow) / slow, 0, 1))
    assert (signals["confidence"] < 0.5).all()


def test_trailing_stop_is_an_exit_rule() -> None:
    assert create("trend").exits.trail_atr_multiple == 0.0
    exits = create("trend", trail_atr_multiple="3", atr_period=10).exits
    assert (exits.trail_atr_multiple, exits.trail_atr_bars) == (3.0, 10)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fast_span": 30}, r"trend\.fast_span must be >= 1 and < slow_span \(30\), was 30"),
        ({"atr_period": 0}, r"trend\.atr_period must be >= 1, was 0"),
        ({"atr_multiplier": 0}, r"trend\.atr_multiplier must be > 0, was 0\.0"),
        ({"pending_bars": -1}, r"trend\.pending_bars must be >= 0, was -1"),
    ],
)
def test_refuses_parameters_without_meaning(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("trend", **parameters)


def test_signal_counts_on_real_data_are_those_of_the_specification() -> None:
    """domain.md section 13: 2,693 / 2,932 / 5,188 / 6,584 BUYs among 579 / 707 / 1,186 / 1,499 names."""
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is unset")
    from tests.strategies.market_tape import market_tape

    tape = market_tape(Path(folder))
    signals = run(create("trend"), [tape])
    buys = signals[signals["side"] == 1]
    years = buys["ts"].astype("M8[ns]").astype("M8[Y]").astype(int) + 1970
    per_name_year = {2013: 2932 / 707, 2020: 5188 / 1186, 2023: 6584 / 1499}
    all_years = tape.ts.astype("M8[ns]").astype("M8[Y]").astype(int) + 1970
    for year, expected in per_name_year.items():
        rows = all_years == year
        names = (tape.status[rows] >= 2).sum() / rows.sum()
        assert (years == year).sum() / names == pytest.approx(expected, rel=0.25)
