"""Where a monitor's store is, and word to the monitor that runs on it."""

from __future__ import annotations

import getpass
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from config import Settings, load_settings
from engine.errors import DataError
from scripts import tables
from storage import commands
from storage.found import DATABASE, read_only

FOLDER = "live"  # under storage.data_dir


def store_dir(settings: Settings, given: Path | None = None) -> Path:
    """Return the folder of the store: the one given, else the settings'."""
    configured = settings.monitor.store_dir
    return given or (Path(configured) if configured else Path(settings.storage.data_dir) / FOLDER)


@contextmanager
def readable(path: Path) -> Iterator[sqlite3.Connection]:
    """Within, a connection that can only read a store. Raises DataError for what is none, or is damaged."""
    with read_only(path) as connection:
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path}: {error}; what to do: docs/runbook.md") from None


def submit(store: Path, name: str, arguments: Mapping[str, str]) -> None:
    """Leave a command for the monitor of a store, in the name of who runs this."""
    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # In a container a user may have no name
        who = f"uid {os.getuid()}"
    commands.submit(store, name, arguments, ts_ns=time.time_ns(), by=who, token=secrets.token_hex(4))


def throw_kill_switch(
    store: Path | None, settings_path: Path | None, defaults_path: Path | None, *, resume: bool
) -> int:
    """Tell a monitor to buy nothing any more, or to go on."""
    directory = store_dir(load_settings(settings_path, defaults_path), store)
    if not (directory / DATABASE).exists():
        raise DataError(f"{directory}: no monitor has a store there; name one with --store")
    name = "resume" if resume else "halt"
    if resume:
        commands.take_halt_away(directory)  # First: it would stop them again
    submit(directory, name, {})
    tables.print_line(
        f"{directory}: entries go on with the next input"
        if resume
        else f"{directory}: nothing is bought from the next input on, waiting entries are cancelled, exits go"
        " on; to clear: halt --resume"
    )
    return 0
