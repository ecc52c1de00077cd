"""What CAN SLIM measures of a symbol at a bar: parameters, state, and the factors computed from them.

Definition: domain.md section 2. `strategies.canslim` advances the state and decides.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.jit import step
from strategies.fundamentals import EARNINGS
from strategies.relative_strength import RING, YEAR

VOLUME_BARS = 20  # bars of the mean volume and of the average dollar volume
UDV_BARS = 50  # bars of the up/down volume ratio
VOLUME_RING = 64  # volumes kept per symbol; a power of two > UDV_BARS
NEVER = -(1 << 40)  # bar number of a BUY that has not happened

Float = NDArray[np.float64]
Int = NDArray[np.int64]


class MissingPolicy(IntEnum):
    """What an unavailable factor does to the score."""

    RENORMALISE = 0  # the others share its weight, less `missing_penalty`
    ZERO = 1  # it counts as 0: without earnings 0.75 is the maximum, so it hardly ever fires
    PRICE_PROXY = 2  # 252-bar price growth stands in for earnings: counts momentum twice, for parity only


class MarketMode(IntEnum):
    """Which state of the market shuts entries; the desk computes it from the benchmark."""

    OFF = 0
    REGIME = 1  # refused in a bear market
    FTD = 2  # refused until a follow-through day confirms an advance


class CanSlimParams(NamedTuple):
    w_c: float = 0.25  # weights: current earnings
    w_l: float = 0.25  # relative strength
    w_n: float = 0.25  # near the 252-bar high
    w_s: float = 0.25  # demand: volume on an up day
    w_a: float = 0.0  # annual earnings
    w_i: float = 0.0  # institutional sponsorship
    earnings_growth_threshold: float = 0.25  # fraction, year over year
    earnings_ramp: bool = False  # score growth / threshold instead of all or nothing
    rs_gate: float = 0.0  # a rank below this scores 0 (0.8 is the book's); 0: off
    near_high_threshold: float = 0.15  # fraction below the high at which the score reaches 0
    volume_threshold: float = 0.20  # volume above its mean, fraction
    require_up_day: bool = True
    min_score: float = 0.75
    cooldown_bars: int = 20
    missing_policy: MissingPolicy = MissingPolicy.RENORMALISE
    missing_penalty: float = 0.2
    min_coverage: float = 0.5  # weight share of available factors below which there is no score
    min_adv_usd: float = 500_000.0  # 20-bar average dollar volume of a name that is ranked
    min_names: int = 20  # ranked names below which the place in the 252-bar range stands in for the rank
    m_mode: MarketMode = MarketMode.REGIME
    exit_sma: int = 50  # sell below this average of the close; 0: off
    exit_rs_below: float = 0.0  # sell when the rank falls below; 0: off
    exit_in_bear: bool = False
    take_profit_gain: float = 0.0  # 0: off


class CanSlimState(NamedTuple):
    """One entry or row per symbol. Bar numbers count the symbol's traded bars from 0.

    The last five are not state: `steps` follows from the facts, the rest is scratch of one row.
    """

    bars: Int  # traded bars so far
    closes: Float  # [RING, N], dollars, bar i at place i & (RING - 1)
    total: Float  # [RING, N], total-return index, 1 at the first bar
    volumes: Float  # [VOLUME_RING, N], shares
    volume_sum: Float  # of the last VOLUME_BARS volumes; exact while volumes are whole numbers
    dollar_sum: Float  # of the last VOLUME_BARS close x volume, to within rounding; see `liquid`
    high: Float  # highest close of the last YEAR bars, as far as `high_bar` is one of them
    high_bar: Int
    dividend: Float  # dollars per share that went ex since the last traded bar
    armed: Int
    last_buy: Int  # bar number
    ranked_high: Int  # 1: the rank was at or above exit_rs_below since the last SELL
    fundamentals: Float  # [N, 4]: C score, A score, I score, earnings growth; NaN: unavailable
    cursor: Int  # [1], steps taken
    clock: Int  # [1], ts of the last row
    tally: Int
    steps: NDArray[np.void]
    candidates: Int  # symbols whose rank is needed
    factors: Float  # [N, 7], per candidate: is it an entry, C, N, S, A, I, volume ratio
    raws: Float  # raw relative strength of the names that are ranked, in order of symbol
    raw_of: Float  # the same per symbol, NaN where it is not ranked


@step
def score(
    params: CanSlimParams, c: float, strength: float, n: float, demand: float, a: float, i: float
) -> float:
    """Return the weighted mean of the available sub-scores, less the penalty for the missing ones.

    NaN marks an unavailable factor, and is returned if too few are available.
    """
    value = weight = missing = 0.0
    for w, x in (
        (params.w_c, c), (params.w_l, strength), (params.w_n, n), (params.w_s, demand), (params.w_a, a),
        (params.w_i, i),
    ):  # fmt: skip
        if not np.isnan(x):
            value += w * x
            weight += w
        elif params.missing_policy == MissingPolicy.ZERO:
            weight += w
        else:
            missing += w
    total = params.w_c + params.w_l + params.w_n + params.w_s + params.w_a + params.w_i
    if weight <= 0.0 or weight / total < params.min_coverage:
        return np.nan
    return value / weight * (1.0 - params.missing_penalty * (missing / total))


@step
def ceiling(params: CanSlimParams, c_best: float) -> float:
    """Return the highest score of a bar without demand, whichever factors are available."""
    highest = 0.0
    for c in (np.nan, c_best):
        for strength in (np.nan, 1.0):
            for a in (np.nan, 1.0):
                for i in (np.nan, 1.0):
                    bound = score(params, c, strength, 1.0, 0.0, a, i)
                    if bound > highest:
                        highest = bound
    return highest


@step
def near_high(close: float, high: float, threshold: float) -> float:
    """Return the N sub-score: 1 at the high, falling to 0 at `threshold` below it."""
    distance = 1.0 - close / high
    return 1.0 - distance / threshold if distance <= threshold else 0.0


@step
def growth(state: CanSlimState, s: int, bar: int, params: CanSlimParams) -> float:
    """Return the growth behind the C sub-score; NaN if unavailable or a turnaround."""
    if np.isnan(state.fundamentals[s, EARNINGS]) and params.missing_policy == MissingPolicy.PRICE_PROXY:
        return state.closes[bar & (RING - 1), s] / state.closes[(bar - YEAR) & (RING - 1), s] - 1.0
    return state.fundamentals[s, 3]


@step
def earnings(state: CanSlimState, s: int, bar: int, params: CanSlimParams) -> float:
    """Return the C sub-score, NaN if unavailable."""
    known = state.fundamentals[s, EARNINGS]
    if np.isnan(known) and params.missing_policy == MissingPolicy.PRICE_PROXY:
        change = growth(state, s, bar, params)
        if params.earnings_ramp:
            return min(1.0, max(0.0, change / params.earnings_growth_threshold))
        return 1.0 if change >= params.earnings_growth_threshold else 0.0
    return known


@step
def sponsorship(state: CanSlimState, s: int, bar: int) -> float:
    """Return the I sub-score: from filings, else clip01((UDV50 - 1) / 0.5), UDV = up over down volume."""
    filed = state.fundamentals[s, 2]
    if not np.isnan(filed):
        return filed
    up = down = 0.0
    for i in range(bar - UDV_BARS + 1, bar + 1):
        close, before = state.closes[i & (RING - 1), s], state.closes[(i - 1) & (RING - 1), s]
        if close > before:
            up += state.volumes[i & (VOLUME_RING - 1), s]
        elif close < before:
            down += state.volumes[i & (VOLUME_RING - 1), s]
    if down == 0.0:
        return 1.0 if up > 0.0 else 0.0
    return min(1.0, max(0.0, (up / down - 1.0) / 0.5))


@step
def liquid(closes: Float, volumes: Float, dollar_sum: float, s: int, bar: int, min_adv_usd: float) -> bool:
    """Return whether the mean of close x volume over the last VOLUME_BARS bars is at least `min_adv_usd`.

    The running sum carries rounding errors of the past: at most n x 2^-53 of the largest sum ever, i.e.
    dollars, even after 20 years that include a day of 10^13. Within 0.1 % of the limit it is not trusted
    and the window is summed again, from the oldest bar on.
    """
    least = min_adv_usd * VOLUME_BARS
    if abs(dollar_sum - least) > 1e-3 * least:
        return dollar_sum > least
    exact = 0.0
    for i in range(bar - VOLUME_BARS + 1, bar + 1):
        exact += closes[i & (RING - 1), s] * volumes[i & (VOLUME_RING - 1), s]
    return exact / VOLUME_BARS >= min_adv_usd
