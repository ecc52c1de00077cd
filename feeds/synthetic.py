"""The embedded default market: small caps that never existed, computed from a seed in about a second.

1. Equal parameters give bit-equal arrays.
2. Timestamps are the session closes of the New York Stock Exchange, half days included.
3. Every bar is valid by the rules for bars, and every action is on a row where holders can act on it.
4. All adjustments describe one market: they give the same returns, up to the rounding of quotes.

Nothing here is evidence about real securities: patterns were planted (`feeds.synthetic_patterns`) so that
each strategy has something to find.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import numpy as np

from engine.errors import ConfigError, EngineError
from engine.slab import NS_PER_DAY, ActionKind, Bars, Float, Int, Universe
from feeds.synthetic_names import MAX_SYMBOLS
from feeds.synthetic_patterns import PatternKind
from feeds.synthetic_world import Prices, World, make_world, ticks

ADJUSTMENTS = {"raw": "raw quotes", "split": "split-adjusted", "total_return": "total return"}

GENERATOR_VERSION = 1  # raise with every change that moves a bit of the output
LAST_YEAR = 2024
_MAX_YEARS = 40
_MINUTES_PER_SESSION = 390


class SyntheticMarket:
    """A feed of `n_symbols` made-up small caps over `years` calendar years ending 2024-12-31.

    `adjustment` says what prices mean and which actions come with them:

    - "raw": as quoted then; splits, dividends and delistings.
    - "split": divided by later splits, volumes multiplied, dividends per share of today; dividends and
      delistings.
    - "total_return": prices also reduced by later dividends; delistings only.

    The benchmark, in every adjustment, is the equally weighted total return of all names, 100 on the first
    row, with the shares traded as its volume.
    """

    def __init__(
        self, *, seed: int = 7, n_symbols: int = 300, years: int = 10, adjustment: str = "split"
    ) -> None:
        _require("seed", seed, 0, 2**63 - 1)
        _require("n_symbols", n_symbols, 1, MAX_SYMBOLS)
        _require("years", years, 1, _MAX_YEARS)
        if adjustment not in ADJUSTMENTS:
            raise ConfigError(f"adjustment must be one of {', '.join(ADJUSTMENTS)}, was {adjustment!r}")
        self.seed, self.years, self.adjustment = seed, years, adjustment
        ts = session_closes(LAST_YEAR - years + 1, LAST_YEAR)
        world = make_world(seed, n_symbols, len(ts))
        self.bars = _adjusted(world, ts, adjustment)
        self.planted = world.planted  # PATTERN_DTYPE; see `feeds.synthetic_patterns`
        self.quality = None  # nothing was imported, so nothing was quarantined
        self._universe = world.universe

    @property
    def universe(self) -> Universe:
        """The names in ascending order of ticker, with sectors, industries, exchanges and the benchmark."""
        return self._universe

    @property
    def n_rows(self) -> int:
        """Sessions."""
        return self.bars.n_rows

    @property
    def n_bars(self) -> int:
        """Cells with a bar, over all symbols."""
        return int(np.count_nonzero(~np.isnan(self.bars.close)))

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the generator's version and all parameters: equal markets have equal ones."""
        return hashlib.sha256(
            f"synthetic/{GENERATOR_VERSION} seed={self.seed} n_symbols={len(self._universe)}"
            f" years={self.years} adjustment={self.adjustment}".encode()
        ).hexdigest()

    @property
    def source(self) -> str:
        """One line that says where the data come from."""
        return (
            f"synthetic market, seed {self.seed}: {len(self._universe)} invented names,"
            f" {LAST_YEAR - self.years + 1}-{LAST_YEAR}, {ADJUSTMENTS[self.adjustment]}"
        )

    def n_planted(self, kind: PatternKind) -> int:
        """Return how many patterns of a kind were planted."""
        return int(np.count_nonzero(self.planted["kind"] == kind))

    async def slabs(self, n_rows: int) -> AsyncIterator[Bars]:
        """Yield the whole market in slabs of at most `n_rows` rows, which share memory with `bars`."""
        if n_rows < 1:
            raise EngineError(f"n_rows must be at least 1, was {n_rows}")
        for slab in self.bars.cut(n_rows):
            yield slab


