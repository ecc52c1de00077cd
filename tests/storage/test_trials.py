"""The registry counts every configuration once per data set, from any number of processes."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import storage.trials
from storage.database import StorageError, database_url, transaction
from storage.trials import DailyReturns, Trial, config_hash, read_trials, record_trial

ROOT = Path(__file__).resolve().parents[2]


def trial(data="market", config="a", sharpe: float | None = 0.05, created_at="2026-01-01T00:00:00+00:00"):
    return Trial(data, config, created_at, "backtest", sharpe, 250, -0.2, 4.0, "log", "trend_following")


@pytest.fixture
def url(tmp_path):
    return database_url(tmp_path / "data", None)


def test_the_database_is_a_file_in_the_data_folder_unless_another_is_configured(tmp_path):
    assert database_url(tmp_path, None) == f"sqlite:///{tmp_path}/smallcap.db"
    assert database_url(tmp_path, "postgresql://db/x") == "postgresql://db/x"


def test_a_configuration_is_counted_once_however_often_it_is_run(url):
    assert record_trial(url, trial()).total == 1
    assert record_trial(url, trial(sharpe=0.07)) == (1, (0.07,), ())
    assert record_trial(url, trial(config="b")).total == 2


def test_each_data_set_has_its_own_count(url):
    record_trial(url, trial())
    assert record_trial(url, trial(data="other market")).total == 1
    assert read_trials(url, "market").total == 1
    assert read_trials(url, "unseen").total == 0


def test_a_trial_without_a_ratio_counts_all_the_same(url):
    record_trial(url, trial())
    assert record_trial(url, trial(config="b", sharpe=None)) == (2, (0.05,), ())


def test_running_again_keeps_the_day_of_the_first_run(url, tmp_path):
    record_trial(url, trial())
    record_trial(url, trial(created_at="2027-01-01T00:00:00+00:00"))
    with sqlite3.connect(tmp_path / "data/smallcap.db") as raw:
        assert raw.execute("SELECT created_at FROM trials").fetchall() == [("2026-01-01T00:00:00+00:00",)]
    raw.close()


def returns(first_day, *values):
    return DailyReturns(np.arange(first_day, first_day + len(values), dtype=np.int32), np.array(values))


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
def test_daily_returns_come_back_to_the_last_bit(tmp_path, scheme):
    url = f"{scheme}:///{tmp_path / 'some.db'}"
    record_trial(url, trial(), returns(15_000, 0.1, -1 / 3, np.nan))
    record_trial(url, trial(config="b"))
    made = record_trial(url, trial(config="c"), returns(15_001, 1e-17))
    assert (made.total, len(made.daily)) == (3, 2)
    assert made.daily[0].days.tolist() == [15_000, 15_001, 15_002]
    assert made.daily[0].returns.tobytes() == np.array([0.1, -1 / 3, np.nan]).tobytes()
    again = record_trial(url, trial(), returns(15_000, 0.2))
    assert again.daily[0].returns.tolist() == [0.2]


def test_returns_of_the_oldest_configurations_are_dropped_and_their_trials_counted(url, monkeypatch):
    monkeypatch.setattr(storage.trials, "RETURNS_KEPT", 3)
    for i in range(5):
        made = record_trial(url, trial(config=str(i), created_at=f"2026-01-0{i + 1}"), returns(i, 0.01))
    record_trial(url, trial(data="other"), returns(77, 0.5))
    assert (made.total, [each.days[0] for each in made.daily]) == (5, [2, 3, 4])
    made = record_trial(url, trial(config="0"), returns(0, 0.01))  # the oldest, run again
    assert (made.total, [each.days[0] for each in made.daily]) == (5, [0, 3, 4])


def test_writers_at_the_same_time_lose_nothing(url):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: record_trial(url, trial(config=str(i))), range(40)))
    assert read_trials(url, "market").total == 40


def test_an_error_undoes_the_whole_transaction(url):
    record_trial(url, trial())
    with pytest.raises(RuntimeError), transaction(url) as connection:  # noqa: PT012
        connection.execute("DELETE FROM trials")
        raise RuntimeError
    assert read_trials(url, "market").total == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/x/smallcap\.db"):
        record_trial(database_url(tmp_path / "file/x", None), trial())


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "smallcap.db").write_text("not a database, but long enough to be taken for a header" * 9)
    with pytest.raises(StorageError, match="not a database"):
        record_trial(database_url(tmp_path, None), trial())


def test_an_error_of_another_database_does_not_show_its_password():
    with pytest.raises(StorageError) as caught:
        record_trial("nonsense://user:hunter2@nowhere/db", trial())
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_same_statements_run_through_sqlalchemy(tmp_path):
    url = f"sqlite+pysqlite:///{tmp_path / 'other.db'}"
    record_trial(url, trial())
    assert record_trial(url, trial(config="b")).total == 2
    assert record_trial(url, trial(sharpe=None)).sharpes == (0.05,)


def test_a_backtest_does_not_wait_for_an_orm_to_load():
    code = "import sys, storage.trials; print({'sqlmodel', 'sqlalchemy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), min_size=1))
def test_a_hash_does_not_depend_on_the_order_of_keys_but_on_every_value(configuration):
    backwards = dict(reversed(configuration.items()))
    assert config_hash(configuration) == config_hash(backwards)
    changed = {**configuration, next(iter(configuration)): "something else entirely \0"}
    assert config_hash(changed) != config_hash(configuration)


def test_a_missing_driver_is_told_with_its_install_command_and_without_the_password(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with (
        pytest.raises(StorageError, match=r"^storage\.database_url needs psycopg2: pip install psycopg2$"),
        transaction("postgresql+psycopg2://me:hunter2@localhost/x"),
    ):
        pass


@pytest.mark.parametrize(
    "wrong", ["postgrs://user:secret@host/x", "smallcap.db", "sqlite://data/x.db?secret"]
)
def test_an_address_of_no_database_says_what_one_looks_like_and_not_what_it_was(wrong):
    with pytest.raises(StorageError, match=r"must be such as sqlite:////folder/file\.db") as refused:
        read_trials(wrong, "market")
    assert "secret" not in str(refused.value)
