"""Bars of a file that stand alone at another power of ten: prices 21 times, or a 21st of, both neighbours.

A vendor's x100 or /100 (pence for pounds, a slipped decimal point) makes them; no market has been seen to go
there and back in a day: on the daily history of 1,043,390 bars of 400 small caps the rule finds none. A split
stays where it went, so it is none. The first and the last bar of a name have but one neighbour and are not
judged; nor are two such bars in a row.

The third step of an import, before prices change their basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.slab import Float, Int
from feeds.bars_file import BarFile
from feeds.panel_store import FIELDS
from feeds.quality import Prices, Quarantine, Reason, valid_bars
from feeds.scatter import Axes, Scatter, release

FACTOR = 21.0  # more than any split: 20:1 is the largest that is at all usual
_BLOCK_CELLS = 1 << 18


def set_aside_spikes(
    folder: Path, files: Sequence[BarFile], axes: Axes, scatter: Scatter, quarantine: Quarantine
) -> None:
    """Take the spikes out of the arrays in `folder` and quarantine their rows."""
    paths = [path for name in (*FIELDS, "adj_close") if (path := folder / f"{name}.npy").exists()]
    arrays = {path.stem: np.load(path, mmap_mode="r+") for path in paths}
    n_rows, n_columns = axes.shape
    width = max(1, _BLOCK_CELLS // n_rows)
    found: dict[int, str] = {}  # cell -> what is wrong
    for start in range(0, n_columns, width):
        low, high, close = (
            np.array(arrays[name][:, start : start + width]) for name in ("low", "high", "close")
        )
        before, after = neighbours(close)
        for row, column in np.argwhere(spikes(low, high, before, after)).tolist():
            detail = (
                f"close {close[row, column]:g} between {before[row, column]:g} and {after[row, column]:g}"
            )
            found[row * n_columns + start + column] = detail
        for array in arrays.values():
            release(array)
    if not found:
        return
    cells = np.array(sorted(found))
    for array in arrays.values():
        array.reshape(-1)[cells] = np.nan
        array.flush()
    for i, file in enumerate(files):  # Where the rows are was not kept for the sake of a handful
        for chunk in file.chunks(prices=True):
            rows, columns, placed = scatter.places(i, chunk)
            good = placed & valid_bars(Prices(*(chunk.numbers[name] for name in FIELDS)))
            cell = np.where(good, rows * n_columns + columns, -1)
            for k in np.flatnonzero(np.isin(cell, cells)).tolist():
                detail = found.pop(int(cell[k]), "")
                if detail:  # Of rows for one session the first is its bar
                    scatter.report(file.label, chunk, k, Reason.PRICE_SPIKE, detail)


def neighbours(close: Float) -> tuple[Float, Float]:
    """Return the close before and the close after each cell of float64[T, N] in its column, NaN for none."""
    n = len(close)
    at = np.where(np.isnan(close), -1, np.arange(n)[:, None])
    newest = np.maximum.accumulate(at, axis=0)
    coming = np.minimum.accumulate(np.where(at < 0, n, at)[::-1], axis=0)[::-1]
    padded = np.vstack([close, np.full((1, close.shape[1]), np.nan)])  # row n, and row -1, is no bar
    none = np.full((1, close.shape[1]), -1)
    before: Int = np.vstack([none, newest[:-1]])
    after: Int = np.vstack([coming[1:], none])
    return np.take_along_axis(padded, before, axis=0), np.take_along_axis(padded, after, axis=0)


def spikes(low: Float, high: Float, before: Float, after: Float) -> NDArray[np.bool_]:
    """Return which bars lie wholly beyond `FACTOR` times both neighbours, or below their `FACTOR`th part."""
    with np.errstate(invalid="ignore", over="ignore"):
        above = low >= FACTOR * np.maximum(before, after)
        below = high * FACTOR <= np.minimum(before, after)
    found: NDArray[np.bool_] = above | below
    return found
