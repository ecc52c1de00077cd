"""The final score: what all strategies that can judge a symbol say of it, as one number from 0 to 100.

Domain specification, section 5. gross = 100 x sum of w x confidence x freshness over BUY signals, penalty
likewise over SELL, F = clip(gross - penalty, 0, 100), the weights w renormalised over the strategies that are
able to evaluate the symbol. A capable strategy without a signal counts 0; without any, F is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

HALF_LIFE_SESSIONS = 10.0
SESSIONS_MAX = 60  # a signal older than that counts as none


class Newest(NamedTuple):
    """The newest signal of each strategy on each symbol, [S, N]. side: 1 BUY, -1 SELL, 0 none."""

    side: NDArray[np.int64]
    confidence: Float
    age_sessions: NDArray[np.int64]


def newest_signals(signals: list[NDArray[np.void]], ts: NDArray[np.int64], n_symbols: int) -> Newest:
    """Return the newest signals, at most `SESSIONS_MAX` old at the last of `ts`, int64[T] sessions.

    signals: SIGNAL_DTYPE rows of each strategy, in order of time.
    """
    shape = (len(signals), n_symbols)
    newest = Newest(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape, np.int64))
    for i, rows in enumerate(signals):
        age = len(ts) - 1 - np.searchsorted(ts, rows["ts"])
        rows, age = rows[age <= SESSIONS_MAX], age[age <= SESSIONS_MAX]
        at = rows["symbol"]  # of several rows of a symbol the last one stays
        newest.side[i, at] = rows["side"]
        newest.confidence[i, at] = rows["confidence"]
        newest.age_sessions[i, at] = age
    return newest


def final_scores(newest: Newest, capable: NDArray[np.bool_], weights: Float) -> Float:
    """Return float64[N], NaN where no strategy is capable. capable: [S, N]; weights: [S], any scale."""
    share = np.where(capable, np.asarray(weights, np.float64)[:, None], 0.0)
    total = share.sum(axis=0)
    fresh = 2.0 ** (-newest.age_sessions / HALF_LIFE_SESSIONS)
    voted = share * newest.confidence * fresh
    gross = np.where(newest.side > 0, voted, 0.0).sum(axis=0)
    penalty = np.where(newest.side < 0, voted, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0.0, np.clip(100.0 * (gross - penalty) / total, 0.0, 100.0), np.nan)
