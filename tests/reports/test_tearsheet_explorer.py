"""The block of trades and bars: what is packed is what the files say, to the digits that are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from brokers.desk import POSITION_DTYPE
from reports import explorer, nearby
from reports.explorer import pack, planes
from reports.folder import RunFolder
from reports.nearby import choose_windows, look_again
from tests.reports import made_run, written_run
from tests.reports.written_run import EVIL, Feed


@pytest.fixture
def block(tmp_path, monkeypatch):
    written_run.write(tmp_path, monkeypatch)
    made = pack(RunFolder(tmp_path))
    assert made is not None
    return made


def opened(block: bytes) -> tuple[dict, np.ndarray]:
    """Decode as the page's script does, with other means."""
    length = int.from_bytes(block[:4], "little")
    rest = np.frombuffer(block[4 + length :], np.uint8)
    n = len(rest) // 24
    values = rest.reshape(6, 4, n).astype(np.int64)
    zigzag = (values * np.array([1, 256, 65536, 2**24])[None, :, None]).sum(axis=1)
    return json.loads(block[4 : 4 + length]), (zigzag >> 1) ^ -(zigzag & 1)


def test_planes_hold_every_int32_that_a_difference_can_be():
    values = np.array([0, 1, -1, 127, -128, 40_000, -40_000, 2**30, -(2**30)])
    raw = np.frombuffer(planes(values), np.uint8).reshape(4, -1).astype(np.int64)
    zigzag = (raw * np.array([1, 256, 65536, 2**24])[:, None]).sum(axis=0)
    assert ((zigzag >> 1) ^ -(zigzag & 1)).tolist() == values.tolist()


def test_bars_come_back_to_five_digits(block):
    header, (day, close, opened_, high, low, volume) = opened(block)
    assert header["symbols"][0] == EVIL
    first, last = header["starts"][:2]
    tick = header["ticks"][0]
    assert np.cumsum(day[first:last]).tolist() == [0, 1, 2, 3]
    closes = np.cumsum(close[first:last]) * tick
    assert closes == pytest.approx([10.0, 10.2, 11.0, 11.0], rel=1e-4)
    assert high[first:last] * tick == pytest.approx(closes * 0.02, abs=1e-3)
    assert low[first:last] * tick == pytest.approx(closes * 0.02, abs=1e-3)
    assert opened_[first] * tick == pytest.approx(10.0, rel=1e-4)
    assert 10 ** (volume[first:last] / header["volume_steps"]) == pytest.approx([5e4] * 4, rel=2e-3)


def test_a_trade_carries_its_signal_and_its_fills(block):
    header, _ = opened(block)
    assert header["trades"]["symbol"] == [EVIL]
    assert header["trades"]["r_multiple"] == [1.3]
    assert header["fills"] == [[["2024-03-08", "BUY", 300.0, 10.005, "signal"]]]
    assert header["measured"] == {"first": ["score", "width"]}
    assert header["signals"] == [["2024-03-07", 0.75, 1.5, 0.1]]


def test_open_positions_come_after_the_trades_and_stops_that_moved_with_theirs(tmp_path, monkeypatch):
    written_run.write(tmp_path, monkeypatch)
    (tmp_path / "trades/open_positions.csv").write_text(
        "entry_date,symbol,strategy,account,quantity,entry_price,mark,value,profit,return,r_multiple,"
        "bars_held,initial_stop,stop\n2024-03-11,BBB,second,second,5,20,20.3,101.5,1.5,0.015,0.15,2,18,19\n"
    )
    (tmp_path / "trades/stops.csv").write_text(
        "date,symbol,strategy,entry_date,stop\n2024-03-11,BBB,second,2024-03-11,18.5\n"
        "2024-03-12,BBB,second,2024-03-11,19\n2024-03-12,BBB,first,2024-03-11,7\n"
    )
    header, _ = opened(pack(RunFolder(tmp_path)))
    trades = header["trades"]
    assert trades["symbol"] == [EVIL, "BBB"]
    assert (trades["exit_reason"][1], trades["exit_date"][1]) == ("open", "2024-03-12")
    assert (trades["pnl"][1], trades["exit_price"][1], trades["initial_stop"][1]) == (1.5, 20.3, 18)
    assert trades["mae"][1] is None
    assert header["stops"] == {"1": [["2024-03-11", 18.5], ["2024-03-12", 19]]}


def test_bars_of_open_positions_are_kept_to_the_end(monkeypatch):
    recorder = made_run.replay(made_run.recorder(), 4)
    positions = np.zeros(1, [("symbol", np.int64), ("ts_entry", np.int64)])
    positions["symbol"], positions["ts_entry"] = 1, made_run.DAYS[2]
    bars = look_again(Feed(), recorder, positions=positions).bars
    assert bars["row"][bars["symbol"] == 1].tolist() == [0, 1, 2, 3]


def test_an_open_position_has_the_bars_of_the_pattern_behind_it(monkeypatch):
    monkeypatch.setattr(nearby, "BARS_BEFORE", 0)
    monkeypatch.setattr(nearby, "_MARGIN", 0)
    recorder = made_run.replay(made_run.recorder(), 4)
    recorder.measurements = (("cup_bars", "width"), *recorder.measurements[1:])  # 1.5 of the first signal
    positions = np.zeros(1, POSITION_DTYPE)
    positions["ts_entry"] = made_run.DAYS[2]
    assert nearby._windows_of(positions, recorder).tolist() == [[0, 1, 4]]


def test_without_trades_or_bars_there_is_nothing_to_explore(tmp_path, monkeypatch):
    written_run.write(tmp_path, monkeypatch)
    (tmp_path / explorer.BARS).unlink()
    assert pack(RunFolder(tmp_path)) is None


def test_too_many_bars_leave_out_the_trades_that_matter_least(monkeypatch):
    recorder = made_run.replay(made_run.recorder(), 4)
    windows, left_out = choose_windows(recorder, 600_000)
    assert windows.tolist() == [[0, 0, 4]]
    assert left_out == {}
    windows, left_out = choose_windows(recorder, 3)
    assert len(windows) == 0
    assert left_out == {"first": 1}


@pytest.mark.parametrize("slab_rows", [1, 2, 4])
def test_slabs_do_not_matter_to_the_bars(slab_rows):
    recorder = made_run.replay(made_run.recorder(), 4)
    made = look_again(Feed(), recorder, slab_rows=slab_rows)
    assert made.bars["row"].tolist() == [0, 1, 2, 3]
    assert made.bars["close"].tolist() == pytest.approx([10.0, 10.2, 11.0, 11.0])
    assert (made.names, made.names_at_end) == (3, 3)
