"""Price bases: arithmetic of splits and dividends on time-major arrays, and what is possible from where.

With s_t new shares per old and D_t dollars per new share, both effective before the open of row t:

- split-adjusted price at t = raw price / (product of s over rows > t); volume the other way round;
- total-return price at t = split-adjusted price x product over rows u > t of (1 - D_u / c_{u-1}), or
  price x f with f = adj_close / close where a file has adj_close;
- from a file with adj_close: D_t = c_{t-1} (1 - f_{t-1} / f_t), ignored at or below 1e-4 c_{t-1}, which is
  above the rounding of float32 prices.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.slab import ACTION_DTYPE, ActionKind
from feeds.columns import Basis, Layout

Float = NDArray[np.float64]
Int = NDArray[np.int64]

DIVIDEND_MIN = 1e-4  # fraction of the close before


class Adjustment(StrEnum):
    """The basis that a feed delivers."""

    RAW = "raw"  # as traded, with SPLIT and DIVIDEND actions
    SPLIT = "split"  # split-adjusted, with DIVIDEND actions
    TOTAL_RETURN = "total_return"  # dividends in the prices, no actions

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise DataError(f"adjustment must be raw, split or total_return, was {value!r}")


class Plan(NamedTuple):
    """What an import has to do to the prices of a source."""

    adjustment: Adjustment
    splits: int  # price factor: +1 divides by future splits, -1 multiplies by them, 0 leaves prices alone
    dividends_from: str  # "column", "adj_close" or "" for none
    total_return_by: str  # "adj_close", "dividends" or "" for none

    @property
    def needs_adj_close(self) -> bool:
        return "adj_close" in (self.dividends_from, self.total_return_by)


def plan(adjustment: Adjustment | str, layout: Layout, file: str) -> Plan:
    """Return how to get from the basis of a file to `adjustment`.

    Raises DataError, naming the missing column, where the file does not hold what that takes.
    """
    adjustment = Adjustment(adjustment)
    basis = layout.basis
    dividends = "column" if layout.has("dividend") else "adj_close" if layout.has("adj_close") else ""
    if adjustment is Adjustment.RAW:
        if not layout.has("split") or basis is Basis.TOTAL_RETURN:
            raise DataError(
                f"{file}: no split information, which adjustment raw needs; add a split column, or use "
                "adjustment split"
            )
        return Plan(adjustment, 0 if basis is Basis.RAW else -1, dividends, "")
    splits = 1 if basis is Basis.RAW else 0
    if adjustment is Adjustment.SPLIT:
        if basis is Basis.TOTAL_RETURN:
            raise DataError(
                f"{file}: its prices include dividends (yfinance with auto_adjust=True writes Stock Splits "
                "without Adj Close); export with auto_adjust=False, or use adjustment total_return"
            )
        return Plan(adjustment, splits, dividends, "")
    if basis is Basis.TOTAL_RETURN:
        return Plan(adjustment, 0, "", "")
    if not dividends:
        raise DataError(
            f"{file}: no column adj_close or dividend, which adjustment total_return needs; add one, or use "
            "adjustment split"
        )
    return Plan(adjustment, splits, dividends, "adj_close" if layout.has("adj_close") else "dividends")


def event_matrix(actions: NDArray[np.void], kind: ActionKind, first: int, shape: tuple[int, int]) -> Float:
    """Return float64[shape] with the value of each action of a kind, row 0 being `first`; 0 elsewhere."""
    matrix = np.zeros(shape)
    rows = actions["row"]
    chosen = actions[(actions["kind"] == kind) & (rows >= first) & (rows < first + shape[0])]
    matrix[chosen["row"] - first, chosen["symbol"]] = chosen["value"]
    return matrix


def future_product(ratios: Float, later: Float) -> Float:
    """Return for each row the product of `ratios` over the rows after it, times `later`.

    ratios: float64[K, N], 1 where nothing happens. later: float64[N], the product over all rows after the
    slab; updated in place to include the slab, ready for the slab before it.
    """
    products = np.empty_like(ratios)
    products[-1] = later
    products[:-1] = ratios[:0:-1].cumprod(axis=0)[::-1] * later
    later *= ratios.prod(axis=0)
    return products


class Before(NamedTuple):
    """The last bar of each symbol before a slab: float64[N], NaN where there was none."""

    close: Float
    factor: Float

    @classmethod
    def nothing(cls, n_symbols: int) -> Before:
        return cls(np.full(n_symbols, np.nan), np.full(n_symbols, np.nan))


def previous(values: Float, before: Float) -> Float:
    """Return for each cell the last value above it that is not NaN; `before` is updated in place."""
    stacked = np.vstack([before, values])
    at = np.where(np.isnan(stacked), 0, np.arange(len(stacked))[:, None])
    at = np.maximum.accumulate(at, axis=0)
    filled = np.take_along_axis(stacked, at, axis=0)
    before[:] = filled[-1]
    return np.asarray(filled[:-1])


def implied_dividends(close: Float, factor: Float, before: Before) -> Float:
    """Return D of each cell from f = adj_close / close, 0 where there is none; negative where f fell.

    close, factor: float64[K, N], NaN where there is no bar or no usable factor. `before` is updated in place.
    """
    usable = ~np.isnan(factor)
    close_before = previous(np.where(usable, close, np.nan), before.close)
    factor_before = previous(factor, before.factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        dividends = close_before * (1.0 - factor_before / factor)
        noise = ~(np.abs(dividends) > DIVIDEND_MIN * close_before)
    dividends[noise] = 0.0
    return np.asarray(dividends)


def as_actions(rows: Int, columns: Int, kind: ActionKind | Int, values: Float) -> NDArray[np.void]:
    """Return one ACTION_DTYPE record per row; `kind` of all of them, or of each."""
    actions = np.zeros(len(rows), ACTION_DTYPE)
    actions["row"], actions["symbol"], actions["kind"], actions["value"] = rows, columns, kind, values
    return actions


def in_order(actions: NDArray[np.void]) -> NDArray[np.void]:
    """Return actions sorted by row, symbol and kind: a split comes before the dividend on its new shares."""
    return actions[np.lexsort((actions["kind"], actions["symbol"], actions["row"]))]
