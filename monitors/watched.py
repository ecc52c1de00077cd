"""A portfolio that is watched and not traded: quantities and costs of a file, marked at the closes.

It takes the place of the desk in the loop, so that strategies go on signalling; nothing is done about it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.desk import MICRO
from engine.errors import DataError
from engine.events import (
    CASHFLOW_DTYPE,
    FILL_DTYPE,
    ORDER_DTYPE,
    REJECTION_DTYPE,
    RISK_DTYPE,
    SIGNAL_DTYPE,
    TRADE_DTYPE,
    Reason,
)
from engine.loop import DeskResult
from engine.slab import ActionKind, Bars, Tape, Universe
from monitors.book import Sessions
from monitors.view import Account, Positions
from risk.sectors import sector_key

ACCOUNT = "watched"
COLUMNS = "symbol, shares, cost, sector"
CASH = "CASH"  # a line of the file with this symbol: shares are dollars


class Held(NamedTuple):
    """One line of a positions file."""

    symbol: str
    shares: float
    cost_usd: float  # of all shares; NaN where unknown
    sector: str


def read_positions(path: Path) -> tuple[Held, ...]:
    """Return the lines of a CSV with the columns symbol (or ticker), shares (or quantity), and maybe cost
    (per share) and sector. Raises DataError naming the line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"--positions {path}: {getattr(error, 'strerror', None) or error}") from None
    held: dict[str, Held] = {}
    for number, row in enumerate(rows, start=2):
        cells = {str(name).strip().lower(): str(cell or "").strip() for name, cell in row.items()}
        symbol = _cell(cells, "symbol", "ticker").upper()
        if not symbol:
            raise DataError(f"--positions {path}:{number}: has no symbol; columns are {COLUMNS}")
        where = f"--positions {path}:{number}: {symbol}"
        if symbol in held:
            raise DataError(f"{where} is there twice; one line per symbol")
        shares = _number(_cell(cells, "shares", "quantity"), f"{where}: shares")
        cost = _cell(cells, "cost", "price", "average_cost", "avg_cost")
        cost_usd = _number(cost, f"{where}: cost") * shares if cost else math.nan
        held[symbol] = Held(symbol, shares, cost_usd, _cell(cells, "sector"))
    if not held:
        raise DataError(f"--positions {path}: holds no positions; columns are {COLUMNS}")
    return tuple(held[symbol] for symbol in sorted(held))


class WatchedDesk:
    """Desk and book of a watched portfolio."""

    accounts = (ACCOUNT,)

    def __init__(self, universe: Universe, held: Sequence[Held]) -> None:
        """Raises DataError for a symbol that is not in the universe."""
        column = {symbol: s for s, symbol in enumerate(universe.symbols)}
        missing = [one.symbol for one in held if one.symbol != CASH and one.symbol not in column]
        if missing:
            raise DataError(f"--positions: the feed has no prices of {', '.join(missing[:5])}")
        self._cash_micro = sum(round(one.shares * MICRO) for one in held if one.symbol == CASH)
        self._held = [one for one in held if one.symbol != CASH]
        self._columns = np.array([column[one.symbol] for one in self._held], np.int64)
        self._sectors = [
            sector_key(one.sector or universe.sectors[s], "" if one.sector else universe.industries[s])
            for one, s in zip(self._held, self._columns.tolist(), strict=True)
        ]
        self._shares = np.array([one.shares for one in self._held], np.float64)
        self._cost_usd = np.array([one.cost_usd for one in self._held], np.float64)
        self._mark = np.full(len(self._held), np.nan)
        self._income_micro = np.zeros(len(self._held), np.int64)

    def process(
        self, tape: Tape, market: NDArray[np.int64], signals: Sequence[NDArray[np.void]]
    ) -> DeskResult:
        """Mark the portfolio at each close; splits change the shares, dividends come in as cash."""
        equity = np.zeros((len(tape.ts), 1, 3), np.int64)
        for t in range(len(tape.ts)):
            for action in tape.actions[tape.actions["row"] == t]:
                self._apply(action)
            close = tape.close[t, self._columns]
            fresh = tape.status[t, self._columns] > 0
            self._mark[fresh] = close[fresh]
            cash, total = self.money_micro()
            equity[t, 0] = cash, (total or cash) - cash, total or cash
        return DeskResult._make([*(np.empty(0, dtype) for dtype in _KINDS), equity])

    def _apply(self, action: np.void) -> None:
        at = np.flatnonzero(self._columns == action["symbol"])
        if action["kind"] == ActionKind.SPLIT:
            self._shares[at] *= action["value"]
            self._mark[at] /= action["value"]
        elif action["kind"] == ActionKind.DIVIDEND:
            self._income_micro[at] += np.rint(self._shares[at] * action["value"] * MICRO).astype(np.int64)

    def take(self, bars: Bars, events: Iterable[object]) -> None:
        """Nothing: `process` has seen the row."""

    def holdings(self, sessions: Sessions) -> tuple[Positions, Mapping[str, int]]:
        """Return what is held, by symbol, and what each has earned."""
        n = len(self._held)
        positions = Positions(
            [one.symbol for one in self._held], [""] * n, self._sectors,
            self._shares.copy(), self._cost_usd.copy(), self._mark.copy(),
            np.full(n, np.nan), np.zeros(n, np.bool_),
            sessions.missed()[self._columns], sessions.last_ts_ns[self._columns],
        )  # fmt: skip
        return positions, self.profits_micro()

    def account_states(self) -> tuple[Account, ...]:
        return ()

    def money_micro(self) -> tuple[int, int | None]:
        cash = self._cash_micro + int(self._income_micro.sum())
        value = self._shares * self._mark * MICRO
        if np.isnan(value).any():
            return cash, None
        return cash, cash + int(np.rint(value).sum())

    def profits_micro(self) -> dict[str, int]:
        """Return value and income less cost of each position with a known cost and mark."""
        profit = (self._shares * self._mark - self._cost_usd) * MICRO + self._income_micro
        return {
            one.symbol: round(amount)
            for one, amount in zip(self._held, profit.tolist(), strict=True)
            if amount == amount
        }

    def bar_entries(self, reason: Reason) -> None:
        """Nothing is ever bought here."""

    def state(self) -> dict[str, Any]:
        return {
            "shares": self._shares.copy(),
            "mark": self._mark.copy(),
            "income_micro": self._income_micro.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._shares[:], self._mark[:] = state["shares"], state["mark"]
        self._income_micro[:] = state["income_micro"]


_KINDS = (
    ORDER_DTYPE, FILL_DTYPE, REJECTION_DTYPE, CASHFLOW_DTYPE, TRADE_DTYPE, RISK_DTYPE, SIGNAL_DTYPE,
)  # fmt: skip


def _cell(cells: Mapping[str, str], *names: str) -> str:
    return next((cells[name] for name in names if cells.get(name)), "")


def _number(text: str, where: str) -> float:
    try:
        number = float(text.replace(",", ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where} must be a number, was {text!r}")
    return number
