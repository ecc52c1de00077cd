"""Allocation and selection add up to the difference of returns."""

import asyncio

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
from reports.brinson import brinson_fachler, effects
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
