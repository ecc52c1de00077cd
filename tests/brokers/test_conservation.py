"""What must hold in every run: nothing is created, nothing vanishes, nothing happens too early."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from brokers.config import Mode, SpreadModel
from brokers.desk import Desk
from engine.errors import EngineError
from engine.events import FILL_DTYPE, CashKind, OrderStatus, OrderType, Reason
from engine.slab import ActionKind, Tape
from tests.brokers.done import Done
from tests.brokers.random_market import Case, examples, random_case

seeds = st.integers(0, 2**32 - 1)
some = settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], max_examples=examples(60)
)
ENDED = (OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED)
FREE = {
    "slippage_bps": 0.0, "half_spread_bps": 0.0, "impact_coefficient": 0.0, "spread_model": SpreadModel.FIXED,
}  # fmt: skip


def run(case: Case) -> tuple[Desk, Tape, Done]:
    desk = Desk(case.universe, case.strategies, case.config, case.weights)
    tape = case.tape()
    signals = [case.signals_of(i) for i in range(len(case.rules))]
    done = Done(desk.process(tape, case.market, signals))
    return desk, tape, done


def test_signals_of_another_layout_are_refused_and_strided_ones_are_read_as_they_are() -> None:
    case = random_case(7)
    signals = [case.signals_of(i) for i in range(len(case.rules))]
    straight = run(case)[2]

    strided = [np.repeat(rows, 2)[::2] for rows in signals]
    desk = Desk(case.universe, case.strategies, case.config, case.weights)
    done = Done(desk.process(case.tape(), case.market, strided))
    assert done.orders.tobytes() == straight.orders.tobytes()

    other = np.zeros(3, FILL_DTYPE)
    desk = Desk(case.universe, case.strategies, case.config, case.weights)
    with pytest.raises(EngineError, match="signals must be rows of SIGNAL_DTYPE"):
        desk.process(case.tape(), case.market, [other, *signals[1:]])


def capital(case: Case, desk: Desk) -> list[int]:
    fresh = Desk(case.universe, case.strategies, case.config, case.weights)
    cash = [int(x) for x in fresh._state.accounts["cash"]]
    assert sum(cash) == round(case.config.capital_usd * 1e6)
    return cash


@some
@given(seeds)
def test_cash_is_capital_less_buys_plus_sells_less_fees_plus_flows_and_never_negative(seed: int) -> None:
    case = random_case(seed)
    desk, tape, done = run(case)
    start = capital(case, desk)
    assert (done.equity[:, :, 0] >= 0).all()
    for a, cash in enumerate(start):
        fills = done.fills[done.fills["account"] == a]
        flows = done.cashflows[done.cashflows["account"] == a]
        for t, ts in enumerate(tape.ts):
            past = fills[fills["ts"] <= ts]
            moved = int(-(past["side"] * past["value_micro"]).sum() - past["fee_micro"].sum())
            moved += int(flows["amount_micro"][flows["ts"] <= ts].sum())
            assert int(done.equity[t, a, 0]) == cash + moved


@some
@given(seeds)
def test_holdings_are_the_sum_of_fills_and_equity_is_cash_plus_their_marks(seed: int) -> None:
    case = random_case(seed)
    desk, tape, done = run(case)
    units = desk._params.units
    held: dict[tuple[int, int], int] = defaultdict(int)
    mark = [0.0] * len(case.universe)
    for t, ts in enumerate(tape.ts):
        for action in tape.actions[tape.actions["row"] == t]:
            s, kind, value = int(action["symbol"]), int(action["kind"]), float(action["value"])
            for a in range(len(desk.accounts)):
                if kind == ActionKind.SPLIT:
                    held[a, s] = int(np.floor(held[a, s] * value + 1e-9))
                elif kind >= ActionKind.DELIST_PROCEEDS:
                    held[a, s] = 0
            if kind == ActionKind.SPLIT:
                mark[s] /= value
        for fill in done.fills[done.fills["ts"] == ts]:
            held[int(fill["account"]), int(fill["symbol"])] += int(fill["side"] * fill["quantity"])
        for s in range(len(case.universe)):
            if tape.status[t, s] > 0:
                mark[s] = float(tape.close[t, s])
        for flow in done.cashflows[done.cashflows["ts"] == ts]:
            if flow["kind"] == CashKind.DELISTING:
                held[int(flow["account"]), int(flow["symbol"])] = 0
        for a in range(len(desk.accounts)):
            owned = [(s, q) for (b, s), q in held.items() if b == a]
            assert all(q >= 0 for _, q in owned)
            gross = sum(round(q / units * mark[s] * 1e6) for s, q in owned)
            cash, stated, equity = (int(x) for x in done.equity[t, a])
            assert (stated, equity) == (gross, cash + gross)
    last = {(int(p["account"]), int(p["symbol"])): int(p["quantity"]) for p in desk.open_positions()}
    assert last == {key: q for key, q in held.items() if q}


@some
@given(seeds)
def test_the_pnl_of_trades_and_open_lots_is_the_change_of_equity(seed: int) -> None:
    case = random_case(seed)
    desk, _, done = run(case)
    state = desk._state
    for a, start in enumerate(capital(case, desk)):
        pnl = int(done.trades["pnl_micro"][done.trades["account"] == a].sum())
        for lot in state.lots[a][state.lots[a]["quantity"] > 0]:
            value = round(lot["quantity"] / desk._params.units * lot["mark"] * 1e6)
            pnl += int(lot["proceeds"] + lot["income"] + value - lot["cost"] - lot["fees"])
        assert int(done.equity[-1, a, 2]) - start == pnl


@some
@given(seeds)
def test_no_bar_fills_more_than_its_share_of_volume_across_all_accounts(seed: int) -> None:
    case = random_case(seed, participation=0.1, exit_waive_bars=10**9)
    desk, tape, done = run(case)
    for t, ts in enumerate(tape.ts):
        for s in range(len(case.universe)):
            filled = done.fills["quantity"][(done.fills["ts"] == ts) & (done.fills["symbol"] == s)].sum()
            volume = tape.volume[t, s] if tape.status[t, s] >= 2 else 0.0
            assert filled <= 0.1 * volume * desk._params.units


@some
@given(seeds)
def test_without_costs_no_fill_is_outside_its_bar(seed: int) -> None:
    case = random_case(seed, **FREE)
    _, tape, done = run(case)
    for fill in done.fills:
        t = int(np.searchsorted(tape.ts, fill["ts"]))
        s = int(fill["symbol"])
        assert tape.status[t, s] >= 2
        low, high = min(tape.low[t, s], tape.open[t, s]), max(tape.high[t, s], tape.open[t, s])
        assert low * (1 - 1e-12) <= fill["price"] <= high * (1 + 1e-12)


@some
@given(seeds)
def test_every_signal_ends_as_an_order_or_a_rejection(seed: int) -> None:
    case = random_case(seed, mode=Mode.SLEEVE)
    _, _, done = run(case)

    def keys(rows: Any) -> list[tuple[int, int, int]]:
        return [(int(r["ts"]), int(r["account"]), int(r["symbol"])) for r in rows]

    accepted = done.orders[
        (done.orders["status"] == OrderStatus.ACCEPTED) & (done.orders["reason"] == Reason.SIGNAL)
    ]
    cancelled = done.orders[(done.orders["end_reason"] == Reason.SIGNAL) & (done.orders["side"] == 1)]
    for side in (1, -1):
        given_ = case.signals[case.signals["side"] == side]
        wanted = sorted((int(x["ts"]), int(x["strategy"]), int(x["symbol"])) for x in given_)
        ends = keys(accepted[accepted["side"] == side])
        ends += keys(done.rejections[done.rejections["side"] == side])
        if side == 1:
            assert sorted(ends) == wanted
        else:
            assert set(wanted) <= set(ends) | set(keys(cancelled))
            assert set(ends) <= set(wanted)


@some
@given(seeds)
def test_every_order_ends_once_or_still_works(seed: int) -> None:
    case = random_case(seed)
    desk, _, done = run(case)
    orders = desk._state.orders
    working = set(orders["order_id"][orders["quantity"] > 0].tolist())
    story: dict[int, list[Any]] = defaultdict(list)
    for row in done.orders:
        story[int(row["order_id"])].append(row)
    for order_id, changes in story.items():
        ends = [int(x["status"]) in ENDED for x in changes]
        assert not any(ends[:-1])
        assert ends[-1] == (order_id not in working)
        if ends[-1] and int(changes[-1]["status"]) == OrderStatus.FILLED and not changes[-1]["end_reason"]:
            assert changes[-1]["filled"] == changes[-1]["quantity"]
    assert working <= set(story)
    assert sorted(story) == list(range(len(story)))


@some
@given(seeds)
def test_nothing_fills_at_or_before_the_close_that_decided_it(seed: int) -> None:
    case = random_case(seed)
    _, _, done = run(case)
    decided = {int(x["order_id"]): int(x["ts_decided"]) for x in done.orders}
    for fill in done.fills:
        if fill["reason"] in (Reason.STOP, Reason.TARGET):  # Resting levels, known before the bar
            assert fill["ts"] >= decided[int(fill["order_id"])]
        else:
            assert fill["ts"] > decided[int(fill["order_id"])]


@some
@given(seeds)
def test_numbers_of_the_log_run_without_a_gap_over_all_kinds(seed: int) -> None:
    case = random_case(seed)
    _, _, done = run(case)
    kinds = (done.orders, done.fills, done.rejections, done.cashflows, done.trades, done.risk)
    seq = np.concatenate([rows["seq"] for rows in kinds])
    assert sorted(seq.tolist()) == list(range(len(seq)))
    for rows in kinds:
        assert (np.diff(rows["seq"]) > 0).all()


@some
@given(seeds)
def test_positions_never_exceed_the_slots(seed: int) -> None:
    case = random_case(seed, max_positions=2)
    _, _, done = run(case)
    held: dict[int, set[int]] = defaultdict(set)
    events = [(int(x["seq"]), "in", x) for x in done.fills if x["side"] == 1]
    events += [(int(x["seq"]), "out", x) for x in done.trades]
    for _, what, x in sorted(events, key=lambda e: e[0]):
        a = int(x["account"])
        (held[a].add if what == "in" else held[a].discard)(int(x["symbol"]))
        assert len(held[a]) <= 2


def test_a_limit_order_is_the_only_entry_without_slippage() -> None:
    assert {OrderType.LIMIT} == {kind for kind in OrderType if not _pays_slippage(kind)}


def _pays_slippage(kind: OrderType) -> bool:
    """Whether some fill of that type of entry was away from every price of its bar."""
    for seed in range(40):
        case = random_case(seed, **{**FREE, "slippage_bps": 300.0}, mode=Mode.SLEEVE, participation=None)
        case.signals["order_type"][case.signals["side"] > 0] = int(kind)
        case.signals["limit"] = case.signals["price_ref"] * 1.01
        case.signals["trigger"] = case.signals["price_ref"] * 0.99
        _, tape, done = run(case)
        for fill in done.fills[done.fills["side"] == 1]:
            t, s = int(np.searchsorted(tape.ts, fill["ts"])), int(fill["symbol"])
            if fill["price"] > tape.high[t, s] * (1 + 1e-9):
                return True
    return False
