"""How a database gets the tables that this program expects.

1. A current database is recognised by one row, without SQLAlchemy and Alembic.
2. An older one is migrated in one transaction: a process that dies in the middle leaves it as it was.
3. A newer one is refused, untouched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import StorageError
from storage.migrations import HEAD, REVISIONS

if TYPE_CHECKING:
    from sqlalchemy import Engine

VERSION = "SELECT version_num FROM alembic_version"
_MIGRATIONS = Path(__file__).parent / "migrations"


def is_current(version: str | None, place: str) -> bool:
    """Tell whether a database of this version needs nothing; None: it has none yet. Raises StorageError for
    a newer one."""
    if version is not None and version not in REVISIONS:
        raise StorageError(
            f"{place} was written by a newer version of this program (schema {version}, known up to {HEAD});"
            " update the program, or set storage.data_dir to another folder"
        )
    return version == HEAD


def migrate(engine: Engine) -> None:
    """Bring a database to the newest version. Processes that come at the same time wait for each other."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    if engine.dialect.name == "sqlite":
        _lock_at_begin(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _lock_at_begin(engine: Engine) -> None:
    """Let a transaction begin with the lock for writing: Python's driver would begin it after the DDL."""
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def leave_transactions_alone(raw, _record):  # type: ignore[no-untyped-def]
        raw.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("BEGIN IMMEDIATE")
