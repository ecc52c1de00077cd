"""The score of CAN SLIM for one symbol on one row, from the strategy's state after the row."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

_RETURNS = ((0.4, 63), (0.2, 126), (0.2, 189), (0.2, 252))
_YEAR, _VOLUME_BARS, _UDV_BARS = 252, 20, 50


class Score(NamedTuple):
    total: float  # NaN: too few factors are known
    parts: dict[str, tuple[float, float, str]]  # weight, sub-score (NaN: unknown), what was measured

    def factors(self) -> str:
        """Return the factors that have a weight, e.g. "C ?, L 0.81 (rank of 312), ..."."""
        shown = []
        for name, (weight, value, measured) in self.parts.items():
            if weight > 0:
                known = "?" if math.isnan(value) else f"{value:.2f}"
                shown.append(f"{name} {known}{f' ({measured})' if measured else ''}")
        return ", ".join(shown)

    @classmethod
    def of(cls, p: Any, bar: Any, n: int) -> Score:
        """Return the score of the bar's symbol at its traded bar `n` >= 252."""
        known = bar.after["fundamentals"][bar.symbol]
        c, growth = float(known[0]), float(known[3])
        closes = bar.ring("closes", n - _YEAR, n + 1)
        if math.isnan(c) and p.missing_policy.name == "PRICE_PROXY":
            growth = closes[-1] / closes[0] - 1.0
            ramp = min(1.0, max(0.0, growth / p.earnings_growth_threshold))
            c = ramp if p.earnings_ramp else float(growth >= p.earnings_growth_threshold)
        high, low = max(closes[1:]), min(closes[1:])
        distance = 1.0 - bar.close / high
        near = 1.0 - distance / p.near_high_threshold if distance <= p.near_high_threshold else 0.0
        mean = sum(bar.ring("volumes", n - _VOLUME_BARS, n)) / _VOLUME_BARS
        louder = bar.volume / mean - 1.0 if mean else math.inf
        up = bar.close > closes[-2]
        demand = float(louder >= p.volume_threshold and (up or not p.require_up_day))
        strength, remark = _strength(p, bar, n, low, high)
        if strength < p.rs_gate:
            strength = 0.0
        parts = {
            "C": (p.w_c, c, _earnings(c, growth)),
            "L": (p.w_l, strength, remark),
            "N": (p.w_n, near, f"{distance:.1%} below the 252-bar high"),
            "S": (p.w_s, demand, f"volume {1 + louder:.2f}x, {'up' if up else 'no up'} day"),
            "A": (p.w_a, float(known[1]), ""),
            "I": (p.w_i, _sponsorship(bar, n) if p.w_i > 0 else math.nan, ""),
        }
        return cls(_weighted(p, [(weight, value) for weight, value, _ in parts.values()]), parts)


def _earnings(c: float, growth: float) -> str:
    if not math.isnan(growth):
        return f"growth {growth:.0%}"
    if math.isnan(c):
        return "no facts"
    return "profit after a loss" if c > 0.0 else "no profit, nor a year before"  # From a loss nothing grows


def _weighted(p: Any, factors: list[tuple[float, float]]) -> float:
    value = weight = missing = 0.0
    for w, x in factors:
        if not math.isnan(x):
            value += w * x
            weight += w
        elif p.missing_policy.name == "ZERO":
            weight += w
        else:
            missing += w
    total = float(p.w_c + p.w_l + p.w_n + p.w_s + p.w_a + p.w_i)
    if weight <= 0.0 or weight / total < p.min_coverage:
        return math.nan
    return float(value) / weight * (1.0 - float(p.missing_penalty) * (missing / total))


def _strength(p: Any, bar: Any, n: int, low: float, high: float) -> tuple[float, str]:
    """Return the rank among all liquid names of the row, or the place in the year's range if they are few."""
    raws = {s: _raw(bar.after, s) for s in np.flatnonzero(bar.traded).tolist() if _is_ranked(p, bar.after, s)}
    if len(raws) < p.min_names:
        place = (bar.close - low) / (high - low) if high > low else math.nan
        return place, f"place in the 252-bar range; {len(raws)} names are too few to rank"
    own = raws.get(bar.symbol)
    if own is None:
        return math.nan, f"not ranked: 20-bar dollar volume below {p.min_adv_usd:,.0f}"
    less = sum(raw < own for raw in raws.values())
    equal = sum(raw == own for raw in raws.values())
    return (less + (equal + 1) / 2.0 - 1.0) / (len(raws) - 1.0), f"rank among {len(raws)}"


def _is_ranked(p: Any, state: Any, s: int) -> bool:
    n = int(state["bars"][s]) - 1
    if n < _YEAR:
        return False
    closes, volumes = state["closes"][:, s], state["volumes"][:, s]
    total = 0.0
    for i in range(n - _VOLUME_BARS + 1, n + 1):
        total += closes[i & (len(closes) - 1)] * volumes[i & (len(volumes) - 1)]
    return bool(total / _VOLUME_BARS >= p.min_adv_usd)


def _raw(state: Any, s: int) -> float:
    total, n = state["total"][:, s], int(state["bars"][s]) - 1
    mask = len(total) - 1
    value = 0.0
    for i, (weight, bars) in enumerate(_RETURNS):
        part = weight * (total[n & mask] / total[(n - bars) & mask] - 1.0)
        value = part if i == 0 else value + part
    return float(value)


def _sponsorship(bar: Any, n: int) -> float:
    filed = float(bar.after["fundamentals"][bar.symbol][2])
    if not math.isnan(filed):
        return filed
    closes = bar.ring("closes", n - _UDV_BARS, n + 1)
    volumes = bar.ring("volumes", n - _UDV_BARS + 1, n + 1)
    up = down = 0.0
    for before, close, volume in zip(closes, closes[1:], volumes, strict=False):
        if close > before:
            up += volume
        elif close < before:
            down += volume
    if down == 0.0:
        return 1.0 if up > 0.0 else 0.0
    return min(1.0, max(0.0, (up / down - 1.0) / 0.5))
