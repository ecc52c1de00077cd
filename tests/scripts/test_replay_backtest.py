"""The worked example runs, trades, and stays short."""

import inspect

import pytest

from scripts import replay_backtest

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


async def test_the_example_trades_and_writes_its_files(tmp_path, capsys):
    recorder = await replay_backtest.replay(tmp_path, n_symbols=20, years=2)
    assert recorder.counts()["trades"] > 0
    assert (tmp_path / "trades/trades.csv").is_file()
    assert "trend_following" in capsys.readouterr().out


def test_the_example_has_fewer_than_sixty_lines():
    assert len(inspect.getsource(replay_backtest).splitlines()) < 60
