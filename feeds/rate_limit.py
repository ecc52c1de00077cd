"""How often a service may be asked: evenly spaced calls, and a count of today's that outlives the process.

1. Calls are spaced by a minute divided by the calls allowed in it. A bucket that first lets a burst through
   would send up to twice as many in the worst minute.
2. The day is New York's. Its count is on disk, shared by all processes and kept over restarts.
3. Deciding is synchronous and safe from several threads; whoever asked does the waiting.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from filelock import FileLock

from engine.errors import DataError
from feeds.atomic import write_whole
from feeds.provider import Failure, ProviderError

_NEW_YORK = ZoneInfo("America/New_York")


class _Count(msgspec.Struct):
    day: str
    calls: int


class DayCount:
    """Today's calls to `service`, at most `calls_max`, kept in the file `path`. clock: seconds since 1970."""

    def __init__(self, path: Path, service: str, calls_max: int, clock: Callable[[], float]) -> None:
        self._path = path
        self._service = service
        self._calls_max = calls_max
        self._clock = clock

    @property
    def left(self) -> int:
        """Return how many calls today still has."""
        return max(0, self._calls_max - self._read().calls)

    def take(self) -> None:
        """Count one call before it is made. Raises ProviderError (quota_exhausted) where none is left."""
        with self._locked() as count:
            if count.calls >= self._calls_max:
                raise ProviderError(
                    Failure.QUOTA_EXHAUSTED, self._service,
                    f"all {self._calls_max} requests of {count.day} are used up; the next day begins at "
                    f"midnight in New York",
                )  # fmt: skip
            count.calls += 1

    def exhaust(self) -> None:
        """Take the service's word that today's calls are used up, by whomever."""
        with self._locked() as count:
            count.calls = max(count.calls, self._calls_max)

    @contextmanager
    def _locked(self) -> Iterator[_Count]:
        """Within, no other process counts; at the end the count is written. Raises DataError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_name(self._path.name + ".lock")):
                yield (count := self._read())
                write_whole(self._path, msgspec.json.encode(count))
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written ({error.strerror or error})") from None

    def _read(self) -> _Count:
        today = dt.datetime.fromtimestamp(self._clock(), _NEW_YORK).date().isoformat()
        try:
            count = msgspec.json.decode(self._path.read_bytes(), type=_Count)
        except FileNotFoundError:
            return _Count(today, 0)
        except (
            msgspec.MsgspecError,
            UnicodeDecodeError,
        ):  # Written whole or not at all, so somebody edited it
            return _Count(today, 0)
        return count if count.day == today else _Count(today, 0)


class RateLimit:
    """Spaces calls: at most `per_minute` in any minute, none sooner than `interval_s` after the one before.

    None or 0: no such limit. clock: seconds that never go back (time.monotonic).
    """

    def __init__(
        self, per_minute: int | None, *, interval_s: float = 0.0, day: DayCount | None = None,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._interval_s = max(60.0 / per_minute if per_minute else 0.0, interval_s)
        self._day = day
        self._clock = clock
        self._lock = threading.Lock()
        self._next_s = float("-inf")

    def reserve(self) -> float:
        """Take the next free moment for one call and return how long to wait for it, in seconds.

        Raises ProviderError (quota_exhausted).
        """
        with self._lock:
            if self._day is not None:
                self._day.take()
            now = self._clock()
            moment = max(now, self._next_s)
            self._next_s = moment + self._interval_s
            return moment - now

    def hold(self, seconds: float) -> None:
        """Let no call begin within the next `seconds`: the service asked for it."""
        with self._lock:
            self._next_s = max(self._next_s, self._clock() + seconds)

    def exhaust(self) -> None:
        """Note that the service says that the day's calls are used up."""
        if self._day is not None:
            self._day.exhaust()
