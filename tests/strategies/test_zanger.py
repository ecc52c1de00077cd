"""Cup with handle: equals its definition, step by step and option by option; does not notice slabs."""

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
from strategies.registry import create
from strategies.zanger import CupWithHandle
from tests.strategies.bases import (
    before_splits,
    one_symbol,
    path,
    perturbed_after,
    random_bases,
    signals_per_year,
)
from tests.strategies.market_tape import market_tape
from tests.strategies.random_tapes import cut, keys, make_tape, run, same_state, universe
from tests.strategies.reference_zanger import cup_signals

# Bounds so wide that random walks are full of cups, and that all of the geometry is exercised.
LOOSE: dict[str, Any] = {
    "cup_lookback": 70, "cup_min_bars": 12, "cup_depth_min": 0.06, "cup_depth_max": 0.5, "handle_min": 3,
    "recovery_threshold": 0.6, "recovery_max": 1.5, "handle_pullback_min": 0.02, "handle_pullback_max": 0.25,
    "handle_upper_frac": 0.3, "breakout_threshold": 0.0, "volume_multiplier": 0.9,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hl": {"price_basis": "hl"},
    "composite": {"confidence": "composite"},
    "roundness": {"min_roundness": 0.33},
    "dry_up": {"max_dryup": 1.0},
    "prior_rise": {"min_prior_rise": 0.1},
    "prior_rise_hl": {"min_prior_rise": 0.1, "price_basis": "hl"},
    "extension": {"max_extension": 0.10},
    "pay_up": {"max_pay_up": 0.05},
    "slope": {"handle_slope_nonpos": True},
    "sma": {"above_sma": 100},
    "bottom": {"bottom_position_min": 0.3, "bottom_position_max": 0.7},
    "mid": {"handle_ref": "mid", "handle_upper_frac": 0.7},
    "cooldown": {"cooldown_bars": 8},
}
N_ROWS = 300


def assert_equal_to_the_definition(tape: Tape, options: dict[str, Any], n_least: int) -> None:
    strategy = create("zanger", **options)
    signals = run(strategy, [tape])
    expected, tally = cup_signals(tape, **options)
    assert [(k[0], k[1]) for k in keys(signals)] == [row[:2] for row in expected]
    assert len(signals) >= n_least
    ours = np.column_stack(
        [signals[n] for n in ("confidence", "structure_stop", "open_max")] + [signals["details"]]
    )
    np.testing.assert_allclose(ours, np.array([row[2:] for row in expected]).reshape(-1, 13), rtol=1e-9)
    assert Counter({k: n for k, n in strategy.tally().items() if n}) == tally


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_matches_the_definition(options: dict[str, Any]) -> None:
    assert_equal_to_the_definition(random_bases(1, N_ROWS), LOOSE | options, 4)


@pytest.mark.parametrize("seed", [2, 3])
def test_matches_the_definition_with_defaults(seed: int) -> None:
    assert_equal_to_the_definition(random_bases(seed, 420), {}, 1)


def test_the_future_cannot_change_the_past() -> None:
    tape = random_bases(3, N_ROWS)
    signals = run(create("zanger", **LOOSE), [tape])
    for row in (120, 220):
        other = run(create("zanger", **LOOSE), [perturbed_after(tape, row)])
        ts = tape.ts[row]
        past = signals[signals["ts"] < ts]
        assert len(past)
        assert past.tobytes() == other[other["ts"] < ts].tobytes()


@pytest.mark.parametrize("n_rows", [1, 7, 64])
@pytest.mark.parametrize(
    "options", [{}, {"price_basis": "hl", "confidence": "composite"}], ids=["close", "hl"]
)
def test_slabs_do_not_matter(n_rows: int, options: dict[str, Any]) -> None:
    tape = random_bases(4, N_ROWS)
    whole, parts = create("zanger", **LOOSE, **options), create("zanger", **LOOSE, **options)
    signals = run(whole, [tape])
    assert run(parts, cut(tape, list(range(0, N_ROWS, n_rows)))).tobytes() == signals.tobytes()
    assert same_state(whole.state(), parts.state())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, N_ROWS - 1), max_size=6), st.integers(0, 3))
