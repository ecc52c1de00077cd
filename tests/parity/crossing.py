"""What the parity tests share: our run, and a reference that turns its signals into the peers' input.

The reference knows the rules of the simulated broker from the domain specification alone: an entry is for the
next session and lapses when the symbol does not trade in it; an exit waits for the next traded bar.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.market import random_walks
from benchmarks.whole_loop import CROSS_CONFIG, NOTIONAL_USD, Run, run_loop
from engine.events import CashFlows, Signals
from engine.slab import Bars, Universe, join
from feeds.source import open_source
from strategies import registry

# Two ATRs below the entry would be a stop; this many are never reached
NO_STOP = {"atr_multiplier": 1e9}
CAPITAL_USD = CROSS_CONFIG.capital_usd
COMMISSION_RATE = CROSS_CONFIG.commission_rate


class Crossing(NamedTuple):
    """Trend following with everything else off. Arrays are [K, N]."""

    universe: Universe
    bars: Bars
    run: Run
    entries: NDArray[np.bool_]  # the rows on which an entry fills
    exits: NDArray[np.bool_]
    shares: NDArray[np.float64]  # of the entry

    @property
    def traded(self) -> NDArray[np.bool_]:
        return is_traded(self.bars)


def is_traded(bars: Bars) -> NDArray[np.bool_]:
    """Return where a symbol has a bar with volume."""
    traded: NDArray[np.bool_] = ~np.isnan(bars.close) & (bars.volume > 0.0)
    return traded


def crossing(universe: Universe, bars: Bars) -> Crossing:
    """Run trend following over `bars` and say, from its signals alone, what fills when."""
    run = run_loop(universe, bars, [registry.create("trend", **NO_STOP)], CROSS_CONFIG, 1024)
    assert run.rows(CashFlows) is None, "the panel must come without dividends and delistings"
    traded = is_traded(bars)
    entries, exits = np.zeros((2, *traded.shape), bool)
    shares = np.zeros(traded.shape)
    held = set()
    signals = run.rows(Signals)
    for signal in signals[np.argsort(signals["ts"], kind="stable")]:
        s, row = int(signal["symbol"]), int(np.searchsorted(bars.ts, signal["ts"]))
        later = np.flatnonzero(traded[row + 1 :, s])
        if signal["side"] < 0 and s in held and len(later):
            exits[row + 1 + later[0], s] = True
            held.remove(s)
        elif signal["side"] > 0 and s not in held and len(later) and later[0] == 0:
            quantity = np.floor(NOTIONAL_USD / bars.close[row, s])
            if quantity >= 1.0:
                entries[row + 1, s] = True
                shares[row + 1, s] = quantity
                held.add(s)
    return Crossing(universe, bars, run, entries, exits, shares)


def synthetic() -> Crossing:
    """Return the run over random walks with holes: late listings, halts, days without volume."""
    universe, bars = random_walks(25, 700, seed=5)
    rng = np.random.Generator(np.random.PCG64(6))
    holes = rng.random(bars.close.shape) < 0.01
    for s in range(0, bars.n_symbols, 3):
        holes[: int(rng.integers(20, 300)), s] = True
    for name in ("open", "high", "low", "close", "volume"):
        getattr(bars, name)[holes] = np.nan
    bars.volume[(rng.random(holes.shape) < 0.01) & ~holes] = 0.0
    return crossing(universe, bars)


def real(tmp_path: Path) -> Crossing:
    """Return the run over the 400 real names, total return. Skips without them."""
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is not set")
    path = Path(folder, "smallcap_daily.parquet")
    feed = open_source(path, adjustment="total_return", cache_dir=tmp_path)

    async def all_bars() -> Bars:
        return join([slab async for slab in feed.slabs(4096)])

    return crossing(feed.universe, asyncio.run(all_bars()))


def import_peer(package: str) -> Any:
    """Return a peer's package. Skips without it."""
    return pytest.importorskip(package, reason=f"{package} is not installed: make peers")
