"""Short stories for the desk: bars and signals written out, every limit and cost off unless named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brokers.config import DeskConfig, Mode, Sizing
from brokers.desk import Desk
from engine.events import SIGNAL_DTYPE, Reason
from engine.exits import ExitRules
from engine.slab import ACTION_DTYPE, NS_PER_DAY, Bars, Membership, Universe
from tests.brokers.done import Done
from tests.brokers.random_market import Named, tape_of

Bar = tuple[float, ...] | None  # open, high, low, close and, if not a million, volume
FLAT: Bar = (10.0, 10.0, 10.0, 10.0)
NO_RULES = ExitRules()
BARE: dict[str, Any] = {
    "capital_usd": 10_000.0, "position_sizing": Sizing.FIXED_NOTIONAL, "fixed_notional_usd": 1_000.0,
    "max_positions": None, "max_name": None, "sector_limits": None, "max_gross": None, "adv_cap": None,
    "min_notional_usd": None, "individual_stop": None, "portfolio_stop": None, "drawdown_warnings": (),
    "commission_rate": 0.0, "slippage_bps": 0.0, "participation": None, "delist_after_sessions": None,
}  # fmt: skip


class Played:
    """What happened; rows count from 0."""

    def __init__(self, desk: Desk, bars: Bars, done: Done) -> None:
        self.desk, self.bars, self.done = desk, bars, done

    def row(self, ts: int) -> int:
        return int(np.searchsorted(self.bars.ts, ts))

    @property
    def fills(self) -> list[tuple[int, int, int, float, str]]:
        """(row, symbol, signed quantity, price, why)."""
        return [
            (
                self.row(x["ts"]), int(x["symbol"]), int(x["side"] * x["quantity"]), float(x["price"]),
                Reason(int(x["reason"])).name.lower(),
            )
            for x in self.done.fills
        ]  # fmt: skip

    @property
    def rejections(self) -> list[tuple[int, int, str]]:
        """(row, symbol, why)."""
        return [
            (self.row(x["ts"]), int(x["symbol"]), Reason(int(x["reason"])).name.lower())
            for x in self.done.rejections
        ]

    @property
    def ends(self) -> list[tuple[int, int, str]]:
        """(row, symbol, why) of orders that ended for a reason."""
        return [
            (self.row(x["ts"]), int(x["symbol"]), Reason(int(x["end_reason"])).name.lower())
            for x in self.done.orders
            if x["end_reason"]
        ]

    @property
    def accepted(self) -> dict[int, int]:
        """Quantity of each accepted entry by symbol."""
        rows = self.done.orders
        rows = rows[(rows["status"] == 0) & (rows["side"] == 1)]
        return {int(x["symbol"]): int(x["quantity"]) for x in rows}


def signal(row: int, side: int = 1, symbol: int = 0, **fields: Any) -> dict[str, Any]:
    return {"row": row, "side": side, "symbol": symbol, **fields}


def play(
    stories: Sequence[Bar] | Mapping[int, Sequence[Bar]],
    signals: Sequence[Mapping[str, Any]],
    *,
    rules: ExitRules | Sequence[ExitRules] = NO_RULES,
    weights: Sequence[float] | None = None,
    market: Sequence[int] = (),
    actions: Sequence[tuple[int, int, int, float]] = (),
    sectors: Sequence[str] = (),
    membership: Membership | None = None,
    **config: Any,
) -> Played:
    by_symbol = stories if isinstance(stories, Mapping) else {0: stories}
    n_rows, n_symbols = max(len(x) for x in by_symbol.values()), max(by_symbol) + 1
    ohlcv = np.full((5, n_rows, n_symbols), np.nan)
    for s, story in by_symbol.items():
        for t, bar in enumerate(story):
            if bar is not None:
                ohlcv[:, t, s] = bar if len(bar) == 5 else (*bar, 1e6)
    ts = (15_000 + np.arange(n_rows)) * NS_PER_DAY
    bars = Bars(ts, *ohlcv, np.array(list(actions), ACTION_DTYPE))
    all_rules = [rules] if isinstance(rules, ExitRules) else list(rules)
    universe = Universe(tuple(f"S{s}" for s in range(n_symbols)), tuple(sectors), membership=membership)
    strategies = [Named(f"s{i}", x) for i, x in enumerate(all_rules)]
    desk = Desk(universe, strategies, DeskConfig(**{**BARE, **config}), weights)
    script: list[list[Any]] = [[] for _ in all_rules]
    for x in signals:
        row = np.zeros((), SIGNAL_DTYPE)
        for name, kind in SIGNAL_DTYPE.fields.items():  # type: ignore[union-attr]
            if kind[0].kind == "f" or name == "details":
                row[name] = np.nan
        row["ts"], row["confidence"] = ts[x["row"]], 0.7
        row["price_ref"] = ohlcv[3, x["row"], x["symbol"]]
        for name, value in x.items():
            if name != "row":
                row[name] = value
        script[int(row["strategy"])].append(row)
    parts = [np.array(rows, SIGNAL_DTYPE) for rows in script]
    labels = np.zeros(n_rows, np.int64)
    labels[: len(market)] = market
    tape = tape_of(bars, universe)
    return Played(desk, bars, Done(desk.process(tape, labels, parts)))


BLEND = {"mode": Mode.BLEND}
