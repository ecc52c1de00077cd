"""What people tell a running monitor: one small file per command in a folder of its store.

A command line writes the file (complete or not at all) and need not wait; the monitor takes it as its next
input, journals it, and removes the file once that is on the disk. A monitor that does not run takes it when
it starts. Nobody but the monitor ever writes its database.

The kill switch has a simpler way too: a file named HALT in the store, with anything in it. Taking it away
again clears nothing; the command `resume` does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.errors import DataError

FOLDER = "commands"
HALT = "HALT"
BYTES_MAX = 64 * 1024


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` says what to do (halt, resume, ack, silence), `arguments` with what. `id` is its file's name."""

    id: str
    name: str
    ts_ns: int  # when it was given, wall clock UTC
    by: str  # who gave it
    arguments: dict[str, str] = {}


def submit(
    store: Path, name: str, arguments: Mapping[str, str], *, ts_ns: int, by: str, token: str
) -> Command:
    """Leave a command for the monitor of a store. token: letters that make its name unique."""
    folder = store / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _give_to_owner(folder, store)
        command = Command(f"{ts_ns:020d}-{token}", name, ts_ns, by, dict(arguments))
        partial = folder / f".{command.id}"
        with partial.open("wb") as file:
            file.write(msgspec.json.encode(command))
            file.flush()
            os.fsync(file.fileno())
        _give_to_owner(partial, store)
        partial.rename(folder / f"{command.id}.json")
    except OSError as error:
        raise DataError(f"--store {store}: cannot leave a command: {error.strerror}") from None
    return command


def waiting(store: Path) -> list[Path]:
    """Return the files of commands that were not taken yet, oldest first.

    Raises OSError for a folder from which they cannot be taken: it was made by somebody else.
    """
    folder = store / FOLDER
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return []
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return [store / FOLDER / name for name in sorted(names) if name.endswith(".json") and name[0] != "."]


def load(path: Path) -> Command:
    """Return the command of a file. Raises DataError when it holds none."""
    try:
        data = path.read_bytes() if path.stat().st_size <= BYTES_MAX else b""
        command = msgspec.json.decode(data, type=Command)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a command: {error}") from None
    if command.id != path.stem:
        raise DataError(f"{path}: is named otherwise inside: {command.id!r}")
    return command


def is_halted(store: Path) -> bool:
    """Whether somebody has left the file that stops all entries."""
    return os.path.lexists(store / HALT)


def take_halt_away(store: Path) -> None:
    """Remove that file. Raises DataError when it stays."""
    try:
        (store / HALT).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{store / HALT}: cannot be removed: {error.strerror}; remove it, and again"
        ) from None


def remove(path: Path) -> None:
    """Forget a command that was taken."""
    path.unlink(missing_ok=True)


def _give_to_owner(path: Path, store: Path) -> None:
    """Let the monitor read and remove what root leaves in the store of another user."""
    if os.geteuid() == 0:
        owner = store.stat()
        os.lchown(path, owner.st_uid, owner.st_gid)  # A link could lead anywhere
