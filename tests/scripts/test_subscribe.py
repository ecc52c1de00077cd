"""The command `subscribe`: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from monitors import stream_log
from scripts.cli import run
from scripts.subscribe import as_json, as_line
from tests.monitors.live_stream import Store, body_of, publishing
from tests.monitors.test_wire import message
from tests.scripts.foreground import FOREGROUND

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "live.db", n_symbols=2)


async def command(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *FOREGROUND, str(ROOT / "main.py"), "subscribe", *arguments,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "told"),
    [
        ("signal", "signal buy AAA at 3.00, confidence 0.50 (trend)"),
        ("fill", "fill   buy 10 AAA at 12.50 (signal)"),
        ("equity", "equity 0.00, 0 positions"),
        ("alert", "alert  warning drawdown fired: portfolio 0.12 against 0.1 (share)"),
    ],
)
def test_a_line_for_a_person_says_number_time_and_what_happened(family, told):
    line = as_line(message(body_of(family, "AAA", 3)))
    assert line == f"       7 2023-11-14 22:13 {told}"
    assert len(line) <= 100


def test_a_line_cannot_move_the_cursor():
    assert "\x1b" not in as_line(message(body_of("fill", "A\x1b[2J\n", 3)))


def test_a_json_line_has_the_envelope_the_topic_and_the_body():
    told = json.loads(as_json(message(body_of("signal", "AAA", 3))))
    assert (told["seq"], told["family_seq"], told["topic"]) == (7, 3, "signal.trend.AAA")
    assert told["ts"] == "2023-11-14T22:13:20+00:00"
    assert told["body"]["family"] == "signal"
    assert told["body"]["limit"] is None


async def test_it_prints_what_is_asked_for_and_stops_at_the_count(store):
    async with publishing(store) as publisher:
        for _ in range(3):
            publisher.publish(store.commit("signal", "bar"))
        process = await command(
            "--address", publisher.address, "--topic", "signal.", "--since", "0", "--count", "3", "--json"
        )
        printed, said = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 0
    assert [json.loads(line)["seq"] for line in printed.splitlines()] == [1, 4, 7]
    assert said.startswith(b"joined: stream stream-of-tests, epoch 1")


async def test_it_appends_json_lines_to_a_file_and_tells_of_gaps(store, tmp_path):
    output = tmp_path / "signals.jsonl"
    output.write_text("{}\n")
    async with publishing(store) as publisher:
        for _ in range(4):
            publisher.publish(store.commit("signal"))
        stream_log.prune(store.connection, 2)
        arguments = ["--address", publisher.address, "--since", "0", "--count", "2", "--output", str(output)]
        process = await command(*arguments)
        printed, said = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 0
    assert printed == b""
    assert [json.loads(line).get("seq") for line in output.read_text().splitlines()] == [None, 3, 4]
    assert b"gap: messages of family signal after 0 are no longer kept" in said


async def test_ctrl_c_says_where_to_go_on(store):
    async with publishing(store) as publisher:
        process = await command("--address", publisher.address, "--topic", "signal", "--since", "0")
        publisher.publish(store.commit("signal"))
        assert process.stdout is not None
        assert b"buy S0000" in await asyncio.wait_for(process.stdout.readline(), 600)
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 130
    assert b"interrupted; to go on: --since 1" in said
    assert b"Traceback" not in said


@pytest.mark.parametrize(("since", "said"), [([], "nothing came"), (["--since", "7"], "to go on: --since 7")])
def test_an_interrupt_before_the_publisher_was_heard_sends_nobody_back_to_the_oldest(
    monkeypatch, capsys, since, said
):
    async def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.subscribe._follow", interrupted)
    assert run(["subscribe", "--address", "tcp://127.0.0.1:1", *since]) == 130
    assert capsys.readouterr().err == f"interrupted; {said}\n"


async def test_a_reader_that_has_seen_enough_ends_it_quietly(store):
    async with publishing(store) as publisher:
        process = await command("--address", publisher.address, "--since", "0")
        publisher.publish(store.commit("signal"))
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 600)
        process.stdout._transport.close()  # type: ignore[attr-defined]  # As `| head -1` does
        while process.returncode is None:
            publisher.publish(store.commit("signal"))
            await asyncio.sleep(0.02)
        assert process.stderr is not None
        said = await process.stderr.read()
    assert process.returncode == 0
    assert said.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "sgnal."], "topic 'sgnal.': expected a prefix of"),
        (["--address", "localhost"], "expected tcp://HOST:PORT"),
        (["--key", "alice.key_secret"], "--key and --server-key go together"),
        (["--key", "no.key_secret", "--server-key", "no.key"], "no.key_secret: no ZeroMQ key file there"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, said, capsys):
    assert run(["subscribe", *arguments]) == 78
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
