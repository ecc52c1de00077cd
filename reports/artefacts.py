"""The files of a backtest: which there are, and what each column holds.

Text is made per column (`reports.files`), never per row: 50,000 signals and as many rejections take half a
second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.events import (
    N_DETAILS,
    CashFlows,
    CashKind,
    Fills,
    Orders,
    OrderStatus,
    OrderType,
    Reason,
    Rejections,
    RiskEvents,
    RiskKind,
    Side,
    Signals,
    Trades,
)
from reports.attribution import Attribution, Part
from reports.files import Column, Dates, chosen, floats, integers, money, shares, text, write_csv
from reports.metrics import DEFINITIONS, METRICS
from reports.performance import Contribution, Performance, Summary
from reports.recorder import BLEND, Recorder

Rows = NDArray[np.void]
Table = tuple[Sequence[str], Sequence[Column]]

SOMETIMES = (
    "trades/open_positions.csv", "trades/stops.csv", "trades/risk_events.csv",
    "performance/attribution_sector.csv", "performance/attribution_symbol.csv",
)  # fmt: skip
STOP_DTYPE = np.dtype(
    [("ts", np.int64), ("symbol", np.int64), ("strategy", np.int64), ("ts_entry", np.int64),
     ("stop", np.float64)]
)  # fmt: skip
MICRO = 1e6
QUALITY_COLUMNS = ("file", "row", "symbol", "date", "reason", "detail")
_ENDED = (OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED)


def write_run(
    directory: Path, recorder: Recorder, summary: Summary, quarantined: Mapping[str, Sequence[Any]],
    attribution: Attribution | None = None, *, positions: Rows | None = None, stops: Rows | None = None,
) -> list[Path]:  # fmt: skip
    """Write every CSV file of a run under `directory`; return their paths. `attribution`: None where it
    is not known, then there are no files by sector and symbol. positions: those still open; stops: every
    change of a stop, None where stops do not move."""
    dates = Dates(recorder.equity().ts)
    tables: dict[str, Table] = {
        "trades/signals.csv": signals_table(recorder, dates),
        "trades/orders.csv": orders_table(recorder, dates),
        "trades/fills.csv": fills_table(recorder, dates),
        "trades/cashflows.csv": cashflows_table(recorder, dates),
        "trades/rejections.csv": rejections_table(recorder, dates),
        "trades/trades.csv": trades_table(recorder, dates),
        "combined/equity_curve.csv": equity_table(recorder, dates),
        "combined/summary.csv": metrics_table(summary.combined_rows()),
        "performance/metrics.csv": metrics_table(summary.account_rows()),
        "performance/conventions.csv": conventions_table(summary),
        "performance/attribution.csv": attribution_table(summary, attribution),
        "data_quality.csv": quality_table(quarantined),
    }
    if len(recorder.rows(RiskEvents)):
        tables["trades/risk_events.csv"] = risk_table(recorder, dates)
    if positions is not None:
        tables["trades/open_positions.csv"] = positions_table(recorder, dates, positions)
    if stops is not None:
        tables["trades/stops.csv"] = stops_table(recorder, dates, stops)
    if attribution is not None:
        tables["performance/attribution_sector.csv"] = parts_table(attribution, "sector")
        tables["performance/attribution_symbol.csv"] = parts_table(attribution, "symbol", "sector")
    for name in SOMETIMES:
        if name not in tables:
            (directory / name).unlink(missing_ok=True)  # Of an earlier run into the same folder
    for name, (header, columns) in tables.items():
        write_csv(directory / name, header, columns)
    return [directory / name for name in tables]


def signals_table(recorder: Recorder, dates: Dates) -> Table:
    rows = recorder.rows(Signals)
    stop = np.where(
        np.isnan(rows["structure_stop"]), rows["price_ref"] - rows["stop_distance"], rows["structure_stop"]
    )
    return ("date", "symbol", "strategy", "side", "confidence", "price_ref", "stop", "details"), (
        *_who(recorder, dates, rows),
        floats(rows["confidence"]), floats(rows["price_ref"]), floats(stop), _details(recorder, rows),
    )  # fmt: skip


def orders_table(recorder: Recorder, dates: Dates) -> Table:
    """One row per order with its last status, dated by its decision. `reason`: why it was made, or why it
    ended without having been filled in full: one cut to what cash bought is filled, for cash_at_fill."""
    changes = recorder.rows(Orders)
    _, from_the_end = np.unique(changes["order_id"][::-1], return_index=True)
    rows = changes[len(changes) - 1 - from_the_end]
    ended = np.isin(rows["status"], [int(status) for status in _ENDED]) & (rows["end_reason"] != 0)
    reason = np.where(ended, rows["end_reason"], rows["reason"])
    header = ("date", "order_id", "symbol", "strategy", "side", "quantity", "type", "reason", "status")
    return header, (
        dates(rows["ts_decided"]), integers(rows["order_id"]),
        chosen(recorder.universe.symbols, rows["symbol"]), chosen(recorder.strategy_names, rows["strategy"]),
        _names(Side, rows["side"], str.upper), shares(rows["quantity"], recorder.fractional_shares),
        _names(OrderType, rows["type"]), _names(Reason, reason), _names(OrderStatus, rows["status"]),
    )  # fmt: skip


def fills_table(recorder: Recorder, dates: Dates) -> Table:
    rows = recorder.rows(Fills)
    date, symbol, strategy, side = _who(recorder, dates, rows)
    header = ("date", "order_id", "symbol", "strategy", "side", "quantity", "price", "fee", "reason")
    return header, (
        date, integers(rows["order_id"]), symbol, strategy, side,
        shares(rows["quantity"], recorder.fractional_shares), floats(rows["price"]),
        money(rows["fee_micro"]), _names(Reason, rows["reason"]),
    )  # fmt: skip


def cashflows_table(recorder: Recorder, dates: Dates) -> Table:
    rows = recorder.rows(CashFlows)
    return ("date", "symbol", "strategy", "kind", "quantity", "per_share", "amount"), (
        dates(rows["ts"]), chosen(recorder.universe.symbols, rows["symbol"]),
        chosen(recorder.strategy_names, rows["strategy"]), _names(CashKind, rows["kind"]),
        shares(rows["quantity"], recorder.fractional_shares), floats(rows["per_share"]),
        money(rows["amount_micro"]),
    )  # fmt: skip


def rejections_table(recorder: Recorder, dates: Dates) -> Table:
    rows = recorder.rows(Rejections)
    return ("date", "symbol", "strategy", "side", "reason", "detail"), (
        *_who(recorder, dates, rows), _names(Reason, rows["reason"]),
        list(map(_refusal, rows["value"].tolist(), rows["limit"].tolist())),
    )  # fmt: skip


def trades_table(recorder: Recorder, dates: Dates) -> Table:
    rows = recorder.rows(Trades)
    header = (
        "entry_date", "exit_date", "symbol", "strategy", "quantity", "entry_price", "exit_price", "pnl",
        "return", "r_multiple", "bars_held", "mae", "mfe", "exit_reason", "fees", "income", "initial_stop",
    )  # fmt: skip
    return header, (
        dates(rows["ts_entry"]), dates(rows["ts_exit"]), chosen(recorder.universe.symbols, rows["symbol"]),
        chosen(recorder.strategy_names, rows["strategy"]),
        shares(rows["quantity"], recorder.fractional_shares),
        floats(rows["entry_price"]), floats(rows["exit_price"]), money(rows["pnl_micro"]),
        floats(rows["ret"]),
        floats(rows["r_multiple"]), integers(rows["bars_held"]), floats(rows["mae"]), floats(rows["mfe"]),
        _names(Reason, rows["reason"]), money(rows["fees_micro"]), money(rows["income_micro"]),
        floats(rows["initial_stop"]),
    )  # fmt: skip


def positions_table(recorder: Recorder, dates: Dates, rows: Rows) -> Table:
    """rows: `brokers.desk.POSITION_DTYPE`. profit: on the shares still held, before the costs of selling
    them; r_multiple: over entry less initial stop."""
    units = MICRO if recorder.fractional_shares else 1
    gain = rows["mark"] - rows["entry_price"]
    risked = rows["entry_price"] - rows["initial_stop"]
    with np.errstate(divide="ignore", invalid="ignore"):
        r_multiple = np.where(risked > 0, gain / risked, np.nan)
    header = (
        "entry_date", "symbol", "strategy", "account", "quantity", "entry_price", "mark", "value", "profit",
        "return", "r_multiple", "bars_held", "initial_stop", "stop",
    )  # fmt: skip
    return header, (
        dates(rows["ts_entry"]), chosen(recorder.universe.symbols, rows["symbol"]),
        chosen(recorder.strategy_names, rows["strategy"]), chosen(recorder.accounts, rows["account"]),
        shares(rows["quantity"], recorder.fractional_shares), floats(rows["entry_price"]),
        floats(rows["mark"]), floats(rows["quantity"] / units * rows["mark"]),
        floats(rows["quantity"] / units * gain), floats(gain / rows["entry_price"]), floats(r_multiple),
        integers(rows["bars_held"]), floats(rows["initial_stop"]), floats(rows["stop"]),
    )  # fmt: skip


def stops_table(recorder: Recorder, dates: Dates, rows: Rows) -> Table:
    """rows: `STOP_DTYPE`. A stop is in force from the session after its date."""
    return ("date", "symbol", "strategy", "entry_date", "stop"), (
        dates(rows["ts"]), chosen(recorder.universe.symbols, rows["symbol"]),
        chosen(recorder.strategy_names, rows["strategy"]), dates(rows["ts_entry"]), floats(rows["stop"]),
    )  # fmt: skip


def risk_table(recorder: Recorder, dates: Dates) -> Table:
    rows = recorder.rows(RiskEvents)
    return ("date", "account", "kind", "value", "limit"), (
        dates(rows["ts"]), chosen(recorder.accounts, rows["account"]), _names(RiskKind, rows["kind"]),
        floats(rows["value"]), floats(rows["limit"]),
    )  # fmt: skip


def equity_table(recorder: Recorder, dates: Dates) -> Table:
    """All accounts together, then the equity of each. exposure: value of the positions / equity."""
    curve = recorder.equity()
    equity, gross = curve.equity.sum(axis=1), curve.gross.sum(axis=1)
    exposure = np.full(len(equity), np.nan)
    np.divide(gross, equity, out=exposure, where=equity != 0)
    return ("date", "equity", "cash", "exposure", *text(recorder.accounts)), (
        dates(curve.ts), money(equity), money(curve.cash.sum(axis=1)), floats(exposure),
        *(money(curve.equity[:, i]) for i in range(len(recorder.accounts))),
    )  # fmt: skip


def metrics_table(rows: Mapping[str, Performance]) -> Table:
    figures = np.array([[getattr(row, name) for name in METRICS] for row in rows.values()])
    figures = figures.reshape(len(rows), len(METRICS))
    return ("strategy", *METRICS), (text(rows), *(floats(figures[:, i]) for i in range(len(METRICS))))


def conventions_table(summary: Summary) -> Table:
    """What each column of metrics.csv means, and why a cell of it is empty or what to know beside it."""
    rows = {**summary.account_rows(), **summary.combined_rows()}
    remarks = [
        "; ".join(
            f"{name}: {remark}"
            for name, row in rows.items()
            if (remark := row.all[metric].reason or row.all[metric].flag)
        )
        for metric in METRICS
    ]
    return ("metric", "title", "unit", "convention", "remarks"), (
        text(METRICS), text(d.title for d in DEFINITIONS), text(d.unit for d in DEFINITIONS),
        text(d.convention for d in DEFINITIONS), text(remarks),
    )  # fmt: skip


def attribution_table(summary: Summary, attribution: Attribution | None) -> Table:
    """contribution: profit over the capital of all; linked: Carino. Strategies of a blend have no capital
    of their own: no return, no weight."""
    header = ("strategy", "return", "weight", "contribution")
    own = {part.strategy: part for part in summary.attribution}
    if attribution is None:
        rows = [[*part[1:], np.nan, np.nan] for part in own.values()]
        names = list(own)
    else:
        earned = {part.key[0]: part for part in attribution.by("strategy")}
        # Sleeves first, in their order; one that never traded earned nothing
        names = [*(name for name in own if name != BLEND), *(name for name in earned if name not in own)]
        names += [BLEND] if BLEND in earned else []
        rows = [_contribution(own.get(name), earned.get(name)) for name in names]
    table = np.array(rows, np.float64).reshape(-1, 5)
    return (*header, "linked", "profit"), (text(names), *(floats(table[:, i]) for i in range(5)))


def _contribution(own: Contribution | None, earned: Part | None) -> list[float]:
    total_return, weight = (own.total_return, own.weight) if own is not None else (np.nan, np.nan)
    if earned is None:
        return [total_return, weight, 0.0, 0.0, 0.0]
    linked = np.nan if earned.linked is None else earned.linked
    # A sleeve's own return says it to the last digit; the sum over its lots to the last but one
    return [
        total_return,
        weight,
        earned.contribution if own is None or own.strategy == BLEND else own.contribution,
        linked,
        earned.profit_usd,
    ]


def parts_table(attribution: Attribution, *names: str) -> Table:
    """One row per group: what it earned, over the capital, and linked."""
    parts = attribution.by(*names)
    figures = np.array(
        [[p.contribution, np.nan if p.linked is None else p.linked, p.profit_usd] for p in parts]
    )
    figures = figures.reshape(-1, 3)
    return (*names, "contribution", "linked", "profit"), (
        *(text(part.key[i] for part in parts) for i in range(len(names))),
        *(floats(figures[:, i]) for i in range(3)),
    )


def quality_table(quarantined: Mapping[str, Sequence[Any]]) -> Table:
    """`quarantined`: the columns of `feeds.quality.Quality.table`, or nothing."""
    columns = [quarantined.get(name, ()) for name in QUALITY_COLUMNS]
    return QUALITY_COLUMNS, [
        [str(value) for value in column] if name == "row" else text(column)
        for name, column in zip(QUALITY_COLUMNS, columns, strict=True)
    ]


def _who(recorder: Recorder, dates: Dates, rows: Rows) -> tuple[Column, Column, Column, Column]:
    return (
        dates(rows["ts"]), chosen(recorder.universe.symbols, rows["symbol"]),
        chosen(recorder.strategy_names, rows["strategy"]), _names(Side, rows["side"], str.upper),
    )  # fmt: skip


def _names(kind: type[IntEnum], values: NDArray[np.int64], case: Callable[[str], str] = str.lower) -> Column:
    names = {int(member): case(member.name) for member in kind}
    return [names[value] for value in values.tolist()]


def _refusal(value: float, limit: float) -> str:
    """Say what was too much, or too little. NaN: the reason says it all."""
    if math.isnan(value):
        return "" if math.isnan(limit) else f"limit {limit:.10g}"
    if math.isnan(limit):
        return f"value {value:.10g}"
    sign = ">" if value > limit else "<" if value < limit else "="
    return f"value {value:.10g} {sign} limit {limit:.10g}"


def _details(recorder: Recorder, rows: Rows) -> Column:
    """Return the measurements of each signal as a JSON object, in a CSV cell."""
    cells = [""] * len(rows)
    for index in np.unique(rows["strategy"]).tolist():
        at = np.flatnonzero(rows["strategy"] == index)
        # Doubled quotes: the object is the content of a quoted cell.
        names = [json.dumps(name).replace('"', '""') for name in recorder.measurements[index][:N_DETAILS]]
        values = floats(rows["details"][at, : len(names)])
        members = [
            [f"{name}:{value}" if value and value[-1] != "f" else "" for value in values[i :: len(names)]]
            for i, name in enumerate(names)
        ]
        objects = zip(*members, strict=True) if names else [()] * len(at)
        for i, present in zip(at.tolist(), objects, strict=True):
            cells[i] = '"{' + ",".join(filter(None, present)) + '}"'
    return cells
