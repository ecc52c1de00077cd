"""The synthetic market as it would have been quoted: raw prices, integer volumes, dated actions.

Order of making: names, lives, returns, endings, dividends, patterns, price path, splits, intraday range,
volume, halts, quotes. Everything is drawn from one generator in that order and computed by elementwise NumPy,
so a seed gives the same bits on every run and for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.slab import ActionKind, Float, Universe
from feeds.adjust import as_actions, in_order
from feeds.synthetic_events import (
    NO_ENDING,
    Lives,
    Payments,
    Splits,
    apply_endings,
    busy_cells,
    performance_delisting,
    plan_dividends,
    plan_halts,
    plan_lives,
    split_history,
)
from feeds.synthetic_names import invent_names
from feeds.synthetic_patterns import PatternKind, plan_slots, plant
from feeds.synthetic_returns import Flags, Moves, simulate_moves

Records = NDArray[np.void]

_OVERNIGHT, _OVERNIGHT_RESULTS = 0.3, 0.85  # the part of a day's variance before the open
_ILLIQUID_USD = 1_200_000.0  # a day; names below have sessions without a trade


class Prices(NamedTuple):
    """Four prices of each bar, float64[K, N] each."""

    open: Float
    high: Float
    low: Float
    close: Float


@dataclass(frozen=True, eq=False)
class World:
    """The market in raw terms; prices and volume are NaN where a symbol has no bar.

    `actions` is ACTION_DTYPE, with every kind of action; `planted` is PATTERN_DTYPE of the patterns whose
    last row was reached before the name was delisted.
    """

    universe: Universe
    prices: Prices
    volume: Float
    actions: Records
    planted: Records


def make_world(seed: int, n_symbols: int, n_rows: int) -> World:
    """Return the market of a seed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    names = invent_names(rng, n_symbols)
    lives = plan_lives(rng, n_rows, names.universe)
    moves = simulate_moves(rng, n_rows, names)
    apply_endings(rng, lives, moves)
    payments = plan_dividends(rng, n_rows, names, lives)
    moves.log_return[payments.row, payments.symbol] += np.log1p(-payments.fraction)
    planted = plant(rng, plan_slots(rng, lives.first, lives.settled), moves)

    start = 15.0 * np.exp(np.clip(rng.normal(0.0, 0.6, n_symbols), -1.2, 1.4))
    level = np.cumsum(moves.log_return, axis=0)
    path = np.exp(level - level[lives.first, np.arange(n_symbols)]) * start
    splits, lives = split_history(rng, path, lives, performance_delisting(names.universe))
    planted = planted[planted["row"] <= lives.last[planted["symbol"]]]
    paid = payments.row <= lives.last[payments.symbol]
    payments = Payments(payments.row[paid], payments.symbol[paid], payments.fraction[paid])

    prices = _intraday(rng, path, moves)
    _confine(prices, path, planted)
    dollars = _typical_dollars(rng, n_symbols)
    volume = _volume(rng, path, moves, dollars / np.sqrt(start))
    busy = busy_cells(planted, payments, splits, lives, n_rows)
    halted = plan_halts(rng, lives, busy)
    quiet = rng.random(busy.shape) < np.where(dollars < _ILLIQUID_USD, 0.10, 0.002)
    quiet &= ~(busy | halted)

    shares = _shares_per_original(splits, busy.shape)
    _swell_breakouts(volume, planted)
    row = np.arange(n_rows)[:, None]
    absent = halted | (row < lives.first) | (row > lives.last)
    quotes = Prices(*(ticks(price / shares) for price in prices))
    traded = np.maximum(np.rint(volume * shares), 1.0)
    _quote_quiet_days(quotes, traded, quiet & ~absent, absent)
    for values in (*quotes, traded):
        values[absent] = np.nan
    actions = _actions(quotes.close, shares, payments, splits, lives)
    return World(names.universe, quotes, traded, actions, planted)


def ticks(price: Float) -> Float:
    """Return prices as quoted: whole cents, under a dollar hundredths of a cent."""
    per_dollar = np.where(price >= 1.0, 100.0, 10_000.0)
    return np.maximum(np.rint(price * per_dollar), 1.0) / per_dollar


