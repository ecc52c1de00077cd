"""Third step of an import: the arrays on disk change their basis in place, a block of rows at a time.

Formulas: `feeds.adjust`. Products over the future run backwards through the blocks, values from before run
forwards; each carries one float64[N] from block to block, so memory does not depend on the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.slab import ActionKind, Float, Int
from feeds import sessions
from feeds.adjust import (
    Adjustment,
    Before,
    Plan,
    as_actions,
    event_matrix,
    future_product,
    implied_dividends,
    in_order,
    previous,
)  # fmt: skip
from feeds.panel_store import FIELDS
from feeds.quality import Quarantine, Reason
from feeds.scatter import Axes, release

PRICES = FIELDS[:4]
_BLOCK_CELLS = 1 << 18

Block = tuple[int, int]


class BarCounts(NamedTuple):
    """int64[T] and int64[N]; rows are -1 for a symbol without a bar."""

    by_row: Int
    by_symbol: Int
    first_row: Int
    last_row: Int

    @property
    def total(self) -> int:
        return int(self.by_symbol.sum())


def change_basis(
    folder: Path, plan: Plan, actions: NDArray[np.void], axes: Axes, quarantine: Quarantine
) -> NDArray[np.void]:
    """Bring the arrays in `folder` to `plan.adjustment`; return the actions that go with them, in order."""
    blocks = _blocks(axes.shape)
    arrays = _Arrays(folder)
    dividends = actions[actions["kind"] == ActionKind.DIVIDEND]
    splits = actions[actions["kind"] == ActionKind.SPLIT]
    if plan.dividends_from == "adj_close" and plan.adjustment is not Adjustment.TOTAL_RETURN:
        dividends = _implied(arrays, blocks, axes, quarantine)
    if plan.total_return_by == "adj_close":
        _apply_adj_close(arrays, blocks, axes.shape)
    if plan.splits:
        price_fields = () if plan.total_return_by == "adj_close" else PRICES
        dividends = _apply_splits(arrays, price_fields, blocks, splits, dividends, plan.splits, axes.shape)
    if plan.total_return_by == "dividends":
        _apply_dividends(arrays, blocks, dividends, axes, quarantine)
    if plan.adjustment is Adjustment.TOTAL_RETURN:
        return in_order(actions[:0])
    return in_order(np.concatenate([splits, dividends]) if plan.adjustment is Adjustment.RAW else dividends)


def count_bars(folder: Path, shape: tuple[int, int]) -> BarCounts:
    """Return where the arrays in `folder` have bars."""
    close = _Arrays(folder)["close"]
    by_row = np.zeros(shape[0], np.int64)
    by_symbol = np.zeros(shape[1], np.int64)
    first = np.full(shape[1], -1)
    last = np.full(shape[1], -1)
    for start, stop in _blocks(shape):
        bar = ~np.isnan(close[start:stop])
        by_row[start:stop] = bar.sum(axis=1)
        by_symbol += bar.sum(axis=0)
        any_bar = bar.any(axis=0)
        new = any_bar & (first < 0)
        first[new] = start + bar.argmax(axis=0)[new]
        last[any_bar] = stop - 1 - bar[::-1].argmax(axis=0)[any_bar]
        release(close)
    return BarCounts(by_row, by_symbol, first, last)


class _Arrays:
    """The arrays of a folder, mapped for changing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Any:
        return np.load(self._folder / f"{name}.npy", mmap_mode="r+")


