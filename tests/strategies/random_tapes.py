"""Small random panels, and ways to cut and drive them, for the tests of trend and CAN SLIM."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from engine.slab import ACTION_DTYPE, NO_ACTIONS, NS_PER_DAY, ActionKind, Tape, Universe

GAP_DAYS = 60


def universe(n_symbols: int) -> Universe:
    return Universe(tuple(f"S{i:03d}" for i in range(n_symbols)))


def make_tape(
    ts: Any, open_: Any, high: Any, low: Any, close: Any, volume: Any, actions: Any = NO_ACTIONS
) -> Tape:
    """Return a tape whose status follows from NaN, volume and the calendar."""
    status = np.where(np.isnan(close), 0, np.where(volume > 0, 2, 1)).astype(np.uint8)
    for s in range(close.shape[1]):
        traded = np.flatnonzero(status[:, s] == 2)
        for before, after in pairwise(traded):
            if ts[after] - ts[before] > GAP_DAYS * NS_PER_DAY:
                status[after, s] = 3
    arrays = [np.ascontiguousarray(a, dtype=np.float64) for a in (open_, high, low, close, volume)]
    return Tape._make(
        [np.asarray(ts, np.int64), *arrays, status, actions.copy(), np.full((len(ts), 2), np.nan)]
    )


def random_tape(
    seed: int, n_rows: int = 420, n_symbols: int = 30, *, gaps: bool = True, actions: bool = True
) -> Tape:
    """Return random walks with missing bars, zero volumes, a long gap, late listings, illiquid names."""
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_symbols)
    moves = rng.normal(0.001, 0.025, shape)
    close = 20.0 * np.exp(np.cumsum(moves, axis=0))
    open_ = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(open_, close) * (1 + np.abs(rng.normal(0, 0.01, shape)))
    low = np.minimum(open_, close) * (1 - np.abs(rng.normal(0, 0.01, shape)))
    volume = np.floor(np.exp(rng.normal(11.5, 0.5, shape) + 6 * np.abs(moves)))
    volume[:, 1] = np.floor(volume[:, 1] / 50)  # Illiquid
    ts = 14 * 10**17 + np.arange(n_rows) * NS_PER_DAY * 7 // 5
    if gaps:
        missing = rng.random(shape) < 0.02
        missing[: n_rows // 5, 2] = True  # Listed late
        missing[n_rows // 5 : n_rows // 5 + 50, 3] = True  # 50 rows are 70 days
        missing[n_rows // 5 : n_rows // 5 + 40, 4] = True  # 40 rows are 56 days
        for array in (open_, high, low, close, volume):
            array[missing] = np.nan
        volume[(rng.random(shape) < 0.02) & ~missing] = 0.0
    rows = []
    if actions:
        for _ in range(n_symbols // 2):
            row, s = int(rng.integers(1, n_rows)), int(rng.integers(n_symbols))
            rows.append((row, s, ActionKind.DIVIDEND, 0.3))
        for _ in range(n_symbols // 5):
            row, s = int(rng.integers(1, n_rows)), int(rng.integers(n_symbols))
            ratio = float(rng.choice([0.5, 2.0, 4.0]))
            for array in (open_, high, low, close):
                array[row:, s] /= ratio
            volume[row:, s] *= ratio
            rows.append((row, s, ActionKind.SPLIT, ratio))
    return make_tape(ts, open_, high, low, close, volume, np.array(sorted(rows), ACTION_DTYPE))


def cut(tape: Tape, bounds: list[int]) -> list[Tape]:
    """Return the tape in pieces that end before the given rows."""
    pieces = []
    for start, stop in pairwise([0, *sorted(set(bounds) - {0, len(tape.ts)}), len(tape.ts)]):
        actions = tape.actions[(tape.actions["row"] >= start) & (tape.actions["row"] < stop)].copy()
        actions["row"] -= start
        arrays = [np.ascontiguousarray(a[start:stop]) for a in _columns(tape)]
        pieces.append(Tape._make([*arrays, actions, tape.benchmark[start:stop]]))
    return pieces


def _columns(tape: Tape) -> list[Any]:
    return list(tape)[:7]


def run(strategy: Any, tapes: list[Tape], *, start: bool = True) -> np.ndarray:
    if start:
        strategy.start(universe(tapes[0].close.shape[1]))
    return np.concatenate([strategy.on_bars(tape, 0) for tape in tapes])


def same_state(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)


def perturbed_after(tape: Tape, row: int) -> Tape:
    """Return the tape with everything from `row` on made up anew."""
    later = random_tape(999, len(tape.ts), tape.close.shape[1], actions=False)
    arrays = [
        np.concatenate([a[:row], b[row:]]) for a, b in zip(_columns(tape), _columns(later), strict=True)
    ]
    arrays[0] = tape.ts
    return Tape._make([*arrays, tape.actions[tape.actions["row"] < row].copy(), tape.benchmark])


def keys(signals: np.ndarray) -> list[tuple[int, int, int]]:
    return [(int(r["ts"]), int(r["symbol"]), int(r["side"])) for r in signals]
