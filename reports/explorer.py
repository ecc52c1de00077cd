"""The trades of a run with their bars, signals and fills, packed for the explorer of the tear sheet.

1. One block of bytes: the length of a header (uint32), the header as JSON, then columns of bars.
2. A column is int32 made small by differences, zigzag-coded and split into four planes of bytes, so that it
   deflates to about a byte a bar. Prices keep five digits of the symbol's typical price, volumes three.
3. Positions that are still open come after the trades, with the reason "open".
4. A trade without bars (`trades_without_bars` in run.json) is listed, and says that it has none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from reports.arrow import as_numpy, significant
from reports.evidence import BARS
from reports.folder import RunFolder

Int = NDArray[np.int64]

CLOSED, OPEN = "trades/trades.csv", "trades/open_positions.csv"
_OPEN_NAMES = {"pnl": "profit", "exit_price": "mark"}  # what the file of open positions calls them
VOLUME_STEPS = 1000  # per factor of ten
_TRADE_NUMBERS = {  # column of trades.csv -> decimals (None: six significant digits)
    "quantity": None, "entry_price": None, "exit_price": None, "pnl": 2, "return": 5, "r_multiple": 3,
    "bars_held": 0, "mae": 4, "mfe": 4, "initial_stop": None,
}  # fmt: skip


class _Bars(NamedTuple):
    symbols: list[str]
    days: list[str]
    starts: Int  # first bar of each symbol, then the end of all
    ticks: list[float]
    columns: bytes


def pack(folder: RunFolder) -> bytes | None:
    """Return the block, None for a run without trades or without bars."""
    if not folder.has(BARS) or not (len(folder.table(CLOSED)) or len(folder.table(OPEN))):
        return None
    bars = _bars(folder)
    header = {
        "days": bars.days, "symbols": bars.symbols, "starts": bars.starts.tolist(), "ticks": bars.ticks,
        "volume_steps": VOLUME_STEPS, **_trades(folder), "parameters": _parameters(folder),
    }  # fmt: skip
    text = msgspec.json.encode(header)  # NaN is null
    return len(text).to_bytes(4, "little") + text + bars.columns


def _trades(folder: RunFolder) -> dict[str, Any]:
    trades, held = folder.table(CLOSED), folder.table(OPEN)
    names = {
        key: trades.text(key) + held.text(key)
        for key in ("symbol", "strategy", "entry_date", "exit_date", "exit_reason")
    }
    if len(held):  # Their end is that of the run
        names["exit_date"][len(trades) :] = folder.days[-1:] * len(held)
        names["exit_reason"][len(trades) :] = ["open"] * len(held)
    fills, first_orders = _fills(folder, names)
    signals, measured = _signals(folder, names, first_orders)
    return {
        "trades": {
            **names,
            **{
                key: rounded(np.append(trades.numbers(key), held.numbers(_OPEN_NAMES.get(key, key))), places)
                for key, places in _TRADE_NUMBERS.items()
            },
        },
        "stops": _stops(folder, names),
        "fills": fills,
        "signals": signals,
        "measured": measured,
    }


def _fills(folder: RunFolder, names: dict[str, list[str]]) -> tuple[list[list[Any]], list[int | None]]:
    """Return the fills of each trade as [day, side, quantity, price, reason], and the order of the first.

    A fill belongs to the trade of its strategy and symbol that was open on its day."""
    table = folder.table("trades/fills.csv")
    day, reason, side = table.text("date"), table.text("reason"), table.text("side")
    price, quantity = rounded(table.numbers("price"), None), rounded(table.numbers("quantity"), None)
    order = table.numbers("order_id").tolist()
    of_name = defaultdict(list)
    for i, key in enumerate(zip(table.text("strategy"), table.text("symbol"), strict=True)):
        of_name[key].append(i)
    found, first_orders = [], []
    keys = zip(names["strategy"], names["symbol"], names["entry_date"], names["exit_date"], strict=True)
    for strategy, symbol, entry, end in keys:
        its = [i for i in of_name[strategy, symbol] if entry <= day[i] <= end]
        while its and side[its[0]] == "SELL":  # The end of the holding before
            its = its[1:]
        found.append([[day[i], side[i], quantity[i], price[i], reason[i]] for i in its])
        first_orders.append(int(order[its[0]]) if its else None)
    return found, first_orders


def _stops(folder: RunFolder, names: dict[str, list[str]]) -> dict[int, list[list[Any]]]:
    """Return the stops of trades whose stop moved, as [day from whose end on it held, price]."""
    table = folder.table("trades/stops.csv")
    rows = zip(
        table.text("strategy"), table.text("symbol"), table.text("entry_date"), table.text("date"),
        rounded(table.numbers("stop"), None), strict=True,
    )  # fmt: skip
    moved = defaultdict(list)
    for *key, day, stop in rows:
        moved[tuple(key)].append([day, stop])
    keys = zip(names["strategy"], names["symbol"], names["entry_date"], strict=True)
    return {i: moved[key] for i, key in enumerate(keys) if key in moved}


def _signals(
    folder: RunFolder, names: dict[str, list[str]], first_orders: list[int | None]
) -> tuple[list[Any], dict[str, list[str]]]:
    """Return the signal behind each trade as [day, confidence, measurements...], null where it is not
    known, and the names of the measurements by strategy."""
    orders, signals = folder.table("trades/orders.csv"), folder.table("trades/signals.csv")
    decided = dict(zip(orders.numbers("order_id").tolist(), orders.text("date"), strict=True))
    columns = (signals.text(name) for name in ("date", "symbol", "strategy", "side"))
    place = {key: i for i, key in enumerate(zip(*columns, strict=True))}
    wanted = [
        place.get((decided.get(order, ""), symbol, strategy, "BUY"), -1)
        for order, symbol, strategy in zip(first_orders, names["symbol"], names["strategy"], strict=True)
    ]
    there = np.array([i for i in wanted if i >= 0], np.int64)
    details = iter([json.loads(cell) if cell else {} for cell in signals.text("details", there)])
    confidence = rounded(signals.numbers("confidence"), 3)
    days = signals.text("date")
    measured: dict[str, list[str]] = {}
    made: list[Any] = []
    figures: list[list[float]] = []
    for i, strategy in zip(wanted, names["strategy"], strict=True):
        if i < 0:
            made.append(None)
            continue
        values = next(details)
        known = measured.setdefault(strategy, [])
        known += [name for name in values if name not in known]
        figures.append([np.nan if (value := values.get(name)) is None else value for name in known])
        made.append([days[i], confidence[i]])
    short = iter(significant(np.array([value for row in figures for value in row], np.float64)).tolist())
    for entry, row in zip((entry for entry in made if entry is not None), figures, strict=True):
        entry += [next(short) for _ in row]
    return made, measured


def _parameters(folder: RunFolder) -> dict[str, Any]:
    """Return what the drawings need of the strategies' parameters: lengths in bars."""
    return {
        strategy["name"]: {
            key: value for key, value in strategy.get("parameters", {}).items()
            if key in ("consolidation_window", "fast_span", "slow_span")
        }
        for strategy in folder.manifest.get("strategies", ())
    }  # fmt: skip


