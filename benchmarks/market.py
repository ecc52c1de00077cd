"""The panel that everything is measured on: seeded random walks of the size of a small-cap universe.

500 symbols x 2,518 sessions, every bar traded, no corporate actions. Nothing in it is meant to be
profitable; what counts is that crosses, breakouts and fills come as often as on real small caps.
"""

from __future__ import annotations

import numpy as np

from engine.slab import NS_PER_DAY, Bars, Universe

SYMBOLS, SESSIONS = 500, 2_518
SMALL_SYMBOLS, SMALL_SESSIONS = 20, 400
SEED = 11
_FIRST_CLOSE = int(np.datetime64("2015-01-02T21:00", "ns").astype(np.int64))
_SECTORS = ("Biotechnology", "Energy", "Financials", "Health Care", "Industrials", "Information Technology")


def random_walks(n_symbols: int = SYMBOLS, n_rows: int = SESSIONS, seed: int = SEED) -> tuple[Universe, Bars]:
    """Return a universe and its bars: daily volatility 1.5 to 4.5 %, a common factor, louder volume on
    larger moves, quotes in cents from 3 to some hundred dollars."""
    rng = np.random.Generator(np.random.PCG64(seed))
    shape = (n_rows, n_symbols)
    market = rng.normal(0.0003, 0.01, (n_rows, 1))
    volatility = rng.uniform(0.01, 0.04, n_symbols)
    moves = market * rng.uniform(0.5, 1.5, n_symbols) + rng.standard_normal(shape) * volatility
    path = rng.uniform(8.0, 60.0, n_symbols) * np.exp(np.cumsum(moves - 0.5 * volatility**2, axis=0))
    before = np.concatenate([path[:1], path[:-1]])
    cents = {
        "open": before * np.exp(rng.standard_normal(shape) * 0.3 * volatility),
        "close": path,
    }
    close, open_ = (np.maximum(np.round(cents[name], 2), 0.05) for name in ("close", "open"))
    reach = np.abs(rng.standard_normal((2, *shape))) * 0.5 * volatility
    high = np.round(np.maximum(open_, close) * (1.0 + reach[0]), 2)
    low = np.maximum(np.round(np.minimum(open_, close) * (1.0 - reach[1]), 2), 0.01)
    loudness = 0.4 * rng.standard_normal(shape) + 12.0 * np.abs(moves)
    volume = np.rint(rng.uniform(1e5, 2e6, n_symbols) * np.exp(loudness)) + 1.0
    benchmark = np.stack([100.0 * np.exp(np.cumsum(market[:, 0])), volume.sum(axis=1)], axis=1)
    width = len(str(n_symbols))
    universe = Universe(
        symbols=tuple(f"S{i:0{width}d}" for i in range(n_symbols)),
        sectors=tuple(_SECTORS[i % len(_SECTORS)] for i in range(n_symbols)),
        benchmark="MARKET",
    )
    ts = _FIRST_CLOSE + np.arange(n_rows) * NS_PER_DAY
    return universe, Bars(ts, open_, high, low, close, volume, benchmark=benchmark)


def panel_bytes(bars: Bars) -> int:
    """Return the bytes of the panel's prices and volumes."""
    return sum(getattr(bars, name).nbytes for name in ("open", "high", "low", "close", "volume"))


def single(symbol: str) -> Universe:
    """Return a universe of one name."""
    return Universe(symbols=(symbol,))
