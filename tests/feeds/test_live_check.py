"""What passes into a live row: faults planted into real history, splits, crashes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from engine.slab import ACTION_DTYPE, NO_ACTIONS, ActionKind, Bars, Universe
from feeds.live import FeedStatus
from feeds.live_check import RowCheck
from tests.feeds.live_driving import utc_ns
from tests.feeds.price_files import market_data

DAY = 86_400 * 10**9
START = utc_ns("2024-03-04T21:00")
FIELDS = ("open", "high", "low", "close", "volume")
Bar = tuple[float, float, float, float, float]


def bar(close: float, volume: float = 1_000.0, swing: float = 0.01) -> Bar:
    return close, close * (1 + swing), close * (1 - swing), close, volume


def take(
    check: RowCheck, day: int, *bars: Bar, split: float = 0.0, ahead_ns: int = 0
) -> tuple[Bars | None, list[FeedStatus]]:
    columns = np.array(bars, np.float64).T[:, None, :].copy()
    actions = np.array([(0, 0, ActionKind.SPLIT, split)], ACTION_DTYPE) if split else NO_ACTIONS
    ts = START + day * DAY
    return check.take(Bars(np.array([ts]), *columns, actions=actions), ts - ahead_ns)


def checked(*history: Bar) -> tuple[RowCheck, int]:
    check = RowCheck(Universe(("AAA",)))
    for day, one in enumerate(history or [bar(20.0)] * 25):
        take(check, day, one)
    return check, len(history) or 25


def closes(row: Bars | None) -> list[float]:
    assert row is not None
    return row.close[0].tolist()


GROSS: dict[str, Callable[[Bar], Bar]] = {
    "nan": lambda b: (b[0], np.nan, *b[2:]),
    "inf": lambda b: (*b[:3], np.inf, b[4]),
    "zero": lambda b: (0.0, *b[1:]),
    "negative": lambda b: (*b[:2], -b[2], *b[3:]),
    "times 100": lambda b: (b[0] * 100, b[1] * 100, b[2] * 100, b[3] * 100, b[4]),
    "by 100": lambda b: (b[0] / 100, b[1] / 100, b[2] / 100, b[3] / 100, b[4]),
    "high below low": lambda b: (b[0], b[2] * 0.9, b[1], b[3], b[4]),
    "volume of 10^12": lambda b: (*b[:4], 1e12),
    "negative volume": lambda b: (*b[:4], -1.0),
}


@pytest.mark.parametrize("name", GROSS)
def test_a_gross_fault_leaves_no_bar_and_is_told(name: str) -> None:
    check, day = checked()
    row, told = take(check, day, GROSS[name](bar(20.0)))
    assert np.isnan(closes(row)).all()
    assert [(status.kind, status.symbol) for status in told] == [("quarantined", "AAA")]
    assert closes(take(check, day + 1, bar(20.1))[0]) == [20.1]


@pytest.mark.parametrize("n", [1.5, *range(2, 21)])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_split_that_is_not_stated_is_held_back_until_it_is(n: float, reverse: bool) -> None:
    ratio = 1 / n if reverse else float(n)
    check, day = checked()
    after = bar(20.0 / ratio * 1.02, 1_000.0 * ratio)
    for i in range(3):
        row, told = take(check, day + i, after)
        assert np.isnan(closes(row)).all()
        assert [status.kind for status in told] == ["suspected_split"]
    row, told = take(check, day + 3, after, split=ratio)
    assert closes(row) == [after[3]]
    assert told == []


@pytest.mark.parametrize("n", range(2, 21))
def test_a_stated_split_is_no_news(n: int) -> None:
    check, day = checked()
    row, told = take(check, day, bar(20.0 / n, 1_000.0 * n), split=float(n))
    assert closes(row) == [20.0 / n]
    assert told == []


@pytest.mark.parametrize("fall", [0.25, 0.42, 0.57, 0.60])
def test_a_crash_that_is_no_ratio_of_a_split_is_given_whatever_was_traded(fall: float) -> None:
    check, day = checked()
    row, told = take(check, day, bar(20.0 * (1 - fall)))
    assert closes(row) == [20.0 * (1 - fall)]
    assert told == []


@pytest.mark.parametrize("fall", [0.33, 0.45, 0.50, 0.55, 0.67, 0.75, 0.90])
def test_a_crash_at_a_ratio_is_given_when_the_trading_shows_it(fall: float) -> None:
    check, day = checked()
    close = 20.0 * (1 - fall)
    row, told = take(check, day, bar(close, 5 * 1_000.0 * 20.0 / close, swing=0.05))
    assert closes(row) == [close]
    assert told == []


def test_a_price_that_stays_at_the_ratio_for_a_week_is_taken() -> None:
    check, day = checked()
    found = [closes(take(check, day + i, bar(10.0))[0])[0] for i in range(8)]
    np.testing.assert_equal(found, [np.nan] * 7 + [10.0])


def test_a_jump_is_taken_when_the_next_bar_confirms_it() -> None:
    check, day = checked()
    first, told = take(check, day, bar(2_000.0))
    assert np.isnan(closes(first)).all()
    assert [status.kind for status in told] == ["quarantined"]
    assert closes(take(check, day + 1, bar(2_100.0))[0]) == [2_100.0]


def test_a_row_of_the_future_is_refused_whole() -> None:
    check, day = checked()
    row, told = take(check, day, bar(20.0), ahead_ns=DAY)
    assert row is None
    assert [status.kind for status in told] == ["quarantined"]


def test_a_bad_symbol_leaves_the_others_alone() -> None:
    check = RowCheck(Universe(("AAA", "BBB", "CCC")))
    take(check, 0, bar(20.0), bar(30.0), bar(40.0))
    row, told = take(check, 1, bar(20.0), bar(-30.0), (np.nan,) * 5)
    np.testing.assert_equal(closes(row), [20.0, np.nan, np.nan])
    assert [status.symbol for status in told] == ["BBB"]  # A symbol without a bar is no fault


class Injected:
    """Rows of real history, one fault of a kind every `every` rows of a symbol, and what became of them."""

    def __init__(self, n_symbols: int, every: int, seed: int) -> None:
        import pyarrow.parquet as pq

        table = pq.read_table(market_data() / "smallcap_daily.parquet").to_pandas()
        symbols = sorted(table["symbol"].astype(str).unique())[:n_symbols]
        table = table[table["symbol"].astype(str).isin(symbols)]
        days = np.sort(table["date"].unique())
        wide = {
            name: table.pivot(index="date", columns="symbol", values=name)[symbols].to_numpy(np.float64)
            for name in FIELDS
        }
        self.bars = np.stack([wide[name] for name in FIELDS])  # [5, T, N]
        self.ts = np.array([utc_ns(str(day)[:10] + "T21:00") for day in days])
        self.universe = Universe(tuple(symbols))
        self.rng = random.Random(seed)
        self.every = every

    def run(self, names: Sequence[str]) -> tuple[int, dict[str, int], dict[str, int], int]:
        """Return clean bars, faults planted, faults that got through, and clean bars that were refused."""
        check = RowCheck(self.universe)
        planted, passed = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        n_clean = n_refused = 0
        for t in range(len(self.ts)):
            clean = self.bars[:, t]
            row = clean.copy()
            present = ~np.isnan(clean[3])
            chosen: dict[int, str] = {}
            if t > 30:
                for column in np.flatnonzero(present).tolist():
                    if self.rng.random() < 1 / self.every and valid(clean[:, column]):
                        name = names[self.rng.randrange(len(names))]
                        chosen[column] = name
                        row[:, column] = GROSS[name](tuple(clean[:, column].tolist()))
            given, _ = check.take(Bars(self.ts[t : t + 1], *row[:, None, :]), int(self.ts[t]))
            assert given is not None
            is_bar = ~np.isnan(given.close[0])
            for column, name in chosen.items():
                planted[name] += 1
                passed[name] += bool(is_bar[column])
            ordinary = present.copy()
            ordinary[list(chosen)] = False
            n_clean += int(ordinary.sum())
            n_refused += int((ordinary & ~is_bar).sum())
        return n_clean, planted, passed, n_refused


def valid(one: np.ndarray) -> bool:
    from feeds.quality import Prices, valid_bars

    return bool(valid_bars(Prices(*(one[i : i + 1] for i in range(5))))[0])


def check_figures(injected: Injected) -> None:
    n_clean, planted, passed, n_refused = injected.run(tuple(GROSS))
    print(f"\nclean {n_clean:,}, planted {planted}, passed {passed}, clean refused {n_refused}")
    certain = ("nan", "inf", "zero", "negative", "negative volume")
    assert min(planted.values()) > 20
    assert [passed[name] for name in certain] == [0] * len(certain)
    assert sum(passed.values()) <= 0.001 * sum(planted.values())
    assert n_refused <= 0.0005 * n_clean


@pytest.mark.market
def test_gross_faults_in_real_history_are_refused_and_clean_bars_are_not() -> None:
    check_figures(Injected(n_symbols=40, every=200, seed=11))


@pytest.mark.market
@pytest.mark.nightly
def test_gross_faults_in_all_real_history_are_refused_and_clean_bars_are_not() -> None:
    check_figures(Injected(n_symbols=400, every=200, seed=12))
