"""Files that are no settings are refused with a reason, whatever is wrong with them."""

import os

import pytest

from config.errors import SettingsError
from config.files import SIZE_MAX, read_json, read_text


def _message(path):
    with pytest.raises(SettingsError) as error:
        read_json(path, "s.json")
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "s.json: invalid JSON at 1:1: Expecting value"),
        (b'{"a": 1,\n "b": }', "s.json: invalid JSON at 2:7: Expecting value"),
        (b'{"a": 1, "a": 2}', "s.json: duplicate key a"),
        (b'{"x": {"a": 1, "a": 2}}', "s.json: duplicate key a"),
        (b"[" * 100_000, "s.json: invalid JSON: nested too deeply"),
        (b'{"a":' * 100_000, "s.json: invalid JSON: nested too deeply"),
        (b"\xff\xfe{\x00}\x00", "s.json: expected UTF-8, got something else at byte 0"),
        (b" " * (SIZE_MAX + 1), "s.json: expected at most 1048576 bytes, got more"),
    ],
    ids=["empty", "syntax", "twice", "twice deep down", "deep array", "deep object", "utf-16", "large"],
)
def test_a_file_that_is_no_settings_file_is_refused(tmp_path, content, message):
    path = tmp_path / "s.json"
    path.write_bytes(content)
    assert _message(path) == message


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "s.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, "s.json") == {"a": 1}


def test_a_link_to_a_file_is_accepted(tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "s.json").symlink_to(tmp_path / "real.json")
    assert read_json(tmp_path / "s.json", "s.json") == {}


def test_a_missing_file_is_refused(tmp_path):
    assert _message(tmp_path / "none.json") == "s.json: no such file"


def test_a_folder_is_refused(tmp_path):
    assert _message(tmp_path) == "s.json: expected a file, got a directory"


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert _message(tmp_path / "pipe") == "s.json: expected a regular file"


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert _message(tmp_path / "loop").startswith("s.json: cannot be read: ")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_an_impossible_name_is_refused(name):
    with pytest.raises(SettingsError):
        read_text(name, name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path):
    path = tmp_path / "s.json"
    path.write_text("{}")
    path.chmod(0)
    assert _message(path) == "s.json: cannot be read: Permission denied"


def test_a_number_of_thousands_of_digits_is_read_as_what_it_is(tmp_path):
    path = tmp_path / "s.json"
    path.write_text("9" * 10_000)
    assert read_json(path, "s.json") == float("inf")
