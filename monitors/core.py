"""The heart of the live monitor: an input in, everything it causes out. Synchronous, and blind to the world.

1. The outcome of an input depends on the inputs before it alone: no clock, no id, no file, no order of tasks.
2. `snapshot` then `restore` on a new core goes on as if nothing had happened; so does replaying the inputs
   since. Starting after a crash is exactly that, and starting anew is it with nothing to replay.
3. `digest` of an outcome names everything decided. A replay that gives another digest is not the same run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from engine import snapshot
from engine.errors import ConfigError, EngineError
from engine.events import (
    Batch,
    CashFlows,
    Equity,
    Fills,
    Orders,
    Reason,
    Rejections,
    RiskEvents,
    Signals,
    Trades,
)
from engine.loop import Loop
from engine.market import MarketBit
from engine.slab import Bars
from feeds.live import FeedStatus, LiveRow
from monitors.alerts import Transition
from monitors.book import Book, Sessions
from monitors.drawdown import DrawdownTracker
from monitors.inputs import LIVE, OF_BARS, OF_MACHINE, Input, Plan, Readings
from monitors.listing import Listing
from monitors.view import Condition, FeedState, PortfolioView
from storage.commands import Command

COMMANDS_REMEMBERED = 256
_UNKNOWN, _BEAR = int(MarketBit.UNKNOWN), int(MarketBit.BEAR)
_KINDS = (Bars, Signals, Orders, Fills, Rejections, CashFlows, Trades, RiskEvents, Equity)
_FEED_STATES: Mapping[str, FeedState] = {
    "connected": "connected", "recovered": "connected", "stale": "stale", "down": "down",
}  # fmt: skip


class AlertMonitors(Protocol):
    """What the core needs of `monitors.monitoring.Monitors`."""

    @property
    def listing(self) -> Listing: ...
    @property
    def drawdown(self) -> DrawdownTracker: ...
    def evaluate(self, view: PortfolioView) -> list[Transition]: ...
    def command(self, name: str, arguments: Mapping[str, str]) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


class Machine(NamedTuple):
    """What a plan is assembled to, with nothing in it yet."""

    loop: Loop
    book: Book
    monitors: AlertMonitors


Assemble = Callable[[Plan], Machine]


class Outcome(NamedTuple):
    """Everything that one input caused."""

    events: Sequence[object]  # of the bus, in order
    transitions: Sequence[Transition]
    view: PortfolioView | None  # None before the first plan
    digest: bytes  # 32 bytes


class LiveCore:
    """Loop, book and monitors behind `apply`. `assemble` builds them from a plan."""

    def __init__(self, assemble: Assemble) -> None:
        self._assemble = assemble
        self._plan: Plan | None = None
        self._machine: Machine | None = None
        self._events: list[object] = []
        self._sessions = Sessions(0)
        self._feed: FeedState = "connected"
        self._feed_detail = ""
        self._splits: list[tuple[str, str, str]] = []  # symbol, detail, session
        self._rows = 0  # taken
        self._killed_by = ""
        self._trading = True  # False: rows only warm up
        self._caught_up = True  # False: rows are of the time before a live monitor began
        self._commands: list[str] = []  # ids of the newest ones

    @property
    def plan(self) -> Plan | None:
        """The plan in force, None before the first."""
        return self._plan

    @property
    def machine(self) -> Machine:
        """What runs. Raises EngineError before the first plan."""
        if self._machine is None:
            raise EngineError("the first input of a monitor must be its plan")
        return self._machine

    @property
    def last_ts_ns(self) -> int:
        """When the newest row was known: a feed goes on after it."""
        return self.machine.loop.last_ts_ns if self._machine else 0

    @property
    def session(self) -> str:
        """The session of the newest row, an ISO date."""
        return self._sessions.name

    @property
    def feed(self) -> tuple[FeedState, str]:
        """How the feed is, and why."""
        return self._feed, self._feed_detail

    @property
    def killed(self) -> bool:
        """Whether a person has stopped all entries."""
        return bool(self._killed_by)

    def admit(self, given: Input) -> Input:
        """Return what may be journalled: a row that cannot follow is turned into word of it."""
        if not isinstance(given, LiveRow) or self._machine is None:
            return given
        bars, n_symbols = given.bars, len(self.machine.loop.universe)
        if bars.n_rows != 1 or bars.n_symbols != n_symbols:
            shape = f"{bars.n_rows} x {bars.n_symbols}"
            return FeedStatus("quarantined", "", f"{given.source}: row of shape {shape}, not 1 x {n_symbols}")
        if bars.ts[0] <= self.last_ts_ns:
            return FeedStatus("late", "", f"{given.source}: row of {int(bars.ts[0])} after {self.last_ts_ns}")
        return given

    def can_change_to(self, plan: Plan) -> None:
        """Raise SmallcapError when the state cannot go on under this plan. Changes nothing."""
        candidate = self._assemble(plan)
        if self._machine is not None:
            if plan.positions is None and _in_fractions(plan) != _in_fractions(self._plan):
                raise ConfigError(
                    "backtest.fractional_shares: what is held is counted in other units; use another --store"
                )
            _hand_over(self._machine, candidate)

    def apply(self, given: Input, readings: Readings) -> Outcome:
        """Take the next input."""
        self._events.clear()
        match given:
            case Plan():
                self._change_to(given)
            case LiveRow():
                self._take_row(given)
            case FeedStatus():
                self._take_status(given)
            case Command():
                self._take_command(given)
        if self._machine is None:
            return Outcome((), (), None, _digest((), ()))
        view = self._view(readings)
        transitions = self.machine.monitors.evaluate(view)
        events = tuple(
            event for event in self._events if view.equity_micro is not None or not isinstance(event, Equity)
        )
        return Outcome(events, transitions, view, _digest(events, transitions))

    def snapshot(self) -> bytes:
        """Return the whole state, the plan included."""
        loop, book, monitors = self.machine
        return snapshot.encode(
            {
                "plan": msgspec.msgpack.encode(self._plan),
                "loop": loop.snapshot(),
                "book": book.state(),
                "monitors": monitors.state(),
                "sessions": self._sessions.state(),
                "feed": [self._feed, self._feed_detail],
                "splits": [list(split) for split in self._splits],
                "rows": self._rows,
                "killed_by": self._killed_by,
                "trading": self._trading,
                "caught_up": self._caught_up,
                "commands": self._commands,
            }
        )

    def restore(self, data: bytes) -> None:
        """Take over a snapshot."""
        state = snapshot.decode(data)
        self._change_to(msgspec.msgpack.decode(state["plan"], type=Plan))
        loop, book, monitors = self.machine
        loop.restore(state["loop"])
        book.restore(state["book"])
        monitors.restore(state["monitors"])
        self._sessions.restore(state["sessions"])
        self._feed, self._feed_detail = state["feed"]
        self._splits = [(symbol, detail, session) for symbol, detail, session in state["splits"]]
        self._rows = state["rows"] if "rows" in state else state["inputs"]  # Old ones: at least as many
        self._killed_by, self._commands = state["killed_by"], list(state["commands"])
        self._trading = state.get("trading", True)  # A snapshot without it traded from its first row on
        self._caught_up = state.get("caught_up", True)
        self._bar_entries()

    def _install(self, plan: Plan, machine: Machine) -> None:
        self._plan, self._machine = plan, machine
        for kind in _KINDS:
            machine.loop.bus.subscribe(kind, self._events.append)
        plain = msgspec.structs.asdict(plan)
        for name, usual in (("trade_from", ""), ("interval", "1d"), ("time", "")):
            if plain[name] == usual:
                del plain[name]  # So that journals from before it was there are decided as they were
        self._config_hash = hashlib.sha256(msgspec.msgpack.encode(plain)).hexdigest()[:16]

    def _change_to(self, plan: Plan) -> None:
        machine = self._assemble(plan)
        if self._machine is None:
            self._sessions = Sessions(len(plan.symbols))
            self._trading = False
            self._caught_up = plan.time != OF_MACHINE
        else:
            _hand_over(self._machine, machine)
        self._install(plan, machine)
        self._trading = self._trading or not plan.trade_from
        self._bar_entries()

    def _bar_entries(self) -> None:
        """Let the book know whether it may buy."""
        waiting = Reason.NONE if self._trading else Reason.WARM_UP
        self.machine.book.bar_entries(Reason.KILL_SWITCH if self._killed_by else waiting)

    def _is_to_be_traded(self, row: LiveRow) -> bool:
        trade_from = "" if self._plan is None else self._plan.trade_from
        return not row.backfilled if trade_from == LIVE else self._sessions.name >= trade_from

    def _begin_trading(self) -> None:
        self._trading = True
        self._bar_entries()

    def _take_row(self, row: LiveRow) -> None:
        bars, before = row.bars, self._sessions.name
        self._rows += 1  # Episodes are numbered by it: alike whatever else was journalled
        self._sessions.advance(bars)
        if self._sessions.name != before:
            self._splits.clear()  # What is still wrong is said again
        self._caught_up = self._caught_up or not row.backfilled
        if not self._trading and self._is_to_be_traded(row):
            self._begin_trading()
        run_inline(self.machine.loop.process(bars))
        self.machine.book.take(bars, self._events)

    def _take_status(self, status: FeedStatus) -> None:
        if status.kind == "suspected_split":
            self._splits.append((status.symbol, status.detail, self._sessions.name))
        elif status.kind in _FEED_STATES and not status.symbol:
            self._feed, self._feed_detail = _FEED_STATES[status.kind], status.detail
        if status.kind == "connected":  # Back-fill from here on is of outages, and of feeds that only poll
            self._caught_up = True
            if self._plan is not None and self._plan.trade_from == LIVE:
                self._begin_trading()

    def _take_command(self, command: Command) -> None:
        """Do what a person asks, once."""
        if command.id in self._commands:
            return  # The process died between the commit and removing the file
        self._commands = [*self._commands, command.id][-COMMANDS_REMEMBERED:]
        if command.name in ("halt", "resume"):
            self._killed_by = (command.by or "somebody") if command.name == "halt" else ""
            self._bar_entries()
        else:
            self.machine.monitors.command(command.name, command.arguments)

    def _view(self, readings: Readings) -> PortfolioView:
        loop, book, _ = self.machine
        sessions, symbols = self._sessions, loop.universe.symbols
        n_expected, missing = sessions.missing()
        cash, equity = book.money_micro()
        positions, profits_micro = book.holdings(sessions)
        return PortfolioView(
            row_seq=self._rows,
            now_ns=readings.now_ns,
            ts_ns=max(loop.last_ts_ns, 0),
            session=sessions.name,
            equity_micro=equity,
            cash_micro=cash,
            positions=positions,
            flow_micro=book.flow_micro(),
            profits_micro=profits_micro,
            accounts=book.account_states(),
            n_expected=n_expected,
            missing=tuple([symbols[s] for s in missing]),
            benchmark=loop.universe.benchmark,
            benchmark_present=sessions.benchmark_present or not sessions.complete,
            regime=_regime(loop.market_bits),
            feed=self._feed,
            feed_detail=self._feed_detail,
            feed_age_s=readings.feed_age_s,
            loop_lag_ms=readings.loop_lag_ms,
            conditions=(*readings.conditions, *self._own_conditions()),
            config_hash=self._config_hash,
            replayed=self._plan is not None and self._plan.time == OF_BARS,
            catching_up=not self._caught_up,
        )

    def _own_conditions(self) -> list[Condition]:
        found = [Condition("suspected_split", symbol, detail) for symbol, detail, _ in self._splits]
        if self._killed_by:
            found.append(
                Condition("monitor_degraded", "kill switch", f"entries stopped by {self._killed_by}")
            )
        return found


def _hand_over(old: Machine, new: Machine) -> None:
    """Let `new` go on from where `old` is. Raises DataError or EngineError when it cannot."""
    new.loop.restore(old.loop.snapshot())
    new.book.restore(old.book.state())
    new.monitors.restore(old.monitors.state())


def _in_fractions(plan: Plan | None) -> bool:
    return plan is not None and bool(plan.settings.get("backtest", {}).get("fractional_shares"))


def run_inline(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits: on this path every subscriber is inline."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise EngineError("a subscriber of the live loop waited inside a transaction; hang it off the path")


def _regime(bits: int) -> str:
    if bits & _UNKNOWN:
        return ""
    return "bear" if bits & _BEAR else "bull"


def _digest(events: Sequence[object], transitions: Sequence[Transition]) -> bytes:
    parts: list[bytes] = []
    for event in events:
        if isinstance(event, Batch):
            parts += (type(event).__name__.encode(), event.rows.tobytes())
        elif isinstance(event, Equity):
            parts.append(b"Equity")
            parts += [column.tobytes() for column in (event.ts, event.cash, event.gross, event.equity)]
    parts.append(msgspec.msgpack.encode(transitions))
    return hashlib.sha256(b"".join(parts)).digest()
