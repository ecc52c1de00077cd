"""A stored portfolio: an equity curve and positions from CSV files, as the original tool and others write.

Columns are found by name without case, spaces and punctuation, with comma, semicolon or tab between them. A
value that cannot be read is an error that names file and line: half a portfolio cannot be judged.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import NamedTuple

from engine.errors import DataError
from risk.sectors import sector_key

BYTES_MAX = 64 * 1024 * 1024
CASH = ("CASH", "USD", "$CASH")

_EQUITY_NAMES: dict[str, tuple[str, ...]] = {
    "date": ("date", "timestamp", "datetime", "time", "session", "asof", "day", ""),
    "equity": (
        "equity", "equityusd", "equitycurve", "portfoliovalue", "totalequity", "totalvalue", "accountvalue",
        "networth", "nav", "value", "balance", "combined", "close",
    ),
    "flow": ("flow", "netflow", "cashflow", "externalflow", "flows", "deposits", "netdeposits"),
}  # fmt: skip
_POSITION_NAMES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "instrument", "security"),
    "sector": ("sector", "gicssector"),
    "industry": ("industry", "subindustry"),
    "value": ("marketvalue", "positionvalue", "currentvalue", "value", "notional", "exposure", "valueusd"),
    "weight": ("weight", "allocation", "portfolioweight"),
    "shares": ("shares", "quantity", "qty", "units", "sharecount"),
    "price": ("price", "lastprice", "last", "currentprice", "mark", "close", "marketprice"),
    "cost": ("cost", "costbasis", "entryprice", "averagecost", "avgcost", "averageprice", "buyprice"),
    "stop": ("stop", "stoploss", "stopprice"),
}
_WORTH = (("value",), ("weight",), ("shares", "price"), ("shares", "cost"))


class EquityRow(NamedTuple):
    session: str  # 2024-03-10
    equity_usd: float
    flow_usd: float  # paid in up to this session, negative: out


class StoredPosition(NamedTuple):
    symbol: str
    sector: str  # as limits name it
    shares: float  # 1 where only a value is known
    price_usd: float
    cost_usd: float  # of all shares, NaN where unknown
    stop_usd: float | None


class StoredPositions(NamedTuple):
    positions: tuple[StoredPosition, ...]
    remarks: tuple[str, ...]


def read_equity(path: Path) -> tuple[EquityRow, ...]:
    """Return the curve in order of date. Raises DataError for what is missing, unreadable or there twice."""
    header, lines = _read(path)
    columns = _columns(header, _EQUITY_NAMES, path, needed=("date", "equity"))
    rows = []
    for number, cells in lines:
        where = f"{path}:{number}"
        session = _session(cells[columns["date"]], where)
        equity_usd = _number(cells[columns["equity"]], f"{where}: {header[columns['equity']]}")
        flow = cells[columns["flow"]] if "flow" in columns else ""
        flow_usd = _number(flow, f"{where}: {header[columns['flow']]}") if flow else 0.0
        rows.append(EquityRow(session, equity_usd, flow_usd))
    if not rows:
        raise DataError(f"{path}: holds no equity, only a header")
    rows.sort()
    for before, row in pairwise(rows):
        if before.session == row.session:
            raise DataError(f"{path}: {row.session} is there twice; one value per day")
    return tuple(rows)


def read_positions(path: Path, equity_usd: float) -> StoredPositions:
    """Return positions in order of symbol; `equity_usd`: what weights are of. Lines of cash are left out.

    The value of a position is its market value, else shares x price, else weight x equity, else its cost.
    """
    header, lines = _read(path)
    columns = _columns(header, _POSITION_NAMES, path, needed=("symbol", "sector"))
    if not any(set(worth) <= set(columns) for worth in _WORTH):
        raise DataError(
            f"{path}: no column tells what a position is worth: market_value, or shares and price (or cost),"
            f" or weight; its columns are {', '.join(header)}"
        )
    found: dict[str, StoredPosition] = {}
    at_cost = 0
    for number, cells in lines:
        where = f"{path}:{number}"
        cell = {name: cells[i] for name, i in columns.items()}
        symbol = cell["symbol"].upper()
        if not symbol:
            raise DataError(f"{where}: has no symbol")
        if symbol in CASH:
            continue
        if symbol in found:
            raise DataError(f"{where}: {symbol} is there twice; one line per symbol")
        position, by_cost = _position(symbol, cell, where, equity_usd)
        at_cost += by_cost
        found[symbol] = position
    remarks = [f"{at_cost} of {len(found)} positions have no price and are valued at cost"] if at_cost else []
    unknown = sum(one.sector == "other" for one in found.values())
    if unknown:
        remarks.append(f"{unknown} of {len(found)} positions have no sector and count as other")
    return StoredPositions(tuple(found[symbol] for symbol in sorted(found)), tuple(remarks))


def _position(
    symbol: str, cell: Mapping[str, str], where: str, equity_usd: float
) -> tuple[StoredPosition, bool]:
    def amount(name: str) -> float | None:
        return _number(cell[name], f"{where}: {symbol}: {name}") if cell.get(name) else None

    value, weight, shares, price, cost, stop = (
        amount(name) for name in ("value", "weight", "shares", "price", "cost", "stop")
    )
    if weight is not None and cell["weight"].endswith("%"):
        weight /= 100
    elif weight is not None and abs(weight) > 1.5:
        raise DataError(f"{where}: {symbol}: weight must be a fraction of equity or end in %, was {weight:g}")
    by_cost = False
    if shares is not None and price is None and value is None and weight is None:
        price, by_cost = cost, True
    if value is None and shares is not None and price is not None:
        value = shares * price
    if value is None and weight is not None:
        value = weight * equity_usd
    if value is None:
        raise DataError(f"{where}: {symbol}: nothing tells what it is worth")
    quantity = shares or 1.0
    sector = sector_key(cell["sector"], cell.get("industry", ""))
    cost_usd = nan if cost is None or shares is None else cost * shares
    return StoredPosition(symbol, sector, quantity, value / quantity, cost_usd, stop), by_cost


def _read(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header and (line number, cells) of each line after it that is not empty."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise DataError(f"{path}: is larger than {BYTES_MAX >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [
            row
            for row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), start=1)
            if any(row[1])
        ]
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from None
    if not rows:
        raise DataError(f"{path}: is empty")
    header = [name.strip() for name in rows[0][1]]
    width = len(header)
    return header, ((n, [c.strip() for c in [*row, *[""] * width][:width]]) for n, row in rows[1:])


def _columns(
    header: Sequence[str], names: Mapping[str, Sequence[str]], path: Path, *, needed: Sequence[str]
) -> dict[str, int]:
    """Return where each kind of column is: of several candidates the one named first in `names`."""
    plain = [re.sub(r"[^a-z]", "", name.lower()) for name in header]
    found = {
        kind: plain.index(next(name for name in known if name in plain))
        for kind, known in names.items()
        if any(name in plain for name in known)
    }
    missing = [kind for kind in needed if kind not in found]
    if missing:
        raise DataError(
            f"{path}: no column for {' and '.join(missing)}"
            f" (known names: {'; '.join(', '.join(n for n in names[kind][:4] if n) for kind in missing)});"
            f" its columns are {', '.join(header)}"
        )
    return found


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


def _number(text: str, where: str) -> float:
    plain = text.replace(",", "").replace("$", "").removesuffix("%").strip()
    if plain.startswith("(") and plain.endswith(")"):
        plain = f"-{plain[1:-1]}"
    try:
        value = float(plain)
    except ValueError:
        value = nan
    if not math.isfinite(value) or abs(value) > 1e12:
        raise DataError(f"{where} must be a number, was {text!r}")
    return value
