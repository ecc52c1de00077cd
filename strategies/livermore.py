"""Livermore breakout: buy the close that leaves a narrow range of twenty bars on rising volume.

Definition: domain.md section 4, after Livermore's pivotal points. Read top to bottom: parameters, kernel,
wrapper.
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
from engine.indicators import true_range_step, wilder_step
from engine.jit import kernel, step
from engine.slab import ActionKind, BarStatus, Tape, Universe
from strategies.base import KernelStrategy, SignalBuffer
from strategies.emit import emit
from strategies.rings import divide_ring, highest_of, lowest_of, ring_capacity, sum_of
from strategies.volume_screen import NEVER, push_row, rescale_volumes, screen_volume

Float = NDArray[np.float64]

ATR_FAST, ATR_SLOW = 14, 50  # bars of the two averages whose ratio `max_atr_ratio` bounds

_BUY = int(Side.BUY)
_SPLIT = int(ActionKind.SPLIT)
_TRADED = int(BarStatus.TRADED)


class Confidence(IntEnum):
    RANGE_VOLUME = 0  # 0.5 + 0.3 for a narrow range + 0.2 for volume
    ORIGINAL = 1  # 1 - range / max_range_percentage: above 0.5 only for the narrowest eighth


class StopMode(IntEnum):
    LOWER = 0  # the low of the range
    MID = 1  # its middle


class Condition(IntEnum):
    """Conditions in the order in which they are tested; a bar is counted at the first that fails."""

    WARMUP = 0
    VOLUME = 1
    BREAKOUT = 2
    RANGE = 3
    CONTRACTION = 4
    ATR_RATIO = 5
    ABOVE_SMA = 6
    EXTENSION = 7
    COOLDOWN = 8
    SIGNAL = 9


class LivermoreParams(NamedTuple):
    """Lengths in traded bars, ratios as fractions. An option is off at 0."""

    consolidation_window: int = 20
    max_range_percentage: float = 0.15  # (upper - lower) / lower
    breakout_threshold: float = 0.02
    volume_multiplier: float = 1.3
    min_bars: int = 40  # a symbol's bars before the first that may signal
    confidence: Confidence = Confidence.RANGE_VOLUME
    stop_mode: StopMode = StopMode.LOWER
    cooldown_bars: int = 0
    # Filters, off
    max_contraction: float = 0.0  # range of the younger half <= this x range of the older; suggested 0.8
    max_atr_ratio: float = 0.0  # ATR(14) / ATR(50) at the bar before the breakout; 0.8
    above_sma: int = 0  # 200
    max_extension: float = 0.0  # close / upper - 1; 0.05
    # Exits
    exit_low: int = 20
    failed_breakout_bars: int = 0  # 10
    max_holding_bars: int = 0


class LivermoreState(NamedTuple):
    """One entry or ring per symbol; see `strategies.rings`. Arrays of options that are off are [1, 1]."""

    n_bars: NDArray[np.int64]  # traded bars so far
    volume_sum: Float  # of the last consolidation_window bars
    last_buy: NDArray[np.int64]  # bar number
    highs: Float  # [capacity, N]
    lows: Float
    volumes: Float
    closes: Float  # [capacity of its own, N], with above_sma or max_atr_ratio
    atrs: Float  # [N, 2], Wilder, fast and slow, with max_atr_ratio; sums until there are enough ranges
    tally: NDArray[np.int64]
    loud: NDArray[np.int64]  # scratch: symbols of the current row that passed the volume test ...
    mean_volume: Float  # ... and the mean volume before it


@kernel
def livermore_kernel(
    tape: Tape, params: LivermoreParams, state: LivermoreState, out: SignalBuffer, row: int
) -> int:
    """Advance rows `row`.. and append the breakouts. See `KernelStrategy`."""
    n_rows, n_symbols = tape.close.shape
    window, multiplier = params.consolidation_window, params.volume_multiplier
    above = 1 + params.breakout_threshold
    warmup = _warmup_bars_step(params)
    has_options = _needs_closes_step(params)
    close, n_bars, highs = tape.close, state.n_bars, state.highs
    loud, mean_volume = state.loud, state.mean_volume
    mask = highs.shape[0] - 1
    n_no_breakout = 0
    action = np.searchsorted(tape.actions["row"], row)
    for t in range(row, n_rows):
        if len(out.rows) - out.count[0] < n_symbols:
            break
        row = t + 1
        while action < len(tape.actions) and tape.actions[action]["row"] == t:
            if tape.actions[action]["kind"] == _SPLIT:
                _rescale(params, state, tape.actions[action]["symbol"], tape.actions[action]["value"])
            action += 1
        # Two loops, because the first, alone, runs at the speed of memory.
        n_loud = screen_volume(
            tape.status[t], tape.volume[t], window, multiplier, warmup, n_bars, state.volume_sum,
            state.last_buy, state.volumes, loud, mean_volume, state.tally,
        )  # fmt: skip
        push_row(highs, tape.status[t], n_bars, tape.high[t])
        push_row(state.lows, tape.status[t], n_bars, tape.low[t])
        for i in range(n_loud):
            s = loud[i]
            n = n_bars[s] - 1  # The bar is in the rings already, and all that is read lies before it
            # Most are not even above the newest high: only the others are worth a look at all twenty.
            if not close[t, s] >= above * highs[(n - 1) & mask, s]:
                n_no_breakout += 1
                continue
            upper = highest_of(highs, s, n - window, n)
            if not close[t, s] >= above * upper:
                n_no_breakout += 1
                continue
            _decide(tape, params, state, out, t, s, upper, mean_volume[i])
        if has_options:
            _advance_options(tape, params, state, t)
    state.tally[Condition.BREAKOUT] += n_no_breakout
    return row


@step
def _decide(
    tape: Tape, params: LivermoreParams, state: LivermoreState, out: SignalBuffer, t: int, s: int,
    upper: float, mean_volume: float,
) -> None:  # fmt: skip
    """Look at the range that a bar broke out of; append a signal or count what failed."""
    n, close = state.n_bars[s] - 1, tape.close[t, s]
    lower = lowest_of(state.lows, s, n - params.consolidation_window, n)
    width = (upper - lower) / lower
    failed = _first_failed(params, state, s, n, close, upper, lower, width)
    state.tally[failed] += 1
    if failed != Condition.SIGNAL:
        return
    state.last_buy[s] = n
    volume_ratio = tape.volume[t, s] / mean_volume
    if params.confidence == Confidence.ORIGINAL:
        confidence = 1 - width / params.max_range_percentage
    else:
        loudness = min(1.0, max(0.0, (volume_ratio - params.volume_multiplier) / 1.7))
        confidence = 0.5 + 0.3 * (1 - width / params.max_range_percentage) + 0.2 * loudness
    signal = out.rows[emit(out, tape.ts[t], s, _BUY, confidence, close)]
    signal["structure_stop"] = (upper + lower) / 2 if params.stop_mode == StopMode.MID else lower
    signal["pivot"] = upper
    details = signal["details"]
    details[0] = upper
    details[1] = lower
    details[2] = width
    details[3] = volume_ratio
    details[4] = close / upper - 1


@step
def _first_failed(
    params: LivermoreParams, state: LivermoreState, s: int, n: int, close: float, upper: float, lower: float,
    width: float,
) -> int:  # fmt: skip
    """Return the first condition after the breakout that is not met, else SIGNAL."""
    if not (upper > lower and width <= params.max_range_percentage):
        return Condition.RANGE
    if params.max_contraction > 0.0:
        start, middle = n - params.consolidation_window, n - params.consolidation_window // 2
        older = highest_of(state.highs, s, start, middle) - lowest_of(state.lows, s, start, middle)
        younger = highest_of(state.highs, s, middle, n) - lowest_of(state.lows, s, middle, n)
        if not younger <= params.max_contraction * older:
            return Condition.CONTRACTION
    if params.max_atr_ratio > 0.0 and not state.atrs[s, 0] / state.atrs[s, 1] <= params.max_atr_ratio:
        return Condition.ATR_RATIO
    if params.above_sma > 0:
        prior_sum = sum_of(state.closes, s, n - params.above_sma + 1, n)
        if not close > (prior_sum + close) / params.above_sma:
            return Condition.ABOVE_SMA
    if params.max_extension > 0.0 and not close / upper - 1 <= params.max_extension:
        return Condition.EXTENSION
    if n - state.last_buy[s] <= params.cooldown_bars:
        return Condition.COOLDOWN
    return Condition.SIGNAL


@step
def _advance_options(tape: Tape, params: LivermoreParams, state: LivermoreState, t: int) -> None:
    """Let row `t` into the closes and the ATRs, after it was decided on without them."""
    mask = state.closes.shape[0] - 1
    for s in range(tape.close.shape[1]):
        if tape.status[t, s] < _TRADED:
            continue
        n = state.n_bars[s] - 1
        if params.max_atr_ratio > 0.0:
            if n == 0:
                state.atrs[s, 0] = state.atrs[s, 1] = 0.0
            else:
                last = state.closes[(n - 1) & mask, s]
                true_range = true_range_step(tape.high[t, s], tape.low[t, s], last)
                state.atrs[s, 0] = wilder_step(state.atrs[s, 0], true_range, n, ATR_FAST)
                state.atrs[s, 1] = wilder_step(state.atrs[s, 1], true_range, n, ATR_SLOW)
        state.closes[n & mask, s] = tape.close[t, s]


@step
def _rescale(params: LivermoreParams, state: LivermoreState, s: int, ratio: float) -> None:
    """Put a symbol's memory on the basis after a split of `ratio` new shares per old one."""
    divide_ring(state.highs, s, ratio)
    divide_ring(state.lows, s, ratio)
    if _needs_closes_step(params):
        divide_ring(state.closes, s, ratio)
    if params.max_atr_ratio > 0.0:
        state.atrs[s, 0] /= ratio
        state.atrs[s, 1] /= ratio
    n, window = state.n_bars[s], params.consolidation_window
    rescale_volumes(state.volumes, state.volume_sum, s, n, window, ratio)


