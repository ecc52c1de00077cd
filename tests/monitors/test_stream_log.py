"""The stream log: numbers without a gap, a bound on what is kept, and a place for every number."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from monitors import bodies, stream_log
from tests.monitors.live_stream import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "live.db")


def test_messages_are_numbered_without_a_gap_over_the_stream_and_over_each_family(store):
    for i in range(5):
        store.commit("signal", "bar", n=i + 1)
        store.commit("alert")
    told = store.messages()
    assert [seq for seq, _, _ in told] == list(range(1, len(told) + 1))
    for family in ("signal", "bar", "alert"):
        numbers = [number for _, number, body in told if body.topic.startswith(family)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= 5


def test_an_event_that_is_undone_leaves_no_number_behind(store):
    store.commit("signal")
    store.connection.execute("BEGIN")
    stream_log.append(store.connection, 2, store.batches("signal", 3, 2))
    store.connection.execute("ROLLBACK")
    (row,) = store.commit("signal")
    assert (row.seq, row.family_seq) == (2, 2)


def test_reading_begins_in_the_middle_of_a_batch(store):
    rows = store.commit("signal", "fill", n=10)
    assert stream_log.read(store.connection, None, 4, 9) == rows
    assert stream_log.read(store.connection, None, 10, 9) == rows[1:]
    assert stream_log.read(store.connection, ["signal"], 10, 9) == []
    assert stream_log.read(store.connection, ["fill"], 4, 9) == rows[1:]
    assert stream_log.read(store.connection, None, 20, 9) == []
    assert stream_log.read(store.connection, None, 0, 1) == rows[:1]


def test_a_family_that_does_not_exist_is_named(store):
    with pytest.raises(DataError, match="quotes"):
        stream_log.read(store.connection, ["quotes"], 0, 1)


def test_old_rows_are_forgotten_but_never_the_newest_and_numbers_go_on(store):
    kept = dict.fromkeys(bodies.FAMILIES, 10)
    for number in range(1, 31):
        store.connection.execute("BEGIN")
        families = ("signal", "alert") if number == 1 else ("signal",)
        batches = [batch for family in families for batch in store.batches(family, 4, number)]
        stream_log.append(store.connection, number, batches, kept)
        store.connection.execute("COMMIT")
    signals = stream_log.read(store.connection, ["signal"], 0, 99)
    assert [row.family_seq for row in signals] == [
        109,
        113,
        117,
    ]  # 10 messages and what shares a row with them
    assert len(stream_log.read(store.connection, ["alert"], 0, 99)) == 1
    assert stream_log.position(store.connection).families["signal"] == 120
    assert stream_log.family_position(store.connection, "signal", 5) == (108, False)
    assert stream_log.family_position(store.connection, "signal", 124) == (120, True)
    assert stream_log.family_position(store.connection, "fill", 124) == (0, True)
    assert stream_log.family_position(store.connection, "alert", 124) == (4, True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["signal", "fill", "alert"]), st.integers(1, 5)), max_size=12))
def test_the_position_of_every_number_is_what_counting_says(tmp_path_factory, said):
    store = Store(tmp_path_factory.mktemp("log") / "live.db")
    for family, n in said:
        store.commit(family, n=n)
    told = store.messages()
    for seq in range(len(told) + 1):
        for family in ("signal", "fill", "alert"):
            counted = sum(1 for s, _, body in told if s <= seq and body.topic.startswith(family))
            assert stream_log.family_position(store.connection, family, seq) == (counted, True)
    store.connection.close()


def test_each_start_is_a_new_epoch_of_the_same_stream(store):
    first = stream_log.open_epoch(store.connection, "a")
    second = stream_log.open_epoch(store.connection, "b")
    assert first == ("a", 1)
    assert second == ("a", 2)
