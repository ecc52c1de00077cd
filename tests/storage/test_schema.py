"""A database of any earlier version is migrated at opening; a newer one is refused."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from storage.database import StorageError, database_url, transaction
from storage.migrations import HEAD, REVISIONS
from storage.trials import Trial, read_trials, record_trial

ROOT = Path(__file__).resolve().parents[2]
UNVERSIONED = Path(__file__).parent / "unversioned.sql"  # what was written before there were versions


def open_once(url):
    with transaction(url) as connection:
        return connection.execute("SELECT version_num FROM alembic_version")


def old_database(folder):
    with closing(sqlite3.connect(folder / "smallcap.db")) as raw:
        raw.executescript(UNVERSIONED.read_text())
    return database_url(folder, None)


def dump(folder):
    with closing(sqlite3.connect(folder / "smallcap.db")) as raw:
        return list(raw.iterdump())


def test_a_new_database_has_the_newest_version(tmp_path):
    assert open_once(database_url(tmp_path, None)) == [(HEAD,)]


def test_a_database_from_before_there_were_versions_keeps_its_trials(tmp_path):
    url = old_database(tmp_path)
    assert read_trials(url, "market").sharpes == (0.05, 0.07)
    assert open_once(url) == [(HEAD,)]
    made = record_trial(url, Trial("market", "c", "2026-03-01", "backtest", None, 9, None, None, "log", "x"))
    assert made.total == 3


@pytest.mark.parametrize("last", REVISIONS[:-1])
def test_each_version_is_migrated_to_the_newest(tmp_path, last):
    import sqlalchemy
    from alembic import command
    from alembic.config import Config

    url = database_url(tmp_path, None)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "storage/migrations"))
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, last)
    engine.dispose()
    assert open_once(url) == [(HEAD,)]


def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path):
    url = database_url(tmp_path, None)
    open_once(url)
    with closing(sqlite3.connect(tmp_path / "smallcap.db")) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    before = dump(tmp_path)
    with pytest.raises(StorageError, match=r"smallcap\.db was written by a newer version.*schema 9999"):
        open_once(url)
    with pytest.raises(StorageError, match=r"storage\.database_url was written by a newer"):
        open_once(f"sqlite+pysqlite:///{tmp_path / 'smallcap.db'}")
    assert dump(tmp_path) == before


KILLED = """
import os, signal, sqlite3, sys
from sqlalchemy import event, Engine
left = int(sys.argv[2])
@event.listens_for(Engine, "after_cursor_execute")
def count(conn, cursor, statement, parameters, context, executemany):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
from storage.database import transaction
with transaction(sys.argv[1]):
    pass
print("survived")
"""


def test_a_process_killed_at_any_statement_of_a_migration_leaves_the_old_version_whole(tmp_path):
    survived, n = False, 0
    while not survived:
        n += 1
        folder = tmp_path / str(n)
        folder.mkdir()
        url = old_database(folder)
        before = dump(folder)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, url, str(n)], cwd=ROOT, capture_output=True, text=True
        )
        survived = "survived" in done.stdout
        assert survived or done.returncode == -signal.SIGKILL, done.stderr
        if not survived:
            assert dump(folder) == before
        assert read_trials(url, "market").total == 2
        assert open_once(url) == [(HEAD,)]
        shutil.rmtree(folder)
    assert n > 5  # else nothing was killed


def test_processes_that_come_at_the_same_time_migrate_once(tmp_path):
    url = old_database(tmp_path)
    with ProcessPoolExecutor(4) as pool:
        assert list(pool.map(open_once, [url] * 4)) == [[(HEAD,)]] * 4


def test_the_versions_named_are_those_that_alembic_finds():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "storage/migrations"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    assert [each.revision for each in script.walk_revisions()][::-1] == list(REVISIONS)


def test_the_models_describe_what_the_migrations_make(tmp_path):
    import sqlalchemy
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from storage.models import SQLModel

    url = database_url(tmp_path, None)
    open_once(url)
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    engine.dispose()


def test_a_current_database_is_opened_without_sqlalchemy(tmp_path):
    url = database_url(tmp_path, None)
    open_once(url)
    code = (
        "import sys; from storage.trials import read_trials; read_trials(sys.argv[1], 'x');"
        " print({'sqlalchemy', 'alembic', 'sqlmodel'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
