"""The final score: the worked examples of the specification and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.events import SIGNAL_DTYPE
from strategies.final_score import SESSIONS_MAX, final_scores, newest_signals

WEIGHTS = np.array([0.35, 0.25, 0.20, 0.20])
TS = np.arange(100)


def rows(*signals: tuple[int, int, int, float]) -> np.ndarray:
    """(ts, symbol, side, confidence)."""
    made = np.zeros(len(signals), SIGNAL_DTYPE)
    for row, (ts, symbol, side, confidence) in zip(made, signals, strict=True):
        row["ts"], row["symbol"], row["side"], row["confidence"] = ts, symbol, side, confidence
    return made


def scored(*signals: np.ndarray, capable: object = True, n: int = 1) -> list[float]:
    newest = newest_signals(list(signals), TS, n)
    return final_scores(newest, np.broadcast_to(capable, (len(signals), n)), WEIGHTS).tolist()


def test_the_example_of_the_specification() -> None:
    fresh = [rows((99, 0, 1, c)) for c in (0.82, 0.70, 0.60)]
    assert scored(*fresh, rows()) == [pytest.approx(58.2, abs=1e-9)]


def test_sells_take_away_and_the_score_stays_within_0_and_100() -> None:
    assert scored(rows((99, 0, 1, 0.8)), rows((99, 0, -1, 0.4)), rows(), rows()) == [
        pytest.approx(100 * (0.35 * 0.8 - 0.25 * 0.4))
    ]
    assert scored(rows((99, 0, -1, 1.0)), rows(), rows(), rows()) == [0.0]
    assert scored(*[rows((99, 0, 1, 1.0))] * 4) == [pytest.approx(100.0)]


def test_a_signal_fades_by_half_in_ten_sessions_and_is_gone_after_sixty() -> None:
    silent = [rows()] * 3
    assert scored(rows((89, 0, 1, 0.8)), *silent) == [pytest.approx(100 * 0.35 * 0.8 / 2)]
    assert scored(rows((99 - SESSIONS_MAX, 0, 1, 0.8)), *silent) == [pytest.approx(35 * 0.8 * 2**-6.0)]
    assert scored(rows((98 - SESSIONS_MAX, 0, 1, 0.8)), *silent) == [0.0]


def test_the_newest_signal_of_a_strategy_replaces_the_one_before() -> None:
    assert scored(rows((90, 0, 1, 0.8), (99, 0, -1, 0.5)), rows(), rows(), rows()) == [0.0]


def test_weights_are_shared_among_those_that_can_judge_and_nobody_gives_no_score() -> None:
    capable = np.array([[True, False], [True, False], [False, False], [False, False]])
    buys = rows((99, 0, 1, 0.6), (99, 1, 1, 0.9))
    first, second = scored(buys, rows(), rows(), rows(), capable=capable, n=2)
    assert first == pytest.approx(100 * 0.6 * 0.35 / 0.60)
    assert np.isnan(second)
