"""What is known about a company besides its price: dated facts, each with the moment it became visible.

A fact may be used at the close of a bar at `ts` iff `available_ns <= ts`. An amendment is a further row
for the same symbol, item and period with its own, later `available_ns`; the newest visible one counts.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class FactItem(IntEnum):
    """What `value` of a fact is."""

    EPS = 0  # diluted earnings per share of one quarter, dollars on today's share basis
    ANNUAL_EPS = 1  # diluted earnings per share of one fiscal year, dollars on today's share basis
    ROE = 2  # return on equity of one fiscal year, fraction
    INSTITUTIONAL_HOLDERS = 3  # number of institutions that reported a holding
    EARNINGS_GROWTH = 4  # year-over-year growth of quarterly earnings as a vendor states it, fraction


PERIOD_UNKNOWN = -1  # `period_end_ns` of a static snapshot

# Sorted by available_ns. Times are int64 UTC nanoseconds; `symbol` is the column in the universe.
FACT_DTYPE = np.dtype(
    [
        ("available_ns", np.int64), ("period_end_ns", np.int64), ("symbol", np.int64), ("item", np.int64),
        ("value", np.float64),
    ]
)  # fmt: skip
NO_FACTS = np.empty(0, FACT_DTYPE)
