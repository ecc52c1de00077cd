"""The first test of a breakout: is the bar loud? It is all that runs on nearly every bar.

Invariants, for strategies that keep `n_bars`, `volume_sum`, `last_buy` and a ring `volumes`:
1. `volume_sum` is of the last `window` volumes, and the test of a bar does not see the bar's own.
2. After a row the bars of its traded symbols have been counted: theirs is number `n_bars - 1`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.jit import step
from engine.slab import BarStatus
from strategies.rings import scale_ring, sum_of

Float = NDArray[np.float64]
Int = NDArray[np.int64]

NEVER = -(10**9)  # bar number of a BUY that has not happened
_TRADED, _RESUMED = int(BarStatus.TRADED), int(BarStatus.RESUMED)
_WARMUP, _VOLUME = 0, 1  # Places in `tally`, and in `conditions` of the strategies


@step
def screen_volume(
    status: NDArray[np.uint8], volume: Float, window: int, multiplier: float, warmup: int, n_bars: Int,
    volume_sum: Float, last_buy: Int, volumes: Float, loud: Int, mean_volume: Float, tally: Int,
) -> int:  # fmt: skip
    """Let one row in; return how many bars have `multiplier` times the mean volume of the `window` before.

    Their symbols are in `loud`, ascending, and those means in `mean_volume`. Bars of symbols with fewer than
    `warmup` bars, and those that are not loud, are counted in `tally`.
    """
    mask = volumes.shape[0] - 1
    n_loud = n_warmup = n_quiet = 0
    for s in range(len(status)):
        if status[s] < _TRADED:
            continue
        if status[s] == _RESUMED:
            n_bars[s] = 0
            volume_sum[s] = 0.0
            last_buy[s] = NEVER
        n, total = n_bars[s], volume_sum[s]
        if n < warmup:
            n_warmup += 1
        elif volume[s] >= multiplier * (total / window):
            loud[n_loud] = s
            mean_volume[n_loud] = total / window
            n_loud += 1
        else:
            n_quiet += 1
        if n >= window:
            total -= volumes[(n - window) & mask, s]
        volume_sum[s] = total + volume[s]
        volumes[n & mask, s] = volume[s]
        n_bars[s] = n + 1
    tally[_WARMUP] += n_warmup
    tally[_VOLUME] += n_quiet
    return n_loud


@step
def push_row(ring: Float, status: NDArray[np.uint8], n_bars: Int, values: Float) -> None:
    """Write one row of prices, whose bars have been counted already."""
    mask = ring.shape[0] - 1
    for s in range(len(status)):
        if status[s] >= _TRADED:
            ring[(n_bars[s] - 1) & mask, s] = values[s]


@step
def rescale_volumes(
    volumes: Float, volume_sum: Float, s: int, n_bars: int, window: int, ratio: float
) -> None:
    """Put the volumes of a symbol on the basis after a split of `ratio` new shares per old one."""
    scale_ring(volumes, s, ratio)
    volume_sum[s] = sum_of(volumes, s, max(0, n_bars - window), n_bars)
