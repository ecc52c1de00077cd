"""Selection and allocation against a benchmark whose sector weights are known (Brinson and Fachler 1985).

With w the weight of a sector at the start of a day, R its return, p the portfolio and b the benchmark:

    allocation = (w_p - w_b) (R_b,sector - R_b)
    selection  = w_p (R_p,sector - R_b,sector) = contribution - w_p R_b,sector     (interaction included)

1. Both, over all sectors, add up to r_p - r_b each day. What is not invested is the sector `cash`, which
   returns nothing.
2. Linked (Carino, of the difference) they add up to R_p - R_b over the whole period.

The returns of the sectors come from names that a list of today knows, so their level is too high. Where the
benchmark itself has a return that day, all sectors are shifted by one amount, so that they add up to it: what
is taken from the names is how sectors differ. A sector that the benchmark does not hold is compared with the
benchmark as a whole: it has no allocation effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from reports.attribution import CASH, Attribution
from reports.benchmark_sectors import BenchmarkSectors
from reports.files import Column, floats, text

Float = NDArray[np.float64]


class Effect(NamedTuple):
    """What a sector added to the difference of returns; linked."""

    sector: str
    allocation: float
    selection: float


FILE = "performance/brinson.csv"
ALL = "all"


class SectorRow(NamedTuple):
    """A row of `performance/brinson.csv`. Weights are means over days, returns compounded, effects linked;
    names and coverage are those of `reports.benchmark_sectors`."""

    sector: str
    weight: float
    benchmark_weight: float
    contribution: float
    benchmark_return: float
    allocation: float
    selection: float
    names: int
    coverage: float

    @property
    def active(self) -> float:
        return self.allocation + self.selection


def sector_rows(
    attribution: Attribution, benchmark: BenchmarkSectors, series: Float | None
) -> list[SectorRow]:
    """Return a row per sector, `cash`, and `all` last; [] where a return is -100 % or worse. series:
    float64[D], the benchmark's own returns, NaN on days without; None without a benchmark."""
    weights = dict(zip(benchmark.sectors, benchmark.weights.T, strict=True))
    keys, shares = attribution.exposure("sector")
    returns, theirs = levelled(benchmark, series)
    for (name,) in keys:
        returns.setdefault(name, theirs)
    made = brinson_fachler(attribution, weights, returns)
    if made is None:
        return []
    held = {key[0]: np.append(0.0, shares[:-1, i]) for i, key in enumerate(keys)}
    earned = {part.key[0]: part.linked or 0.0 for part in attribution.by("sector")}
    about = {
        name: (int(n), float(share))
        for name, n, share in zip(benchmark.sectors, benchmark.names, benchmark.coverage, strict=True)
    }
    rows = []
    for effect in made:
        name = effect.sector
        cash = name == CASH
        weight = 1 - sum(map(np.mean, held.values())) if cash else np.mean(held.get(name, 0.0))
        sector_return = compounded(returns[name]) if name in weights else np.nan
        rows.append(SectorRow(
            name, float(weight),
            float(1 - benchmark.weights.sum(axis=1).mean() if cash else np.mean(weights.get(name, 0.0))),
            earned.get(name, 0.0), sector_return, effect.allocation, effect.selection,
            *about.get(name, (0, np.nan)),
        ))  # fmt: skip
    covered = float(np.nansum(benchmark.coverage * benchmark.weights.mean(axis=0)))
    rows.append(SectorRow(
        ALL, 1.0, 1.0, compounded(attribution.history.returns), compounded(theirs),
        sum(row.allocation for row in rows), sum(row.selection for row in rows), int(benchmark.names.sum()),
        np.nan if np.all(np.isnan(benchmark.coverage)) else covered,
    ))  # fmt: skip
    return rows


def levelled(benchmark: BenchmarkSectors, series: Float | None) -> tuple[dict[str, Float], Float]:
    """Return the daily returns of each sector, shifted so that they add up to `series`, and those of the
    benchmark. A sector that is out of the benchmark on a day returns what the benchmark does."""
    together = np.nansum(benchmark.weights * benchmark.returns, axis=1)
    theirs = together if series is None else np.where(np.isnan(series), together, series)
    invested = benchmark.weights.sum(axis=1) > 0
    theirs = np.where(invested, theirs, 0.0)
    shifted = benchmark.returns + (theirs - together)[:, None]
    filled = np.where(np.isnan(benchmark.returns), theirs[:, None], shifted)
    return dict(zip(benchmark.sectors, filled.T, strict=True)), theirs


