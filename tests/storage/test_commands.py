"""Commands reach the monitor as files: whole, in order, and refused when they are not what they should be."""

import msgspec
import pytest

from engine.errors import DataError
from storage import commands


def test_commands_arrive_in_the_order_in_which_they_were_given(tmp_path):
    given = [
        commands.submit(tmp_path, name, {"key": name}, ts_ns=ts, by="ann", token="x")
        for ts, name in ((30, "third"), (10, "first"), (20, "second"))
    ]
    assert [commands.load(path).name for path in commands.waiting(tmp_path)] == ["first", "second", "third"]
    assert commands.load(commands.waiting(tmp_path)[2]) == given[0]
    commands.remove(commands.waiting(tmp_path)[0])
    assert len(commands.waiting(tmp_path)) == 2


def test_no_folder_means_no_commands(tmp_path):
    assert commands.waiting(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"id": "1", "name": 3}',
        msgspec.json.encode(commands.Command("other", "halt", 1, "ann")),
        msgspec.json.encode(commands.Command("1", "halt", 1, "ann")).replace(b"{", b'{"more": 1,', 1),
        b" " * (commands.BYTES_MAX + 1),
    ],
)  # fmt: skip
def test_a_file_that_is_no_command_is_refused(tmp_path, content):
    folder = tmp_path / commands.FOLDER
    folder.mkdir()
    (folder / "1.json").write_bytes(content)
    with pytest.raises(DataError):
        commands.load(folder / "1.json")


def test_what_root_leaves_in_the_store_of_another_user_belongs_to_that_user(tmp_path, monkeypatch):
    """Else the first command that root gives makes a folder that a monitor under its own user cannot read."""
    given = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.lchown", lambda path, user, group: given.append((path.name, user, group)))
    command = commands.submit(tmp_path, "halt", {}, ts_ns=1, by="root", token="x")
    owner = tmp_path.stat()
    assert given == [(name, owner.st_uid, owner.st_gid) for name in (commands.FOLDER, f".{command.id}")]