def session_closes(first_year: int, last_year: int) -> Int:
    """Return int64 UTC nanoseconds: the close of every NYSE session of the years, both included."""
    # Imported here: it loads pandas, which a caller who never asks for sessions should not pay for.
    import exchange_calendars  # type: ignore[import-untyped, unused-ignore]

    calendar = exchange_calendars.get_calendar("XNYS", start=f"{first_year}-01-01", end=f"{last_year}-12-31")
    return np.array(calendar.closes.array.as_unit("ns").asi8, np.int64)


def synthetic_minutes(seed: int, n_bars: int) -> Bars:
    """Return one symbol with `n_bars` one-minute bars, for benchmarks.

    390 bars per weekday from 2000-01-03, the first complete at 14:31 UTC; no holidays, no daylight saving.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    i = np.arange(n_bars)
    weekday = i // _MINUTES_PER_SESSION
    first_close = np.datetime64("2000-01-03T14:31", "ns").astype(np.int64)
    day = weekday // 5 * 7 + weekday % 5
    ts = first_close + day * NS_PER_DAY + i % _MINUTES_PER_SESSION * 60_000_000_000
    path = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 3e-4, n_bars)))
    close = ticks(path)
    opened = np.concatenate([close[:1], close[:-1]])
    reach = path * np.abs(rng.normal(0.0, 2e-4, (2, n_bars)))
    high, low = (ticks(np.maximum(opened, close) + reach[0]), ticks(np.minimum(opened, close) - reach[1]))
    volume = np.rint(np.exp(rng.normal(7.0, 0.6, n_bars))) + 1.0
    column = (-1, 1)
    return Bars(
        ts, opened.reshape(column), high.reshape(column), low.reshape(column), close.reshape(column),
        volume.reshape(column),
    )  # fmt: skip


def _adjusted(world: World, ts: Int, adjustment: str) -> Bars:
    """Return the world's bars, benchmark and remaining actions on the basis asked for."""
    shape, actions = world.prices.close.shape, world.actions
    ratio, dividend = np.ones(shape), np.zeros(shape)
    for kind, grid in ((ActionKind.SPLIT, ratio), (ActionKind.DIVIDEND, dividend)):
        chosen = actions[actions["kind"] == kind]
        grid[chosen["row"], chosen["symbol"]] = chosen["value"]
    benchmark = _benchmark(world, ratio, dividend)
    if adjustment == "raw":
        return Bars(ts, *world.prices, world.volume, actions, benchmark)

    later_shares = _product_of_later(ratio)  # today's shares per share of the row
    actions = actions[actions["kind"] != ActionKind.SPLIT]
    paid = actions["kind"] == ActionKind.DIVIDEND
    actions["value"][paid] /= later_shares[actions["row"][paid], actions["symbol"][paid]]
    scale = 1.0 / later_shares
    if adjustment == "total_return":
        kept = np.where(dividend[1:] > 0.0, 1.0 - dividend[1:] * ratio[1:] / world.prices.close[:-1], 1.0)
        scale *= _product_of_later(np.concatenate([np.ones((1, shape[1])), kept]))
        actions = actions[~paid]
    # A consolidation would leave a fraction of a share; volumes stay whole, and what traded stays above 0.
    volume = np.maximum(np.rint(world.volume * later_shares), np.minimum(world.volume, 1.0))
    prices = Prices(*(price * scale for price in world.prices))
    return Bars(ts, *prices, volume, actions, benchmark)


def _product_of_later(factor: Float) -> Float:
    """Return float64[K, N], the product of the factors on all rows after each."""
    through = np.cumprod(factor[::-1], axis=0)[::-1]
    return np.concatenate([through[1:], np.ones((1, factor.shape[1]))])


def _benchmark(world: World, ratio: Float, dividend: Float) -> Float:
    """Return float64[K, 2], level and volume of the equally weighted total-return index.

    A name counts on rows where it and the row before have a bar; its return is clipped to +-50 %.
    """
    growth = ratio[1:] * (world.prices.close[1:] + dividend[1:]) / world.prices.close[:-1] - 1.0
    counted = ~np.isnan(growth)
    total = np.where(counted, np.clip(growth, -0.5, 0.5), 0.0).sum(axis=1)
    mean = total / np.maximum(counted.sum(axis=1), 1)
    level = 100.0 * np.concatenate([[1.0], np.cumprod(1.0 + mean)])
    return np.stack([np.round(level, 4), np.nansum(world.volume, axis=1)], axis=1)


def _require(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, was {value!r}")
