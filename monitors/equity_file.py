"""An equity curve from a CSV file, as the original tool, this one and others write it."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from engine.errors import DataError
from monitors.csv_table import read_table

_KINDS: dict[str, tuple[str, ...]] = {
    "date": ("date", "timestamp", "datetime", "time", "session", "asof", "day", ""),
    "equity": (
        "equity", "equityusd", "equitycurve", "portfoliovalue", "totalequity", "totalvalue", "accountvalue",
        "networth", "nav", "value", "balance", "combined", "close",
    ),
    "flow": ("flow", "netflow", "cashflow", "externalflow", "flows", "deposits", "netdeposits"),
}  # fmt: skip


class EquityRow(NamedTuple):
    session: str  # 2024-03-10
    equity_usd: float
    flow_usd: float  # paid in up to this session, negative: out


def read_equity(path: Path) -> tuple[EquityRow, ...]:
    """Return the curve in order of date. Raises DataError for what is missing, unreadable or there twice."""
    rows = []
    for line in read_table(path, _KINDS, needed=("date", "equity")).lines:
        session = _session(line.text("date"), line.where)
        flow_usd = line.number("flow") if line.text("flow") else 0.0
        rows.append(EquityRow(session, line.number("equity"), flow_usd))
    if not rows:
        raise DataError(f"{path}: holds no equity, only a header")
    rows.sort()
    for before, row in pairwise(rows):
        if before.session == row.session:
            raise DataError(f"{path}: {row.session} is there twice; one value per day")
    return tuple(rows)


def _session(text: str, where: str) -> str:
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        pass
    for shape in ("%m/%d/%Y", "%Y%m%d", "%d.%m.%Y", "%Y/%m/%d"):
        try:
            return datetime.strptime(text, shape).date().isoformat()  # noqa: DTZ007
        except ValueError:
            continue
    raise DataError(f"{where}: not a date: {text!r}; expected 2024-03-10")
