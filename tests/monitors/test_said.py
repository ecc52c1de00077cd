"""What was said is covered by the chain of the journal: damage to it is refused, and a copy kept."""

import sqlite3

import pytest

from engine.errors import SmallcapError
from monitors import outbox, stream_log
from monitors.inputs import Stop, Tick
from monitors.writer import SCHEMA
from scripts.store_verify import verified
from storage.found import DATABASE
from storage.journal import JournalDamaged
from storage.live import open_store
from tests.monitors.live_market import at, plan, rows, writer_on

PEOPLE = ("pm@fund.test", "risk@fund.test")


@pytest.fixture
def home(tmp_path):
    """A store in which alerts wait, one mail is half delivered and one not at all."""
    writer = writer_on(tmp_path / "store", snapshot_inputs=12)
    with writer.store.transaction() as connection:
        stream_log.open_epoch(connection, "of-tests")
    writer.take(plan(), at())
    for row in rows(0, 10):
        writer.take(row, at())
    with writer.store.transaction() as connection:
        mail = outbox.compose(connection, PEOPLE, domain="fund.test", now_ns=1, rows_max=2)
        outbox.start(connection, mail, PEOPLE)
        outbox.sent(connection, mail, PEOPLE[0], 2)
        outbox.add_notice(
            connection, PEOPLE, name="daily", subject="well", body="all", domain="fund.test", now_ns=3
        )
    for row in rows(10, 22):
        writer.take(row, at())
    assert outbox.stats(writer.store.connection).waiting >= 2
    writer.store.close()
    return tmp_path / "store"


def damage(home, *statements):
    raw = sqlite3.connect(home / DATABASE)
    for statement in statements:
        assert raw.execute(statement).rowcount
    raw.commit()
    raw.close()


NEWEST = "(SELECT max(seq) FROM stream WHERE family <> 'bar')"


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE stream SET payload = CAST(substr(payload, 2) AS BLOB) WHERE seq = {NEWEST}",
        f"UPDATE stream SET ts_ns = ts_ns + 1 WHERE seq = {NEWEST}",
        f"UPDATE stream SET digest = x'00' WHERE seq = {NEWEST}",
        f"DELETE FROM stream WHERE seq = {NEWEST}",
        "DELETE FROM stream WHERE seq = (SELECT max(seq) FROM stream)",
        "DELETE FROM stream WHERE journal_seq = (SELECT max(journal_seq) FROM stream)",
        "DELETE FROM stream",
        "UPDATE stream_identity SET epoch = epoch + 1",
        "INSERT INTO stream_kept VALUES ('fill', 2)",
        "UPDATE outbox SET payload = CAST(substr(payload, 2) AS BLOB) WHERE id = 1",
        "UPDATE outbox SET mail = 0 WHERE id = (SELECT max(id) FROM outbox)",
        "UPDATE outbox SET held_back = 'silenced' WHERE id = (SELECT max(id) FROM outbox)",
        "UPDATE outbox SET journal_seq = journal_seq + 1 WHERE id = (SELECT max(id) FROM outbox)",
        "DELETE FROM outbox WHERE id = (SELECT max(id) FROM outbox)",
        "UPDATE mail SET body = 'fall' WHERE subject = 'well'",
        "UPDATE mail SET message_id = 'x' WHERE id = 1",
        "DELETE FROM mail WHERE id = 1",
        "DELETE FROM mail_row WHERE outbox_id = 1",
        "UPDATE delivery SET recipient = 'qm@fund.test' WHERE recipient = 'pm@fund.test'",
        "UPDATE delivery SET state = 'sent' WHERE state = 'sending'",
        "DELETE FROM delivery WHERE state = 'sending'",
        "UPDATE alert_listing SET payload = CAST(substr(payload, 2) AS BLOB)",
        "UPDATE journal SET said = x'93009090' WHERE seq = (SELECT max(seq) FROM journal)",
    ],
)
def test_a_start_refuses_what_it_would_say_otherwise_than_it_was_said(home, statement):
    damage(home, statement)
    with pytest.raises(JournalDamaged, match="a copy is in damaged-"):
        open_store(home, SCHEMA)
    assert len(list(home.glob("damaged-*"))) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stream SET payload = CAST(payload || x'00' AS BLOB) WHERE seq = 6",
        "DELETE FROM stream WHERE seq = 6",
        "UPDATE stream SET family_seq = family_seq + 1 WHERE seq = 6",
        "UPDATE snapshots SET data = CAST(substr(data, 1, 100) AS BLOB)",
        "UPDATE journal SET outcome = x'00' WHERE seq = 2",
    ],
)
def test_what_a_start_does_not_read_is_found_by_verifying_everything(home, statement):
    damage(home, statement)
    with pytest.raises(JournalDamaged):
        verified(home)


def test_a_whole_store_is_found_whole_and_counted(home):
    counts, head = verified(home)
    store = open_store(home, SCHEMA)
    assert head == store.head
    assert counts["journal_rows"] == head.seq == 23
    assert counts["stream_messages"] == stream_log.position(store.connection).seq
    assert counts["mails"] == 2
    store.close()


def test_a_store_is_verified_while_its_monitor_runs(home):
    writer = writer_on(home)
    writer.take(Tick(), at())
    assert verified(home)[1] == writer.store.head
    writer.store.close()


def test_a_stop_leaves_nothing_to_replay_and_is_checked_all_the_same(home):
    writer = writer_on(home)
    writer.take(Stop("asked"), at())
    writer.store.close()
    damage(home, "DELETE FROM stream WHERE seq = (SELECT max(seq) FROM stream)")
    with pytest.raises(JournalDamaged, match="stream: ends at message"):
        open_store(home, SCHEMA)


def test_a_damaged_row_is_not_replayed(home):
    store = open_store(home, SCHEMA)
    damage(home, "UPDATE stream SET ts_ns = 1 WHERE seq = 6")
    with pytest.raises(JournalDamaged, match="message 6 does not match its digest"):
        stream_log.read(store.connection, None, 0, 100)
    store.close()


def test_damaged_bars_are_not_replayed(home):
    writer = writer_on(home)
    damage(home, "UPDATE journal SET payload = CAST(substr(payload, 1, 90) || x'00' AS BLOB) WHERE seq = 5")
    with pytest.raises(JournalDamaged, match="row 5 does not match its hash"):
        writer.bars_of(5)
    writer.store.close()


def test_a_damaged_mail_is_neither_sent_nor_written_over(home):
    store = open_store(home, SCHEMA)
    damage(home, "UPDATE delivery SET recipient = 'qm@fund.test' WHERE mail_id = 1 AND state = 'sending'")
    for touch in (
        lambda: outbox.transitions_of(store.connection, 1),
        lambda: outbox.recover(store.connection),
        lambda: outbox.sent(store.connection, 1, "qm@fund.test", 5),
    ):
        with pytest.raises(SmallcapError, match="mail 1 does not match its digest"), store.transaction():
            touch()
    store.close()


def test_what_was_held_back_or_buried_is_no_damage(home):
    store = open_store(home, SCHEMA)
    with store.transaction() as connection:
        outbox.bury(connection, 1)
        outbox.hold(connection)
    store.close()
    verified(home)
