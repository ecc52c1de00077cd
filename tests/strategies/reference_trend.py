"""EMA trend, slow and obvious: whole arrays of one symbol at a time, with pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.slab import Tape


def adjusted(tape: Tape, s: int) -> pd.DataFrame:
    """Return the traded bars of a symbol on the basis of its last bar, with `segment` after long gaps."""
    frame = pd.DataFrame({n: getattr(tape, n)[:, s] for n in ("high", "low", "close", "volume", "status")})
    frame["ts"] = tape.ts
    frame["dividend"] = 0.0
    frame["basis"] = 1.0
    for action in tape.actions[tape.actions["symbol"] == s]:
        if action["kind"] == 0:
            before = frame.index < action["row"]
            frame.loc[before, ["high", "low", "close"]] /= action["value"]
            frame.loc[before, "volume"] *= action["value"]
            frame.loc[before, "dividend"] /= action["value"]
            frame.loc[before, "basis"] *= action["value"]
        elif action["kind"] == 1:
            frame.loc[action["row"], "dividend"] += action["value"]
    frame["dividends_so_far"] = frame["dividend"].cumsum()
    frame = frame[frame["status"] >= 2].reset_index(names="row")
    frame["segment"] = (frame["status"] == 3).cumsum()
    return frame


def trend_signals(tape: Tape, *, pending_bars: int = 0, simple: bool = False) -> list[tuple[float, ...]]:
    """Return (ts, symbol, side, confidence, stop_distance, atr) sorted by time and symbol."""
    found = []
    for s in range(tape.close.shape[1]):
        for _, bars in adjusted(tape, s).groupby("segment"):
            found += _one_symbol(bars.reset_index(drop=True), s, pending_bars, simple)
    return sorted(found)


def _one_symbol(bars: pd.DataFrame, s: int, pending_bars: int, simple: bool) -> list[tuple[float, ...]]:
    close = bars["close"]
    fast = close.ewm(span=10, adjust=False).mean()
    slow = close.ewm(span=30, adjust=False).mean()
    previous = close.shift()
    true_range = np.maximum(bars["high"], previous) - np.minimum(bars["low"], previous)
    true_range = true_range[1:]
    if simple:
        atr = true_range.rolling(14).mean()
    else:
        seeded = true_range[13:].copy()
        if len(seeded):
            seeded.iloc[0] = true_range[:14].mean()
        atr = seeded.ewm(alpha=1 / 14, adjust=False).mean()
    crossed_up = (fast > slow) & (fast.shift() <= slow.shift())
    crossed_down = (fast < slow) & (fast.shift() >= slow.shift())
    events = []
    for t in range(60, len(bars)):
        if crossed_up[t]:
            for later in range(t, min(t + pending_bars + 1, len(bars))):
                if not fast[later] > slow[later]:
                    break
                if close[later] > fast[later]:
                    events.append((later, 1))
                    break
        if crossed_down[t]:
            events.append((t, -1))
    found: list[tuple[float, ...]] = []
    for t, side in events:
        moves = np.abs(np.diff(close[t - 20 : t + 1])).sum()
        er = side * (close[t] - close[t - 20]) / moves
        gap = abs(fast[t] - slow[t]) / atr[t]
        confidence = 0.5 + 0.25 * np.clip(gap / 0.25, 0, 1) + 0.25 * np.clip(er / 0.5, 0, 1)
        basis = bars["basis"][t]
        stop = 2.0 * atr[t] * basis if side == 1 else np.nan
        found.append((bars["ts"][t], s, side, confidence, stop, atr[t] * basis))
    return found
