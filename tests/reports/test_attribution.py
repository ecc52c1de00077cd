"""Contributions add up: every close, every grouping, to the last micro-dollar."""

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.config import DeskConfig, Mode
from brokers.desk import Desk
from engine.errors import EngineError
from engine.loop import Loop
from engine.slab import ActionKind
from feeds.synthetic import SyntheticMarket
from reports.attribution import attribute, carino_weights, link
from reports.lots import carried
from reports.marks import MarkTable
from reports.recorder import Recorder
from strategies import registry
from tests.reports.made_run import recorder, replay


def run(feed, mode=Mode.SLEEVE, slab_rows=300, **config):
    names = ("trend", "livermore")
    strategies = [registry.create(name) for name in names]
    desk = Desk(feed.universe, strategies, DeskConfig(mode=mode, **config), weights=[0.6, 0.4])
    loop = Loop(feed.universe, strategies, desk)
    made = Recorder.attached_to(loop)
    asyncio.run(loop.run(feed, slab_rows))
    return made


@pytest.fixture(scope="module")
def market():
    return SyntheticMarket(seed=11, n_symbols=80, years=5, adjustment="raw")


@pytest.fixture(scope="module", params=[Mode.SLEEVE, Mode.BLEND])
def recorded(request, market):
    return run(market, request.param)


def test_the_golden_two_days_of_two_parts():
    parts = np.array([[0.015, 0.005], [-0.01, 0.02]])
    returns = parts.sum(axis=1)
    made = link(parts, returns)
    assert np.prod(1 + returns) - 1 == pytest.approx(0.0302)
    assert made == pytest.approx([0.004975, 0.025225], abs=5e-7)
    assert made.sum() == pytest.approx(0.0302, abs=1e-15)


@given(
    parts=st.lists(
        st.tuples(*[st.floats(-0.2, 0.3)] * 3),
        min_size=1, max_size=60,
    )
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_linked_contributions_sum_to_the_compounded_return(parts):
    table = np.array(parts)
    returns = table.sum(axis=1)
    total = np.prod(1 + returns) - 1
    assert link(table, returns).sum() == pytest.approx(total, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("returns", [[0.0, 0.0], [0.1, 1 / 1.1 - 1], [1e-13, -1e-13]])
def test_a_return_of_nothing_links_with_weight_one(returns):
    assert carino_weights(np.array(returns)) == pytest.approx(1.0, abs=0.1)


def test_a_total_loss_cannot_be_linked():
    assert link(np.array([[0.1], [-1.0]]), np.array([0.1, -1.0])) is None


def test_profits_explain_every_close_to_the_micro_dollar(recorded):
    made = attribute(recorded)
    assert made.residual_max == 0.0
    assert len(made.lots.symbol) > 50


@pytest.mark.parametrize("names", [("strategy",), ("sector",), ("symbol",), ("strategy", "sector", "symbol")])
def test_every_grouping_sums_to_the_return(recorded, names):
    made = attribute(recorded)
    total = made.history.index[-1] - 1
    parts = made.by(*names)
    assert sum(part.linked for part in parts) == pytest.approx(total, abs=1e-12)
    assert sum(part.contribution for part in parts) == pytest.approx(total, abs=1e-12)
    assert len({part.key for part in parts}) == len(parts)


def test_a_coarse_grouping_is_the_sum_of_a_fine_one(recorded):
    made = attribute(recorded)
    for part in made.by("sector"):
        fine = [p for p in made.by("sector", "symbol") if p.key[0] == part.key[0]]
        assert sum(p.linked for p in fine) == pytest.approx(part.linked, abs=1e-12)


def test_daily_contributions_sum_to_daily_returns(recorded):
    made = attribute(recorded)
    for names in (("strategy",), ("sector", "symbol")):
        groups, table = made.daily_contributions(*names)
        assert table.shape == (len(made.history), len(groups))
        assert table.sum(axis=1) == pytest.approx(made.history.returns, abs=1e-13)


def test_exposures_by_sector_sum_to_gross_over_equity(recorded):
    made = attribute(recorded)
    curve = recorded.equity()
    _, table = made.exposure("sector")
    assert table.sum(axis=1) == pytest.approx(curve.gross.sum(axis=1) / curve.equity.sum(axis=1), abs=1e-12)


def test_attribution_does_not_depend_on_the_slabs(market):
    parts = [attribute(run(market, slab_rows=rows)).by("symbol") for rows in (37, 5000)]
    assert parts[0] == parts[1]


def test_a_sleeve_earns_what_its_account_earned(market):
    made = run(market)
    final = made.equity().equity[-1] / 1e6
    expected = dict(zip(made.accounts, (final - np.array(made.capital_usd)).tolist(), strict=True))
    assert {part.key[0]: part.profit_usd for part in attribute(made).by("strategy")} == pytest.approx(
        expected
    )


def test_strategies_of_a_blend_share_a_lot_as_they_voted(market):
    made = attribute(run(market, Mode.BLEND))
    share = np.bincount(made._entry_lot, made._entry_share)
    assert share == pytest.approx(np.ones(len(made.lots.symbol)))
    assert {key[0] for key in made.keys} <= {"trend_following", "livermore_breakout"}


def test_fractional_shares_add_up_too(market):
    assert attribute(run(market, fractional_shares=True)).residual_max == 0.0


def test_a_run_whose_books_do_not_add_up_is_refused():
    with pytest.raises(EngineError, match=r"recorded from its start|must add up"):
        attribute(replay(recorder(), 2))


def test_an_unknown_grouping_is_named(recorded):
    with pytest.raises(EngineError, match="was colour"):
        attribute(recorded).by("colour")


def table_of(close, *actions):
    from engine.slab import ACTION_DTYPE

    return MarkTable(np.arange(close.shape[1]), close, np.array(list(actions), ACTION_DTYPE))


def test_a_carried_mark_follows_a_split_until_the_next_close():
    close = np.array([[10.0], [np.nan], [np.nan], [4.0]])
    made = carried(table_of(close, (2, 0, ActionKind.SPLIT, 2.0)))
    assert made[:, 0].tolist() == [10.0, 10.0, 5.0, 4.0]


def test_a_new_name_starts_with_the_last_close_of_the_old():
    close = np.array([[10.0, np.nan], [11.0, np.nan], [np.nan, np.nan], [np.nan, 12.0]])
    made = carried(table_of(close, (2, 0, ActionKind.RENAME, 1.0)))
    assert made[2:, 1].tolist() == [11.0, 12.0]


@pytest.mark.market
def test_four_hundred_real_names_over_fourteen_years_are_explained_every_day(tmp_path):
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is not set")
    from feeds.source import open_source

    feed = open_source(Path(folder) / "smallcap_daily.parquet", adjustment="split", cache_dir=tmp_path)
    made = attribute(run(feed))
    assert made.residual_max <= 1e-9
    total = made.history.index[-1] - 1
    assert sum(part.linked for part in made.by("symbol")) == pytest.approx(total, abs=1e-9)
