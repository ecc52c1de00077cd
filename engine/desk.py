"""Layout of the desk: what the gate, the broker and the ledger share, and how they report.

The desk is one compiled pass over the slab (`brokers.session`), made of step functions that live in
`risk`, `brokers` and `engine.ledger`. All of them work on the records defined here. State is plain
arrays, so a snapshot is a copy and resuming is exact.

Accounts are numbered a, symbols s, strategies i. There is at most one lot, one entry order and one exit
order per account and symbol, so each lives at a fixed place and needs no searching. The lists in
`DeskState.lists` name the occupied places: lots and exits in ascending symbol order, entries in the order
in which the gate accepted them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.events import (
    CASHFLOW_DTYPE,
    FILL_DTYPE,
    ORDER_DTYPE,
    REJECTION_DTYPE,
    RISK_DTYPE,
    SIGNAL_DTYPE,
    TRADE_DTYPE,
)
from engine.exits import ExitRules
from engine.jit import records, routine, step

_I, _F = np.int64, np.float64
MICRO = 1_000_000

ENTRY, EXIT = 0, 1  # places in DeskState.orders[a]
LOTS, ENTRIES, EXITS = 0, 1, 2  # lists in DeskState.lists
ACTIVE, HALTED, COOLDOWN = 0, 1, 2  # account states of the portfolio stop
SEQ, ORDER_ID, SESSION, AMBIGUOUS, OVERFLOW = 0, 1, 2, 3, 4  # DeskState.counters
AT_OPEN, INTRABAR, AT_CLOSE = 0, 1, 2  # phases of a session in which an order can fill
H_CLOSE, H_HIGH, H_LOW, H_VOLUME = 0, 1, 2, 3  # last axis of DeskState.history

ACCOUNT_DTYPE = np.dtype(
    [
        ("cash", _I), ("gross", _I), ("equity", _I), ("hwm_risk", _I), ("hwm", _I), ("state", _I),
        ("cooldown_left", _I), ("warned", _I), ("n_lots", _I), ("n_entries", _I), ("n_exits", _I),
    ]
)  # fmt: skip
# Prices and share counts are in today's split basis. `bought` and `sold` are float64 because a split can
# make them fractional; `quantity`, what is held, is always whole.
LOT_DTYPE = np.dtype(
    [
        ("held", _I), ("strategy", _I), ("quantity", _I), ("bought", _F), ("sold", _F), ("cost", _I),
        ("proceeds", _I), ("fees", _I), ("income", _I), ("ts_entry", _I), ("phase", _I), ("bars_held", _I),
        ("missing", _I), ("stop", _F), ("initial_stop", _F), ("target", _F), ("pivot", _F), ("mark", _F),
        ("first_price", _F), ("highest_close", _F), ("low", _F), ("high", _F), ("scaled", _I), ("quick", _I),
    ]
)  # fmt: skip
WORKING_DTYPE = np.dtype(
    [
        ("live", _I), ("order_id", _I), ("strategy", _I), ("side", _I), ("quantity", _I), ("filled", _I),
        ("type", _I), ("tif", _I), ("limit", _F), ("trigger", _F), ("trail", _F), ("open_max", _F),
        ("pivot", _F), ("target", _F), ("structure_stop", _F), ("stop_distance", _F), ("ref", _F),
        ("attempts", _I), ("reason", _I), ("binding_cap", _I), ("ts_decided", _I), ("whole", _I),
    ]
)  # fmt: skip
RULES_DTYPE = np.dtype(
    [("on", _I)]
    + [(name, _F if isinstance(value, float) else _I) for name, value in ExitRules()._asdict().items()]
)


class DeskParams(NamedTuple):
    """Scalars of the gate and the broker. A limit that is off is inf (caps) or NaN (stops)."""

    blend: int
    sizing: int
    slots: float  # divisor of equity in sizing
    max_positions: float
    risk_per_trade: float
    target_volatility: float
    fixed_notional: float
    max_name: float
    max_gross: float
    adv_cap: float
    min_notional: float
    individual_stop: float
    portfolio_stop: float
    portfolio_action: int
    rearm_sessions: int
    rearm_regime: bool
    warning_1: float
    warning_2: float
    min_confidence: float
    signal_ttl: int
    commission: float
    slippage: float  # fraction of price
    half_spread: float
    corwin_schultz: bool
    impact: float
    participation: float
    entry_carry: int
    exit_waive: int
    intrabar: int
    delist_after: float
    dividend_lowers_stop: bool  # by a dividend of more than 5 % of the price
    killed: bool  # a person stopped all entries: nothing is bought, exits go on
    units: float  # quantity units per share: 1, or 1e6 with fractional shares
    periods_per_year: float


class DeskTables(NamedTuple):
    """Per-strategy and per-symbol constants of a run."""

    weights: NDArray[np.float64]  # [S], summing to 1
    rules: NDArray[np.void]  # RULES_DTYPE[S]
    sector: NDArray[np.int64]  # [N], row of sector_limits
    sector_limits: NDArray[np.float64]  # fraction of equity, inf = off
    since_ns: NDArray[np.int64]  # [P], `engine.slab.Membership`
    is_member: NDArray[np.uint8]  # [P, N]


class DeskState(NamedTuple):
    """Everything that outlives a row."""

    counters: NDArray[np.int64]  # [8]
    accounts: NDArray[np.void]  # ACCOUNT_DTYPE[A]
    lots: NDArray[np.void]  # LOT_DTYPE[A, N]
    orders: NDArray[np.void]  # WORKING_DTYPE[A, 2, N]
    lists: NDArray[np.int64]  # [3, A, N]
    history: NDArray[np.float64]  # [N, H, 4] ring of traded bars: close, high, low, volume; H: a power of 2
    bars_seen: NDArray[np.int64]  # [N] traded bars since the last reset; the ring's head
    atr: NDArray[np.float64]  # [N, 2] Wilder ATR and the close it was last advanced with
    used: NDArray[np.int64]  # [N, 2] session, and quantity filled in it by all accounts
    votes: NDArray[np.void]  # SIGNAL_DTYPE[N, S] last signal per strategy (blend only)
    vote_session: NDArray[np.int64]  # [N, S] session of that signal, -1 for none
    shares: NDArray[np.float64]  # [N, S] voters' shares of the lot held or pending (blend only)


class Outbox(NamedTuple):
    """What the pass writes. `counts` holds the rows used of each buffer, in this order."""

    orders: NDArray[np.void]
    fills: NDArray[np.void]
    rejections: NDArray[np.void]
    cashflows: NDArray[np.void]
    trades: NDArray[np.void]
    risk: NDArray[np.void]
    signals: NDArray[np.void]
    equity: NDArray[np.int64]  # [K, A, 3]: cash, gross, equity
    counts: NDArray[np.int64]  # [7]
    chosen: NDArray[np.int64]  # scratch of the gate: candidates of a close in order of precedence
    adv: NDArray[np.float64]  # scratch of the gate: their dollar volumes


OUTBOX_DTYPES = (
    ORDER_DTYPE, FILL_DTYPE, REJECTION_DTYPE, CASHFLOW_DTYPE, TRADE_DTYPE, RISK_DTYPE, SIGNAL_DTYPE,
)  # fmt: skip
O_ORDERS, O_FILLS, O_REJECTIONS, O_CASHFLOWS, O_TRADES, O_RISK, O_SIGNALS = range(7)


@step
def next_seq(counters):
    """Return the next number of the desk's log."""
    seq = counters[SEQ]
    counters[SEQ] = seq + 1
    return seq


