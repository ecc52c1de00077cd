"""Every input of the live monitor, and its bytes in the journal: a replay needs nothing else.

An input carries the clock's readings of the moment at which it was taken: nothing that decides reads a clock.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from engine.errors import DataError
from engine.slab import ACTION_DTYPE, Bars
from feeds.live import FeedStatus, LiveRow
from monitors.view import Condition
from storage.commands import Command
from storage.journal import Entry

_PRICES = ("open", "high", "low", "close", "volume")


LIVE = "live"  # `Plan.trade_from`: what follows the first back-fill is traded
# `Plan.time`, what the course of alerts goes by: the rows of a replay, or readings of the machine's clock
OF_BARS, OF_MACHINE = "bars", "machine"


class Readings(NamedTuple):
    """What the process measured when it took an input."""

    now_ns: int  # wall clock, UTC
    feed_age_s: float = 0.0  # since the feed last said anything
    loop_lag_ms: float = 0.0  # worst since the input before
    conditions: tuple[Condition, ...] = ()  # what is wrong with the process itself


class Plan(Struct, frozen=True):
    """What the monitor is made of: the first input of a store, and again whenever it changes.

    `settings` holds the sections that decide anything; there is no secret among them.
    """

    symbols: tuple[str, ...]
    sectors: tuple[str, ...]
    industries: tuple[str, ...]
    exchanges: tuple[str, ...]
    benchmark: str
    member_since: bytes = b""  # int64[M], and per period
    is_member: bytes = b""  # uint8[M, N]; both empty: the universe has no dated membership
    strategies: tuple[tuple[str, dict[str, Any]], ...] = ()
    modules: tuple[str, ...] = ()  # files that register strategies
    weights: tuple[float, ...] = ()
    mode: str = "sleeve"
    capital_usd: float = 0.0
    portfolio: str = "default"
    settings: dict[str, Any] = {}
    facts: bytes = b""
    positions: tuple[tuple[str, float, float, str], ...] | None = (
        None  # symbol, shares, cost, sector: watched
    )
    interval: str = "1d"  # of the bars: a state of one is none of another
    trade_from: str = ""  # an ISO date, LIVE, or "" for the first row: until then signals buy nothing
    time: str = ""  # OF_BARS, OF_MACHINE, or "" in a store from before there was a choice: of the machine


def same_plan(one: Plan | None, other: Plan | None) -> bool:
    """Whether two plans are one. By their bytes: a cost that is not known, NaN, equals itself."""
    return msgspec.msgpack.encode(one) == msgspec.msgpack.encode(other)


class Start(Struct, frozen=True):
    """The process began, or began again."""

    code: str  # hash of the kernels' sources
    source: str  # one line that says where bars come from


class Tick(Struct, frozen=True):
    """Time passed."""


class Stop(Struct, frozen=True):
    """The process is about to end as it was asked to."""

    reason: str


Input = Plan | Start | LiveRow | FeedStatus | Command | Tick | Stop
KINDS: dict[type, str] = {
    Plan: "plan", Start: "start", LiveRow: "row", FeedStatus: "status", Command: "command", Tick: "tick",
    Stop: "stop",
}  # fmt: skip
_OF_KIND = {name: kind for kind, name in KINDS.items()}


def encode(given: Input, readings: Readings) -> bytes:
    """Return an input with its readings as bytes."""
    body = _row_parts(given) if isinstance(given, LiveRow) else given
    return msgspec.msgpack.encode((readings, body))


def decode(entry: Entry) -> tuple[Input, Readings]:
    """Return what a journal row holds. Raises DataError when this program does not know it."""
    kind = _OF_KIND.get(entry.kind)
    if kind is None:
        raise DataError(f"journal: row {entry.seq} is of a kind this program does not know: {entry.kind!r}")
    try:
        readings, given = _DECODERS[kind].decode(entry.payload)
        return (_row(given) if isinstance(given, _RowParts) else given), readings
    except (msgspec.MsgspecError, ValueError) as error:
        raise DataError(f"journal: row {entry.seq} ({entry.kind}) cannot be read: {error}") from None


class _RowParts(NamedTuple):
    ts_ns: int
    source: str
    backfilled: bool
    prices: bytes  # open, high, low, close, volume: float64[N] each
    benchmark: bytes
    actions: bytes


def _row_parts(row: LiveRow) -> _RowParts:
    bars = row.bars
    return _RowParts(
        int(bars.ts[0]),
        row.source,
        row.backfilled,
        b"".join([np.ascontiguousarray(getattr(bars, name)).data for name in _PRICES]),
        bars.benchmark.tobytes(),
        bars.actions.tobytes(),
    )


def _row(parts: _RowParts) -> LiveRow:
    open_, high, low, close, volume = np.frombuffer(bytearray(parts.prices)).reshape(5, 1, -1)
    actions = np.frombuffer(bytearray(parts.actions), ACTION_DTYPE)
    benchmark = np.frombuffer(bytearray(parts.benchmark)).reshape(1, 2)
    bars = Bars(np.array([parts.ts_ns]), open_, high, low, close, volume, actions, benchmark)
    return LiveRow(bars, parts.source, parts.backfilled)


def _decoder(body: type) -> msgspec.msgpack.Decoder[Any]:
    payload: Any = tuple[Readings, body]  # type: ignore[valid-type]
    return msgspec.msgpack.Decoder(payload)


_DECODERS = {kind: _decoder(_RowParts if kind is LiveRow else kind) for kind in KINDS}
