"""Layout of the desk: what the gate, the broker and the ledger share, and how they report.

The desk is one compiled pass over the slab (`brokers.session`), made of step functions that live in
`risk`, `brokers` and `engine.ledger`. All of them work on the records defined here. State is plain
arrays, so a snapshot is a copy and resuming is exact.

Accounts are numbered a, symbols s, strategies i. There is at most one lot, one entry order and one exit
order per account and symbol, so each lives at a fixed place and needs no searching; a place whose quantity
is 0 is empty. `DeskState.sets` says which places hold a lot or an exit order, one bit per symbol, so that
they are visited in ascending order; `DeskState.entries` lists the entries in the order in which the gate
accepted them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.events import DTYPES, ORDER_DTYPE, SIGNAL_DTYPE
from engine.exits import ExitRules
from engine.jit import records, routine, step

_I, _F = np.int64, np.float64
MICRO = 1_000_000

ENTRY, EXIT = 0, 1  # places in DeskState.orders[a]
HELD, LEAVING = 0, 1  # DeskState.sets: places with a lot, with an exit order
ACTIVE, HALTED, COOLDOWN = 0, 1, 2  # account states of the portfolio stop
AT_OPEN, INTRABAR, AT_CLOSE = 0, 1, 2  # phases of a session in which an order can fill
CLOSE, VOLUME = 0, 1  # DeskState.closes[k]
HIGH, LOW = 0, 1  # DeskState.ranges[k]
SEEN, NEWEST = 0, 1  # DeskState.history: traded bars since the last reset, session of the newest

# `cursor`: signals of the slab consumed so far. `overflow`: an amount left the range of int64.
COUNTERS_DTYPE = np.dtype(
    [
        ("seq", _I), ("order_id", _I), ("session", _I), ("ambiguous", _I), ("overflow", _I), ("cursor", _I),
    ]
)  # fmt: skip
# `names`, `spendable` and `committed` are the gate's sums, right in the session `summed` or `committed_in`.
ACCOUNT_DTYPE = np.dtype(
    [
        ("cash", _I), ("gross", _I), ("equity", _I), ("hwm_risk", _I), ("hwm", _I), ("state", _I),
        ("cooldown_left", _I), ("warned", _I), ("n_lots", _I), ("n_entries", _I), ("n_exits", _I),
        ("summed", _I), ("names", _I), ("spendable", _F), ("committed_in", _I), ("committed", _F),
    ]
)  # fmt: skip
# Prices and share counts are in today's split basis. `bought` and `sold` are float64 because a split can
# make them fractional; `quantity`, what is held, is always whole. What every session reads comes first.
LOT_DTYPE = np.dtype(
    [
        ("quantity", _I), ("mark", _F), ("stop", _F), ("target", _F), ("low", _F), ("high", _F),
        ("highest_close", _F), ("missing", _I), ("bars_held", _I), ("phase", _I), ("ts_entry", _I),
        ("strategy", _I), ("bought", _F), ("sold", _F), ("cost", _I), ("proceeds", _I), ("fees", _I),
        ("income", _I), ("initial_stop", _F), ("pivot", _F), ("first_price", _F), ("scaled", _I),
        ("quick", _I),
    ]
)  # fmt: skip
# What a working order needs besides the row that was last published about it.
PLAN_DTYPE = np.dtype(
    [
        ("trigger", _F), ("trail", _F), ("open_max", _F), ("pivot", _F), ("target", _F),
        ("structure_stop", _F), ("stop_distance", _F), ("ref", _F), ("attempts", _I), ("whole", _I),
    ]
)  # fmt: skip
SYMBOL_DTYPE = np.dtype(
    [
        ("atr", _F),
        ("atr_close", _F),  # the close that the ATR was last advanced with
        ("used_session", _I),
        ("used", _I),  # quantity filled in that session by all accounts
    ]
)
COUNTS_DTYPE = np.dtype(
    [(name, _I) for name in ("signals", "orders", "fills", "rejections", "cashflows", "trades", "risk")]
)
CANDIDATE_DTYPE = np.dtype(
    [("signal", _I), ("confidence", _F), ("weight", _F), ("adv", _F), ("symbol", _I), ("strategy", _I)]
)
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
    barred: int  # the Reason why nothing is bought, 0 for none; exits go on
    units: float  # quantity units per share: 1, or 1e6 with fractional shares
    periods_per_year: float


class DeskTables(NamedTuple):
    """Per-strategy and per-symbol constants of a run."""

    weights: NDArray[np.float64]  # [S], summing to 1
    rules: NDArray[np.void]  # RULES_DTYPE[S]
    sector: NDArray[np.int64]  # [N], row of sector_limits
    sector_limits: NDArray[np.float64]  # fraction of equity, inf = off
    warnings: NDArray[np.float64]  # [W] drawdowns to be told of, ascending
    since_ns: NDArray[np.int64]  # [P], `engine.slab.Membership`
    is_member: NDArray[np.uint8]  # [P, N]


class DeskState(NamedTuple):
    """Everything that outlives a row."""

    counters: NDArray[np.void]  # COUNTERS_DTYPE[1]
    accounts: NDArray[np.void]  # ACCOUNT_DTYPE[A]
    lots: NDArray[np.void]  # LOT_DTYPE[A, N]
    orders: NDArray[np.void]  # ORDER_DTYPE[A, 2, N]
    plans: NDArray[np.void]  # PLAN_DTYPE[A, 2, N]
    sets: NDArray[np.int64]  # [2, A, N / 64 rounded up], a bit per symbol
    entries: NDArray[np.int64]  # [A, N] symbols with an entry order, in gate order
    symbols: NDArray[np.void]  # SYMBOL_DTYPE[N]
    history: NDArray[np.int64]  # [2, N] what the rings hold of a symbol (`brokers.history`)
    closes: NDArray[np.float64]  # [H, 2, N] rings of traded bars: close, volume; H: a power of 2
    ranges: NDArray[np.float64]  # [R, 2, N] the same of high and low; R = 1 where nothing looks back at them
    sector_usd: NDArray[np.float64]  # [A, sectors] part of `ACCOUNT_DTYPE.committed` in each sector
    votes: NDArray[np.void]  # SIGNAL_DTYPE[N, S] last signal per strategy (blend only)
    vote_session: NDArray[np.int64]  # [N, S] session of that signal, -1 for none
    shares: NDArray[np.float64]  # [N, S] voters' shares of the lot held or pending (blend only)


class Outbox(NamedTuple):
    """What the pass writes: first a buffer for each of `DTYPES`."""

    signals: NDArray[np.void]
    orders: NDArray[np.void]
    fills: NDArray[np.void]
    rejections: NDArray[np.void]
    cashflows: NDArray[np.void]
    trades: NDArray[np.void]
    risk: NDArray[np.void]
    counts: NDArray[np.void]  # COUNTS_DTYPE[1], rows used of the buffers above
    candidates: NDArray[np.void]  # scratch of the gate: CANDIDATE_DTYPE, the BUYs of a close
    precedence: NDArray[np.int64]  # scratch of the gate: their order


@step
def lowest(word, bits):
    """Return the first symbol in `bits`, which are word number `word` of a set: a product with a de Bruijn
    number moves a part of it that occurs nowhere else to the top six bits."""
    place = _PLACES[((bits & -bits) * _DE_BRUIJN >> 58) & 63]
    return ((word << 6) | place) & _SYMBOL_MAX  # Seen not to be negative, it needs no check as an index


_SYMBOL_MAX = 2**31 - 1
_DE_BRUIJN = 0x03F79D71B4CB0A89
_PLACES = np.empty(64, _I)
for _place in range(64):
    _PLACES[(_DE_BRUIJN << _place >> 58) & 63] = _place


@step
def include(words, s):
    """Put symbol `s` into a set."""
    words[s >> 6] |= np.int64(1) << (s & 63)


@step
def exclude(words, s):
    """Take symbol `s` out of a set."""
    words[s >> 6] &= ~(np.int64(1) << (s & 63))


@step
def next_seq(counters):
    """Return the next number of the desk's log."""
    seq = counters.seq
    counters.seq = seq + 1
    return seq


