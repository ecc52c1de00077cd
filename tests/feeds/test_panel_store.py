"""The panel on disk: whole or not there, and flat in memory."""

import asyncio
import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.slab import ACTION_DTYPE, Universe
from feeds.panel import PanelFeed, Selection
from feeds.panel_store import (
    FIELDS,
    LEFT_BEHIND_DAYS,
    UNUSED_DAYS,
    Damaged,
    Meta,
    Panel,
    drop_unused,
    new_panel,
    open_panel,
    write_meta,
)
from feeds.quality import NO_ROWS, Quality
from feeds.scatter import blank_array


def store(folder: Path, n_rows: int, n_symbols: int, source: str = "test") -> Panel:
    with new_panel(folder) as scratch:
        for name in FIELDS:
            blank_array(scratch / f"{name}.npy", (n_rows, n_symbols), 1.0)
        for name in ("ts", "day"):
            np.save(scratch / f"{name}.npy", np.arange(n_rows))
        np.save(scratch / "row_bars.npy", np.full(n_rows, n_symbols))
        np.save(scratch / "actions.npy", np.empty(0, ACTION_DTYPE))
        (scratch / "quality.csv").touch()
        symbols = [f"S{i:05d}" for i in range(n_symbols)]
        write_meta(scratch, Meta(
            source, "split", False, symbols, [n_rows] * n_symbols, [0] * n_symbols,
            [n_rows - 1] * n_symbols, n_rows, [], {},
        ))  # fmt: skip
    panel = open_panel(folder)
    assert panel is not None
    return panel


def resident_bytes(kind: str = "VmRSS") -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024
    pytest.skip("no /proc/self/status here")


def test_a_panel_larger_than_the_slabs_streams_at_flat_memory(tmp_path: Path) -> None:
    panel = store(tmp_path / "p", 3000, 1000)  # 120 MB
    universe = Universe(tuple(panel.meta.symbols))
    selection = Selection(0, 3000, np.arange(1000))
    feed = PanelFeed(panel, selection, universe, "", "", Quality(NO_ROWS))

    async def stream() -> tuple[int, int]:
        before, most, n_rows = resident_bytes(), 0, 0
        async for slab in feed.slabs(128):
            n_rows += slab.n_rows
            most = max(most, resident_bytes())
        return n_rows, most - before

    n_rows, growth = asyncio.run(stream())
    assert n_rows == 3000
    assert growth < 60e6


def test_slabs_have_memory_of_their_own(tmp_path: Path) -> None:
    panel = store(tmp_path / "p", 10, 3)
    rows = panel.read("close", 0, 5)
    rows[:] = 99
    assert (panel.read("close", 0, 5) == 1).all()
    assert rows.flags.writeable
    assert rows.flags.c_contiguous


def test_an_import_that_breaks_off_leaves_the_old_panel(tmp_path: Path) -> None:
    store(tmp_path / "p", 10, 3)

    def break_off() -> None:
        with new_panel(tmp_path / "p") as scratch:
            (scratch / "close.npy").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert open_panel(tmp_path / "p") is not None
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_no_panel_is_none_and_an_empty_folder_is_damage(tmp_path: Path) -> None:
    assert open_panel(tmp_path / "none") is None
    (tmp_path / "p").mkdir()
    with pytest.raises(Damaged):
        open_panel(tmp_path / "p")


def test_a_panel_cut_short_while_in_use_is_an_error(tmp_path: Path) -> None:
    panel = store(tmp_path / "p", 10, 3)
    (tmp_path / "p" / "close.npy").write_bytes((tmp_path / "p" / "close.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match="cut short while in use"):
        panel.read("close", 5, 10)


DAY = 86_400.0
NOW = 1_700_000_000.0


def aged(folder: Path, *, made_days: float, used_days: float, source: str = "prices.csv") -> None:
    store(folder, 3, 2, source)
    os.utime(folder / "meta.json", (NOW - made_days * DAY,) * 2)
    os.utime(folder, (NOW - used_days * DAY,) * 2)


def left_of(panels: Path) -> list[str]:
    return sorted(path.name for path in panels.iterdir())


def test_panels_that_nobody_opened_for_long_go_but_the_newest_of_each_source_stays(tmp_path: Path) -> None:
    aged(tmp_path / "old", made_days=90, used_days=UNUSED_DAYS + 1)
    aged(tmp_path / "older", made_days=99, used_days=UNUSED_DAYS + 9)
    aged(tmp_path / "still used", made_days=80, used_days=UNUSED_DAYS - 1)
    aged(tmp_path / "newest", made_days=70, used_days=70)
    aged(tmp_path / "only one", made_days=400, used_days=400, source="other.csv")
    (tmp_path / ".half.1").mkdir()
    (tmp_path / "notes.txt").write_text("not a panel")
    said = drop_unused(tmp_path, clock=lambda: NOW)
    assert left_of(tmp_path) == [".half.1", "newest", "notes.txt", "only one", "still used"]
    assert said.startswith("removed 2 stored panels (0 MB) that nobody opened for 30 days")
    assert drop_unused(tmp_path, clock=lambda: NOW) == ""


def test_opening_a_panel_keeps_it(tmp_path: Path) -> None:
    aged(tmp_path / "old", made_days=90, used_days=90)
    aged(tmp_path / "newest", made_days=1, used_days=1)
    open_panel(tmp_path / "old")
    assert drop_unused(tmp_path, clock=lambda: NOW) == ""
    assert left_of(tmp_path) == ["newest", "old"]


def test_a_reader_of_a_panel_that_is_removed_reads_on(tmp_path: Path) -> None:
    panel = store(tmp_path / "old", 50, 4, "prices.csv")
    os.utime(tmp_path / "old", (1.0, 1.0))
    os.utime(tmp_path / "old/meta.json", (1.0, 1.0))
    before = panel.read("close", 0, 50)
    store(tmp_path / "new", 3, 2, "prices.csv")
    assert "removed 1 stored panel " in drop_unused(tmp_path)
    assert left_of(tmp_path) == ["new"]
    assert panel.read("close", 0, 50).tobytes() == before.tobytes()


def test_a_panel_lets_go_of_its_files(tmp_path: Path) -> None:
    def open_files() -> list[str]:
        found = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # Of other threads, closed meanwhile
                found.append(os.readlink(f"/proc/self/fd/{fd}"))
        return [path for path in found if path.startswith(str(tmp_path))]

    store(tmp_path / "p", 3, 2)
    panel = open_panel(tmp_path / "p")
    assert open_files()
    for _ in range(5):
        open_panel(tmp_path / "p")
    del panel
    assert not open_files()


def test_what_a_killed_import_left_is_removed_when_no_import_can_be_at_it(tmp_path: Path) -> None:
    store(tmp_path / "p", 10, 3)
    for name in (".p.123", ".p.456.old", ".p.789"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "close.npy").write_bytes(b"half")
    now = (tmp_path / ".p.789").stat().st_mtime
    for name in (".p.123", ".p.456.old"):
        os.utime(tmp_path / name, (now, now - (LEFT_BEHIND_DAYS + 1) * 86_400))
    assert drop_unused(tmp_path) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [".p.789", "p"]
