"""Where the database is and how it is reached: SQLite under the data folder, or any URL of SQLAlchemy.

Statements are portable SQL with `:named` parameters, which both understand. SQLite is opened directly:
importing SQLAlchemy alone takes longer (0.3 s, SQLModel 0.8 s) than all a backtest has to say. The schema is
brought up to date at opening (`storage.schema`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from storage.errors import StorageError
from storage.schema import VERSION, is_current, migrate

__all__ = ["Connection", "StorageError", "database_url", "transaction"]

FILE = "smallcap.db"
_SQLITE = "sqlite:///"
_BUSY_S = 2.0  # another process is writing
_MIGRATION_S = 30.0  # another process is migrating


class Connection(Protocol):
    """One transaction."""

    def execute(self, sql: str, values: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Run one statement; return its rows."""
        ...


def database_url(data_dir: str | Path, configured: str | None) -> str:
    """Return the URL in force: the one configured, or SQLite under `data_dir`."""
    return configured or f"{_SQLITE}{Path(data_dir) / FILE}"


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    """Within, statements are one transaction: committed at the end, undone by an exception.

    Raises StorageError, which never shows the URL: it may hold a password.
    """
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as raw:
                if not is_current(_sqlite_version(raw), f"database {path}"):
                    _migrate(url)
                raw.execute("BEGIN IMMEDIATE")
                try:
                    yield _Sqlite(raw)
                except BaseException:
                    raw.execute("ROLLBACK")
                    raise
                raw.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"database {path}: {error}") from error
        return
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(url)
        try:
            if not is_current(_alchemy_version(engine), "storage.database_url"):
                migrate(engine)
            with engine.begin() as connection:
                yield _Alchemy(connection)
        finally:
            engine.dispose()
    except ModuleNotFoundError as error:
        raise StorageError(f"storage.database_url needs {error.name}: pip install {error.name}") from None
    except (sqlalchemy.exc.NoSuchModuleError, sqlalchemy.exc.ArgumentError):
        raise StorageError(
            "storage.database_url must be such as sqlite:////folder/file.db or postgresql://user:password@host/name"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        raise StorageError(f"storage.database_url: {type(error).__name__}") from None


def _sqlite_version(raw: sqlite3.Connection) -> str | None:
    try:
        row = raw.execute(VERSION).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    return str(row[0]) if row else None


def _alchemy_version(engine: Any) -> str | None:
    import sqlalchemy

    if not sqlalchemy.inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as connection:
        version = connection.execute(sqlalchemy.text(VERSION)).scalar()
    return None if version is None else str(version)


def _migrate(url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _MIGRATION_S})
    try:
        migrate(engine)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StorageError(f"database {url.removeprefix(_SQLITE)}: {error}") from None
    finally:
        engine.dispose()


class _Sqlite:
    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def execute(self, sql: str, values: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        return self._raw.execute(sql, values or {}).fetchall()


class _Alchemy:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        from sqlalchemy import text

        result = self._connection.execute(text(sql), values or {})
        return [tuple(row) for row in result] if result.returns_rows else []
