"""Strategies that cheat, each in its own way, and honest ones beside them."""

from __future__ import annotations

import numpy as np

from engine.events import SIGNAL_DTYPE
from engine.slab import NS_PER_DAY
from strategies.base import RowStrategy, Signal, Strategy
from strategies.registry import register

HIGH_BARS = 252


def signals_at(tape, buy, details):
    """Return a BUY for each True of bool[K, N], with one measurement float64[K, N]."""
    t, s = np.nonzero(buy & (tape.status >= 2))
    rows = np.zeros(len(t), SIGNAL_DTYPE)
    rows["ts"], rows["symbol"], rows["side"], rows["confidence"] = tape.ts[t], s, 1, 0.6
    rows["price_ref"] = tape.close[t, s]
    for name in (
        "structure_stop",
        "stop_distance",
        "limit",
        "trigger",
        "trail",
        "open_max",
        "pivot",
        "target",
    ):
        rows[name] = np.nan
    rows["details"] = np.nan
    rows["details"][:, 0] = details[t, s]
    return rows


class OverSlab(Strategy):
    """Plain Python over a slab; `past` holds the closes before it."""

    measurements = ("value",)
    bars_kept = 1

    @property
    def warmup_bars(self):
        return self.bars_kept

    def start(self, universe):
        self.past = np.full((self.bars_kept, len(universe)), np.nan)

    def state(self):
        return {"past": self.past.copy()}

    def restore(self, state):
        self.past = state["past"].copy()

    def on_bars(self, tape, index):
        history = np.concatenate([self.past, tape.close])
        k = len(self.past)
        self.past = history[-k:].copy()
        with np.errstate(invalid="ignore"):
            return self.judge(tape, history, k)


@register
class Clairvoyant(OverSlab):
    """Buys when the next bar of the slab closes higher: `shift(-1)`."""

    name = "clairvoyant"

    def judge(self, tape, history, k):
        rise = np.full(tape.close.shape, np.nan)
        rise[:-1] = tape.close[1:] / tape.close[:-1] - 1
        return signals_at(tape, rise > 0.02, rise)


@register
class Normalised(OverSlab):
    """Buys unusual volume, measured against mean and deviation of the whole slab: a global z-score."""

    name = "normalised"

    def judge(self, tape, history, k):
        volume = tape.volume
        counts = np.maximum(1, (~np.isnan(volume)).sum(axis=0))
        mean = np.nansum(volume, axis=0) / counts
        sd = np.sqrt(np.nansum((volume - mean) ** 2, axis=0) / counts)
        z = (volume - mean) / np.where(sd > 0, sd, 1.0)
        return signals_at(tape, z > 2.0, z)


@register
class Centred(OverSlab):
    """Buys above the mean of a window of 11 bars that is centred on the bar, 5 of them still to come."""

    name = "centred"
    bars_kept = 5

    def judge(self, tape, history, k):
        padded = np.concatenate([history, np.full((5, history.shape[1]), np.nan)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 11, axis=0)
        counts = np.maximum(1, (~np.isnan(windows)).sum(axis=-1))
        mean = (np.nansum(windows, axis=-1) / counts)[: len(tape.ts)]
        return signals_at(tape, tape.close > 1.05 * mean, mean)


@register
class ShiftedHigh(OverSlab):
    """Buys a close above the high of 252 bars that is shifted by one bar in the wrong direction."""

    name = "shifted_high"
    bars_kept = HIGH_BARS

    def judge(self, tape, history, k):
        windows = np.lib.stride_tricks.sliding_window_view(history, HIGH_BARS, axis=0)
        high = np.nanmax(np.nan_to_num(windows, nan=-np.inf), axis=-1)  # high[i]: of history[i : i + 252]
        shifted = high[2:] if len(high) > len(tape.ts) else high[1:]
        shifted = np.concatenate([shifted, high[-1:]])[: len(tape.ts)]
        return signals_at(tape, tape.close >= shifted, tape.close)


@register
class Peeping(RowStrategy):
    """Plain Python, row by row, that follows its row back to the slab it was cut from."""

    name = "peeping"
    measurements = ("next_close",)

    def on_row(self, row):
        base = row.close.base
        if base is None or base.ndim != 2:
            return []
        at = (row.close.ctypes.data - base.ctypes.data) // base.strides[0]
        if at + 1 >= len(base):
            return []
        later = base[at + 1]
        return [
            Signal(row.symbols[s], 1, 0.6, details={"next_close": float(later[s])})
            for s in np.flatnonzero(row.traded & (later > 1.02 * row.close))
        ]


@register
class SinceForever(RowStrategy):
    """Buys above the mean of all closes there ever were: honest about the future, not about the past."""

    name = "since_forever"
    measurements = ("mean",)

    def begin(self):
        n = len(self.universe)
        self.memory = {"total": np.zeros(n), "count": np.zeros(n, np.int64)}

    def on_row(self, row):
        total, count = self.memory["total"], self.memory["count"]
        total[row.traded] += row.close[row.traded]
        count[row.traded] += 1
        mean = total / np.maximum(1, count)
        above = row.traded & (row.close > 1.05 * mean) & (count > 5)
        return [Signal(row.symbols[s], 1, 0.6, details={"mean": mean[s]}) for s in np.flatnonzero(above)]


@register
class Forgetful(SinceForever):
    """The same with a memory that snapshots do not hold."""

    name = "forgetful"

    def state(self):
        return {"count": self.memory["count"].copy()}

    def restore(self, state):
        self.memory["count"] = state["count"].copy()


@register
class Calendar(RowStrategy):
    """Buys the first symbol every tenth day, whatever its price."""

    name = "calendar"

    def on_row(self, row):
        return [Signal(row.symbols[0], 1, 0.6)] if row.ts // NS_PER_DAY % 10 == 0 else []


@register
class Mean20(OverSlab):
    """Honest: buys a close 5 % above the mean of the 20 bars before it."""

    name = "mean20"
    bars_kept = 20

    def judge(self, tape, history, k):
        mean = np.full(tape.close.shape, np.nan)
        for t in range(len(tape.ts)):
            total = np.zeros(tape.close.shape[1])
            for past in history[t : t + k]:
                total += past
            mean[t] = total / k
        return signals_at(tape, tape.close > 1.05 * mean, mean)
