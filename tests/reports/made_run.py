"""A run made by hand: a few rows of every kind of event, and a recorder that sees it in slabs of any size."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from engine import events
from engine.events import Equity, Reason
from engine.slab import Bars, Tape, Universe
from reports.recorder import Recorder
from strategies.base import Strategy

MICRO = 1_000_000


def close_ns(day: str) -> int:
    """Return 16:00 in New York on an ISO date, in UTC nanoseconds."""
    moment = datetime.fromisoformat(day).replace(hour=16, tzinfo=ZoneInfo("America/New_York"))
    return int(moment.timestamp()) * 10**9


DAYS = tuple(close_ns(day) for day in ("2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"))


class Named(Strategy):
    """A strategy that only has a name."""

    warmup_bars = 2  # type: ignore[assignment]

    def __init__(
        self, name: str, measurements: tuple[str, ...] = (), tally: Mapping[str, int] | None = None
    ) -> None:
        self.name = name  # type: ignore[misc]
        self.measurements = measurements  # type: ignore[misc]
        self._tally = dict(tally or {})

    def start(self, universe: Universe) -> None: ...

    def on_bars(self, tape: Tape, index: int) -> NDArray[np.void]:
        return np.empty(0, events.SIGNAL_DTYPE)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None: ...

    def tally(self) -> dict[str, int]:
        return self._tally


UNIVERSE = Universe(("AAA", "BBB", "CCC"))
STRATEGIES = (Named("first", ("score", "width")), Named("second"))


def rows(kind: type[events.Batch], *records: Mapping[str, Any]) -> NDArray[np.void]:
    """Return rows of a kind. Fields not given are 0, prices NaN."""
    made = np.zeros(len(records), events.DTYPES[kind])
    for row, record in zip(made, records, strict=True):
        for name in ("structure_stop", "stop_distance", "value", "limit"):
            if name in (made.dtype.names or ()):
                row[name] = np.nan
        if "details" in (made.dtype.names or ()):
            row["details"] = np.nan
        for name, value in record.items():
            if name == "details":
                row[name][: len(value)] = value
            else:
                row[name] = value
    return made


def recorder(strategies: tuple[Strategy, ...] = STRATEGIES, **options: Any) -> Recorder:
    accounts = tuple(strategy.name for strategy in strategies)
    return Recorder(
        UNIVERSE, strategies, accounts, capital_usd=[60_000.0, 40_000.0][: len(accounts)], **options
    )


SIGNALS = rows(
    events.Signals,
    dict(ts=DAYS[0], symbol=0, strategy=0, side=1, confidence=0.75, price_ref=10.0, structure_stop=9.2,
         details=(1.5, 0.1)),
    dict(ts=DAYS[0], symbol=2, strategy=0, side=1, confidence=0.5, price_ref=3.0, stop_distance=0.25,
         details=(np.nan, 0.2)),
    dict(ts=DAYS[2], symbol=0, strategy=0, side=-1, confidence=1.0, price_ref=11.0),
    dict(ts=DAYS[0], symbol=1, strategy=1, side=1, confidence=0.9, price_ref=1 / 3),
)  # fmt: skip
ORDERS = rows(
    events.Orders,
    dict(seq=0, ts=DAYS[0], order_id=0, account=0, symbol=0, side=1, quantity=300, status=0, reason=40,
         ts_decided=DAYS[0]),
    dict(seq=1, ts=DAYS[0], order_id=1, account=1, symbol=1, strategy=1, side=1, quantity=9, reason=40,
         ts_decided=DAYS[0]),
    dict(seq=3, ts=DAYS[1], order_id=0, account=0, symbol=0, side=1, quantity=300, filled=300, status=2,
         reason=40, ts_decided=DAYS[0]),
    dict(seq=5, ts=DAYS[1], order_id=1, account=1, symbol=1, strategy=1, side=1, quantity=9, status=3,
         reason=40, end_reason=Reason.NO_TRADE, ts_decided=DAYS[0]),
)  # fmt: skip
FILLS = rows(
    events.Fills,
    dict(seq=4, ts=DAYS[1], order_id=0, symbol=0, side=1, quantity=300, price=10.005,
         value_micro=3001 * MICRO, fee_micro=3_001_500, reason=40),
)  # fmt: skip
REJECTIONS = rows(
    events.Rejections,
    dict(seq=2, ts=DAYS[0], symbol=2, side=1, reason=Reason.BELOW_MIN_NOTIONAL, value=412.5, limit=500.0),
    dict(seq=6, ts=DAYS[2], symbol=0, side=1, reason=Reason.ALREADY_HELD),
)  # fmt: skip
CASHFLOWS = rows(
    events.CashFlows,
    dict(seq=7, ts=DAYS[2], symbol=0, kind=0, quantity=300, per_share=0.07, amount_micro=21 * MICRO),
)
TRADES = rows(
    events.Trades,
    dict(seq=8, ts_entry=DAYS[1], ts_exit=DAYS[3], symbol=0, quantity=300, entry_price=10.005,
         exit_price=11.0, pnl_micro=316_499_999, fees_micro=6_301_500, income_micro=21 * MICRO,
         ret=0.105, r_multiple=1.3, bars_held=2,
         mae=-0.02, mfe=0.11, initial_stop=9.2, reason=Reason.TRAILING_STOP),
)  # fmt: skip
RISK = rows(events.RiskEvents, dict(seq=9, ts=DAYS[3], kind=0, value=0.11, limit=0.1))
EQUITY = np.array([[60_000, 40_000], [59_990, 40_000], [60_200, 40_000], [60_316, 40_000]]) * MICRO
GROSS = np.array([[0, 0], [3_000, 0], [3_300, 0], [0, 0]]) * MICRO


def replay(to: Recorder, n_rows: int) -> Recorder:
    """Publish the run to a recorder in slabs of `n_rows` timestamps."""
    for start in range(0, len(DAYS), n_rows):
        part = np.array(DAYS[start : start + n_rows])
        blank = np.full((len(part), len(UNIVERSE)), np.nan)
        benchmark = np.column_stack((100.0 + np.arange(start, start + len(part)), np.ones(len(part))))
        to.on_bars(Bars(part, blank, blank, blank, blank, blank, benchmark=benchmark))
        for strategy in (0, 1):
            of_one = SIGNALS[SIGNALS["strategy"] == strategy]
            _publish(to, events.Signals, of_one[np.isin(of_one["ts"], part)])
        for kind, made in (
            (events.Orders, ORDERS), (events.Fills, FILLS), (events.Rejections, REJECTIONS),
            (events.CashFlows, CASHFLOWS), (events.RiskEvents, RISK),
        ):  # fmt: skip
            _publish(to, kind, made[np.isin(made["ts"], part)])
        _publish(to, events.Trades, TRADES[np.isin(TRADES["ts_exit"], part)])
        at = slice(start, start + len(part))
        to.on_equity(Equity(part, np.dstack([EQUITY[at] - GROSS[at], GROSS[at], EQUITY[at]])))
    return to


def _publish(to: Recorder, kind: type[events.Batch], made: NDArray[np.void]) -> None:
    if len(made):
        to.on_batch(kind(made))
