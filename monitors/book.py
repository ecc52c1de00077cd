"""What is held, as the monitors see it: the paper desk's lots, or a watched portfolio.

A book counts, per symbol, the money that went in and came out, so that profit by symbol = cash + value at any
moment, and remembers in which session every symbol had its newest bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from brokers.desk import Desk
from engine.desk import HELD, MICRO
from engine.events import CashFlows, Fills, Reason
from engine.slab import ActionKind, Bars, Universe
from monitors.view import Account, AccountState, Positions, Profits
from risk.sectors import sector_key

Int = NDArray[np.int64]

EXPECTED_SESSIONS = 5  # a symbol without a bar for longer is not expected to have one
_NEW_YORK = ZoneInfo("America/New_York")
_CLOSE_HOUR, _HALF_DAY_HOUR = 16, 13
_STATES: tuple[AccountState, ...] = ("active", "halted", "cooldown")


class Sessions:
    """In which session each symbol had its newest bar, counted from the first row."""

    def __init__(self, n_symbols: int) -> None:
        self.name = ""  # of the newest row's session, an ISO date in New York
        self.complete = False  # whether that row was its last
        self.count = 0
        self.last_ts_ns = np.zeros(n_symbols, np.int64)
        self.benchmark_present = False
        self._last = np.zeros(n_symbols, np.int64)  # number of the session of the newest bar, 0: never one

    def advance(self, bars: Bars) -> None:
        """Take a row.

        It completes its session at 16:00 New York, or when it is the only one at 13:00 or later: the bar of
        a half day. Until then nobody is missing.
        """
        ts_ns = int(bars.ts[0])
        moment = datetime.fromtimestamp(ts_ns // 10**9, _NEW_YORK)
        first = moment.date().isoformat() != self.name
        if first:
            self.name = moment.date().isoformat()
            self.count += 1
            self.benchmark_present = False
        self.complete = moment.hour >= _CLOSE_HOUR or (first and moment.hour >= _HALF_DAY_HOUR)
        present = ~np.isnan(bars.close[0])
        self.last_ts_ns[present] = ts_ns
        self._last[present] = self.count
        self.benchmark_present |= bool(bars.benchmark[0, 0] > 0.0)

    def missed(self) -> Int:
        """Return int64[N], the complete sessions since each symbol's newest bar."""
        complete = self.count if self.complete else self.count - 1
        return np.maximum(complete - self._last, 0)

    def expected(self) -> NDArray[np.bool_]:
        """Return which symbols should have a bar in this session: those that had one lately."""
        return self._last >= max(self.count - EXPECTED_SESSIONS, 1)

    def state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "complete": self.complete,
            "count": self.count,
            "last_ts_ns": self.last_ts_ns.copy(),
            "benchmark_present": self.benchmark_present,
            "last": self._last.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.name, self.complete, self.count = state["name"], state["complete"], state["count"]
        self.last_ts_ns[:], self._last[:] = state["last_ts_ns"], state["last"]
        self.benchmark_present = state["benchmark_present"]


