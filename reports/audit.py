"""The audit: proof, on given data, that a strategy sees no future and forgets where history began.

The truth is the strategy driven one bar at a time, each bar in memory of its own: then there is no future to
see. It must say the same, to the last bit,

1. bar by bar: when it gets slabs, as a replay gives it, at every row;
2. removed: at many cuts, on a slab that ends at the cut; and over whole histories that end at a cut, with the
   company reports known by then;
3. perturbed: at many cuts inside a slab in which every bar after the cut is another one;
4. restored: from a snapshot taken before a cut, bar by bar (a state that holds everything).

5. history: the strategy started later must, after its warm-up, say the same within 1e-9 (`reports.history`).

A look ahead is traced to its first bar, the field of the signal, and the input it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.slab import Bars, Tape, Universe
from reports.differences import Difference, first_difference, joined, until
from reports.history import HistoryResult, history_audit
from reports.perturbation import Futures, slabs_of
from reports.trace import Lead, Slab, said, trace
from strategies.base import Strategy

Rows = NDArray[np.void]
Factory = Callable[[int | None], Strategy]  # a new strategy that knows company reports up to this moment

SLAB_ROWS = 1024
ROWS_BEFORE, ROWS_AFTER = 12, 20  # of a cut, in the slab around it
N_WHOLE_HISTORIES = 3  # cuts before which everything is replayed from the first row
RESTORED_EVERY = 8  # cuts per one that is recomputed bar by bar from a snapshot


@dataclass(frozen=True)
class Finding:
    """kind: perturbed, removed, bar_by_bar, restored or history. one: the true value, other: the offending.

    slab: in which it shows when the future is changed, to trace it by."""

    kind: str
    difference: Difference
    slab: Slab | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Verdict:
    """What the audit of one strategy found; `finding` is the first offence, None for a clean strategy."""

    name: str
    n_signals: int
    n_cuts: int
    n_rows: int  # compared bar by bar
    finding: Finding | None
    history: HistoryResult | None
    unproven: str = ""  # why nothing is proven either way, if so
    counts: Mapping[str, int] = field(default_factory=dict)  # findings by kind

    @property
    def word(self) -> str:
        return "guilty" if self.finding else "unproven" if self.unproven else "clean"


class Audit:
    """The audit of strategies on one history. Building it makes the futures; `of` judges a strategy."""

    def __init__(self, universe: Universe, bars: Bars, *, n_cuts: int = 300, seed: int = 7) -> None:
        self.futures = Futures(universe, bars, seed)
        rng = np.random.Generator(np.random.PCG64(seed))
        last = self.futures.n_rows - 2  # After it there is no future to change
        n = max(0, min(n_cuts, last))
        self.cuts: list[int] = sorted((rng.choice(last, n, replace=False) + 1).tolist()) if n else []

    def of(self, make: Factory) -> Verdict:
        """Judge the strategy that `make` makes."""
        strategy = make(None)
        truth, findings = self._truth(make)
        findings += self._in_slabs(make, truth)
        findings += self._whole_histories(make, truth)
        history = None
        if not findings:
            history = history_audit(
                self.futures, truth, strategy.warmup_bars, strategy.measurements,
                lambda tape: self._replay(make, tape),
            )  # fmt: skip
            if history.first is not None:
                findings.append(Finding("history", history.first))
        unproven = "" if findings else self._doubt(make, truth, history)
        return Verdict(
            strategy.name, len(truth), len(self.cuts), self.futures.n_rows, _earliest(findings), history,
            unproven, _counted(findings),
        )  # fmt: skip

    def _truth(self, make: Factory) -> tuple[Rows, list[Finding]]:
        """Drive a strategy one bar at a time; return all its signals, and what the probes at cuts found."""
        futures = self.futures
        honest, probe = self._started(make), self._started(make)
        signals: list[Rows] = []
        findings: list[Finding] = []
        number = 0  # of the next cut to open
        opened: list[tuple[int, int, int, dict[str, Any]]] = []  # The truth of their rows is still to come
        for row, alone in enumerate(futures.singles()):
            while number < len(self.cuts) and row >= self.cuts[number] - ROWS_BEFORE:
                opened.append((number, row, self.cuts[number], honest.state()))
                number += 1
            rows = honest.on_bars(alone, 0)
            if len(rows):
                signals.append(rows)
            while opened and opened[0][2] == row:
                i, start, cut, state = opened.pop(0)
                stop = min(futures.n_rows, cut + 1 + ROWS_AFTER)
                truth = _since(signals, int(futures.real.ts[start]))
                findings += self._probe(i, cut, Slab(start, stop, probe, state), truth)
        return joined(signals), findings

    def _probe(self, number: int, cut: int, slab: Slab, truth: Rows) -> list[Finding]:
        """Compare what a restored strategy says up to row `cut` with the truth about those rows."""
        strategy, n_rows = slab.strategy, cut + 1 - slab.start
        removed = self.futures.rows(slab.start, cut + 1)
        perturbed = self.futures.perturbed(slab.start, cut, slab.stop, number % 2)
        found = []
        for kind, tape in (("removed", removed), ("perturbed", perturbed)):
            strategy.restore(slab.state)
            difference = first_difference(truth, said(strategy, tape, n_rows), strategy.measurements)
            if difference is not None:
                found.append((kind, difference))
        if not found and number % RESTORED_EVERY:
            return []
        # Bar by bar from the snapshot: a difference here is one of the snapshot, not of the future
        strategy.restore(slab.state)
        alone = [strategy.on_bars(row, 0) for row in self.futures.singles()[slab.start : cut + 1]]
        difference = first_difference(truth, joined(alone), strategy.measurements)
        if difference is not None:
            return [Finding("restored", difference)]
        return [Finding(kind, difference, slab) for kind, difference in found]

    def _in_slabs(self, make: Factory, truth: Rows) -> list[Finding]:
        """Compare the run in slabs with the truth at every row."""
        whole = self._replay(make, self.futures.real)
        strategy = self._started(make)
        difference = first_difference(truth, whole, strategy.measurements)
        if difference is None:
            return []
        start = int(np.searchsorted(self.futures.real.ts, difference.ts)) // SLAB_ROWS * SLAB_ROWS
        for row in self.futures.singles()[:start]:
            strategy.on_bars(row, 0)
        stop = min(self.futures.n_rows, start + SLAB_ROWS)
        return [Finding("bar_by_bar", difference, Slab(start, stop, strategy, strategy.state()))]

    def _whole_histories(self, make: Factory, truth: Rows) -> list[Finding]:
        """Replay from the first row histories that end at a cut, with what was known then."""
        found = []
        for cut in self.cuts[len(self.cuts) // 4 :: max(1, len(self.cuts) // N_WHOLE_HISTORIES)]:
            ts = int(self.futures.real.ts[cut])
            whole = self._replay(make, self.futures.rows(0, cut + 1), known_until=ts)
            difference = first_difference(until(truth, ts), whole, make(None).measurements)
            if difference is not None:
                found.append(Finding("removed", difference))
        return found

    def _doubt(self, make: Factory, truth: Rows, history: HistoryResult | None) -> str:
        """Return why finding no offence proves nothing; "" if it proves something."""
        if not len(truth):
            return "it gave no signal on these data"
        if self._is_deaf(make, truth):
            return "its signals do not change with the bars that it is given"
        if history is not None and history.is_open:
            return "the data are too short to see whether it forgets where they began"
        return ""

    def _is_deaf(self, make: Factory, truth: Rows) -> bool:
        """Return whether a strategy says the same of made-up bars."""
        told = self._replay(make, self.futures.made_up[0])
        return len(told) == len(truth) and all(
            np.array_equal(told[name], truth[name]) for name in ("ts", "symbol", "side")
        )

    def _started(self, make: Factory, known_until: int | None = None) -> Strategy:
        strategy = make(known_until)
        strategy.start(self.futures.universe)
        return strategy

    def _replay(self, make: Factory, tape: Tape, *, known_until: int | None = None) -> Rows:
        """Return what a new strategy says of a tape, in slabs as a replay cuts it."""
        strategy = self._started(make, known_until)
        return joined([said(strategy, slab, len(slab.ts)) for slab in slabs_of(tape, SLAB_ROWS)])

    def traced(self, verdict: Verdict) -> tuple[Lead, ...]:
        """Return which inputs of later bars the first offence depends on; empty where none was found."""
        finding = verdict.finding
        if finding is None or finding.slab is None:
            return ()
        return trace(self.futures, finding.slab, finding.difference)


def _earliest(findings: list[Finding]) -> Finding | None:
    """Return the finding with the first bar; of equals one whose inputs can be traced."""
    return min(findings, key=lambda f: (f.difference.ts, f.difference.symbol, f.slab is None), default=None)


def _counted(findings: list[Finding]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
    return counts


def _since(signals: list[Rows], ts: int) -> Rows:
    """Return the signals from `ts` on, of batches in time order."""
    first = len(signals)
    while first and signals[first - 1]["ts"][-1] >= ts:
        first -= 1
    return joined(signals[first:])
