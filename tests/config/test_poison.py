"""Whatever the files and the environment hold: settings or one line, no traceback, no secret."""

import json
import math
import os
import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import Settings, SettingsError, load_settings, settings_as_dict
from config.loader import DEFAULTS_PATH
from tests.config.leaves import leaves, nested, variable

CANARY = "canary-7f3a9c"
PATHS = [path for path, _ in leaves()]
SECTIONS = sorted({path[:depth] for path in PATHS for depth in range(len(path))})
DEFAULT_BYTES = DEFAULTS_PATH.read_bytes()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["nan", "1e999", "null", -1, 0, 1.5, 10**30, "\ud800", "a\nb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
environment_texts = st.text(st.characters(exclude_characters="\0")) | values.map(
    lambda v: json.dumps(v).replace("\0", "")
)


def _outcome(content: bytes, environ: dict[str, str]) -> Settings | str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.json"
        path.write_bytes(content)
        try:
            loaded = load_settings(path, environ=environ, force=True)
        except SettingsError as error:
            loaded = str(error)
    if isinstance(loaded, str):
        assert loaded.isprintable()
        assert CANARY not in loaded
        return loaded
    shown = json.dumps(settings_as_dict(loaded), allow_nan=False)
    shown.encode()
    assert CANARY not in shown
    return loaded


@given(path=st.sampled_from(PATHS + SECTIONS), value=values)
@settings(max_examples=300, deadline=None)
def test_any_value_at_any_place_of_a_file(path, value):
    _outcome(json.dumps(nested(path, value)).encode(), {})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1e999"])
def test_what_is_no_finite_number_is_refused_at_every_place(text):
    for path in PATHS:
        document = json.dumps(nested(path, 12345)).replace("12345", text)
        assert isinstance(_outcome(document.encode(), {}), str), path
        _outcome(b"{}", {variable(path): text})


@given(path=st.sampled_from(PATHS + SECTIONS), key=st.text(max_size=30), value=values)
@settings(max_examples=200, deadline=None)
def test_any_key_in_any_section(path, key, value):
    _outcome(json.dumps(nested((*path, key), value)).encode(), {})


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_bytes_changed_at_random(data):
    content = bytearray(DEFAULT_BYTES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        until = at + data.draw(st.integers(0, 8))
        content[at:until] = data.draw(
            st.binary(max_size=6)
            | st.sampled_from([b"9" * 400, b"e999", b"-", b'"', b"{", b"null", b"NaN", b"\xff"])
        )
    _outcome(bytes(content), {})


@given(content=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes(content):
    _outcome(content, {})


@given(
    name=st.sampled_from([variable(path) for path in PATHS + SECTIONS[1:]] + ["TS_ALPHA_VANTAGE_KEY"]),
    suffix=st.sampled_from(["", "", "", "_FILE", "__A", "__BIOTECH", "__", "S", "__A__B"]),
    text=environment_texts,
)
@settings(max_examples=300, deadline=None)
def test_any_text_in_any_variable(name, suffix, text):
    _outcome(b"{}", {name + suffix: text})


@given(name=st.text(st.characters(exclude_characters="\0="), max_size=40), text=environment_texts)
@settings(max_examples=100, deadline=None)
def test_any_variable(name, text):
    _outcome(b"{}", {f"TS_{name}": text})


def poisoned(draw):
    """Return (content of a settings file, environment) with something wrong in it, or nearly."""
    path = draw.choice(PATHS + SECTIONS)
    value = draw.choice(
        [
            math.nan,
            math.inf,
            -math.inf,
            -1,
            -0.5,
            1.5,
            10**30,
            True,
            None,
            "x",
            "",
            [],
            [1],
            {},
            {"a": 1},
            "\ud800",
        ]
    )
    match draw.choice(("value", "key", "twice", "1e999", "mark", "deep", "cut", "bytes", "variable", "file")):
        case "value":
            return json.dumps(nested(path, value)).encode(), {}
        case "key":
            return json.dumps(
                nested((*path[:-1], (path or ("x",))[-1] + draw.choice("sx_")), value)
            ).encode(), {}
        case "twice":
            line = draw.choice(
                [line for line in DEFAULT_BYTES.splitlines() if b":" in line and b"{" not in line]
            )
            return DEFAULT_BYTES.replace(line, line.rstrip(b",") + b",\n" + line, 1), {}
        case "1e999":
            return json.dumps(nested(path, 12345)).replace("12345", "1e999").encode(), {}
        case "mark":
            return b"\xef\xbb\xbf" + json.dumps(nested(path, value)).encode(), {}
        case "deep":
            return draw.choice([b"[", b'{"a":', b'{"email":']) * 100_000, {}
        case "cut":
            return DEFAULT_BYTES[: draw.randrange(len(DEFAULT_BYTES))], {}
        case "bytes":
            content = bytearray(DEFAULT_BYTES)
            for _ in range(draw.randint(1, 5)):
                content[draw.randrange(len(content))] = draw.randrange(256)
            return bytes(content), {}
        case "variable":
            text = draw.choice(["nan", "1e999", "-1", "x", "", "{", "null", "\udc80", "9" * 5_000])
            return b"{}", {variable(draw.choice(PATHS)): text}
        case _:
            place = draw.choice(["../" * 40 + "etc/shadow", "/", "", "/dev/zero", "no/such/file"])
            return b"{}", {variable(draw.choice(SECRETS)) + "_FILE": place}


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_ten_thousand_poisoned_configurations_start_nothing_by_halves():
    draw, counted = random.Random(29), Counter()
    for _ in range(10_000):
        content, environ = poisoned(draw)
        outcome = _outcome(content, environ)
        if isinstance(outcome, str):
            assert "s.json" in outcome or outcome.startswith(tuple(environ)), outcome
        counted["refused" if isinstance(outcome, str) else "harmless"] += 1
    print(f"configurations: 10000 poisoned, {counted['refused']} refused, {counted['harmless']} harmless")
    assert counted["refused"] > 5_000


SECRETS = [("email", "password"), ("data_sources", "alpha_vantage_key"), ("storage", "database_url")]


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: [s], lambda s: {s: 1}, lambda s: {"x": s}, lambda s: s + "\ud800"]
)
def test_a_secret_of_any_shape_stays_hidden(path, wrap):
    _outcome(json.dumps(nested(path, wrap(CANARY))).encode(), {})
    _outcome(json.dumps(nested(path[:1], CANARY)).encode(), {})
    _outcome(b"{}", {variable(path): CANARY, "TS_RISK_MANAGEMENT__MAX_POSITIONS": "0"})
    _outcome(b"{}", {variable(path) + "_FILE": CANARY})


def test_the_environment_of_this_process_is_the_default():
    assert load_settings.__defaults__ is not None
    assert os.environ in [default for default in load_settings.__defaults__ if default is not None]


def test_numbers_of_the_defaults_are_finite():
    def numbers(value):
        if isinstance(value, dict | list):
            for child in value.values() if isinstance(value, dict) else value:
                yield from numbers(child)
        elif isinstance(value, float):
            yield value

    assert all(math.isfinite(number) for number in numbers(settings_as_dict(Settings())))
