"""Allocation and selection add up to the difference of returns."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.config import DeskConfig
from brokers.desk import Desk
from engine.errors import EngineError
from engine.loop import Loop
from feeds.synthetic import SyntheticMarket
from reports.attribution import attribute
from reports.benchmark_sectors import BenchmarkSectors
from reports.brinson import brinson_fachler, brinson_table, effects, levelled, sector_rows
from reports.recorder import Recorder
from strategies import registry


def table(*rows):
    return np.array(rows, float)


def test_one_day_of_two_sectors_by_hand():
    # Portfolio: 70 % in A earning 10 %, 30 % in B earning 2 %; benchmark: half each, 8 % and 3 %.
    made = effects(
        ("A", "B"), table([0.7, 0.3]), table([0.07, 0.006]), table([0.5, 0.5]), table([0.08, 0.03])
    )
    assert [e.allocation for e in made] == pytest.approx([0.2 * 0.025, 0.2 * 0.025])
    assert [e.selection for e in made] == pytest.approx([0.7 * 0.02, -0.3 * 0.01])


def test_the_example_of_the_textbook_comes_out():
    """Three countries, the example of Bacon, Practical Portfolio Performance Measurement and Attribution."""
    held, weights = table([0.4, 0.3, 0.3]), table([0.4, 0.2, 0.4])
    own, returns = table([0.20, -0.05, 0.06]), table([0.10, -0.04, 0.08])
    made = effects(("UK", "Japan", "US"), held, held * own, weights, returns)
    assert [round(100 * e.allocation, 10) for e in made] == [0, -1.04, -0.16]
    assert [round(100 * e.selection, 10) for e in made] == [4.0, -0.3, -0.6]
    assert sum(e.allocation + e.selection for e in made) == pytest.approx(0.083 - 0.064)


@given(seed=st.integers(0, 2**32), n_days=st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_linked_effects_sum_to_the_difference_of_compounded_returns(seed, n_days):
    generator = np.random.Generator(np.random.PCG64(seed))
    held, weights = (generator.dirichlet(np.ones(4), n_days) for _ in range(2))
    earned, returns = held * generator.normal(0, 0.03, (n_days, 4)), generator.normal(0, 0.03, (n_days, 4))
    made = effects(tuple("abcd"), held, earned, weights, returns)
    ours, theirs = earned.sum(axis=1), (weights * returns).sum(axis=1)
    gap = np.prod(1 + ours) - np.prod(1 + theirs)
    assert sum(e.allocation + e.selection for e in made) == pytest.approx(gap, abs=1e-9)


def test_the_benchmark_itself_has_no_effects():
    weights, returns = table([0.4, 0.6], [0.5, 0.5]), table([0.01, -0.02], [0.0, 0.03])
    made = effects(("a", "b"), weights, weights * returns, weights, returns)
    assert [x for e in made for x in e[1:]] == pytest.approx([0.0] * 4, abs=1e-15)


def test_a_run_is_explained_sector_by_sector():
    feed = SyntheticMarket(seed=5, n_symbols=40, years=3)
    strategies = [registry.create("trend")]
    loop = Loop(feed.universe, strategies, Desk(feed.universe, strategies, DeskConfig()))
    recorder = Recorder.attached_to(loop)
    asyncio.run(loop.run(feed))
    attribution = attribute(recorder)
    n = len(attribution.history)
    generator = np.random.Generator(np.random.PCG64(1))
    sectors = {"technology": 0.5, "energy": 0.3}
    returns = {name: generator.normal(0.0003, 0.01, n) for name in sectors}
    made = brinson_fachler(attribution, sectors, returns)
    theirs = sum(weight * returns[name] for name, weight in sectors.items())
    gap = attribution.history.index[-1] - np.prod(1 + theirs)
    assert sum(e.allocation + e.selection for e in made) == pytest.approx(gap, abs=1e-9)
    assert made[-1].sector == "cash"
    with pytest.raises(EngineError, match="lacks energy"):
        brinson_fachler(attribution, sectors, {"technology": returns["technology"]})
    with pytest.raises(EngineError, match="at most 1"):
        brinson_fachler(attribution, {"technology": 1.2}, returns)


def sectors_of(names, weights, returns):
    return BenchmarkSectors(
        names, np.array(weights, float), np.array(returns, float), np.array([3] * len(names)),
        np.array([0.5] * len(names)),
    )  # fmt: skip


def test_sectors_are_shifted_together_so_that_they_add_up_to_the_benchmark():
    made = sectors_of(("a", "b"), [[0.5, 0.5], [1, 0], [0, 0]], [[0.02, 0.06], [0.01, np.nan], [np.nan] * 2])
    returns, theirs = levelled(made, table(0.01, 0.03, np.nan))
    assert returns["a"] == pytest.approx([-0.01, 0.03, 0])
    assert returns["b"] == pytest.approx([0.03, 0.03, 0])
    assert theirs == pytest.approx([0.01, 0.03, 0])
    alone, together = levelled(made, None)
    assert alone["b"] == pytest.approx([0.06, 0.01, 0])
    assert together == pytest.approx([0.04, 0.01, 0])


def test_rows_of_a_run_add_up_to_its_return_less_that_of_the_benchmark():
    feed = SyntheticMarket(seed=5, n_symbols=40, years=3)
    strategies = [registry.create("trend")]
    loop = Loop(feed.universe, strategies, Desk(feed.universe, strategies, DeskConfig()))
    recorder = Recorder.attached_to(loop)
    asyncio.run(loop.run(feed))
    attribution = attribute(recorder)
    n = len(attribution.history)
    generator = np.random.Generator(np.random.PCG64(1))
    made = sectors_of(("energy", "technology"), np.full((n, 2), 0.5), generator.normal(0.001, 0.01, (n, 2)))
    series = generator.normal(0.0001, 0.01, n)
    series[:20] = np.nan
    rows = {row.sector: row for row in sector_rows(attribution, made, series)}
    everything = rows.pop("all")
    assert everything.active == pytest.approx(sum(row.active for row in rows.values()))
    _, theirs = levelled(made, series)
    gap = attribution.history.index[-1] - 1 - (np.prod(1 + theirs) - 1)
    assert everything.active == pytest.approx(gap, abs=1e-9)
    assert everything.contribution == pytest.approx(sum(row.contribution for row in rows.values()), abs=1e-9)
    assert sum(row.weight for row in rows.values()) == pytest.approx(1)
    elsewhere = next(row for name, row in rows.items() if name not in ("energy", "technology", "cash"))
    assert elsewhere.allocation == pytest.approx(0, abs=1e-12)
    assert math.isnan(elsewhere.benchmark_return)
    header, columns = brinson_table([*rows.values(), everything])
    assert len(header) == len(columns)