def test_random_cuts_do_not_matter(bounds: list[int], seed: int) -> None:
    tape = random_bases(seed, N_ROWS, 6)
    assert (
        run(create("zanger", **LOOSE), cut(tape, bounds)).tobytes()
        == run(create("zanger", **LOOSE), [tape]).tobytes()
    )


@pytest.mark.parametrize("row", [30, 170])
@pytest.mark.parametrize("options", [{}, {"price_basis": "hl", "max_dryup": 1.5}], ids=["close", "hl"])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(row: int, options: dict[str, Any]) -> None:
    tape = random_bases(5, N_ROWS)
    before, after = cut(tape, [row])
    first, second = create("zanger", **LOOSE, **options), create("zanger", **LOOSE, **options)
    head = run(first, [before])
    run(second, [random_bases(6, 40)])
    second.restore(first.state())
    tail = run(second, [after], start=False)
    whole = run(create("zanger", **LOOSE, **options), [tape])
    assert len(tail)
    assert np.concatenate([head, tail]).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "options", [{}, {"price_basis": "hl", "confidence": "composite"}], ids=["close", "hl"]
)
def test_a_split_changes_no_signal(options: dict[str, Any]) -> None:
    """Rescaling at the ex-date equals fully adjusted history, bit for bit for a ratio of 2."""
    adjusted = random_bases(7, N_ROWS, dirty=False)
    one = run(create("zanger", **LOOSE, **options), [adjusted])
    other = run(create("zanger", **LOOSE, **options), [before_splits(adjusted, 200, 2.0)])
    later = adjusted.ts[200]
    assert len(one[one["ts"] >= later])
    assert one[one["ts"] >= later].tobytes() == other[other["ts"] >= later].tobytes()
    assert keys(one) == keys(other)


def test_a_full_buffer_stops_before_the_row_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "ROWS_MAX", 0)  # The buffer stays as small as it is made here
    tape = random_bases(8, N_ROWS)
    expected = run(create("zanger", **LOOSE), [tape])
    assert len(expected) > 5
    strategy = CupWithHandle(**LOOSE)
    strategy.start(universe(12))
    assert strategy._out is not None
    strategy._out = SignalBuffer(strategy._out.rows[:12].copy(), strategy._out.count)
    assert run(strategy, [tape], start=False).tobytes() == expected.tobytes()
    assert len(strategy._out.rows) < len(expected)


def test_signals_of_a_row_are_in_order_of_symbol_and_completely_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "ROWS_MAX", 0)  # The signals go where this test wrote
    strategy = CupWithHandle(**LOOSE)
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
    assert (signals["pivot"] == signals["details"][:, 0]).all()


def test_every_traded_bar_is_in_the_tally() -> None:
    tape = random_bases(11, N_ROWS)
    strategy = create("zanger", **LOOSE)
    signals = run(strategy, [tape])
    assert sum(strategy.tally().values()) == (tape.status >= 2).sum()
    assert strategy.tally()["signal"] == len(signals)


# A cup by hand: left lip 100, bottom 78, right lip 98, a handle down to 90.5, then the breakout at 101.
# Each test moves one of these to either side of one threshold.


def cup(
    *, lead: int = 80, start: float = 70.0, left: float = 100.0, bottom: float = 78.0, lip: float = 98.0,
    fall: int = 25, rise: int = 25, handle: int = 9, first: float = 92.5, low: float = 90.5,
    breakout: float = 101.0, volume: float = 1500.0, handle_volume: float = 1000.0, spread: float = 0.0,
    high_before: float | None = None, parabola: bool = False,
) -> Tape:  # fmt: skip
    i_left, i_lip = lead, lead + fall + rise
    closes = path(
        (0, high_before or start), (lead - 60, start), (i_left, left), (i_left + fall, bottom), (i_lip, lip),
        (i_lip + 3, first), (i_lip + handle, low), (i_lip + handle + 1, breakout),
    )  # fmt: skip
    if parabola:
        x = np.arange(1, fall)
        closes[i_left + 1 : i_left + fall] = bottom + (left - bottom) * ((fall - x) / fall) ** 2
        x = np.arange(1, rise)
        closes[i_left + fall + 1 : i_lip] = bottom + (lip - bottom) * (x / rise) ** 2
    volumes = np.full(len(closes), 1000.0)
    volumes[i_lip + 1 : -1] = handle_volume
    volumes[-1] = volume
    return one_symbol(closes, volumes, spread=spread)


