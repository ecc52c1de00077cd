"""Every lot of a run and what it earned at every close, from fills, cash flows and marks.

1. A lot is one holding of a symbol in an account, from its first share to its last.
2. Its profit at a close is the change of its value, less what was paid for shares, plus what was received:
   q_{t-1} (P_t - P_{t-1}) + sum of fills q_f (P_t - P_f) + dividends - costs, in units of one split basis.
3. Values are rounded to the micro-dollar as the ledger rounds them, so that the profits of a close add up
   to the change of equity exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.events import CashFlows, CashKind, Fills
from engine.slab import ActionKind
from reports.marks import MarkTable
from reports.recorder import Recorder

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Rows = NDArray[np.void]

MICRO = 1e6
_OUTSIDE = (int(CashKind.INTEREST), int(CashKind.EXTERNAL_FLOW))  # not of a lot
_MOVE, _FILL, _CASH = 0, 1, 2


class LotHistory(NamedTuple):
    """Flat tables. `value_*`: what a lot was worth at a close; `profit_*`: what it earned up to a close
    since the one before (several rows of a lot and close add up)."""

    symbol: Int  # [L], the column under which it was bought
    strategy: Int  # [L], of its entry order
    account: Int  # [L]
    order_id: Int  # [L], of its entry
    value_lot: Int
    value_row: Int
    value_micro: Int
    profit_lot: Int
    profit_row: Int
    profit_micro: Int


@dataclass
class _Lot:
    symbol: int
    strategy: int
    account: int
    order_id: int
    quantity: int = 0
    # From `rows[i]` on, `quantities[i]` of the symbol in column `columns[i]`.
    rows: list[int] = field(default_factory=list)
    quantities: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)

    def change(self, row: int, quantity: int, column: int) -> None:
        self.quantity = quantity
        self.rows.append(row)
        self.quantities.append(quantity)
        self.columns.append(column)


def lot_history(recorder: Recorder) -> LotHistory:
    """Return the lots of a run that was recorded from its start."""
    table = recorder.marks.table()
    lots, cash = _replayed(recorder, table)
    value = _values(recorder, table, lots)
    before = np.zeros(len(value[0]), np.int64)
    same = value[0][1:] == value[0][:-1]
    before[1:][same] = value[2][:-1][same]
    paid = np.array(cash, np.int64).reshape(-1, 3)
    symbol, strategy, account, order = (
        np.array([getattr(lot, name) for lot in lots], np.int64)
        for name in ("symbol", "strategy", "account", "order_id")
    )
    return LotHistory(
        symbol, strategy, account, order, *value,
        np.concatenate((value[0], paid[:, 0])),
        np.concatenate((value[1], paid[:, 1])),
        np.concatenate((value[2] - before, paid[:, 2])),
    )  # fmt: skip


def _replayed(recorder: Recorder, table: MarkTable) -> tuple[list[_Lot], list[tuple[int, int, int]]]:
    """Return the lots, and (lot, row, micro-dollars) of everything paid and received for them."""
    lots: list[_Lot] = []
    cash: list[tuple[int, int, int]] = []
    current: dict[tuple[int, int], int] = {}  # (account, symbol) -> newest lot
    for row, kind, event in _events(recorder, table):
        if kind == _MOVE:
            _move(lots, current, row, event)
            continue
        place = (event["account"], event["symbol"])
        at = current.get(place)
        if kind == _FILL:
            side, quantity = event["side"], event["quantity"]
            if side > 0 and (at is None or lots[at].quantity == 0):
                at = current[place] = len(lots)
                lots.append(_Lot(place[1], event["strategy"], place[0], event["order_id"]))
            if at is None or lots[at].quantity + side * quantity < 0:
                raise EngineError(
                    f"{recorder.universe.symbols[place[1]]}: more was sold than bought since the recording"
                    " began; attribution needs a run that was recorded from its start"
                )
            lots[at].change(row, lots[at].quantity + side * quantity, place[1])
            cash.append((at, row, -side * event["value_micro"] - event["fee_micro"]))
        elif at is not None:
            cash.append((at, row, event["amount_micro"]))
            if event["kind"] == CashKind.DELISTING:
                lots[at].change(row, 0, place[1])
    return lots, cash


def _events(recorder: Recorder, table: MarkTable) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (row, kind, fields) in the order of the session: splits and new names, then fills and cash
    flows as they happened."""
    ts = recorder.equity().ts
    found: list[tuple[int, int, int, dict[str, Any]]] = [
        (row, -1, _MOVE, {"symbol": symbol, "kind": kind, "value": value})
        for row, symbol, kind, value in table.actions.tolist()
    ]
    for kind, rows, names in (
        (_FILL, recorder.rows(Fills), ("order_id", "account", "symbol", "strategy", "side", "quantity",
                                       "value_micro", "fee_micro")),
        (_CASH, recorder.rows(CashFlows), ("account", "symbol", "kind", "amount_micro")),
    ):  # fmt: skip
        if kind == _CASH:
            rows = rows[~np.isin(rows["kind"], _OUTSIDE)]
        at = np.searchsorted(ts, rows["ts"]).tolist()
        columns = [rows[name].tolist() for name in names]
        for row, seq, *values in zip(at, rows["seq"].tolist(), *columns, strict=True):
            found.append((row, seq, kind, dict(zip(names, values, strict=True))))
    found.sort(key=lambda event: event[:2])
    for row, _, kind, event in found:
        yield row, kind, event


