"""Livermore breakout, slow and obvious: for each bar, the definition over the whole history before it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from engine.slab import Tape
from tests.strategies.reference_trend import adjusted

DEFAULTS: dict[str, Any] = {
    "consolidation_window": 20, "max_range_percentage": 0.15, "breakout_threshold": 0.02,
    "volume_multiplier": 1.3, "min_bars": 40, "confidence": "range_volume", "stop_mode": "lower",
    "cooldown_bars": 0, "max_contraction": None, "max_atr_ratio": None, "above_sma": None,
    "max_extension": None,
}  # fmt: skip


def livermore_signals(tape: Tape, **options: Any) -> tuple[list[tuple[float, ...]], Counter[str]]:
    """Return rows (ts, symbol, confidence, stop, *measurements) and the tally of conditions."""
    o = DEFAULTS | options
    found, tally = [], Counter()
    for s in range(tape.close.shape[1]):
        for _, bars in adjusted(tape, s).groupby("segment"):
            b = {n: bars[n].to_numpy() for n in ("high", "low", "close", "volume", "ts", "basis")}
            last_buy = None
            for t in range(len(b["ts"])):
                condition, values = _judge(b, t, o)
                if condition == "signal" and last_buy is not None and t - last_buy <= o["cooldown_bars"]:
                    condition = "cooldown"
                tally[condition] += 1
                if condition == "signal":
                    last_buy = t
                    found.append((b["ts"][t], s, *values))
    return sorted(found), tally


def _judge(b: dict[str, np.ndarray], t: int, o: dict[str, Any]) -> tuple[str, tuple[float, ...]]:
    n = o["consolidation_window"]
    if t < max(o["min_bars"], n, (o["above_sma"] or 0) - 1, 51 if o["max_atr_ratio"] else 0):
        return "warmup", ()
    close, high, low = b["close"][t], b["high"][t - n : t], b["low"][t - n : t]
    mean_volume = np.mean(b["volume"][t - n : t])
    ratio = b["volume"][t] / mean_volume
    if not b["volume"][t] >= o["volume_multiplier"] * mean_volume:
        return "volume", ()
    upper, lower = max(high), min(low)
    if not close >= (1 + o["breakout_threshold"]) * upper:
        return "breakout", ()
    width = (upper - lower) / lower
    if not (upper > lower and width <= o["max_range_percentage"]):
        return "range", ()
    if o["max_contraction"]:
        half = n - n // 2
        older, younger = np.ptp([*high[:half], *low[:half]]), np.ptp([*high[half:], *low[half:]])
        if not younger <= o["max_contraction"] * older:
            return "contraction", ()
    if o["max_atr_ratio"] and not _atr(b, t - 1, 14) / _atr(b, t - 1, 50) <= o["max_atr_ratio"]:
        return "atr_ratio", ()
    if o["above_sma"] and not close > np.mean(b["close"][t - o["above_sma"] + 1 : t + 1]):
        return "above_sma", ()
    if o["max_extension"] and not close / upper - 1 <= o["max_extension"]:
        return "extension", ()
    narrow = 1 - width / o["max_range_percentage"]
    if o["confidence"] == "original":
        confidence = narrow
    else:
        confidence = 0.5 + 0.3 * narrow + 0.2 * np.clip((ratio - o["volume_multiplier"]) / 1.7, 0, 1)
    basis = b["basis"][t]
    stop = (upper + lower) / 2 if o["stop_mode"] == "mid" else lower
    return "signal", (
        confidence, stop * basis, upper * basis, lower * basis, width, ratio, close / upper - 1
    )  # fmt: skip


def _atr(b: dict[str, np.ndarray], t: int, period: int) -> float:
    """Return Wilder's ATR of bars 0..t as explicit weights on the true ranges."""
    before = b["close"][:t]
    ranges = np.maximum(b["high"][1 : t + 1], before) - np.minimum(b["low"][1 : t + 1], before)
    later = len(ranges) - period
    keep = 1 - 1 / period
    weights = np.concatenate(
        [np.full(period, keep**later / period), keep ** np.arange(later - 1, -1, -1) / period]
    )
    return float(weights @ ranges)
