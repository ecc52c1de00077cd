"""A loop over a random market, with everything that it publishes kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brokers.desk import Desk
from engine import events
from engine.events import SIGNAL_DTYPE
from engine.exits import ExitRules
from engine.loop import Loop
from engine.slab import Bars, Tape, Universe
from tests.brokers.random_market import Case

KINDS = (
    events.Signals, events.Orders, events.Fills, events.Rejections, events.CashFlows, events.Trades,
    events.RiskEvents,
)  # fmt: skip


class Scripted:
    """A strategy whose signals were written in advance; it remembers how many it has given."""

    row_by_row = False

    def __init__(
        self, name: str, exits: ExitRules, script: NDArray[np.void], row_by_row: bool = False
    ) -> None:
        self.name, self.exits, self.script, self.row_by_row = name, exits, script, row_by_row

    def start(self, universe: Universe) -> None:
        self.given = 0

    def on_bars(self, tape: Tape, index: int) -> NDArray[np.void]:
        first = self.given
        while self.given < len(self.script) and self.script["ts"][self.given] <= tape.ts[-1]:
            self.given += 1
        rows = self.script[first : self.given].copy()
        rows["strategy"] = index
        return rows

    def parameters(self) -> dict[str, Any]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"given": self.given}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.given = state["given"]


class Record:
    """Keeps the bytes of every kind of event, concatenated."""

    def __init__(self, loop: Loop) -> None:
        self.rows: dict[str, list[Any]] = {kind.__name__: [] for kind in KINDS}
        self.equity: list[Any] = []
        for kind in KINDS:
            loop.bus.subscribe(kind, self._keep)
        loop.bus.subscribe(events.Equity, self._keep_equity)

    def _keep(self, event: Any) -> None:
        if isinstance(event, events.Signals) and len(set(event.rows["strategy"])) > 1:
            raise AssertionError("a batch of signals is of one strategy")
        self.rows[type(event).__name__].append(event.rows.copy())

    def _keep_equity(self, event: events.Equity) -> None:
        self.equity.append(np.column_stack([event.ts, event.cash, event.gross, event.equity]))

    def bytes_before(self, ts: float) -> dict[str, bytes]:
        """Everything known before `ts`, per kind (signals per strategy: a slab publishes each apart)."""
        found = {}
        for kind, parts in self.rows.items():
            rows = np.concatenate(parts) if parts else np.empty(0, SIGNAL_DTYPE)
            known = "ts_exit" if kind == "Trades" and len(rows) else "ts"
            rows = rows[rows[known] < ts]
            if kind == "Signals":
                rows = rows[np.argsort(rows["strategy"], kind="stable")]
            found[kind] = rows.tobytes()
        equity = np.concatenate(self.equity) if self.equity else np.empty((0, 4), np.int64)
        found["Equity"] = equity[equity[:, 0] < ts].tobytes()
        return found

    @property
    def bytes(self) -> dict[str, bytes]:
        return self.bytes_before(np.inf)

    def __add__(self, later: Record) -> dict[str, bytes]:
        joined = object.__new__(Record)
        joined.rows = {kind: self.rows[kind] + later.rows[kind] for kind in self.rows}
        joined.equity = self.equity + later.equity
        return joined.bytes


def make_loop(case: Case, *, row_by_row: bool = False) -> tuple[Loop, Record]:
    scripted = [
        Scripted(f"s{i}", rules, case.signals_of(i), row_by_row) for i, rules in enumerate(case.rules)
    ]
    loop = Loop(case.universe, scripted, Desk(case.universe, scripted, case.config, case.weights))
    return loop, Record(loop)


def drive(loop: Loop, slabs: Iterable[Bars]) -> None:
    async def run() -> None:
        for slab in slabs:
            await loop.process(slab)

    asyncio.run(run())


def pieces(bars: Bars, cuts: Sequence[int]) -> list[Bars]:
    edges = sorted({0, bars.n_rows, *cuts})
    return [bars.rows(a, b) for a, b in pairwise(edges)]


def driven(case: Case, slabs: Iterable[Bars], *, row_by_row: bool = False) -> tuple[dict[str, bytes], bytes]:
    """Return what a loop publishes over these slabs, and its snapshot at the end."""
    loop, record = make_loop(case, row_by_row=row_by_row)
    drive(loop, slabs)
    return record.bytes, loop.snapshot()