@step
def next_order_id(counters):
    """Return the number of a new order."""
    order_id = counters.order_id
    counters.order_id = order_id + 1
    return order_id


@step
def emit_order(state, out, ts, order, status, end_reason):
    """Record a change of status of a working order."""
    write_order(state.counters[0], out.orders, out.counts[0], ts, order, status, end_reason)


@routine
def write_order(counters, rows, counts, ts, order, status, end_reason):
    order.seq = next_seq(counters)
    order.ts = ts
    order.status = status
    order.end_reason = end_reason
    row = rows[counts.orders]
    counts.orders += 1
    # Field by field: a copy of the whole would wait until all that was just written to the order has left the
    # store buffer
    row.seq = order.seq
    row.ts = order.ts
    row.order_id = order.order_id
    row.account = order.account
    row.symbol = order.symbol
    row.strategy = order.strategy
    row.side = order.side
    row.quantity = order.quantity
    row.filled = order.filled
    row.type = order.type
    row.tif = order.tif
    row.limit = order.limit
    row.status = order.status
    row.reason = order.reason
    row.end_reason = order.end_reason
    row.binding_cap = order.binding_cap
    row.ts_decided = order.ts_decided


@step
def emit_rejection(state, out, ts, a, s, strategy, side, reason, value, limit):
    """Record a signal that became no order, with the numbers behind the refusal."""
    write_rejection(
        state.counters[0], out.rejections, out.counts[0], ts, a, s, strategy, side, reason, value, limit
    )