def _intraday(rng: np.random.Generator, path: Float, moves: Moves) -> Prices:
    """Return open, high, low and close around the path of closes.

    The night and the day are independent, and high and low are distributed as those of a Brownian path from
    open to close: after a stop is touched, the rest of the day is as likely to recover as to go on. Narrower
    ranges would touch a stop only on days that close worse, and give stops an edge that no market gives.
    """
    overnight = np.where(moves.results, _OVERNIGHT_RESULTS, _OVERNIGHT)
    day = (1.0 - overnight) * moves.log_return
    day += np.sqrt(overnight * (1.0 - overnight)) * moves.volatility * rng.standard_normal(path.shape)
    middle = path * np.exp(-0.5 * day)
    variance = (1.0 - overnight) * moves.volatility**2

    def reach() -> Float:
        """Return how far the day's path goes from the middle of open and close, to one side."""
        return np.sqrt(0.25 * day**2 + 0.5 * variance * rng.standard_exponential(path.shape))

    high, low = middle * np.exp(reach()), middle * np.exp(-reach())
    return Prices(path * np.exp(-day), high, low, path.copy())


def _confine(prices: Prices, path: Float, planted: Records) -> None:
    """Keep the bars of each contraction inside its range, in place."""
    for pattern in planted[planted["kind"] == PatternKind.CONTRACTION]:
        rows, symbol = slice(pattern["base"] + 1, pattern["row"]), pattern["symbol"]
        middle, width = path[pattern["base"], symbol], pattern["width"]
        for price in prices:
            np.clip(price[rows, symbol], middle * np.exp(-width), middle * np.exp(width), price[rows, symbol])


def _typical_dollars(rng: np.random.Generator, n_symbols: int) -> Float:
    """Return each name's normal dollar volume a day: 0.4 to 60 million, log-uniform."""
    dollars: Float = 10.0 ** rng.uniform(5.6, 7.8, n_symbols)
    return dollars


def _volume(rng: np.random.Generator, path: Float, moves: Moves, scale: Float) -> Float:
    """Return shares traded, in original shares: persistent, higher the larger the move and on results days.

    Dollar volume grows with the square root of the price: `scale` is dollars / sqrt(price), on a normal day.
    """
    surprise = np.abs(moves.log_return) / moves.volatility
    log_volume = moves.activity + 0.7 * np.log1p(np.minimum(surprise, 8.0))
    log_volume += 0.9 * (rng.random(path.shape) - 0.5)
    log_volume += 0.6 * moves.results
    return np.exp(log_volume - 0.45) * (scale / np.sqrt(path))


def _swell_breakouts(volume: Float, planted: Records) -> None:
    """Raise the volume of each breakout to its multiple of the mean of the 20 bars before, in place."""
    for pattern in planted[planted["volume_multiple"] > 0.0]:
        row, symbol = pattern["row"], pattern["symbol"]
        least = pattern["volume_multiple"] * (volume[row - 20 : row, symbol].sum() / 20.0)
        volume[row, symbol] = max(volume[row, symbol], least)


def _shares_per_original(splits: Splits, shape: tuple[int, int]) -> Float:
    """Return float64[K, N], today's shares per share of the first row."""
    ratio = np.ones(shape)
    ratio[splits.row, splits.symbol] = splits.ratio
    return np.asarray(np.cumprod(ratio, axis=0), np.float64)


def _quote_quiet_days(quotes: Prices, volume: Float, quiet: Flags, absent: Flags) -> None:
    """Carry the last close through sessions without a trade, in place."""
    row = np.where(quiet | absent, 0, np.arange(len(volume))[:, None])
    np.maximum.accumulate(row, axis=0, out=row)
    symbol = np.nonzero(quiet)[1]
    carried = quotes.close[row[quiet], symbol]
    for price in quotes:
        price[quiet] = carried
    volume[quiet] = 0.0


def _actions(close: Float, shares: Float, payments: Payments, splits: Splits, lives: Lives) -> Records:
    """Return all actions in order of (row, symbol, kind); dividends in dollars per new share."""
    before = payments.row - 1
    previous = close[before, payments.symbol] * shares[before, payments.symbol]
    previous /= shares[payments.row, payments.symbol]
    amount = np.round(payments.fraction * previous, 2)
    paid = amount > 0.0
    ended = np.flatnonzero(lives.ending != NO_ENDING)
    return in_order(
        np.concatenate(
            [
                as_actions(splits.row, splits.symbol, ActionKind.SPLIT, splits.ratio),
                as_actions(payments.row[paid], payments.symbol[paid], ActionKind.DIVIDEND, amount[paid]),
                as_actions(lives.last[ended] + 1, ended, lives.ending[ended], np.zeros(len(ended))),
            ]
        )
    )