@step
def emit_order(state, out, ts, a, s, order, status, end_reason):
    """Record a change of status of a working order."""
    write_order(state.counters, out.orders, out.counts, ts, a, s, order, status, end_reason)


@routine
def write_order(counters, rows, counts, ts, a, s, order, status, end_reason):
    n = counts[O_ORDERS]
    counts[O_ORDERS] = n + 1
    row = rows[n]
    row.seq = next_seq(counters)
    row.ts = ts
    row.order_id = order.order_id
    row.account = a
    row.symbol = s
    row.strategy = order.strategy
    row.side = order.side
    row.quantity = order.quantity
    row.filled = order.filled
    row.type = order.type
    row.tif = order.tif
    row.limit = order.limit
    row.status = status
    row.reason = order.reason
    row.end_reason = end_reason
    row.binding_cap = order.binding_cap
    row.ts_decided = order.ts_decided


@step
def emit_rejection(state, out, ts, a, s, strategy, side, reason, value, limit):
    """Record a signal that became no order, with the numbers behind the refusal."""
    write_rejection(
        state.counters, out.rejections, out.counts, ts, a, s, strategy, side, reason, value, limit
    )


@routine
def write_rejection(counters, rows, counts, ts, a, s, strategy, side, reason, value, limit):
    n = counts[O_REJECTIONS]
    counts[O_REJECTIONS] = n + 1
    row = rows[n]
    row.seq = next_seq(counters)
    row.ts = ts
    row.account = a
    row.symbol = s
    row.strategy = strategy
    row.side = side
    row.reason = reason
    row.value = value
    row.limit = limit


