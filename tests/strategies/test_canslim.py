"""CAN SLIM: equals its definition, cannot see the future, does not notice how bars are cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.facts import FACT_DTYPE, NO_FACTS, FactItem
from engine.slab import ACTION_DTYPE, NS_PER_DAY, ActionKind, Tape
from strategies.canslim import CanSlim
from strategies.canslim_factors import MarketMode
from strategies.fundamentals import STEP_DTYPE, fundamental_steps
from tests.strategies.random_tapes import (
    cut,
    keys,
    make_tape,
    perturbed_after,
    random_tape,
    run,
    same_state,
)
from tests.strategies.reference_canslim import Rules, canslim_signals

N_ROWS = 420


def made(facts: Any = NO_FACTS, **parameters: Any) -> CanSlim:
    strategy = CanSlim(**parameters)
    strategy.use_facts(facts)
    return strategy


def random_facts(tape: Tape, seed: int) -> np.ndarray:
    """Return quarterly and annual reports with late filings, amendments, losses and companies without any."""
    rng = np.random.default_rng(seed)
    rows = []
    start, stop = int(tape.ts[0]) - 1500 * NS_PER_DAY, int(tape.ts[-1])
    for s in range(0, tape.close.shape[1], 2):
        stops = stop - int(rng.integers(0, 500)) * NS_PER_DAY
        for q, end in enumerate(range(start, stops, 91 * NS_PER_DAY)):
            filed = end + int(rng.integers(20, 60)) * NS_PER_DAY
            rows.append((filed, end, s, FactItem.EPS, round(rng.normal(0.5, 0.5), 2)))
            rows.append((filed, end, s, FactItem.INSTITUTIONAL_HOLDERS, float(rng.integers(50, 60))))
            if rng.random() < 0.2:
                rows.append((filed + 40 * NS_PER_DAY, end, s, FactItem.EPS, round(rng.normal(0.5, 0.5), 2)))
            if q % 4 == 0:
                rows.append((filed, end, s, FactItem.ANNUAL_EPS, round(rng.normal(1 + q / 4, 1), 2)))
                rows.append((filed, end, s, FactItem.ROE, rng.normal(0.17, 0.05)))
    for s in (1, 3, 5):
        day = int(tape.ts[int(rng.integers(len(tape.ts)))])
        rows.append((day, -1, s, FactItem.EARNINGS_GROWTH, rng.normal(0.25, 0.2)))
    return np.array(sorted(rows), FACT_DTYPE)


@pytest.mark.parametrize(
    ("with_facts", "options"),
    [
        (False, {}),
        (True, {}),
        (True, {"w_a": 0.15, "w_i": 0.1, "w_c": 0.2, "earnings_ramp": True}),
        (False, {"missing_policy": "price_proxy", "rs_gate": 0.5}),
        (True, {"missing_policy": "zero", "require_up_day": False, "min_score": 0.7}),
        (True, {"exit_rs_below": 0.5}),
        (True, {"min_names": 31}),
    ],
)
def test_matches_the_definition(with_facts: bool, options: dict[str, Any]) -> None:
    tape = random_tape(21, N_ROWS)
    facts = random_facts(tape, 22) if with_facts else NO_FACTS
    signals = run(made(facts, **options), [tape])
    named = {k: v for k, v in options.items() if k not in ("earnings_ramp", "missing_policy")}
    rules = Rules(
        **named, ramp=options.get("earnings_ramp", False), policy=options.get("missing_policy", "renormalise")
    )
    expected = canslim_signals(tape, facts, rules)
    assert keys(signals) == [row[:3] for row in expected]
    assert len(signals) > 5
    ours = np.column_stack([signals["confidence"], signals["details"][:, [1, 2, 3, 4, 5, 7, 8]]])
    np.testing.assert_allclose(ours, np.array([row[3:] for row in expected], float), rtol=1e-9, atol=1e-12)


def test_the_future_cannot_change_the_past() -> None:
    tape = random_tape(23, N_ROWS)
    facts = random_facts(tape, 24)
    signals = run(made(facts), [tape])
    for row in (300, 360):
        known = facts[facts["available_ns"] < tape.ts[row]]
        other = run(made(known), [perturbed_after(tape, row)])
        past = signals[signals["ts"] < tape.ts[row]]
        assert len(past) > 0
        assert past.tobytes() == other[other["ts"] < tape.ts[row]].tobytes()


@pytest.mark.parametrize("n_rows", [1, 7, 64])
def test_slabs_do_not_matter(n_rows: int) -> None:
    tape = random_tape(25, N_ROWS)
    facts = random_facts(tape, 26)
    whole, parts = made(facts, exit_rs_below=0.5), made(facts, exit_rs_below=0.5)
    signals = run(whole, [tape])
    assert run(parts, cut(tape, list(range(0, N_ROWS, n_rows)))).tobytes() == signals.tobytes()
    assert same_state(whole.state(), parts.state())


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 319), max_size=6), st.integers(0, 3))
def test_random_cuts_do_not_matter(bounds: list[int], seed: int) -> None:
    tape = random_tape(seed, 320, 22)
    assert run(made(), cut(tape, bounds)).tobytes() == run(made(), [tape]).tobytes()


@pytest.mark.parametrize("row", [100, 330])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(row: int) -> None:
    tape = random_tape(27, N_ROWS)
    facts = random_facts(tape, 28)
    before, after = cut(tape, [row])
    first, second = made(facts), made(facts)
    head = run(first, [before])
    run(second, [random_tape(29, 20)])
    second.restore(first.state())
    assert same_state(first.state(), second.state())
    tail = run(second, [after], start=False)
    whole = made(facts)
    assert np.concatenate([head, tail]).tobytes() == run(whole, [tape]).tobytes()
    assert same_state(whole.state(), second.state())


def test_new_facts_on_a_running_strategy_count_from_when_they_are_known() -> None:
    tape = random_tape(30, N_ROWS)
    facts = random_facts(tape, 31)
    before, after = cut(tape, [330])
    live = made(facts[facts["available_ns"] <= before.ts[-1]])
    head = run(live, [before])
    live.use_facts(facts)
    tail = run(live, [after], start=False)
    assert np.concatenate([head, tail]).tobytes() == run(made(facts), [tape]).tobytes()


def test_a_split_changes_no_signal() -> None:
    """Rescaling at the ex-date equals fully adjusted history, bit for bit for a ratio of 2."""
    adjusted = random_tape(32, N_ROWS, 25, actions=False)
    raw = [a.copy() for a in adjusted[1:6]]
    for prices in raw[:4]:
        prices[:300] *= 2.0
    raw[4][:300] /= 2.0
    splits = np.array([(300, s, ActionKind.SPLIT, 2.0) for s in range(25)], ACTION_DTYPE)
    tape = Tape._make([adjusted.ts, *raw, adjusted.status, splits, adjusted.benchmark])
    one, other = run(made(), [adjusted]), run(made(), [tape])
    assert keys(one) == keys(other)
    later = adjusted.ts[300]
    assert one[one["ts"] >= later].tobytes() == other[other["ts"] >= later].tobytes()
    assert (one["ts"] >= later).sum() > 10


def rising(n: int, volume: float = 1e6) -> tuple[np.ndarray, np.ndarray]:
    close = 10.0 * 1.002 ** np.arange(n)
    return close.reshape(-1, 1), np.full((n, 1), volume)


def single(close: np.ndarray, volume: np.ndarray, days: Any = None) -> Tape:
    ts = (np.arange(len(close)) if days is None else days) * NS_PER_DAY
    return make_tape(ts, close, close, close, close, volume)


def test_a_single_symbol_is_placed_in_its_own_range() -> None:
    """At a new high with demand and no earnings: (1 + 1 + 1) / 3 x (1 - 0.2 x 0.25) = 0.95."""
    close, volume = rising(300)
    volume[280] *= 1.25
    signals = run(made(), [single(close, volume)])
    assert keys(signals) == [(280 * NS_PER_DAY, 0, 1)]
    details = dict(zip(CanSlim.measurements, signals["details"][0], strict=True))
    assert details["score"] == signals["confidence"][0] == pytest.approx(0.95)
    assert (details["l"], details["n"], details["s"], details["rs_mode"]) == (1, 1, 1, 1)
    assert details["high_252"] == close[280, 0]
    assert details["volume_ratio"] == pytest.approx(1.25)
    assert np.isnan([details["c"], details["rs_percentile"], details["growth"]]).all()


@pytest.mark.parametrize(("bar", "n_signals"), [(251, 0), (252, 1)])
def test_no_signal_before_252_prior_bars(bar: int, n_signals: int) -> None:
    close, volume = rising(bar + 1)
    volume[bar] *= 2
    assert len(run(made(), [single(close, volume)])) == n_signals


@pytest.mark.parametrize(("later", "n_signals"), [(20, 1), (21, 2)])
def test_the_next_buy_is_more_than_20_bars_after_the_last(later: int, n_signals: int) -> None:
    close, volume = rising(320)
    volume[[260, 260 + later]] *= 3
    assert len(run(made(), [single(close, volume)])) == n_signals


def test_no_buy_before_the_score_has_been_below_the_minimum_again() -> None:
    close, volume = rising(330)
    volume[:, 0] = 1e6 * 1.03 ** np.arange(330)  # Every bar is 20 % above its mean: the score stays at 0.95
    assert len(run(made(), [single(close, volume)])) == 1


def test_a_minimum_reached_exactly_is_enough() -> None:
    """Zero policy, no earnings: 0.75 is the maximum, and enough."""
    close, volume = rising(300)
    volume[280] *= 2
    assert len(run(made(missing_policy="zero"), [single(close, volume)])) == 1


@pytest.mark.parametrize(("days", "n_signals"), [(60, 1), (61, 0)])
def test_a_gap_of_more_than_60_days_starts_anew(days: int, n_signals: int) -> None:
    close, volume = rising(300)
    volume[280] *= 2
    calendar = np.arange(300)
    calendar[270:] += days - 1
    assert len(run(made(), [single(close, volume, calendar)])) == n_signals


def test_every_traded_bar_is_in_the_tally() -> None:
    tape = random_tape(33, N_ROWS)
    strategy = made()
    signals = run(strategy, [tape])
    assert sum(strategy.tally().values()) == (tape.status >= 2).sum()
    assert strategy.tally()["signal"] == len(signals)


def test_a_dividend_counts_in_relative_strength_but_not_in_the_high() -> None:
    tape = random_tape(34, N_ROWS, gaps=False, actions=False)
    paid = tape._replace(actions=np.array([(300, 7, ActionKind.DIVIDEND, 3.0)], ACTION_DTYPE))
    before, after = made(exit_rs_below=0.01), made(exit_rs_below=0.01)
    run(before, [tape])
    run(after, [paid])
    one, other = before.state(), after.state()
    grown = other["total"][:, 7] / one["total"][:, 7]
    last = tape.close[299, 7]
    bars = np.arange(N_ROWS - 256, N_ROWS)
    now = tape.close[300, 7]
    np.testing.assert_allclose(grown[bars & 255], np.where(bars < 300, 1.0, (now + 3.0) / now))
    assert last > 0
    np.testing.assert_array_equal(one["high"], other["high"])


def facts_of(*rows: tuple[int, int, FactItem, float]) -> np.ndarray:
    """Return facts of symbol 0 from (available day, period end day or -1, item, value)."""
    day = NS_PER_DAY
    return np.array([(a * day, p * day if p >= 0 else -1, 0, i, v) for a, p, i, v in rows], FACT_DTYPE)


def steps_of(*rows: tuple[int, int, FactItem, float], ramp: bool = False) -> list[tuple[float, float]]:
    steps = fundamental_steps(facts_of(*rows), 1, growth_threshold=0.25, ramp=ramp)
    assert steps.dtype == STEP_DTYPE
    return [(int(s["ns"]) / NS_PER_DAY, float(s["score"])) for s in steps]


@pytest.mark.parametrize(
    ("old", "new", "score"),
    [(1.0, 1.25, 1), (1.0, 1.24, 0), (-1.0, 0.1, 1), (0.0, 0.1, 1), (-1.0, -0.1, 0), (1.0, -1.0, 0)],
)
def test_earnings_grow_by_a_quarter_or_turn_around(old: float, new: float, score: int) -> None:
    steps = steps_of((440, 400, FactItem.EPS, old), (805, 765, FactItem.EPS, new))
    assert [s for s in steps if s[0] == 805.0] == [(805.0, score)]


def test_earnings_are_unavailable_200_days_after_their_quarter() -> None:
    steps = steps_of((440, 400, FactItem.EPS, 1.0), (805, 765, FactItem.EPS, 2.0))
    day, score = steps[-1]
    assert day == pytest.approx(965, abs=1e-6)
    assert day * NS_PER_DAY > 965 * NS_PER_DAY or day == 965.0  # One nanosecond after 200 days
    assert np.isnan(score)


def test_an_amendment_counts_from_its_own_day() -> None:
    steps = steps_of(
        (440, 400, FactItem.EPS, 1.0), (805, 765, FactItem.EPS, 2.0), (820, 765, FactItem.EPS, 1.1)
    )
    assert [s for s in steps if 800 < s[0] < 900] == [(805.0, 1.0), (820.0, 0.0)]


def test_a_snapshot_of_growth_counts_from_when_it_was_fetched() -> None:
    steps = steps_of((500, -1, FactItem.EARNINGS_GROWTH, 0.1), ramp=True)
    assert steps[0] == pytest.approx((500.0, 0.4))
    assert steps[1][0] == pytest.approx(700)
    assert np.isnan(steps[1][1])


def test_annual_growth_is_halved_by_a_low_return_on_equity() -> None:
    years = [(100 + 365 * k + 60, 100 + 365 * k, FactItem.ANNUAL_EPS, 1.5**k) for k in range(4)]
    assert steps_of(*years)[3] == (1255.0, 1.0)
    assert steps_of(*years, (1260, 1195, FactItem.ROE, 0.16))[4] == (1260.0, 0.5)


def test_the_market_gate_is_on_unless_switched_off() -> None:
    assert made().m_mode == MarketMode.REGIME
    assert made().exits.m_gate
    assert made().exits.sma_bars == 50
    assert not made(m_mode="off").exits.m_gate
    assert made(m_mode="ftd").m_mode == MarketMode.FTD


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"w_c": -0.1}, r"canslim\.w_c must be >= 0 and finite, was -0\.1"),
        ({"w_c": 0, "w_l": 0, "w_n": 0, "w_s": 0}, "at least one weight must be > 0"),
        ({"near_high_threshold": 0}, r"canslim\.near_high_threshold must be > 0, was 0\.0"),
        ({"rs_gate": 80}, r"canslim\.rs_gate must be within \[0, 1\], was 80\.0"),
        ({"min_names": 1}, r"canslim\.min_names must be >= 2, was 1"),
    ],
)
def test_refuses_parameters_without_meaning(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CanSlim(**parameters)


def test_signal_counts_on_real_data_are_those_of_the_specification() -> None:
    """domain.md section 13: 2,968 / 2,134 / 2,776 among 707 / 1,186 / 1,499 names, no market gate."""
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is unset")
    from tests.strategies.market_tape import market_tape

    tape = market_tape(Path(folder))
    signals = run(made(), [tape])
    signals = signals[~np.isnan(signals["details"][:, 5])]  # Ranked, i.e. of the eligible names
    years = signals["ts"].astype("M8[ns]").astype("M8[Y]").astype(int) + 1970
    all_years = tape.ts.astype("M8[ns]").astype("M8[Y]").astype(int) + 1970
    for year, expected in {2013: 2968 / 707, 2020: 2134 / 1186, 2023: 2776 / 1499}.items():
        rows = all_years == year
        names = (tape.status[rows] >= 2).sum() / rows.sum()
        assert (years == year).sum() / names == pytest.approx(expected, rel=0.3)
