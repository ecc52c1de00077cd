"""Bringing the store of fundamentals up to date: the first source for all, the others for what it lacks.

1. What is young enough is not asked for again, so a run that was interrupted goes on where it stopped.
2. One bad symbol never spoils a run: its failure is noted, and the next one's turn comes.
3. A service that refuses (key, limit, quota), or fails for several symbols in a row, is left alone from then
   on. The other sources go on without it.
4. Every answer is on disk before the next question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.errors import DataError, SmallcapError
from feeds.fundamentals_store import FundamentalsStore, merged
from feeds.provider import Failure, FundamentalsProvider, ProviderError, Snapshot

# What screens and CAN SLIM need: worth a request to the next source where one lacks it
NEEDED = frozenset({
    "market_cap", "shares_outstanding", "float_shares", "sector", "exchange", "roe", "quarterly_eps",
    "annual_eps",
})  # fmt: skip
FAILURES_MAX = 5  # symbols in a row: the service is out of order
ABOUT_THE_SYMBOL = (Failure.EMPTY, Failure.UNKNOWN_SYMBOL)


@dataclass
class Outcome:
    """What became of a refresh, symbols in the order in which they were done. Filled while it runs."""

    fresh: list[str] = field(default_factory=list)  # young enough
    fetched: list[str] = field(default_factory=list)  # something new is stored
    failed: dict[str, SmallcapError] = field(default_factory=dict)  # no source had anything, and why
    unasked: list[str] = field(default_factory=list)  # every service had stopped, or the run was interrupted
    gaps: dict[str, ProviderError] = field(default_factory=dict)  # known, but a further source failed
    stopped: dict[str, ProviderError] = field(default_factory=dict)  # service -> why it is left alone
    answers: dict[str, int] = field(default_factory=dict)  # source -> versions stored


class Refresher:
    """Asks `sources`, in order of preference, and stores what they say.

    ttl_s: versions younger than this are not asked for again; None: no version is. now_ns: UTC ns.
    workers: symbols asked about at once.
    """

    def __init__(
        self, sources: Sequence[FundamentalsProvider], store: FundamentalsStore, *, ttl_s: float | None,
        now_ns: Callable[[], int], workers: int = 4,
    ) -> None:  # fmt: skip
        self.store = store
        self._sources = sources
        self._ttl_s = ttl_s
        self._now_ns = now_ns
        self._workers = workers
        self._outcome = Outcome()
        self._failures = dict.fromkeys((source.name for source in sources), 0)

    def due(self, symbols: Iterable[str]) -> list[str]:
        """Return the symbols of which a source has to be asked something; those that cannot be read count."""
        return [symbol for symbol in symbols if self._is_due(symbol)]

    async def refresh(
        self, symbols: Sequence[str], outcome: Outcome | None = None,
        on_done: Callable[[str], None] = lambda symbol: None,
    ) -> Outcome:  # fmt: skip
        """Ask about all symbols that are due and return what became of it.

        outcome: filled as the run goes, so that it is whole also where the run is cancelled.
        Raises DataError where an answer cannot be stored.
        """
        self._outcome = outcome = outcome or Outcome()
        due = self.due(symbols)
        stale = {symbol for symbol in due if not self._is_known(symbol)}
        outcome.fresh += [symbol for symbol in symbols if symbol not in stale]
        outcome.unasked += [symbol for symbol in due if symbol in stale]
        turns = iter(due)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._workers, len(due))):
                    group.create_task(self._work(turns, on_done))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        return outcome

    async def _work(self, turns: Iterator[str], on_done: Callable[[str], None]) -> None:
        for symbol in turns:
            if all(source.name in self._outcome.stopped for source in self._sources):
                return
            await self._refresh_one(symbol)
            on_done(symbol)

    async def _refresh_one(self, symbol: str) -> None:
        outcome = self._outcome
        try:
            known = self._newest(symbol)
        except DataError as error:  # A damaged file, or no symbol at all
            self._settle(symbol, error)
            return
        failures: list[ProviderError] = []
        stored = 0
        for source in self._sources:
            wanted = self._wanted(source, known)
            if not wanted or source.name in outcome.stopped:
                continue
            try:
                snapshot = await source.fetch(symbol, wanted)
            except ProviderError as error:
                failures.append(error)
                self._note_failure(source.name, error)
                continue
            self._failures[source.name] = 0
            self.store.append(snapshot)
            known[source.name] = snapshot
            outcome.answers[source.name] = outcome.answers.get(source.name, 0) + 1
            stored += 1
        if stored or failures:
            self._settle(symbol, failures[0] if failures else None, stored=stored > 0)
        elif symbol in outcome.unasked and self._is_known(symbol):  # A run beside this one asked about it
            outcome.unasked.remove(symbol)
            outcome.fresh.append(symbol)
        # else its services have stopped in the meantime: nobody was asked

    def _settle(self, symbol: str, error: SmallcapError | None, *, stored: bool = False) -> None:
        """Move a symbol to where it belongs now that it was asked about."""
        outcome = self._outcome
        known = symbol in outcome.fresh
        if stored or not known:
            (outcome.fresh if known else outcome.unasked).remove(symbol)
        if stored:
            outcome.fetched.append(symbol)
        elif error is not None and not known:
            outcome.failed[symbol] = error
        if isinstance(error, ProviderError) and (stored or known):
            outcome.gaps[symbol] = error

    def _is_due(self, symbol: str) -> bool:
        try:
            known = self._newest(symbol)
        except DataError:
            return True
        return any(self._wanted(source, known) for source in self._sources)

    def _is_known(self, symbol: str) -> bool:
        """Return whether the first source has nothing to be asked: the others only fill gaps."""
        try:
            own = self._newest(symbol).get(self._sources[0].name)
        except DataError:
            return False
        return own is not None and self._is_fresh(own)

    def _newest(self, symbol: str) -> dict[str, Snapshot]:
        return {version.source: version for version in self.store.versions(symbol)}

    def _wanted(self, source: FundamentalsProvider, known: dict[str, Snapshot]) -> frozenset[str]:
        """Return what to ask a source for: the first for all it has, others for what those before lack."""
        own = known.get(source.name)
        if own is not None and self._is_fresh(own):
            return frozenset()
        if source is self._sources[0]:
            return source.fields
        before = [s.name for s in self._sources[: self._sources.index(source)]]
        answered = {name: known[name] for name in before if name in known and self._is_fresh(known[name])}
        lacking = NEEDED & (merged(answered).missing if answered else NEEDED)
        return lacking & source.fields

    def _is_fresh(self, version: Snapshot) -> bool:
        return self._ttl_s is None or self._now_ns() - version.fetched_at < self._ttl_s * 1e9

    def _note_failure(self, name: str, error: ProviderError) -> None:
        if error.failure in ABOUT_THE_SYMBOL:
            self._failures[name] = 0
            return
        self._failures[name] += 1
        if error.stop or self._failures[name] >= FAILURES_MAX:
            self._outcome.stopped.setdefault(name, error)
