"""`monitor --verify` reads all of a store and says what it found: counts, or the damage with exit code 65."""

import json
import sqlite3

import pytest

from scripts.cli import run
from tests.monitors.live_market import at, plan, rows, writer_on


@pytest.fixture
def store(tmp_path):
    writer = writer_on(tmp_path / "store", snapshot_inputs=8)
    writer.take(plan(), at())
    for row in rows(0, 20):
        writer.take(row, at())
    writer.store.close()
    return tmp_path / "store"


def test_a_whole_store_is_counted(store, capsys):
    assert run(["monitor", "--verify", str(store), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not told["damaged"]
    assert told["journal_seq"] == told["counts"]["journal_rows"] == 21
    assert told["counts"]["snapshots"] == 2
    assert run(["monitor", "--verify", str(store)]) == 0
    assert "21 journal rows, 2 snapshots" in capsys.readouterr().out.replace("\n", " ")
    assert run(["monitor", "--verify", str(store / "live.db")]) == 0


def test_one_of_a_kind_is_told_as_one(tmp_path, capsys):
    writer = writer_on(tmp_path / "young", snapshot_inputs=1)
    writer.take(plan(), at())
    writer.store.close()
    assert run(["monitor", "--verify", str(tmp_path / "young")]) == 0
    assert "1 journal row, 1 snapshot, 0 stream messages" in capsys.readouterr().out.replace("\n", " ")


def test_damage_is_one_line_and_exit_code_65_and_nothing_is_changed(store, capsys):
    raw = sqlite3.connect(store / "live.db")
    raw.execute("UPDATE stream SET payload = x'01' WHERE seq = 1")
    raw.commit()
    raw.close()
    before = [(store / name).read_bytes() for name in ("live.db", "high-water")]
    assert run(["monitor", "--verify", str(store)]) == 65
    assert "stream: message 1 does not match its digest" in capsys.readouterr().err.replace("\n", " ")
    assert [(store / name).read_bytes() for name in ("live.db", "high-water")] == before
    assert not list(store.glob("damaged-*"))


def test_a_mark_of_another_journal_is_damage(store, tmp_path, capsys):
    writer = writer_on(tmp_path / "other")
    writer.take(plan(capital_usd=5.0), at())
    writer.store.close()
    (store / "high-water").write_bytes((tmp_path / "other" / "high-water").read_bytes())
    assert run(["monitor", "--verify", str(store)]) == 65
    assert "row 1 is not the one that was on the disk" in capsys.readouterr().err.replace("\n", " ")


def test_a_place_without_a_store_is_told(tmp_path, capsys):
    assert run(["monitor", "--verify", str(tmp_path)]) == 65
    assert "no such store" in capsys.readouterr().err
