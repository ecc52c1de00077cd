"""CAN SLIM: a score of earnings, relative strength, nearness to the high and demand; buy when it is high.

Definition: domain.md section 2. Read top to bottom: parameters, state, kernel, its three passes over a
row, the factors, wrapper. Ranks are in `relative_strength`, company reports in `fundamentals`.

Most bars are settled without a rank: only names whose score could still reach the minimum are ranked.
That is exact, not an estimate: the score is rounded sums, products and quotients of terms >= 0, each of
which is monotone, so the score with the best possible rank bounds the score from above bit for bit.
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
from engine.facts import NO_FACTS
from engine.jit import kernel, step
from engine.slab import ActionKind, BarStatus, Tape, Universe
from strategies.base import KernelStrategy, SignalBuffer
from strategies.emit import emit
from strategies.fundamentals import ANNUAL, EARNINGS, fundamental_steps
from strategies.relative_strength import (
    RING,
    YEAR,
    highest_close,
    lowest_close,
    percentile,
    range_position,
    rs_raw,
)

VOLUME_BARS = 20  # bars of the mean volume and of the average dollar volume
UDV_BARS = 50  # bars of the up/down volume ratio
VOLUME_RING = 64  # volumes kept per symbol; a power of two > UDV_BARS
NEVER = -(1 << 40)  # bar number of a BUY that has not happened

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_SPLIT, _DIVIDEND = int(ActionKind.SPLIT), int(ActionKind.DIVIDEND)
_TRADED, _RESUMED = int(BarStatus.TRADED), int(BarStatus.RESUMED)
_WARMUP, _COOLDOWN, _NO_SCORE, _LOW, _NOT_ARMED, _SIGNAL = range(6)

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
    closes: Float  # [N, RING], dollars, bar i at place i & (RING - 1)
    total: Float  # [N, RING], total-return index, 1 at the first bar
    volumes: Float  # [N, VOLUME_RING], shares
    volume_sum: Float  # of the last VOLUME_BARS volumes; exact while volumes are whole numbers
    dollar_sum: Float  # of the last VOLUME_BARS close x volume, to within rounding; see `_liquid`
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


_NOT_STATE = ("steps", "candidates", "factors", "raws", "raw_of")


@kernel
def canslim_kernel(
    tape: Tape, params: CanSlimParams, state: CanSlimState, out: SignalBuffer, row: int
) -> int:
    """Advance over rows `row`.. and append the signals. See `KernelStrategy`."""
    n_rows, n_symbols = tape.close.shape
    action = 0
    while action < len(tape.actions) and tape.actions[action]["row"] < row:
        action += 1
    # The best score of a bar without demand, with earnings and without.
    quiet = _ceiling(params, 1.0)
    proxy = params.missing_policy == MissingPolicy.PRICE_PROXY
    quiet_bare = quiet if proxy else _ceiling(params, np.nan)
    if np.isnan(_score(params, np.nan, np.nan, 0.0, 0.0, np.nan, 0.0)):
        quiet = quiet_bare = np.inf  # Some bars may have no score at all: each must be looked at
    for t in range(row, n_rows):
        if len(out.rows) - out.count[0] < n_symbols:
            return t
        action = _apply_actions(tape, t, action, state)
        apply_steps(state, tape.ts[t])
        state.clock[0] = tape.ts[t]
        n_candidates = _advance_row(tape, t, params, state, quiet, quiet_bare)
        if n_candidates > 0:
            n_names = _rank_row(tape, t, params, state)
            _decide_row(tape, t, params, state, out, n_candidates, n_names)
    return n_rows


@step
def _advance_row(
    tape: Tape, t: int, params: CanSlimParams, state: CanSlimState, quiet: float, quiet_bare: float
) -> int:
    """Take the bars of row `t` into the state, settle what needs no rank, return how many names do.

    quiet, quiet_bare: bound of the score of a bar without demand, with known earnings and without.
    """
    closes, total, volumes = state.closes, state.total, state.volumes
    # A cheap test that is passed by all volumes that pass the exact one, and by next to no others.
    loud = (1.0 + params.volume_threshold) / VOLUME_BARS * (1.0 - 1e-9)
    n_warmup = n_cooldown = n_no_score = n_low = n_candidates = 0
    for s in range(tape.close.shape[1]):
        status = tape.status[t, s]
        if status < _TRADED:
            continue
        if status == _RESUMED:
            _forget(state, s)
        close, volume = tape.close[t, s], tape.volume[t, s]
        bar = state.bars[s]
        state.bars[s] = bar + 1
        here, before = bar & (RING - 1), (bar - 1) & (RING - 1)
        volume_before, last = state.volume_sum[s], closes[s, before]
        if bar >= VOLUME_BARS:
            gone = volumes[s, (bar - VOLUME_BARS) & (VOLUME_RING - 1)]
            state.volume_sum[s] = volume_before + volume - gone
            state.dollar_sum[s] += close * volume - closes[s, (bar - VOLUME_BARS) & (RING - 1)] * gone
        else:
            state.volume_sum[s] = volume_before + volume
            state.dollar_sum[s] += close * volume
        total[s, here] = total[s, before] * (close + state.dividend[s]) / last if bar > 0 else 1.0
        state.dividend[s] = 0.0
        closes[s, here] = close
        volumes[s, bar & (VOLUME_RING - 1)] = volume
        if close >= state.high[s]:
            state.high[s] = close
            state.high_bar[s] = bar
        if bar < YEAR:
            n_warmup += 1
            continue

        entry = 0.0
        c = n = demand = a = i = ratio = np.nan
        if state.armed[s] == 1 and bar - state.last_buy[s] <= params.cooldown_bars:
            n_cooldown += 1
        else:
            demand = 0.0
            if volume >= volume_before * loud and (close > last or not params.require_up_day):
                ratio = volume / (volume_before / VOLUME_BARS)
                demand = 1.0 if ratio - 1.0 >= params.volume_threshold else 0.0
            bare = np.isnan(state.fundamentals[s, EARNINGS])
            if demand == 0.0 and (quiet_bare if bare else quiet) < params.min_score:
                state.armed[s] = 1
                n_low += 1
            else:
                ratio = volume / (volume_before / VOLUME_BARS)
                high = highest_close(closes, s, bar, state.high, state.high_bar)
                n = _near_high(close, high, params.near_high_threshold)
                c = _earnings(state, s, bar, params)
                a = state.fundamentals[s, ANNUAL]
                i = _sponsorship(state, s, bar) if params.w_i > 0.0 else np.nan
                ranked = _score(params, c, 1.0, n, demand, a, i)
                unranked = _score(params, c, np.nan, n, demand, a, i)
                if np.isnan(ranked) and np.isnan(unranked):
                    n_no_score += 1
                elif ranked < params.min_score and unranked < params.min_score:
                    state.armed[s] = 1
                    n_low += 1
                else:
                    entry = 1.0
        if entry == 1.0 or params.exit_rs_below > 0.0:
            state.candidates[n_candidates] = s
            factors = state.factors[n_candidates]
            factors[0] = entry
            factors[1] = c
            factors[2] = n
            factors[3] = demand
            factors[4] = a
            factors[5] = i
            factors[6] = ratio
            n_candidates += 1
    state.tally[_WARMUP] += n_warmup
    state.tally[_COOLDOWN] += n_cooldown
    state.tally[_NO_SCORE] += n_no_score
    state.tally[_LOW] += n_low
    return n_candidates


@step
def _rank_row(tape: Tape, t: int, params: CanSlimParams, state: CanSlimState) -> int:
    """Fill in the raw relative strength of the liquid names that traded on row `t`; return how many."""
    n_names = 0
    for s in range(tape.close.shape[1]):
        state.raw_of[s] = np.nan
        if tape.status[t, s] >= _TRADED and state.bars[s] > YEAR:
            bar = state.bars[s] - 1
            if _liquid(state.closes, state.volumes, state.dollar_sum[s], s, bar, params.min_adv_usd):
                raw = rs_raw(state.total, s, bar)
                state.raws[n_names] = raw
                state.raw_of[s] = raw
                n_names += 1
    return n_names


@step
def _decide_row(
    tape: Tape, t: int, params: CanSlimParams, state: CanSlimState, out: SignalBuffer,
    n_candidates: int, n_names: int,
) -> None:  # fmt: skip
    """Rank and score the candidates of row `t` in order of symbol; arm, buy, or sell for lost strength."""
    by_range = n_names < params.min_names
    for k in range(n_candidates):
        s = state.candidates[k]
        bar = state.bars[s] - 1
        close = tape.close[t, s]
        rank = np.nan
        if not by_range and not np.isnan(state.raw_of[s]):
            rank = percentile(state.raws, n_names, state.raw_of[s])
        bought = False
        if state.factors[k, 0] == 1.0:
            c, n, demand = state.factors[k, 1], state.factors[k, 2], state.factors[k, 3]
            a, i, ratio = state.factors[k, 4], state.factors[k, 5], state.factors[k, 6]
            strength = rank
            high = highest_close(state.closes, s, bar, state.high, state.high_bar)
            if by_range:
                strength = range_position(lowest_close(state.closes, s, bar), high, close)
            if strength < params.rs_gate:
                strength = 0.0
            score = _score(params, c, strength, n, demand, a, i)
            if np.isnan(score):
                state.tally[_NO_SCORE] += 1
            elif not score >= params.min_score:
                state.armed[s] = 1
                state.tally[_LOW] += 1
            elif state.armed[s] == 0:
                state.tally[_NOT_ARMED] += 1
            else:
                bought = True
                state.armed[s] = 0
                state.last_buy[s] = bar
                state.tally[_SIGNAL] += 1
                details = out.rows[emit(out, tape.ts[t], s, _BUY, score, close)]["details"]
                details[0] = score
                details[1] = c
                details[2] = strength
                details[3] = n
                details[4] = demand
                details[5] = rank
                details[6] = 1.0 if by_range else 0.0
                details[7] = high
                details[8] = ratio
                details[9] = _growth(state, s, bar, params)
        if params.exit_rs_below > 0.0 and not np.isnan(rank):
            if rank >= params.exit_rs_below:
                state.ranked_high[s] = 1
            elif state.ranked_high[s] == 1 and not bought:
                state.ranked_high[s] = 0
                details = out.rows[emit(out, tape.ts[t], s, _SELL, max(0.5, 1.0 - rank), close)]["details"]
                details[5] = rank
                details[6] = 0.0


@step
def _score(
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
def _ceiling(params: CanSlimParams, c_best: float) -> float:
    """Return the highest score of a bar without demand, whichever factors are available."""
    highest = 0.0
    for c in (np.nan, c_best):
        for strength in (np.nan, 1.0):
            for a in (np.nan, 1.0):
                for i in (np.nan, 1.0):
                    score = _score(params, c, strength, 1.0, 0.0, a, i)
                    if score > highest:
                        highest = score
    return highest


@step
def _near_high(close: float, high: float, threshold: float) -> float:
    """Return the N sub-score: 1 at the high, falling to 0 at `threshold` below it."""
    distance = 1.0 - close / high
    return 1.0 - distance / threshold if distance <= threshold else 0.0


@step
def _growth(state: CanSlimState, s: int, bar: int, params: CanSlimParams) -> float:
    """Return the growth behind the C sub-score; NaN if unavailable or a turnaround."""
    if np.isnan(state.fundamentals[s, EARNINGS]) and params.missing_policy == MissingPolicy.PRICE_PROXY:
        return state.closes[s, bar & (RING - 1)] / state.closes[s, (bar - YEAR) & (RING - 1)] - 1.0
    return state.fundamentals[s, 3]


@step
def _earnings(state: CanSlimState, s: int, bar: int, params: CanSlimParams) -> float:
    """Return the C sub-score, NaN if unavailable."""
    score = state.fundamentals[s, EARNINGS]
    if np.isnan(score) and params.missing_policy == MissingPolicy.PRICE_PROXY:
        growth = _growth(state, s, bar, params)
        if params.earnings_ramp:
            return min(1.0, max(0.0, growth / params.earnings_growth_threshold))
        return 1.0 if growth >= params.earnings_growth_threshold else 0.0
    return score


@step
def _sponsorship(state: CanSlimState, s: int, bar: int) -> float:
    """Return the I sub-score: from filings, else clip01((UDV50 - 1) / 0.5), UDV = up over down volume."""
    filed = state.fundamentals[s, 2]
    if not np.isnan(filed):
        return filed
    up = down = 0.0
    for i in range(bar - UDV_BARS + 1, bar + 1):
        close, before = state.closes[s, i & (RING - 1)], state.closes[s, (i - 1) & (RING - 1)]
        if close > before:
            up += state.volumes[s, i & (VOLUME_RING - 1)]
        elif close < before:
            down += state.volumes[s, i & (VOLUME_RING - 1)]
    if down == 0.0:
        return 1.0 if up > 0.0 else 0.0
    return min(1.0, max(0.0, (up / down - 1.0) / 0.5))


@step
def _liquid(closes: Float, volumes: Float, dollar_sum: float, s: int, bar: int, min_adv_usd: float) -> bool:
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
        exact += closes[s, i & (RING - 1)] * volumes[s, i & (VOLUME_RING - 1)]
    return exact / VOLUME_BARS >= min_adv_usd


@kernel
def apply_steps(state: CanSlimState, now: int) -> None:
    """Take over what became known about companies up to `now`."""
    cursor = state.cursor[0]
    while cursor < len(state.steps) and state.steps[cursor]["ns"] <= now:
        step = state.steps[cursor]
        state.fundamentals[step["symbol"], step["factor"]] = step["score"]
        if step["factor"] == EARNINGS:
            state.fundamentals[step["symbol"], 3] = step["growth"]
        cursor += 1
    state.cursor[0] = cursor


@step
def _apply_actions(tape: Tape, t: int, action: int, state: CanSlimState) -> int:
    """Apply splits, then dividends (dollars per new share) before row `t`; return the next action."""
    first = action
    while action < len(tape.actions) and tape.actions[action]["row"] == t:
        if tape.actions[action]["kind"] == _SPLIT:
            _rescale(state, tape.actions[action]["symbol"], tape.actions[action]["value"])
        action += 1
    for k in range(first, action):
        if tape.actions[k]["kind"] == _DIVIDEND:
            state.dividend[tape.actions[k]["symbol"]] += tape.actions[k]["value"]
    return action


@step
def _rescale(state: CanSlimState, s: int, ratio: float) -> None:
    """Put prices and volumes on the basis after a split of `ratio` new shares per old; sums anew."""
    for i in range(RING):
        state.closes[s, i] /= ratio
    for i in range(VOLUME_RING):
        state.volumes[s, i] *= ratio
    state.high[s] /= ratio
    state.dividend[s] /= ratio
    state.volume_sum[s] = state.dollar_sum[s] = 0.0
    bar = state.bars[s]
    for i in range(max(0, bar - VOLUME_BARS), bar):
        state.volume_sum[s] += state.volumes[s, i & (VOLUME_RING - 1)]
        state.dollar_sum[s] += state.closes[s, i & (RING - 1)] * state.volumes[s, i & (VOLUME_RING - 1)]


@step
def _forget(state: CanSlimState, s: int) -> None:
    """Return a symbol to the state of one that has never traded; its company reports stay known."""
    state.bars[s] = 0
    state.volume_sum[s] = state.dollar_sum[s] = state.high[s] = state.dividend[s] = 0.0
    state.high_bar[s] = state.ranked_high[s] = 0
    state.armed[s] = 1
    state.last_buy[s] = NEVER


class CanSlim(KernelStrategy):
    """CAN SLIM. Without facts the earnings factor is unavailable and the policy for missing ones applies."""

    name: ClassVar[str] = "can_slim"
    short: ClassVar[str] = "canslim"
    description: ClassVar[str] = "earnings, relative strength, nearness to the high and demand, scored"
    measurements: ClassVar[tuple[str, ...]] = (
        "score", "c", "l", "n", "s", "rs_percentile", "rs_mode", "high_252", "volume_ratio", "growth",
    )  # fmt: skip
    conditions: ClassVar[tuple[str, ...]] = (
        "warmup", "cooldown", "no_score", "score_below_min", "not_armed", "signal",
    )  # fmt: skip
    Params: ClassVar[type[Any]] = CanSlimParams
    kernel: ClassVar[Any] = canslim_kernel

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.exits = ExitRules(
            sma_bars=self.params.exit_sma,
            take_profit_gain=self.params.take_profit_gain,
            exit_in_bear=self.params.exit_in_bear,
            m_gate=int(self.params.m_mode),
        )
        self._facts: NDArray[np.void] = NO_FACTS

    def check(self, params: Any) -> None:
        """Raise ConfigError for weights or thresholds without meaning."""
        weights = {name: getattr(params, name) for name in ("w_c", "w_l", "w_n", "w_s", "w_a", "w_i")}
        for name, weight in weights.items():
            if not 0.0 <= weight < np.inf:
                raise ConfigError(f"canslim.{name} must be >= 0 and finite, was {weight}")
        if sum(weights.values()) <= 0.0:
            raise ConfigError("canslim: at least one weight must be > 0, all were 0")
        for name in ("earnings_growth_threshold", "near_high_threshold"):
            if not getattr(params, name) > 0.0:
                raise ConfigError(f"canslim.{name} must be > 0, was {getattr(params, name)}")
        for name in ("rs_gate", "missing_penalty", "min_coverage", "exit_rs_below"):
            if not 0.0 <= getattr(params, name) <= 1.0:
                raise ConfigError(f"canslim.{name} must be within [0, 1], was {getattr(params, name)}")
        for name, least in (("volume_threshold", 0), ("cooldown_bars", 0), ("min_names", 2), ("exit_sma", 0)):
            if getattr(params, name) < least:
                raise ConfigError(f"canslim.{name} must be >= {least}, was {getattr(params, name)}")

    @property
    def warmup_bars(self) -> int:
        return YEAR

    @property
    def m_mode(self) -> MarketMode:
        """Which state of the market the desk must shut entries on (`exits.m_gate` says whether)."""
        mode: MarketMode = self.params.m_mode
        return mode

    def use_facts(self, facts: NDArray[np.void]) -> None:
        """Use FACT_DTYPE rows, `symbol` numbered as in the universe. Allowed at any time.

        On a running strategy the new facts replace the old ones, as if they had been there from the start.
        """
        self._facts = facts
        if self._state is not None:
            self._state = self._state._replace(steps=self._steps(self._n_symbols))
            self._replay_steps()

    def allocate(self, universe: Universe) -> CanSlimState:
        n = len(universe)
        return CanSlimState(
            bars=np.zeros(n, np.int64),
            closes=np.zeros((n, RING)),
            total=np.zeros((n, RING)),
            volumes=np.zeros((n, VOLUME_RING)),
            volume_sum=np.zeros(n),
            dollar_sum=np.zeros(n),
            high=np.zeros(n),
            high_bar=np.zeros(n, np.int64),
            dividend=np.zeros(n),
            armed=np.ones(n, np.int64),
            last_buy=np.full(n, NEVER, np.int64),
            ranked_high=np.zeros(n, np.int64),
            fundamentals=np.full((n, 4), np.nan),
            cursor=np.zeros(1, np.int64),
            clock=np.full(1, np.iinfo(np.int64).min, np.int64),
            tally=np.zeros(len(self.conditions), np.int64),
            steps=self._steps(n),
            candidates=np.zeros(n, np.int64),
            factors=np.zeros((n, 7)),
            raws=np.zeros(n),
            raw_of=np.zeros(n),
        )

    def state(self) -> dict[str, Any]:
        return {name: value for name, value in super().state().items() if name not in _NOT_STATE}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in self._state._asdict().items():
            if name not in _NOT_STATE:
                value[...] = state[name]
        self._replay_steps()  # The facts may be more than when the snapshot was taken

    def _steps(self, n_symbols: int) -> NDArray[np.void]:
        return fundamental_steps(
            self._facts,
            n_symbols,
            growth_threshold=self.params.earnings_growth_threshold,
            ramp=self.params.earnings_ramp,
        )

    def _replay_steps(self) -> None:
        self._state.cursor[0] = 0
        self._state.fundamentals[...] = np.nan
        apply_steps(self._state, self._state.clock[0])
