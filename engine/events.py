"""What is published on the bus: batches of rows with a fixed layout, written by kernels as they are.

Every record is made of 8-byte fields only, so that its bytes have no padding and can be hashed.
Money is int64 micro-dollars, quantities are int64 shares (millionths of a share when fractional shares
are on), prices are float64 dollars, `ts` is int64 UTC nanoseconds. `seq` numbers everything the desk
does, across all kinds, in the order in which it happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_I, _F = np.int64, np.float64

N_DETAILS = 10  # measurements a signal can carry


class Side(IntEnum):
    BUY = 1
    SELL = -1


class OrderType(IntEnum):
    MARKET = 0  # at the next open; on-open is the same order
    LIMIT = 1
    STOP = 2
    TRAILING_STOP = 3
    MARKET_ON_CLOSE = 4


class Tif(IntEnum):
    DAY = 0
    GTC = 1


class OrderStatus(IntEnum):
    ACCEPTED = 0
    PARTIAL = 1
    FILLED = 2
    CANCELLED = 3
    EXPIRED = 4
    REJECTED = 5


class Reason(IntEnum):
    """Why a signal or an order ended as it did. The first block is the gate's, in its order of precedence
    (`KILL_SWITCH` and `WARM_UP` come before all, `NOT_A_MEMBER` after `HALTED_PORTFOLIO`)."""

    NONE = 0
    HALTED_PORTFOLIO = 1
    M_GATE = 2
    ALREADY_HELD = 3
    PENDING_ORDER = 4
    STALE_SYMBOL = 5
    INVALID_STOP = 6
    MAX_POSITIONS = 7
    CAP_NAME = 8
    CAP_SECTOR = 9
    CAP_GROSS = 10
    CAP_LIQUIDITY = 11
    NO_CASH = 12
    BELOW_MIN_NOTIONAL = 13
    NOT_A_MEMBER = 14  # the symbol is not in the index on that day
    KILL_SWITCH = 15  # a person stopped all entries
    WARM_UP = 16  # history that a live account only learns from
    # After the order was accepted.
    STOP_ABOVE_ENTRY = 20
    ABOVE_LIMIT = 21
    NO_TRADE = 22
    CASH_AT_FILL = 23
    SLOT_AT_FILL = 24
    CARRY_EXPIRED = 25  # the rest of a partly filled entry after its carry-over bars
    DELISTED = 26
    # Signals that change nothing.
    NOT_HELD = 30
    EXIT_PENDING = 31
    CONFLICT = 32
    BELOW_MIN = 33
    # Why an order was made.
    SIGNAL = 40
    STOP = 41
    TARGET = 42
    TRAILING_STOP = 43
    EXIT_SMA = 44
    EXIT_LOW = 45
    FAILED_BREAKOUT = 46
    SCALE_OUT = 47
    PROFIT_TAKE = 48
    MAX_HOLDING = 49
    BEAR_EXIT = 50
    PORTFOLIO_STOP = 51


class CashKind(IntEnum):
    DIVIDEND = 0
    CASH_IN_LIEU = 1
    DELISTING = 2
    INTEREST = 3
    EXTERNAL_FLOW = 4


class RiskKind(IntEnum):
    WARNING = 0  # drawdown passed a warning level
    HALTED = 1
    COOLDOWN = 2
    REARMED = 3


# A strategy's decision at the close of the bar at `ts`. NaN stands for "none" in the price fields.
# structure_stop: price; stop_distance: dollars below the fill. An entry of type LIMIT waits at `limit`,
# STOP and TRAILING_STOP trigger at `trigger` (the latter `trail` dollars above the lowest low since).
# open_max: cancel the entry when the open is above it. pivot: the level a breakout must hold.
# target: take profit at this price.
SIGNAL_DTYPE = np.dtype(
    [
        ("ts", _I), ("symbol", _I), ("strategy", _I), ("side", _I), ("confidence", _F), ("price_ref", _F),
        ("structure_stop", _F), ("stop_distance", _F), ("order_type", _I), ("tif", _I), ("limit", _F),
        ("trigger", _F), ("trail", _F), ("open_max", _F), ("pivot", _F), ("target", _F),
        ("details", _F, (N_DETAILS,)),
    ]
)  # fmt: skip
# One row per change of an order's status; `reason` says why it was made or why it ended. `ts_decided`
# is the close at which it was decided. `binding_cap`: the cap that reduced its size, or NONE.
ORDER_DTYPE = np.dtype(
    [
        ("seq", _I), ("ts", _I), ("order_id", _I), ("account", _I), ("symbol", _I), ("strategy", _I),
        ("side", _I), ("quantity", _I), ("filled", _I), ("type", _I), ("tif", _I), ("limit", _F),
        ("status", _I), ("reason", _I), ("end_reason", _I), ("binding_cap", _I), ("ts_decided", _I),
    ]
)  # fmt: skip
FILL_DTYPE = np.dtype(
    [
        ("seq", _I), ("ts", _I), ("order_id", _I), ("account", _I), ("symbol", _I), ("strategy", _I),
        ("side", _I), ("quantity", _I), ("price", _F), ("value_micro", _I), ("fee_micro", _I), ("reason", _I),
    ]
)  # fmt: skip
# `value` was refused because of `limit` (both in the unit of the reason: dollars, count or price).
REJECTION_DTYPE = np.dtype(
    [
        ("seq", _I), ("ts", _I), ("account", _I), ("symbol", _I), ("strategy", _I), ("side", _I),
        ("reason", _I), ("value", _F), ("limit", _F),
    ]
)  # fmt: skip
CASHFLOW_DTYPE = np.dtype(
    [
        ("seq", _I), ("ts", _I), ("account", _I), ("symbol", _I), ("strategy", _I), ("kind", _I),
        ("quantity", _I), ("per_share", _F), ("amount_micro", _I),
    ]
)  # fmt: skip
# A round trip, written when its last share is sold. pnl is net of fees and includes dividends and cash in
# lieu. `ret`: pnl over the cost of the shares. `mae` and `mfe`: worst low and best high while held, as a
# return on the average entry price.
TRADE_DTYPE = np.dtype(
    [
        ("seq", _I), ("ts_entry", _I), ("ts_exit", _I), ("account", _I), ("symbol", _I), ("strategy", _I),
        ("quantity", _I), ("entry_price", _F), ("exit_price", _F), ("pnl_micro", _I), ("fees_micro", _I),
        ("income_micro", _I), ("ret", _F), ("r_multiple", _F), ("bars_held", _I), ("mae", _F), ("mfe", _F),
        ("initial_stop", _F), ("reason", _I),
    ]
)  # fmt: skip
RISK_DTYPE = np.dtype([("seq", _I), ("ts", _I), ("account", _I), ("kind", _I), ("value", _F), ("limit", _F)])


FEW_ROWS = 256  # up to here a detour over bytes is quicker than views of every part


def join_rows(parts: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Return arrays of one record dtype as one new array.

    Copied as bytes: NumPy copies records field by field, which takes ten times as long.
    """
    dtype = parts[0].dtype
    if sum(map(len, parts)) <= FEW_ROWS:
        return np.frombuffer(bytearray(b"".join([part.tobytes() for part in parts])), dtype)
    joined: NDArray[np.void] = np.concatenate([part.view(np.uint8) for part in parts]).view(dtype)
    return joined


