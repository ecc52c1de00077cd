"""What the monitors see: the portfolio at one moment, as plain values, and nothing else.

A view is made for every event that may change an alert: a row of bars, a change of the feed, a timer tick.
A view does not change, and evaluating one twice changes nothing. Money is int64 micro-dollars, prices
are float64 dollars. What is not known is None or NaN, and the monitors treat that as a breach.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import nan
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.held import (
    COLUMNS,
    COST,
    HAS_STOP,
    LAST_TS,
    MARK,
    MISSED,
    QUANTITY,
    SECTOR,
    STOP,
    STRATEGY,
    SYMBOL,
    VALUE,
    VALUE_MICRO_MAX,
    weigh,
)

MICRO = 1_000_000
NO_PROFITS: Mapping[str, int] = MappingProxyType({})

Int = NDArray[np.int64]
Float = NDArray[np.float64]

Weigh = Callable[..., tuple[float, float, int, int]]  # `engine.held.weigh`, compiled or not

FeedState = Literal["connected", "stale", "down"]
AccountState = Literal["active", "halted", "cooldown"]


class Texts(Sequence[str]):
    """A column of texts, as int64 `numbers` of a `table` in which each is there once."""

    def __init__(self, table: Sequence[str], numbers: Int) -> None:
        self.table, self.numbers = table, numbers

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Return these texts as a column."""
        number_of = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        return cls(tuple(number_of), np.array([number_of[text] for text in texts], np.int64))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: Any) -> Any:
        return self.table[self.numbers[i]]

    def __iter__(self) -> Iterator[str]:
        return map(self.table.__getitem__, self.numbers.tolist())


class Position(NamedTuple):
    """One lot: a symbol held by a strategy ("" in a watched portfolio)."""

    symbol: str
    strategy: str
    sector: str  # the name that limits go by (`risk.sectors.sector_key`)
    quantity: float  # shares
    cost_usd: float  # of the shares held, without fees
    mark_usd: float  # newest close; NaN where there is none
    stop_usd: float | None  # None: the lot has no stop
    missed_sessions: int  # complete sessions since its newest bar
    ts_last_bar_ns: int  # 0: never a bar


class Positions:
    """All lots, a row of `engine.held` for each: int64[P, COLUMNS], C-contiguous.

    Numbers, because a view is made of every row of bars. Iterating makes a `Position` of each.
    """

    def __init__(
        self,
        numbers: Int,
        symbols: Sequence[str],
        strategies: Sequence[str],
        sectors: Sequence[str],
        weigh: Weigh = weigh,
    ) -> None:
        self._weigh = weigh
        self.numbers, self.floats = numbers, numbers.view(np.float64)
        self.symbol = Texts(symbols, numbers[:, SYMBOL])
        self.strategy = Texts(strategies, numbers[:, STRATEGY])
        self.sector = Texts(sectors, numbers[:, SECTOR])

    @classmethod
    def of(cls, positions: Iterable[Position]) -> Positions:
        """Return these lots as columns."""
        columns = list(zip(*positions, strict=True)) or [()] * len(Position._fields)
        symbol, strategy, sector, quantity, cost_usd, mark_usd, stop_usd, missed, last_ns = columns
        return cls.of_columns(
            Texts.of(symbol), Texts.of(strategy), Texts.of(sector),
            np.array(quantity, np.float64), np.array(cost_usd, np.float64), np.array(mark_usd, np.float64),
            np.array([nan if one is None else one for one in stop_usd], np.float64),
            np.array([one is not None for one in stop_usd], np.bool_),
            np.array(missed, np.int64), np.array(last_ns, np.int64),
        )  # fmt: skip

    @classmethod
    def of_columns(
        cls, symbol: Texts, strategy: Texts, sector: Texts, quantity: Float, cost_usd: Float, mark_usd: Float,
        stop_usd: Float, has_stop: NDArray[np.bool_], missed_sessions: Int, ts_last_bar_ns: Int,
        weigh: Weigh = weigh,
    ) -> Positions:  # fmt: skip
        """Return positions of a column per field. stop_usd: NaN where there is none."""
        numbers = np.empty((len(symbol), COLUMNS), np.int64)
        floats = numbers.view(np.float64)
        for place, texts in ((SYMBOL, symbol), (STRATEGY, strategy), (SECTOR, sector)):
            numbers[:, place] = texts.numbers
        for place, whole in ((HAS_STOP, has_stop), (MISSED, missed_sessions), (LAST_TS, ts_last_bar_ns)):
            numbers[:, place] = whole
        for place, column in ((QUANTITY, quantity), (COST, cost_usd), (MARK, mark_usd), (STOP, stop_usd)):
            floats[:, place] = column
        value = quantity * mark_usd * MICRO
        floats[:, VALUE] = np.where(np.abs(value) < VALUE_MICRO_MAX, np.rint(value) + 0.0, nan)  # No -0
        return cls(numbers, symbol.table, strategy.table, sector.table, weigh)

    @property
    def quantity(self) -> Float:
        return self.floats[:, QUANTITY]

    @property
    def mark_usd(self) -> Float:
        return self.floats[:, MARK]

    @property
    def stop_usd(self) -> Float:
        return self.floats[:, STOP]

    @property
    def has_stop(self) -> NDArray[np.bool_]:
        return self.numbers[:, HAS_STOP].astype(np.bool_)

    @property
    def missed_sessions(self) -> Int:
        return self.numbers[:, MISSED]

    @cached_property
    def values_micro(self) -> list[float]:
        """Micro-dollars, whole numbers; NaN where the mark is."""
        values: list[float] = self.floats[:, VALUE].tolist()
        return values

    @cached_property
    def weighed(self) -> Weighed:
        """What all of them come to."""
        by_symbol, by_sector = np.zeros(len(self.symbol.table)), np.zeros(len(self.sector.table))
        value, largest, n_at_stop, n_without_bar = self._weigh(
            self.numbers, self.floats, by_symbol, by_sector
        )
        # Not compiled, it gives numbers of NumPy
        return Weighed(by_symbol, by_sector, float(value), float(largest), int(n_at_stop), int(n_without_bar))

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Position]:
        known = zip(self.stop_usd.tolist(), self.has_stop.tolist(), strict=True)
        stops = [stop if has_stop else None for stop, has_stop in known]
        columns = (
            self.symbol, self.strategy, self.sector,
            *(self.floats[:, place].tolist() for place in (QUANTITY, COST, MARK)), stops,
            *(self.numbers[:, place].tolist() for place in (MISSED, LAST_TS)),
        )  # fmt: skip
        return map(Position._make, zip(*columns, strict=True))


