"""Layout of what is held, as the monitors see it: a row of 8-byte numbers for each lot.

Here, where the cache of kernels looks: those that read and write such rows are compiled with these places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Texts by number: of the universe's symbols, of the run's strategies, of the sectors. Floats by their bits.
SYMBOL, STRATEGY, SECTOR, QUANTITY, COST, MARK, STOP, HAS_STOP, MISSED, LAST_TS, VALUE = range(11)
COLUMNS = 11
VALUE_MICRO_MAX = 2.0**63  # what the ledger can hold; false for NaN


def weigh(
    numbers: NDArray[np.int64],
    floats: NDArray[np.float64],
    by_symbol: NDArray[np.float64],
    by_sector: NDArray[np.float64],
) -> tuple[float, float, int, int]:
    """Add the sizes of lots to those by symbol and by sector; return what they come to.

    That is the sum of the values, the largest size by symbol (NaN where one is), and how many lots are not
    clear of their stop and have no bar in the newest session. The size of a short position is that of a long
    one. numbers: int64[P, COLUMNS]; floats: the same memory. A kernel where it is compiled.
    """
    value = largest = 0.0
    n_at_stop = n_without_bar = 0
    for i in range(len(numbers)):
        value += floats[i, VALUE]
        by_symbol[numbers[i, SYMBOL]] += abs(floats[i, VALUE])
        by_sector[numbers[i, SECTOR]] += abs(floats[i, VALUE])
        side = np.copysign(1.0, floats[i, QUANTITY])
        is_clear = side * floats[i, MARK] > side * floats[i, STOP]
        n_at_stop += numbers[i, HAS_STOP] != 0 and not is_clear
        n_without_bar += numbers[i, MISSED] > 0
    for i in range(len(numbers)):
        size = by_symbol[numbers[i, SYMBOL]]
        if size > largest or np.isnan(size):
            largest = size  # Nothing is larger than NaN
    return value, largest, n_at_stop, n_without_bar
