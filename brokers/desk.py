"""The desk: gate, simulated broker and ledger of a run behind one synchronous call per slab."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from brokers.config import DeskConfig, Mode, SpreadModel
from brokers.costs import SPREAD_BARS
from brokers.session import OUT_OF_RANGE, session_pass
from engine.desk import (
    MICRO,
    RULES_DTYPE,
    DeskParams,
    DeskState,
    DeskTables,
    allocate_outbox,
    allocate_state,
)
from engine.errors import ConfigError, EngineError
from engine.events import DTYPES, SIGNAL_DTYPE, Batch, Equity, Reason
from engine.exits import ExitRules
from engine.jit import entry, kernel, records, scalars
from engine.slab import Membership, Tape, Universe
from risk.sectors import sector_tables
from risk.sizing import ADV_BARS, VOL_BARS

SESSIONS_PER_YEAR = 252.0
# Capacity of the buffers that the pass writes: of the first ones, and from where on a new one is no larger
_ROWS, _ROWS_MAX = 4096, 2**15
DEFAULT_SLOTS = 20  # divides equity when `max_positions` is off

_NO_SIGNALS = np.empty(0, SIGNAL_DTYPE)
POSITION_DTYPE = np.dtype(
    [
        ("account", np.int64), ("symbol", np.int64), ("strategy", np.int64), ("quantity", np.int64),
        ("entry_price", np.float64), ("ts_entry", np.int64), ("mark", np.float64), ("stop", np.float64),
        ("initial_stop", np.float64), ("bars_held", np.int64),
    ]
)  # fmt: skip


class DeskStrategy(Protocol):
    """What the desk needs of a strategy."""

    @property
    def name(self) -> str: ...
    @property
    def exits(self) -> ExitRules: ...


def desk_params(config: DeskConfig) -> DeskParams:
    """Return a configuration as the scalars that kernels take."""

    def cap(limit: float | None) -> float:
        return np.inf if limit is None else float(limit)

    def level(fraction: float | None) -> float:
        return np.nan if fraction is None else float(fraction)

    return DeskParams(
        blend=int(config.mode == Mode.BLEND),
        sizing=int(config.position_sizing),
        slots=float(config.max_positions or DEFAULT_SLOTS),
        max_positions=cap(config.max_positions),
        risk_per_trade=float(config.risk_per_trade),
        target_volatility=float(config.target_volatility),
        fixed_notional=float(config.fixed_notional_usd),
        max_name=cap(config.max_name),
        max_gross=cap(config.max_gross),
        adv_cap=cap(config.adv_cap),
        min_notional=float(config.min_notional_usd or 0.0),
        individual_stop=level(config.individual_stop),
        portfolio_stop=cap(config.portfolio_stop),
        portfolio_action=int(config.portfolio_action),
        rearm_sessions=int(config.rearm_sessions),
        rearm_regime=bool(config.rearm_regime),
        min_confidence=float(config.min_confidence),
        signal_ttl=int(config.signal_ttl_sessions),
        commission=float(config.commission_rate),
        slippage=float(config.slippage_bps) / 1e4,
        half_spread=float(config.half_spread_bps) / 1e4,
        corwin_schultz=config.spread_model == SpreadModel.CORWIN_SCHULTZ,
        impact=float(config.impact_coefficient),
        participation=cap(config.participation),
        entry_carry=int(config.entry_carry_bars),
        exit_waive=int(config.exit_waive_bars),
        intrabar=int(config.intrabar),
        delist_after=cap(config.delist_after_sessions),
        dividend_lowers_stop=bool(config.dividend_lowers_stop),
        barred=int(Reason.NONE),
        units=float(MICRO) if config.fractional_shares else 1.0,
        periods_per_year=SESSIONS_PER_YEAR,
    )


class Desk:
    """Accounts, gate and broker of a run.

    `weights` (one per strategy, any positive scale) split the capital in sleeve mode and weigh the votes
    in blend mode. `accounts` names the accounts: the strategies, or ("blend",).
    """

    def __init__(
        self,
        universe: Universe,
        strategies: Sequence[DeskStrategy],
        config: DeskConfig,
        weights: Sequence[float] | None = None,
    ) -> None:
        n = len(strategies)
        if n == 0:
            raise ConfigError("a run needs at least one strategy")
        shares = np.full(n, 1.0) if weights is None else np.asarray(weights, np.float64)
        if len(shares) != n or not np.all(shares >= 0.0) or not shares.sum() > 0.0:
            raise ConfigError(f"weights must be {n} numbers >= 0 with a positive sum, was {weights}")
        self.config = config
        self.weights = shares / shares.sum()
        blend = config.mode == Mode.BLEND
        names = tuple(strategy.name for strategy in strategies)
        self.accounts: tuple[str, ...] = ("blend",) if blend else names
        self.sectors, sector_of, limits = sector_tables(
            universe.sectors, universe.industries, config.sector_limits
        )
        rules = records(np.zeros(n, RULES_DTYPE))
        for i, strategy in enumerate(strategies):
            rules[i] = (strategy.exits != ExitRules(m_gate=strategy.exits.m_gate), *strategy.exits)
        _check_trailing(rules, names)
        self._params = desk_params(config)
        self._scalars = scalars(self._params)
        membership = universe.membership or _everyone(len(universe))
        warnings = np.sort(np.array(config.drawdown_warnings, np.float64))
        self._tables = DeskTables(self.weights, rules, sector_of, limits, warnings, *membership)
        low_bars = int(rules["low_bars"].max())
        spread_bars = SPREAD_BARS + 1 if self._params.corwin_schultz else 0
        self._state = allocate_state(
            len(self.accounts),
            len(universe),
            n,
            len(limits),
            close_bars=max(VOL_BARS + 1, ADV_BARS, int(rules["sma_bars"].max())),
            range_bars=max(1, spread_bars, low_bars + 1 if low_bars else 0),
            blend=blend,
        )
        self._out = allocate_outbox(_ROWS)
        self._written = (0,) * len(DTYPES)
        self._entry: Callable[..., int] | None = None
        self._merge: Callable[..., None] | None = None
        self._merged = _NO_SIGNALS
        capital = round(config.capital_usd * MICRO)
        cash = np.array([capital]) if blend else _split_money(capital, self.weights)
        for name, amount in zip(self.accounts, cash.tolist(), strict=True):
            if amount <= 0:
                raise ConfigError(
                    f"the account {name} would begin without a micro-dollar; more capital or weight"
                )
        for field in ("cash", "equity", "hwm", "hwm_risk"):
            self._state.accounts[field] = cash

    def process(
        self, tape: Tape, market: NDArray[np.int64], signals: Sequence[NDArray[np.void]]
    ) -> list[Batch | Equity]:
        """Run every session of the slab; return what happened, each kind in order, and the equity.

        `signals`: one array per strategy, each sorted by (ts, symbol). Raises EngineError when an amount
        leaves the range of int64 micro-dollars.
        """
        merged = records(self._in_order(signals))
        n_rows = len(tape.ts)
        equity = np.empty((n_rows, len(self.accounts), 3), np.int64)
        book = (self._scalars, self._tables, self._state)
        if self._entry is None:
            self._entry = entry(session_pass, tape, market, merged, *book, self._out, equity, 0)
        events: list[Batch | Equity] = []
        row = 0
        while True:
            out, first = self._out, self._written
            row = self._entry(tape, market, merged, *book, out, equity, row)
            if row == OUT_OF_RANGE:
                raise EngineError(
                    "an amount left the range of the ledger (9e12 dollars); check the prices of the feed"
                )
            last = self._written = cast(tuple[int, ...], out.counts.item())
            # Rows are never written again, so that they can be handed out as they are
            columns = zip(DTYPES, out[:7], first, last, strict=True)
            events += [kind(rows[i:j]) for kind, rows, i, j in columns if j > i]
            if row == n_rows:
                break
            self._make_room()
        events.append(Equity(tape.ts, equity))
        return events

    def _in_order(self, signals: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
        """Return the signals of all strategies sorted by (ts, symbol, strategy), until the next call."""
        for rows in signals:
            if rows.dtype != SIGNAL_DTYPE:  # The kernels are entered without a look at types
                raise EngineError(f"signals must be rows of SIGNAL_DTYPE, was {rows.dtype}")
        parts = tuple(map(np.ascontiguousarray, signals))
        if len(parts) == 1:
            return parts[0]
        n = sum(map(len, parts))
        if n > len(self._merged):
            self._merged = np.empty(2 * n, SIGNAL_DTYPE)
        if self._merge is None:
            self._merge = entry(merge_signals, parts, self._merged)
        self._merge(parts, self._merged)
        return self._merged[:n]

    def _make_room(self) -> None:
        """Go on with new buffers where more than half is used; where that is nowhere, with larger ones."""
        out = self._out
        worn = [
            name
            for name, n in zip(out._fields, self._written, strict=False)
            if 2 * n > len(getattr(out, name))
        ]
        if not worn:
            self._out = allocate_outbox(2 * len(out.candidates))
            self._written = (0,) * len(DTYPES)
            return
        for name in worn:
            rows = getattr(self._out, name)
            capacity = max(len(rows), min(2 * len(rows), _ROWS_MAX))
            fresh: Any = records(np.empty(capacity, rows.dtype))
            self._out = self._out._replace(**{name: fresh})
            self._out.counts[name] = 0
        self._written = cast(tuple[int, ...], self._out.counts.item())

    def bar_entries(self, reason: Reason) -> None:
        """From the next row on buy nothing and cancel waiting entries, for `reason`; `Reason.NONE` ends it.

        Exits and stops go on. It is not part of the desk's state: whoever asks for it keeps it.
        """
        self._scalars["barred"] = int(reason)

    @property
    def book(self) -> DeskState:
        """The live arrays of accounts, lots and orders. Read them between slabs; never write."""
        return self._state

    @property
    def ambiguous_bars(self) -> int:
        """Bars in which stop and target, or entry and stop, could have come in either order."""
        return int(self._state.counters["ambiguous"][0])

    def open_positions(self) -> NDArray[np.void]:
        """Return POSITION_DTYPE rows of what is held, by account and symbol."""
        lots = self._state.lots
        account, symbol = np.nonzero(lots["quantity"] > 0)
        held = lots[account, symbol]
        rows = np.zeros(len(held), POSITION_DTYPE)
        rows["account"], rows["symbol"] = account, symbol
        for name in ("strategy", "quantity", "ts_entry", "mark", "stop", "initial_stop", "bars_held"):
            rows[name] = held[name]
        rows["entry_price"] = held["cost"] / MICRO / (held["bought"] / self._params.units)
        return rows

    def state(self) -> dict[str, Any]:
        return {name: value.copy() for name, value in self._state._asdict().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in self._state._asdict().items():
            saved = state[name]
            if saved.shape != value.shape or saved.dtype != value.dtype:  # Kernels look at neither
                raise EngineError(
                    f"desk state {name} must be {value.dtype}{list(value.shape)},"
                    f" was {saved.dtype}{list(saved.shape)}"
                )
        copies = {name: np.array(state[name]) for name in DeskState._fields}
        for name in ("counters", "accounts", "lots", "orders", "plans", "symbols", "votes"):
            copies[name] = records(copies[name])
        self._state = DeskState(**copies)


def _everyone(n_symbols: int) -> Membership:
    return Membership(np.zeros(1, np.int64), np.ones((1, n_symbols), np.uint8))


@kernel
def merge_signals(parts: tuple[NDArray[np.void], ...], merged: NDArray[np.void]) -> None:
    """Merge `parts`, each sorted by (ts, symbol), into `merged`; equals in the order of the parts.

    From the back of what is there already, so that nothing is in the way.
    """
    n = 0
    for p in range(len(parts)):
        rows = parts[p]
        i, j = n - 1, len(rows) - 1
        n += len(rows)
        k = n - 1
        while j >= 0:
            ts, symbol = rows[j]["ts"], rows[j]["symbol"]
            while i >= 0 and (
                merged[i]["ts"] > ts or (merged[i]["ts"] == ts and merged[i]["symbol"] > symbol)
            ):
                merged[k] = merged[i]
                i -= 1
                k -= 1
            merged[k] = rows[j]
            j -= 1
            k -= 1


def _split_money(total: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return int64 shares of `total` in proportion to `weights` that add up to it exactly."""
    edges = np.rint(np.cumsum(weights) * total).astype(np.int64)
    edges[-1] = total
    return np.diff(edges, prepend=0)


def _check_trailing(rules: NDArray[np.void], names: Sequence[str]) -> None:
    periods = {int(r["trail_atr_bars"]) for r in rules if r["trail_atr_multiple"] > 0}
    if len(periods) > 1:
        raise ConfigError(
            f"trail_atr_bars must be the same for all strategies ({', '.join(names)}), was {sorted(periods)}"
        )