def outcome(tape: Tape, **options: Any) -> str:
    """Return the condition at which the last bar ended."""
    before, last = cut(tape, [len(tape.ts) - 1])
    strategy = create("zanger", **options)
    run(strategy, [before])
    earlier = strategy.tally()
    strategy.on_bars(last, 0)
    (condition,) = [name for name, n in strategy.tally().items() if n != earlier[name]]
    return condition


def test_the_cup_made_by_hand() -> None:
    tape = cup()
    (signal,) = run(create("zanger"), [tape])
    assert (signal["ts"], signal["price_ref"], signal["pivot"]) == (tape.ts[-1], 101.0, 98.0)
    assert signal["structure_stop"] == 90.5 * 0.995
    assert signal["confidence"] == pytest.approx(0.60 + 20 / 22 - 0.85)
    names = dict(zip(CupWithHandle.measurements, signal["details"], strict=True))
    assert names == pytest.approx(
        {
            "pivot": 98, "handle_low": 90.5, "left_rim": 100, "bottom": 78,
            "depth": 0.22, "recovery": 20 / 22,
            "cup_bars": 50, "handle_bars": 9, "volume_ratio": 1.5, "roundness": names["roundness"],
        }
    )  # fmt: skip
    assert 0.30 < names["roundness"] < 0.40  # A V


SHORT = {"left": 100.5, "lip": 100.0, "rise": 17, "first": 95.0, "low": 92.0, "breakout": 103.0}
SHALLOW = {"left": 101.0, "lip": 101.0, "first": 97.0, "low": 95.5, "breakout": 104.0}
MIDDLE = {"bottom_position_min": 0.2, "bottom_position_max": 0.8}


@pytest.mark.parametrize(
    ("good", "bad", "condition"),
    [
        ({"volume": 1500.0}, {"volume": 1499.0}, "volume"),
        ({"handle": 5}, {"handle": 4}, "handle_length"),
        ({"handle": 15}, {"handle": 16}, "left_lip"),  # Without the true lip, the next close is none
        ({"breakout": 98 * 1.02}, {"breakout": 98 * 1.02 - 0.01}, "breakout"),
        ({"low": 93.0, "first": 95.0}, {"low": 93.2, "first": 95.0}, "handle_pullback"),
        ({"low": 83.4, "bottom": 66.0}, {"low": 83.2, "bottom": 66.0}, "handle_pullback"),
        ({"left": 94.2}, {"left": 93.8, "start": 60.0}, "left_lip"),
        (SHORT | {"fall": 18}, SHORT | {"fall": 17}, "left_lip"),
        ({"start": 99.0}, {"start": 101.0}, "left_lip"),  # Falling since the edge: no turning point
        (SHALLOW | {"bottom": 88.8}, SHALLOW | {"bottom": 88.9}, "left_lip"),
        ({"bottom": 65.01}, {"bottom": 64.9}, "depth"),
        ({"lip": 96.8}, {"lip": 96.6}, "recovery"),
        ({"lip": 105.4, "first": 99.0, "low": 97.0, "breakout": 110.0},
         {"lip": 105.6, "first": 99.0, "low": 97.0, "breakout": 110.0}, "left_lip"),
        ({"low": 89.0}, {"low": 88.9}, "handle_position"),
    ],
    ids=["volume", "short_handle", "long_handle", "breakout", "shallow_handle", "deep_handle", "no_rim",
         "short_cup", "edge", "shallow_cup", "deep_cup", "low_lip", "high_lip", "low_handle"],
)  # fmt: skip
def test_each_step_on_both_sides_of_its_threshold(
    good: dict[str, Any], bad: dict[str, Any], condition: str
) -> None:
    assert outcome(cup(**good)) == "signal"
    assert outcome(cup(**bad)) == condition


