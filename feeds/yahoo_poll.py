"""Yahoo's daily bars as a live feed: after each session it is asked until the session's row can be given.

1. A row is given once: when every symbol was answered about, or after `Pace.patience_s` when most were. What
   comes of that session later is told as `late` and changes nothing.
2. Prices are raw, with splits and dividends as actions on their day: what a desk sees that lives through
   them. Yahoo states all prices in today's shares; they are brought back by the splits it states.
3. It goes through the cache, batches, waits and checks of `feeds.yahoo`, in a thread; a failing Yahoo is told
   once (`down`), asked again after growing, jittered waits, and told again when it answers (`recovered`).
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.clock import Clock
from engine.counted import counted
from engine.errors import DataError
from engine.slab import NO_ACTIONS, Bars, Universe
from feeds.live import FeedEvent, FeedStatus, LiveRow
from feeds.live_check import RowCheck
from feeds.live_hours import Session, TradingDay
from feeds.live_intervals import Intervals
from feeds.memory import MemoryFeed
from feeds.panel import PanelFeed
from feeds.sessions import iso_day, session_days
from feeds.threads import in_daemon_thread
from feeds.yahoo import Politeness, Refresh, cached_feed, refresh_cache
from feeds.yahoo_cache import YahooCache, date_of

SOURCE = "yahoo_poll"
SETTLE_S = 900.0  # after the close until Yahoo's daily bar is final
PRIMING_DAYS = 60  # calendar days before the first row, for the checks that need a past
_SLICE_S = 30.0  # of a wait: shorter than any watchdog's patience
_SLAB_ROWS = 256
_NO_PRICES = "open nan, high nan, low nan, close nan"  # how Yahoo says that there was no bar


class YahooSettings(NamedTuple):
    """How Yahoo is asked. base_url: a server to ask instead."""

    cache_dir: Path
    politeness: Politeness = Politeness()
    base_url: str | None = None
    timeout_s: float = 10.0
    ttl_hours: float = 24.0  # of cached bars of sessions that are long over


class Pace(NamedTuple):
    """When the bars of an interval are asked for."""

    settle_s: float = SETTLE_S  # after its end
    patience_s: float = 1_800.0  # of asking, for symbols without an answer
    retry_s: float = 60.0  # between rounds of asking, doubled each time up to the next, times 0.5 to 1.5
    retry_s_max: float = 900.0


class Answer(NamedTuple):
    """What a round of asking brought: bars, None for none of any symbol, and who was not answered about."""

    history: PanelFeed | MemoryFeed | None
    refresh: Refresh

    @property
    def unanswered(self) -> dict[str, str]:
        """Return why, by symbol, where asking again may help."""
        failed = {**self.refresh.stale, **self.refresh.missing}
        return {symbol: why for symbol, why in failed.items() if symbol not in self.refresh.nothing_new}


class YahooPoll:
    """Rows of the sessions from `start` on. `universe.benchmark` names a symbol that is asked for as well.

    Raises DataError for symbols that Yahoo cannot know.
    """

    pace = Pace()
    watched_rows = 5  # newest rows whose missing bars are told when they come

    def __init__(
        self, universe: Universe, start: dt.date, settings: YahooSettings, clock: Clock, *,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        self.universe = universe
        self.check = RowCheck(universe)
        self._start = start
        self._settings = settings
        self._clock = clock
        self._rng = random.Random(seed)
        self._trading: TradingDay | Intervals = TradingDay(clock.now_ns())
        self._alive_s: float | None = None
        self._unknown: dict[int, set[str]] = {}  # ts -> symbols without a bar when it was given
        self._stated: set[tuple[int, int, int]] = set()  # actions known: day, column, kind
        self._asked = sorted({*universe.symbols, *filter(None, [universe.benchmark])})
        for symbol in self._asked:
            YahooCache(settings.cache_dir / "yahoo").path(symbol)

    @property
    def alive_s(self) -> float | None:
        return self._alive_s

    async def events(self, after_ts_ns: int) -> AsyncIterator[FeedEvent]:
        """Yield rows, and word of Yahoo's health and of what was refused."""
        given_ns, done_ns = after_ts_ns, 0  # newest row given; newest session that is done with
        connected = False
        while True:
            session = self._trading.last_closed(self._clock.now_ns(), _ns(self.pace.settle_s))
            if session.close_ns <= done_ns:
                if not connected:
                    connected = True
                    yield FeedStatus("connected", "", "every session that is over has been given")
                await self.wait_until(self._next_due_ns())
                continue
            answer = None
            async for found in self.ask_patiently(given_ns, session):
                if isinstance(found, FeedStatus):
                    yield found
                else:
                    answer = found
            assert answer is not None
            for symbol, why in answer.unanswered.items():
                yield FeedStatus("stale", symbol, f"no answer: {why}; its bars are left out")
            async for event in self.rows(answer, given_ns, session.close_ns, prime=not done_ns):
                if isinstance(event, LiveRow):
                    given_ns = int(event.bars.ts[0])
                    newest = self._trading.last_closed(self._clock.now_ns(), _ns(self.pace.settle_s))
                    live = connected and given_ns == newest.close_ns
                    event = event._replace(backfilled=not live)
                yield event
            done_ns = session.close_ns

    async def ask_patiently(self, after_ts_ns: int, session: Session) -> AsyncIterator[FeedStatus | Answer]:
        """Ask about all sessions after a moment, up to `session`, until the answer is whole or has to do.

        Yields word of trouble and of its end, and last the answer.
        """
        first = self._first_day(after_ts_ns)
        began_s, rounds = self._clock.monotonic_s(), 0
        not_before_ns = session.close_ns + _ns(self.pace.settle_s)
        while True:
            answer, trouble = await self._ask(first, session, not_before_ns)
            patient = self._clock.monotonic_s() - began_s < self.pace.patience_s
            if not trouble or (answer is not None and not patient):
                break
            if not rounds:
                yield FeedStatus("down", "", f"{trouble}; it is asked again")
            wait_s = min(self.pace.retry_s_max, self.pace.retry_s * 2.0 ** min(rounds, 10))
            await self.wait(wait_s * self._rng.uniform(0.5, 1.5))
            rounds += 1
            if answer is not None and not answer.unanswered:
                not_before_ns = self._clock.now_ns()  # What was answered does not hold the session yet
        if rounds:
            yield FeedStatus("recovered", "", trouble or "Yahoo answers again")
        assert answer is not None
        yield answer

    async def _ask(self, first: dt.date, session: Session, not_before_ns: int) -> tuple[Answer | None, str]:
        """Return the answer, None where it is of no use, and what is wrong with it, "" for nothing."""
        try:
            answer = await in_daemon_thread(
                lambda: self._ask_in_thread(first, date_of(session.day), not_before_ns)
            )
        except DataError as error:
            return None, str(error)
        unanswered = answer.unanswered
        if unanswered:
            n_asked, (symbol, why) = len(self._asked), next(iter(unanswered.items()))
            trouble = (
                f"no answer about {len(unanswered)} of {counted(n_asked, 'symbols')}, {symbol} first: {why}"
            )
            return (answer if 2 * len(unanswered) < n_asked else None), trouble
        return answer, self._lacking(answer, session)

    def _lacking(self, answer: Answer, session: Session) -> str:
        """Return what an answer about every symbol does not hold yet, "" for nothing."""
        if answer.history is None:
            raise DataError(f"Yahoo knows none of the {len(self._asked)} symbols, {self._asked[0]} first")
        return "" if answer.history.ts[-1] >= session.close_ns else f"no bar of {date_of(session.day)} yet"

    async def rows(
        self, answer: Answer, after_ts_ns: int, until_ns: int, *, prime: bool = False
    ) -> AsyncIterator[FeedEvent]:
        """Yield the checked rows of an answer after one moment up to another, and after each word of what was
        refused in it. prime: let the checks see what was before."""
        if answer.history is None:
            return
        for status in await self._late(answer.history):
            yield status
        for status in _set_aside(answer.history, after_ts_ns, until_ns):
            yield status
        overlooked: list[NDArray[np.void]] = []  # stated since their row was given: they come with the next
        async for slab in answer.history.slabs(_SLAB_ROWS):
            for bars in self._in_universe(slab, answer.history.universe).cut(1):
                ts_ns = int(bars.ts[0])
                if ts_ns > until_ns:
                    continue
                new = self._newly_stated(bars)
                if ts_ns <= after_ts_ns and not prime:
                    overlooked.append(new)
                    continue
                if overlooked:
                    bars = replace(bars, actions=np.sort(np.concatenate([*overlooked, new])))
                    overlooked.clear()
                row, told = self.check.take(bars, self._clock.now_ns())
                if ts_ns <= after_ts_ns or row is None:
                    continue
                self._note_unknown(bars)
                yield LiveRow(row, SOURCE, backfilled=True)
                for status in told:
                    yield status

    def _note_unknown(self, bars: Bars) -> None:
        """Remember of whom a row is given without a bar."""
        silent = np.flatnonzero(np.isnan(bars.close[0])).tolist()
        self._unknown[int(bars.ts[0])] = {self.universe.symbols[column] for column in silent}
        for ts_ns in sorted(self._unknown)[: -self.watched_rows]:
            del self._unknown[ts_ns]

    async def actions(self, session: Session, after_ts_ns: int) -> tuple[NDArray[np.void], str]:
        """Ask once for the splits and dividends of a session that is just over, for a row from elsewhere.

        Returns them, with those stated late of rows up to `after_ts_ns`, and what was wrong with the answer.
        """
        answer, trouble = await self._ask(self._first_day(after_ts_ns), session, session.close_ns)
        found = [NO_ACTIONS]
        if answer is not None and answer.history is not None:
            async for slab in answer.history.slabs(_SLAB_ROWS):
                for bars in self._in_universe(slab, answer.history.universe).cut(1):
                    if bars.ts[0] <= after_ts_ns or bars.ts[0] == session.close_ns:
                        found.append(self._newly_stated(bars))
        return np.sort(np.concatenate(found)), trouble

    async def wait_until(self, then_ns: int) -> None:
        """Return when the wall clock says `then_ns`."""
        while (left_ns := then_ns - self._clock.now_ns()) > 0:
            await self.wait(min(left_ns / 1e9, _SLICE_S))

    async def wait(self, seconds: float) -> None:
        """Wait, with signs of life."""
        until_s = self._clock.monotonic_s() + seconds
        while (left_s := until_s - self._clock.monotonic_s()) > 1e-9:
            self._alive_s = self._clock.monotonic_s()
            await self._clock.sleep(min(left_s, _SLICE_S))
        self._alive_s = self._clock.monotonic_s()

    def _next_due_ns(self) -> int:
        settle_ns = _ns(self.pace.settle_s)
        return self._trading.current_or_next(self._clock.now_ns(), settle_ns).close_ns + settle_ns

    def _first_day(self, after_ts_ns: int) -> dt.date:
        if after_ts_ns <= 0:
            return self._start
        day = date_of(int(session_days(np.array([after_ts_ns]))[0]))
        return max(self._start, day - dt.timedelta(days=PRIMING_DAYS))

    def _ask_in_thread(self, first: dt.date, last: dt.date, not_before_ns: int) -> Answer:
        """Runs in a thread. Each request is a sign of life: asking about 2,000 symbols takes minutes."""

        def now_s() -> float:
            self._alive_s = self._clock.monotonic_s()
            return self._clock.now_ns() / 1e9

        cache_dir, politeness, base_url, timeout_s, ttl_hours = self._settings
        age_hours = max(0.0, self._clock.now_ns() - not_before_ns) / 3.6e12
        refresh = refresh_cache(
            self._asked, first, last, cache_dir=cache_dir, ttl_hours=min(ttl_hours, age_hours),
            politeness=politeness, base_url=base_url, timeout_s=timeout_s, clock=now_s,
            seed=self._rng.randrange(1 << 30),
        )  # fmt: skip
        if len(refresh.missing) == len(self._asked):
            return Answer(None, refresh)
        return Answer(cached_feed(self._asked, first, last, cache_dir=cache_dir, adjustment="raw"), refresh)

    def _newly_stated(self, bars: Bars) -> NDArray[np.void]:
        """Return the actions of a row that no answer has held before."""
        if len(bars.actions) == 0:
            return bars.actions
        new, day = [], int(session_days(bars.ts)[0])  # Another answer may have an earlier row of the session
        for action in bars.actions:
            key = day, int(action["symbol"]), int(action["kind"])
            if key not in self._stated:
                self._stated.add(key)
                new.append(action)
        return np.array(new, bars.actions.dtype)

    async def _late(self, history: PanelFeed | MemoryFeed) -> Sequence[FeedStatus]:
        """Return word of bars that have come since their row was given without them."""
        found: list[FeedStatus] = []
        if not self._unknown:
            return found
        async for slab in history.slabs(_SLAB_ROWS):
            bars = self._in_universe(slab, history.universe)
            for row in np.flatnonzero(np.isin(bars.ts, list(self._unknown))).tolist():
                waiting = self._unknown[int(bars.ts[row])]
                for symbol in sorted(waiting & set(self.universe.symbols)):
                    if not np.isnan(bars.close[row, self.universe.symbols.index(symbol)]):
                        waiting.discard(symbol)
                        detail = f"its bar of {self._named(int(bars.ts[row]))} came"
                        found.append(FeedStatus("late", symbol, f"{detail} after the row was given"))
        return found

    def _named(self, ts_ns: int) -> str:
        """Return how people name the bar that ends at a moment."""
        return str(date_of(int(session_days(np.array([ts_ns]))[0])))

    def _in_universe(self, slab: Bars, given: Universe) -> Bars:
        """Return a slab of other columns as one of the feed's, and of its benchmark."""
        shape = slab.n_rows, len(self.universe)
        place = {symbol: i for i, symbol in enumerate(self.universe.symbols)}
        target = np.array([place.get(symbol, -1) for symbol in given.symbols])
        known = np.flatnonzero(target >= 0)
        fields = {}
        for name in ("open", "high", "low", "close", "volume"):
            fields[name] = np.full(shape, np.nan)
            fields[name][:, target[known]] = getattr(slab, name)[:, known]
        actions = slab.actions[target[slab.actions["symbol"]] >= 0]
        actions["symbol"] = target[actions["symbol"]]
        benchmark = np.full((slab.n_rows, 2), np.nan)
        if self.universe.benchmark in given.symbols:
            column = given.symbols.index(self.universe.benchmark)
            benchmark[:, 0], benchmark[:, 1] = slab.close[:, column], slab.volume[:, column]
        return Bars(slab.ts, **fields, actions=actions, benchmark=benchmark)


def _set_aside(history: PanelFeed | MemoryFeed, after_ts_ns: int, until_ns: int) -> Iterator[FeedStatus]:
    """Yield word of what the cache's import set aside of the days after one moment up to another."""
    if not isinstance(history, PanelFeed):
        return
    first, last = (iso_day(day) for day in session_days(np.array([max(after_ts_ns, 0), until_ns])).tolist())
    table = history.quality.table
    columns = (table[name] for name in ("symbol", "date", "reason", "detail"))
    for symbol, date, reason, detail in zip(*columns, strict=True):
        if first < date[:10] <= last and not detail.startswith(_NO_PRICES):
            yield FeedStatus("quarantined", symbol, f"{date}: {detail} ({reason})")


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
