"""What happens to a company of the synthetic market: listing, split, dividend, halt, takeover, failure.

`plan_lives` and `plan_dividends` decide before prices exist; `split_history` reads the prices, as a board
would: shares that grew too dear are split, shares under a dollar are consolidated once and delisted the next
time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.slab import ActionKind, Float, Int, Universe
from feeds.synthetic_names import SECTORS, Names
from feeds.synthetic_returns import ROWS_PER_QUARTER, Flags, Moves

NO_ENDING = -1
_SHARE_LISTED_LATER, _SHARE_ACQUIRED, _SHARE_FAILED = 0.32, 0.13, 0.07
_MIN_LIFE_ROWS = 90
_ROWS_UNDER_A_DOLLAR = 30
_REVERSE_RATIO = 0.1
_HALTS_PER_YEAR, _LONG_HALTS_PER_SYMBOL = 0.12, 0.012


class Lives(NamedTuple):
    """When each name is listed and how it ends; all int64[N].

    `first` and `last` are the rows of its first and last bar; from `settled` on a deal or a decline is under
    way (`last` if neither); `ending` is the kind of the delisting action on row `last + 1`, or `NO_ENDING`.
    """

    first: Int
    last: Int
    settled: Int
    ending: Int


def plan_lives(rng: np.random.Generator, n_rows: int, universe: Universe) -> Lives:
    """Draw listings, takeovers and failures."""
    n = len(universe)
    first = np.zeros(n, np.int64)
    listed = rng.permutation(n)[: _count(_SHARE_LISTED_LATER, n)]
    latest = int(min(0.85 * n_rows, n_rows - 130))
    first[listed] = rng.integers(10, latest, len(listed))

    last = np.full(n, n_rows - 1, np.int64)
    settled, ending = last.copy(), np.full(n, NO_ENDING, np.int64)
    ended = rng.permutation(n)[: _count(_SHARE_ACQUIRED + _SHARE_FAILED, n)]
    acquired = ended[: _count(_SHARE_ACQUIRED, n)]
    last[ended] = rng.integers(np.maximum(first[ended] + _MIN_LIFE_ROWS, n_rows // 4), n_rows - 1)
    notice = rng.integers(120, 251, n)
    notice[acquired] = rng.integers(40, 81, len(acquired))
    settled[ended] = np.maximum(last - notice, first + 20)[ended]
    ending[ended] = performance_delisting(universe)[ended]
    ending[acquired] = ActionKind.DELIST_MERGER
    return Lives(first, last, settled, ending)


def performance_delisting(universe: Universe) -> Int:
    """Return int64[N], the kind of a delisting for failure on each name's exchange."""
    nasdaq = np.array([exchange == "NASDAQ" for exchange in universe.exchanges])
    return np.where(
        nasdaq, int(ActionKind.DELIST_PERFORMANCE_NASDAQ), int(ActionKind.DELIST_PERFORMANCE_NYSE)
    ).astype(np.int64)


def apply_endings(rng: np.random.Generator, lives: Lives, moves: Moves) -> None:
    """Write takeovers (a premium, then a pinned price) and long declines into `moves`, in place."""
    for s in np.flatnonzero(lives.ending != NO_ENDING).tolist():
        rows = slice(int(lives.settled[s]), int(lives.last[s]) + 1)
        n = rows.stop - rows.start
        moves.results[rows, s] = False
        if lives.ending[s] != ActionKind.DELIST_MERGER:
            moves.log_return[rows, s] += rng.uniform(-1.6, -1.0) / n
            continue
        moves.log_return[rows, s] = rng.normal(0.0002, 0.0015, n)
        moves.log_return[rows.start, s] = np.log(rng.uniform(1.20, 1.60))
        moves.volatility[rows, s] = 0.003
        moves.results[rows.start, s] = True  # news: a gap on high volume


class Payments(NamedTuple):
    """Planned dividends in order of row: ex-date row, symbol, fraction of the price."""

    row: Int
    symbol: Int
    fraction: Float


