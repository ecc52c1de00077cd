"""Why a bar gave a signal or none: the conditions of the built-in strategies in the order in which they are
tested, each with the measured value and what it needs. Slow and in plain Python; the kernels decide.

`after` is the strategy's state when the bar has been taken in: its rings hold the bar and are on its basis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.counted import counted
from reports.why_cup import cup_checks

State = Mapping[str, Any]


class Check(NamedTuple):
    """One condition. `name` is the entry of the strategy's tally that counts bars which failed it."""

    name: str
    ok: bool
    measured: str
    needs: str


class Bar(NamedTuple):
    """What a condition may look at: one symbol's bar, and the state on both sides of it."""

    symbol: int
    close: float
    volume: float
    ratio: float  # new shares per old of a split before this bar, 1 without
    before: State
    after: State
    traded: Any  # bool[N], which symbols traded on the row

    def ring(self, name: str, first: int, stop: int) -> list[float]:
        """Return bars [first, stop) of the symbol, oldest first."""
        ring = self.after[name][:, self.symbol]
        return [float(ring[i & (len(ring) - 1)]) for i in range(first, stop)]


def explained(name: str, params: Any, bar: Bar) -> list[Check] | None:
    """Return the conditions of a strategy up to the first that failed; None for one that is not built in."""
    conditions = _CONDITIONS.get(name)
    if conditions is None:
        return None
    checks = []
    for name_, ok, measured, needs in conditions(params, bar):
        checks.append(Check(name_, bool(ok), measured, needs))
        if not ok:
            break
    return checks


def _warmup(n: int, needs: int) -> tuple[str, bool, str, str]:
    return "warmup", n >= needs, f"{counted(n, 'bars')} before this one", f"{needs}"


def _volume(bar: Bar, n: int, window: int, multiplier: float) -> tuple[str, bool, str, str]:
    mean = sum(bar.ring("volumes", n - window, n)) / window
    times = bar.volume / mean if mean else np.inf
    return (
        "volume",
        bar.volume >= multiplier * mean,
        f"{times:.2f}x the {window}-bar mean",
        f"{multiplier:g}x",
    )


def _zanger(p: Any, bar: Bar) -> Iterator[tuple[str, bool, str, str]]:
    from strategies.zanger import _warmup_bars

    n = int(bar.after["n_bars"][bar.symbol]) - 1
    yield _warmup(n, _warmup_bars(p))
    yield _volume(bar, n, p.volume_mean_window, p.volume_multiplier)
    yield from cup_checks(p, bar, n)
    yield _cooldown(bar, n, p.cooldown_bars)


def _cooldown(bar: Bar, n: int, bars: int) -> tuple[str, bool, str, str]:
    since = n - int(bar.before["last_buy"][bar.symbol])
    measured = f"{counted(since, 'bars')} since the last BUY" if since < 10**6 else "no BUY before"
    return "cooldown", since > bars, measured, f"more than {bars}"


def _livermore(p: Any, bar: Bar) -> Iterator[tuple[str, bool, str, str]]:
    from strategies.livermore import _warmup_bars

    n, window = int(bar.after["n_bars"][bar.symbol]) - 1, p.consolidation_window
    yield _warmup(n, _warmup_bars(p))
    yield _volume(bar, n, window, p.volume_multiplier)
    highs, lows = bar.ring("highs", n - window, n), bar.ring("lows", n - window, n)
    upper, lower = max(highs), min(lows)
    yield (
        "breakout", bar.close >= (1 + p.breakout_threshold) * upper,
        f"close {bar.close / upper - 1:+.2%} from the {window}-bar high {upper:.6g}",
        f"{p.breakout_threshold:+.2%}",
    )  # fmt: skip
    width = (upper - lower) / lower
    yield (
        "range", upper > lower and width <= p.max_range_percentage, f"range {width:.2%} of its low",
        f"at most {p.max_range_percentage:.2%}",
    )  # fmt: skip
    if p.max_contraction > 0:
        older, younger = window - window // 2, window // 2
        first = max(highs[:older]) - min(lows[:older])
        second = max(highs[older:]) - min(lows[older:])
        yield (
            "contraction", second <= p.max_contraction * first,
            f"younger half {second / first if first else np.inf:.2f}x the older {older}/{younger}",
            f"at most {p.max_contraction:g}x",
        )  # fmt: skip
    if p.max_atr_ratio > 0:
        fast, slow = bar.before["atrs"][bar.symbol] / bar.ratio
        yield (
            "atr_ratio", fast / slow <= p.max_atr_ratio, f"ATR14/ATR50 {fast / slow:.3f}",
            f"at most {p.max_atr_ratio:g}",
        )  # fmt: skip
    if p.above_sma > 0:
        yield above_sma(bar, n, p.above_sma)
    if p.max_extension > 0:
        extension = bar.close / upper - 1
        measured = f"{extension:.2%} above the range"
        yield "extension", extension <= p.max_extension, measured, f"at most {p.max_extension:.2%}"
    yield _cooldown(bar, n, p.cooldown_bars)


