"""A portfolio that is watched and not traded: quantities and costs of a file, marked at the closes.

It takes the place of the desk in the loop, so that strategies go on signalling; nothing is done about it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.desk import MICRO
from engine.errors import DataError
from engine.events import Equity, Reason
from engine.held import VALUE_MICRO_MAX
from engine.slab import ActionKind, Bars, Tape, Universe
from feeds.symbols import SymbolIndex
from monitors.book import Sessions, compiled_weigh
from monitors.positions_file import CASH, Held
from monitors.view import Account, Positions, Texts
from risk.sectors import sector_key

ACCOUNT = "watched"
SAME = 1e-9  # shares that differ by less are as many


class WatchedDesk:
    """Desk and book of a watched portfolio. Arrays have one entry per symbol of the universe.

    Its file may be changed by hand while it is watched. A line that changed is how things are now: the
    difference to what was held, at the newest close, has been paid in or out, and is neither profit nor loss.
    A line that did not change keeps what splits made of it, and cash that is not told anew its dividends.
    """

    accounts = (ACCOUNT,)

    def __init__(self, universe: Universe, held: Sequence[Held]) -> None:
        """Raises DataError for a symbol that is not in the universe, however its share class is written."""
        index = SymbolIndex(universe.symbols)
        by_column: dict[int, Held] = {}
        missing = []
        for one in held:
            if one.symbol == CASH:
                continue
            s = index.find(one.symbol)
            if s is None:
                missing.append(one.symbol)
            elif s in by_column:
                raise DataError(f"positions: {by_column[s].symbol} and {one.symbol} are one share")
            else:
                by_column[s] = one
        if missing:
            raise DataError(f"positions: the feed has no prices of {', '.join(missing[:5])}")
        self._symbols = universe.symbols
        self._sectors = [
            sector_key(*known) for known in zip(universe.sectors, universe.industries, strict=True)
        ]
        n = len(universe)
        self._told = np.zeros(n)  # shares, as the file has them
        self._told_cash_micro = sum(round(one.shares * MICRO) for one in held if one.symbol == CASH)
        self._cost_usd = np.full(n, math.nan)  # of all shares
        for s, one in by_column.items():
            self._told[s], self._cost_usd[s] = one.shares, one.cost_usd
            if one.sector:
                self._sectors[s] = sector_key(one.sector, "")
        self._shares = self._told.copy()
        self._cash_micro = self._told_cash_micro
        self._mark = np.full(n, math.nan)
        # What was paid for a symbol less what came out of it: its profit is its value less this
        self._paid_usd = np.where(self._told != 0.0, self._cost_usd, 0.0)
        self._is_unpriced = np.zeros(n, np.bool_)  # paid in at a price that the first bar will tell
        self._flow_micro = 0

    def process(
        self, tape: Tape, market: NDArray[np.int64], signals: Sequence[NDArray[np.void]]
    ) -> list[Equity]:
        """Mark the portfolio at each close; splits change the shares, dividends come in as cash."""
        equity = np.zeros((len(tape.ts), 1, 3), np.int64)
        for t in range(len(tape.ts)):
            for action in tape.actions[tape.actions["row"] == t]:
                self._apply(action)
            fresh = tape.status[t] > 0
            self._mark[fresh] = tape.close[t, fresh]
            for s in np.flatnonzero(self._is_unpriced & fresh).tolist():
                self._pay(s, self._shares[s])
                self._is_unpriced[s] = False
            cash, total = self.money_micro()
            equity[t, 0] = cash, (total or cash) - cash, total or cash
        return [Equity(tape.ts, equity)]

    def _apply(self, action: np.void) -> None:
        s, value = int(action["symbol"]), float(action["value"])
        match action["kind"]:
            case ActionKind.SPLIT:
                self._shares[s] *= value
                self._mark[s] /= value
            case ActionKind.DIVIDEND:
                income_micro = round(self._shares[s] * value * MICRO)
                self._cash_micro += income_micro
                self._paid_usd[s] -= income_micro / MICRO
            case ActionKind.RENAME:
                for column in (self._shares, self._paid_usd):
                    column[int(value)] += column[s]
                    column[s] = 0.0

    def _pay(self, s: int, shares: float) -> None:
        """Count shares that came, or left, at the mark as money paid in or out."""
        paid_usd = shares * self._mark[s]
        if not abs(paid_usd * MICRO) < VALUE_MICRO_MAX:
            return  # Beyond what can be counted: equity is unknown as well
        self._flow_micro += round(paid_usd * MICRO)
        self._paid_usd[s] += paid_usd

    def take(self, bars: Bars, events: Iterable[object]) -> None:
        """Nothing: `process` has seen the row."""

    def holdings(self, sessions: Sessions) -> tuple[Positions, Mapping[str, int]]:
        """Return what is held, by symbol, and what each has earned."""
        by_name = sorted(np.flatnonzero(self._shares).tolist(), key=self._symbols.__getitem__)
        held, n = np.array(by_name, np.int64), len(by_name)
        positions = Positions.of_columns(
            Texts(self._symbols, held), Texts(("",), np.zeros(n, np.int64)),
            Texts.of([self._sectors[s] for s in by_name]), self._shares[held], self._cost_usd[held],
            self._mark[held],
            np.full(n, np.nan), np.zeros(n, np.bool_),
            sessions.missed()[held], sessions.last_ts_ns[held], compiled_weigh,
        )  # fmt: skip
        return positions, self.profits_micro()

    def account_states(self) -> tuple[Account, ...]:
        return ()

    def money_micro(self) -> tuple[int, int | None]:
        held = self._shares != 0.0
        value = np.rint(self._shares[held] * self._mark[held] * MICRO).sum()
        if not abs(self._cash_micro + value) < VALUE_MICRO_MAX:
            return self._cash_micro, None
        return self._cash_micro, self._cash_micro + int(value)

    def flow_micro(self) -> int:
        return self._flow_micro

    def profits_micro(self) -> dict[str, int]:
        """Return what each symbol has earned since the file had it, where its cost and mark are known."""
        value = np.where(self._shares != 0.0, self._shares * self._mark, 0.0)
        profit = (value - self._paid_usd) * MICRO
        known = np.flatnonzero(
            (np.abs(profit) < VALUE_MICRO_MAX) & ((self._shares != 0.0) | (self._paid_usd != 0.0))
        )
        return {self._symbols[s]: round(profit[s]) for s in known.tolist()}

    def bar_entries(self, reason: Reason) -> None:
        """Nothing is ever bought here."""

    def state(self) -> dict[str, Any]:
        return {
            "told": self._told.copy(),
            "told_cash_micro": self._told_cash_micro,
            "shares": self._shares.copy(),
            "cash_micro": self._cash_micro,
            "mark": self._mark.copy(),
            "paid_usd": self._paid_usd.copy(),
            "is_unpriced": self._is_unpriced.copy(),
            "flow_micro": self._flow_micro,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with the file that this was made from. Raises DataError for one of old form."""
        if "told" not in state:
            raise DataError("the store watches positions as an older version did; use another --store")
        told, told_cash_micro = self._told, self._told_cash_micro
        changed = np.flatnonzero(told != state["told"])
        self._mark[:], self._is_unpriced[:] = state["mark"], state["is_unpriced"]
        self._shares[:], self._paid_usd[:] = state["shares"], state["paid_usd"]
        self._cash_micro, self._flow_micro = state["cash_micro"], state["flow_micro"]
        for s in changed.tolist():
            came = told[s] - self._shares[s]
            self._shares[s] = told[s]
            if math.isnan(self._mark[s]):
                self._is_unpriced[s] = told[s] != 0.0
            elif abs(came) > SAME * abs(told[s]):  # Else the file has caught up with a split
                self._pay(s, came)
        if told_cash_micro != state["told_cash_micro"]:
            self._flow_micro += told_cash_micro - self._cash_micro
            self._cash_micro = told_cash_micro
