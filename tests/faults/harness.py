"""Faults at chosen calls of a monitor's life, and what must be true afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.sink import Sink

ROOT = Path(__file__).parents[2]
SHIM_SOURCE = Path(__file__).with_name("shim.c")
KILLED = -9


class Content(NamedTuple):
    """What a finished store says, without what may depend on how often it was started."""

    stream: list[tuple[Any, ...]]
    outbox: list[tuple[Any, ...]]
    state: str  # sha256 of the last snapshot


class Laboratory:
    """A mail server, and a process that forks trials under the shim. Use as a context manager."""

    def __enter__(self) -> Laboratory:
        memory = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(prefix="smallcap-faults-", dir=memory if memory.is_dir() else None))
        self.sink = Sink().__enter__()
        shim = self.root / "shim.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", shim, SHIM_SOURCE, "-ldl"], check=True)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fork_server", str(self.sink.port)],
            cwd=ROOT, env={**os.environ, "LD_PRELOAD": str(shim)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._answer() == {"status": "ready"}
        self.n_trials = self._n_orders = 0
        self.deaths: Counter[str] = Counter()
        trace = self.root / "trace"
        store, recipient = self.new_trial()
        assert self.live(store, recipient, trace=str(trace))["status"] == 0
        self.calls = calls_in(trace)
        self.points = points_of(self.calls)
        self.reference = content(store)
        self.told = self.keys_told(recipient)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
        self.sink.__exit__()
        shutil.rmtree(self.root)

    def new_trial(self) -> tuple[Path, str]:
        """Return a folder and a recipient that nobody had before."""
        self.n_trials += 1
        return self.root / f"store-{self.n_trials}", f"trial-{self.n_trials}@example.org"

    def live(self, store: Path, recipient: str, **fault: Any) -> dict[str, Any]:
        """Let a monitor live until its feed ends or the fault ends it; return its exit status."""
        order = {"store": str(store), "port": self.sink.port, "recipient": recipient, **fault}
        assert self._server.stdin is not None
        self._n_orders += 1
        self._server.stdin.write(json.dumps({**order, "order": self._n_orders}) + "\n")
        self._server.stdin.flush()
        while (answer := self._answer())["order"] != self._n_orders:
            pass  # Of a test that ran out of time
        return answer

    def live_on(self, store: Path, recipient: str, **order: Any) -> None:
        """Start again without a fault; it must end as if nothing had been."""
        again = self.live(store, recipient, **order)
        assert again["status"] == 0, again["said"]

    def keys_told(self, recipient: str) -> set[str]:
        """Return the alert keys in all mails to a recipient."""
        return {str(key) for mail in self.sink.mails_to(recipient) for key in mail.get_all("X-Alert-Key", [])}

    def check_like_undisturbed(self, store: Path, recipient: str, *, n_faults: int) -> int:
        """Assert that ledger, alerts, stream and mails are those of an undisturbed life.

        Returns how many mails came twice.
        """
        found = content(store)
        assert found.stream == self.reference.stream
        assert found.outbox == self.reference.outbox
        assert found.state == self.reference.state
        assert self.keys_told(recipient) == self.told, "alerts were lost, or told that never were"
        n_repeats = self._check_repeats(recipient)
        assert n_repeats <= n_faults, "at most one mail is under way at a time"
        self.check_wire(store, found)
        shutil.rmtree(store)
        return n_repeats

    def _check_repeats(self, recipient: str) -> int:
        first: set[str] = set()
        n_repeats = 0
        for mail in self.sink.mails_to(recipient):
            marked, identity = mail["X-Alert-Repeat"] is not None, str(mail["Message-ID"])
            if identity in first:
                assert marked, f"{identity} came again and did not say so"
                n_repeats += 1
            first.add(identity)
        return n_repeats

    def check_wire(self, store: Path, found: Content) -> None:
        """Assert that nothing was ever published that the store does not hold, with the same content."""
        kept = {(row[0], row[1]): (row[2], row[3], row[4], row[5].hex()) for row in found.stream}
        for line in store.with_name(store.name + ".wire").read_text().splitlines():
            seq, family, family_seq, count, ts_ns, payload = (*line.split(" "), "")[:6]
            told = int(family_seq), int(count), int(ts_ns), payload
            assert kept[int(seq), family] == told, f"{family} {seq} was published otherwise than it is kept"

    def _answer(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the fork server is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


def calls_in(trace: Path) -> list[tuple[int, str, str]]:
    """Return what a life did, in order: number of the call, kind, file or words.

    A publication is no call: its kind is `mark`, its number that of the call before it.
    """
    lines = [line.split(" ", 2) for line in trace.read_text().splitlines()]
    return [(int(number), kind, what.strip()) for number, kind, what in lines]


def points_of(calls: list[tuple[int, str, str]]) -> dict[int, str]:
    """Return the calls that a fault can hit: number -> what it does to what."""
    return {number: f"{kind} {Path(what).name}" for number, kind, what in calls if kind != "mark"}


def content(store: Path) -> Content:
    connection = sqlite3.connect(f"{(store / 'live.db').as_uri()}?mode=ro", uri=True)
    try:
        stream = connection.execute(
            "SELECT seq, family, family_seq, count, ts_ns, payload FROM stream ORDER BY seq"
        ).fetchall()
        outbox = connection.execute(
            "SELECT notif_key, alert_key, rule, subject, label, severity, detected_ns, mail, payload"
            " FROM outbox ORDER BY id"
        ).fetchall()
        (data,) = connection.execute("SELECT data FROM snapshots ORDER BY seq DESC LIMIT 1").fetchone()
    finally:
        connection.close()
    return Content(stream, outbox, hashlib.sha256(data).hexdigest())


def stratified(points: dict[int, str], n: int, kinds: tuple[str, ...] | None = None) -> list[int]:
    """Return about `n` of the points: each kind of call at its first, last and middle, others spread evenly.

    kinds: beginnings of what a point does; None for all.
    """
    chosen: set[int] = set()
    by_kind: dict[str, list[int]] = {}
    for number, what in points.items():
        if kinds is None or what.startswith(kinds):
            by_kind.setdefault(what, []).append(number)
    for numbers in by_kind.values():
        chosen |= {numbers[len(numbers) // 2]} | ({numbers[0], numbers[-1]} if n >= 40 else set())
    everything = sorted(number for numbers in by_kind.values() for number in numbers)
    missing = max(n - len(chosen), 0)
    if missing:
        step = max(len(everything) // missing, 1)
        chosen |= set(everything[step // 2 :: step])
    return sorted(chosen)