def above_sma(bar: Bar, n: int, bars: int) -> tuple[str, bool, str, str]:
    """The close against the mean of the last `bars` closes, its own included."""
    total = 0.0
    for close in bar.ring("closes", n - bars + 1, n):
        total += close
    mean = (total + bar.close) / bars
    return "above_sma", bar.close > mean, f"close {bar.close:.6g}, SMA{bars} {mean:.6g}", "close above"


def _trend(p: Any, bar: Bar) -> Iterator[tuple[str, bool, str, str]]:
    from strategies.trend import ER_BARS

    s = bar.symbol
    n = int(bar.after["bars"][s]) - 1
    yield _warmup(n, max(p.min_bars, p.atr_period, ER_BARS))
    fast, slow = float(bar.after["fast"][s]), float(bar.after["slow"][s])
    fast_prev, slow_prev = (float(bar.before[name][s]) / bar.ratio for name in ("fast", "slow"))
    up, down = fast > slow and fast_prev <= slow_prev, fast < slow and fast_prev >= slow_prev
    waiting = int(bar.before["pending"][s]) > 0 and fast > slow
    yield (
        "no_cross", up or down or waiting,
        f"EMA{p.fast_span} {fast / slow - 1:+.3%} from EMA{p.slow_span},"
        f" {fast_prev / slow_prev - 1:+.3%} the bar before",
        "a change of sign",
    )  # fmt: skip
    if not down:
        yield (
            "close_not_above_fast", bar.close > fast, f"close {bar.close:.6g}, EMA{p.fast_span} {fast:.6g}",
            "close above",
        )  # fmt: skip


def _canslim(p: Any, bar: Bar) -> Iterator[tuple[str, bool, str, str]]:
    from reports.why_score import Score
    from strategies.relative_strength import YEAR

    s = bar.symbol
    n = int(bar.after["bars"][s]) - 1
    yield _warmup(n, YEAR)
    fresh = n == 0  # after a gap: all is forgotten
    armed = fresh or int(bar.before["armed"][s]) == 1
    since = n - int(bar.before["last_buy"][s])
    if armed:
        yield _cooldown(bar, n, p.cooldown_bars)
    score = Score.of(p, bar, n)
    yield (
        "no_score",
        not np.isnan(score.total),
        score.factors(),
        f"weight of known factors >= {p.min_coverage:g}",
    )
    yield (
        "score_below_min", score.total >= p.min_score, f"score {score.total:.4f}: {score.factors()}",
        f"{p.min_score:g}",
    )  # fmt: skip
    yield (
        "not_armed",
        armed,
        f"score has been high since the BUY {counted(since, 'bars')} ago",
        "a score below in between",
    )


_CONDITIONS: dict[str, Callable[[Any, Bar], Iterator[tuple[str, bool, str, str]]]] = {
    "dan_zanger_cup_handle": _zanger,
    "can_slim": _canslim,
    "trend_following": _trend,
    "livermore_breakout": _livermore,
}
