"""How likely the best of many configurations is best by luck: PBO by cross-validation in halves (CSCV).

Bailey, Borwein, Lopez de Prado and Zhu (2017). The days are cut into 16 equal blocks; in each of the
C(16, 8) = 12,870 ways to halve them, the configuration with the best Sharpe ratio in one half is ranked
in the other.

1. rank in [1, N], 1 the worst, ties share theirs; w = rank / (N + 1), logit = ln(w / (1 - w)).
2. PBO = share of splits with logit <= 0: the winner was no better than the median afterwards.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.jit import kernel
from reports.formulas import ANNUAL_SESSIONS

Float = NDArray[np.float64]

BLOCKS = 16


class Overfitting(NamedTuple):
    """Sharpe ratios are annualised; arrays have one entry per split."""

    pbo: float
    slope: float | None  # of the winner's Sharpe ratio outside on the one inside; None if that never varies
    loss_probability: float  # share of splits in which the winner lost money outside
    logits: Float
    inside: Float
    outside: Float
    n_configurations: int
    n_days: int  # used; the oldest days that fill no block are left out


def probability_of_overfitting(returns: Float, *, blocks: int = BLOCKS) -> Overfitting:
    """Return the PBO of float64[T, N], the daily returns of N configurations over the same days."""
    n_days, n = returns.shape
    if blocks < 2 or blocks % 2:
        raise EngineError(f"blocks must be even and >= 2, was {blocks}")
    if n < 2 or n_days < 2 * blocks:
        raise EngineError(
            f"PBO needs 2 configurations and {2 * blocks} days, was {n} configurations and {n_days} days"
        )
    if not np.all(np.isfinite(returns)):
        raise EngineError("PBO needs a return of every configuration on every day")
    size = n_days // blocks
    used = np.ascontiguousarray(returns[n_days - size * blocks :].reshape(blocks, size, n))
    halves = np.zeros((math.comb(blocks, blocks // 2), blocks), np.uint8)
    for row, chosen in zip(halves, combinations(range(blocks), blocks // 2), strict=True):
        row[list(chosen)] = 1
    made = np.empty((len(halves), 4))
    work = np.empty((2, n))
    split_kernel(used.sum(axis=1), (used**2).sum(axis=1), size, halves, work, made)
    rank, inside, outside, mean = made.T
    share = rank / (n + 1)
    logits = np.log(share / (1 - share))
    return Overfitting(
        pbo=float(np.mean(logits <= 0)),
        slope=_slope(inside, outside),
        loss_probability=float(np.mean(mean < 0)),
        logits=logits,
        inside=inside * math.sqrt(ANNUAL_SESSIONS),
        outside=outside * math.sqrt(ANNUAL_SESSIONS),
        n_configurations=n,
        n_days=size * blocks,
    )


def _slope(inside: Float, outside: Float) -> float | None:
    known = np.isfinite(inside) & np.isfinite(outside)
    x, y = inside[known], outside[known]
    if len(x) < 2 or np.std(x) <= 1e-15:
        return None
    centred = x - x.mean()
    return float(centred @ (y - y.mean()) / (centred @ centred))


@kernel
def split_kernel(sums, squares, size, halves, work, out):  # type: ignore[no-untyped-def]
    """Write (rank outside, Sharpe inside, Sharpe outside, mean outside) of each split's winner.

    sums, squares: float64[S, N], of the returns of each block of `size` days. work: float64[2, N].
    """
    n_blocks, n = sums.shape
    days = size * (n_blocks // 2)
    for k in range(len(halves)):
        for half in range(2):
            for j in range(n):
                total = square = 0.0
                for b in range(n_blocks):
                    if halves[k, b] != half:
                        total += sums[b, j]
                        square += squares[b, j]
                mean = total / days
                variance = square / days - mean * mean
                # A constant return leaves a variance of rounding errors.
                if variance > 1e-13 * square / days:
                    work[half, j] = mean / np.sqrt(variance * days / (days - 1))
                elif mean == 0.0:
                    work[half, j] = 0.0
                else:
                    work[half, j] = np.inf if mean > 0.0 else -np.inf
        best = 0  # the lowest column of equals
        for j in range(1, n):
            if work[0, j] > work[0, best]:
                best = j
        below = 0
        equal = 0
        for j in range(n):
            if work[1, j] < work[1, best]:
                below += 1
            elif work[1, j] == work[1, best]:
                equal += 1
        total = 0.0
        for b in range(n_blocks):
            if halves[k, b] == 0:
                total += sums[b, best]
        out[k, 0] = below + (equal + 1) / 2.0
        out[k, 1] = work[0, best]
        out[k, 2] = work[1, best]
        out[k, 3] = total / days