def _bars(folder: RunFolder) -> _Bars:
    import pyarrow.parquet as pq

    # Not read_table: it imports pandas, half a second.
    with pq.ParquetFile(folder.path / BARS, read_dictionary=["symbol", "date"]) as file:
        table = file.read()
    symbols, symbol = _coded(table["symbol"])
    days, day = _coded(table["date"])
    order = np.lexsort((day, symbol))
    symbol, day = symbol[order], day[order]
    price = {
        name: as_numpy(table[name])[order].astype(np.float64) for name in ("open", "high", "low", "close")
    }
    volume = as_numpy(table["volume"])[order].astype(np.float64)
    starts = np.searchsorted(symbol, np.arange(len(symbols) + 1))
    ticks = [_tick(price["close"][a:b]) for a, b in pairwise(starts.tolist())]
    per_bar = np.array(ticks)[symbol] if len(symbol) else np.empty(0)
    whole = {name: np.rint(values / per_bar).astype(np.int64) for name, values in price.items()}
    before = _previous(whole["close"], starts)
    columns = (
        day - _previous(day, starts), whole["close"] - before, whole["open"] - before,
        whole["high"] - np.maximum(whole["open"], whole["close"]),
        np.minimum(whole["open"], whole["close"]) - whole["low"],
        np.rint(np.log10(1 + np.maximum(volume, 0)) * VOLUME_STEPS).astype(np.int64),
    )  # fmt: skip
    return _Bars(symbols, days, starts, ticks, b"".join(map(planes, columns)))


def planes(values: Int) -> bytes:
    """Return int32 values zigzag-coded, all lowest bytes first, then all second ones, and so on."""
    zigzag = ((values << 1) ^ (values >> 63)).astype("<u4")
    return zigzag.view(np.uint8).reshape(-1, 4).T.tobytes()


def _coded(column: Any) -> tuple[list[str], Int]:
    """Return the distinct texts of a column in ascending order, and the place of each cell among them."""
    import pyarrow as pa

    cells = column.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(cells.type):  # Written by another program
        cells = cells.cast(pa.string()).dictionary_encode()
    names = cells.dictionary.to_pylist()
    order = np.argsort(np.array(names, object)) if names else np.empty(0, np.int64)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return [names[i] for i in order.tolist()], rank[as_numpy(cells.indices)]


def _tick(close: NDArray[np.float64]) -> float:
    middle = float(np.median(close)) if len(close) else 1.0
    return float(10.0 ** (np.floor(np.log10(middle)) - 4)) if middle > 0 else 1e-4


def _previous(values: Int, starts: Int) -> Int:
    """Return the value before each within its symbol, 0 before the first."""
    made = np.concatenate(([0], values[:-1])) if len(values) else values
    made[starts[:-1][np.diff(starts) > 0]] = 0
    return made


def rounded(values: NDArray[np.float64], places: int | None) -> list[float]:
    """Return numbers for JSON: `places` decimals, or six significant digits; NaN becomes null there."""
    return (significant(values) if places is None else np.round(values, places)).tolist()  # type: ignore[no-any-return]
