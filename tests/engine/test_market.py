"""The market gate: equal to its definition over whole arrays, causal, indifferent to slabs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.market import MarketBit, MarketGate
from engine.slab import NO_ACTIONS, NS_PER_DAY, Tape

BEAR, FTD, UNKNOWN = int(MarketBit.BEAR), int(MarketBit.FTD_BLOCKED), int(MarketBit.UNKNOWN)


def tape(closes: Any, volumes: Any = None) -> Tape:
    """Return a tape without symbols that carries a benchmark."""
    n = len(closes)
    benchmark = np.column_stack([closes, np.full(n, 1000.0) if volumes is None else volumes])
    none = np.empty((n, 0))
    ts = np.arange(n) * NS_PER_DAY
    return Tape(ts, none, none, none, none, none, none.astype(np.uint8), NO_ACTIONS, benchmark)


def labels(*tapes: Tape) -> np.ndarray:
    gate = MarketGate()
    return np.concatenate([gate.on_bars(t) for t in tapes])


def random_benchmark(seed: int, n: int = 900, *, holes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return closes in trends that turn, and volumes; some rows without a benchmark."""
    rng = np.random.default_rng(seed)
    drift = np.repeat(rng.normal(0, 0.003, n // 60 + 1), 60)[:n]
    close = 100 * np.exp(np.cumsum(drift + rng.normal(0, 0.012, n)))
    volume = np.floor(rng.uniform(0.5, 1.5, n) * 1e6)
    if holes:
        close[rng.random(n) < 0.03] = np.nan
        volume[rng.random(n) < 0.03] = np.nan
    return close, volume


def expected_labels(close: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """The definition: the averages by pandas, the states by lists of what has happened."""
    valid = ~np.isnan(close)
    c, v = pd.Series(close[valid]), pd.Series(volume[valid])
    mean = c.rolling(200).mean()
    q, slope = c / mean - 1, mean / mean.shift(20) - 1
    change, louder = c / c.shift() - 1, v > v.shift()
    out, bear, state, day_one, forgotten = [], False, "confirmed", 0, -1
    for t in range(len(c)):
        if t >= 219:
            bear = (q[t] < 0.02 and slope[t] < 0.005) if bear else (q[t] < -0.02 and slope[t] < 0)
        days = [
            d
            for d in range(max(0, t - 24, forgotten + 1), t + 1)
            if change[d] <= -0.002 and louder[d] and c[d : t + 1].max() < 1.05 * c[d]
        ]
        if state == "correction":
            if change[t] > 0:
                state, day_one = "attempt", t
        elif state == "attempt":
            if c[t] < c[day_one]:
                state = "correction"
            elif t - day_one + 1 >= 4 and change[t] >= 0.0125 and louder[t]:
                state, forgotten = "confirmed", t
        else:
            state = "correction" if len(days) >= 6 else "pressure" if len(days) >= 4 else "confirmed"
        blocked = FTD if state in ("correction", "attempt") else 0
        out.append((UNKNOWN if t < 219 else BEAR * bear) | blocked)
    places = np.cumsum(valid) - 1
    return np.array([UNKNOWN if p < 0 else out[p] for p in places])


@pytest.mark.parametrize("seed", range(6))
def test_matches_the_definition(seed: int) -> None:
    close, volume = random_benchmark(seed)
    expected = expected_labels(close, volume)
    assert labels(tape(close, volume)).tolist() == expected.tolist()


def test_the_random_benchmarks_show_every_label() -> None:
    seen = np.concatenate([labels(tape(*random_benchmark(seed))) for seed in range(6)])
    assert set(seen.tolist()) == {0, BEAR, FTD, BEAR | FTD, UNKNOWN, UNKNOWN | FTD}


def test_the_future_cannot_change_the_past() -> None:
    close, volume = random_benchmark(7)
    other = close.copy()
    other[500:] = 1.0
    assert labels(tape(close, volume))[:500].tolist() == labels(tape(other, volume))[:500].tolist()


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 899), max_size=8), st.integers(0, 3))
def test_slabs_do_not_matter(bounds: list[int], seed: int) -> None:
    close, volume = random_benchmark(seed)
    pieces = [
        tape(c, v)
        for c, v in zip(np.split(close, sorted(bounds)), np.split(volume, sorted(bounds)), strict=True)
    ]
    assert labels(*pieces).tolist() == labels(tape(close, volume)).tolist()


def test_one_row_at_a_time() -> None:
    close, volume = random_benchmark(8)
    assert (
        labels(*(tape([c], [v]) for c, v in zip(close, volume, strict=True))).tolist()
        == labels(tape(close, volume)).tolist()
    )


@pytest.mark.parametrize("row", [100, 400])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(row: int) -> None:
    close, volume = random_benchmark(9)
    whole = labels(tape(close, volume))
    gate, other = MarketGate(), MarketGate()
    gate.on_bars(tape(close[:row], volume[:row]))
    other.on_bars(tape(*random_benchmark(10)))
    other.restore(gate.state())
    assert other.on_bars(tape(close[row:], volume[row:])).tolist() == whole[row:].tolist()


