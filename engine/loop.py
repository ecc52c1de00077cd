"""The loop: bars in, decisions out, the same instructions over history and live.

    feed -> Bars -> intake -> strategies -> Signals -> desk (gate, broker, ledger) -> Orders, ..., Equity

Everything a slab causes is decided synchronously in `process`; publishing is the only thing awaited. A replay
calls it with large slabs, a live feed with one row, and the events are the same, byte for byte.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine import renames, snapshot
from engine.bus import Bus
from engine.errors import DataError, EngineError
from engine.events import (
    CashFlows,
    Equity,
    Fills,
    Orders,
    Rejections,
    RiskEvents,
    Signals,
    Trades,
)
from engine.intake import Intake
from engine.market import MarketGate
from engine.slab import Bars, Feed, Tape, Universe

YIELD_AFTER_S = 0.005
Progress = Callable[[int, int, int], None]  # rows done, bars done, ts of the newest row


class LoopStrategy(Protocol):
    """What the loop needs of a strategy (`strategies.base.Strategy`)."""

    @property
    def name(self) -> str: ...
    @property
    def row_by_row(self) -> bool: ...
    def start(self, universe: Universe) -> None: ...
    def on_bars(self, tape: Tape, index: int) -> NDArray[np.void]: ...
    def on_rename(self, old: str, new: str) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class DeskResult(NamedTuple):
    """What the desk did over a slab; rows of the dtypes in `engine.events`."""

    orders: NDArray[np.void]
    fills: NDArray[np.void]
    rejections: NDArray[np.void]
    cashflows: NDArray[np.void]
    trades: NDArray[np.void]
    risk: NDArray[np.void]
    signals: NDArray[np.void]  # aggregated ones, of a blend
    equity: NDArray[np.int64]  # [K, A, 3]


class LoopDesk(Protocol):
    """What the loop needs of a desk (`brokers.desk.Desk`)."""

    def process(
        self, tape: Tape, market: NDArray[np.int64], signals: Sequence[NDArray[np.void]]
    ) -> DeskResult: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass
class Counters:
    """What has gone through the loop."""

    rows: int = 0
    bars: int = 0  # valid bars: traded and marking
    traded_bars: int = 0
    invalid_bars: int = 0
    slabs: int = 0
    signals: int = 0


_KINDS = (Orders, Fills, Rejections, CashFlows, Trades, RiskEvents)  # The first fields of DeskResult


class Loop:
    """Drives strategies and a desk over the slabs of a feed and publishes what happens.

    Subscribers of Bars run before the strategies see the slab.
    """

    def __init__(
        self,
        universe: Universe,
        strategies: Sequence[LoopStrategy],
        desk: LoopDesk,
        bus: Bus | None = None,
    ) -> None:
        names = [strategy.name for strategy in strategies]
        if len(set(names)) != len(names):
            raise EngineError(f"each strategy can run once, was {', '.join(names)}")
        self.universe = universe
        self.strategies = tuple(strategies)
        self.desk = desk
        self.bus = bus or Bus()
        self.counters = Counters()
        self._row_by_row = any(strategy.row_by_row for strategy in strategies)
        self._intake = Intake()
        self._intake.start(universe)
        self._market = MarketGate()
        self._market.start()
        self._stopping = False
        for strategy in strategies:
            strategy.start(universe)

    def stop(self) -> None:
        """Ask `run` to end after the slab it is working on."""
        self._stopping = True

    async def run(self, feed: Feed, slab_rows: int = 1024, progress: Progress | None = None) -> bool:
        """Process a feed to its end. Returns False when it was stopped before."""
        if feed.universe.symbols != self.universe.symbols:
            raise EngineError("the feed must have the universe that the loop was made for")
        if slab_rows < 1:
            raise EngineError(f"slab_rows must be >= 1, was {slab_rows}")
        yielded = time.monotonic()
        async for bars in feed.slabs(slab_rows):
            await self.process(bars)
            if progress is not None:
                progress(self.counters.rows, self.counters.bars, int(bars.ts[-1]))
            if self._stopping:
                return False
            if time.monotonic() - yielded > YIELD_AFTER_S:
                await asyncio.sleep(0)  # Off-path consumers get their turn
                yielded = time.monotonic()
        return True

    async def process(self, bars: Bars) -> None:
        """Take one slab through the whole path and publish everything it causes."""
        if self._row_by_row and bars.n_rows > 1:
            for row in bars.cut(1):
                await self.process(row)
            return
        moves: list[tuple[int, int]] = []
        if len(bars.actions):
            if renames.cuts(bars.actions):
                for piece in renames.pieces(bars):
                    await self.process(piece)
                return
            moves = renames.renames(bars.actions)
        for old, new in moves:
            self._intake.on_rename(old, new)
        tape = seen = self._intake.on_bars(bars)
        publish, wanted = self.bus.publish, self.bus.wanted
        if wanted(Bars):
            await publish(bars)
        if moves:
            seen = self._renamed(tape, moves)
        signals = [strategy.on_bars(seen, i) for i, strategy in enumerate(self.strategies)]
        for rows in signals:
            if len(rows):
                self.counters.signals += len(rows)
                if wanted(Signals):
                    await publish(Signals(rows))
        done = self.desk.process(tape, self._market.on_bars(tape), signals)
        if len(done.signals) and wanted(Signals):
            await publish(Signals(done.signals))
        for kind, rows in zip(_KINDS, done[:6], strict=True):
            if len(rows) and wanted(kind):
                await publish(kind(rows))
        if wanted(Equity):
            marks = done.equity
            await publish(Equity(tape.ts, marks[:, :, 0], marks[:, :, 1], marks[:, :, 2]))
        counters = self.counters
        counters.slabs += 1
        counters.rows += bars.n_rows
        counters.traded_bars = self._intake.traded_bars
        counters.bars = self._intake.traded_bars + self._intake.marking_bars
        counters.invalid_bars = self._intake.invalid_bars

    def _renamed(self, tape: Tape, moves: Sequence[tuple[int, int]]) -> Tape:
        """Let strategies move what they remember; return the tape as they see it afterwards."""
        symbols = self.universe.symbols
        for strategy in self.strategies:
            for old, new in moves:
                strategy.on_rename(symbols[old], symbols[new])
        return tape._replace(actions=renames.under_new_names(tape.actions))

    @property
    def market_bits(self) -> int:
        """The `MarketBit`s in force at the newest close."""
        return self._market.label

    @property
    def last_ts_ns(self) -> int:
        """When the newest row was known; before any row a number below all."""
        return self._intake.last_ts_ns

    def snapshot(self) -> bytes:
        """Return the state after the last slab; `restore` on a new loop continues bit for bit."""
        return snapshot.encode(
            {
                "symbols": list(self.universe.symbols),
                "strategies": {s.name: s.state() for s in self.strategies},
                "intake": self._intake.state(),
                "market": self._market.state(),
                "desk": self.desk.state(),
                "rows": self.counters.rows,
                "signals": self.counters.signals,
            }
        )

    def restore(self, data: bytes) -> None:
        """Take over a snapshot. Raises DataError when it is of another universe or set of strategies."""
        state = snapshot.decode(data)
        if state["symbols"] != list(self.universe.symbols):
            raise DataError("snapshot: made with another universe of symbols")
        if list(state["strategies"]) != [s.name for s in self.strategies]:
            raise DataError(
                f"snapshot: made with strategies {', '.join(state['strategies'])},"
                f" not {', '.join(s.name for s in self.strategies)}"
            )
        for strategy in self.strategies:
            strategy.restore(state["strategies"][strategy.name])
        self._intake.restore(state["intake"])
        self._market.restore(state["market"])
        self.desk.restore(state["desk"])
        self.counters.rows = state["rows"]
        self.counters.signals = state["signals"]
