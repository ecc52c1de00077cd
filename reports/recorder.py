"""The recorder: keeps everything that a run published and fingerprints it.

It subscribes inline, so it sees the events in their total order and nothing is missing when the run ends.

1. The event-log hash does not depend on how the rows were cut into slabs: each kind of event (signals: each
   strategy) has a digest of its own over the bytes of its rows, and the digests are combined in fixed order.
2. Two runs with equal hashes published the same signals, orders, fills, rejections, cash flows, trades, risk
   events and equity, to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from engine.events import (
    DTYPES,
    Batch,
    CashFlows,
    Equity,
    Fills,
    Orders,
    Reason,
    Rejections,
    RiskEvents,
    Signals,
    Trades,
)
from engine.slab import Bars, Universe
from reports.marks import Marks
from strategies.aggregation import BLEND_MEASUREMENTS

if TYPE_CHECKING:
    from engine.bus import Bus
    from engine.loop import Loop

BLEND = "blend"


class NamedStrategy(Protocol):
    """What the recorder needs of a strategy: its names."""

    @property
    def name(self) -> str: ...
    @property
    def short(self) -> str: ...
    @property
    def measurements(self) -> tuple[str, ...]: ...


class Recorder:
    """Collects one run. `strategy_names` and `measurements` have a last entry for the blend of all,
    whose signals carry that index."""

    def __init__(
        self, universe: Universe, strategies: Sequence[NamedStrategy], accounts: Sequence[str], *,
        capital_usd: Sequence[float],
        fractional_shares: bool = False,
    ) -> None:  # fmt: skip
        """`accounts` and `capital_usd` have one entry per column of the `Equity` events."""
        self.universe = universe
        self.strategy_names = (*(strategy.name for strategy in strategies), BLEND)
        self.measurements = (
            *(strategy.measurements for strategy in strategies),
            blend_measurements(strategies),
        )
        self.accounts = tuple(accounts)
        self.capital_usd = tuple(capital_usd)
        self.fractional_shares = fractional_shares
        self._batches: dict[type[Batch], list[NDArray[np.void]]] = {kind: [] for kind in DTYPES}
        self._equity: list[Equity] = []
        self._benchmark: list[NDArray[np.float64]] = []
        self.marks = Marks()
        self._digests: dict[str, Any] = {}

    @classmethod
    def attached_to(cls, loop: Loop) -> Recorder:
        """Return a recorder of a loop that has not run yet, subscribed to its bus."""
        desk: Any = loop.desk
        recorder = cls(
            loop.universe,
            cast("Sequence[NamedStrategy]", loop.strategies),
            desk.accounts,
            capital_usd=(desk.state()["accounts"]["equity"] / 1e6).tolist(),
            fractional_shares=desk.config.fractional_shares,
        )
        recorder.subscribe(loop.bus)
        return recorder

    def subscribe(self, bus: Bus) -> None:
        """Listen to everything a run publishes."""
        for kind in DTYPES:
            bus.subscribe(kind, self.on_batch)
        bus.subscribe(Equity, self.on_equity)
        bus.subscribe(Bars, self.on_bars)

    def on_batch(self, event: Batch) -> None:
        kind, rows = type(event), event.rows
        # Which strategy's signals come first depends on the slabs; the order within one does not.
        name = f"Signals {rows['strategy'][0]}" if kind is Signals else kind.__name__
        self._digest(name, rows)
        self._batches[kind].append(rows)
        if kind is Fills:
            self.marks.on_fills(rows)

    def on_equity(self, event: Equity) -> None:
        for name in ("ts", "cash", "gross", "equity"):
            self._digest(f"Equity {name}", getattr(event, name))
        self._equity.append(event)
        self.marks.on_slab_done()

    def on_bars(self, event: Bars) -> None:
        self._benchmark.append(event.benchmark[:, 0].copy())
        self.marks.on_bars(event)

    def rows(self, kind: type[Batch]) -> NDArray[np.void]:
        """Return all rows of a kind: signals by (ts, strategy, symbol), others in the order they happened."""
        batches = self._batches[kind]
        if not batches:
            return np.empty(0, DTYPES[kind])
        rows = batches[0] if len(batches) == 1 else np.concatenate(batches)
        if kind is Signals:
            # Strategies publish slab by slab: only sorting makes the order independent of the slabs.
            rows = rows[np.lexsort((rows["symbol"], rows["strategy"], rows["ts"]))]
        self._batches[kind] = [rows]
        return rows

    def equity(self) -> Equity:
        """Return the equity of all accounts at every close so far."""
        if len(self._equity) != 1:
            none = Equity(np.empty(0, np.int64), np.empty((0, len(self.accounts), 3), np.int64))
            parts = self._equity or [none]
            ts, marks = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ts", "marks"))
            self._equity = [Equity(ts, marks)]
        return self._equity[0]

    def benchmark_close(self) -> NDArray[np.float64]:
        """Return float64[K], the benchmark's close at every row so far, NaN where it has none."""
        return np.concatenate(self._benchmark) if self._benchmark else np.empty(0)

    def counts(self) -> dict[str, int]:
        """Return how many of each there were. `orders` counts orders, not their changes of status."""
        orders = self.rows(Orders)
        return {
            "signals": sum(map(len, self._batches[Signals])),
            "orders": len(np.unique(orders["order_id"])),
            "fills": sum(map(len, self._batches[Fills])),
            "rejections": sum(map(len, self._batches[Rejections])),
            "cashflows": sum(map(len, self._batches[CashFlows])),
            "trades": sum(map(len, self._batches[Trades])),
            "risk_events": sum(map(len, self._batches[RiskEvents])),
        }

    def rejections_by_reason(self, strategy: int | None = None) -> dict[str, int]:
        """Return rejections per reason, the most frequent first; of one strategy if given."""
        rows = self.rows(Rejections)
        if strategy is not None:
            rows = rows[rows["strategy"] == strategy]
        return count_reasons(rows["reason"])

    def event_log_hash(self) -> str:
        """Return the sha256 (hex) of all events so far."""
        combined = hashlib.sha256()
        for name in sorted(self._digests):
            combined.update(f"{name}:{self._digests[name].hexdigest()}\n".encode())
        return combined.hexdigest()

    def _digest(self, name: str, rows: NDArray[Any]) -> None:
        digest = self._digests.get(name)
        if digest is None:
            digest = self._digests[name] = hashlib.sha256()
        digest.update(rows.tobytes())


def count_reasons(reasons: NDArray[np.int64]) -> dict[str, int]:
    """Return how often each reason occurs, by name, the most frequent first, equals by name."""
    values, counts = np.unique(reasons, return_counts=True)
    pairs = [
        (Reason(value).name.lower(), n) for value, n in zip(values.tolist(), counts.tolist(), strict=True)
    ]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def blend_measurements(strategies: Sequence[NamedStrategy]) -> tuple[str, ...]:
    """Return the names of an aggregated signal's details: the vote, then each strategy's share in it."""
    return (*BLEND_MEASUREMENTS, *(f"share_{strategy.short or strategy.name}" for strategy in strategies))
