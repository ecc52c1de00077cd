"""Whether a Sharpe ratio is more than luck: probabilistic and deflated Sharpe ratio, minimum track record.

Bailey and Lopez de Prado (2012, 2014). Ratios here are per day and not annualised; kurtosis is raw, 3 for
a normal distribution (several published versions wrongly take the excess).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

EULER_GAMMA = 0.5772156649015329
LEVEL = 0.95
_NORMAL = NormalDist()


class Sample(NamedTuple):
    """What the tests need of a series of daily excess returns."""

    sharpe: float  # mean / standard deviation (ddof 1), per day
    n: int
    skew: float
    kurtosis: float


class Significance(NamedTuple):
    """None where undefined; `reason` says why. `threshold` is the daily Sharpe ratio that the best of
    `trials` would reach by luck alone."""

    sample: Sample | None
    psr: float | None  # probability that the true ratio is > 0
    dsr: float | None  # the same against `threshold`
    threshold: float | None
    trials: int
    track_record_days: float | None  # needed for a PSR of 95 %
    reason: str | None


def sample(excess_returns: Float) -> Sample | None:
    """Return the moments of a series, None when it has no Sharpe ratio: too short, constant, or with days
    without a return, which follow a total loss."""
    values = excess_returns
    if len(values) < 2 or np.any(np.isnan(values)):
        return None
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    if math.sqrt(variance) <= 1e-15 * max(1.0, float(np.abs(values).max())):
        return None
    return Sample(
        sharpe=float(values.mean() / np.std(values, ddof=1)),
        n=len(values),
        skew=float(np.mean(centred**3)) / variance**1.5,
        kurtosis=float(np.mean(centred**4)) / variance**2,
    )


def z_score(of: Sample, threshold: float = 0.0) -> float:
    """Return (SR - S*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)."""
    return (of.sharpe - threshold) * math.sqrt(of.n - 1) / math.sqrt(_spread(of))


def probabilistic_sharpe(of: Sample, threshold: float = 0.0) -> float:
    """Return the probability that the true daily Sharpe ratio is above `threshold`."""
    return _NORMAL.cdf(z_score(of, threshold))


def expected_maximum(trials: float) -> float:
    """Return the expected largest of `trials` independent standard normals; 0 for one.

    The formula is an approximation that falls below 0 for less than 1.3 trials; luck never lowers a best.
    """
    if trials <= 1:
        return 0.0
    first, second = _NORMAL.inv_cdf(1 - 1 / trials), _NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return max(0.0, (1 - EULER_GAMMA) * first + EULER_GAMMA * second)


def effective_trials(trials: float, mean_correlation: float) -> float:
    """Return the number of independent trials that `trials` correlated ones are worth."""
    rho = min(max(mean_correlation, 0.0), 1.0)
    return rho + (1 - rho) * trials


def luck_threshold(sharpes: Sequence[float], *, trials: float | None = None) -> float:
    """Return the daily Sharpe ratio that the best of K trials reaches by luck. sharpes: those known;
    trials: K, when it is not their number."""
    k = len(sharpes) if trials is None else trials
    if len(sharpes) < 2 or k <= 1:
        return 0.0
    return float(np.std(np.asarray(sharpes), ddof=1)) * expected_maximum(k)


def track_record_days(of: Sample, threshold: float = 0.0, *, level: float = LEVEL) -> float | None:
    """Return the days of returns like these that a PSR of `level` needs; None when no number suffices."""
    if of.sharpe <= threshold:
        return None
    return 1 + _spread(of) * (_NORMAL.inv_cdf(level) / (of.sharpe - threshold)) ** 2


def significance(
    returns: Float, *, risk_free_rate: float = 0.0, trial_sharpes: Sequence[float] = (),
    trials: int | None = None, mean_correlation: float = 0.0,
) -> Significance:  # fmt: skip
    """Return PSR, DSR and minimum track record of daily returns.

    trial_sharpes: daily ratios of every configuration tried on the data, this one included; trials: how
    many there were, when some have no ratio. Without a correlation all count as independent.
    """
    count = max(len(trial_sharpes) if trials is None else trials, 1)
    of = sample(returns - ((1 + risk_free_rate) ** (1 / 252) - 1))
    if of is None:
        return Significance(None, None, None, None, count, None, "no Sharpe ratio")
    threshold = luck_threshold(trial_sharpes, trials=effective_trials(count, mean_correlation))
    days = track_record_days(of)
    return Significance(
        sample=of,
        psr=probabilistic_sharpe(of),
        dsr=probabilistic_sharpe(of, threshold),
        threshold=threshold,
        trials=count,
        track_record_days=days,
        reason=None
        if days is not None
        else "the Sharpe ratio is not positive: no track record is long enough",
    )


def _spread(of: Sample) -> float:
    # Not negative for any sample (kurtosis >= 1 + skew^2); rounding may say otherwise
    return max(1 - of.skew * of.sharpe + (of.kurtosis - 1) / 4 * of.sharpe**2, 1e-12)