def test_start_forgets_everything() -> None:
    close, volume = random_benchmark(11)
    gate = MarketGate()
    first = gate.on_bars(tape(close, volume))
    gate.start()
    assert gate.on_bars(tape(close, volume)).tolist() == first.tolist()


def test_unknown_before_220_closes_and_without_a_benchmark() -> None:
    falling = 100 * 0.99 ** np.arange(221)
    assert labels(tape(falling)).tolist() == [UNKNOWN] * 219 + [BEAR] * 2
    assert labels(tape(np.full(5, np.nan))).tolist() == [UNKNOWN] * 5


def test_a_row_without_a_close_repeats_the_label() -> None:
    falling = 100 * 0.99 ** np.arange(230)
    falling[[5, 100, 225]] = np.nan
    assert labels(tape(falling)).tolist() == [UNKNOWN] * 221 + [BEAR] * 9


def test_bear_is_left_only_well_above_the_mean() -> None:
    """Entering takes 2 % below a falling mean, leaving 2 % above it (or a mean that rises 0.5 %)."""
    falling = 100 * 0.999 ** np.arange(260)
    mean = falling[-200:].mean()
    back = np.append(falling, [mean * 1.01, mean * 1.03, mean * 0.99])
    assert labels(tape(back))[-4:].tolist() == [BEAR, BEAR, 0, 0]


class TestFollowThroughDay:
    """`moves` are daily changes, each with a volume; the gate starts as confirmed."""

    @staticmethod
    def blocked(moves: list[tuple[float, float]]) -> list[bool]:
        closes = 100 * np.cumprod([1.0] + [1 + change for change, _ in moves])
        volumes = [1000.0, *(volume for _, volume in moves)]
        return [bool(label & FTD) for label in labels(tape(closes, volumes))[1:]]

    @staticmethod
    def distribution(n: int) -> list[tuple[float, float]]:
        """n distribution days, each with a quiet day after it."""
        return [(-0.003, 2000.0), (0.0, 1000.0)] * n

    def test_six_distribution_days_are_a_correction(self) -> None:
        assert self.blocked(self.distribution(6)) == [False] * 10 + [True] * 2

    def test_a_smaller_loss_or_less_volume_is_no_distribution_day(self) -> None:
        assert not any(self.blocked([(-0.0019, 2000.0), (0.0, 1000.0)] * 10))
        assert not any(self.blocked([(-0.003, 1000.0), (0.0, 1000.0)] * 10))

    def test_distribution_days_expire_after_25_sessions(self) -> None:
        five_old = self.distribution(5)
        for quiet, blocked in ((24 - 10, True), (25 - 10, False)):
            assert self.blocked([*five_old, *[(0.0, 1000.0)] * quiet, (-0.003, 2000.0)])[-1] == blocked

    def test_a_distribution_day_is_void_5_percent_higher(self) -> None:
        five_old = self.distribution(5)
        assert self.blocked([*five_old, (0.04, 900.0), (-0.003, 2000.0)])[-1]
        assert not self.blocked([*five_old, (0.07, 900.0), (-0.003, 2000.0)])[-1]

    def test_a_follow_through_on_day_4_ends_it(self) -> None:
        correction = self.distribution(6)
        attempt = [(0.01, 900.0), (0.0, 900.0), (0.0, 900.0)]
        assert not self.blocked([*correction, *attempt, (0.0126, 1000.0)])[-1]
        assert self.blocked([*correction, *attempt, (0.0124, 1000.0)])[-1]
        assert self.blocked([*correction, *attempt, (0.0126, 900.0)])[-1]
        assert self.blocked([*correction, *attempt[:2], (0.0126, 1000.0)])[-1]

    def test_a_close_below_day_one_ends_the_attempt(self) -> None:
        correction = self.distribution(6)
        undercut = [(0.01, 900.0), (-0.001, 900.0), (0.0, 900.0), (0.0126, 1000.0)]
        assert self.blocked([*correction, *undercut])[-1]
        again = [*undercut, (0.0, 900.0), (0.0, 900.0), (0.0126, 1000.0)]  # The rise was day 1 of the next
        assert not self.blocked([*correction, *again])[-1]

    def test_pressure_does_not_block(self) -> None:
        assert not any(self.blocked(self.distribution(5)))

    def test_without_volume_nothing_is_ever_blocked(self) -> None:
        assert not any(self.blocked([(-0.01, np.nan)] * 50))


@pytest.mark.market
def test_iwm_was_bear_in_2008_and_2022_and_not_in_2013() -> None:
    folder = os.environ.get("SMALLCAP_MARKET_DATA")
    if not folder:
        pytest.skip("SMALLCAP_MARKET_DATA is not set")
    frame = pd.read_parquet(Path(folder) / "benchmarks_daily.parquet").query("symbol == 'IWM'")
    bear = labels(tape(frame["close"], frame["volume"])) & BEAR
    share = pd.Series(bear).groupby(frame["date"].astype(str).str[:4].to_numpy()).mean()
    print("share of sessions in bear:", share.round(2).to_dict())
    assert share["2008"] > 0.7
    assert share["2022"] > 0.7
    assert share["2013"] == 0.0