@routine
def write_rejection(counters, rows, counts, ts, a, s, strategy, side, reason, value, limit):
    row = rows[counts.rejections]
    counts.rejections += 1
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
    counts = out.counts[0]
    row = out.risk[counts.risk]
    counts.risk += 1
    row.seq = next_seq(state.counters[0])
    row.ts = ts
    row.account = a
    row.kind = kind
    row.value = value
    row.limit = limit


@step
def open_exit(state, a, s, quantity, whole, kind, tif, reason, ts):
    """Put a sell order for the lot of (a, s) into its place and return it."""
    include(state.sets[LEAVING, a], s)
    state.accounts[a].n_exits += 1
    order = state.orders[a, EXIT, s]
    order.order_id = next_order_id(state.counters[0])
    order.account = a
    order.symbol = s
    order.strategy = state.lots[a, s].strategy
    order.side = -1
    order.quantity = quantity
    order.filled = 0
    order.type = kind
    order.tif = tif
    order.limit = np.nan
    order.reason = reason
    order.binding_cap = 0
    order.ts_decided = ts
    plan = state.plans[a, EXIT, s]
    plan.trigger = np.nan
    plan.trail = np.nan
    plan.attempts = 0
    plan.whole = whole
    return order


@step
def end_order(state, out, ts, a, place, s, status, end_reason):
    """Take a working order out of its place, recording how it ended."""
    order = state.orders[a, place, s]
    emit_order(state, out, ts, order, status, end_reason)
    order.quantity = 0
    account = state.accounts[a]
    if place == ENTRY:
        leave_queue(state.entries[a], account.n_entries, s)
        account.n_entries -= 1
    else:
        exclude(state.sets[LEAVING, a], s)
        account.n_exits -= 1


@step
def leave_queue(symbols, n, s):
    """Remove `s` from `symbols[:n]`, keeping the order of the rest."""
    k = 0
    while symbols[k] != s:
        k += 1
    for j in range(k, n - 1):
        symbols[j] = symbols[j + 1]


def allocate_state(
    n_accounts: int,
    n_symbols: int,
    n_strategies: int,
    n_sectors: int,
    *,
    close_bars: int,
    range_bars: int,
    blend: bool,
) -> DeskState:
    """Return the state of a desk that has done nothing yet. It remembers closes and volumes of the last
    `close_bars` traded bars, highs and lows of `range_bars`, or of more."""
    # Finding a place in a power of two takes no division
    closes, ranges = (1 << (bars - 1).bit_length() for bars in (close_bars, range_bars))
    n_votes = n_symbols if blend else 0
    symbols = np.zeros(n_symbols, SYMBOL_DTYPE)
    for name in ("atr", "atr_close"):
        symbols[name] = np.nan
    symbols["used_session"] = -1
    return DeskState(
        counters=records(np.zeros(1, COUNTERS_DTYPE)),
        accounts=records(np.zeros(n_accounts, ACCOUNT_DTYPE)),
        lots=records(np.zeros((n_accounts, n_symbols), LOT_DTYPE)),
        orders=records(np.zeros((n_accounts, 2, n_symbols), ORDER_DTYPE)),
        plans=records(np.zeros((n_accounts, 2, n_symbols), PLAN_DTYPE)),
        sets=np.zeros((2, n_accounts, -(-n_symbols // 64)), _I),
        entries=np.zeros((n_accounts, n_symbols), _I),
        symbols=records(symbols),
        history=np.zeros((2, n_symbols), _I),
        closes=np.zeros((closes, 2, n_symbols)),
        ranges=np.zeros((ranges, 2, n_symbols)),
        sector_usd=np.zeros((n_accounts, n_sectors)),
        votes=records(np.zeros((n_votes, n_strategies), SIGNAL_DTYPE)),
        vote_session=np.full((n_votes, n_strategies), -1, _I),
        shares=np.zeros((n_votes, n_strategies)),
    )


def allocate_outbox(capacity: int) -> Outbox:
    """Return empty buffers of `capacity` records."""
    return Outbox._make(
        [
            *(records(np.empty(capacity, dtype)) for dtype in DTYPES.values()),
            records(np.zeros(1, COUNTS_DTYPE)),
            records(np.empty(capacity, CANDIDATE_DTYPE)),
            np.empty(capacity, _I),
        ]
    )
