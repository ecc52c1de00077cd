"""A monitor forgets its oldest rows, a little with each input, and stays whole and able to start again."""

import json
import shutil
import sqlite3

import pytest

from monitors import outbox, outbox_pruning, outbox_tables, stream_log
from monitors import writer as writing
from monitors.core import LiveCore
from monitors.inputs import Tick
from monitors.writer import SCHEMA, Writer
from scripts.cli import run
from scripts.live_assembly import assemble
from scripts.store_verify import verified
from storage import journal
from storage.found import DATABASE, MARK
from storage.journal import JournalDamaged
from storage.live import open_store
from tests.monitors.live_market import at, plan, rows

KEPT, SNAPSHOT_INPUTS = 40, 5
DAY_S = 86_400


@pytest.fixture(autouse=True)
def prompt_pruning(monkeypatch):
    """Something is forgotten with each input, not every few: what is left hangs on no remainder."""
    monkeypatch.setattr(writing, "PRUNE_INPUTS", 1)


def writer_on(home, rows_kept=KEPT):
    store = open_store(home, SCHEMA)
    store.connection.execute("PRAGMA synchronous = OFF")  # Only processes die here, no machine
    writer = Writer(store, LiveCore(assemble), snapshot_inputs=SNAPSHOT_INPUTS, rows_kept=rows_kept)
    writer.recover()
    return writer


def lived(home, rows_kept=KEPT, *, mailed=True):
    """Return a monitor after 60 rows and 60 ticks, a day each; alerts are mailed as they come."""
    writer = writer_on(home, rows_kept)
    writer.take(plan(), at())
    for day, row in enumerate(rows(0, 60)):
        for given in (row, Tick()):
            writer.take(given, at(day * DAY_S))
        if mailed:
            deliver(writer, at(day * DAY_S).now_ns)
    return writer


def deliver(writer, now_ns):
    with writer.store.transaction() as connection:
        mail = outbox.compose(connection, ["pm@fund.test"], domain="fund.test", now_ns=now_ns, rows_max=9)
        if mail is not None:
            outbox.start(connection, mail, ["pm@fund.test"])
            outbox.sent(connection, mail, "pm@fund.test", now_ns)


def count(writer, table, where="1"):
    return writer.store.connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]


def test_what_is_kept_is_bounded_and_whole(tmp_path):
    writer, everything = lived(tmp_path / "store"), lived(tmp_path / "all", None)
    begin = journal.base(writer.store.connection).seq
    assert begin >= 50
    assert KEPT <= count(writer, "journal") <= KEPT + KEPT // 8 + 2 * SNAPSHOT_INPUTS
    for table in ("stream", "outbox", "mail", "delivery"):
        assert 0 < count(writer, table) < count(everything, table)
    assert count(writer, "stream", f"journal_seq <= {begin}") <= 6  # The newest of each family
    before = begin - 2 * SNAPSHOT_INPUTS  # The alerts of the part that went last go with the next input
    assert count(writer, "outbox", f"journal_seq <= {before}") == 0
    assert count(everything, "outbox", f"journal_seq <= {before}") > 0
    assert count(everything, "journal") == 121
    writer.store.close()
    everything.store.close()
    counts, _ = verified(tmp_path / "store")
    assert counts["journal_rows"] == 121 - begin


def test_a_monitor_that_forgets_decides_and_numbers_as_one_that_does_not(tmp_path):
    states = []
    for name, rows_kept in (("store", KEPT), ("all", None)):
        lived(tmp_path / name, rows_kept).store.close()
        writer = writer_on(tmp_path / name, rows_kept)
        taken = writer.take(Tick(), at(61 * DAY_S))
        states.append((writer.core.snapshot(), writer.store.head.seq, taken.rows))
        writer.store.close()
    assert states[0] == states[1]


def test_what_nobody_has_got_is_kept(tmp_path):
    writer = lived(tmp_path / "store", mailed=False)
    everything = lived(tmp_path / "all", None, mailed=False)
    assert journal.base(writer.store.connection).seq >= 50
    assert count(writer, "outbox", "mail = 1") == count(everything, "outbox", "mail = 1") > 5
    writer.store.close()
    everything.store.close()
    verified(tmp_path / "store")