def _move(lots: list[_Lot], current: dict[tuple[int, int], int], row: int, event: dict[str, Any]) -> None:
    """Apply a split or a change of name, which act before the open."""
    symbol = event["symbol"]
    for place in [place for place in current if place[1] == symbol]:
        lot = lots[current[place]]
        if lot.quantity == 0:
            continue
        if event["kind"] == ActionKind.SPLIT:
            lot.change(row, int(np.floor(lot.quantity * event["value"] + 1e-9)), symbol)
        elif not _holds(lots, current.get((place[0], target := int(event["value"])))):
            lot.change(row, lot.quantity, target)
            # Both names lead to it: a dividend of the same morning may come under the old one.
            current[place[0], target] = current[place]


def _holds(lots: list[_Lot], at: int | None) -> bool:
    return at is not None and lots[at].quantity > 0


def _values(recorder: Recorder, table: MarkTable, lots: list[_Lot]) -> tuple[Int, Int, Int]:
    """Return (lot, row, value) for every close from a lot's first to the one at which it was gone."""
    n_rows = len(table.close)
    spans: list[tuple[int, int, int, int, int]] = []  # lot, first row, end, quantity, column
    for i, lot in enumerate(lots):
        for k, (row, quantity, column) in enumerate(zip(lot.rows, lot.quantities, lot.columns, strict=True)):
            end = lot.rows[k + 1] if k + 1 < len(lot.rows) else row + 1 if quantity == 0 else n_rows
            if end > row:
                spans.append((i, row, end, quantity, column))
    made = np.array(spans, np.int64).reshape(-1, 5)
    lengths = made[:, 2] - made[:, 1]
    of_lot, first, _, quantities, of_column = np.repeat(made, lengths, axis=0).T
    at = first + np.arange(len(first)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    mark = carried(table)[at, np.searchsorted(table.symbols, of_column)]
    units = MICRO if recorder.fractional_shares else 1.0
    # The ledger's expression, operation by operation
    value = np.rint(quantities / units * np.where(quantities == 0, 0.0, mark) * MICRO)
    if np.any(np.isnan(value)):
        raise EngineError("a position has no mark; attribution needs a run that was recorded from its start")
    return of_lot, at, value.astype(np.int64)


def carried(table: MarkTable) -> Float:
    """Return float64[K, n], the newest close of each symbol at each row, in the split basis of that row.
    A new name starts with the newest close of the old one."""
    close = table.close.copy()
    for rename in table.actions[table.actions["kind"] == ActionKind.RENAME]:
        old, new = np.searchsorted(table.symbols, (rename["symbol"], np.int64(rename["value"])))
        row = int(rename["row"])
        earlier = np.flatnonzero(~np.isnan(close[:row, old]))
        if np.isnan(close[row, new]) and len(earlier):
            close[row, new] = close[earlier[-1], old]
    rows = np.arange(len(close))[:, None]
    newest = np.maximum.accumulate(np.where(np.isnan(close), 0, rows), axis=0)
    made = np.take_along_axis(close, newest, axis=0)
    splits = table.actions[table.actions["kind"] == ActionKind.SPLIT]
    for split in splits:
        column, row = int(np.searchsorted(table.symbols, split["symbol"])), int(split["row"])
        stale = (newest[:, column] < row) & (np.arange(len(close)) >= row)
        made[stale, column] /= split["value"]
    return made
