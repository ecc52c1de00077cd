"""The same bars give the same events, byte for byte: however they are cut, resumed or continued."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from brokers.config import DeskConfig, Mode
from brokers.desk import Desk
from engine.errors import DataError, EngineError
from engine.loop import Loop
from engine.slab import Bars
from strategies import registry
from tests.brokers.random_market import Case, examples, random_case
from tests.engine.driven_loop import drive, driven, make_loop, pieces

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(1, 59)
some = settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], max_examples=examples(40)
)


def with_benchmark(case: Case, seed: int) -> Case:
    """A benchmark long enough gives the market gate something to say."""
    rng = np.random.default_rng(seed)
    n = case.bars.n_rows
    benchmark = np.column_stack([100 * np.exp(np.cumsum(rng.normal(-0.004, 0.02, n))), rng.uniform(1, 2, n)])
    case.bars = replace(case.bars, benchmark=benchmark)
    return case


@some
@given(seeds, st.lists(rows, max_size=8))
def test_any_cutting_into_slabs_gives_the_same_bytes(seed: int, cuts: list[int]) -> None:
    case = with_benchmark(random_case(seed), seed)
    whole, end = driven(case, [case.bars])
    for slabs in (pieces(case.bars, cuts), case.bars.cut(1), case.bars.cut(7)):
        events, state = driven(case, slabs)
        assert events == whole
        assert state == end


@some
@given(seeds, rows, st.lists(rows, max_size=4))
def test_a_loop_restored_from_a_snapshot_goes_on_as_if_nothing_had_happened(
    seed: int, stop: int, cuts: list[int]
) -> None:
    case = with_benchmark(random_case(seed), seed)
    whole, end = driven(case, [case.bars])
    first, before = make_loop(case)
    drive(first, pieces(case.bars.rows(0, stop), [c for c in cuts if c < stop]))
    second, after = make_loop(case)
    second.restore(first.snapshot())
    assert second.snapshot() == first.snapshot()
    drive(second, [case.bars.rows(stop, case.bars.n_rows)])
    assert before + after == whole
    assert second.snapshot() == end


@some
@given(seeds, rows)
def test_what_comes_later_changes_nothing_that_came_before(seed: int, cut: int) -> None:
    case = random_case(seed)
    loop, record = make_loop(case)
    drive(loop, [case.bars])
    other = random_case(seed)
    other.bars = perturbed(case.bars, cut, seed)
    other.signals = other.signals[other.signals["ts"] < case.bars.ts[cut]]
    perturbed_loop, perturbed_record = make_loop(other)
    drive(perturbed_loop, [other.bars])
    ts = float(case.bars.ts[cut])
    assert record.bytes_before(ts) == perturbed_record.bytes_before(ts)


def perturbed(bars: Bars, cut: int, seed: int) -> Bars:
    later: dict[str, Any] = {}
    factor = np.random.default_rng(seed).uniform(0.5, 2.0, bars.close.shape)
    for name in ("open", "high", "low", "close", "volume"):
        values = getattr(bars, name).copy()
        values[cut:] *= factor[cut:]
        later[name] = values
    return replace(bars, **later, actions=bars.actions[bars.actions["row"] < cut])


@settings(some, max_examples=examples(10))
@given(seeds)
def test_a_strategy_that_works_row_by_row_makes_no_difference(seed: int) -> None:
    case = random_case(seed)
    assert driven(case, [case.bars], row_by_row=True) == driven(case, [case.bars])


@settings(some, max_examples=examples(10))
@given(seeds, st.integers(1, 40))
def test_a_slab_that_is_cut_to_fit_the_cache_makes_no_difference(seed: int, n_rows: int) -> None:
    case = random_case(seed)
    loop, record = make_loop(case)
    loop._piece_rows = n_rows
    drive(loop, [case.bars])
    assert (record.bytes, loop.snapshot()) == driven(case, [case.bars])


@settings(some, max_examples=examples(10))
@given(seeds)
def test_a_desk_with_no_room_to_write_grows_and_loses_nothing(seed: int) -> None:
    case = random_case(seed)
    whole, _ = driven(case, [case.bars])
    loop, record = make_loop(case)
    from engine.desk import allocate_outbox

    loop.desk._out = allocate_outbox(16)  # type: ignore[attr-defined]
    drive(loop, [case.bars])
    assert record.bytes == whole


@pytest.mark.parametrize("mode", list(Mode))
def test_a_snapshot_of_another_desk_is_refused(mode: Mode) -> None:
    case, other = random_case(1, mode=mode), random_case(1, n_symbols=5, mode=mode)
    loop, _ = make_loop(case)
    stranger, _ = make_loop(other)
    with pytest.raises(DataError, match="another universe"):
        stranger.restore(loop.snapshot())


def test_a_snapshot_of_other_strategies_is_refused() -> None:
    loop, _ = make_loop(random_case(1))
    state = loop.snapshot()
    for strategy in loop.strategies:
        strategy.name += "x"
    with pytest.raises(DataError, match="made with strategies s0"):
        loop.restore(state)


def test_a_snapshot_of_other_parameters_is_refused_though_its_arrays_would_fit() -> None:
    universe = random_case(1).universe

    def loop_of(**parameters: Any) -> Loop:
        strategies = [registry.create("trend"), registry.create("livermore", **parameters)]
        return Loop(universe, strategies, Desk(universe, strategies, DeskConfig()))

    saved = loop_of(cooldown_bars=5, stop_mode="mid").snapshot()
    loop_of(cooldown_bars=5, stop_mode="mid").restore(saved)
    with pytest.raises(DataError, match=r"livermore_breakout .* its cooldown_bars must be 5, was 0"):
        loop_of(stop_mode="mid").restore(saved)
    with pytest.raises(DataError, match=r"livermore_breakout .* its stop_mode must be mid, was lower"):
        loop_of(cooldown_bars=5).restore(saved)


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_a_desk_takes_over_no_arrays_of_another_kind(dtype: type[np.generic]) -> None:
    loop, _ = make_loop(random_case(1))
    state = loop.desk.state()
    state["history"] = state["history"].astype(dtype)
    with pytest.raises(EngineError, match=r"desk state history must be int64\[2, .* was (float64|int32)"):
        loop.desk.restore(state)


def test_a_desk_takes_over_no_records_of_another_layout() -> None:
    loop, _ = make_loop(random_case(1))
    state = loop.desk.state()
    layout = list(state["accounts"].dtype.descr)
    state["accounts"] = state["accounts"].astype(layout[1:] + layout[:1])
    with pytest.raises(EngineError, match="desk state accounts must be"):
        loop.desk.restore(state)
