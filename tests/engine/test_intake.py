"""The door: valid bars pass, marking bars mark, invalid ones are dropped and counted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from engine.errors import EngineError
from engine.intake import Intake
from engine.slab import NS_PER_DAY, Bars, BarStatus, Universe

NAN, INF = math.nan, math.inf


def intake(n_symbols: int = 1) -> Intake:
    door = Intake()
    door.start(Universe(tuple(f"S{i}" for i in range(n_symbols))))
    return door


def bars(rows: list[Any], days: list[int] | None = None) -> Bars:
    ohlcv = np.array(rows, np.float64).T[:, :, None]
    return Bars(np.array(days or range(1, len(rows) + 1)) * NS_PER_DAY, *(x.copy() for x in ohlcv))


@pytest.mark.parametrize(
    ("bar", "status"),
    [
        ((10, 11, 9, 10, 5), BarStatus.TRADED),
        ((10, 10, 10, 10, 5), BarStatus.TRADED),
        ((10, 11, 9, 10, 0), BarStatus.MARK),
        ((10, 9.999995, 9, 10, 5), BarStatus.TRADED),  # Within 1e-6 of the close
        ((10, 9.9999, 9, 10, 5), BarStatus.NONE),
        ((10, 11, 10.00001, 10, 5), BarStatus.TRADED),
        ((10, 11, 10.001, 10, 5), BarStatus.NONE),
        ((0, 11, 0, 10, 5), BarStatus.NONE),
        ((-1, 11, -2, 10, 5), BarStatus.NONE),
        ((10, 11, 9, 10, -1), BarStatus.NONE),
        ((10, 11, 9, 10, NAN), BarStatus.NONE),
        ((10, 11, 9, 10, INF), BarStatus.NONE),
        ((10, INF, 9, 10, 5), BarStatus.NONE),
        ((INF, INF, 9, INF, 5), BarStatus.NONE),
        ((NAN, 11, 9, 10, 5), BarStatus.NONE),
        ((10, 11, 9, NAN, 5), BarStatus.NONE),
        ((10, NAN, 9, 10, 5), BarStatus.NONE),
        ((10, 11, NAN, 10, 5), BarStatus.NONE),
    ],
)
def test_a_bar_is_what_the_specification_says(bar: Any, status: BarStatus) -> None:
    door = intake()
    assert door.on_bars(bars([bar])).status[0, 0] == status
    assert door.counts == (status == BarStatus.TRADED, status == BarStatus.MARK, status == BarStatus.NONE)


def test_no_bar_is_not_an_invalid_bar() -> None:
    door = intake()
    assert door.on_bars(bars([(NAN,) * 5])).status[0, 0] == BarStatus.NONE
    assert door.counts == (0, 0, 0)


@pytest.mark.parametrize(("gap", "status"), [(60, BarStatus.TRADED), (61, BarStatus.RESUMED)])
def test_state_starts_anew_after_more_than_60_days_without_trade(gap: int, status: BarStatus) -> None:
    good, mark = (10, 11, 9, 10, 5), (10, 11, 9, 10, 0)
    rows = [good, mark, good]
    for cut in (1, 3):
        door = intake()
        seen = [int(door.on_bars(slab).status[-1, 0]) for slab in bars(rows, [1, 30, 1 + gap]).cut(cut)]
        assert seen[-1] == status


def test_time_must_move_forward_within_and_across_slabs() -> None:
    good = (10, 11, 9, 10, 5)
    door = intake()
    with pytest.raises(EngineError, match="within a slab"):
        door.on_bars(bars([good, good], [2, 2]))
    door.on_bars(bars([good], [5]))
    with pytest.raises(EngineError, match="must strictly increase"):
        door.on_bars(bars([good], [5]))


def test_a_slab_of_another_width_is_refused() -> None:
    with pytest.raises(EngineError, match="slab must have 2 symbols, was 1"):
        intake(2).on_bars(bars([(10, 11, 9, 10, 5)]))


def test_a_restored_door_remembers_gaps_counts_and_time() -> None:
    good = (10, 11, 9, 10, 5)
    first, second = intake(), intake()
    first.on_bars(bars([good], [1]))
    second.restore(first.state())
    assert second.on_bars(bars([good], [100])).status[0, 0] == BarStatus.RESUMED
    assert second.counts == (2, 0, 0)
    with pytest.raises(EngineError, match="strictly increase"):
        second.on_bars(bars([good], [100]))