@step
def emit_risk(state, out, ts, a, kind, value, limit):
    """Record a change of an account's risk state."""
    n = out.counts[O_RISK]
    out.counts[O_RISK] = n + 1
    row = out.risk[n]
    row.seq = next_seq(state.counters)
    row.ts = ts
    row.account = a
    row.kind = kind
    row.value = value
    row.limit = limit


@step
def list_insert(symbols, n, s):
    """Insert `s` into the ascending list `symbols[:n]`."""
    k = n
    while k > 0 and symbols[k - 1] > s:
        symbols[k] = symbols[k - 1]
        k -= 1
    symbols[k] = s


@step
def list_remove(symbols, n, s):
    """Remove `s` from `symbols[:n]`, keeping the order of the rest."""
    k = 0
    while symbols[k] != s:
        k += 1
    for j in range(k, n - 1):
        symbols[j] = symbols[j + 1]


@step
def open_exit(state, a, s, quantity, whole, kind, tif, reason, ts):
    """Put a sell order for the lot of (a, s) into its place and return it."""
    account = state.accounts[a]
    list_insert(state.lists[EXITS, a], account.n_exits, s)
    account.n_exits += 1
    order = state.orders[a, EXIT, s]
    order.live = 1
    order.order_id = state.counters[ORDER_ID]
    state.counters[ORDER_ID] += 1
    order.strategy = state.lots[a, s].strategy
    order.side = -1
    order.quantity = quantity
    order.filled = 0
    order.type = kind
    order.tif = tif
    order.limit = np.nan
    order.trigger = np.nan
    order.trail = np.nan
    order.attempts = 0
    order.reason = reason
    order.binding_cap = 0
    order.ts_decided = ts
    order.whole = whole
    return order


@step
def end_order(state, out, ts, a, place, s, status, end_reason):
    """Take a working order out of its place, recording how it ended."""
    order = state.orders[a, place, s]
    order.live = 0
    emit_order(state, out, ts, a, s, order, status, end_reason)
    account = state.accounts[a]
    if place == ENTRY:
        list_remove(state.lists[ENTRIES, a], account.n_entries, s)
        account.n_entries -= 1
    else:
        list_remove(state.lists[EXITS, a], account.n_exits, s)
        account.n_exits -= 1


def allocate_state(
    n_accounts: int, n_symbols: int, n_strategies: int, history_bars: int, *, blend: bool
) -> DeskState:
    """Return the state of a desk that has done nothing yet; it remembers at least `history_bars` bars."""
    ring = 1 << (history_bars - 1).bit_length()  # Finding a place in a power of two takes no division
    n_votes = n_symbols if blend else 0
    return DeskState(
        counters=np.zeros(8, _I),
        accounts=records(np.zeros(n_accounts, ACCOUNT_DTYPE)),
        lots=records(np.zeros((n_accounts, n_symbols), LOT_DTYPE)),
        orders=records(np.zeros((n_accounts, 2, n_symbols), WORKING_DTYPE)),
        lists=np.zeros((3, n_accounts, n_symbols), _I),
        history=np.zeros((n_symbols, ring, 4)),
        bars_seen=np.zeros(n_symbols, _I),
        atr=np.full((n_symbols, 2), np.nan),
        used=np.full((n_symbols, 2), -1, _I),
        votes=records(np.zeros((n_votes, n_strategies), SIGNAL_DTYPE)),
        vote_session=np.full((n_votes, n_strategies), -1, _I),
        shares=np.zeros((n_votes, n_strategies)),
    )


def allocate_outbox(n_rows: int, n_accounts: int, capacity: int) -> Outbox:
    """Return empty buffers for slabs of up to `n_rows` rows and rows of up to `capacity` records."""
    return Outbox._make(
        [
            *(records(np.zeros(capacity, dtype)) for dtype in OUTBOX_DTYPES),
            np.zeros((n_rows, n_accounts, 3), _I),
            np.zeros(len(OUTBOX_DTYPES), _I),
            np.zeros(capacity, _I),
            np.zeros(capacity),
        ]
    )