class Batch(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Rows of one kind, in the order in which they happened. Never empty when published."""

    rows: NDArray[np.void]


class Signals(Batch, frozen=True, eq=False, gc=False):
    """SIGNAL_DTYPE rows of one strategy, sorted by (ts, symbol)."""


class Orders(Batch, frozen=True, eq=False, gc=False):
    """ORDER_DTYPE rows."""


class Fills(Batch, frozen=True, eq=False, gc=False):
    """FILL_DTYPE rows."""


class Rejections(Batch, frozen=True, eq=False, gc=False):
    """REJECTION_DTYPE rows."""


class CashFlows(Batch, frozen=True, eq=False, gc=False):
    """CASHFLOW_DTYPE rows."""


class Trades(Batch, frozen=True, eq=False, gc=False):
    """TRADE_DTYPE rows."""


class RiskEvents(Batch, frozen=True, eq=False, gc=False):
    """RISK_DTYPE rows."""


# In the order in which the loop publishes what a slab caused.
DTYPES: dict[type[Batch], np.dtype[Any]] = {
    Signals: SIGNAL_DTYPE, Orders: ORDER_DTYPE, Fills: FILL_DTYPE, Rejections: REJECTION_DTYPE,
    CashFlows: CASHFLOW_DTYPE, Trades: TRADE_DTYPE, RiskEvents: RISK_DTYPE,
}  # fmt: skip


class Equity(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Accounts marked at each close of a slab.

    ts: int64[K]. marks: int64[K, A, 3], micro-dollars: cash, gross, equity.
    """

    ts: NDArray[np.int64]
    marks: NDArray[np.int64]

    @property
    def cash(self) -> NDArray[np.int64]:
        """int64[K, A], micro-dollars."""
        return self.marks[:, :, 0]

    @property
    def gross(self) -> NDArray[np.int64]:
        """int64[K, A], the value of the positions, micro-dollars."""
        return self.marks[:, :, 1]

    @property
    def equity(self) -> NDArray[np.int64]:
        """int64[K, A]: cash + gross, exactly."""
        return self.marks[:, :, 2]
