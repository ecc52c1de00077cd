"""Selection and allocation against a benchmark whose sector weights are known (Brinson and Fachler 1985).

With w the weight of a sector at the start of a day, R its return, p the portfolio and b the benchmark:

    allocation = (w_p - w_b) (R_b,sector - R_b)
    selection  = w_p (R_p,sector - R_b,sector) = contribution - w_p R_b,sector     (interaction included)

1. Both, over all sectors, add up to r_p - r_b each day. What is not invested is the sector `cash`, which
   returns nothing.
2. Linked (Carino, of the difference) they add up to R_p - R_b over the whole period.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from reports.attribution import CASH, Attribution

Float = NDArray[np.float64]


class Effect(NamedTuple):
    """What a sector added to the difference of returns; linked."""

    sector: str
    allocation: float
    selection: float


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
