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
from engine.desk import ACCOUNT_DTYPE, HELD, MICRO, lowest
from engine.events import FILL_DTYPE, CashFlows, Fills, Reason
from engine.held import (
    COLUMNS,
    COST,
    HAS_STOP,
    LAST_TS,
    MARK,
    MISSED,
    QUANTITY,
    SECTOR,
    STOP,
    STRATEGY,
    SYMBOL,
    VALUE,
    VALUE_MICRO_MAX,
    weigh,
)
from engine.jit import entered, kernel, records
from engine.slab import ActionKind, Bars, Universe
from monitors.view import Account, AccountState, Positions, Profits, Texts
from risk.sectors import sector_key

Int = NDArray[np.int64]
Float = NDArray[np.float64]

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
        self.last = np.zeros(n_symbols, np.int64)  # number of the session of the newest bar, 0: never one
        none = np.empty(0, np.int64)
        _see(np.empty((1, 0)), 0, 0, none, none)  # Compiled now, not when the first row is waiting
        _count_missing(none, 0, 0)

    def advance(self, bars: Bars) -> None:
        """Take a row.

        It completes its session at 16:00 New York, or when it is the only one at 13:00 or later: the bar of
        a half day. Until then nobody is missing.
        """
        ts_ns = int(bars.ts[0])
        moment = datetime.fromtimestamp(ts_ns // 10**9, _NEW_YORK)
        name = moment.date().isoformat()
        first = name != self.name
        if first:
            self.name = name
            self.count += 1
            self.benchmark_present = False
        self.complete = moment.hour >= _CLOSE_HOUR or (first and moment.hour >= _HALF_DAY_HOUR)
        _see(bars.close, ts_ns, self.count, self.last_ts_ns, self.last)
        self.benchmark_present |= bool(bars.benchmark[0, 0] > 0.0)

    @property
    def n_complete(self) -> int:
        """How many sessions are complete."""
        return self.count if self.complete else self.count - 1

    def missed(self) -> Int:
        """Return int64[N], the complete sessions since each symbol's newest bar."""
        return np.maximum(self.n_complete - self.last, 0)

    def missing(self) -> tuple[int, list[int]]:
        """Return how many symbols should have a bar in this session by now, and which of them have none.

        Those that had one lately should; while the session is young, none.
        """
        if not self.complete:
            return 0, []
        first_expected = max(self.count - EXPECTED_SESSIONS, 1)
        n_expected, n_missing = _count_missing(self.last, first_expected, self.count)
        if n_missing == 0:
            return n_expected, []
        return n_expected, np.flatnonzero((self.last >= first_expected) & (self.last < self.count)).tolist()

    def state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "complete": self.complete,
            "count": self.count,
            "last_ts_ns": self.last_ts_ns.copy(),
            "benchmark_present": self.benchmark_present,
            "last": self.last.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.name, self.complete, self.count = state["name"], state["complete"], state["count"]
        self.last_ts_ns[:], self.last[:] = state["last_ts_ns"], state["last"]
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
        self._sectors = Texts.of(
            [sector_key(*known) for known in zip(universe.sectors, universe.industries, strict=True)]
        )
        self._units = MICRO if desk.config.fractional_shares else 1
        self._cash_micro = np.zeros(len(universe), np.int64)
        # Whether the symbol ever had a fill, or a lot that was renamed to it
        self._is_traded = np.zeros(len(universe), np.bool_)
        # Compiled now, not when the first row is waiting
        _add_paid(records(np.empty(0, FILL_DTYPE)), self._cash_micro, self._is_traded)
        _ = self.holdings(Sessions(len(universe)))[0].weighed

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
                _add_paid(records(event.rows), self._cash_micro, self._is_traded)
            elif isinstance(event, CashFlows):
                rows = event.rows[event.rows["symbol"] >= 0]
                np.add.at(self._cash_micro, rows["symbol"], rows["amount_micro"])

    def holdings(self, sessions: Sessions) -> tuple[Positions, Mapping[str, int]]:
        """Return what is held, by account and symbol, and what each symbol ever traded has earned, realised
        and not, after fees."""
        book = self._desk.book
        n_lots = sum(account[_N_LOTS] for account in book.accounts.tolist())
        numbers, profit_micro = np.empty((n_lots, COLUMNS), np.int64), self._cash_micro.copy()
        positions = Positions(numbers, self._symbols, self._strategies, self._sectors.table, compiled_weigh)
        _copy_held(
            book.sets[HELD], book.lots, self._sectors.numbers, sessions.last, sessions.last_ts_ns,
            sessions.n_complete, self._units, numbers, positions.floats, profit_micro,
        )  # fmt: skip
        return positions, Profits(self._symbols, self._is_traded.copy(), profit_micro)

    def flow_micro(self) -> int:
        return 0

    def account_states(self) -> tuple[Account, ...]:
        """Return every account with its portfolio stop."""
        accounts = zip(self._desk.accounts, self._desk.book.accounts.tolist(), strict=True)
        return tuple([
            Account(name, _STATES[row[_STATE]], row[_EQUITY], row[_HWM_RISK]) for name, row in accounts
        ])  # fmt: skip

    def money_micro(self) -> tuple[int, int | None]:
        rows = self._desk.book.accounts.tolist()
        return sum(row[_CASH] for row in rows), sum(row[_EQUITY] for row in rows)

    def bar_entries(self, reason: Reason) -> None:
        self._desk.bar_entries(reason)

    def state(self) -> dict[str, Any]:
        return {"cash_micro": self._cash_micro.copy(), "traded": np.flatnonzero(self._is_traded)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._cash_micro[:] = state["cash_micro"]
        self._is_traded[:] = False
        self._is_traded[state["traded"]] = True


_CASH, _EQUITY, _HWM_RISK, _STATE, _N_LOTS = map(
    (ACCOUNT_DTYPE.names or ()).index, ("cash", "equity", "hwm_risk", "state", "n_lots")
)


@kernel
def seen_kernel(close: Float, ts_ns: int, session: int, last_ts_ns: Int, last: Int) -> None:
    """Note which symbols have a bar in row 0 of the closes, float64[K, N]."""
    for s in range(len(last)):
        if not np.isnan(close[0, s]):
            last_ts_ns[s] = ts_ns
            last[s] = session


@kernel
def missing_kernel(last: Int, first_expected: int, session: int) -> tuple[int, int]:
    """Return of how many symbols the newest bar is not before `first_expected`, and of how many of them it
    is before `session`."""
    n_expected = n_missing = 0
    for s in range(len(last)):
        is_expected = last[s] >= first_expected
        n_expected += is_expected
        n_missing += is_expected & (last[s] < session)
    return n_expected, n_missing


@kernel
def paid_kernel(fills: Any, cash_micro: Int, is_traded: NDArray[np.bool_]) -> None:
    """Add the money of FILL_DTYPE rows to their symbols."""
    for i in range(len(fills)):
        fill = fills[i]
        cash_micro[fill.symbol] -= fill.side * fill.value_micro + fill.fee_micro
        is_traded[fill.symbol] = True


@kernel
def held_kernel(
    held: Int, lots: Any, sector_of: Int, last: Int, last_ts_ns: Int, n_complete: int, units: int,
    numbers: Int, floats: Float, profit_micro: Int,
) -> None:  # fmt: skip
    """Write the row of each lot, by account and symbol, and add its value to `profit_micro`, int64[N].

    held: int64[A, N / 64 rounded up], a bit per lot; lots: LOT_DTYPE[A, N]; sector_of, last and last_ts_ns:
    int64[N]. numbers and floats: of `Positions`.
    """
    i = 0
    for a in range(len(held)):
        for word in range(held.shape[1]):
            left = held[a, word]
            while left != 0:
                s = lowest(word, left)
                left &= left - 1
                lot = lots[a, s]
                quantity = lot.quantity / units
                value = quantity * lot.mark * MICRO
                if abs(value) < VALUE_MICRO_MAX:
                    value = np.rint(value) + 0.0  # No -0
                    profit_micro[s] += np.int64(value)
                else:
                    value = np.nan
                numbers[i, SYMBOL] = s
                numbers[i, STRATEGY] = lot.strategy
                numbers[i, SECTOR] = sector_of[s]
                numbers[i, MISSED] = max(n_complete - last[s], 0)
                numbers[i, LAST_TS] = last_ts_ns[s]
                floats[i, QUANTITY] = quantity
                floats[i, COST] = lot.cost / MICRO * (lot.quantity / lot.bought)
                floats[i, MARK] = lot.mark
                floats[i, STOP] = lot.stop
                numbers[i, HAS_STOP] = not np.isnan(lot.stop)
                floats[i, VALUE] = value
                i += 1


_see, _count_missing, _add_paid, _copy_held, compiled_weigh = map(
    entered, (seen_kernel, missing_kernel, paid_kernel, held_kernel, kernel(weigh))
)