@pytest.mark.parametrize(
    ("options", "good", "bad", "condition"),
    [
        ({"min_roundness": 0.45}, {"parabola": True}, {}, "roundness"),
        ({"max_dryup": 1.0}, {"volume": 3e3}, {"volume": 3e3, "handle_volume": 1010.0}, "dry_up"),
        ({"min_prior_rise": 0.3}, {"lead": 140, "start": 76.0}, {"lead": 140, "start": 77.0}, "prior_rise"),
        ({"max_extension": 0.05}, {"breakout": 102.8}, {"breakout": 103.0}, "extension"),
        ({"handle_slope_nonpos": True}, {}, {"first": 90.5, "low": 96.0}, "handle_slope"),
        ({"above_sma": 200}, {"lead": 180}, {"lead": 180, "high_before": 290.0}, "above_sma"),
        (MIDDLE, {}, {"fall": 5, "rise": 45}, "bottom_position"),
        (MIDDLE, {}, {"fall": 45, "rise": 5}, "bottom_position"),
    ],
    ids=["roundness", "dry_up", "prior_rise", "extension", "wedge", "sma", "early_bottom",
         "late_bottom"],
)  # fmt: skip
def test_each_filter_on_both_sides_and_off(
    options: dict[str, Any], good: dict[str, Any], bad: dict[str, Any], condition: str
) -> None:
    assert outcome(cup(**good), **options) == "signal"
    assert outcome(cup(**bad), **options) == condition
    assert outcome(cup(**bad)) == "signal"


def test_a_flat_handle_does_not_slope_up() -> None:
    closes = cup().close[:, 0].copy()
    closes[-10:-1] = 91.1  # Not a sum of powers of two
    volumes = np.append(np.full(len(closes) - 1, 1000.0), 1500.0)
    assert outcome(one_symbol(closes, volumes), handle_slope_nonpos=True) == "signal"


def test_the_left_lip_needs_a_lower_bar_before_it_within_the_lookback() -> None:
    assert outcome(cup(fall=55, rise=54)) == "signal"  # 119 bars before the breakout
    assert outcome(cup(fall=55, rise=55)) == "left_lip"  # 120: the oldest bar looked at


def test_of_equal_bottoms_the_latest_is_the_bottom() -> None:
    closes = cup().close[:, 0].copy()
    closes[[90, 118]] = closes[105] = 78.0
    volumes = np.append(np.full(len(closes) - 1, 1000.0), 1500.0)
    tape = one_symbol(closes, volumes)
    assert outcome(tape, bottom_position_min=0.75, bottom_position_max=0.77) == "signal"  # 38 of 50


def test_the_average_is_of_the_last_200_closes_the_newest_included() -> None:
    seen = set()
    for high_before in np.arange(200.0, 290.0, 2.0):
        tape = cup(lead=180, high_before=float(high_before))
        seen.add(outcome(tape, above_sma=200))
        assert outcome(tape, above_sma=200) == (
            "signal" if tape.close[-200:, 0].mean() < 101.0 else "above_sma"
        )
    assert seen == {"signal", "above_sma"}


def test_the_looser_rule_for_the_handle_takes_its_middle() -> None:
    assert outcome(cup(low=88.0)) == "handle_position"
    assert outcome(cup(low=88.0), handle_ref="mid") == "signal"


def test_hl_takes_lips_from_highs_and_lows_from_lows() -> None:
    tape = cup(spread=1.0)
    (by_close,), (by_hl,) = run(create("zanger"), [tape]), run(create("zanger", price_basis="hl"), [tape])
    assert by_close["details"][:4].tolist() == [98, 90.5, 100, 78]
    assert by_hl["details"][:4].tolist() == [99, 89.5, 101, 77]
    # 101.1 is 2 % above the high of the lip, 100.5 only above its close
    assert outcome(cup(spread=1.0, breakout=100.5)) == "signal"
    assert outcome(cup(spread=1.0, breakout=100.5), price_basis="hl") == "breakout"


def test_pay_up_limits_the_open() -> None:
    (signal,) = run(create("zanger", max_pay_up=0.05), [cup()])
    assert signal["open_max"] == 98 * 1.05


def test_cooldown_counts_bars_since_the_last_buy() -> None:
    tape = random_bases(1, N_ROWS)
    signals = run(create("zanger", **LOOSE, cooldown_bars=8), [tape])
    for s in range(12):
        bars = np.cumsum(tape.status[:, s] >= 2)
        mine = signals[signals["symbol"] == s]["ts"]
        assert (np.diff(bars[np.searchsorted(tape.ts, mine)]) > 8).all()


