"""Cup with handle, after O'Neil and Zanger: buy the close that clears the handle on rising volume.

Definition: domain.md section 1. Read top to bottom: parameters, kernel, wrapper. The geometry of the cup
is in `strategies.cup`. On 87 of 100 bars the volume test is all that runs.
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
from engine.jit import kernel, step
from engine.slab import ActionKind, Tape, Universe
from strategies.base import KernelStrategy, SignalBuffer
from strategies.cup import (
    PRIOR_RISE_BARS,
    Condition,
    Cup,
    HandleRef,
    PriceBasis,
    find_cup,
    handle_slope,
    prior_rise,
    roundness,
)
from strategies.emit import emit
from strategies.rings import divide_ring, highest_of, ring_capacity, sum_of
from strategies.volume_screen import NEVER, push_row, rescale_volumes, screen_volume

Float = NDArray[np.float64]

_BUY = int(Side.BUY)
_SPLIT = int(ActionKind.SPLIT)


class Confidence(IntEnum):
    RECOVERY = 0  # 0.60 + (recovery - recovery_threshold)
    COMPOSITE = 1  # 0.60 + 0.10 each for recovery, volume, roundness and dry-up


class CupParams(NamedTuple):
    """Lengths in traded bars, ratios as fractions. An option is off at 0 (`false`, [0, 1])."""

    cup_lookback: int = 120
    handle_min: int = 5
    handle_max: int = 15
    cup_depth_min: float = 0.12
    cup_depth_max: float = 0.35
    cup_min_bars: int = 35
    recovery_threshold: float = 0.85
    recovery_max: float = 1.25
    handle_pullback_min: float = 0.05
    handle_pullback_max: float = 0.15
    handle_upper_frac: float = 0.5
    breakout_threshold: float = 0.02
    volume_multiplier: float = 1.5
    volume_mean_window: int = 20
    price_basis: PriceBasis = PriceBasis.CLOSE
    handle_ref: HandleRef = HandleRef.LOW
    confidence: Confidence = Confidence.RECOVERY
    cooldown_bars: int = 0
    stop_buffer: float = 0.005  # structure stop = low of the handle x (1 - this)
    # Filters, off
    min_roundness: float = 0.0  # suggested 0.33
    max_dryup: float = 0.0  # 1.0
    min_prior_rise: float = 0.0  # 0.30
    max_extension: float = 0.0  # 0.05
    max_pay_up: float = 0.0  # 0.05
    handle_slope_nonpos: bool = False
    above_sma: int = 0  # 200
    bottom_position_min: float = 0.0  # 0.2
    bottom_position_max: float = 1.0  # 0.8
    # Exits
    exit_sma: int = 50
    failed_breakout_bars: int = 0  # 10
    scale_out_gain: float = 0.0  # 0.20
    take_profit_gain: float = 0.0  # 0.25
    quick_gain: float = 0.0  # 0.20
    max_holding_bars: int = 0


class CupState(NamedTuple):
    """One entry or ring per symbol; bar j of a symbol is at place j & (capacity - 1) of its rings."""

    n_bars: NDArray[np.int64]  # traded bars so far
    volume_sum: Float  # of the last volume_mean_window bars
    last_buy: NDArray[np.int64]  # bar number
    closes: Float  # [capacity, N]
    highs: Float  # [capacity, N]; [1, 1] unless price_basis is hl
    lows: Float
    volumes: Float  # [capacity of its own, N]
    tally: NDArray[np.int64]
    loud: NDArray[np.int64]  # scratch: symbols of the current row that passed the volume test ...
    mean_volume: Float  # ... and the mean volume before it


def _warmup_bars(params: CupParams) -> int:
    lookback = params.cup_lookback + (PRIOR_RISE_BARS if params.min_prior_rise > 0.0 else 0)
    return max(lookback, params.volume_mean_window, params.above_sma - 1)


def _needs_dry_up(params: CupParams) -> bool:
    return params.max_dryup > 0.0 or params.confidence == Confidence.COMPOSITE


_warmup_bars_step, _needs_dry_up_step = step(_warmup_bars), step(_needs_dry_up)


@kernel
def cup_kernel(tape: Tape, params: CupParams, state: CupState, out: SignalBuffer, row: int) -> int:
    """Advance rows `row`.. and append the breakouts. See `KernelStrategy`."""
    n_rows, n_symbols = tape.close.shape
    window, multiplier = params.volume_mean_window, params.volume_multiplier
    above = 1 + params.breakout_threshold
    hl = params.price_basis == PriceBasis.HL
    warmup = _warmup_bars_step(params)
    close, n_bars, closes = tape.close, state.n_bars, state.closes
    highs = state.highs if hl else closes
    mask = closes.shape[0] - 1
    loud, mean_volume = state.loud, state.mean_volume
    n_no_handle = n_no_breakout = 0
    action = np.searchsorted(tape.actions["row"], row)
    for t in range(row, n_rows):
        if len(out.rows) - out.count[0] < n_symbols:
            break
        row = t + 1
        while action < len(tape.actions) and tape.actions[action]["row"] == t:
            if tape.actions[action]["kind"] == _SPLIT:
                _rescale(state, tape.actions[action]["symbol"], tape.actions[action]["value"], window, hl)
            action += 1
        # Two loops: the first, on every bar, would be slower with the search for a cup inside it.
        n_loud = screen_volume(
            tape.status[t], tape.volume[t], window, multiplier, warmup, n_bars, state.volume_sum,
            state.last_buy, state.volumes, loud, mean_volume, state.tally,
        )  # fmt: skip
        push_row(closes, tape.status[t], n_bars, close[t])
        if hl:
            push_row(state.highs, tape.status[t], n_bars, tape.high[t])
            push_row(state.lows, tape.status[t], n_bars, tape.low[t])
        for i in range(n_loud):
            s = loud[i]
            n = n_bars[s] - 1  # The bar is in the rings already, and all that is read lies before it
            # The right lip is the highest of the last handle_max + 1 bars. Most breakouts fail at the newest
            # of them already: only the others are worth a look at all sixteen.
            if not close[t, s] >= highs[(n - 1) & mask, s] * above:
                n_no_breakout += 1
                continue
            pivot = highest_of(highs, s, n - 1 - params.handle_max, n)
            if not close[t, s] >= pivot * above:
                n_no_breakout += 1
            elif not pivot > highest_of(highs, s, n - params.handle_min, n):
                n_no_handle += 1  # The lip is among the youngest handle_min bars
            else:
                _decide(tape, params, state, out, t, s, pivot, mean_volume[i])
    state.tally[Condition.HANDLE_LENGTH] += n_no_handle
    state.tally[Condition.BREAKOUT] += n_no_breakout
    return row


@step
def _decide(
    tape: Tape, params: CupParams, state: CupState, out: SignalBuffer, t: int, s: int, pivot: float,
    mean_volume: float,
) -> None:  # fmt: skip
    """Look for a cup behind a bar that broke out of a handle; append a signal or count what failed."""
    n = state.n_bars[s] - 1
    close = tape.close[t, s]
    hl = params.price_basis == PriceBasis.HL
    closes, volumes = state.closes, state.volumes
    highs = state.highs if hl else closes
    lows = state.lows if hl else closes
    cup = find_cup(highs, lows, s, n, pivot, params)
    if cup.failed != Condition.SIGNAL:
        state.tally[cup.failed] += 1
        return
    round_share = roundness(closes, s, cup)
    dry_up = np.nan
    if _needs_dry_up_step(params):
        in_handle = sum_of(volumes, s, cup.i_lip + 1, n) / (n - 1 - cup.i_lip)
        in_cup = sum_of(volumes, s, cup.i_left, cup.i_lip + 1) / (cup.i_lip + 1 - cup.i_left)
        dry_up = in_handle / in_cup
    failed = _first_failed_option(params, closes, lows, s, cup, n, close, round_share, dry_up)
    if failed == Condition.SIGNAL and n - state.last_buy[s] <= params.cooldown_bars:
        failed = Condition.COOLDOWN
    state.tally[failed] += 1
    if failed != Condition.SIGNAL:
        return
    state.last_buy[s] = n

    recovery = (cup.pivot - cup.bottom) / (cup.left_lip - cup.bottom)
    volume_ratio = tape.volume[t, s] / mean_volume
    if params.confidence == Confidence.COMPOSITE:
        confidence = 0.60 + 0.10 * (
            _clip01((recovery - 0.85) / 0.15)
            + _clip01((volume_ratio - 1.5) / 1.5)
            + _clip01((round_share - 0.2) / 0.25)
            + _clip01((1.2 - dry_up) / 0.5)
        )
    else:
        confidence = _clip01(0.60 + recovery - params.recovery_threshold)
    signal = out.rows[emit(out, tape.ts[t], s, _BUY, confidence, close)]
    signal["structure_stop"] = cup.handle_low * (1 - params.stop_buffer)
    signal["pivot"] = cup.pivot
    if params.max_pay_up > 0.0:
        signal["open_max"] = cup.pivot * (1 + params.max_pay_up)
    details = signal["details"]
    details[0] = cup.pivot
    details[1] = cup.handle_low
    details[2] = cup.left_lip
    details[3] = cup.bottom
    details[4] = (cup.left_lip - cup.bottom) / cup.left_lip
    details[5] = recovery
    details[6] = cup.i_lip - cup.i_left
    details[7] = n - 1 - cup.i_lip
    details[8] = volume_ratio
    details[9] = round_share


@step
def _first_failed_option(
    params: CupParams, closes: Float, lows: Float, s: int, cup: Cup, n: int, close: float,
    round_share: float, dry_up: float,
) -> int:  # fmt: skip
    """Return the first filter that is on and not met, else SIGNAL."""
    if params.min_roundness > 0.0 and not round_share >= params.min_roundness:
        return Condition.ROUNDNESS
    if params.max_dryup > 0.0 and not dry_up <= params.max_dryup:
        return Condition.DRY_UP
    if params.min_prior_rise > 0.0 and not prior_rise(lows, s, cup) >= params.min_prior_rise:
        return Condition.PRIOR_RISE
    if params.max_extension > 0.0 and not close / cup.pivot - 1 <= params.max_extension:
        return Condition.EXTENSION
    if params.handle_slope_nonpos and not handle_slope(closes, s, cup, n) <= 0.0:
        return Condition.HANDLE_SLOPE
    if params.above_sma > 0:
        prior_sum = sum_of(closes, s, n - params.above_sma + 1, n)
        if not close > (prior_sum + close) / params.above_sma:
            return Condition.ABOVE_SMA
    position = (cup.i_bottom - cup.i_left) / (cup.i_lip - cup.i_left)
    if not (params.bottom_position_min <= position <= params.bottom_position_max):
        return Condition.BOTTOM_POSITION
    return Condition.SIGNAL


@step
def _rescale(state: CupState, s: int, ratio: float, window: int, hl: bool) -> None:
    """Put a symbol's memory on the basis after a split of `ratio` new shares per old one."""
    divide_ring(state.closes, s, ratio)
    if hl:
        divide_ring(state.highs, s, ratio)
        divide_ring(state.lows, s, ratio)
    rescale_volumes(state.volumes, state.volume_sum, s, state.n_bars[s], window, ratio)


