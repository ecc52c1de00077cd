"""What tells a split that nobody stated from a real fall, and how often, on real history."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import pytest

from engine.slab import ACTION_DTYPE, NO_ACTIONS, ActionKind, Bars, Universe
from feeds.live_check import RowCheck
from feeds.split_suspicion import opens_like_split, ratio_words
from tests.feeds.test_live_check import DAY, START, Bar, Injected, bar, checked, closes, take

USUAL_USD_MIN = 20_000.0  # a day: below it a price is a quote, not a market
RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)


def test_a_fall_that_only_swings_or_only_trades_like_news_is_told_by_the_two_together() -> None:
    def given(one: Bar) -> bool:
        check, day = checked()
        return not np.isnan(closes(take(check, day, one)[0])).any()

    assert not given(bar(10.0, 2_000.0))
    assert not given(bar(10.0, 2 * 3_000.0))
    assert not given(bar(10.0, 2_000.0, swing=0.03))
    assert given(bar(10.0, 2 * 5_000.0, swing=0.04))


def test_a_name_that_opens_that_far_away_every_few_weeks_is_not_suspected() -> None:
    history = [bar(20.0)] * 25 + [bar(60.0, 20_000.0, 0.2), bar(20.0, 20_000.0, 0.2)] + [bar(20.0)] * 5
    check, day = checked(*history)
    assert closes(take(check, day, bar(10.0, 2_000.0))[0]) == [10.0]


def test_a_crash_of_the_whole_market_is_no_split_and_a_split_that_day_is_one() -> None:
    check = RowCheck(Universe(tuple(f"N{i:02}" for i in range(12))))
    for day in range(25):
        take(check, day, *[bar(20.0)] * 12)
    falling = [bar(13.4)] * 11 + [bar(6.7, 3_000.0)]  # A third down, and one of them split 2:1 as well
    row, told = take(check, 25, *falling)
    np.testing.assert_equal(closes(row), [13.4] * 11 + [np.nan])
    assert [status.symbol for status in told] == ["N11"]


def test_bars_within_a_session_open_nothing_and_go_on_as_its_first_bar_did() -> None:
    check, day = checked()
    minute = 60 * 10**9

    def at(minutes: int, close: float) -> float:
        ts = START + day * DAY + minutes * minute
        columns = [np.array([[value]]) for value in bar(close, 2_000.0)]
        row, _ = check.take(Bars(np.array([ts]), *columns), ts)
        assert row is not None
        return float(row.close[0, 0])

    assert at(0, 20.1) == 20.1
    assert at(1, 10.0) == 10.0  # Trading through the day is no split
    day += 1
    assert np.isnan([at(minutes, close) for minutes, close in enumerate((5.1, 5.2, 5.3))]).all()


@pytest.mark.parametrize(
    ("before", "price", "words"),
    [(30.0, 20.2, "3:2"), (20.0, 10.3, "2:1"), (20.0, 6.6, "3:1"), (1.0, 9.8, "1:10"), (20.0, 30.5, "2:3")],
)
def test_a_ratio_is_named_as_people_name_it(before: float, price: float, words: str) -> None:
    assert ratio_words(before, price) == words


@pytest.mark.parametrize("price", [np.nan, 0.0, -1.0, np.inf])
def test_a_first_price_of_nonsense_is_no_split(price: float) -> None:
    assert not opens_like_split(20.0, price)


class Figures(NamedTuple):
    """What became of planted splits by ratio, of real falls, and of every other bar."""

    planted: dict[float, int]
    held: dict[float, int]
    falls: int  # real openings 45 % down or more, with twice the usual dollars or more
    falls_held: int
    clean: int
    clean_held: int


def figures(n_symbols: int, every: int, seed: int) -> Figures:
    """Split every name every so many sessions, tell of it a session later, and count what was held back."""
    market, rng = Injected(n_symbols, every, seed), random.Random(seed)
    check, scale = RowCheck(market.universe), np.ones(n_symbols)
    planted, held = dict.fromkeys(RATIOS, 0), dict.fromkeys(RATIOS, 0)
    falls = falls_held = clean = clean_held = 0
    stated: list[tuple[int, int, ActionKind, float]] = []
    before, dollars = np.full(n_symbols, np.nan), market.bars[4] * market.bars[3]
    for t in range(len(market.ts)):
        row = market.bars[:, t].copy()
        present = ~np.isnan(row[3])
        chosen: dict[int, tuple[float, float]] = {}
        for column in np.flatnonzero(present & (row[4] > 0.0)).tolist():
            if t > 30 and rng.random() < 1 / every:
                ratio = rng.choice(RATIOS)
                shares = ratio if rng.random() < 0.5 else 1 / ratio
                chosen[column] = ratio, shares
                scale[column] *= shares
        row[:4] /= scale
        row[4] *= scale
        actions = np.array(sorted(stated), ACTION_DTYPE) if stated else NO_ACTIONS
        given, told = check.take(
            Bars(market.ts[t : t + 1], *row[:, None, :], actions=actions), int(market.ts[t])
        )
        assert given is not None
        suspects = {
            market.universe.symbols.index(one.symbol) for one in told if one.kind == "suspected_split"
        }
        withheld = np.isnan(given.close[0])
        for column, (ratio, shares) in chosen.items():
            planted[ratio] += 1
            held[ratio] += bool(withheld[column])
            if not withheld[column]:  # It is on the new basis, and the split is stated all the same
                check.split_before(column, 1 / shares)
        stated = [(0, column, ActionKind.SPLIT, shares) for column, (_, shares) in chosen.items()]
        others = [c for c in np.flatnonzero(present).tolist() if c not in chosen]
        clean += len(others)
        clean_held += len(suspects - set(chosen))
        opened = market.bars[0, t]
        with np.errstate(invalid="ignore"):
            fell = np.flatnonzero((opened <= 0.55 * before) & (t > 30))
        for column in fell.tolist():
            usual = np.nanmedian(dollars[t - 20 : t, column])
            if column not in chosen and usual >= USUAL_USD_MIN and dollars[t, column] >= 2 * usual:
                falls += 1
                falls_held += column in suspects
        before = np.where(present, market.bars[3, t], before)
    return Figures(planted, held, falls, falls_held, clean, clean_held)


def check_figures(found: Figures) -> None:
    print(f"\n{found}")
    n, n_held = sum(found.planted.values()), sum(found.held.values())
    whole = n - found.planted[1.5]
    assert n > 500
    assert n_held - found.held[1.5] >= 0.96 * whole
    assert found.held[1.5] >= 0.85 * found.planted[1.5]
    assert found.falls_held <= 0.02 * found.falls
    assert found.clean_held <= 0.0005 * found.clean


@pytest.mark.market
def test_splits_in_real_history_are_held_back_and_real_falls_are_given() -> None:
    check_figures(figures(n_symbols=40, every=80, seed=5))


@pytest.mark.market
@pytest.mark.nightly
def test_splits_in_all_real_history_are_held_back_and_real_falls_are_given() -> None:
    check_figures(figures(n_symbols=400, every=80, seed=6))
