"""A file changed by hand is noticed once, when it is whole."""

from __future__ import annotations

import asyncio

import pytest

from engine.clock import ManualClock
from monitors.file_watch import LOOK_S, watch


@pytest.fixture
async def watched(tmp_path):
    path, clock, changes = tmp_path / "positions.csv", ManualClock(), []
    path.write_text("one")
    task = asyncio.create_task(watch(path, clock, lambda: changes.append(path.exists() and path.read_text())))

    async def look(times=1):
        for _ in range(times):
            await clock.advance(LOOK_S)

    await look()
    yield path, look, changes
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_file_that_is_still_written_is_not_read(watched):
    path, look, changes = watched
    for text in ("one, t", "one, two", "one, two, three"):
        path.write_text(text)
        await look()
        assert changes == []
    await look(5)
    assert changes == ["one, two, three"]


async def test_a_file_put_in_its_place_is_noticed_though_it_has_the_same_size(watched):
    path, look, changes = watched
    other = path.with_name("other")
    other.write_text("two")
    other.replace(path)
    await look(5)
    assert changes == ["two"]


async def test_a_file_that_is_gone_for_a_moment_is_no_change_and_one_that_stays_away_is(watched):
    path, look, changes = watched
    away = path.with_name("away")
    path.rename(away)
    await look()
    away.rename(path)
    await look(5)
    assert changes == []
    path.unlink()
    await look(5)
    assert changes == [False]
