"""What the monitors see: the portfolio at one moment, as plain values, and nothing else.

A view is made for every event that may change an alert: a row of bars, a change of the feed, a timer tick.
A view does not change, and evaluating one twice changes nothing. Money is int64 micro-dollars, prices
are float64 dollars. What is not known is None or NaN, and the monitors treat that as a breach.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

MICRO = 1_000_000
VALUE_MICRO_MAX = 2.0**63  # what the ledger can hold; false for NaN
NO_PROFITS: Mapping[str, int] = MappingProxyType({})

Int = NDArray[np.int64]
Float = NDArray[np.float64]

FeedState = Literal["connected", "stale", "down"]
AccountState = Literal["active", "halted", "cooldown"]


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


@dataclass(frozen=True, eq=False)
class Positions:
    """All lots, a column per field of `Position`: P long.

    Columns, because a view is made of every row of bars. Iterating makes a `Position` of each.
    """

    symbol: Sequence[str]
    strategy: Sequence[str]
    sector: Sequence[str]
    quantity: Float
    cost_usd: Float
    mark_usd: Float
    stop_usd: Float
    has_stop: NDArray[np.bool_]
    missed_sessions: Int
    ts_last_bar_ns: Int

    @classmethod
    def of(cls, positions: Iterable[Position]) -> Positions:
        """Return these lots as columns."""
        columns = list(zip(*positions, strict=True)) or [()] * len(Position._fields)
        symbol, strategy, sector, quantity, cost_usd, mark_usd, stop_usd, missed, last_ns = columns
        stop = np.array([nan if one is None else one for one in stop_usd], np.float64)
        has_stop = np.array([one is not None for one in stop_usd], np.bool_)
        quantities, costs, marks = (np.array(column, np.float64) for column in (quantity, cost_usd, mark_usd))
        sessions, times = (np.array(column, np.int64) for column in (missed, last_ns))
        return cls(symbol, strategy, sector, quantities, costs, marks, stop, has_stop, sessions, times)

    @cached_property
    def value_micro(self) -> Float:
        """Micro-dollars, whole numbers; NaN where the mark is."""
        value = self.quantity * self.mark_usd * MICRO
        return np.where(np.abs(value) < VALUE_MICRO_MAX, np.rint(value) + 0.0, nan)  # No -0

    @cached_property
    def values_micro(self) -> list[float]:
        """`value_micro` as Python's own numbers."""
        values: list[float] = self.value_micro.tolist()
        return values

    def __len__(self) -> int:
        return len(self.symbol)

    def __iter__(self) -> Iterator[Position]:
        known = zip(self.stop_usd.tolist(), self.has_stop.tolist(), strict=True)
        stops = [stop if has_stop else None for stop, has_stop in known]
        numbers = (self.quantity, self.cost_usd, self.mark_usd)
        times = (self.missed_sessions, self.ts_last_bar_ns)
        columns = (
            self.symbol, self.strategy, self.sector, *(column.tolist() for column in numbers), stops,
            *(column.tolist() for column in times),
        )  # fmt: skip
        return map(Position._make, zip(*columns, strict=True))


class Profits(Mapping[str, int]):
    """Micro-dollars by symbol. Looked at when there is an alert about them, so made of its arrays then.

    columns: of the symbols that have any; micro: theirs.
    """

    def __init__(self, symbols: Sequence[str], columns: Int, micro: Int) -> None:
        self._symbols, self._columns, self._micro = symbols, columns, micro

    @cached_property
    def _by_symbol(self) -> dict[str, int]:
        names = map(self._symbols.__getitem__, self._columns.tolist())
        return dict(zip(names, self._micro.tolist(), strict=True))

    def __getitem__(self, symbol: str) -> int:
        return self._by_symbol[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_symbol)

    def __len__(self) -> int:
        return len(self._micro)

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
    replayed: bool = False  # the rows are history: what is measured on them goes by `ts_ns`, not by `now_ns`
