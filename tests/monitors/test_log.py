"""The log: JSON lines in which no secret ever stands."""

import io
import json
import logging

import pytest
import structlog

from config import Secret
from config.settings import DataSources, Email, Settings, Storage
from monitors.log import Redaction, secrets_of, start_json_log

CANARIES = ("canary-smtp-1234", "canary-vendor-5678", "postgresql://user:canary-db@host/x")


@pytest.fixture
def log():
    """A log into memory; everything is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    settings = Settings(
        email=Email(password=Secret(CANARIES[0])),
        data_sources=DataSources(alpha_vantage_key=Secret(CANARIES[1])),
        storage=Storage(database_url=Secret(CANARIES[2])),
    )
    stream = io.StringIO()
    start_json_log(secrets_of(settings), verbose=True, stream=stream)
    yield stream
    root.handlers[:], _ = handlers, root.setLevel(level)
    structlog.reset_defaults()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("secret", CANARIES)
def test_a_secret_is_blacked_out_wherever_it_turns_up(log, secret):
    ours = structlog.get_logger("test")
    ours.warning(
        f"sent with {secret}", key=secret, nested={"a": [secret, {"b": secret}]}, **{"x": Secret(secret)}
    )
    logging.getLogger("library").error("url %s", f"https://vendor/query?apikey={secret}")
    try:
        raise ValueError(f"refused: {secret}")
    except ValueError:
        ours.exception("failed")
        logging.getLogger("library").exception("failed")
    assert secret not in log.getvalue()
    assert log.getvalue().count("***") >= 6
    assert len(lines(log)) == 4


def test_a_secret_that_a_reload_brings_is_blacked_out_beside_those_before():
    redaction = Redaction([CANARIES[0]])
    redaction.add(["newer", "newer-and-longer"])
    said = redaction(None, "", {"event": f"newer-and-longer, newer, {CANARIES[0]}, plain"})
    assert said == {"event": "***, ***, ***, plain"}


def test_each_line_is_an_object_with_level_time_and_name(log):
    structlog.get_logger("mail").warning("slow", seconds=3.5)
    (line,) = lines(log)
    assert line["event"] == "slow"
    assert line["level"] == "warning"
    assert line["seconds"] == 3.5
    assert line["logger"] == "mail"
    assert line["timestamp"].endswith("Z")


def test_a_line_break_in_a_name_makes_no_second_line(log):
    structlog.get_logger("test").warning("hello\nlevel=critical", name2="a\r\nb", long="x" * 100_000)
    (line,) = lines(log)
    assert line["event"] == "hello\nlevel=critical"
    assert len(line["long"]) < 5_000
