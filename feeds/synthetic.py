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

import numpy as np

from engine.errors import ConfigError
from engine.slab import NS_PER_DAY, ActionKind, Bars, Float, Int
from feeds.adjust import Adjustment, event_matrix, future_product
from feeds.memory import MemoryFeed
from feeds.sessions import closes_of_years
from feeds.synthetic_names import MAX_SYMBOLS
from feeds.synthetic_patterns import PatternKind
from feeds.synthetic_world import Prices, World, make_world, ticks

_MEANING = {
    Adjustment.RAW: "raw quotes",
    Adjustment.SPLIT: "split-adjusted",
    Adjustment.TOTAL_RETURN: "total return",
}

GENERATOR_VERSION = 2  # raise with every change that moves a bit of the output
LAST_YEAR = 2024
_MAX_YEARS = 40
_MINUTES_PER_SESSION = 390


class SyntheticMarket(MemoryFeed):
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
        self,
        *,
        seed: int = 7,
        n_symbols: int = 300,
        years: int = 10,
        adjustment: Adjustment | str = Adjustment.SPLIT,
    ) -> None:
        _require("seed", seed, 0, 2**63 - 1)
        _require("n_symbols", n_symbols, 1, MAX_SYMBOLS)
        _require("years", years, 1, _MAX_YEARS)
        self.seed, self.years, self.adjustment = seed, years, Adjustment(adjustment)
        ts = closes_of_years(LAST_YEAR - years + 1, LAST_YEAR)
        world = make_world(seed, n_symbols, len(ts))
        super().__init__(world.universe, _adjusted(world, ts, self.adjustment))
        self.planted = world.planted  # PATTERN_DTYPE; see `feeds.synthetic_patterns`
        self.quality = None  # nothing was imported, so nothing was quarantined

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
            f" {LAST_YEAR - self.years + 1}-{LAST_YEAR}, {_MEANING[self.adjustment]}"
        )

    def n_planted(self, kind: PatternKind) -> int:
        """Return how many patterns of a kind were planted."""
        return int(np.count_nonzero(self.planted["kind"] == kind))


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


def _adjusted(world: World, ts: Int, adjustment: Adjustment) -> Bars:
    """Return the world's bars, benchmark and remaining actions on the basis asked for."""
    shape, actions = world.prices.close.shape, world.actions
    ratio = event_matrix(actions, ActionKind.SPLIT, 0, shape)
    ratio[ratio == 0.0] = 1.0
    dividend = event_matrix(actions, ActionKind.DIVIDEND, 0, shape)
    benchmark = _benchmark(world, ratio, dividend)
    if adjustment is Adjustment.RAW:
        return Bars(ts, *world.prices, world.volume, actions, benchmark)

    later_shares = future_product(ratio, np.ones(shape[1]))  # today's shares per share of the row
    actions = actions[actions["kind"] != ActionKind.SPLIT]
    paid = actions["kind"] == ActionKind.DIVIDEND
    actions["value"][paid] /= later_shares[actions["row"][paid], actions["symbol"][paid]]
    scale = 1.0 / later_shares
    if adjustment is Adjustment.TOTAL_RETURN:
        kept = np.where(dividend[1:] > 0.0, 1.0 - dividend[1:] * ratio[1:] / world.prices.close[:-1], 1.0)
        scale *= future_product(np.concatenate([np.ones((1, shape[1])), kept]), np.ones(shape[1]))
        actions = actions[~paid]
    # A consolidation would leave a fraction of a share; volumes stay whole, and what traded stays above 0.
    volume = np.maximum(np.rint(world.volume * later_shares), np.minimum(world.volume, 1.0))
    prices = Prices(*(price * scale for price in world.prices))
    return Bars(ts, *prices, volume, actions, benchmark)


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