def test_a_mail_that_was_split_goes_when_both_halves_have_arrived(tmp_path):
    writer = lived(tmp_path / "store", None, mailed=False)
    people, now_ns = ["pm@fund.test"], at().now_ns
    with writer.store.transaction() as connection:
        whole = outbox.compose(connection, people, domain="fund.test", now_ns=now_ns, rows_max=4)
        outbox.start(connection, whole, people)
        outbox.split(connection, whole, people[0], domain="fund.test", now_ns=now_ns)
        outbox.start(connection, whole + 1, people)
        outbox.sent(connection, whole + 1, people[0], now_ns)
        later_ns = at(365 * DAY_S).now_ns
        before = count(writer, "outbox", "mail = 1")
        outbox_pruning.prune(connection, 10**6, later_ns)
        assert count(writer, "outbox", "mail = 1") == before
        outbox.start(connection, whole + 2, people)
        outbox.sent(connection, whole + 2, people[0], now_ns)
        outbox_pruning.prune(connection, 10**6, later_ns)
        assert count(writer, "outbox", "mail = 1") == before - 4
        assert count(writer, "mail") == count(writer, "mail_row") == count(writer, "delivery") == 0
        outbox_tables.check(connection)
    writer.store.close()


def test_a_replay_begins_at_the_oldest_snapshot_and_says_so(tmp_path, capsys):
    writer = lived(tmp_path / "store")
    begin = journal.base(writer.store.connection).seq
    writer.store.close()
    assert run(["monitor", "--replay-journal", str(tmp_path / "store"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["after_seq"] == begin + 1
    assert sum(told["kinds"].values()) == 121 - begin - 1
    assert run(["monitor", "--replay-journal", str(tmp_path / "store")]) == 0
    assert (
        f"from the snapshot of row {begin + 1} on: older rows are no longer kept" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_base SET seq = seq + 1",
        "UPDATE journal_base SET seq = seq - 1",
        "UPDATE journal_base SET hash = x'00'",
        "DELETE FROM journal_base",
        "DELETE FROM journal WHERE seq = (SELECT min(seq) FROM journal)",
    ],
)
def test_a_changed_beginning_is_damage(tmp_path, statement):
    lived(tmp_path / "store").store.close()
    raw = sqlite3.connect(tmp_path / "store" / DATABASE)
    assert raw.execute(statement).rowcount == 1
    raw.commit()
    raw.close()
    with pytest.raises(JournalDamaged):
        verified(tmp_path / "store")


def test_a_pruned_journal_without_a_good_snapshot_is_refused(tmp_path):
    lived(tmp_path / "store").store.close()
    raw = sqlite3.connect(tmp_path / "store" / DATABASE)
    raw.execute("UPDATE snapshots SET data = x'00'")
    raw.commit()
    raw.close()
    with pytest.raises(JournalDamaged, match="and no snapshot is whole"):
        open_store(tmp_path / "store", SCHEMA)


def test_killed_at_any_statement_while_it_forgets_it_is_whole_and_goes_on_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("monitors.writer.PRUNE_INPUTS", 1)
    monkeypatch.setattr("monitors.writer.PRUNE_ROWS", 4)
    home = tmp_path / "store"
    lived(home, None).store.close()
    writer = writer_on(home)
    for _ in range(45):  # Until the rows before its first snapshots may go
        writer.take(Tick(), at(80 * DAY_S))
    assert 0 < journal.base(writer.store.connection).seq < writer.store.prunable(KEPT)
    trials = []

    def killed(_statement):
        """Keep the files as they would be if the process were killed now."""
        trial = tmp_path / f"killed-{len(trials)}"
        trial.mkdir(mode=0o700)
        for name in (DATABASE, f"{DATABASE}-wal", MARK):
            shutil.copy2(home / name, trial / name)
        trials.append(trial)

    writer.store.connection.set_trace_callback(killed)
    for _ in range(2):
        writer.take(Tick(), at(90 * DAY_S))
    writer.store.connection.set_trace_callback(None)
    writer.store.close()
    assert len(trials) > 40
    states = set()
    for trial in trials[::3]:
        verified(trial)
        writer = writer_on(trial)
        while writer.store.head.seq < 169:
            writer.take(Tick(), at(90 * DAY_S))
        states.add((writer.core.snapshot(), stream_log.position(writer.store.connection).seq))
        writer.store.close()
        verified(trial)
    assert len(states) == 1
