"""How the synthetic market moves: log returns from a market, sectors and the names themselves.

    return = beta x market + sector + own (fat-tailed) + results (a gap each quarter)

The market passes through calm, choppy and stormy regimes (a Markov chain); the volatility of every factor and
of every name clusters (GARCH(1,1) with unit mean). No return is predictable from those before it: regimes,
clusters and names differ in volatility, not in expected return, so rules that follow trends earn the market's
drift less their costs. Drifts that last for weeks, even small ones, would have made them rich.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.slab import Float, Int
from feeds.synthetic_names import SECTORS, Names

Flags = NDArray[np.bool_]

ROWS_PER_QUARTER = 63


class Regime(NamedTuple):
    """A state of the market: volatility per day, mean stay in days, and where it goes next."""

    volatility: float
    stay: float
    next: tuple[int, int, int]  # regime that follows, one of three with equal chance


REGIMES = (
    Regime(0.0085, 170.0, (1, 1, 2)),  # calm
    Regime(0.0120, 60.0, (0, 0, 2)),  # choppy
    Regime(0.0160, 60.0, (0, 1, 0)),  # stormy
)

_SECTOR_VOLATILITY = 0.005
_RESULTS_VOLATILITY = 0.05
_MARKET_DRIFT = 0.00039
_TAIL = (0.74, 0.08)  # z (a + b z^2) of a normal z: variance 1.00, kurtosis 6.9
_OMEGA, _ALPHA, _BETA, _MAX_VARIANCE = 0.04, 0.08, 0.88, 9.0
_ACTIVITY_MEMORY, _ACTIVITY_NOISE = 0.90, 0.22


class Moves(NamedTuple):
    """What happens each day to each name before the events of its life; all [n_rows, n_symbols].

    log_return: float64; of the price, close to close.
    volatility: float64; standard deviation of that return as far as it was predictable.
    results: bool; a day on which the name reported its quarter.
    activity: float64; log of volume relative to the name's normal, without the part due to the day's move.
    """

    log_return: Float
    volatility: Float
    results: Flags
    activity: Float


def simulate_moves(rng: np.random.Generator, n_rows: int, names: Names) -> Moves:
    """Return the daily moves of all names over `n_rows` sessions."""
    n = len(names.sector)
    regime = _regimes(rng, n_rows)
    scale = np.array([r.volatility for r in REGIMES])[regime]

    n_factors = 1 + len(SECTORS)
    shocks = rng.standard_normal((n_rows, n_factors + n))
    shocks[:, n_factors:] *= _TAIL[0] + _TAIL[1] * shocks[:, n_factors:] ** 2
    clustering = _cluster(shocks)
    activity = rng.standard_normal((n_rows, n))
    _remember(activity)

    market = scale * shocks[:, 0]
    # Ten years can by luck be one long rise or fall; a default market should be neither.
    market += _MARKET_DRIFT - market.sum() / n_rows
    beta = rng.normal(1.05, 0.25, n)
    returns = shocks[:, n_factors:] * names.volatility
    returns += market[:, None] * beta
    sectors = shocks[:, 1:n_factors]
    sectors -= sectors.mean(axis=1, keepdims=True)  # relative to the market, which is their mean
    returns += _SECTOR_VOLATILITY * sectors[:, names.sector]
    results = _results_days(rng, n_rows, n)
    returns[results] += rng.normal(-0.002, _RESULTS_VOLATILITY, int(results.sum()))

    variance = (clustering[:, n_factors:] * names.volatility) ** 2
    variance += ((clustering[:, 0] * scale) ** 2)[:, None] * beta**2
    variance += ((_SECTOR_VOLATILITY * clustering[:, 1:n_factors]) ** 2)[:, names.sector]
    returns -= 0.5 * variance  # or a day of high volatility, such as follows a breakout, would pay
    volatility = np.sqrt(variance)
    return Moves(returns, volatility, results, activity)


def _regimes(rng: np.random.Generator, n_rows: int) -> Int:
    """Return int64[n_rows], the market's regime on each day, beginning with the calm."""
    leave, turn = rng.random(n_rows), rng.integers(0, 3, n_rows)
    regime = np.zeros(n_rows, np.int64)
    for t in range(1, n_rows):
        now = REGIMES[regime[t - 1]]
        regime[t] = now.next[turn[t]] if leave[t] < 1.0 / now.stay else regime[t - 1]
    return regime


def _cluster(shocks: Float) -> Float:
    """Scale unit shocks in place by their clustering volatility, which is returned."""
    volatility = np.empty_like(shocks)
    variance = np.ones(shocks.shape[1])
    for t in range(len(shocks)):
        np.sqrt(variance, out=volatility[t])
        shocks[t] *= volatility[t]
        variance *= _BETA
        variance += _OMEGA + _ALPHA * (shocks[t] * shocks[t])
        np.minimum(variance, _MAX_VARIANCE, out=variance)
    return volatility


def _remember(noise: Float) -> None:
    """Turn unit noise into a first-order autoregression, in place."""
    noise *= _ACTIVITY_NOISE
    for t in range(1, len(noise)):
        noise[t] += _ACTIVITY_MEMORY * noise[t - 1]


def _results_days(rng: np.random.Generator, n_rows: int, n_symbols: int) -> Flags:
    """Return bool[n_rows, n_symbols]: one day a quarter, at each name's own time of the quarter."""
    phase = rng.integers(0, ROWS_PER_QUARTER, n_symbols)
    late = rng.integers(-3, 4, (n_rows // ROWS_PER_QUARTER + 1, n_symbols))
    quarter = np.arange(len(late))[:, None] * ROWS_PER_QUARTER
    rows = np.clip(quarter + phase + late, 0, n_rows - 1)
    days = np.zeros((n_rows, n_symbols), np.bool_)
    days[rows, np.arange(n_symbols)[None, :]] = True
    return days
