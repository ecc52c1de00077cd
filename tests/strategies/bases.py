"""Made-up price histories with bases in them, and what the tests of the breakout strategies share."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.slab import ACTION_DTYPE, NS_PER_DAY, ActionKind, Tape
from tests.strategies.random_tapes import make_tape


def path(*points: tuple[int, float]) -> np.ndarray:
    """Return closes on straight lines through (bar, price)."""
    bars, prices = zip(*points, strict=True)
    return np.interp(np.arange(bars[-1] + 1), bars, prices)


def one_symbol(closes: Any, volumes: Any = None, *, spread: float = 0.0, **actions: Any) -> Tape:
    """Return a tape of one symbol with high and low `spread` around the close; volume 1000 if not given."""
    close = np.asarray(closes, float).reshape(-1, 1)
    volume = np.full(close.shape, 1000.0) if volumes is None else np.reshape(volumes, close.shape)
    ts = np.arange(len(close)) * NS_PER_DAY
    return make_tape(ts, close, close + spread, close - spread, close, volume, **actions)


def random_bases(seed: int, n_rows: int = 420, n_symbols: int = 12, *, dirty: bool = True) -> Tape:
    """Return names that go from one cup, flat range or drift to the next, many of them near misses.

    With `dirty`: missing bars, bars without volume, a gap of more than 60 days and splits.
    """
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_symbols)
    close, volume = np.empty(shape), np.empty(shape)
    for s in range(n_symbols):
        log_price, loud = _one_history(rng, n_rows)
        close[:, s] = 20.0 * np.exp(log_price + rng.normal(0, 0.004, n_rows))
        volume[:, s] = np.floor(rng.uniform(0.7, 1.3, n_rows) * 1e5 * loud)
    close = np.round(close, 2)  # Cents, so that there are ties
    open_ = np.round(close * np.exp(rng.normal(0, 0.004, shape)), 2)
    high = np.round(np.maximum(open_, close) * (1 + np.abs(rng.normal(0, 0.004, shape))), 2)
    low = np.round(np.minimum(open_, close) * (1 - np.abs(rng.normal(0, 0.004, shape))), 2)
    high, low = np.maximum(high, np.maximum(open_, close)), np.minimum(low, np.minimum(open_, close))
    ts = 14 * 10**17 + np.arange(n_rows) * NS_PER_DAY * 7 // 5
    rows = []
    if dirty:
        missing = rng.random(shape) < 0.01
        missing[n_rows // 3 : n_rows // 3 + 50, 0] = True  # 50 rows are 70 days
        for array in (open_, high, low, close, volume):
            array[missing] = np.nan
        volume[(rng.random(shape) < 0.01) & ~missing] = 0.0
        for s in range(1, n_symbols, 2):
            row, ratio = int(rng.integers(1, n_rows)), float(rng.choice([0.5, 2.0, 4.0]))
            for array in (open_, high, low, close):
                array[row:, s] /= ratio
            volume[row:, s] *= ratio
            rows.append((row, s, ActionKind.SPLIT, ratio))
    return make_tape(ts, open_, high, low, close, volume, np.array(sorted(rows), ACTION_DTYPE))


def _one_history(rng: np.random.Generator, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    moves: list[float] = []
    loud: list[float] = []
    while len(moves) < n_rows:
        kind = rng.integers(3)
        if kind == 0:  # A cup and handle
            depth, half = rng.uniform(0.1, 0.4), int(rng.integers(14, 32))
            recovery, pullback = rng.uniform(0.8, 1.2), rng.uniform(0.03, 0.17)
            handle = int(rng.integers(4, 16))
            legs = [(half, -depth), (half, depth * recovery), (3, -pullback), (handle, 0.02)]
        elif kind == 1:
            legs = [(int(rng.integers(18, 30)), rng.uniform(-0.04, 0.04))]
        else:
            legs = [(int(rng.integers(10, 40)), rng.uniform(-0.2, 0.3))]
        for n, rise in legs:
            moves += [rise / n] * n
            loud += [1.0] * n
        moves.append(rng.uniform(0.03, 0.25))  # The breakout
        loud.append(rng.uniform(1.0, 4.0))
    return np.cumsum(moves[:n_rows]), np.array(loud[:n_rows])


def perturbed_after(tape: Tape, row: int) -> Tape:
    """Return the tape with everything from `row` on made up anew."""
    later = random_bases(999, len(tape.ts), tape.close.shape[1])
    arrays = [np.concatenate([a[:row], b[row:]]) for a, b in zip(tape[:7], later[:7], strict=True)]
    arrays[0] = tape.ts
    return Tape(*arrays, tape.actions[tape.actions["row"] < row].copy(), tape.benchmark)


def before_splits(adjusted: Tape, row: int, ratio: float) -> Tape:
    """Return the history as it was traded, had every symbol split `ratio` for one before `row`."""
    raw = [a.copy() for a in adjusted[1:6]]
    for prices in raw[:4]:
        prices[:row] *= ratio
    raw[4][:row] /= ratio
    n_symbols = adjusted.close.shape[1]
    splits = np.array([(row, s, ActionKind.SPLIT, ratio) for s in range(n_symbols)], ACTION_DTYPE)
    return Tape(adjusted.ts, *raw, adjusted.status, splits, adjusted.benchmark)


def signals_per_year(tape: Tape, signals: np.ndarray) -> tuple[dict[int, int], dict[int, float]]:
    """Return the number of signals of each year, and of names that traded on its average session."""
    year = tape.ts.astype("M8[ns]").astype("M8[Y]").astype(int) + 1970
    of_signal = year[np.searchsorted(tape.ts, signals["ts"])]
    traded = (tape.status >= 2).sum(axis=1)
    years = np.unique(year).tolist()
    return (
        {y: int((of_signal == y).sum()) for y in years},
        {y: float(traded[year == y].mean()) for y in years},
    )
