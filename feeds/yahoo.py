"""Feed of daily bars from Yahoo, by way of a cache on disk.

Each symbol is fetched on its own, in small batches, and cached at once: a run that is interrupted or refused
goes on where it stopped. Where Yahoo gives no answer the cached bars are used, and the feed's notes say so
with their age. Quality checks and bases are those of any other file.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from engine.counted import counted
from engine.errors import DataError
from feeds.adjust import Adjustment
from feeds.panel import PanelFeed
from feeds.sessions import day_number
from feeds.source import StrPath, open_listed
from feeds.yahoo_cache import Entry, YahooCache, date_of, today
from feeds.yahoo_client import NoData, RateLimited, YahooClient, YahooError

_FAILURES_MAX = 3  # symbols in a row without an answer: the rest is not tried


@dataclass(frozen=True)
class Politeness:
    """How hard Yahoo is asked. Waits are `wait_s` x 2^k seconds, up to `wait_max_s`, times 0.5 to 1.5."""

    batch: int = 20
    workers: int = 4
    attempts: int = 4
    wait_s: float = 1.0
    wait_max_s: float = 60.0
    pause_s: float = 1.0  # between batches


@dataclass
class Refresh:
    """Outcome of bringing the cache up to date, symbols in the order asked for."""

    fetched: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)  # in the cache and young enough
    stale: dict[str, str] = field(default_factory=dict)  # old bars used, and why
    missing: dict[str, str] = field(default_factory=dict)  # nothing at all, and why
    nothing_new: set[str] = field(default_factory=set)  # of these two: Yahoo did answer, that it has no bars
    unfinished: list[str] = field(default_factory=list)  # today's bar left out, its session is not over
    age_s: dict[str, float] = field(default_factory=dict)  # of the bars used, by symbol

    def notes(self) -> list[str]:
        """Return what a person has to know, one line each."""
        lines = []
        if self.stale:
            oldest = max(self.age_s[symbol] for symbol in self.stale)
            lines.append(
                f"Yahoo gave no answer for {_listed(self.stale)} ({next(iter(self.stale.values()))}); cached "
                f"bars are used, up to {_age(oldest)} old"
            )
        for symbol, why in self.missing.items():
            said = "has no bars of" if symbol in self.nothing_new else "gave no answer for"
            lines.append(f"Yahoo {said} {symbol} ({why})")
        if self.unfinished:
            lines.append(f"today's bar of {_listed(self.unfinished)} is left out: the session is not over")
        return lines


def yahoo_feed(
    symbols: Sequence[str],
    start: str | dt.date,
    end: str | dt.date | None = None,
    *,
    cache_dir: StrPath,
    adjustment: Adjustment | str = Adjustment.SPLIT,
    ttl_hours: float = 12.0,
    politeness: Politeness | None = None,
    base_url: str | None = None,
    timeout_s: float = 10.0,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    seed: int | None = None,
    **options: Any,
) -> PanelFeed:
    """Return a feed of Yahoo's daily bars from `start` to `end` (None: today), both included.

    ttl_hours: cached bars younger than this are used without asking.
    base_url: server to ask instead of Yahoo.
    clock, sleep, seed: for tests; seconds since 1970, and the jitter of the waits.
    options: strict, sectors and benchmark as for `open_source`.

    Raises DataError where there are no bars of any of the symbols, fetched or cached.
    """
    store = Path(cache_dir).expanduser()
    cache = YahooCache(store / "yahoo")
    wanted = list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))
    refresh = refresh_cache(
        wanted, start, end, cache_dir=cache_dir, ttl_hours=ttl_hours, politeness=politeness,
        base_url=base_url, timeout_s=timeout_s, clock=clock, sleep=sleep, seed=seed,
    )  # fmt: skip
    found = [symbol for symbol in wanted if symbol not in refresh.missing]
    if not found:
        why = next(iter(refresh.missing.values()))
        later = "" if refresh.nothing_new.issuperset(wanted) else "; try again later"
        raise DataError(f"Yahoo: no bars of {_listed(wanted)} ({why}) and none cached{later}")
    files = [(cache.path(symbol).name, cache.path(symbol)) for symbol in sorted(found)]
    feed = open_listed(
        files, cache.folder, adjustment=adjustment, cache_dir=store, start=start, end=end, **options
    )
    feed.quality = replace(feed.quality, notes=(*refresh.notes(), *feed.quality.notes))
    return feed


def refresh_cache(
    symbols: Sequence[str], start: str | dt.date, end: str | dt.date | None, *, cache_dir: StrPath,
    ttl_hours: float, politeness: Politeness | None = None, base_url: str | None = None,
    timeout_s: float = 10.0, clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep, seed: int | None = None,
) -> Refresh:  # fmt: skip
    """Bring the cache up to date for `symbols`, in upper case; the rest as for `yahoo_feed`."""
    store = Path(cache_dir).expanduser()
    cache = YahooCache(store / "yahoo")
    for symbol in symbols:
        cache.path(symbol)  # refuses what is no symbol before anything is fetched
    last = today(int(clock() * 1e9)) if end is None else day_number(end)
    first = day_number(start)
    if not symbols or first > last:
        raise DataError(f"Yahoo needs symbols and start <= end, was {len(symbols)} symbols, {start} to {end}")
    client = YahooClient(store / "yahoo-private", base_url=base_url, timeout_s=timeout_s)
    fetcher = _Fetcher(client, cache, politeness or Politeness(), clock, sleep, random.Random(seed))
    return fetcher.refresh(symbols, first, last, ttl_hours * 3600)


def cached_feed(
    symbols: Sequence[str], start: str | dt.date, end: str | dt.date | None = None, *, cache_dir: StrPath,
    adjustment: Adjustment | str = Adjustment.SPLIT, **options: Any,
) -> PanelFeed:  # fmt: skip
    """Return the feed of what the cache holds of these symbols by now: Yahoo is not asked.

    options: as for `yahoo_feed`. Raises DataError where nothing is cached.
    """
    store = Path(cache_dir).expanduser()
    cache = YahooCache(store / "yahoo")
    found = sorted({symbol.strip().upper() for symbol in symbols if cache.path(symbol).exists()})
    if not found:
        raise DataError(f"{cache.folder}: holds no bars of {_listed(symbols)}")
    files = [(cache.path(symbol).name, cache.path(symbol)) for symbol in found]
    return open_listed(
        files, cache.folder, adjustment=adjustment, cache_dir=store, start=start, end=end, **options
    )


def fetch_frames(
    symbols: Sequence[str], first: dt.date, last: dt.date, interval: str, *, cache_dir: StrPath,
    politeness: Politeness, base_url: str | None, timeout_s: float, clock: Callable[[], float],
    seed: int,
) -> tuple[Refresh, dict[str, Any]]:  # fmt: skip
    """Ask for the bars of an interval, such as 5m, and keep nothing: return what happened, and by symbol the
    DataFrames of `YahooClient.history`. The rest as for `yahoo_feed`."""
    folder = Path(cache_dir).expanduser() / "yahoo-private"
    client = YahooClient(folder, base_url=base_url, timeout_s=timeout_s)
    kept = _Frames(client, interval)
    fetcher = _Fetcher(kept, kept, politeness, clock, time.sleep, random.Random(seed))
    refresh = fetcher.refresh(symbols, day_number(first), day_number(last), 0.0)
    return refresh, kept.frames


class _Source(Protocol):
    def history(self, symbol: str, start: dt.date, end: dt.date) -> Any: ...


class _Keeper(Protocol):
    def find(self, symbol: str) -> Entry | None: ...
    def store(self, symbol: str, frame: Any, entry: Entry) -> bool: ...


class _Frames:
    """Bars of an interval, and a cache that begins empty and forgets."""

    def __init__(self, client: YahooClient, interval: str) -> None:
        self._client, self._interval = client, interval
        self.frames: dict[str, Any] = {}

    def history(self, symbol: str, start: dt.date, end: dt.date) -> Any:
        return self._client.history(symbol, start, end, self._interval)

    def find(self, symbol: str) -> Entry | None:
        return None

    def store(self, symbol: str, frame: Any, entry: Entry) -> bool:
        self.frames[symbol] = frame
        return False


class _Fetcher:
    """Brings the cache up to date. Gives up on all that is left once Yahoo has plainly stopped answering."""

    def __init__(
        self, client: _Source, cache: _Keeper, politeness: Politeness, clock: Callable[[], float],
        sleep: Callable[[float], None], rng: random.Random,
    ) -> None:  # fmt: skip
        self._client = client
        self._cache = cache
        self._politeness = politeness
        self._clock = clock
        self._sleep = sleep
        self._rng = rng
        self._lock = threading.Lock()
        self._failures = 0
        self._given_up = ""
        self._nothing_new: set[str] = set()

    def refresh(self, symbols: Sequence[str], start: int, end: int, ttl_s: float) -> Refresh:
        outcome = Refresh(nothing_new=self._nothing_new)
        due = []
        for symbol in symbols:
            entry = self._cache.find(symbol)
            age = entry.age_s(self._now_ns()) if entry else 0.0
            if entry is not None and entry.covers(start, end) and age < ttl_s:
                outcome.fresh.append(symbol)
                outcome.age_s[symbol] = age
            else:
                due.append(symbol)
        batch = self._politeness.batch
        with ThreadPoolExecutor(self._politeness.workers, "yahoo") as pool:
            for i in range(0, len(due), batch):
                if i and not self._given_up:
                    self._sleep(self._politeness.pause_s * self._rng.uniform(0.5, 1.5))
                part = due[i : i + batch]
                for symbol, why in zip(
                    part, pool.map(lambda s: self._fetch(s, start, end), part), strict=True
                ):
                    self._record(outcome, symbol, why)
        return outcome

    def _record(self, outcome: Refresh, symbol: str, why: str) -> None:
        """Note the result of a fetch: "" for success, "unfinished", else the reason of the failure."""
        entry = self._cache.find(symbol)
        if entry is not None:
            outcome.age_s[symbol] = entry.age_s(self._now_ns())
        if why in ("", "unfinished"):
            outcome.fetched.append(symbol)
            if why:
                outcome.unfinished.append(symbol)
        elif entry is not None:
            outcome.stale[symbol] = why
        else:
            outcome.missing[symbol] = why

    def _fetch(self, symbol: str, start: int, end: int) -> str:
        """Fetch and cache one symbol, patiently; see `_record` for what is returned."""
        old = self._cache.find(symbol)
        if old is not None:  # never let a narrower request shrink what is there
            start, end = min(start, old.start), max(end, old.end)
        why = ""
        for attempt in range(self._politeness.attempts):
            if self._given_up:
                return self._given_up
            if attempt:
                self._sleep(self._wait(attempt - 1))
            try:
                frame = self._client.history(symbol, date_of(start), date_of(end))
            except NoData as error:
                self._nothing_new.add(symbol)
                return str(error)
            except YahooError as error:
                why = str(error)
                limited = isinstance(error, RateLimited)
                continue
            self._failures = 0
            left_out = self._cache.store(symbol, frame, Entry(start, end, self._now_ns()))
            return "unfinished" if left_out else ""
        with self._lock:
            self._failures += 1
            if limited or self._failures >= _FAILURES_MAX:
                self._given_up = why
        return why

    def _wait(self, doublings: int) -> float:
        politeness = self._politeness
        with self._lock:
            jitter = self._rng.uniform(0.5, 1.5)
        wait: float = min(politeness.wait_max_s, politeness.wait_s * 2.0**doublings)
        return wait * jitter

    def _now_ns(self) -> int:
        return int(self._clock() * 1e9)


def _listed(symbols: Iterable[str]) -> str:
    names = list(symbols)
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _age(seconds: float) -> str:
    if seconds < 2 * 3600:
        return counted(round(seconds / 60), "minutes")
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86_400 else f"{seconds / 86_400:.0f} days"
