"""The portfolio stop: warnings, halt, liquidation, cool-down, re-arming, and a restart in between."""

from __future__ import annotations

from typing import Any

import pytest

from brokers.config import PortfolioAction
from engine.events import RiskKind
from tests.brokers.scenario import FLAT, Bar, Played, play, signal

ALL_IN: dict[str, Any] = {"fixed_notional_usd": 9_900.0, "portfolio_stop": 0.2, "rearm_sessions": 3}


def flat(price: float) -> Bar:
    return (price, price, price, price)


def risk(played: Played) -> list[tuple[int, str]]:
    return [(played.row(x["ts"]), RiskKind(int(x["kind"])).name) for x in played.done.risk]


CRASH = [FLAT, FLAT, flat(9.0), flat(7.5), *[flat(7.5)] * 8]


def test_a_drawdown_of_20_percent_halts_liquidates_cools_down_and_rearms() -> None:
    played = play(CRASH, [signal(0), *(signal(t) for t in range(3, 9))], **ALL_IN)
    assert risk(played) == [(3, "HALTED"), (4, "COOLDOWN"), (7, "REARMED")]
    assert played.fills[1] == (4, 0, -990, 7.5, "portfolio_stop")
    refused = [(t, 0, "halted_portfolio") for t in (3, 4, 5, 6)]
    assert played.rejections == [*refused, (8, 0, "already_held")]
    assert (8, 0) in [(t, s) for t, s, *_ in played.fills]  # Trades again at the open after re-arming


def test_the_high_water_mark_of_the_risk_starts_anew_so_a_flat_book_recovers() -> None:
    played = play(CRASH, [signal(0)], **ALL_IN)
    account = played.desk._state.accounts[0]
    assert int(account["hwm_risk"]) == int(account["equity"]) < int(account["hwm"])


def test_rearming_waits_for_a_close_that_is_not_bear() -> None:
    market = [1] * 9 + [0] * 3
    assert risk(play(CRASH, [signal(0)], market=market, **ALL_IN))[-1] == (9, "REARMED")
    relaxed = play(CRASH, [signal(0)], market=market, **ALL_IN, rearm_regime=False)
    assert risk(relaxed)[-1] == (7, "REARMED")


@pytest.mark.parametrize(
    ("action", "sold"), [(PortfolioAction.HALT_ONLY, []), (PortfolioAction.HALVE, [-495])]
)
def test_the_alternatives_sell_nothing_or_half(action: PortfolioAction, sold: list[int]) -> None:
    played = play(CRASH, [signal(0)], **ALL_IN, portfolio_action=action)
    assert [q for _, _, q, _, _ in played.fills[1:]] == sold
    assert risk(played) == [(3, "HALTED")]


def test_entries_that_were_working_are_cancelled() -> None:
    from engine.events import OrderType, Tif

    waiting = signal(2, symbol=1, order_type=OrderType.LIMIT, limit=1.0, tif=int(Tif.GTC))
    config = {**ALL_IN, "fixed_notional_usd": 9_000.0}
    crash = [FLAT, FLAT, flat(9.0), flat(7.0), flat(7.0)]
    played = play({0: crash, 1: [FLAT] * 5}, [signal(0), waiting], **config)
    assert (3, 1, "halted_portfolio") in played.ends


def test_each_warning_is_given_once_until_a_new_high() -> None:
    prices = [10.0, 10.0, 8.9, 9.5, 8.9, 8.4, 10.1, 8.9]
    played = play([flat(p) for p in prices], [signal(0)], **{**ALL_IN, "portfolio_stop": None},
                  drawdown_warnings=(0.10, 0.15))  # fmt: skip
    assert risk(played) == [(2, "WARNING"), (5, "WARNING"), (7, "WARNING")]


def test_every_one_of_many_warnings_is_given_even_in_one_fall() -> None:
    levels = tuple(i / 100 for i in range(1, 21))
    played = play([flat(p) for p in (10.0, 10.0, 9.45, 7.5)], [signal(0)],
                  **{**ALL_IN, "portfolio_stop": None}, drawdown_warnings=levels)  # fmt: skip
    assert risk(played) == [(2, "WARNING")] * 5 + [(3, "WARNING")] * 15
    assert [float(x["limit"]) for x in played.done.risk] == list(levels)


def test_sleeves_halt_by_themselves() -> None:
    from engine.exits import ExitRules

    config = {**ALL_IN, "fixed_notional_usd": 4_900.0}
    played = play(
        {0: CRASH, 1: [FLAT] * 12}, [signal(0, strategy=0), signal(0, symbol=1, strategy=1)],
        rules=[ExitRules(), ExitRules()], **config,
    )  # fmt: skip
    assert {int(x["account"]) for x in played.done.risk} == {0}
    assert [s for t, s, q, *_ in played.fills if q < 0] == [0]
