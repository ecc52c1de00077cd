"""Ordinary least squares of one series on another, with standard errors that bear autocorrelation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class Regression(NamedTuple):
    """y = intercept + slope x + error, per observation. Errors: Newey and West (1987)."""

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float
    n: int


def regress(y: Float, x: Float, *, lags: int) -> Regression:
    """Return the fit of float64[n] `y` on `x`, which must vary.

    The covariance is (X'X)^-1 S (X'X)^-1 with S = sum_l w_l (G_l + G_l'), w_l = 1 - l / (lags + 1)
    (Bartlett), G_l = sum_t e_t e_{t-l} x_t x_{t-l}', without a correction for small samples.
    """
    # Centred, so that the normal equations are diagonal: no digits are lost to a mean far from 0.
    mean_x, mean_y = float(np.mean(x)), float(np.mean(y))
    centred = x - mean_x
    spread = float(centred @ centred)
    slope = float(centred @ (y - mean_y)) / spread
    error = (y - mean_y) - slope * centred
    scores = np.column_stack((error, error * centred))
    meat = scores.T @ scores
    for lag in range(1, min(lags, len(y) - 1) + 1):
        weight = 1 - lag / (lags + 1)
        gamma = scores[lag:].T @ scores[:-lag]
        meat += weight * (gamma + gamma.T)
    bread = np.diag((1 / len(y), 1 / spread))
    covariance = bread @ meat @ bread
    # intercept = mean_y - slope * mean_x
    to_intercept = np.array([1.0, -mean_x])
    return Regression(
        intercept=mean_y - slope * mean_x,
        slope=slope,
        intercept_error=float(np.sqrt(max(to_intercept @ covariance @ to_intercept, 0.0))),
        slope_error=float(np.sqrt(max(covariance[1, 1], 0.0))),
        n=len(y),
    )
