"""What the desk remembers of a symbol does not depend on the sessions in which it did not trade."""

from __future__ import annotations

import numpy as np
import pytest

from brokers.history import remember_bar
from engine.desk import CLOSE, HIGH, LOW, NEWEST, SEEN, VOLUME, DeskState, allocate_state
from engine.jit import kernel
from engine.slab import NO_ACTIONS, BarStatus, Tape

N_SYMBOLS, N_ROWS, N_BARS = 7, 150, 21


@kernel
def remember_rows(state: DeskState, tape: Tape, first: int, last: int) -> None:
    for t in range(first, last):
        state.counters[0].session += 1
        remember_bar(state, tape, t, 14)


def tape_with_pauses(seed: int) -> Tape:
    rng = np.random.default_rng(seed)
    prices = [rng.uniform(1.0, 9.0, (N_ROWS, N_SYMBOLS)) for _ in range(5)]
    # The last symbol trades in all sessions, the one before in few
    share = np.linspace(1.0, 0.05, N_SYMBOLS)[::-1]
    status = np.where(rng.random((N_ROWS, N_SYMBOLS)) < share, BarStatus.TRADED, BarStatus.NONE)
    status[rng.random(status.shape) < 0.02] = BarStatus.MARK
    status[rng.random(status.shape) < 0.01] = BarStatus.RESUMED
    status[60:110, 2] = BarStatus.NONE  # Longer than a ring
    return Tape(np.arange(N_ROWS), *prices, status.astype(np.uint8), NO_ACTIONS, np.full((N_ROWS, 2), np.nan))


@pytest.mark.parametrize("seed", range(5))
def test_the_last_bars_of_every_symbol_are_found_after_any_pause(seed: int) -> None:
    tape = tape_with_pauses(seed)
    state = allocate_state(1, N_SYMBOLS, 1, 1, close_bars=N_BARS, range_bars=N_BARS, blend=False)
    bars: list[list[tuple[float, ...]]] = [[] for _ in range(N_SYMBOLS)]
    for t in range(N_ROWS):
        remember_rows(state, tape, t, t + 1)
        for s in range(N_SYMBOLS):
            if tape.status[t, s] == BarStatus.RESUMED:
                bars[s] = []
            if tape.status[t, s] >= BarStatus.TRADED:
                bars[s].append(tuple(column[t, s] for column in tape[2:6]))
            assert state.history[SEEN, s] == len(bars[s])
            for k, bar in enumerate(reversed(bars[s][-N_BARS:])):
                place = (state.history[NEWEST, s] - k) % len(state.closes)
                closes, ranges = state.closes[place, :, s], state.ranges[place, :, s]
                assert (ranges[HIGH], ranges[LOW], closes[CLOSE], closes[VOLUME]) == bar


def test_rows_at_once_are_remembered_as_rows_one_by_one() -> None:
    tape = tape_with_pauses(9)
    at_once, one_by_one = (
        allocate_state(1, N_SYMBOLS, 1, 1, close_bars=N_BARS, range_bars=1, blend=False) for _ in range(2)
    )
    remember_rows(at_once, tape, 0, N_ROWS)
    for t in range(N_ROWS):
        remember_rows(one_by_one, tape, t, t + 1)
    for name in ("history", "closes", "ranges", "symbols"):
        assert getattr(at_once, name).tobytes() == getattr(one_by_one, name).tobytes()
