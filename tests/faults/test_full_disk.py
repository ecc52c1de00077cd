"""A real file system of 4 MB that fills up: nothing acknowledged is lost, and with room again it goes on."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from monitors.inputs import Tick
from scripts.store_verify import verified
from storage.live import StoreFailed
from tests.monitors.live_market import at, plan, rows, writer_on

DISK_BYTES, BALLAST_BYTES = 4 * 2**20, 2 * 2**20


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, half of it taken by something else."""
    place = tmp_path / "disk"
    place.mkdir()
    options = f"size={DISK_BYTES},mode=700,uid={os.getuid()}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a file system is not permitted: {mounted.stderr.strip()}")
    try:
        (place / "ballast").write_bytes(bytes(BALLAST_BYTES))
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def live(store: Path) -> tuple[int, bytes]:
    """Take inputs until the disk refuses one; return the row and the state that were acknowledged last."""
    writer = writer_on(store)
    acknowledged = []

    def until_full() -> None:
        for second in range(100_000):
            writer.take(Tick(), at(second))
            acknowledged[:] = writer.store.head.seq, writer.core.snapshot()

    with pytest.raises(StoreFailed, match="free or repair the disk") as caught:
        until_full()
    assert caught.value.exit_code == 74
    with suppress(StoreFailed):  # It may refuse the closing as well
        writer.store.close()
    seq, state = acknowledged
    return seq, state


def test_a_full_disk_ends_the_monitor_and_with_room_again_it_goes_on_where_it_was(disk):
    store = disk / "store"
    writer = writer_on(store)
    writer.take(plan(), at())
    for row in rows(0, 30):
        writer.take(row, at())
    writer.store.close()
    seq, state = live(store)
    assert seq > 31
    (disk / "ballast").unlink()
    writer = writer_on(store)
    assert writer.store.head.seq in (
        seq,
        seq + 1,
    )  # One that was written whole and not acknowledged may stand
    if writer.store.head.seq == seq:
        assert writer.core.snapshot() == state
    for row in rows(30, 40):
        writer.take(row, at())
    writer.store.close()
    counts, head = verified(store)
    print(f"full disk: {seq} rows acknowledged, {head.seq} after it had room again")
    assert counts["journal_rows"] == head.seq >= seq + 10
