"""EMA trend: buy when the fast EMA of the close crosses above the slow one, sell when it crosses below.

Definition: domain.md section 3. Read top to bottom: parameters, kernel, wrapper.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.events import Side
from engine.exits import ExitRules
from engine.indicators import ema_step, true_range_step, wilder_step
from engine.jit import kernel, step
from engine.slab import ActionKind, BarStatus, Tape, Universe
from strategies.base import KernelStrategy, SignalBuffer
from strategies.emit import emit

ER_BARS = 20  # bars of the efficiency ratio (Kaufman): net move over the sum of moves
RING = 32  # closes kept per symbol; a power of two >= ER_BARS + 1, so that `& (RING - 1)` is the place

_SPLIT = int(ActionKind.SPLIT)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_TRADED, _RESUMED = int(BarStatus.TRADED), int(BarStatus.RESUMED)


class AtrMethod(IntEnum):
    WILDER = 0  # mean of the first n true ranges, then ATR += (TR - ATR) / n
    SIMPLE = 1  # mean of the last n true ranges


class ConfidenceModel(IntEnum):
    GAP_ER = 0  # 0.5 + a quarter each for the EMAs' gap in ATRs and the efficiency ratio
    ORIGINAL = 1  # 5 x |fast - slow| / slow: all but never reaches 0.5


class TrendParams(NamedTuple):
    fast_span: int = 10  # bars; the weight of the newest close is 2 / (span + 1)
    slow_span: int = 30
    atr_period: int = 14
    atr_multiplier: float = 2.0  # ATRs from the fill down to the stop
    min_bars: int = 60  # a symbol's bars before the first that may signal
    atr_method: AtrMethod = AtrMethod.WILDER
    confidence_model: ConfidenceModel = ConfidenceModel.GAP_ER
    pending_bars: int = 0  # bars for which a cross waits for a close above the fast EMA; 0: it is lost
    trail_atr_multiple: float = 0.0  # trailing stop in ATRs below the highest close; 0: off


class TrendState(NamedTuple):
    """One entry or row per symbol. `bars` counts traded bars; a symbol with bars = 0 has no state."""

    bars: NDArray[np.int64]
    fast: NDArray[np.float64]  # dollars
    slow: NDArray[np.float64]
    atr: NDArray[np.float64]  # Wilder: sum of true ranges until there are atr_period, then the ATR
    pending: NDArray[np.int64]  # bars for which an unconfirmed cross still waits
    closes: NDArray[np.float64]  # [RING, N], the close of traded bar i at place i & (RING - 1)
    ranges: NDArray[np.float64]  # [atr_period, N], true range of bar i at place i % atr_period (SIMPLE)
    tally: NDArray[np.int64]


@kernel
def trend_kernel(tape: Tape, params: TrendParams, state: TrendState, out: SignalBuffer, row: int) -> int:
    """Advance EMAs and ATR over rows `row`.. and append the crosses. See `KernelStrategy`.

    EMAs start at a symbol's first close: e += 2 / (span + 1) * (c - e). All arithmetic is sequential per
    symbol, so any cutting into slabs gives the same bits.
    """
    n_rows, n_symbols = tape.close.shape
    fast_alpha = 2.0 / (params.fast_span + 1)
    slow_alpha = 2.0 / (params.slow_span + 1)
    period = params.atr_period
    simple = params.atr_method == AtrMethod.SIMPLE
    first_bar = max(params.min_bars, period, ER_BARS)
    bars, fast, slow, atr, closes = state.bars, state.fast, state.slow, state.atr, state.closes
    n_warmup = n_no_cross = n_below = n_signals = 0
    action = 0
    while action < len(tape.actions) and tape.actions[action]["row"] < row:
        action += 1
    for t in range(row, n_rows):
        if len(out.rows) - out.count[0] < n_symbols:
            row = t
            break
        row = t + 1
        action = _apply_splits(tape, t, action, state)
        for s in range(n_symbols):
            status = tape.status[t, s]
            if status < _TRADED:
                continue
            close = tape.close[t, s]
            bar = bars[s]
            if status == _RESUMED or bar == 0:
                bars[s] = 1
                fast[s] = slow[s] = closes[0, s] = close
                atr[s] = 0.0
                state.pending[s] = 0
                n_warmup += 1
                continue
            fast_prev, slow_prev = fast[s], slow[s]
            fast_now = ema_step(fast_prev, close, fast_alpha)
            slow_now = ema_step(slow_prev, close, slow_alpha)
            last = closes[(bar - 1) & (RING - 1), s]
            true_range = true_range_step(tape.high[t, s], tape.low[t, s], last)
            fast[s] = fast_now
            slow[s] = slow_now
            closes[bar & (RING - 1), s] = close
            bars[s] = bar + 1
            if simple:
                state.ranges[bar % period, s] = true_range
            else:
                atr[s] = wilder_step(atr[s], true_range, bar, period)
            if bar < first_bar:
                n_warmup += 1
                continue
            # Equality is "not yet" on both sides. `&` and `|` on purpose: which EMA is the higher varies from
            # symbol to symbol, and a branch on it is mispredicted on every other bar.
            up = (fast_now > slow_now) & (fast_prev <= slow_prev)
            down = (fast_now < slow_now) & (fast_prev >= slow_prev)
            if not (up | down | (state.pending[s] > 0)):
                n_no_cross += 1
                continue
            if down or fast_now <= slow_now:
                state.pending[s] = 0  # A cross that was undone waits no longer
                if not down:
                    n_no_cross += 1
                    continue
            elif not close > fast_now:
                n_below += 1
                state.pending[s] = params.pending_bars if up else state.pending[s] - 1
                continue
            else:
                state.pending[s] = 0
            side = _SELL if down else _BUY
            n_signals += 1
            atr_now = _mean_range(state.ranges, s, bar, period) if simple else atr[s]
            er = _efficiency_ratio(closes, s, bar, side)
            gap = abs(fast_now - slow_now) / atr_now if atr_now > 0.0 else np.inf
            if params.confidence_model == ConfidenceModel.ORIGINAL:
                confidence = _clip01(5.0 * abs(fast_now - slow_now) / slow_now)
            else:
                confidence = 0.5 + 0.25 * _clip01(gap / 0.25) + 0.25 * _clip01(er / 0.5)
            signal = out.rows[emit(out, tape.ts[t], s, side, confidence, close)]
            if side == _BUY:
                signal["stop_distance"] = params.atr_multiplier * atr_now
            details = signal["details"]
            details[0] = fast_now
            details[1] = slow_now
            details[2] = fast_prev
            details[3] = slow_prev
            details[4] = atr_now
            details[5] = gap
            details[6] = er
    state.tally[0] += n_warmup
    state.tally[1] += n_no_cross
    state.tally[2] += n_below
    state.tally[3] += n_signals
    return row


@step
def _apply_splits(tape: Tape, t: int, action: int, state: TrendState) -> int:
    """Put the state of symbols that split before row `t` on the new basis; return the next action."""
    while action < len(tape.actions) and tape.actions[action]["row"] == t:
        if tape.actions[action]["kind"] == _SPLIT:
            s = tape.actions[action]["symbol"]
            ratio = tape.actions[action]["value"]
            state.fast[s] /= ratio
            state.slow[s] /= ratio
            state.atr[s] /= ratio
            for i in range(RING):
                state.closes[i, s] /= ratio
            for i in range(state.ranges.shape[0]):
                state.ranges[i, s] /= ratio
        action += 1
    return action


@step
def _mean_range(ranges: NDArray[np.float64], s: int, bar: int, period: int) -> float:
    """Return the mean of the last `period` true ranges, summed from the oldest on."""
    total = 0.0
    for i in range(bar - period + 1, bar + 1):
        total += ranges[i % period, s]
    return total / period


@step
def _efficiency_ratio(closes: NDArray[np.float64], s: int, bar: int, side: int) -> float:
    """Return side x (c_t - c_{t-20}) / sum of |c_i - c_{i-1}|, in [-1, 1]; 0 where nothing moved."""
    travelled = 0.0
    before = first = closes[(bar - ER_BARS) & (RING - 1), s]
    for i in range(bar - ER_BARS + 1, bar + 1):
        close = closes[i & (RING - 1), s]
        travelled += abs(close - before)
        before = close
    return side * (before - first) / travelled if travelled > 0.0 else 0.0


@step
def _clip01(x: float) -> float:
    return min(1.0, max(0.0, x))


class EmaTrend(KernelStrategy):
    """Crosses of two EMAs. A BUY carries a stop `atr_multiplier` ATRs below the fill; a SELL ends the lot."""

    name: ClassVar[str] = "trend_following"
    short: ClassVar[str] = "trend"
    description: ClassVar[str] = "fast EMA of the close crosses the slow one; ATR stop"
    measurements: ClassVar[tuple[str, ...]] = (
        "fast", "slow", "fast_prev", "slow_prev", "atr", "gap", "er20",
    )  # fmt: skip
    conditions: ClassVar[tuple[str, ...]] = ("warmup", "no_cross", "close_not_above_fast", "signal")
    symbol_axes: ClassVar[Mapping[str, int]] = {
        "bars": 0, "fast": 0, "slow": 0, "atr": 0, "pending": 0, "closes": 1, "ranges": 1,
    }  # fmt: skip
    Params: ClassVar[type[Any]] = TrendParams
    kernel: ClassVar[Any] = trend_kernel

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.exits = ExitRules(
            trail_atr_multiple=self.params.trail_atr_multiple, trail_atr_bars=self.params.atr_period
        )

    def check(self, params: Any) -> None:
        """Raise ConfigError for spans out of order or numbers that are not positive."""
        if not 1 <= params.fast_span < params.slow_span:
            raise ConfigError(
                f"trend.fast_span must be >= 1 and < slow_span ({params.slow_span}), was {params.fast_span}"
            )
        for name, least in (
            ("atr_period", 1),
            ("min_bars", 0),
            ("pending_bars", 0),
            ("trail_atr_multiple", 0),
        ):
            if getattr(params, name) < least:
                raise ConfigError(f"trend.{name} must be >= {least}, was {getattr(params, name)}")
        if not params.atr_multiplier > 0:
            raise ConfigError(f"trend.atr_multiplier must be > 0, was {params.atr_multiplier}")

    @property
    def warmup_bars(self) -> int:
        return int(max(self.params.min_bars, self.params.atr_period, ER_BARS))

    def allocate(self, universe: Universe) -> TrendState:
        n = len(universe)
        return TrendState(
            bars=np.zeros(n, np.int64),
            fast=np.zeros(n),
            slow=np.zeros(n),
            atr=np.zeros(n),
            pending=np.zeros(n, np.int64),
            closes=np.zeros((RING, n)),
            ranges=np.zeros((self.params.atr_period, n)),
            tally=np.zeros(len(self.conditions), np.int64),
        )
