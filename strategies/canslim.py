"""CAN SLIM: a score of earnings, relative strength, nearness to the high and demand; buy when it is high.

Definition: domain.md section 2. Read top to bottom: parameters, state, kernel, its three passes over a
row, the factors, wrapper. Ranks are in `relative_strength`, company reports in `fundamentals`.

Most bars are settled without a rank: only names whose score could still reach the minimum are ranked.
That is exact, not an estimate: the score is rounded sums, products and quotients of terms >= 0, each of
which is monotone, so the score with the best possible rank bounds the score from above bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.events import Side
from engine.exits import ExitRules
from engine.facts import NO_FACTS
from engine.jit import kernel, step
from engine.slab import ActionKind, BarStatus, Tape, Universe
from strategies.base import KernelStrategy, SignalBuffer
from strategies.canslim_factors import (
    NEVER,
    VOLUME_BARS,
    VOLUME_RING,
    CanSlimParams,
    CanSlimState,
    MarketMode,
    MissingPolicy,
    ceiling,
    earnings,
    growth,
    liquid,
    near_high,
    score,
    sponsorship,
)
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

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_SPLIT, _DIVIDEND = int(ActionKind.SPLIT), int(ActionKind.DIVIDEND)
_TRADED, _RESUMED = int(BarStatus.TRADED), int(BarStatus.RESUMED)
_WARMUP, _COOLDOWN, _NO_SCORE, _LOW, _NOT_ARMED, _SIGNAL = range(6)


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
    quiet = ceiling(params, 1.0)
    proxy = params.missing_policy == MissingPolicy.PRICE_PROXY
    quiet_bare = quiet if proxy else ceiling(params, np.nan)
    if np.isnan(score(params, np.nan, np.nan, 0.0, 0.0, np.nan, 0.0)):
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
        volume_before, last = state.volume_sum[s], closes[before, s]
        if bar >= VOLUME_BARS:
            gone = volumes[(bar - VOLUME_BARS) & (VOLUME_RING - 1), s]
            state.volume_sum[s] = volume_before + volume - gone
            state.dollar_sum[s] += close * volume - closes[(bar - VOLUME_BARS) & (RING - 1), s] * gone
        else:
            state.volume_sum[s] = volume_before + volume
            state.dollar_sum[s] += close * volume
        total[here, s] = total[before, s] * (close + state.dividend[s]) / last if bar > 0 else 1.0
        state.dividend[s] = 0.0
        closes[here, s] = close
        volumes[bar & (VOLUME_RING - 1), s] = volume
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
                n = near_high(close, high, params.near_high_threshold)
                c = earnings(state, s, bar, params)
                a = state.fundamentals[s, ANNUAL]
                i = sponsorship(state, s, bar) if params.w_i > 0.0 else np.nan
                ranked = score(params, c, 1.0, n, demand, a, i)
                if ranked >= params.min_score:
                    entry = 1.0
                else:
                    unranked = score(params, c, np.nan, n, demand, a, i)
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
            if liquid(state.closes, state.volumes, state.dollar_sum[s], s, bar, params.min_adv_usd):
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
            total = score(params, c, strength, n, demand, a, i)
            if np.isnan(total):
                state.tally[_NO_SCORE] += 1
            elif not total >= params.min_score:
                state.armed[s] = 1
                state.tally[_LOW] += 1
            elif state.armed[s] == 0:
                state.tally[_NOT_ARMED] += 1
            else:
                bought = True
                state.armed[s] = 0
                state.last_buy[s] = bar
                state.tally[_SIGNAL] += 1
                details = out.rows[emit(out, tape.ts[t], s, _BUY, total, close)]["details"]
                details[0] = total
                details[1] = c
                details[2] = strength
                details[3] = n
                details[4] = demand
                details[5] = rank
                details[6] = 1.0 if by_range else 0.0
                details[7] = high
                details[8] = ratio
                details[9] = growth(state, s, bar, params)
        if params.exit_rs_below > 0.0 and not np.isnan(rank):
            if rank >= params.exit_rs_below:
                state.ranked_high[s] = 1
            elif state.ranked_high[s] == 1 and not bought:
                state.ranked_high[s] = 0
                details = out.rows[emit(out, tape.ts[t], s, _SELL, max(0.5, 1.0 - rank), close)]["details"]
                details[5] = rank
                details[6] = 0.0


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
        state.closes[i, s] /= ratio
    for i in range(VOLUME_RING):
        state.volumes[i, s] *= ratio
    state.high[s] /= ratio
    state.dividend[s] /= ratio
    state.volume_sum[s] = state.dollar_sum[s] = 0.0
    bar = state.bars[s]
    for i in range(max(0, bar - VOLUME_BARS), bar):
        state.volume_sum[s] += state.volumes[i & (VOLUME_RING - 1), s]
        state.dollar_sum[s] += state.closes[i & (RING - 1), s] * state.volumes[i & (VOLUME_RING - 1), s]


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
    symbol_axes: ClassVar[Mapping[str, int]] = {
        "bars": 0, "closes": 1, "total": 1, "volumes": 1, "volume_sum": 0, "dollar_sum": 0, "high": 0,
        "high_bar": 0, "dividend": 0, "armed": 0, "last_buy": 0, "ranked_high": 0,
    }  # fmt: skip
    scratch: ClassVar[tuple[str, ...]] = ("steps", "candidates", "factors", "raws", "raw_of")
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
        self._renames: list[tuple[int, int]] = []  # old and new columns

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
            closes=np.zeros((RING, n)),
            total=np.zeros((RING, n)),
            volumes=np.zeros((VOLUME_RING, n)),
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

    def start(self, universe: Universe) -> None:
        self._renames = []
        super().start(universe)

    def on_rename(self, old: str, new: str) -> None:
        """Move the memory of prices; facts filed under the old name are facts of the new one from here on."""
        super().on_rename(old, new)
        self._renames.append((self._column[old], self._column[new]))
        self.use_facts(self._facts)

    def state(self) -> dict[str, Any]:
        return super().state() | {"renames": np.array(self._renames, np.int64).reshape(-1, 2)}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._renames = [(int(old), int(new)) for old, new in state.get("renames", ())]
        self.use_facts(self._facts)  # The facts may be more than when the snapshot was taken

    def _steps(self, n_symbols: int) -> NDArray[np.void]:
        facts = self._facts
        for old, new in self._renames:
            also = facts[facts["symbol"] == old]
            also["symbol"] = new  # Chosen by a mask, they are a copy
            facts = np.concatenate([facts, also])
        return fundamental_steps(
            facts,
            n_symbols,
            growth_threshold=self.params.earnings_growth_threshold,
            ramp=self.params.earnings_ramp,
        )

    def _replay_steps(self) -> None:
        self._state.cursor[0] = 0
        self._state.fundamentals[...] = np.nan
        apply_steps(self._state, self._state.clock[0])
