"""Progress is silent for a second, then tells rate and time left."""

import re

import pytest

from scripts.progress import COMPILING, Progress, compiled_kernels, telling_of_compilation
from tests.reports.made_run import DAYS


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run(progress, clock, reports):
    with progress:
        for clock.now, rows in reports:
            progress(rows, rows * 1_000_000, DAYS[0])


def test_nothing_is_shown_for_a_run_of_less_than_a_second(capsys, clock):
    run(Progress(100, clock=clock, terminal=False), clock, [(0.1, 10), (0.5, 50), (0.9, 90)])
    assert capsys.readouterr().err == ""


def test_plain_lines_come_every_five_seconds_with_share_rate_and_time_left(capsys, clock):
    reports = [(1.0, 10), (2.0, 20), (3.0, 30), (8.0, 80)]
    run(Progress(100, clock=clock, terminal=False), clock, reports)
    assert capsys.readouterr().err.splitlines() == [
        "replay 2024-03-07   20 %  10.00 M bars/s  ETA 8 s",
        "replay 2024-03-07   80 %  10.00 M bars/s  ETA 2 s",
    ]


def test_the_rate_does_not_count_the_time_before_the_first_slab(capsys, clock):
    run(Progress(100, clock=clock, terminal=False), clock, [(40.0, 10), (41.0, 20)])
    assert "10.00 M bars/s  ETA 8 s" in capsys.readouterr().err


def test_an_unknown_total_gives_rows_and_no_time_left(capsys, clock):
    run(Progress(None, clock=clock, terminal=False), clock, [(1.0, 10), (2.0, 20)])
    assert capsys.readouterr().err == "replay 2024-03-07  20 rows  10.00 M bars/s\n"


def test_a_finished_run_does_not_announce_its_end(capsys, clock):
    run(Progress(100, clock=clock, terminal=False), clock, [(1.0, 10), (2.0, 100)])
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_of_at_most_eighty_columns(capsys, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run(Progress(100, clock=clock, terminal=True), clock, [(1.0, 10), (2.0, 55)])
    shown = capsys.readouterr().err
    assert "55%" in shown
    assert "45.00 M bars/s" in shown
    visible = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert max(map(len, re.split(r"[\r\n]", visible))) <= 80


def test_the_rate_of_a_download_counts_from_its_beginning(capsys, clock):
    with Progress(100, what="fundamentals", clock=clock, terminal=False) as progress:
        for clock.now, done in ((3.9, 1), (3.9, 2), (4.0, 4), (10.0, 10)):  # four workers, then each in turn
            progress.fetching(done)
    assert capsys.readouterr().err.splitlines() == [
        "fundamentals    1 %  15 symbols/min  ETA 386 s", "fundamentals   10 %  60 symbols/min  ETA 90 s",
    ]  # fmt: skip


def test_an_import_reports_its_rows(capsys, clock):
    with Progress(None, what="import", clock=clock, terminal=False) as progress:
        clock.now = 1.0
        progress.importing(1_000_000, 4_000_000)
        clock.now = 2.0
        progress.importing(2_000_000, 4_000_000)
    assert capsys.readouterr().err == "import   50 %  1.00 M rows/s  ETA 2 s\n"


def test_a_slow_rate_is_not_zero_millions(capsys, clock):
    with Progress(3_000, what="journal", clock=clock, terminal=False) as progress:
        clock.now = 1.0
        progress.importing(100, 3_000)
        clock.now = 2.0
        progress.importing(350, 3_000)
    assert capsys.readouterr().err == "journal   12 %  250 rows/s  ETA 11 s\n"


def test_a_cold_kernel_cache_is_announced_and_a_warm_one_is_not(capsys, tmp_path, monkeypatch):
    import engine.jit

    monkeypatch.setattr(engine.jit, "CACHE_DIR", tmp_path)
    with telling_of_compilation(compiled_kernels()):
        pass
    assert capsys.readouterr().err == COMPILING + "\n"
    (tmp_path / "a.nbi").touch()
    with telling_of_compilation(compiled_kernels()):
        pass
    assert capsys.readouterr().err == ""


def test_kernels_that_a_warm_cache_lacks_are_announced_once_while_they_compile(capsys, tmp_path, monkeypatch):
    from numba.core import event

    import engine.jit
    from scripts import progress

    class Timer:
        def __init__(self, seconds, function):
            self.function = function

        def start(self):
            started.append(self)

        def cancel(self):
            started.clear()

    started = []
    monkeypatch.setattr(engine.jit, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(progress.threading, "Timer", Timer)
    (tmp_path / "a.nbi").touch()
    with telling_of_compilation(compiled_kernels()):
        with event.trigger_event("numba:compile"):
            with event.trigger_event("numba:compile"):
                pass
            assert len(started) == 1
        assert started == []
        assert capsys.readouterr().err == ""
        with event.trigger_event("numba:compile"):
            started[0].function()
        assert capsys.readouterr().err == COMPILING + "\n"
        with event.trigger_event("numba:compile"):
            assert started == []
    with event.trigger_event("numba:compile"):
        assert started == []
