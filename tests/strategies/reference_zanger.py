"""Cup with handle, slow and obvious: for each bar, the definition over the whole history before it."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np

from engine.slab import Tape
from tests.strategies.reference_trend import adjusted

DEFAULTS: dict[str, Any] = {
    "cup_lookback": 120, "handle_min": 5, "handle_max": 15, "cup_depth_min": 0.12, "cup_depth_max": 0.35,
    "cup_min_bars": 35, "recovery_threshold": 0.85, "recovery_max": 1.25, "handle_pullback_min": 0.05,
    "handle_pullback_max": 0.15, "handle_upper_frac": 0.5, "breakout_threshold": 0.02,
    "volume_multiplier": 1.5, "price_basis": "close", "handle_ref": "low", "confidence": "recovery",
    "cooldown_bars": 0, "min_roundness": None, "max_dryup": None, "min_prior_rise": None,
    "max_extension": None, "max_pay_up": None, "handle_slope_nonpos": False, "above_sma": None,
    "bottom_position_min": 0.0, "bottom_position_max": 1.0,
}  # fmt: skip


def cup_signals(tape: Tape, **options: Any) -> tuple[list[tuple[float, ...]], Counter[str]]:
    """Return rows (ts, symbol, confidence, stop, open_max, *measurements) and the tally of conditions."""
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
    c, v = b["close"], b["volume"]
    hi, lo = (b["high"], b["low"]) if o["price_basis"] == "hl" else (c, c)
    need = o["cup_lookback"] + (60 if o["min_prior_rise"] else 0)
    if t < max(need, 20, (o["above_sma"] or 0) - 1):
        return "warmup", ()
    volume_ratio = v[t] / np.mean(v[t - 20 : t])
    if not v[t] >= o["volume_multiplier"] * np.mean(v[t - 20 : t]):
        return "volume", ()

    r = max(range(t - 1 - o["handle_max"], t), key=lambda k: (hi[k], k))
    p = hi[r]
    if not c[t] >= p * (1 + o["breakout_threshold"]):
        return "breakout", ()
    handle = range(r + 1, t)
    if len(handle) < o["handle_min"]:
        return "handle_length", ()
    handle_low = min(lo[k] for k in handle)
    if not o["handle_pullback_min"] <= (p - handle_low) / p <= o["handle_pullback_max"]:
        return "handle_pullback", ()

    w0 = t - o["cup_lookback"]
    a = None
    for k in range(r - 1, w0, -1):
        m = min(lo[k + 1 : r]) if k < r - 1 else lo[r - 1]
        if (
            r - k >= o["cup_min_bars"]
            and hi[k] > m
            and (hi[k] - m) / hi[k] >= o["cup_depth_min"]
            and hi[k] >= m + (p - m) / o["recovery_max"]
        ):
            a = k
            break
        if hi[k] > p:
            return "left_lip", ()
    if a is None:
        return "left_lip", ()
    bottom = max(k for k in range(a + 1, r) if lo[k] == m)
    while a - 1 > w0 and hi[a - 1] >= hi[a]:
        a -= 1
    if not hi[a - 1] < hi[a]:
        return "left_lip", ()
    rim = hi[a]

    if not o["cup_depth_min"] <= (rim - m) / rim <= o["cup_depth_max"]:
        return "depth", ()
    recovery = (p - m) / (rim - m)
    if not o["recovery_threshold"] <= recovery <= o["recovery_max"]:
        return "recovery", ()
    where = (p + handle_low) / 2 if o["handle_ref"] == "mid" else handle_low
    if not where >= m + o["handle_upper_frac"] * (rim - m):
        return "handle_position", ()

    round_share = np.mean(c[a : r + 1] <= m + (rim - m) / 3)
    dry_up = np.mean(v[r + 1 : t]) / np.mean(v[a : r + 1])
    if o["min_roundness"] and round_share < o["min_roundness"]:
        return "roundness", ()
    if o["max_dryup"] and dry_up > o["max_dryup"]:
        return "dry_up", ()
    if o["min_prior_rise"] and rim / min(lo[a - 60 : a]) - 1 < o["min_prior_rise"]:
        return "prior_rise", ()
    if o["max_extension"] and c[t] / p - 1 > o["max_extension"]:
        return "extension", ()
    if o["handle_slope_nonpos"] and _slope(c[r + 1 : t]) > 0:
        return "handle_slope", ()
    if o["above_sma"] and not c[t] > np.mean(c[t - o["above_sma"] + 1 : t + 1]):
        return "above_sma", ()
    if not o["bottom_position_min"] <= (bottom - a) / (r - a) <= o["bottom_position_max"]:
        return "bottom_position", ()

    if o["confidence"] == "composite":
        terms = [(recovery, 0.85, 1), (volume_ratio, 1.5, 3), (round_share, 0.2, 0.45), (dry_up, 1.2, 0.7)]
        confidence = 0.6 + sum(0.1 * np.clip((x - x0) / (x1 - x0), 0, 1) for x, x0, x1 in terms)
    else:
        confidence = np.clip(0.60 + recovery - o["recovery_threshold"], 0, 1)
    basis = b["basis"][t]
    open_max = p * (1 + o["max_pay_up"]) * basis if o["max_pay_up"] else np.nan
    return "signal", (
        confidence, handle_low * 0.995 * basis, open_max,
        p * basis, handle_low * basis, rim * basis, m * basis,
        (rim - m) / rim, recovery, r - a, len(handle), volume_ratio, round_share,
    )  # fmt: skip


def _slope(values: np.ndarray) -> Fraction:
    """Return the least-squares slope, exactly."""
    y = [Fraction(float(value)) for value in values]
    x_mean, y_mean = Fraction(len(y) - 1, 2), sum(y) / len(y)
    return sum(((x - x_mean) * (v - y_mean) for x, v in enumerate(y)), Fraction(0))
