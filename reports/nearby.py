"""The bars around each trade: a second reading of the feed when the run is over.

Memory does not grow with the feed: bars are kept near trades only, `bars_max` of them at most (and those of
positions that are still open). If that is too
few, the trades that matter least (smallest |pnl| of each strategy) go without, and are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.events import Side, Signals, Trades
from engine.slab import Bars

if TYPE_CHECKING:
    from reports.recorder import Recorder

Int = NDArray[np.int64]
Rows = NDArray[np.void]

BARS_BEFORE, BARS_AFTER = 60, 10  # of a trade, at least
BARS_MAX = 600_000
STILL_TRADING = 20  # sessions from the end: the desk takes a name for delisted after as many without a bar
_MARGIN = 20  # bars to the left of the pattern that a signal measured
# `row` counts the timestamps of the run.
BAR_DTYPE = np.dtype(
    [("symbol", np.int32), ("row", np.int32)]
    + [(name, np.float32) for name in ("open", "high", "low", "close", "volume")]
)


@dataclass(frozen=True, eq=False)
class Nearby:
    """bars: BAR_DTYPE rows by symbol, then time; without_bars: trades of each strategy that were left out;
    names, names_at_end: symbols that had a bar at all, and within the last 20 rows of the run."""

    bars: Rows
    without_bars: dict[str, int]
    names: int
    names_at_end: int

    def described(self) -> dict[str, Any]:
        """Return what `run.json` keeps of it."""
        ended = {"names": self.names, "names_at_end": self.names_at_end, "sessions": STILL_TRADING}
        return {"survivorship": ended, "trades_without_bars": self.without_bars}


def look_again(
    feed: Any, recorder: Recorder, *, slab_rows: int = 1024, bars_max: int = BARS_MAX,
    others: Sequence[TakesBars] = (), positions: Rows | None = None,
) -> Nearby:  # fmt: skip
    """Read the feed of a finished run once more. An interrupted run is read as far as it went. others: who
    else wants to see its slabs; positions: those still open (`brokers.desk.POSITION_DTYPE`)."""
    windows, left_out = choose_windows(recorder, bars_max)
    if positions is not None and len(positions):
        windows = np.vstack((windows, _windows_of(positions, recorder)))
    reader = _Reader(len(recorder.universe), len(recorder.equity().ts), windows)
    asyncio.run(_read(feed, reader, others, slab_rows))
    bars = np.concatenate(reader.bars) if reader.bars else np.empty(0, BAR_DTYPE)
    return Nearby(
        bars[np.lexsort((bars["row"], bars["symbol"]))],
        left_out,
        int((reader.last_row >= 0).sum()),
        int((reader.last_row >= max(0, reader.n_rows - STILL_TRADING)).sum()),
    )


def choose_windows(recorder: Recorder, bars_max: int) -> tuple[Int, dict[str, int]]:
    """Return int64[M, 3] of (symbol, first row, row after the last), and how many trades of each strategy
    have no window because `bars_max` was reached."""
    trades, ts = recorder.rows(Trades), recorder.equity().ts
    if not len(trades):
        return np.empty((0, 3), np.int64), {}
    first = _first_rows(trades, recorder)
    last = np.searchsorted(ts, trades["ts_exit"]) + BARS_AFTER + 1
    windows = np.column_stack((trades["symbol"], first, np.minimum(last, len(ts))))
    rank = _rank_within(trades["strategy"], -np.abs(trades["pnl_micro"]))
    enough, too_many = 0, int(rank.max()) + 1
    if _union_size(windows) <= bars_max:
        enough = too_many
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if _union_size(windows[rank < middle]) <= bars_max:
            enough = middle
        else:
            too_many = middle
    out, count = np.unique(trades["strategy"][rank >= enough], return_counts=True)
    names = recorder.strategy_names
    return windows[rank < enough], {names[i]: n for i, n in zip(out.tolist(), count.tolist(), strict=True)}


def _windows_of(positions: Rows, recorder: Recorder) -> Int:
    """Return the windows of positions that are still open: to the end of the run."""
    first = _first_rows(positions, recorder)
    return np.column_stack((positions["symbol"], first, np.full(len(first), len(recorder.equity().ts))))


def _first_rows(entries: Rows, recorder: Recorder) -> Int:
    """Return int64[n], where the window of a trade or position begins."""
    entered = np.searchsorted(recorder.equity().ts, entries["ts_entry"])
    return np.maximum(entered - np.maximum(BARS_BEFORE, _pattern_bars(entries, recorder)), 0)


class TakesBars(Protocol):
    """Whoever takes the slabs of a run in order of time."""

    def on_bars(self, bars: Bars) -> Any: ...


class _Reader:
    """Takes slabs in order of time."""

    def __init__(self, n_symbols: int, n_rows: int, windows: Int) -> None:
        self.n_rows = n_rows
        self.windows = windows
        self.last_row = np.full(n_symbols, -1, np.int64)
        self.bars: list[Rows] = []
        self.row = 0

    def on_bars(self, bars: Bars) -> bool:
        """Take a slab; return whether the run went further than this."""
        bars = bars.rows(0, min(bars.n_rows, self.n_rows - self.row))
        if bars.n_rows == 0:
            return False
        there = ~np.isnan(bars.close)
        some = there.any(axis=0)
        self.last_row[some] = (self.row + bars.n_rows - 1 - np.argmax(there[::-1], axis=0))[some]
        t, s = np.nonzero(self._wanted(bars.n_rows, bars.n_symbols) & there)
        kept = np.empty(len(t), BAR_DTYPE)
        kept["row"], kept["symbol"] = t + self.row, s
        for name in ("open", "high", "low", "close", "volume"):
            kept[name] = getattr(bars, name)[t, s]
        self.bars.append(kept)
        self.row += bars.n_rows
        return self.row < self.n_rows

    def _wanted(self, n_rows: int, n_symbols: int) -> NDArray[np.bool_]:
        wanted = np.zeros((n_rows, n_symbols), bool)
        first = np.maximum(self.windows[:, 1] - self.row, 0)
        last = np.minimum(self.windows[:, 2] - self.row, n_rows)
        for i in np.flatnonzero(first < last).tolist():
            wanted[first[i] : last[i], self.windows[i, 0]] = True
        return wanted


async def _read(feed: Any, reader: _Reader, others: Sequence[TakesBars], slab_rows: int) -> None:
    async for slab in feed.slabs(slab_rows):
        left = reader.n_rows - reader.row
        for other in others:
            other.on_bars(slab.rows(0, min(slab.n_rows, left)))
        if not reader.on_bars(slab):
            return


def _pattern_bars(trades: Rows, recorder: Recorder) -> Int:
    """Return int64[trades], the bars that the pattern behind each trade spans: the sum of the measurements
    named *_bars of the signal it came from."""
    signals = recorder.rows(Signals)
    signals = signals[signals["side"] == Side.BUY]
    spans = np.zeros(len(signals))
    for i, names in enumerate(recorder.measurements):
        columns = [k for k, name in enumerate(names) if name.endswith("_bars")]
        if columns:
            of_one = signals["strategy"] == i
            spans[of_one] = np.nan_to_num(signals["details"][of_one][:, columns]).sum(axis=1)
    made = np.zeros(len(trades), np.int64)
    if not np.any(spans):
        return made
    order = np.lexsort((signals["ts"], signals["symbol"], signals["strategy"]))
    signals, spans = signals[order], spans[order]
    n_symbols = len(recorder.universe)
    group = signals["strategy"] * n_symbols + signals["symbol"]
    for i, trade in enumerate(trades[["strategy", "symbol", "ts_entry"]].tolist()):
        wanted = trade[0] * n_symbols + trade[1]
        start, stop = np.searchsorted(group, (wanted, wanted + 1))
        before = int(np.searchsorted(signals["ts"][start:stop], trade[2]))
        if before:
            made[i] = int(spans[start + before - 1]) + _MARGIN
    return made


def _rank_within(group: Int, key: Int) -> Int:
    """Return each element's place in its group, 0 for the smallest key; equals in their order."""
    order = np.lexsort((key, group))
    _, starts, counts = np.unique(group[order], return_index=True, return_counts=True)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, counts)
    return rank


def _union_size(windows: Int) -> int:
    """Return how many (symbol, row) pairs the windows cover."""
    order = np.lexsort((windows[:, 1], windows[:, 0]))
    symbol, first, last = windows[order].T
    if not len(order):
        return 0
    # A running maximum per symbol: rows of different symbols are moved apart.
    offset = symbol * (int(last.max()) + 1)
    reach = np.maximum.accumulate(last + offset)
    before = np.concatenate(([0], reach[:-1]))
    return int(np.maximum(last + offset - np.maximum(first + offset, before), 0).sum())
