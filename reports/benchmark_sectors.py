"""The sectors of a benchmark, day by day: their weights from a file, their returns from the run's own names.

1. The weights of a date hold from the next session on; those of the first date also before it.
2. The return of a sector is the mean return of the names of the universe that trade that day, weighted by the
   file where it weighs names, else equally. Dividends are in it, as they are in the portfolio.
3. A sector without any such name on a day is out of the benchmark that day, and the others are scaled up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.slab import ActionKind, Bars, Universe
from feeds.symbols import SymbolIndex
from feeds.weights import BenchmarkWeights, Holding
from reports.daily import day_numbers
from reports.marks import valid_closes
from risk.sectors import sector_key

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BenchmarkSectors:
    """Of D days and S sectors. weights: float64[D, S] in force on each day, adding up to 1 where any sector
    has a return; returns: float64[D, S], NaN where there is none; names: of the universe in each sector;
    coverage: mean share of each sector's weight that the names with a return have, NaN where the
    file does not weigh names."""

    sectors: tuple[str, ...]
    weights: Float
    returns: Float
    names: Int
    coverage: Float


@dataclass(frozen=True, eq=False)
class _Period:
    """Weights of one date: of sectors in the file, and of the universe's names within it."""

    sectors: Float  # [S]
    names: Float  # [N]


class SectorReader:
    """Takes the slabs of a run in order of time."""

    def __init__(self, universe: Universe, weights: BenchmarkWeights) -> None:
        own = [sector_key(s, i) for s, i in zip(universe.sectors, universe.industries, strict=True)]
        index = SymbolIndex(universe.symbols)
        placed = {
            when: [(each, index.find(each.symbol) if each.symbol else None) for each in rows]
            for when, rows in weights.holdings.items()
        }
        self._by_name = weights.by_name
        keys = {_key(each, at, own) for rows in placed.values() for each, at in rows if each.weight > 0}
        self.sectors = tuple(sorted(keys))
        self._sector_of = np.array([self.sectors.index(key) if key in keys else -1 for key in own], np.int64)
        self._dates = list(placed)
        self._periods = [self._period(rows, own) for rows in placed.values()]
        self._before = np.full(len(universe), np.nan)
        self._ratio, self._paid = np.ones(len(universe)), np.zeros(len(universe))
        self._ts: list[Int] = []
        self._parts: list[tuple[Float, Float]] = []

    def _period(self, rows: list[tuple[Holding, int | None]], own: list[str]) -> _Period:
        sectors, names = np.zeros(len(self.sectors)), np.zeros(len(own))
        for each, at in rows:
            if each.weight > 0:
                sectors[self.sectors.index(_key(each, at, own))] += each.weight
            if at is not None:
                names[at] += each.weight
        if not self._by_name:
            names[:] = self._sector_of >= 0
        return _Period(sectors, names)

    def on_bars(self, bars: Bars) -> None:
        """Take a slab: add its weighted sums of returns by row and sector."""
        returns = self._returns(bars)
        there = ~np.isnan(returns)
        filled = np.where(there, returns, 0.0)
        members = [np.flatnonzero(self._sector_of == i) for i in range(len(self.sectors))]
        total, weight = (np.empty((bars.n_rows, len(self.sectors))) for _ in range(2))
        for period, rows in self._by_period(bars.ts):
            for i, names in enumerate(members):  # Not as a product of matrices: it rounds by its size
                of_name = self._periods[period].names[names]
                total[rows, i] = np.sum(filled[rows][:, names] * of_name, axis=1)
                weight[rows, i] = np.sum(there[rows][:, names] * of_name, axis=1)
        self._ts.append(bars.ts)
        self._parts.append((total, weight))

    def _by_period(self, ts: Int) -> list[tuple[int, slice]]:
        """Return which period's weights each run of rows has."""
        if self._dates[0] is None:
            return [(0, slice(0, len(ts)))]
        known = np.array([_number(when) for when in self._dates], np.int64)
        period = np.maximum(np.searchsorted(known, day_numbers(ts)) - 1, 0)
        edges = [0, *(np.flatnonzero(np.diff(period)) + 1).tolist(), len(ts)]
        return [(int(period[a]), slice(a, b)) for a, b in pairwise(edges) if b > a]

    def _returns(self, bars: Bars) -> Float:
        """Return float64[K, N], close to close across days without a bar; NaN without either."""
        close = valid_closes(bars, np.arange(bars.n_symbols))
        ratio, paid = np.ones_like(close), np.zeros_like(close)
        ratio[0], paid[0] = self._ratio, self._paid
        before = np.vstack((self._before, close[:-1]))
        for action in bars.actions:
            row, symbol, value = int(action["row"]), int(action["symbol"]), float(action["value"])
            if action["kind"] == ActionKind.SPLIT:
                ratio[row, symbol] *= value
            elif action["kind"] == ActionKind.DIVIDEND:
                paid[row, symbol] += value * ratio[row, symbol]
            elif action["kind"] == ActionKind.RENAME:
                new = int(value)
                if np.isnan(before[row, new]):
                    earlier = np.flatnonzero(~np.isnan(before[: row + 1, symbol]))
                    before[row, new] = before[earlier[-1], symbol] if len(earlier) else np.nan
        # What happened on days without a bar belongs to the next one.
        for row in range(len(close) - 1):
            idle = np.isnan(close[row])
            carry = idle & np.isnan(before[row + 1])
            before[row + 1, carry] = before[row, carry]
            paid[row + 1, idle] = paid[row, idle] + paid[row + 1, idle] * ratio[row, idle]
            ratio[row + 1, idle] *= ratio[row, idle]
        idle = np.isnan(close[-1])
        self._before = np.where(idle, before[-1], close[-1])
        self._ratio, self._paid = np.where(idle, ratio[-1], 1.0), np.where(idle, paid[-1], 0.0)
        return np.asarray((close * ratio + paid) / before - 1)

    def result(self) -> BenchmarkSectors:
        """Return the sectors on each day so far."""
        ts = np.concatenate(self._ts) if self._ts else np.empty(0, np.int64)
        total, weight = (np.concatenate([part[i] for part in self._parts]) for i in range(2))
        there = weight > 0
        rows = np.divide(total, weight, out=np.zeros_like(total), where=there)
        sectors = np.empty_like(total)
        known = np.empty_like(total)
        for period, chosen in self._by_period(ts):
            sectors[chosen] = self._periods[period].sectors
            known[chosen] = weight[chosen]
        share = np.divide(known, sectors, out=np.zeros_like(known), where=sectors > 0)
        in_force = np.where(there, sectors, 0.0)
        whole = in_force.sum(axis=1, keepdims=True)
        in_force = np.divide(in_force, whole, out=np.zeros_like(in_force), where=whole > 0)
        first = np.flatnonzero(np.diff(day_numbers(ts), prepend=-1) != 0)
        of_day = np.multiply.reduceat(1 + rows, first, axis=0) - 1
        of_day[~np.logical_or.reduceat(there, first, axis=0)] = np.nan
        return BenchmarkSectors(
            self.sectors,
            in_force[first],
            of_day,
            np.bincount(self._sector_of[self._sector_of >= 0], minlength=len(self.sectors)),
            share[first].mean(axis=0) if self._by_name else np.full(len(self.sectors), np.nan),
        )


def _key(each: Holding, at: int | None, own: list[str]) -> str:
    """A name of the universe has the sector that the run knows it by."""
    return sector_key(each.sector, "") if at is None else own[at]


def _number(when: date | None) -> int:
    return (when - date(1970, 1, 1)).days if when is not None else 0
