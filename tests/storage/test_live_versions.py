"""The live store of an earlier version is brought up to date at its first start, whole or not at all."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import DataError
from monitors import listing, outbox, stream_log
from monitors.writer import SCHEMA
from scripts.store_verify import verified
from storage import journal
from storage.found import DATABASE, MARK, VERSION, read_only
from storage.high_water import HighWater, Mark
from storage.live import open_store
from tests.monitors.live_market import at, plan, rows, writer_on

ROOT = Path(__file__).resolve().parents[2]
# A monitor's first days as version 1 wrote them: 11 journal rows, 4 alerts, a mail that was under way
VERSION_1 = Path(__file__).with_name("live_version_1.sql")
ADDED = {
    "journal": ["said"], "stream": ["digest"], "stream_identity": ["digest"], "mail": ["digest"],
    "outbox": ["journal_seq", "digest"], "alert_listing": ["digest"],
}  # fmt: skip


def old_store(home: Path) -> Path:
    home.mkdir(mode=0o700)
    with closing(sqlite3.connect(home / DATABASE)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.executescript(VERSION_1.read_text())
        head = journal.head_at(raw, journal.newest_seq(raw))
    mark = HighWater(home / MARK)
    mark.raise_to(Mark(head))
    mark.close()
    return home


def as_version_1(home: Path) -> None:
    """Take out of a store what version 2 added."""
    with closing(sqlite3.connect(home / DATABASE, isolation_level=None)) as raw:
        raw.execute("BEGIN")
        head, heads = journal.EMPTY, {0: journal.EMPTY.hash}
        for entry in raw.execute("SELECT seq, kind, ts_ns, payload, outcome FROM journal").fetchall():
            head = journal.Head(entry[0], journal._chained(head.hash, *entry, b""))
            heads[head.seq] = head.hash
            raw.execute("UPDATE journal SET hash = ? WHERE seq = ?", (head.hash, head.seq))
        for (seq,) in raw.execute("SELECT seq FROM snapshots").fetchall():
            raw.execute("UPDATE snapshots SET hash = ? WHERE seq = ?", (heads[seq], seq))
        for table, columns in ADDED.items():
            for column in columns:
                raw.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in ("journal_base", "stream_kept", "asides"):
            raw.execute(f"DROP TABLE {table}")
        raw.execute("PRAGMA user_version = 1")
        raw.execute("COMMIT")
    (home / MARK).unlink()
    mark = HighWater(home / MARK)
    mark.raise_to(Mark(head))
    mark.close()


def kept(home: Path) -> list[list[tuple[object, ...]]]:
    """Return what version 1 knew, of all that is kept."""
    with read_only(home) as connection:
        return [
            connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
            for table, columns in (
                ("journal", "seq, kind, ts_ns, payload, outcome, hash"),
                ("stream", "seq, family, family_seq, count, ts_ns, payload, journal_seq"),
                ("stream_identity", "stream, epoch"),
                ("outbox", "id, notif_key, rule, subject, label, detected_ns, mail, held_back, payload"),
                ("mail", "id, message_id, created_ns, subject, body"),
                ("mail_row", "mail_id, outbox_id"),
                ("delivery", "mail_id, recipient, state, attempts, due_ns"),
                ("alert_listing", "id, payload"),
            )
        ]


def test_a_store_of_version_1_is_brought_up_to_date_and_keeps_everything(tmp_path):
    home = old_store(tmp_path / "store")
    before = kept(home)
    store = open_store(home, SCHEMA)
    assert kept(home) == before
    assert store.head.seq == 11
    assert store.connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert len(listing.load(store.connection).alerts) == 3
    assert outbox.stats(store.connection).open == 3
    with store.transaction() as connection:
        assert outbox.recover(connection) == 1
        assert stream_log.open_epoch(connection, "new") == ("fixture", 2)
    store.close()
    counts, _ = verified(home)
    assert counts["journal_rows"] == 11
    assert counts["alerts"] == 4


def test_a_monitor_goes_on_with_a_store_of_version_1_as_if_it_had_always_been_of_this_one(tmp_path):
    states = []
    for version in (1, 2):
        writer = writer_on(tmp_path / str(version), snapshot_inputs=15)
        writer.take(plan(), at())
        for row in rows(0, 20):
            writer.take(row, at())
        writer.store.close()
        if version == 1:
            as_version_1(tmp_path / "1")
        writer = writer_on(tmp_path / str(version), snapshot_inputs=15)
        for row in rows(20, 40):
            writer.take(row, at())
        states.append((writer.core.snapshot(), stream_log.position(writer.store.connection)))
        writer.store.close()
        verified(tmp_path / str(version))
    assert states[0] == states[1]


def test_damage_after_the_upgrade_is_noticed_in_rows_from_before_it_too(tmp_path):
    home = old_store(tmp_path / "store")
    open_store(home, SCHEMA).close()
    with closing(sqlite3.connect(home / DATABASE)) as raw, raw:
        raw.execute("UPDATE stream SET ts_ns = ts_ns + 1 WHERE seq = 1")
    with pytest.raises(journal.JournalDamaged, match="message 1 does not match its digest"):
        verified(home)


def test_what_only_reads_takes_an_old_store_as_it_is_or_says_why_not(tmp_path):
    home = old_store(tmp_path / "store")
    with read_only(home) as connection:
        assert journal.verify(connection).seq == 11
        assert len(listing.load(connection).alerts) == 3
    with pytest.raises(DataError, match="older version"):
        verified(home)


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from monitors.writer import SCHEMA
from storage import live
connect, home = live.connect, Path(sys.argv[1])
n = 0
while True:
    n += 1
    trial = Path(shutil.copytree(home, f"{home}-{n}"))
    if os.fork() == 0:
        left = n
        def count(statement):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        def counted(path):
            connection = connect(path)
            connection.set_trace_callback(count)
            return connection
        live.connect = counted
        live.open_store(trial, SCHEMA)
        os._exit(0)
    if os.wait()[1] == 0:
        break
print(n)
"""


def test_a_start_killed_at_any_statement_of_the_upgrade_leaves_the_old_store_whole(tmp_path):
    home = old_store(tmp_path / "store")
    before = kept(home)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    n_trials = int(done.stdout)
    assert n_trials > 50
    for n in range(1, n_trials + 1):
        trial = home.with_name(f"store-{n}")
        with read_only(trial) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        assert version == (1 if n < n_trials else VERSION) or n == n_trials - 1  # Killed after the commit
        assert kept(trial) == before
        open_store(trial, SCHEMA).close()
        verified(trial)
        shutil.rmtree(trial)