@step
def _clip01(x: float) -> float:
    return min(1.0, max(0.0, x))


class CupWithHandle(KernelStrategy):
    """Breakouts from a handle beside a cup. Structure stop just under the handle; pivot at the right lip."""

    name: ClassVar[str] = "dan_zanger_cup_handle"
    short: ClassVar[str] = "zanger"
    description: ClassVar[str] = "cup with handle: breakout above the right lip on rising volume"
    measurements: ClassVar[tuple[str, ...]] = (
        "pivot", "handle_low", "left_rim", "bottom", "depth", "recovery", "cup_bars", "handle_bars",
        "volume_ratio", "roundness",
    )  # fmt: skip
    conditions: ClassVar[tuple[str, ...]] = tuple(condition.name.lower() for condition in Condition)
    symbol_axes: ClassVar[Mapping[str, int]] = {
        "n_bars": 0, "volume_sum": 0, "last_buy": 0, "closes": 1, "highs": 1, "lows": 1, "volumes": 1,
    }  # fmt: skip
    Params: ClassVar[type[Any]] = CupParams
    kernel: ClassVar[Any] = cup_kernel

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.exits = ExitRules(
            sma_bars=self.params.exit_sma,
            failed_breakout_bars=self.params.failed_breakout_bars,
            scale_out_gain=self.params.scale_out_gain,
            take_profit_gain=self.params.take_profit_gain,
            quick_gain=self.params.quick_gain,
            max_holding_bars=self.params.max_holding_bars,
        )

    def check(self, params: Any) -> None:
        """Raise ConfigError for ranges out of order, or a cup and handle that the lookback cannot hold."""
        for name in ("handle", "cup_depth", "handle_pullback", "bottom_position"):
            low, high = getattr(params, f"{name}_min"), getattr(params, f"{name}_max")
            if not 0 <= low <= high:
                raise ConfigError(f"zanger.{name}_min must be >= 0 and <= {name}_max ({high}), was {low}")
        for name in ("handle_min", "cup_min_bars", "volume_mean_window", "cooldown_bars", "above_sma"):
            least = 0 if name in ("cooldown_bars", "above_sma") else 1
            if getattr(params, name) < least:
                raise ConfigError(f"zanger.{name} must be >= {least}, was {getattr(params, name)}")
        shortest = params.cup_min_bars + params.handle_max + 2
        if params.cup_lookback < shortest:
            raise ConfigError(
                f"zanger.cup_lookback must be >= cup_min_bars + handle_max + 2 = {shortest},"
                f" was {params.cup_lookback}"
            )
        if not params.recovery_max > 0:
            raise ConfigError(f"zanger.recovery_max must be > 0, was {params.recovery_max}")
        if not 0 <= params.stop_buffer < 1:
            raise ConfigError(f"zanger.stop_buffer must be in [0, 1), was {params.stop_buffer}")

    @property
    def warmup_bars(self) -> int:
        return _warmup_bars(self.params)

    def allocate(self, universe: Universe) -> CupState:
        n, params = len(universe), self.params
        capacity = ring_capacity(self.warmup_bars + 1)
        span = (capacity, n) if params.price_basis == PriceBasis.HL else (1, 1)
        volume_bars = params.cup_lookback if _needs_dry_up(params) else params.volume_mean_window
        return CupState(
            n_bars=np.zeros(n, np.int64),
            volume_sum=np.zeros(n),
            last_buy=np.full(n, NEVER),
            closes=np.zeros((capacity, n)),
            highs=np.zeros(span),
            lows=np.zeros(span),
            volumes=np.zeros((ring_capacity(max(volume_bars, params.volume_mean_window) + 1), n)),
            tally=np.zeros(len(Condition), np.int64),
            loud=np.zeros(n, np.int64),
            mean_volume=np.zeros(n),
        )
