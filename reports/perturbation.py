"""Other futures: the bars of a run with everything after a row changed, removed, or changed in one input.

1. Rows up to and including the cut are the real ones, bit for bit; timestamps stay: calendars are known.
2. A changed bar is a valid bar again: its prices move together by a random factor, open and close to random
   places in its range, the volume by a factor of its own; one bar in twenty disappears. Actions after the cut
   are dropped or enlarged, the benchmark moves too.
3. Every tape owns its memory and the real ones end at the cut: nothing of the real future can be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.intake import Intake
from engine.slab import Bars, Tape, Universe

PRICES = ("open", "high", "low", "close")
CELLS = (*PRICES, "volume", "status")  # inputs with one entry per row and symbol
INPUTS = (*CELLS, "actions", "benchmark")

_REMOVED_SHARE = 0.05
_DRIFTS = (0.4, -0.4)  # of the two futures: all that looks for a high reacts to one, for a low to the other


class Futures:
    """A whole history as a tape, and two made-up histories of the same shape to take futures from."""

    def __init__(self, universe: Universe, bars: Bars, seed: int) -> None:
        self.universe = universe
        self.bars = bars
        self.real = _tape(universe, bars)
        rng = np.random.Generator(np.random.PCG64(seed))
        self.made_up = tuple(_made_up(universe, bars, drift, rng) for drift in _DRIFTS)
        self._single: list[Tape] = []

    @property
    def n_rows(self) -> int:
        return len(self.real.ts)

    def rows(self, start: int, stop: int) -> Tape:
        """Return the real rows [start, stop)."""
        return Tape._make(array.copy() for array in rows_of(self.real, start, stop))

    def singles(self) -> Sequence[Tape]:
        """Return every real row as a tape of its own."""
        if not self._single:
            self._single = [self.rows(row, row + 1) for row in range(self.n_rows)]
        return self._single

    def perturbed(self, start: int, cut: int, stop: int, which: int) -> Tape:
        """Return rows [start, stop), those after `cut` from made-up history `which`."""
        tape = self.rows(start, stop)
        for name in (*CELLS, "benchmark"):
            getattr(tape, name)[cut + 1 - start :] = getattr(self.made_up[which], name)[cut + 1 : stop]
        return tape._replace(actions=self._actions(which, start, stop, cut + 1, stop))

    def perturbed_in(self, name: str, start: int, stop: int, which: int, changed: tuple[int, int]) -> Tape:
        """Return the real rows [start, stop) but for one of `INPUTS`, made up in rows `changed`."""
        tape = self.rows(start, stop)
        first, last = changed
        if name == "actions":
            return tape._replace(actions=self._actions(which, start, stop, first, last))
        getattr(tape, name)[first - start : last - start] = getattr(self.made_up[which], name)[first:last]
        return tape

    def _actions(self, which: int, start: int, stop: int, first: int, last: int) -> NDArray[np.void]:
        """Return the actions of rows [start, stop), those of [first, last) made up."""
        parts = (
            _actions(self.real, start, first, start), _actions(self.made_up[which], first, last, start),
            _actions(self.real, last, stop, start),
        )  # fmt: skip
        held = [part for part in parts if len(part)]
        return np.concatenate(held) if len(held) > 1 else held[0] if held else parts[0]


def tape_from(universe: Universe, bars: Bars, start: int, stop: int) -> Tape:
    """Return rows [start, stop) as a strategy sees them whose history begins at `start`."""
    return _tape(universe, bars.rows(start, stop))


def row_views(tape: Tape, n_rows: int) -> Sequence[Tape]:
    """Return the first rows of a tape one by one, sharing its memory, as the loop cuts them."""
    return [rows_of(tape, i, i + 1) for i in range(n_rows)]


def slabs_of(tape: Tape, n_rows: int) -> Sequence[Tape]:
    """Return consecutive pieces of at most `n_rows` rows, sharing the tape's memory."""
    return [rows_of(tape, i, min(i + n_rows, len(tape.ts))) for i in range(0, len(tape.ts), n_rows)]


def rows_of(tape: Tape, start: int, stop: int) -> Tape:
    """Return rows [start, stop) of a tape, sharing its memory."""
    arrays = [getattr(tape, name)[start:stop] for name in ("ts", *CELLS)]
    return Tape._make([*arrays, _actions(tape, start, stop, start), tape.benchmark[start:stop]])


def _tape(universe: Universe, bars: Bars) -> Tape:
    intake = Intake()
    intake.start(universe)
    return intake.on_bars(bars)


def _actions(tape: Tape, start: int, stop: int, first: int) -> NDArray[np.void]:
    if not len(tape.actions):
        return tape.actions
    low, high = np.searchsorted(tape.actions["row"], (start, stop))
    actions = tape.actions[low:high].copy()
    actions["row"] -= first
    return actions


def _made_up(universe: Universe, bars: Bars, drift: float, rng: Any) -> Tape:
    """Return a history in which no bar is the real one. See the module's second invariant."""
    shape = bars.close.shape
    factor = np.exp(drift + 0.3 * rng.standard_normal(shape, dtype=np.float32)).astype(np.float64)
    high, low = bars.high * factor, bars.low * factor
    width = high - low
    opened, close = (low + width * rng.random(shape, dtype=np.float32) for _ in range(2))
    louder = np.exp(rng.standard_normal(shape, dtype=np.float32)).astype(np.float64)
    volume = np.floor(bars.volume * (louder * np.exp(2 * abs(drift))) + 1.0)
    removed = rng.random(shape, dtype=np.float32) < _REMOVED_SHARE
    for array in (opened, high, low, close, volume):
        array[removed] = np.nan
    actions = bars.actions[:0] if drift > 0 else bars.actions.copy()
    actions["value"] *= 3.0
    benchmark = bars.benchmark * np.exp(drift + 0.1 * rng.standard_normal((shape[0], 2)))
    return _tape(universe, Bars(bars.ts, opened, high, low, close, volume, actions, benchmark))
