"""The writer: one transaction per input, and a start that is nothing but recovery."""

import sqlite3

import pytest

from engine.errors import DataError
from monitors import inputs, listing, stream_log
from monitors.inputs import Readings, Start, Stop
from storage import journal
from storage.journal import Entry
from tests.monitors.live_market import at, plan, rows, writer_on


@pytest.fixture
def home(tmp_path):
    return tmp_path / "store"


def begun(home, n_rows, **options):
    writer = writer_on(home, **options)
    writer.take(plan(), at())
    writer.take(Start("code", "test"), at())
    for row in rows(0, n_rows):
        writer.take(row, at())
    return writer


def test_what_an_input_causes_is_committed_with_it_and_returned_to_be_sent(home):
    writer = begun(home, 8)
    (row,) = rows(8, 9)
    taken = writer.take(row, at())
    kept = stream_log.read(writer.store.connection, None, 0, 1_000)
    assert list(taken.rows) == kept[-len(taken.rows) :]
    assert {one.family for one in taken.rows} >= {"bar", "equity"}
    symbols, bars = writer.bars_of(taken.rows[-1].journal_seq)
    assert symbols == plan().symbols
    assert bars is row.bars
    writer.store.close()


@pytest.mark.parametrize("snapshot_inputs", [1, 7, 10_000])
def test_a_start_replays_what_came_after_the_newest_snapshot(home, snapshot_inputs):
    writer = begun(home, 30, snapshot_inputs=snapshot_inputs)
    state = writer.core.snapshot()
    writer.store.close()
    again = writer_on(home)
    assert again.core.snapshot() == state
    again.store.close()


def test_a_start_and_a_recovery_run_the_same_code(home, monkeypatch):
    """A new store replays nothing, by the very function that replays everything."""
    calls = []
    replayed = type(begun(home, 3)).recover
    monkeypatch.setattr(
        "monitors.writer.Writer.recover", lambda self: calls.append(replayed(self)) or calls[-1]
    )
    fresh = writer_on(home.with_name("new"))
    assert calls == [0]
    fresh.store.close()


def test_old_bars_are_read_from_the_journal(home):
    writer = begun(home, 6)
    seq = writer.store.head.seq
    _, bars = writer.bars_of(seq - 3)
    assert bars.close.tobytes() == rows(2, 3)[0].bars.close.tobytes()
    assert writer.bars_of(1) is None
    writer.store.close()


def test_an_outcome_that_is_decided_otherwise_than_the_journal_says_is_refused(home):
    writer = begun(home, 4)
    entry = next(journal.read(writer.store.connection))
    with writer.store.transaction():
        given, readings = inputs.decode(entry)
        writer.store.append("plan", 0, inputs.encode(given, readings), bytes(32))
    writer.store.close()
    with pytest.raises(DataError, match=r"row 7 \(plan\) is decided differently now"):
        writer_on(home)


def test_an_exception_of_the_core_leaves_nothing_behind(home, monkeypatch):
    writer = begun(home, 4)
    before = writer.store.head

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(type(writer.core), "apply", broken)
    with pytest.raises(ZeroDivisionError):
        writer.take(rows(4, 5)[0], at())
    assert writer.store.head == before
    writer.store.close()


@pytest.mark.parametrize("given", [inputs.Tick(), Stop("c")])
def test_alerts_are_listed_as_they_are_though_nothing_was_said_about_them_since(home, given):
    writer = begun(home, 21)
    told = listing.load(writer.store.connection)
    assert not writer.take(rows(21, 22)[0], at()).outcome.transitions
    writer.take(given, at(5))
    now = listing.load(writer.store.connection)
    assert now == writer.core.machine.monitors.listing
    assert now.ts_ns == at(5).now_ns
    assert [one.key for one in now.alerts] == [one.key for one in told.alerts]
    assert [one.value for one in now.alerts] != [one.value for one in told.alerts]
    writer.store.close()


def test_every_kind_of_input_comes_back_from_its_bytes():
    from feeds.live import FeedStatus
    from monitors.view import Condition
    from storage.commands import Command

    readings = Readings(5, 1.5, 2.5, (Condition("monitor_degraded", "a", "b"),))
    given = [
        plan(), Start("a", "b"), Stop("c"), inputs.Tick(), FeedStatus("down", "", "d"),
        Command("1", "ack", 2, "ann", {"key": "k"}), rows(21, 22)[0],
    ]  # fmt: skip
    for one in given:
        payload = inputs.encode(one, readings)
        back, read = inputs.decode(Entry(1, inputs.KINDS[type(one)], 0, payload, b"", b""))
        assert read == readings
        assert inputs.encode(back, read) == payload
    with pytest.raises(DataError, match="does not know"):
        inputs.decode(Entry(1, "novel", 0, b"", b"", b""))
    with pytest.raises(DataError, match="cannot be read"):
        inputs.decode(Entry(1, "tick", 0, b"\xc1", b"", b""))


def test_the_store_of_a_running_monitor_can_be_read_by_others(home):
    writer = begun(home, 4)
    other = sqlite3.connect(f"{(home / 'live.db').as_uri()}?mode=ro", uri=True)
    assert other.execute("SELECT max(seq) FROM journal").fetchone() == (6,)
    other.close()
    writer.store.close()
