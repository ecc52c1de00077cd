"""The loop: bars in, decisions out, the same instructions over history and live.

    feed -> Bars -> intake -> strategies -> Signals -> desk (gate, broker, ledger) -> Orders, ..., Equity

Everything a slab causes is decided synchronously in `process`; publishing is the only thing awaited. A replay
calls it with large slabs, a live feed with one row, and the events are the same, byte for byte.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine import renames, snapshot
from engine.bus import Bus
from engine.errors import DataError, EngineError
from engine.events import Batch, Equity, Signals
from engine.intake import Intake
from engine.market import MarketGate
from engine.slab import Bars, Feed, Tape, Universe

YIELD_AFTER_S = 0.005
PIECE_CELLS = 2**16  # of a slab: so many go through the whole path while they are in the cache
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
    def parameters(self) -> dict[str, Any]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class LoopDesk(Protocol):
    """What the loop needs of a desk (`brokers.desk.Desk`)."""

    def process(
        self, tape: Tape, market: NDArray[np.int64], signals: Sequence[NDArray[np.void]]
    ) -> Sequence[Batch | Equity]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class Counters(NamedTuple):
    """What has gone through the loop."""

    rows: int
    bars: int  # valid bars: traded and marking
    traded_bars: int
    invalid_bars: int
    slabs: int
    signals: int


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
        self._rows = self._slabs = self._signals = 0
        row_by_row = any(strategy.row_by_row for strategy in strategies)
        self._piece_rows = 1 if row_by_row else max(1, PIECE_CELLS // max(1, len(universe)))
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
                counters = self.counters
                progress(counters.rows, counters.bars, int(bars.ts[-1]))
            if self._stopping:
                return False
            if time.monotonic() - yielded > YIELD_AFTER_S:
                await asyncio.sleep(0)  # Off-path consumers get their turn
                yielded = time.monotonic()
        return True

    async def process(self, bars: Bars) -> None:
        """Take one slab through the whole path and publish everything it causes."""
        if bars.n_rows > self._piece_rows:
            for piece in bars.cut(self._piece_rows):
                await self.process(piece)
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
        publish = self.bus.publish
        await publish(bars)
        if moves:
            seen = self._renamed(tape, moves)
        signals = [strategy.on_bars(seen, i) for i, strategy in enumerate(self.strategies)]
        self._signals += sum(map(len, signals))
        await publish(*[Signals(rows) for rows in signals if len(rows)])
        await publish(*self.desk.process(tape, self._market.on_bars(tape), signals))
        self._slabs += 1
        self._rows += len(tape.ts)

    def _renamed(self, tape: Tape, moves: Sequence[tuple[int, int]]) -> Tape:
        """Let strategies move what they remember; return the tape as they see it afterwards."""
        symbols = self.universe.symbols
        for strategy in self.strategies:
            for old, new in moves:
                strategy.on_rename(symbols[old], symbols[new])
        return tape._replace(actions=renames.under_new_names(tape.actions))

    @property
    def counters(self) -> Counters:
        """What has gone through so far."""
        traded, marking, invalid = self._intake.counts
        return Counters(self._rows, traded + marking, traded, invalid, self._slabs, self._signals)

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
                "parameters": {s.name: s.parameters() for s in self.strategies},
                "intake": self._intake.state(),
                "market": self._market.state(),
                "desk": self.desk.state(),
                "rows": self._rows,
                "signals": self._signals,
            }
        )

    def restore(self, data: bytes) -> None:
        """Take over a snapshot. Raises DataError when it is of another universe, or of other strategies or
        parameters."""
        state = snapshot.decode(data)
        if state["symbols"] != list(self.universe.symbols):
            raise DataError("snapshot: made with another universe of symbols")
        if list(state["strategies"]) != [s.name for s in self.strategies]:
            raise DataError(
                f"snapshot: made with strategies {', '.join(state['strategies'])},"
                f" not {', '.join(s.name for s in self.strategies)}"
            )
        for strategy in self.strategies:
            now = strategy.parameters()
            saved = state.get("parameters", {}).get(strategy.name, now)  # Older snapshots do not say
            for name, value in now.items():
                if saved.get(name) != value:
                    raise DataError(
                        f"snapshot: {strategy.name} was run with other parameters;"
                        f" its {name} must be {saved.get(name)}, was {value}"
                    )
        for strategy in self.strategies:
            strategy.restore(state["strategies"][strategy.name])
        self._intake.restore(state["intake"])
        self._market.restore(state["market"])
        self.desk.restore(state["desk"])
        self._rows = state["rows"]
        self._signals = state["signals"]
