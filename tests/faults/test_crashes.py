"""Killed, cut off or refused by the disk at any of its calls, a monitor goes on as if nothing had happened.

`make test` tries a stratified part of the calls; SMALLCAP_FAULTS=all (`make nightly`) tries each one.
"""

from __future__ import annotations

import os
import random
import re
import shutil

import pytest

from tests.faults.harness import KILLED, Laboratory, calls_in, content, points_of, stratified
from tests.faults.trial import QUEUE_ROWS

ALL = os.environ.get("SMALLCAP_FAULTS") == "all"
WRITES = ("pwrite", "write", "ftruncate")
SYNCS = ("fsync", "fdatasync")
SYNCS_OF_THE_MARK = ("fdatasync high-water",)
STORE_FAILED = 74
ASKED_BEFORE_IT_LISTENED = -15

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.timeout(7_200 if ALL else 900),
]


@pytest.fixture(scope="module")
def lab():
    with Laboratory() as laboratory:
        yield laboratory


def chosen(lab, n, kinds=None):
    numbers = stratified(lab.points, len(lab.points) if ALL else n, kinds)
    assert numbers, f"no call of the kinds {kinds} was seen"
    return numbers


def tell(what, n_points, n_fired, n_repeats):
    print(f"{what}: {n_points} points, {n_fired} fired, {n_repeats} mails repeated and marked")


def test_the_undisturbed_life_has_trades_alerts_and_mails(lab):
    families = {row[1] for row in lab.reference.stream}
    assert families == {"signal", "order", "fill", "alert", "equity", "bar"}
    assert len(lab.told) >= 5
    store, recipient = lab.new_trial()
    lab.live_on(store, recipient)
    lab.check_like_undisturbed(store, recipient, n_faults=0)


@pytest.mark.parametrize("part", range(4))
def test_killed_before_any_call_it_goes_on_as_if_nothing_had_happened(lab, part):
    numbers, n_fired, n_repeats = chosen(lab, 80)[part::4], 0, 0
    for at in numbers:
        store, recipient = lab.new_trial()
        n_fired += lab.live(store, recipient, mode="kill", at=at)["status"] == KILLED
        lab.live_on(store, recipient)
        n_repeats += lab.check_like_undisturbed(store, recipient, n_faults=1)
    tell("kill", len(numbers), n_fired, n_repeats)
    assert n_fired >= len(numbers) - 3, "the last calls of a life vary a little; no more may be missed"


@pytest.mark.parametrize("part", range(2))
def test_power_cuts_leave_what_was_synced_and_that_is_enough(lab, part):
    seeds = range(1, 5) if ALL else (1,)
    numbers, n_fired, n_repeats = chosen(lab, 48)[part::2], 0, 0
    for seed in seeds:
        for at in numbers:
            store, recipient = lab.new_trial()
            n_fired += lab.live(store, recipient, mode="power", at=at, seed=seed)["status"] == KILLED
            lab.live_on(store, recipient)
            n_repeats += lab.check_like_undisturbed(store, recipient, n_faults=1)
    tell("power", len(numbers) * len(seeds), n_fired, n_repeats)
    assert n_fired >= (len(numbers) - 3) * len(seeds)


def test_killed_again_while_it_recovers_it_still_goes_on(lab):
    rng = random.Random(20)
    trials = 2_000 if ALL else 6
    n_fired = n_repeats = 0
    for _ in range(trials):
        store, recipient = lab.new_trial()
        for at in (rng.randrange(1, len(lab.points)), rng.randrange(1, 60), rng.randrange(1, 200)):
            mode, seed = rng.choice(("kill", "power")), rng.randrange(1, 1_000)
            n_fired += lab.live(store, recipient, mode=mode, at=at, seed=seed)["status"] == KILLED
        lab.live_on(store, recipient)
        n_repeats += lab.check_like_undisturbed(store, recipient, n_faults=3)
    tell("three kills", 3 * trials, n_fired, n_repeats)
    assert n_fired >= 2 * trials


