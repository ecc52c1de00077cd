"""Orders and equity of trend following in our loop and in vectorbt: same entries, exits and sizes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine.events import Equity, Fills
from tests.parity.crossing import CAPITAL_USD, COMMISSION_RATE, Crossing, import_peer, real, synthetic

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True, scope="module")
def their_warnings() -> Iterator[None]:
    """Of vectorbt and what it imports: none of them is ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def vbt(their_warnings: None) -> Any:
    return import_peer("vectorbt")


@pytest.fixture(scope="module", params=["synthetic", pytest.param("real", marks=pytest.mark.market)])
def crossed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, vbt: Any) -> Crossing:
    return synthetic() if request.param == "synthetic" else real(tmp_path_factory.mktemp("panels"))


def common(crossed: Crossing) -> dict[str, Any]:
    """Return what every portfolio is given: one account; where there is no bar, the last close."""
    import pandas as pd

    close = pd.DataFrame(crossed.bars.close).ffill().bfill()
    price = pd.DataFrame(crossed.bars.open).where(crossed.traded, close)
    account = {"init_cash": CAPITAL_USD, "fees": COMMISSION_RATE, "cash_sharing": True, "group_by": True}
    return {"close": close, "price": price, "size_type": "amount", "freq": "1D", **account}


def from_signals(crossed: Crossing, vbt: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vbt.Portfolio.from_signals(
            entries=crossed.entries, exits=crossed.exits, size=crossed.shares, **common(crossed)
        )


def from_orders(crossed: Crossing, vbt: Any) -> Any:
    """Return the portfolio of the same trades, given as signed share counts."""
    held = np.zeros(crossed.bars.n_symbols)
    size = np.full(crossed.bars.close.shape, np.nan)
    for row in range(len(size)):
        entering, leaving = crossed.entries[row], crossed.exits[row]
        size[row, leaving] = -held[leaving]
        size[row, entering] = held[entering] = crossed.shares[row, entering]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vbt.Portfolio.from_orders(size=size, **common(crossed))


@pytest.mark.parametrize("portfolio_of", [from_signals, from_orders])
def test_order_count_and_equity_at_every_close_are_those_of_vectorbt(
    crossed: Crossing, vbt: Any, portfolio_of: Any
) -> None:
    portfolio = portfolio_of(crossed, vbt)
    ours = np.concatenate([event.equity[:, 0] for event in crossed.run.log[Equity]]) / 1e6
    theirs = portfolio.value().to_numpy()
    assert crossed.run.count(Fills) > 200
    assert int(portfolio.orders.count()) == crossed.run.count(Fills)
    assert theirs[-1] == pytest.approx(ours[-1], rel=1e-6)
    # The whole capital is in the denominator; what the trades made must agree as well
    assert theirs[-1] - CAPITAL_USD == pytest.approx(ours[-1] - CAPITAL_USD, rel=1e-6, abs=0.01)
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)
