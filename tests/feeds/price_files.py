"""Price files for the tests, small and with known faults."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.slab import Bars, join
from feeds.panel import PanelFeed

HEADER = "symbol,date,open,high,low,close,volume"
DAYS = ("2024-03-04", "2024-03-05", "2024-03-06", "2024-03-07", "2024-03-08")


def write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def bar(symbol: str, day: str, close: float, volume: float = 1000) -> str:
    return f"{symbol},{day},{close},{close + 1},{close - 1},{close},{volume}"


def rows_of(feed: PanelFeed, n_rows: int = 4096) -> Bars:
    async def collect() -> list[Bars]:
        return [slab async for slab in feed.slabs(n_rows)]

    return join(asyncio.run(collect()))


def same_bars(a: Bars, b: Bars) -> bool:
    names = ("ts", "open", "high", "low", "close", "volume", "benchmark")
    return all(getattr(a, n).tobytes() == getattr(b, n).tobytes() for n in names) and bool(
        np.array_equal(a.actions, b.actions)
    )


def column(bars: Bars, feed: PanelFeed, symbol: str) -> np.ndarray:
    return bars.close[:, feed.universe.symbols.index(symbol)]


def actions_of(bars: Bars) -> list[tuple[int, int, int, float]]:
    return [(int(a["row"]), int(a["symbol"]), int(a["kind"]), float(a["value"])) for a in bars.actions]


def reasons(feed: PanelFeed) -> Sequence[tuple[int, str, str]]:
    """(row, symbol, reason) of what was set aside."""
    table = feed.quality.table
    return list(zip(table["row"], table["symbol"], table["reason"], strict=True))


def market_data() -> Path:
    """Return the folder of real data, or skip."""
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is not set: no real market data")
    return Path(folder)