def test_asked_to_stop_at_any_call_it_ends_in_time_and_goes_on_as_if_nothing_had_happened(lab):
    numbers, n_before, n_fired, n_repeats = sorted(lab.points)[:: 1 if ALL else 60], 0, 0, 0
    seconds, inputs = [0.0], [0]
    for at in numbers:
        store, recipient = lab.new_trial()
        ended = lab.live(store, recipient, mode="term", at=at)
        assert ended["status"] in (0, ASKED_BEFORE_IT_LISTENED), ended
        n_before += ended["status"] == ASKED_BEFORE_IT_LISTENED
        n_fired += ended["status"] == ASKED_BEFORE_IT_LISTENED or ended["said"].endswith("fired 1")
        if stopped := re.match(r".* within (\S+) s and (\d+) inputs", ended["said"]):
            seconds.append(float(stopped[1]))
            inputs.append(int(stopped[2]))
        lab.live_on(store, recipient)
        n_repeats += lab.check_like_undisturbed(store, recipient, n_faults=1)
    tell("stop", len(numbers), n_fired, n_repeats)
    print(f"stop: {n_before} before it listened; else at most {max(inputs)} inputs, {max(seconds):.1f} s")
    assert n_fired >= len(numbers) - 3
    assert max(inputs) <= QUEUE_ROWS + 2, "taken: what was queued, what just came out of the queue, the stop"
    assert not ALL or max(seconds) <= 5.0


@pytest.mark.parametrize(
    ("mode", "kinds", "forever"),
    [
        ("nospace", WRITES, False),
        ("nospace", WRITES, True),
        ("eio", WRITES, False),
        ("eio", SYNCS, False),
        ("eio", SYNCS_OF_THE_MARK, False),
    ],
)
def test_a_disk_that_refuses_ends_the_monitor_and_loses_nothing(lab, mode, kinds, forever):
    numbers, statuses, n_without, n_repeats = chosen(lab, 8, kinds), [], 0, 0
    for at in numbers:
        store, recipient = lab.new_trial()
        trace = lab.root / f"calls-{lab.n_trials}"
        said = lab.live(store, recipient, mode=mode, at=at, forever=forever, trace=str(trace))
        statuses.append(said["status"])
        assert said["status"] in (STORE_FAILED, 0), said
        if said["status"] == 0 and "fired 1" in said["said"]:  # SQLite could do without it
            # No two lives are the same call for call: what was struck may be its neighbour, of another kind
            n_without += points_of(calls_in(trace))[at].startswith(kinds)
        lab.live_on(store, recipient)
        n_repeats += lab.check_like_undisturbed(store, recipient, n_faults=1)
    n_fired = statuses.count(STORE_FAILED) + n_without
    tell(f"{mode} {kinds[0]}{' for ever' if forever else ''}", len(numbers), n_fired, n_repeats)
    print(f"{mode} {kinds[0]}: {n_fired - n_without} ended it, {n_without} could be done without")
    assert n_fired >= len(numbers) - 3
    assert n_without <= (0.5 * len(numbers) if kinds is WRITES else 0), "nobody knows what the disk holds"


def test_nothing_is_published_before_its_commit_is_on_the_disk(lab):
    """After the cut the market goes on differently; nobody may hold two contents of one number."""
    numbers, n_fired = chosen(lab, 16), 0
    for at in numbers:
        store, recipient = lab.new_trial()
        n_fired += lab.live(store, recipient, mode="power", at=at)["status"] == KILLED
        lab.live_on(store, recipient, variant=1)
        lab.check_wire(store, content(store))
        shutil.rmtree(store)
    tell("two-valued", len(numbers), n_fired, 0)
    assert n_fired >= 0.8 * len(numbers)


def test_every_publication_comes_after_a_sync_of_the_log(lab):
    synced = -1
    for _, kind, what in lab.calls:
        if kind in SYNCS and what.endswith("live.db-wal"):
            synced += 1
            open_batch = None
        elif kind == "pwrite" and what.endswith("live.db-wal"):
            open_batch = "unsynced"
        elif kind == "mark":
            assert open_batch is None, f"{what} left while its transaction was not on the disk"
    assert synced > 60
