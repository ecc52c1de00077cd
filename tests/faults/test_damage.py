"""Damaged files never pass for whole ones: what is read is what was written, or the start is refused.

`make test` tries 80 damages, SMALLCAP_FAULTS=all (`make nightly`) 10,000; of a store that has forgotten its
oldest rows as many.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from engine.errors import SmallcapError
from monitors import outbox, stream_log
from monitors.core import LiveCore
from monitors.writer import SCHEMA, Writer
from scripts.live_assembly import assemble
from scripts.store_verify import verified
from storage import journal
from storage.found import DATABASE, MARK
from storage.live import open_store
from tests.monitors.live_market import at, plan, rows, writer_on

ALL = os.environ.get("SMALLCAP_FAULTS") == "all"
SAID = ("stream", "stream_identity", "stream_kept", "outbox", "mail", "mail_row", "delivery", "alert_listing")
N_DAMAGES = 10_000 if ALL else 80
LOG = f"{DATABASE}-wal"

pytestmark = pytest.mark.timeout(7_200 if ALL else 900)


@pytest.fixture(scope="module", params=[None, 12], ids=["whole", "pruned"])
def stores(tmp_path_factory, request):
    """A store as a killed monitor leaves it, the same a few rows earlier, and another monitor's."""
    base = tmp_path_factory.mktemp("damage")
    kept = {}
    for name, shift in (("this", 0), ("other", 1)):
        writer = writer_on(base / name, snapshot_inputs=7, rows_kept=request.param)
        with writer.store.transaction() as connection:
            stream_log.open_epoch(connection, name)
        writer.take(plan(capital_usd=100_000.0 + shift), at())
        for n, row in enumerate(rows(0, 40)):
            writer.take(row, at())
            if n % 8 == 7:
                mail(writer, n)
            if n == 20:
                writer.store.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            if n in (25, 39):
                copy = base / f"{name}-{n}"
                copy.mkdir(mode=0o700)
                for file in (DATABASE, LOG, MARK):
                    shutil.copy2(base / name / file, copy / file)
        assert (journal.base(writer.store.connection).seq > 0) == (request.param is not None)
        writer.store.close()
    kept["this"], kept["earlier"], kept["other"] = base / "this-39", base / "this-25", base / "other-39"
    return kept


def mail(writer: Writer, n: int) -> None:
    """Compose a mail to two people: one has it, of the other nobody knows yet."""
    with writer.store.transaction() as connection:
        outbox.add_notice(
            connection, ["pm@fund.test"], name=f"daily {n}", subject="well", body=f"{n} rows",
            domain="fund.test", now_ns=n,
        )  # fmt: skip
        people = ("pm@fund.test", "risk@fund.test")
        found = outbox.compose(connection, people, domain="fund.test", now_ns=n, rows_max=5)
        if found is not None:
            outbox.start(connection, found, people)
            outbox.sent(connection, found, people[0], n)


def content(directory: Path) -> tuple[bytes, bytes]:
    """Open, recover, verify everything; return the state and everything that was said."""
    store = open_store(directory, SCHEMA)
    try:
        writer = Writer(store, LiveCore(assemble), snapshot_inputs=10**9)
        writer.recover()
        _, head = verified(directory)
        tables = [store.connection.execute(f"SELECT * FROM {table}").fetchall() for table in SAID]
        return writer.core.snapshot(), repr((head, tables)).encode()
    finally:
        store.close()


def damage(directory: Path, stores: dict[str, Path], rng: random.Random) -> str:
    """Do one thing to the files that no monitor does; return what."""
    name = rng.choice((DATABASE, LOG, LOG, MARK))
    path = directory / name
    data = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "flip", "truncate", "zero tail", "zero page", "swap", "roll back", "remove"))
    place = rng.randrange(len(data))
    if kind == "flip":
        data[place] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[place:]
    elif kind == "zero tail":
        data[place:] = bytes(len(data) - place)
    elif kind == "zero page":
        place -= place % 4096
        data[place : place + 4096] = bytes(len(data[place : place + 4096]))
    elif kind == "remove":
        path.unlink()
        return f"{name} removed"
    else:
        source = stores["other" if kind == "swap" else "earlier"] / name
        shutil.copy2(source, path)
        return f"{name} of {source.name}"
    path.write_bytes(bytes(data))
    return f"{name} {kind} at {place}"


def test_every_damage_is_harmless_or_refused_with_a_copy_kept(stores, tmp_path):
    rng = random.Random(5)
    whole = shutil.copytree(stores["this"], tmp_path / "whole")
    expected_state, expected_words = content(whole)
    harmless = refused = 0
    silent = []
    for n in range(N_DAMAGES):
        directory = shutil.copytree(stores["this"], tmp_path / f"damaged-{n}")
        what = damage(directory, stores, rng)
        try:
            state, words = content(directory)
        except SmallcapError:
            refused += 1
        else:
            harmless += state == expected_state and words == expected_words
            if state != expected_state or words != expected_words:
                silent.append(what)
        shutil.rmtree(directory)
    print(f"damage: {N_DAMAGES}, {refused} refused, {harmless} harmless, {len(silent)} unnoticed")
    assert silent == []
    assert refused > N_DAMAGES / 4
    assert harmless > 0


def test_a_refused_start_has_kept_a_copy_and_says_where(stores, tmp_path):
    directory = shutil.copytree(stores["this"], tmp_path / "store")
    log = directory / LOG
    log.write_bytes(log.read_bytes()[: 5 * 4096])
    with pytest.raises(SmallcapError) as caught:
        content(directory)
    (copy,) = directory.glob("damaged-*")
    assert copy.name in str(caught.value)
    assert (copy / LOG).stat().st_size == log.stat().st_size