class Book(Protocol):
    """What the core needs of a portfolio."""

    def take(self, bars: Bars, events: Iterable[object]) -> None: ...
    def holdings(self, sessions: Sessions) -> tuple[Positions, Mapping[str, int]]:
        """Return what is held, and what each symbol has earned, micro-dollars."""
        ...

    def flow_micro(self) -> int:
        """Return the money paid in from outside, less what was paid out, since the beginning."""
        ...

    def account_states(self) -> tuple[Account, ...]: ...
    def money_micro(self) -> tuple[int, int | None]:
        """Return (cash, equity); an equity that cannot be computed is None."""
        ...

    def bar_entries(self, reason: Reason) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class DeskBook:
    """The book of the paper desk. The desk keeps its own state; this keeps money by symbol."""

    def __init__(self, desk: Desk, universe: Universe, strategies: Sequence[str]) -> None:
        self._desk = desk
        self._symbols = universe.symbols
        self._strategies = (*strategies, "blend")
        self._sectors = [
            sector_key(*known) for known in zip(universe.sectors, universe.industries, strict=True)
        ]
        self._units = MICRO if desk.config.fractional_shares else 1
        self._cash_micro = np.zeros(len(universe), np.int64)
        # Whether the symbol ever had a fill, or a lot that was renamed to it
        self._is_traded = np.zeros(len(universe), np.bool_)

    def take(self, bars: Bars, events: Iterable[object]) -> None:
        """Add the money of a row's fills and cash flows; a renamed symbol takes its money along."""
        for action in bars.actions:
            if action["kind"] != ActionKind.RENAME:
                continue
            old, new = int(action["symbol"]), int(action["value"])
            self._cash_micro[new] += self._cash_micro[old]
            self._cash_micro[old] = 0
            self._is_traded[new] = True
        for event in events:
            if isinstance(event, Fills):
                rows = event.rows
                paid = -rows["side"] * rows["value_micro"] - rows["fee_micro"]
                np.add.at(self._cash_micro, rows["symbol"], paid)
                self._is_traded[rows["symbol"]] = True
            elif isinstance(event, CashFlows):
                rows = event.rows[event.rows["symbol"] >= 0]
                np.add.at(self._cash_micro, rows["symbol"], rows["amount_micro"])

    def holdings(self, sessions: Sessions) -> tuple[Positions, Mapping[str, int]]:
        """Return what is held, by account and symbol, and what each symbol ever traded has earned, realised
        and not, after fees."""
        accounts, columns = self._held()
        lots, at = self._desk.book.lots, (accounts, columns)
        quantity, stop = lots["quantity"][at], lots["stop"][at]
        named = columns.tolist()
        positions = Positions(
            list(map(self._symbols.__getitem__, named)),
            list(map(self._strategies.__getitem__, lots["strategy"][at].tolist())),
            list(map(self._sectors.__getitem__, named)),
            quantity / self._units,
            lots["cost"][at] / MICRO * (quantity / lots["bought"][at]),
            lots["mark"][at],
            stop,
            ~np.isnan(stop),
            sessions.missed()[columns],
            sessions.last_ts_ns[columns],
        )
        value = positions.value_micro
        profit = self._cash_micro.copy()
        np.add.at(profit, columns, np.where(np.isnan(value), 0.0, value).astype(np.int64))
        (traded,) = self._is_traded.nonzero()
        return positions, Profits(self._symbols, traded, profit[traded])

    def flow_micro(self) -> int:
        return 0

    def account_states(self) -> tuple[Account, ...]:
        """Return every account with its portfolio stop."""
        rows = self._desk.book.accounts
        columns = (rows[name].tolist() for name in ("state", "equity", "hwm_risk"))
        return tuple(
            Account(name, _STATES[state], equity, hwm)
            for name, state, equity, hwm in zip(self._desk.accounts, *columns, strict=True)
        )

    def money_micro(self) -> tuple[int, int | None]:
        rows = self._desk.book.accounts
        return int(rows["cash"].sum()), int(rows["equity"].sum())

    def bar_entries(self, reason: Reason) -> None:
        self._desk.bar_entries(reason)

    def state(self) -> dict[str, Any]:
        return {"cash_micro": self._cash_micro.copy(), "traded": np.flatnonzero(self._is_traded)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._cash_micro[:] = state["cash_micro"]
        self._is_traded[:] = False
        self._is_traded[state["traded"]] = True

    def _held(self) -> tuple[Int, Int]:
        """Return account and symbol of each lot, in that order."""
        held = self._desk.book.sets[HELD]
        bits = np.unpackbits(held.view(np.uint8), bitorder="little")
        (places,) = bits.view(np.bool_).nonzero()
        return np.divmod(places, 64 * held.shape[1])
