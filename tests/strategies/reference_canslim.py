"""CAN SLIM, slow and obvious: whole histories with pandas, one symbol and one timestamp at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from engine.facts import FactItem
from engine.slab import Tape
from tests.strategies.reference_trend import adjusted

DAY = pd.Timedelta(days=1).value


@dataclass
class Rules:
    w_c: float = 0.25
    w_l: float = 0.25
    w_n: float = 0.25
    w_s: float = 0.25
    w_a: float = 0.0
    w_i: float = 0.0
    ramp: bool = False
    rs_gate: float = 0.0
    require_up_day: bool = True
    min_score: float = 0.75
    policy: str = "renormalise"
    min_names: int = 20
    exit_rs_below: float = 0.0


def canslim_signals(tape: Tape, facts: Any, rules: Rules) -> list[tuple[float, ...]]:
    """Return (ts, symbol, side, confidence, c, l, n, s, percentile, high, ratio), by time and symbol."""
    frames = []
    for s in range(tape.close.shape[1]):
        for segment, bars in adjusted(tape, s).groupby("segment"):
            frame = _measured(bars.reset_index(drop=True), tape, s)
            frames.append(frame.assign(symbol=s, segment=segment))
    panel = pd.concat(frames, ignore_index=True)
    ranked = panel["raw"].notna() & (panel["adv"] >= 500_000)
    panel["rank_raw"] = panel["raw"].where(ranked)
    by_row = panel.groupby("row")["rank_raw"]
    n_names = by_row.transform("count")
    panel["p"] = ((by_row.rank(method="average") - 1) / (n_names - 1)).where(n_names >= rules.min_names)
    position = (panel["close"] - panel["low252"]) / (panel["high252"] - panel["low252"])
    panel["l"] = panel["p"].where(n_names >= rules.min_names, position)
    panel.loc[panel["l"] < rules.rs_gate, "l"] = 0.0
    found = []
    for (symbol, _), bars in panel.groupby(["symbol", "segment"]):
        found += _decisions(bars.reset_index(drop=True), facts[facts["symbol"] == symbol], rules)
    return sorted(found)


def _measured(bars: pd.DataFrame, tape: Tape, s: int) -> pd.DataFrame:
    close, volume = bars["close"], bars["volume"]
    # Everything that went ex since the traded bar before
    paid = bars["dividends_so_far"].diff().fillna(0.0)
    total = ((close + paid) / close.shift()).fillna(1.0).cumprod()
    bars["raw"] = sum(
        w * (total / total.shift(k) - 1) for w, k in ((0.4, 63), (0.2, 126), (0.2, 189), (0.2, 252))
    )
    bars["adv"] = (close * volume).rolling(20).mean()
    bars["high252"] = close.rolling(252).max()
    bars["low252"] = close.rolling(252).min()
    bars["ratio"] = volume / volume.rolling(20).mean().shift()
    bars["up"] = close > close.shift()
    bars["growth252"] = close / close.shift(252) - 1
    up = volume.where(close > close.shift(), 0.0).rolling(50).sum()
    down = volume.where(close < close.shift(), 0.0).rolling(50).sum()
    bars["udv"] = up / down
    return bars


def _decisions(bars: pd.DataFrame, facts: Any, rules: Rules) -> list[tuple[float, ...]]:
    found = []
    armed, last_buy, ranked_high = True, -1000, False
    for t in range(252, len(bars)):
        bar = bars.iloc[t]
        visible = facts[facts["available_ns"] <= bar["ts"]]
        c = earnings(visible, int(bar["ts"]), rules.ramp)
        if c is None and rules.policy == "price_proxy":
            growth = bar["growth252"]
            c = float(np.clip(growth / 0.25, 0, 1)) if rules.ramp else float(growth >= 0.25)
        distance = 1 - bar["close"] / bar["high252"]
        n = 1 - distance / 0.15 if distance <= 0.15 else 0.0
        demand = float(bar["ratio"] - 1 >= 0.20 and (bar["up"] or not rules.require_up_day))
        strength = None if np.isnan(bar["l"]) else bar["l"]
        a = annual(visible, int(bar["ts"]))
        i = holders(visible, int(bar["ts"]))
        if i is None:
            i = float(np.clip((bar["udv"] - 1) / 0.5, 0, 1))
        factors = [
            (rules.w_c, c), (rules.w_l, strength), (rules.w_n, n), (rules.w_s, demand), (rules.w_a, a),
            (rules.w_i, i),
        ]  # fmt: skip
        score = _score(factors, rules.policy)
        bought = False
        if score is not None:
            if score < rules.min_score:
                armed = True
            elif armed and t - last_buy > 20:
                armed, last_buy, bought = False, t, True
                found.append(_signal(bar, 1, score, c, strength, n, demand))
        if rules.exit_rs_below > 0 and not np.isnan(bar["p"]):
            if bar["p"] >= rules.exit_rs_below:
                ranked_high = True
            elif ranked_high and not bought:
                ranked_high = False
                found.append(_signal(bar, -1, max(0.5, 1 - bar["p"]), np.nan, np.nan, np.nan, np.nan))
    return found


def _signal(bar: Any, side: int, confidence: float, c: Any, strength: Any, n: Any, demand: Any) -> Any:
    nothing = side == -1
    numbers = [np.nan if x is None else x for x in (c, strength, n, demand)]
    high = np.nan if nothing else bar["high252"] * bar["basis"]
    ratio = np.nan if nothing else bar["ratio"]
    return (bar["ts"], bar["symbol"], side, confidence, *numbers, bar["p"], high, ratio)


def _score(factors: list[tuple[float, float | None]], policy: str) -> float | None:
    if policy == "zero":
        factors = [(w, 0.0 if x is None else x) for w, x in factors]
    there = [(w, x) for w, x in factors if x is not None]
    total, weight = sum(w for w, _ in factors), sum(w for w, _ in there)
    if weight / total < 0.5:
        return None
    return sum(w * x for w, x in there) / weight * (1 - 0.2 * (1 - weight / total))


def _latest(visible: Any, item: FactItem) -> dict[int, float]:
    chosen = visible[visible["item"] == item]
    return {int(f["period_end_ns"]): float(f["value"]) for f in chosen}


def _a_year_before(values: dict[int, float], period: int, days: int = 365) -> int | None:
    near = [p for p in values if abs(period - p - days * DAY) <= 45 * DAY]
    return min(near, key=lambda p: abs(period - p - days * DAY)) if near else None


def _grew(new: float, old: float) -> bool:
    return new > 0 if old <= 0 else (new - old) / abs(old) >= 0.25


def earnings(visible: Any, now: int, ramp: bool) -> float | None:
    quarters = _latest(visible, FactItem.EPS)
    if quarters and now - max(quarters) <= 200 * DAY:
        newest = max(quarters)
        before = _a_year_before(quarters, newest)
        if before is not None:
            new, old = quarters[newest], quarters[before]
            if old <= 0 or not ramp:
                return float(_grew(new, old))
            return float(np.clip((new - old) / abs(old) / 0.25, 0, 1))
    stated = visible[visible["item"] == FactItem.EARNINGS_GROWTH]
    if len(stated) and now - stated[-1]["available_ns"] <= 200 * DAY:
        growth = float(stated[-1]["value"])
        return float(np.clip(growth / 0.25, 0, 1)) if ramp else float(growth >= 0.25)
    return None


def annual(visible: Any, now: int) -> float | None:
    years = _latest(visible, FactItem.ANNUAL_EPS)
    if not years or now - max(years) > 565 * DAY:
        return None
    chain = [max(years)]
    while len(chain) < 4:
        before = _a_year_before(years, chain[-1])
        if before is None:
            return None
        chain.append(before)
    share = sum(_grew(years[chain[k]], years[chain[k + 1]]) for k in range(3)) / 3
    roe = _latest(visible, FactItem.ROE)
    return share / 2 if roe and roe[max(roe)] < 0.17 else share


def holders(visible: Any, now: int) -> float | None:
    counts = _latest(visible, FactItem.INSTITUTIONAL_HOLDERS)
    if not counts or now - max(counts) > 200 * DAY:
        return None
    before = _a_year_before(counts, max(counts), 91)
    return None if before is None else float(counts[max(counts)] > counts[before])