def compounded(returns: Float) -> float:
    return float(np.expm1(np.log1p(returns).sum()))


def brinson_table(rows: list[SectorRow]) -> tuple[Sequence[str], Sequence[Column]]:
    """Return header and cells of `performance/brinson.csv`."""
    numbers = ("weight", "benchmark_weight", "contribution", "benchmark_return", "allocation", "selection",
               "active", "coverage")  # fmt: skip
    header = ("sector", *numbers[:-1], "names", "coverage")
    cells = {name: floats(np.array([getattr(row, name) for row in rows], np.float64)) for name in numbers}
    names = [str(row.names) for row in rows]
    return header, (
        text(row.sector for row in rows), *(cells[name] for name in numbers[:-1]), names, cells["coverage"],
    )  # fmt: skip


def brinson_fachler(
    attribution: Attribution, benchmark_weights: Mapping[str, float | Float],
    sector_returns: Mapping[str, Float],
) -> list[Effect] | None:  # fmt: skip
    """Return the effects per sector, `cash` last; None where a return is -100 % or worse.

    benchmark_weights: share of the benchmark per sector, constant or float64[D] at the start of each day;
    their sum may stay below 1, the rest is cash. sector_returns: float64[D] per sector of the benchmark.
    """
    keys, contribution = attribution.daily_contributions("sector")
    _, closing = attribution.exposure("sector")
    names = sorted({key[0] for key in keys} | set(benchmark_weights))
    missing = [name for name in names if name in benchmark_weights and name not in sector_returns]
    if missing:
        raise EngineError(
            f"sector_returns must have each sector of the benchmark, lacks {', '.join(missing)}"
        )
    n_days = len(attribution.history)
    held, earned, weights, returns = (np.zeros((n_days, len(names) + 1)) for _ in range(4))
    for i, (sector,) in enumerate(keys):
        place = names.index(sector)
        held[1:, place] = closing[:-1, i]
        earned[:, place] = contribution[:, i]
    for place, name in enumerate(names):
        weights[:, place] = benchmark_weights.get(name, 0.0)
        if name in sector_returns:
            returns[:, place] = sector_returns[name]
    if np.any(weights < 0) or np.any(weights.sum(axis=1) > 1 + 1e-9):
        raise EngineError("benchmark_weights must be >= 0 and sum to at most 1")
    held[:, -1] = 1 - held.sum(axis=1)
    weights[:, -1] = 1 - weights.sum(axis=1)
    # Interest, and whatever else no lot earned
    earned[:, -1] = attribution.history.returns - earned.sum(axis=1)
    return effects((*names, CASH), held, earned, weights, returns)


def effects(
    names: tuple[str, ...], held: Float, earned: Float, weights: Float, returns: Float
) -> list[Effect] | None:
    """Return linked effects of float64[D, S] arrays: portfolio weights and contributions, benchmark weights
    and sector returns. Weights sum to 1 on each day."""
    ours, theirs = earned.sum(axis=1), (weights * returns).sum(axis=1)
    link = difference_weights(ours, theirs)
    if link is None:
        return None
    allocation = link @ ((held - weights) * (returns - theirs[:, None]))
    selection = link @ (earned - held * returns)
    return [Effect(name, float(allocation[i]), float(selection[i])) for i, name in enumerate(names)]


def difference_weights(ours: Float, theirs: Float) -> Float | None:
    """Return the weights under which daily differences of returns add up to the difference of the
    compounded ones, None where a return is -1 or worse."""
    if np.any(~(ours > -1)) or np.any(~(theirs > -1)):
        return None
    ours_log, theirs_log = np.log1p(ours), np.log1p(theirs)
    k = 1 / (1 + ours)  # the limit where both are equal
    np.divide(ours_log - theirs_log, ours - theirs, out=k, where=np.abs(ours - theirs) > 1e-12)
    total, total_theirs = float(ours_log.sum()), float(theirs_log.sum())
    gap = np.expm1(total) - np.expm1(total_theirs)
    whole = (total - total_theirs) / gap if abs(gap) > 1e-12 else 1 / np.exp(total)
    return np.asarray(k / whole)