def test_bars_without_volume_and_missing_bars_are_as_if_absent() -> None:
    tape = cup()
    rows = [a.copy() for a in tape[1:6]]
    marked = [np.insert(a, 100, a[100] * 2.0, axis=0) for a in rows]
    marked[4][100] = 0.0
    absent = [np.insert(a, 100, np.nan, axis=0) for a in rows]
    ts = np.arange(len(tape.ts) + 1) * NS_PER_DAY
    (expected,) = run(create("zanger"), [tape])
    for arrays in (marked, absent):
        (signal,) = run(create("zanger"), [make_tape(ts, *arrays)])
        assert signal["details"].tobytes() == expected["details"].tobytes()


@pytest.mark.parametrize(("days", "n_signals"), [(60, 1), (61, 0)])
def test_a_gap_of_more_than_60_days_starts_anew(days: int, n_signals: int) -> None:
    tape = cup()
    ts = tape.ts.copy()
    ts[100:] += (days - 1) * NS_PER_DAY
    assert len(run(create("zanger"), [make_tape(ts, *tape[1:6])])) == n_signals


def test_no_signal_before_120_bars() -> None:
    tape = cup(lead=61)  # The breakout is bar 121
    n = len(tape.ts)
    assert outcome(make_tape(tape.ts[1:], *(a[1:] for a in tape[1:6]))) == "signal"
    assert outcome(make_tape(tape.ts[2:], *(a[2:] for a in tape[1:6]))) == "warmup"
    assert n == 122


def test_exits_are_rules_of_the_lot() -> None:
    assert create("zanger").exits == ExitRules(sma_bars=50)
    exits = create(
        "zanger", exit_sma=0, failed_breakout_bars=10, scale_out_gain=0.2, take_profit_gain=0.25,
        quick_gain=0.2, max_holding_bars=60,
    ).exits  # fmt: skip
    assert exits == ExitRules(
        failed_breakout_bars=10,
        scale_out_gain=0.2,
        take_profit_gain=0.25,
        quick_gain=0.2,
        max_holding_bars=60,
    )


def test_warmup_and_memory_grow_with_what_is_switched_on() -> None:
    assert create("zanger").warmup_bars == 120
    assert create("zanger", min_prior_rise=0.3).warmup_bars == 180
    assert create("zanger", above_sma=200).warmup_bars == 199
    shapes = {}
    for name, options in (("off", {}), ("on", {"price_basis": "hl", "max_dryup": 1.0, "above_sma": 200})):
        strategy = create("zanger", **options)
        strategy.start(universe(3))
        shapes[name] = [strategy.state()[k].shape for k in ("closes", "highs", "lows", "volumes")]
    assert shapes["off"] == [(128, 3), (1, 1), (1, 1), (32, 3)]
    assert shapes["on"] == [(256, 3), (256, 3), (256, 3), (128, 3)]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"handle_min": 0}, r"zanger\.handle_min must be >= 1, was 0"),
        ({"handle_min": 16}, r"zanger\.handle_min must be >= 0 and <= handle_max \(15\), was 16"),
        ({"cup_lookback": 51}, r"zanger\.cup_lookback must be >= .* = 52, was 51"),
        ({"stop_buffer": 1}, r"zanger\.stop_buffer must be in \[0, 1\), was 1\.0"),
        ({"recovery_max": 0}, r"zanger\.recovery_max must be > 0, was 0\.0"),
        ({"price_basis": "open"}, r"zanger\.price_basis: expected one of close, hl, was 'open'"),
    ],
)
def test_refuses_parameters_without_meaning(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("zanger", **parameters)


@pytest.mark.market
def test_fires_as_often_as_the_specification_measured() -> None:
    """Domain.md section 13, 31 signals of 707 names in 2013, 125 of 1,186 in 2020, 129 of 1,499 in 2023."""
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is not set")
    tape = market_tape(Path(folder))
    signals = run(create("zanger"), [tape])
    per_year, n_names = signals_per_year(tape, signals)
    print("cup-with-handle signals per year:", per_year)
    for year, per_name in ((2013, 31 / 707), (2020, 125 / 1186), (2023, 129 / 1499)):
        assert 0.5 < per_year[year] / (per_name * n_names[year]) < 2.0
    assert 0.82 < np.median(signals["confidence"]) < 0.94
