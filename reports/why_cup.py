"""The conditions of a cup with handle at one bar (domain.md section 1), in the order of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_RISE_BARS = 60
Row = tuple[str, bool, str, str]


def cup_checks(p: Any, bar: Any, n: int) -> Iterator[Row]:
    """Yield (name, ok, measured, needs) from the breakout on; `n` is the bar's number."""
    hl = p.price_basis.name == "HL"
    first = n - p.cup_lookback
    closes = dict(zip(range(first, n), bar.ring("closes", first, n), strict=True))
    highs = dict(zip(range(first, n), bar.ring("highs", first, n), strict=True)) if hl else closes
    lows = dict(zip(range(first, n), bar.ring("lows", first, n), strict=True)) if hl else closes
    pivot = max(highs[k] for k in range(n - 1 - p.handle_max, n))
    lip = max(k for k in range(n - 1 - p.handle_max, n) if highs[k] == pivot)
    yield (
        "breakout", bar.close >= pivot * (1 + p.breakout_threshold),
        f"close {bar.close / pivot - 1:+.2%} from the pivot {pivot:.6g}", f"{p.breakout_threshold:+.2%}",
    )  # fmt: skip
    yield "handle_length", n - 1 - lip >= p.handle_min, f"handle of {n - 1 - lip} bars", f"{p.handle_min}"
    handle_low = min(lows[k] for k in range(lip + 1, n))
    pullback = (pivot - handle_low) / pivot
    yield _within("handle_pullback", pullback, p.handle_pullback_min, p.handle_pullback_max, "handle falls")
    left, bottom_at, bottom = _left_lip(p, highs, lows, lip, pivot, first)
    yield (
        "left_lip", left is not None, "no turning point left of the cup" if left is None else "found",
        f"a lip {p.cup_min_bars} bars or more before the right one, {p.cup_depth_min:.0%} above the bottom",
    )  # fmt: skip
    assert left is not None
    rim = highs[left]
    yield _within("depth", (rim - bottom) / rim, p.cup_depth_min, p.cup_depth_max, "cup of depth")
    recovery = (pivot - bottom) / (rim - bottom)
    yield _within("recovery", recovery, p.recovery_threshold, p.recovery_max, "right lip at")
    reference = (pivot + handle_low) / 2 if p.handle_ref.name == "MID" else handle_low
    height = (reference - bottom) / (rim - bottom)
    yield (
        "handle_position", reference >= bottom + p.handle_upper_frac * (rim - bottom),
        f"handle at {height:.2f} of the cup's height", f"{p.handle_upper_frac:g}",
    )  # fmt: skip
    yield from _options(p, bar, n, closes, lows, (left, lip, bottom_at), (rim, pivot, bottom))
    if p.above_sma > 0:
        total = 0.0
        for close in bar.ring("closes", n - p.above_sma + 1, n):
            total += close
        mean = (total + bar.close) / p.above_sma
        measured = f"close {bar.close:.6g}, SMA{p.above_sma} {mean:.6g}"
        yield "above_sma", bar.close > mean, measured, "close above"
    position = (bottom_at - left) / (lip - left)
    yield _within("bottom_position", position, p.bottom_position_min, p.bottom_position_max, "bottom at")


def _within(name: str, value: float, low: float, high: float, what: str) -> Row:
    return name, low <= value <= high, f"{what} {value:.2%}", f"{low:.2%} to {high:.2%}"


def _left_lip(
    p: Any, highs: dict[int, float], lows: dict[int, float], lip: int, pivot: float, first: int
) -> tuple[int | None, int, float]:
    """Return the bar of the left lip (None without one), that of the bottom, and the bottom."""
    at = lip - 1
    bottom = lows[at]
    left = None
    for k in range(lip - 1, first, -1):
        high = highs[k]
        if (
            lip - k >= p.cup_min_bars
            and high > bottom
            and (high - bottom) / high >= p.cup_depth_min
            and high >= bottom + (pivot - bottom) / p.recovery_max
        ):
            left = k
            break
        if lows[k] < bottom:
            at, bottom = k, lows[k]
        if high > pivot:
            break
    if left is None:
        return None, at, bottom
    while left - 1 > first and highs[left - 1] >= highs[left]:
        left -= 1
    return (left if highs[left - 1] < highs[left] else None), at, bottom


def _options(
    p: Any, bar: Any, n: int, closes: dict[int, float], lows: dict[int, float],
    bars: tuple[int, int, int], prices: tuple[float, float, float],
) -> Iterator[Row]:  # fmt: skip
    (left, lip, _), (rim, pivot, bottom) = bars, prices
    if p.min_roundness > 0:
        level = bottom + (rim - bottom) / 3
        share = sum(closes[k] <= level for k in range(left, lip + 1)) / (lip + 1 - left)
        yield (
            "roundness",
            share >= p.min_roundness,
            f"{share:.2f} in the lowest third",
            f"{p.min_roundness:g}",
        )
    if p.max_dryup > 0:
        handle = sum(bar.ring("volumes", lip + 1, n)) / (n - 1 - lip)
        cup = sum(bar.ring("volumes", left, lip + 1)) / (lip + 1 - left)
        measured = f"volume in the handle {handle / cup:.2f}x that in the cup"
        yield "dry_up", handle / cup <= p.max_dryup, measured, f"at most {p.max_dryup:g}x"
    if p.min_prior_rise > 0:
        name = "lows" if p.price_basis.name == "HL" else "closes"
        rise = rim / min(bar.ring(name, left - _RISE_BARS, left)) - 1
        yield "prior_rise", rise >= p.min_prior_rise, f"{rise:.1%} before the cup", f"{p.min_prior_rise:.1%}"
    if p.max_extension > 0:
        above = bar.close / pivot - 1
        yield (
            "extension", above <= p.max_extension, f"{above:.2%} above the pivot",
            f"at most {p.max_extension:.2%}",
        )  # fmt: skip
    if p.handle_slope_nonpos:
        start = lip + 1
        centre = (n - 1 + start) / 2
        slope = 0.0
        for k in range(start, n):
            slope += (k - centre) * (closes[k] - closes[start])
        yield "handle_slope", slope <= 0.0, f"handle {'rises' if slope > 0 else 'does not rise'}", "no rise"
