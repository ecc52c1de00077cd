"""The store of the live monitor on real files: what is committed stays, what is damaged is told."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine import snapshot
from engine.errors import ConfigError, DataError
from storage import journal
from storage.found import DATABASE, MARK, read_only
from storage.journal import JournalDamaged
from storage.live import CHECKPOINT_COMMITS, IDLE_CHECKPOINT_COMMITS, Schema, StoreFailed, open_store
from tests.storage.killed import killed_copy

ROOT = Path(__file__).parents[2]
NOTES = Schema(("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)",))


@pytest.fixture
def home(tmp_path):
    return tmp_path / "store"


def fill(home, n, *, snapshots=()):
    """Append `n` rows as a monitor does; save a snapshot after those numbered in `snapshots`."""
    store = open_store(home, NOTES)
    for _ in range(n):
        with store.transaction() as connection:
            seq = store.append("row", 1_000 + store.head.seq, b"payload %d" % store.head.seq, b"done")
            connection.execute("INSERT INTO notes VALUES (?)", (f"note {seq}",))
            if seq in snapshots:
                store.save_snapshot(snapshot.encode({"seq": seq}))
    return store


def reopened(home):
    store = open_store(home, NOTES)
    store.close()
    return store


def test_rows_and_tables_are_there_after_reopening(home):
    store = fill(home, 5)
    head = store.head
    store.close()
    store = open_store(home, NOTES)
    assert store.head == head
    assert [entry.payload for entry in store.entries()] == [b"payload %d" % i for i in range(5)]
    assert store.connection.execute("SELECT count(*) FROM notes").fetchone() == (5,)
    store.close()


def test_an_exception_undoes_the_whole_transaction(home):
    store = fill(home, 2)

    def half() -> None:
        with store.transaction() as connection:
            store.append("row", 1, b"", b"")
            connection.execute("INSERT INTO notes VALUES ('never')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert store.head.seq == 2
    assert store.connection.execute("SELECT count(*) FROM notes").fetchone() == (2,)
    with store.transaction():
        assert store.append("row", 1, b"", b"") == 3
    store.close()
    assert reopened(home).head.seq == 3


def test_the_newest_snapshot_is_where_checking_starts(home):
    fill(home, 9, snapshots=(3, 6, 8)).close()
    store = reopened(home)
    assert store.snapshot is not None
    assert store.snapshot.head.seq == 8
    assert snapshot.decode(store.snapshot.data) == {"seq": 8}


def test_a_damaged_snapshot_gives_way_to_the_one_before(home):
    fill(home, 9, snapshots=(3, 6, 8)).close()
    raw = sqlite3.connect(home / DATABASE)
    raw.execute(
        "UPDATE snapshots SET data = CAST(substr(data, 1, length(data) - 1) || x'00' AS BLOB) WHERE seq = 8"
    )
    raw.commit()
    raw.close()
    store = reopened(home)
    assert store.snapshot is not None
    assert store.snapshot.head.seq == 6
    assert store.head.seq == 9
    (said,) = store.passed_over
    assert said.startswith("the snapshot of row 8: ")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE journal SET payload = 'payload x' WHERE seq = 4",
        "UPDATE journal SET payload = x'00' WHERE seq = 4",
        "UPDATE journal SET ts_ns = ts_ns + 1 WHERE seq = 4",
        "UPDATE journal SET outcome = x'01' WHERE seq = 4",
        "UPDATE journal SET kind = 'status' WHERE seq = 4",
        "UPDATE journal SET hash = x'00' WHERE seq = 6",
        "DELETE FROM journal WHERE seq = 4",
        "DELETE FROM journal WHERE seq = 6",
        "DELETE FROM journal",
        "DROP TABLE journal",
    ],
)
def test_a_changed_journal_is_refused_and_a_copy_kept(home, damage):
    fill(home, 6).close()
    raw = sqlite3.connect(home / DATABASE)
    raw.execute(damage)
    raw.commit()
    raw.close()
    before = (home / DATABASE).read_bytes()
    for _ in range(2):  # The second start finds the same and keeps no second copy
        with pytest.raises(JournalDamaged, match="a copy is in damaged-"):
            open_store(home, NOTES)
    assert (home / DATABASE).read_bytes() == before
    (kept,) = home.glob("damaged-*")
    assert (kept / DATABASE).read_bytes() == before


def test_a_log_that_lost_its_last_frame_is_noticed(home, tmp_path):
    store = fill(home, 6)
    copy = killed_copy(home, tmp_path)
    store.close()
    log = copy / f"{DATABASE}-wal"
    whole = log.read_bytes()
    log.write_bytes(whole[:-100])
    with pytest.raises(JournalDamaged, match="ends at row 5, but row 6 was on the disk"):
        open_store(copy, NOTES)
    (kept,) = copy.glob("damaged-*")
    assert (kept / log.name).read_bytes() == whole[:-100]


def test_a_log_that_lost_a_change_beside_the_journal_is_noticed(home, tmp_path):
    """A mail marked as sent, for one: it would be sent again, unmarked."""
    store = fill(home, 6)
    for text in ("pending", "sent"):
        with store.transaction() as connection:
            connection.execute("INSERT INTO notes VALUES (?)", (text,))
    copy = killed_copy(home, tmp_path)
    store.close()
    assert reopened(home).asides == 2
    log = copy / f"{DATABASE}-wal"
    log.write_bytes(log.read_bytes()[:-100])
    with pytest.raises(JournalDamaged, match="ends at change 1, but change 2 was on the disk"):
        open_store(copy, NOTES)


def test_a_transaction_that_changes_nothing_is_not_counted(home):
    store = fill(home, 2)
    with store.transaction() as connection:
        connection.execute("SELECT * FROM notes").fetchall()
    assert store.asides == 0
    store.close()


def test_yesterdays_database_under_todays_mark_is_noticed(home, tmp_path):
    fill(home, 3).close()
    old = (home / DATABASE).read_bytes()
    fill(home, 3).close()
    (home / DATABASE).write_bytes(old)
    with pytest.raises(JournalDamaged, match="ends at row 3, but row 6"):
        open_store(home, NOTES)


def test_another_stores_database_is_noticed(home, tmp_path):
    fill(home, 3).close()
    other = tmp_path / "other"
    store = open_store(other, NOTES)
    for _ in range(4):
        with store.transaction():
            store.append("row", 1, b"of another", b"")
    store.close()
    shutil.copy2(other / DATABASE, home / DATABASE)
    with pytest.raises(JournalDamaged, match="is not the one that was on the disk"):
        open_store(home, NOTES)


@pytest.mark.parametrize("name", [DATABASE, MARK])
def test_a_missing_file_is_noticed(home, name):
    fill(home, 3).close()
    (home / name).unlink()
    with pytest.raises(JournalDamaged):
        open_store(home, NOTES)


def test_one_torn_mark_leaves_the_other(home):
    store = fill(home, 4)
    store.close()
    for start in (0, 512):
        data = bytearray((home / MARK).read_bytes())
        data[start + 20] ^= 0xFF
        broken = bytes(data)
        (home / MARK).write_bytes(broken)
        assert reopened(home).head == store.head
        data[start + 20] ^= 0xFF
        (home / MARK).write_bytes(data)


def test_a_second_monitor_is_told_who_holds_the_store(home):
    store = fill(home, 1)
    code = (
        "import sys; from storage.live import open_store; from pathlib import Path;"
        " open_store(Path(sys.argv[1]))"
    )
    second = subprocess.run(
        [sys.executable, "-c", code, str(home)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert f"StoreLocked: {home}: locked by pid {os.getpid()}" in second.stderr.replace("storage.live.", "")
    store.close()
    reopened(home)


def test_the_lock_goes_with_the_process_that_is_killed(home):
    code = (
        "import os, sys, signal; from storage.live import open_store; from pathlib import Path;"
        " open_store(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(home)], cwd=ROOT, check=False)
    reopened(home)


def test_a_store_that_others_may_write_is_refused(home):
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(ConfigError, match="chmod 700"):
        open_store(home)


def test_the_store_of_a_newer_program_is_refused_untouched(home):
    fill(home, 2).close()
    raw = sqlite3.connect(home / DATABASE)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    before = (home / DATABASE).read_bytes()
    with pytest.raises(DataError, match="written by a newer version"):
        open_store(home, NOTES)
    assert (home / DATABASE).read_bytes() == before


def test_a_full_disk_ends_the_monitor_and_loses_nothing(home):
    store = fill(home, 3)
    store.connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreFailed, match="free or repair the disk"), store.transaction():
        store.append("row", 1, bytes(10**6), b"")
    assert store.head.seq == 3
    store.close()
    assert reopened(home).head.seq == 3


def test_a_store_without_its_version_is_refused(home):
    fill(home, 2).close()
    raw = sqlite3.connect(home / DATABASE)
    raw.execute("PRAGMA user_version = 0")
    raw.close()
    with pytest.raises(JournalDamaged, match="its version is gone"):
        open_store(home, NOTES)


def test_damage_found_while_it_runs_keeps_a_copy_too(home):
    store = fill(home, 3)
    log = (home / f"{DATABASE}-wal").read_bytes()
    error = store.damaged("message 7 does not match")
    assert "message 7 does not match. Nothing was changed, a copy is in damaged-" in str(error)
    (copy,) = home.glob("damaged-*")
    assert (copy / f"{DATABASE}-wal").read_bytes() == log
    store.close()


def test_a_running_store_can_be_read(home):
    store = fill(home, 3)
    with read_only(home) as connection:
        assert journal.verify(connection) == store.head
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("DELETE FROM journal")
    store.close()


@pytest.mark.parametrize(("idle", "every"), [(True, IDLE_CHECKPOINT_COMMITS), (False, CHECKPOINT_COMMITS)])
def test_the_log_is_written_over_from_the_beginning_sooner_where_nobody_waits(home, idle, every):
    store = open_store(home, NOTES)
    log = home / f"{DATABASE}-wal"
    grown = []
    for _ in range(every + 4):
        before = log.stat().st_size
        with store.transaction():
            store.append("row", 1_000, bytes(5_000), b"done")
        grown.append(log.stat().st_size > before)
        store.maintain(idle=idle)
    assert all(grown[: every - 1])  # Opening was a commit too
    assert not any(grown[every:])
    store.close()
