"""Positions from a CSV file, as the original tool, brokers and others write them: one reader for all who ask.

`health` wants to know what each position is worth now (`read_valued`), the live monitor how many shares there
are (`read_held`): it has prices of its own. A line with the symbol CASH is money, a line of totals
is passed over. Amounts are dollars: a line of another currency is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import copysign, nan
from pathlib import Path
from typing import NamedTuple

from engine.errors import DataError
from monitors.csv_table import Line, Table, read_table
from risk.sectors import sector_key

CASH = "CASH"
_CASH_NAMES = (
    "CASH", "USD", "$CASH", "CASH_USD", "CASH & CASH INVESTMENTS", "CASH AND CASH INVESTMENTS",
    "PENDING ACTIVITY",
)  # fmt: skip
_CORE = "**"  # Fidelity's mark on the money market fund that an account's cash is in
_DOLLARS = ("", "USD", "$", "US DOLLAR")
_TOTALS = re.compile(r"((GRAND|ACCOUNT|PORTFOLIO|POSITIONS?) )?(SUB)?TOTALS?:?")
_KINDS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "instrument", "security"),
    "sector": ("sector", "gicssector"),
    "industry": ("industry", "subindustry"),
    "value": (
        "marketvalue", "mktvalmarketvalue", "positionvalue", "currentvalue", "value", "notional", "exposure",
        "valueusd",
    ),
    "weight": ("weight", "allocation", "portfolioweight"),
    "shares": ("shares", "quantity", "qty", "qtyquantity", "units", "sharecount"),
    "price": (
        "price", "lastprice", "last", "currentprice", "mark", "close", "marketprice", "markprice",
        "closeprice", "shareprice",
    ),
    "cost": (
        "costpershare", "costbasispershare", "costbasisprice", "costprice", "averagecost", "averagecostbasis",
        "avgcost", "averageprice", "avgprice", "entryprice", "buyprice", "pricepaid", "cost",
    ),
    "total_cost": ("totalcost", "costbasistotal", "costbasismoney", "costbasis", "bookvalue"),
    "currency": ("currency", "currencyprimary", "currencycode", "ccy"),
    "stop": ("stop", "stoploss", "stopprice"),
}  # fmt: skip
_COSTS = (("shares", "cost"), ("shares", "total_cost"))
_AMOUNTS = ("shares", "value", "weight")
_WORTH = (("value",), ("weight",), ("shares", "price"))


class Held(NamedTuple):
    """What is held of a symbol; of CASH the shares are dollars."""

    symbol: str
    shares: float
    cost_usd: float  # of all shares; NaN where unknown
    sector: str  # as limits name it; "" where the file does not say


class StoredPosition(NamedTuple):
    symbol: str
    sector: str  # as limits name it
    shares: float  # 1 where only a value is known
    price_usd: float  # NaN where unknown
    cost_usd: float  # of all shares, NaN where unknown
    stop_usd: float | None


class StoredPositions(NamedTuple):
    positions: tuple[StoredPosition, ...]
    remarks: tuple[str, ...]


def read_held(path: Path) -> tuple[Held, ...]:
    """Return what is held, by symbol. Raises DataError for what is missing, unreadable or there twice."""
    found, cash_usd = [], 0.0
    for symbol, line in (lines := list(_lines(read_table(path, _KINDS, needed=("symbol", "shares"))))):
        if symbol == CASH:
            cash_usd += line.number("value" if line.is_unknown("shares") and line.text("value") else "shares")
            continue
        shares = line.number("shares", symbol)
        sector, industry = line.text("sector"), line.text("industry")
        named = sector_key(sector, industry) if sector or industry else ""
        found.append(Held(symbol, shares, _cost_usd(line, symbol, shares), named))
    if len(found) < len(lines):
        found.append(Held(CASH, cash_usd, nan, ""))
    return tuple(sorted(found))


def read_valued(path: Path, equity_usd: float) -> StoredPositions:
    """Return positions in order of symbol; `equity_usd`: what weights are of. Lines of cash are left out.

    The value of a position is its market value, else shares x price, else weight x equity. A file that has
    none of these columns is valued at cost, which is remarked; where it has them and a cell is empty, or a
    price is not above 0, the price is unknown. Raises DataError as `read_held` does.
    """
    table = read_table(path, _KINDS, needed=("symbol", "sector"))
    if not any(set(worth) <= set(table.names) for worth in (*_WORTH, *_COSTS)):
        raise DataError(
            f"{path}: no column tells what a position is worth: market_value, or shares and price (or cost),"
            f" or weight; its columns are {', '.join(table.names.values())}"
        )
    by_cost = not any(set(worth) <= set(table.names) for worth in _WORTH)
    found = [
        _valued(symbol, line, equity_usd, by_cost=by_cost) for symbol, line in _lines(table) if symbol != CASH
    ]
    remarks = []
    if by_cost and found:
        remarks.append(f"{len(found)} of {len(found)} positions have no price and are valued at cost")
    unknown = sum(one.sector == "other" for one in found)
    if unknown:
        remarks.append(f"{unknown} of {len(found)} positions have no sector and count as other")
    return StoredPositions(tuple(sorted(found, key=lambda one: one.symbol)), tuple(remarks))


def _lines(table: Table) -> Iterator[tuple[str, Line]]:
    """Yield the lines with their symbols, at least one."""
    seen: set[str] = set()
    for line in table.lines:
        symbol = line.text("symbol").upper()
        if _TOTALS.fullmatch(symbol):
            continue
        if not symbol:
            if all(line.is_unknown(kind) for kind in _AMOUNTS):
                continue  # A remark below the table
            raise DataError(f"{line.where}: has no symbol")
        if line.text("currency").upper() not in _DOLLARS:
            raise DataError(
                f"{line.where}: {symbol}: {line.names['currency']} must be USD, was {line.text('currency')!r}"
            )
        if symbol in seen:
            raise DataError(f"{line.where}: {symbol} is there twice; one line per symbol")
        seen.add(symbol)
        yield CASH if symbol in _CASH_NAMES or symbol.endswith(_CORE) else symbol, line
    if not seen:
        raise DataError(f"{table.path}: holds no positions, only a header; all in cash is a line with CASH")


def _valued(symbol: str, line: Line, equity_usd: float, *, by_cost: bool) -> StoredPosition:
    def amount(kind: str) -> float | None:
        return None if line.is_unknown(kind) else line.number(kind, symbol)

    shares, price, value = amount("shares"), amount("price"), amount("value")
    weight = None if line.is_unknown("weight") else line.fraction("weight", symbol)
    if weight is not None and abs(weight) > 1.5 and not line.text("weight").endswith("%"):
        raise DataError(
            f"{line.where}: {symbol}: weight must be a fraction of equity or end in %, was {weight:g}"
        )
    cost_usd = nan if shares is None else _cost_usd(line, symbol, shares)
    if by_cost and shares is not None:
        price = cost_usd / shares if shares else 1.0  # Of nothing
    if value is None and shares is not None and price is not None:
        value = shares * price if price > 0.0 else nan
    if value is None:
        value = weight * equity_usd if weight is not None else nan
    quantity = shares or copysign(1.0, value)
    price_usd = value / quantity
    if shares and not price_usd > 0.0:
        price_usd = nan  # Something is held, and it cannot be worth nothing for certain
    sector = sector_key(line.text("sector"), line.text("industry"))
    return StoredPosition(symbol, sector, quantity, price_usd, cost_usd, amount("stop"))


def _cost_usd(line: Line, symbol: str, shares: float) -> float:
    if not line.is_unknown("cost"):
        return line.number("cost", symbol) * shares
    return nan if line.is_unknown("total_cost") else line.number("total_cost", symbol)
