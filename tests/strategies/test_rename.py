"""A symbol that changes its name is traded as if it had had one name throughout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brokers.config import DeskConfig, Mode
from brokers.desk import Desk
from engine import events
from engine.events import Side
from engine.facts import FACT_DTYPE, FactItem
from engine.loop import Loop
from engine.slab import ACTION_DTYPE, NS_PER_DAY, ActionKind, Bars, BarStatus, Universe
from feeds.synthetic import SyntheticMarket
from strategies.base import Row, RowStrategy, Signal, Strategy
from strategies.fundamentals import EARNINGS
from strategies.registry import BUILT_IN, create

KINDS = (
    events.Signals, events.Orders, events.Fills, events.Rejections, events.CashFlows, events.Trades,
    events.RiskEvents,
)  # fmt: skip
N_RENAMES = 12
"""Of the symbols with the most rows, at rows spread over the market."""


@cache
def market() -> tuple[Universe, Bars]:
    feed = SyntheticMarket(seed=3, n_symbols=24, years=3, adjustment="raw")
    return Universe(feed.universe.symbols), feed.bars


@cache
def renamed() -> tuple[Universe, Bars, list[int], list[int]]:
    """The same market where some symbols are renamed: with the column that each column had, and the rows."""
    universe, bars = market()
    rng = np.random.default_rng(1)
    at = {
        int(s): int(rng.integers(bars.n_rows // 3, bars.n_rows - 50))
        for s in np.argsort(np.isnan(bars.close).sum(axis=0), kind="stable")[:N_RENAMES]
    }
    splits = bars.actions[bars.actions["kind"] == ActionKind.SPLIT]
    split = splits[len(splits) // 2]
    at[int(split["symbol"])] = int(split["row"])  # Split and renamed on one day
    names = sorted([*universe.symbols, *(universe.symbols[s] + "0" for s in at)])
    column = {name: i for i, name in enumerate(names)}
    base = [universe.symbols.index(name.removesuffix("0")) for name in names]
    cells = {name: getattr(bars, name)[:, base].copy() for name in ("open", "high", "low", "close", "volume")}
    actions = bars.actions.copy()
    for k, action in enumerate(bars.actions):
        name = universe.symbols[action["symbol"]]
        row = at.get(int(action["symbol"]), bars.n_rows)
        late = action["row"] > row or (action["row"] == row and action["kind"] != ActionKind.SPLIT)
        actions["symbol"][k] = column[name + "0" if late else name]
    for s, row in at.items():
        old, new = column[universe.symbols[s]], column[universe.symbols[s] + "0"]
        for values in cells.values():
            values[row:, old] = np.nan
            values[:row, new] = np.nan
        rename = np.array([(row, old, int(ActionKind.RENAME), new)], ACTION_DTYPE)
        actions = np.concatenate([actions, rename])
    actions = actions[np.lexsort((actions["symbol"], actions["row"]))]
    return (
        Universe(tuple(names)), Bars(bars.ts, **cells, actions=actions, benchmark=bars.benchmark), base,
        sorted(at.values()),
    )  # fmt: skip


class Memory(RowStrategy):
    """Buys what has closed higher 3 times in a row, sells what has closed lower 2 times."""

    name = "memory"

    def begin(self) -> None:
        n = len(self.universe)
        self.memory = {"last": np.full(n, np.nan), "run": np.zeros(n, np.int64)}

    def on_split(self, symbol: str, ratio: float) -> None:
        self.memory["last"][self._column_of(symbol)] /= ratio

    def on_rename(self, old: str, new: str) -> None:
        for values in self.memory.values():
            values[self._column_of(new)] = values[self._column_of(old)]

    def on_row(self, row: Row) -> Iterator[Signal]:
        last, run = self.memory["last"], self.memory["run"]
        for s in np.flatnonzero(row.traded):
            way = int(np.sign(np.nan_to_num(row.close[s] - last[s])))
            run[s] = run[s] + way if way * run[s] >= 0 else way
            last[s] = row.close[s]
            if run[s] >= 3:
                yield Signal(row.symbols[s], Side.BUY, 0.7)
            elif run[s] <= -2:
                yield Signal(row.symbols[s], Side.SELL, 0.7)


def built_in() -> list[Strategy]:
    return [create(name) for name in BUILT_IN]


def with_options() -> list[Strategy]:
    """What keeps more arrays: options that are off by default."""
    return [
        create("zanger", price_basis="hl", min_prior_rise=0.01, above_sma=50),
        create("livermore", above_sma=50, max_atr_ratio=2.0, cooldown_bars=5),
        create("trend", atr_method="simple", pending_bars=3, trail_atr_multiple=3.0),
        create("canslim", cooldown_bars=20, exit_rs_below=0.3, min_names=5),
    ]


class Run:
    """A loop with what it published, by symbol as numbered in the market without renames."""

    def __init__(
        self,
        universe: Universe,
        strategies: Sequence[Strategy],
        mode: Mode,
        base: Sequence[int] = (),
    ) -> None:
        desk = Desk(universe, strategies, DeskConfig(mode=mode, capital_usd=100_000.0))
        self.loop = Loop(universe, strategies, desk)
        self._base = np.asarray(base or range(len(universe)))
        self.rows: dict[str, list[Any]] = {kind.__name__: [] for kind in KINDS}
        self.equity: list[NDArray[np.int64]] = []
        for kind in KINDS:
            self.loop.bus.subscribe(kind, self._keep)
        self.loop.bus.subscribe(events.Equity, lambda event: self.equity.append(event.equity.copy()))

    def _keep(self, event: Any) -> None:
        rows = event.rows.copy()
        if "symbol" in rows.dtype.names:
            rows["symbol"] = self._base[rows["symbol"]]
        self.rows[type(event).__name__].append(rows)

    def take(self, slabs: Iterable[Bars]) -> Run:
        for bars in slabs:
            asyncio.run(self.loop.process(bars))
        return self

    def said(self) -> dict[str, bytes]:
        """Everything, per kind; signals of a strategy apart, since a slab publishes them together."""
        said = {}
        for kind, parts in self.rows.items():
            if not parts:
                continue
            rows = np.concatenate(parts)
            if kind == "Signals":
                rows = rows[np.lexsort((rows["symbol"], rows["strategy"], rows["ts"]))]
            said[kind] = rows.tobytes()
        return said | {"equity": np.concatenate(self.equity).tobytes()}


def one_name(make: Callable[[], list[Strategy]], mode: Mode) -> Run:
    universe, bars = market()
    return Run(universe, make(), mode).take([bars])


CASES = [
    (built_in, Mode.SLEEVE),
    (built_in, Mode.BLEND),
    (with_options, Mode.SLEEVE),
    (lambda: [Memory()], Mode.SLEEVE),
]
IDS = ["sleeves", "blend", "options", "python"]


@pytest.mark.parametrize(("make", "mode"), CASES, ids=IDS)
def test_a_renamed_symbol_is_traded_as_if_it_had_one_name_in_any_slabs(
    make: Callable[[], list[Strategy]], mode: Mode
) -> None:
    expected = one_name(make, mode)
    universe, bars, base, _ = renamed()
    said = expected.said()
    assert len(np.concatenate(expected.rows["Fills"])) > 100
    for n_rows in (bars.n_rows, 97, 1):
        assert Run(universe, make(), mode, base).take(bars.cut(n_rows)).said() == said


@pytest.mark.parametrize(("make", "mode"), CASES, ids=IDS)
def test_a_loop_restored_at_a_rename_goes_on_as_if_nothing_had_happened(
    make: Callable[[], list[Strategy]], mode: Mode
) -> None:
    universe, bars, base, rows = renamed()
    whole = Run(universe, make(), mode, base).take([bars])
    row = rows[len(rows) // 2]
    for stop in (row, row + 1):
        first = Run(universe, make(), mode, base).take([bars.rows(0, stop)])
        second = Run(universe, make(), mode, base)
        second.loop.restore(first.loop.snapshot())
        second.take([bars.rows(stop, bars.n_rows)])
        assert second.loop.snapshot() == whole.loop.snapshot()


SCRATCH = ("loud", "mean_volume")  # of the row in work, overwritten by the next


@pytest.mark.parametrize("make", [built_in, with_options])
def test_all_that_a_strategy_remembers_of_a_symbol_moves(make: Callable[[], list[Strategy]]) -> None:
    universe, bars, base, _ = renamed()
    newest = [
        universe.symbols.index(name + "0" * (name + "0" in universe.symbols)) for name in market()[0].symbols
    ]
    expected = one_name(make, Mode.SLEEVE).loop.strategies
    moved = Run(universe, make(), Mode.SLEEVE, base).take([bars]).loop.strategies
    for one, other in zip(expected, moved, strict=True):
        arrays = other.state()
        for name, values in one.state().items():
            axes = [axis for axis, size in enumerate(values.shape) if size == len(newest)]
            if axes and name not in SCRATCH:
                found = np.take(arrays[name], newest, axes[0])
                assert np.array_equal(found, values, equal_nan=True), f"{one.name}: {name}"


def test_a_long_pause_is_one_also_across_a_rename() -> None:
    universe = Universe(("A", "B"))
    close = np.array([[10.0, np.nan], [np.nan, 11.0]])
    actions = np.array([(1, 0, int(ActionKind.RENAME), 1)], ACTION_DTYPE)
    for days, status in ((60, BarStatus.TRADED), (61, BarStatus.RESUMED)):
        ts = np.array([1, 1 + days]) * NS_PER_DAY
        run = Run(universe, [strategy := Watching()], Mode.SLEEVE)
        run.take([Bars(ts, close, close, close, close, 1000.0 + 0 * close, actions)])
        assert strategy.resumed == (status == BarStatus.RESUMED)


class Watching(RowStrategy):
    """Notes whether the newest row resumed anything."""

    name = "watching"
    resumed = False

    def on_row(self, row: Row) -> Iterator[Signal]:
        self.resumed = bool(row.resumed.any())
        return iter(())


def test_a_name_that_has_traded_keeps_its_own_memory() -> None:
    universe = Universe(("A", "B", "C"))
    close = np.array([[10.0, 20.0, np.nan], [11.0, 21.0, np.nan], [np.nan, 22.0, 5.0]])
    actions = np.array([(2, 0, int(ActionKind.RENAME), 1)], ACTION_DTYPE)
    bars = Bars(np.arange(1, 4) * NS_PER_DAY, close, close, close, close, 1000.0 + 0 * close, actions)
    for name in BUILT_IN:
        strategy: Any = create(name)
        Run(universe, [strategy], Mode.SLEEVE).take([bars])
        counts = getattr(strategy._state, next(iter(strategy.symbol_axes)))
        assert counts.tolist() == [2, 3, 1]


def test_reports_of_the_old_name_stay_known_also_to_facts_that_come_later() -> None:
    universe = Universe(("A", "B"))
    close = np.full((4, 2), 10.0)
    close[2:, 0] = close[:2, 1] = np.nan
    actions = np.array([(2, 0, int(ActionKind.RENAME), 1)], ACTION_DTYPE)
    bars = Bars(np.arange(1, 5) * NS_PER_DAY, close, close, close, close, 1000.0 + 0 * close, actions)
    facts = np.zeros(8, FACT_DTYPE)
    facts["period_end_ns"] = (np.arange(8) - 8) * 91 * NS_PER_DAY
    facts["available_ns"] = facts["period_end_ns"] + NS_PER_DAY
    facts["item"], facts["value"] = int(FactItem.EPS), np.linspace(1.0, 2.0, 8)
    strategy: Any = create("canslim")
    strategy.use_facts(facts)
    run = Run(universe, [strategy], Mode.SLEEVE).take([bars])
    known = strategy._state.fundamentals[1].copy()
    assert known[EARNINGS] > 0.0
    again: Any = create("canslim")
    again.use_facts(facts)
    restored = Run(universe, [again], Mode.SLEEVE)
    restored.loop.restore(run.loop.snapshot())
    assert np.array_equal(again._state.fundamentals[1], known, equal_nan=True)
    facts["value"][-1] = 1.1  # The vendor corrects it, still under the old name
    strategy.use_facts(facts)
    assert strategy._state.fundamentals[1, 3] < known[3]
