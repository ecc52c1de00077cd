"""The slab: a batch of K timestamps x N symbols. A replay publishes large slabs, a live feed K = 1.

Invariants (the property tests use the same numbers):
1. Arrays are time-major, C-contiguous and writable, so that every kernel has exactly one compiled form.
2. `ts` is strictly increasing, across slabs too. It is the moment the bar was complete and known.
3. NaN in `close` means that the symbol has no bar at that timestamp: no event, never a carried price.
4. Actions are sorted by (row, symbol) and take effect before the open of their row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError, EngineError

Float = NDArray[np.float64]
Int = NDArray[np.int64]

NS_PER_DAY = 86_400_000_000_000


class ActionKind(IntEnum):
    """What happens to a symbol before the open of a row, and what `value` then means."""

    SPLIT = 0  # new shares per old share
    DIVIDEND = 1  # dollars per new share, on the ex-date
    DELIST_PROCEEDS = 2  # dollars per share that holders received
    DELIST_MERGER = 3  # value unused: the last close is paid
    DELIST_PERFORMANCE_NYSE = 4  # value unused: last close x 0.70
    DELIST_PERFORMANCE_NASDAQ = 5  # value unused: last close x 0.45
    DELIST_UNKNOWN = 6  # value unused: last close x 0.70
    RENAME = 7  # column number of the symbol's new name


ACTION_DTYPE = np.dtype([("row", np.int64), ("symbol", np.int64), ("kind", np.int64), ("value", np.float64)])
NO_ACTIONS = np.empty(0, ACTION_DTYPE)


class Membership(NamedTuple):
    """Which symbols belonged to an index when. A period lasts until the next begins; the first also counts
    for all time before it."""

    since_ns: Int  # [P], increasing: UTC ns from which a period is in force
    is_member: NDArray[np.uint8]  # [P, N], 1 or 0


@dataclass(frozen=True)
class Universe:
    """The columns of every slab of a run, in ascending order of symbol.

    `sectors`, `industries` and `exchanges` are free text per symbol, "" where unknown.
    `benchmark` names the series carried in `Bars.benchmark`, "" for none.
    `membership`: entries are refused while a symbol is no member; None: every symbol always is one.
    """

    symbols: tuple[str, ...]
    sectors: tuple[str, ...] = ()
    industries: tuple[str, ...] = ()
    exchanges: tuple[str, ...] = ()
    benchmark: str = ""
    membership: Membership | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if list(self.symbols) != sorted(set(self.symbols)):
            raise DataError("symbols must be unique and in ascending order")
        blank = ("",) * len(self.symbols)
        for name in ("sectors", "industries", "exchanges"):
            value = getattr(self, name) or blank
            if len(value) != len(self.symbols):
                raise EngineError(
                    f"{name} must have one entry per symbol ({len(self.symbols)}), was {len(value)}"
                )
            object.__setattr__(self, name, tuple(value))
        if self.membership is not None:
            since_ns, is_member = self.membership
            if is_member.shape != (len(since_ns), len(blank)) or not len(since_ns):
                raise EngineError(
                    f"membership must be [{len(since_ns)} periods >= 1, {len(blank)} symbols],"
                    f" was {is_member.shape}"
                )

    def __len__(self) -> int:
        return len(self.symbols)


@dataclass(frozen=True, eq=False)
class Bars:
    """K rows of bars for the whole universe. Published on the bus; handed to kernels as a `Tape`.

    ts: int64[K], UTC nanoseconds, strictly increasing.
    open, high, low, close, volume: float64[K, N]; dollars and shares in the basis of the feed; NaN where
        there is no bar.
    actions: ACTION_DTYPE[M], `row` counted from the first row of this slab.
    benchmark: float64[K, 2], close and volume of the benchmark; NaN where there is none.
    """

    ts: Int
    open: Float
    high: Float
    low: Float
    close: Float
    volume: Float
    actions: NDArray[np.void] = field(default_factory=lambda: NO_ACTIONS)
    benchmark: Float = field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        shape = self.close.shape
        if self.close.ndim != 2 or len(self.ts) != shape[0]:
            raise EngineError(
                f"bars must be float64[K, N] with K = len(ts) = {len(self.ts)}, was shape {shape}"
            )
        object.__setattr__(self, "ts", _plain(self.ts, np.dtype(np.int64), (shape[0],), "ts"))
        for name in ("open", "high", "low", "close", "volume"):
            value = _plain(getattr(self, name), np.dtype(np.float64), shape, name)
            object.__setattr__(self, name, value)
        if len(self.benchmark) == 0:
            object.__setattr__(self, "benchmark", np.full((shape[0], 2), np.nan))
        benchmark = _plain(self.benchmark, np.dtype(np.float64), (shape[0], 2), "benchmark")
        object.__setattr__(self, "benchmark", benchmark)
        actions = _plain(self.actions, ACTION_DTYPE, (len(self.actions),), "actions")
        object.__setattr__(self, "actions", actions)

    @property
    def n_rows(self) -> int:
        return self.close.shape[0]

    @property
    def n_symbols(self) -> int:
        return self.close.shape[1]

    def rows(self, start: int, stop: int) -> Bars:
        """Return rows [start, stop) as a slab of their own, sharing memory."""
        actions = self.actions
        if len(actions):
            first, last = np.searchsorted(actions["row"], (start, stop))
            actions = actions[first:last].copy()
            actions["row"] -= start
        part = object.__new__(Bars)  # Rows of a checked slab need no check, which takes as long as a kernel
        piece = slice(start, stop)
        values = {
            "ts": self.ts[piece],
            "open": self.open[piece],
            "high": self.high[piece],
            "low": self.low[piece],
            "close": self.close[piece],
            "volume": self.volume[piece],
            "actions": actions,
            "benchmark": self.benchmark[piece],
        }
        object.__setattr__(part, "__dict__", values)
        return part

    def cut(self, n_rows: int) -> Iterator[Bars]:
        """Yield this slab in consecutive pieces of at most `n_rows` rows."""
        for start in range(0, self.n_rows, n_rows):
            yield self.rows(start, min(start + n_rows, self.n_rows))


class BarStatus(IntEnum):
    """What a cell of a slab is, decided once for all strategies (`engine.intake`)."""

    NONE = 0  # no bar, or an invalid one that was dropped
    MARK = 1  # valid, volume 0: marks positions, advances nothing, fills nothing
    TRADED = 2
    RESUMED = 3  # traded, the first bar after a gap of more than 60 calendar days: state starts anew


class Tape(NamedTuple):
    """A slab as kernels see it. `status` is uint8[K, N] of `BarStatus`."""

    ts: Int
    open: Float
    high: Float
    low: Float
    close: Float
    volume: Float
    status: NDArray[np.uint8]
    actions: NDArray[np.void]
    benchmark: Float


class Feed(Protocol):
    """Source of slabs in time order. `universe` is known before the first slab."""

    @property
    def universe(self) -> Universe: ...

    def slabs(self, n_rows: int) -> AsyncIterator[Bars]:
        """Yield slabs of at most `n_rows` rows."""
        ...


def join(slabs: Sequence[Bars]) -> Bars:
    """Return consecutive slabs as one."""
    actions = []
    row = 0
    for slab in slabs:
        part = slab.actions.copy()
        part["row"] += row
        row += slab.n_rows
        actions.append(part)
    stacked = {
        name: np.concatenate([getattr(slab, name) for slab in slabs])
        for name in ("ts", "open", "high", "low", "close", "volume", "benchmark")
    }
    return Bars(**stacked, actions=np.concatenate(actions))


def _plain(
    value: NDArray[np.generic], dtype: np.dtype[np.generic], shape: tuple[int, ...], name: str
) -> NDArray[np.generic]:
    if value.shape != shape:
        raise EngineError(f"{name} must have shape {shape}, was {value.shape}")
    value = np.ascontiguousarray(value, dtype)
    return value if value.flags.writeable else value.copy()
