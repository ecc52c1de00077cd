"""Late, repeated, mixed up and absurd ticks change no bit of what is decided, booked or published."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import Batch, Equity, Fills
from engine.slab import Bars, Universe
from feeds.live import FeedStatus, LiveRow
from feeds.live_check import RowCheck
from feeds.live_hours import TradingDay
from feeds.live_ticks import Tick, TickBars, TickRow
from monitors.inputs import Plan
from tests.feeds.live_driving import utc_ns
from tests.monitors.live_market import SYMBOLS, at, plan, settings_of, writer_on

S = 10**9
OPEN, CLOSE = utc_ns("2024-03-11T13:30"), utc_ns("2024-03-11T20:00")
LISTENING = OPEN - 60 * S
TRADING = TradingDay(OPEN)
PRICES = ("open", "high", "low", "close", "volume")
WINDOW_S, STEP_S = 5.0, 300
Arrivals = list[tuple[int, Tick]]  # when, what


def session() -> list[Tick]:
    """A session in which every symbol trades twice in each interval, and waves up and down."""
    rng, ticks = random.Random(5), []
    volumes = [0.0] * len(SYMBOLS)
    for begin_s in range(0, 23_400, STEP_S):
        for column in range(len(SYMBOLS)):
            for offset_s in (20 + 3 * column, 200 + 3 * column):
                wave = 1.0 + 0.2 * np.sin((begin_s + offset_s) / 1_800 + column)
                volumes[column] += rng.randrange(50_000, 90_000)
                price = round((30.0 + 5 * column) * wave * rng.uniform(0.995, 1.005), 2)
                ticks.append(Tick(OPEN + (begin_s + offset_s) * S, column, volumes[column], price))
    return sorted(ticks)


TICKS = session()


def disturbed(rng: random.Random) -> tuple[Arrivals, dict[str, int]]:
    """Return the session as a bad network would bring it, and how many of its ticks have to be refused."""
    delayed = [(tick.ts_ns + rng.randrange(int(WINDOW_S * S)), tick) for tick in TICKS]
    repeated = [(tick.ts_ns + rng.randrange(int(WINDOW_S * S)), tick) for tick in rng.sample(TICKS, 180)]
    late, absurd = [], []
    for tick in rng.sample(TICKS[40:], 40):
        lateness_ns = round(rng.uniform(WINDOW_S + 0.1, 3_000.0) * S)
        price = round(tick.price * rng.uniform(0.8, 1.2), 2)
        late.append((tick.ts_ns + lateness_ns, Tick(tick.ts_ns - S, tick.column, tick.day_volume, price)))
    for i in rng.sample(range(40, len(TICKS), 24), 12):  # Never two of a symbol that could confirm each other
        ts_ns, column, volume, price = TICKS[i]
        ts_ns += S
        bad = rng.choice([
            Tick(ts_ns, column, volume, price * 100), Tick(ts_ns, column, volume, price / 100),
            Tick(ts_ns, column, volume, -price), Tick(ts_ns, column, volume, 0.0),
            Tick(ts_ns, column, volume, np.nan), Tick(ts_ns, column, volume, np.inf),
            Tick(ts_ns, column, -1.0, price), Tick(ts_ns, column, np.nan, price),
            Tick(ts_ns + 86_400 * S, column, volume, price),
        ])  # fmt: skip
        absurd.append((TICKS[i].ts_ns + S, bad))
    arrivals = [*delayed, *repeated, *late, *absurd]
    rng.shuffle(arrivals)
    return arrivals, {"late": len(late), "quarantined": len(absurd)}


def events_of(arrivals: Arrivals) -> list[LiveRow | FeedStatus]:
    """Return what a feed makes of ticks: bars, checked, as rows."""
    bars = TickBars(SYMBOLS, TRADING, LISTENING, minutes=STEP_S // 60, window_s=WINDOW_S)
    bars.listening(LISTENING)
    check, found = RowCheck(Universe(SYMBOLS)), []
    for now_ns, tick in [*sorted(arrivals, key=lambda one: one[0]), (CLOSE + 120 * S, None)]:
        made = bars.advance(now_ns)
        made += bars.push(tick, now_ns) if tick is not None else []
        for one in made:
            if isinstance(one, TickRow):
                row, told = check.take(Bars(np.array([one.ts_ns]), *(x[None, :] for x in one[1:])), now_ns)
                assert row is not None
                found += [LiveRow(row, "ticks", False), *told]
            else:
                found.append(one)
    return found


class Left(NamedTuple):
    """What a monitor has left behind."""

    events: list[bytes]  # signals, orders, fills, equity, ...
    stream: list[tuple[Any, ...]]
    ledger: tuple[Any, bytes]  # cash and equity, and all that strategies and desk remember
    n_fills: int


def bytes_of(event: object) -> bytes:
    match event:
        case Bars():
            return b"".join(getattr(event, name).tobytes() for name in PRICES)
        case Equity():
            return event.cash.tobytes() + event.equity.tobytes()
        case Batch():
            return event.rows.tobytes()
    raise AssertionError(event)


def watched(events: list[LiveRow | FeedStatus]) -> Left:
    limits = settings_of(adv_cap=None)
    left, stream, n_fills = [], [], 0
    with tempfile.TemporaryDirectory() as directory:
        writer = writer_on(Path(directory) / "store", snapshot_inputs=10_000)
        for one in (plan(settings=limits), *events):
            taken = writer.take(one, at())
            assert isinstance(taken.given, Plan | LiveRow | FeedStatus)
            for event in taken.outcome.events:
                left.append(type(event).__name__.encode() + bytes_of(event))
                n_fills += isinstance(event, Fills) and len(event.rows)
            # An alert names the input that fired it, and word of refused ticks is an input
            stream += [
                (row.seq, row.family, row.count, row.ts_ns, b"" if row.family == "alert" else row.payload)
                for row in taken.rows
            ]
        machine = writer.core.machine
        ledger = machine.book.money_micro(), machine.loop.snapshot()
        writer.store.close()
    return Left(left, stream, ledger, n_fills)


@pytest.fixture(scope="module")
def expected() -> Left:
    return watched(events_of([(tick.ts_ns, tick) for tick in TICKS]))


@settings(deadline=None, max_examples=6)
@given(chance=st.integers(0, 10**9))
def test_a_bad_network_leaves_ledger_and_stream_as_a_good_one_does(expected: Left, chance: int) -> None:
    arrivals, refused = disturbed(random.Random(chance))
    events = events_of(arrivals)
    told = [one.kind for one in events if isinstance(one, FeedStatus)]
    assert {"late", "quarantined"} == set(told)
    assert len(told) <= sum(refused.values())  # Once per symbol and interval
    assert watched(events) == expected
    assert expected.n_fills > 10
    assert {one[1] for one in expected.stream} >= {"bar", "signal", "order", "fill", "equity"}


def test_a_tick_that_is_not_refused_does_change_them(expected: Left) -> None:
    changed = [
        tick._replace(price=round(tick.price * 1.02, 2)) if i == 300 else tick for i, tick in enumerate(TICKS)
    ]
    assert watched(events_of([(tick.ts_ns, tick) for tick in changed])) != expected