class Weighed(NamedTuple):
    """What positions come to, micro-dollars. Sizes count a short position like a long one."""

    by_symbol: Float  # sizes by number of the symbol
    by_sector: Float
    value: float  # the sum of the values
    largest: float  # of the sizes by symbol; NaN where one is
    n_at_stop: int  # lots that are not clear of their stop
    n_without_bar: int  # lots without a bar in the newest session


class Profits(Mapping[str, int]):
    """Micro-dollars by symbol. Looked at when there is an alert about them, so made of its arrays then.

    has: which symbols have any; micro: of all symbols. Neither may change afterwards.
    """

    def __init__(self, symbols: Sequence[str], has: NDArray[np.bool_], micro: Int) -> None:
        self._symbols, self._has, self._micro = symbols, has, micro

    @cached_property
    def _by_symbol(self) -> dict[str, int]:
        (columns,) = self._has.nonzero()
        names = map(self._symbols.__getitem__, columns.tolist())
        return dict(zip(names, self._micro[columns].tolist(), strict=True))

    def __getitem__(self, symbol: str) -> int:
        return self._by_symbol[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_symbol)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._has))

    def items(self) -> ItemsView[str, int]:
        return self._by_symbol.items()


NO_POSITIONS = Positions.of(())


class Account(NamedTuple):
    """An account with a portfolio stop of its own."""

    name: str
    state: AccountState
    equity_micro: int
    hwm_micro: int  # the high-water mark that the stop goes by


class Condition(NamedTuple):
    """Something wrong that its owner (feed, daemon) reports and withdraws; an alert while it is listed."""

    rule: Literal["monitor_degraded", "suspected_split", "delivery"]
    subject: str
    detail: str  # one line


class PortfolioView(NamedTuple):
    """The portfolio as of `ts_ns`."""

    row_seq: int  # rows of bars taken, the newest included; numbers the episodes
    now_ns: int  # the clock's reading that was journalled with the event
    ts_ns: int  # newest complete row; when its values were known
    session: str  # of that row, 2026-11-20
    equity_micro: int | None
    cash_micro: int
    positions: Positions = NO_POSITIONS
    flow_micro: int = 0  # external cash paid in, less paid out, since the beginning
    profits_micro: Mapping[str, int] = NO_PROFITS  # by symbol, realised and not, since the beginning
    accounts: tuple[Account, ...] = ()
    n_expected: int = 0  # symbols that should have a bar in this session by now
    missing: tuple[str, ...] = ()  # those of them that have none; empty while the session is young
    benchmark: str = ""  # "" for none
    benchmark_present: bool = True
    regime: str = ""  # of the market, "" where unknown
    feed: FeedState = "connected"
    feed_detail: str = ""
    feed_age_s: float = 0.0  # since the feed last said anything
    loop_lag_ms: float = 0.0  # worst since the view before
    conditions: tuple[Condition, ...] = ()
    config_hash: str = ""
    catching_up: bool = False  # with what was before a live monitor began: its market is no news
    replayed: bool = False  # the rows are history: what is measured on them goes by `ts_ns`, not by `now_ns`
