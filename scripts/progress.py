"""How far a run has come, on stderr, from its second second on.

On a terminal a bar with rate and estimated time left; otherwise (a log, a pipe) a plain line now and then.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from scripts.console import note

QUIET_SECONDS = 1.0  # nothing is shown for work that is done by then
LINE_SECONDS = 5.0  # between two plain lines
REDRAW_SECONDS = 0.1
COMPILING_SECONDS = 2.0
COMPILING = "compiling kernels, once per machine and version: about half a minute"


class Progress:
    """A context around a run, an import or a download. The loop calls it, `progress(rows_done, bars_done,
    ts)`; an import calls `importing(rows_done, rows_total)`, a download `fetching(symbols_done)`."""

    def __init__(
        self,
        rows_total: int | None,
        *,
        what: str = "replay",
        clock: Callable[[], float] = time.perf_counter,
        terminal: bool | None = None,
    ) -> None:
        self._total = rows_total
        self._what = what
        self._clock = clock
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._began = clock()
        self._due = self._began + QUIET_SECONDS
        self._first: tuple[float, int, int] | None = None  # when the first report came, and what it said
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, rows_done: int, bars_done: int, ts: int) -> None:
        if self._is_due(rows_done, bars_done):
            day = datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat()
            self._show(rows_done, f"{self._what} {day}", self._rate(bars_done, "bars"))

    def importing(self, rows_done: int, rows_total: int) -> None:
        self._total = rows_total
        if self._is_due(rows_done, rows_done):
            self._show(rows_done, self._what, self._rate(rows_done, "rows"))

    def fetching(self, symbols_done: int) -> None:
        if self._first is None:  # Nothing is compiled, and the first few answers come all at once
            self._first = (self._began, 0, 0)
        if self._is_due(symbols_done, symbols_done):
            rate = f"{60 * self._speed(self._clock(), symbols_done, 1):.0f} symbols/min"
            self._show(symbols_done, self._what, rate)

    def _is_due(self, done: int, amount: int) -> bool:
        """Return whether to show something now. A live loop calls for every row, so this is all it costs."""
        now = self._clock()
        if self._first is None:
            self._first = (now, done, amount)  # There is no rate yet
            return False
        if now < self._due or (done == self._total and self._bar is None):
            return False
        self._due = now + (REDRAW_SECONDS if self._terminal else LINE_SECONDS)
        return True

    def _show(self, done: int, label: str, rate: str) -> None:
        if self._terminal:
            self._draw(done, label, rate)
        else:
            remaining = self._remaining(done, self._speed(self._clock(), done, 1))
            note(f"{label}  {self._share(done)}{rate}{remaining}")

    def _rate(self, amount: int, unit: str) -> str:
        speed = self._speed(self._clock(), amount, 2)
        return f"{speed / 1e6:.2f} M {unit}/s" if speed >= 1e5 else f"{speed:,.0f} {unit}/s"

    def _speed(self, now: float, amount: int, which: int) -> float:
        """Return units per second since the first report of a run or import: compilation came before."""
        assert self._first is not None
        return (amount - self._first[which]) / max(now - self._first[0], 1e-9)

    def _draw(self, done: int, label: str, rate: str) -> None:
        if self._bar is None:
            self._bar = _terminal_bar()
            self._task = self._bar.add_task(label, total=self._total, rate=rate)
            self._bar.start()
        self._bar.update(
            self._task, completed=done, total=self._total, description=label, rate=rate, refresh=True
        )

    def _share(self, done: int) -> str:
        return f"{100 * done / self._total:3.0f} %  " if self._total else f"{done:,} rows  "

    def _remaining(self, done: int, rows_per_second: float) -> str:
        if not self._total or rows_per_second <= 0:
            return ""
        return f"  ETA {max(0, self._total - done) / rows_per_second:.0f} s"


def compiled_kernels() -> int:
    """Return how many kernels are in this machine's cache for these sources."""
    from engine.jit import CACHE_DIR

    return sum(1 for _ in CACHE_DIR.rglob("*.nbi"))


@contextmanager
def telling_of_compilation(known: int) -> Iterator[None]:
    """Within, say so when kernels are compiled: nobody should wonder what a first run is waiting for.

    known: `compiled_kernels()` of before the program loaded any. None: said at once. A cache can also be warm
    for some kernels only, without a strategy or mode that was never used here: said of what takes long.
    """
    from engine.jit import numba_events

    if known == 0:
        note(COMPILING)
        yield
        return
    listener = _long_compilations()
    numba_events.register("numba:compile", listener)
    try:
        yield
    finally:
        numba_events.unregister("numba:compile", listener)


def _long_compilations() -> Any:
    """Return a listener that tells once of a kernel that takes long to compile."""
    from engine.jit import numba_events

    class Listener(numba_events.Listener):  # type: ignore[misc]  # Numba's types do not cover it
        depth = 0  # a kernel's parts are compiled within it
        told = False

        def on_start(self, happened: Any) -> None:
            self.depth += 1
            if self.depth == 1 and not self.told:
                self.timer = threading.Timer(COMPILING_SECONDS, self.tell)
                self.timer.daemon = True
                self.timer.start()

        def on_end(self, happened: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                self.timer.cancel()

        def tell(self) -> None:
            self.told = True
            note(COMPILING)

    return Listener()


def _terminal_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, force_terminal=True),
        transient=True,
        auto_refresh=False,  # A second thread would compete with the kernels for the machine
    )
