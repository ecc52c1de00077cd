"""A log of large commits has room, and what is in it stands."""

import sqlite3
from contextlib import closing

import pytest

from storage.found import DATABASE
from storage.journal import JournalDamaged
from storage.live import LOG_SEEN_COMMITS, open_store
from storage.log_room import LOG_BYTES, PIECE_BYTES
from tests.storage.killed import killed_copy

LARGE = b"bars" * 2**15


def filled(home, payload):
    """Return a store after so many rows that its log has been looked at, and one more."""
    store = open_store(home)
    for _ in range(LOG_SEEN_COMMITS + 1):
        with store.transaction():
            store.append("row", 1_000, payload, b"done")
        store.maintain(idle=False)
    return store


def pages_in_log(store):
    return store.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]


def test_a_log_of_large_commits_gets_room_at_once(tmp_path):
    with closing(filled(tmp_path / "store", LARGE)) as store:
        log = tmp_path / "store" / f"{DATABASE}-wal"
        assert LOG_BYTES <= log.stat().st_size < LOG_BYTES + PIECE_BYTES
        assert len(list(store.entries())) == LOG_SEEN_COMMITS + 1


def test_a_log_of_small_commits_is_left_alone(tmp_path):
    with closing(filled(tmp_path / "store", b"few")):
        assert (tmp_path / "store" / f"{DATABASE}-wal").stat().st_size < 2**20


def test_a_killed_store_finds_all_that_is_in_a_log_with_room(tmp_path):
    with closing(filled(tmp_path / "store", LARGE)) as store:
        copy, head = killed_copy(tmp_path / "store", tmp_path), store.head
    with closing(open_store(copy)) as found:
        assert found.head == head
        assert [entry.payload for entry in found.entries()] == [LARGE] * head.seq


def test_a_lost_last_page_of_a_log_with_room_is_noticed(tmp_path):
    with closing(filled(tmp_path / "store", LARGE)) as store:
        copy, n_pages = killed_copy(tmp_path / "store", tmp_path), pages_in_log(store)
    with (copy / f"{DATABASE}-wal").open("r+b") as log:
        log.seek(32 + (n_pages - 1) * (4_096 + 24))
        assert log.read(4) != bytes(4)
        log.seek(-4, 1)
        log.write(bytes(4_096 + 24))
    with pytest.raises(JournalDamaged):
        open_store(copy)


def test_after_it_was_folded_the_log_keeps_its_room(tmp_path):
    with closing(filled(tmp_path / "store", LARGE)) as store:
        pages_in_log(store)
        with store.transaction():
            store.append("row", 1_000, LARGE, b"done")
        assert (tmp_path / "store" / f"{DATABASE}-wal").stat().st_size >= LOG_BYTES
        with closing(sqlite3.connect(tmp_path / "store" / DATABASE)) as reading:
            assert reading.execute("SELECT max(seq) FROM journal").fetchone() == (store.head.seq,)