def _blocks(shape: tuple[int, int]) -> list[Block]:
    n_rows = max(1, _BLOCK_CELLS // max(1, shape[1]))
    return [(start, min(start + n_rows, shape[0])) for start in range(0, shape[0], n_rows)]


def _factors(arrays: _Arrays, blocks: list[Block]) -> Iterator[tuple[Block, Float, Float]]:
    """Yield each block with close and f = adj_close / close, NaN where there is no bar or no adj_close."""
    close, adj_close = arrays["close"], arrays["adj_close"]
    for start, stop in blocks:
        c = np.array(close[start:stop])
        yield (start, stop), c, adj_close[start:stop] / c
        release(close)
        release(adj_close)


def _implied(arrays: _Arrays, blocks: list[Block], axes: Axes, quarantine: Quarantine) -> NDArray[np.void]:
    before = Before.nothing(axes.shape[1])
    found = []
    for (start, _), close, factor in _factors(arrays, blocks):
        dividends = implied_dividends(close, factor, before)
        rows, columns = np.nonzero(dividends > 0.0)
        values = dividends[rows, columns]
        found.append(as_actions(rows + start, columns, ActionKind.DIVIDEND, values))
        for row, column in np.argwhere(dividends < 0.0).tolist():
            detail = f"adj_close implies a dividend of {dividends[row, column]:g}"
            _set_aside(axes, start + row, column, Reason.BAD_ADJ_CLOSE, detail, quarantine)
    return np.concatenate(found)


def _apply_adj_close(arrays: _Arrays, blocks: list[Block], shape: tuple[int, int]) -> None:
    """Multiply prices by f. A bar without f takes that of the bar before, else the symbol's first."""
    first = np.full(shape[1], np.nan)
    for _, _, factor in _factors(arrays, blocks):
        known = ~np.isnan(factor)
        new = known.any(axis=0) & np.isnan(first)
        first[new] = factor[known.argmax(axis=0)[new], np.flatnonzero(new)]
    carried = np.where(np.isnan(first), 1.0, first)
    prices = [arrays[name] for name in PRICES]
    for (start, stop), _, factor in _factors(arrays, blocks):
        filled = np.where(np.isnan(factor), previous(factor, carried), factor)
        for array in prices:
            array[start:stop] *= filled
            release(array)


def _apply_splits(
    arrays: _Arrays, price_fields: tuple[str, ...], blocks: list[Block], splits: NDArray[np.void],
    dividends: NDArray[np.void], direction: int, shape: tuple[int, int],
) -> NDArray[np.void]:  # fmt: skip
    """Divide prices and dividends by the product of future splits (direction -1: multiply); return the
    dividends."""
    dividends = dividends.copy()
    if len(splits) == 0:
        return dividends
    later = np.ones(shape[1])
    for start, stop in reversed(blocks):
        ratios = event_matrix(splits, ActionKind.SPLIT, start, (stop - start, shape[1]))
        ratios[ratios == 0.0] = 1.0
        product = future_product(ratios, later)
        to_prices, to_volume = (product, product) if direction > 0 else (1.0 / product, 1.0 / product)
        for name in price_fields:
            array = arrays[name]
            array[start:stop] /= to_prices
            release(array)
        volume = arrays["volume"]
        volume[start:stop] *= to_volume
        release(volume)
        inside = (dividends["row"] >= start) & (dividends["row"] < stop)
        at = dividends["row"][inside] - start, dividends["symbol"][inside]
        dividends["value"][inside] /= to_prices[at]
    return dividends


def _apply_dividends(
    arrays: _Arrays, blocks: list[Block], dividends: NDArray[np.void], axes: Axes, quarantine: Quarantine
) -> None:
    """Multiply prices by the product of 1 - D / close before over future dividends."""
    shape = axes.shape
    close = arrays["close"]
    before = np.full(shape[1], np.nan)
    ratio = np.ones(len(dividends))
    for start, stop in blocks:
        close_before = previous(close[start:stop], before)
        inside = (dividends["row"] >= start) & (dividends["row"] < stop)
        at = dividends["row"][inside] - start, dividends["symbol"][inside]
        ratio[inside] = 1.0 - dividends["value"][inside] / close_before[at]
    for i in np.flatnonzero(ratio <= 0.0).tolist():
        detail = f"a dividend of {dividends['value'][i]:g} is more than the close before"
        row, column = int(dividends["row"][i]), int(dividends["symbol"][i])
        _set_aside(axes, row, column, Reason.BAD_DIVIDEND, detail, quarantine)
    events = dividends[ratio > 0.0]  # NaN, a dividend before the first bar, adjusts nothing
    events["value"] = ratio[ratio > 0.0]
    later = np.ones(shape[1])
    for start, stop in reversed(blocks):
        ratios = event_matrix(events, ActionKind.DIVIDEND, start, (stop - start, shape[1]))
        ratios[ratios == 0.0] = 1.0
        product = future_product(ratios, later)
        for name in PRICES:
            array = arrays[name]
            array[start:stop] *= product
            release(array)


def _set_aside(
    axes: Axes, row: int, column: int, reason: Reason, detail: str, quarantine: Quarantine
) -> None:
    """Quarantine an adjustment that only shows across rows; row 0 stands for that."""
    date = sessions.iso_day(int(axes.day[row]))
    quarantine.add("", 0, axes.symbols[column], date, reason, detail)
