"""Round trips of single names, in our loop and in backtesting.py, for the same signals."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.market import random_walks
from benchmarks.whole_loop import NOTIONAL_USD
from engine.events import Signals, Trades
from tests.parity.crossing import CAPITAL_USD, COMMISSION_RATE, Crossing, crossing, import_peer, real

pytestmark = pytest.mark.peers
N_NAMES = 6


@pytest.fixture(autouse=True, scope="module")
def their_warnings() -> Iterator[None]:
    """Of backtesting.py and what it imports: none of them is ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def backtesting(their_warnings: None) -> Any:
    package = import_peer("backtesting")
    package.backtesting._tqdm = lambda rows, **_: rows  # No progress bars
    return package


@pytest.fixture(scope="module", params=["synthetic", pytest.param("real", marks=pytest.mark.market)])
def crossed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, backtesting: Any
) -> Crossing:
    if request.param == "real":
        return real(tmp_path_factory.mktemp("panels"))
    return crossing(*random_walks(N_NAMES, 700, seed=5))


def names_without_holes(crossed: Crossing) -> list[int]:
    """Return symbols that traded on every row from their first on: backtesting.py knows no halts."""
    traded = crossed.traded
    return [
        s for s in range(traded.shape[1]) if traded[:, s].any() and traded[traded[:, s].argmax() :, s].all()
    ]


def their_trades(backtesting: Any, crossed: Crossing, s: int) -> Any:
    """Return the round trips that backtesting.py makes of our signals for one symbol, finished ones only."""
    import pandas as pd

    bars, first = crossed.bars, int(crossed.traded[:, s].argmax())
    frame = pd.DataFrame(
        {name: getattr(bars, name.lower())[first:, s] for name in ("Open", "High", "Low", "Close", "Volume")},
        index=pd.to_datetime(bars.ts[first:]),
    )
    signals = crossed.run.rows(Signals)
    sides = {int(row["ts"]): int(row["side"]) for row in signals[signals["symbol"] == s]}

    class Given(backtesting.Strategy):  # type: ignore[misc, name-defined, unused-ignore]
        def init(self) -> None:
            pass

        def next(self) -> None:
            side = sides.get(self.data.index[-1].as_unit("ns").value, 0)
            if side > 0:
                self.buy(size=int(NOTIONAL_USD // self.data.Close[-1]))
            elif side < 0:
                self.position.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = backtesting.Backtest(frame, Given, cash=CAPITAL_USD, commission=COMMISSION_RATE)
        return test.run()["_trades"]


def test_single_names_give_the_round_trips_of_backtesting_py(crossed: Crossing, backtesting: Any) -> None:
    names = names_without_holes(crossed)[:N_NAMES]
    assert len(names) == N_NAMES
    trades = crossed.run.rows(Trades)
    for s in names:
        ours, theirs = trades[trades["symbol"] == s], their_trades(backtesting, crossed, s)
        assert len(theirs) == len(ours) > 3
        for field, column in (("ts_entry", "EntryTime"), ("ts_exit", "ExitTime")):
            times = theirs[column].dt.as_unit("ns").astype("int64").to_numpy()
            np.testing.assert_array_equal(times, ours[field])
        np.testing.assert_array_equal(theirs["Size"].to_numpy(), ours["quantity"])
        np.testing.assert_allclose(theirs["EntryPrice"].to_numpy(), ours["entry_price"], rtol=1e-8)
        np.testing.assert_allclose(theirs["ExitPrice"].to_numpy(), ours["exit_price"], rtol=1e-8)