def _warmup_bars(params: LivermoreParams) -> int:
    atr_bars = ATR_SLOW + 1 if params.max_atr_ratio > 0.0 else 0  # The first bar has no true range
    return max(params.min_bars, params.consolidation_window, params.above_sma - 1, atr_bars)


def _needs_closes(params: LivermoreParams) -> bool:
    return params.above_sma > 0 or params.max_atr_ratio > 0.0


_warmup_bars_step, _needs_closes_step = step(_warmup_bars), step(_needs_closes)


class LivermoreBreakout(KernelStrategy):
    """Breakouts from a narrow range. Structure stop at the range's low; pivot at its high."""

    name: ClassVar[str] = "livermore_breakout"
    short: ClassVar[str] = "livermore"
    description: ClassVar[str] = "breakout from a narrow 20-bar range on rising volume"
    measurements: ClassVar[tuple[str, ...]] = ("upper", "lower", "range", "volume_ratio", "close_over_upper")
    conditions: ClassVar[tuple[str, ...]] = tuple(condition.name.lower() for condition in Condition)
    symbol_axes: ClassVar[Mapping[str, int]] = {
        "n_bars": 0, "volume_sum": 0, "last_buy": 0, "highs": 1, "lows": 1, "volumes": 1, "closes": 1,
        "atrs": 0,
    }  # fmt: skip
    Params: ClassVar[type[Any]] = LivermoreParams
    kernel: ClassVar[Any] = livermore_kernel

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.exits = ExitRules(
            low_bars=self.params.exit_low,
            failed_breakout_bars=self.params.failed_breakout_bars,
            max_holding_bars=self.params.max_holding_bars,
        )

    def check(self, params: Any) -> None:
        """Raise ConfigError for lengths and bounds that leave nothing to look at."""
        for name, least in (
            ("consolidation_window", 2),
            ("min_bars", 0),
            ("cooldown_bars", 0),
            ("above_sma", 0),
        ):
            if getattr(params, name) < least:
                raise ConfigError(f"livermore.{name} must be >= {least}, was {getattr(params, name)}")
        if not params.max_range_percentage > 0:
            raise ConfigError(
                f"livermore.max_range_percentage must be > 0, was {params.max_range_percentage}"
            )

    @property
    def warmup_bars(self) -> int:
        return _warmup_bars(self.params)

    def allocate(self, universe: Universe) -> LivermoreState:
        n, params = len(universe), self.params
        capacity = ring_capacity(params.consolidation_window + 1)
        closes = (ring_capacity(max(params.above_sma, 2)), n) if _needs_closes(params) else (1, 1)
        return LivermoreState(
            n_bars=np.zeros(n, np.int64),
            volume_sum=np.zeros(n),
            last_buy=np.full(n, NEVER),
            highs=np.zeros((capacity, n)),
            lows=np.zeros((capacity, n)),
            volumes=np.zeros((capacity, n)),
            closes=np.zeros(closes),
            atrs=np.zeros((n, 2) if params.max_atr_ratio > 0.0 else (1, 1)),
            tally=np.zeros(len(Condition), np.int64),
            loud=np.zeros(n, np.int64),
            mean_volume=np.zeros(n),
        )