def plan_dividends(rng: np.random.Generator, n_rows: int, names: Names, lives: Lives) -> Payments:
    """Draw the payers, by sector, and their quarterly ex-dates (never on a first bar or in a deal)."""
    n = len(names.sector)
    pays = rng.random(n) < np.array([SECTORS[s].payers for s in names.sector])
    phase = rng.integers(0, ROWS_PER_QUARTER, n)
    fraction = rng.uniform(0.003, 0.011, n)
    row = np.arange(0, n_rows, ROWS_PER_QUARTER)[:, None] + phase
    paid = pays & (row > lives.first + ROWS_PER_QUARTER) & (row <= lives.last) & (row <= lives.settled)
    order, symbol = np.nonzero(paid)
    rows = row[order, symbol]
    by_row = np.lexsort((symbol, rows))
    return Payments(rows[by_row], symbol[by_row], fraction[symbol][by_row])


class Splits(NamedTuple):
    """Splits in order of row: effective row, symbol, new shares per old."""

    row: Int
    symbol: Int
    ratio: Float


def split_history(rng: np.random.Generator, path: Float, lives: Lives, failure: Int) -> tuple[Splits, Lives]:
    """Return the splits that the price `path` (without splits) leads to, and lives cut by delistings.

    A decision at the close of a row takes effect on the next. `failure` is each name's performance delisting.
    """
    n_rows, n = path.shape
    ceiling, ratio = (rng.uniform(55.0, 140.0, n), np.where(rng.random(n) < 0.7, 2.0, 1.5))
    shares, under, consolidated = (np.ones(n), np.zeros(n, np.int64), np.zeros(n, np.bool_))
    last, settled, ending = lives.last.copy(), lives.settled.copy(), lives.ending.copy()
    found: list[tuple[int, int, float]] = []
    for t in range(n_rows - 1):
        price = path[t] / shares
        listed = (lives.first <= t) & (t < last)
        under = np.where(listed & (price < 1.0), under + 1, 0)
        dear = listed & (price > ceiling)
        for s in np.flatnonzero(dear).tolist() if dear.any() else ():
            if lives.first[s] + ROWS_PER_QUARTER < t < settled[s]:
                found.append((t + 1, s, float(ratio[s])))
                shares[s] *= ratio[s]
        if under.max() < _ROWS_UNDER_A_DOLLAR:
            continue
        for s in np.flatnonzero(under >= _ROWS_UNDER_A_DOLLAR).tolist():
            if consolidated[s]:
                last[s] = t
                settled[s] = min(settled[s], t)
                ending[s] = failure[s]
            elif t < settled[s]:
                found.append((t + 1, s, _REVERSE_RATIO))
                shares[s] *= _REVERSE_RATIO
                consolidated[s] = True
                under[s] = 0
    table = np.array(found, np.float64).reshape(-1, 3)
    splits = Splits(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2])
    return splits, Lives(lives.first, last, settled, ending)


def plan_halts(rng: np.random.Generator, lives: Lives, busy: Flags) -> Flags:
    """Return bool[n_rows, n_symbols], the missing bars of halts: mostly days, a few of several months.

    `busy` marks cells that must have a bar. Halts are never adjacent to one, nor to either end of a life.
    """
    n_rows, n = busy.shape
    halted = np.zeros_like(busy)
    n_short = int(np.ceil(_HALTS_PER_YEAR * n * n_rows / 252))
    n_long = int(np.ceil(_LONG_HALTS_PER_SYMBOL * n))
    lengths = np.concatenate([rng.integers(45, 61, n_long), rng.integers(1, 6, n_short)])
    for length in lengths.tolist():
        for _ in range(30):
            s, start = int(rng.integers(n)), int(rng.integers(n_rows))
            inside = lives.first[s] + 5 < start and start + length + 5 < min(lives.last[s], lives.settled[s])
            around = slice(start - 1, start + length + 1)
            if inside and not busy[around, s].any() and not halted[around, s].any():
                halted[start : start + length, s] = True
                break
    return halted


def busy_cells(
    planted: NDArray[np.void], payments: Payments, splits: Splits, lives: Lives, n_rows: int
) -> Flags:
    """Return bool[n_rows, n_symbols], the cells in which a traded bar is needed.

    `planted` is PATTERN_DTYPE.
    """
    n = len(lives.first)
    busy = np.zeros((n_rows, n), np.bool_)
    for pattern in planted:
        busy[pattern["start"] - 1 : pattern["row"] + 2, pattern["symbol"]] = True
    busy[payments.row, payments.symbol] = True
    busy[splits.row, splits.symbol] = True
    busy[lives.first, np.arange(n)] = True
    busy[lives.last, np.arange(n)] = True
    return busy


def _count(share: float, n: int) -> int:
    return int(share * n + 0.5)
