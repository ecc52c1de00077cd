"""The compiled desk and the reference desk, written apart, do the same on markets nobody would wish for."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from brokers.config import Mode
from brokers.desk import Desk
from tests.brokers.done import Done
from tests.brokers.random_market import Case, examples, random_case
from tests.brokers.reference_desk import Log, ReferenceDesk

ORDER_FIELDS = ("ts", "account", "symbol", "side", "quantity", "filled", "status", "reason", "end_reason")
TRADE_FIELDS = (
    "ts_entry", "ts_exit", "account", "symbol", "strategy", "pnl_micro", "fees_micro", "income_micro", 
    "bars_held", "reason",
)  # fmt: skip


def run_desk(case: Case) -> Done:
    desk = Desk(case.universe, case.strategies, case.config, case.weights)
    signals = [case.signals_of(i) for i in range(len(case.rules))]
    return Done(desk.process(case.tape(), case.market, signals))


def run_reference(case: Case) -> Log:
    sectors = [sector or "other" for sector in case.universe.sectors]
    desk = ReferenceDesk(case.config, case.rules, case.weights, sectors, case.universe.membership)
    return desk.run(case.tape(), case.market, case.signals)


def rows(records: Any, fields: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return [tuple(r[name].item() for name in fields) for r in records]


def same(kind: str, got: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> None:
    for k, (left, right) in enumerate(zip(got, wanted, strict=False)):
        for x, y in zip(left, right, strict=True):
            close = isinstance(y, float) and abs(x - y) <= 1e-12 * abs(y)
            assert x == y or close, f"{kind} {k}: desk {left}, reference {right}"
    assert len(got) == len(wanted), f"{kind}: {got[len(wanted) :]} or {wanted[len(got) :]}"


def compare(case: Case) -> Done:
    done, log = run_desk(case), run_reference(case)
    same("order", rows(done.orders, ORDER_FIELDS), [x[:6] + x[6:] for x in log.orders])
    fill = (
        "ts",
        "account",
        "symbol",
        "strategy",
        "side",
        "quantity",
        "price",
        "value_micro",
        "fee_micro",
        "reason",
    )
    same("fill", rows(done.fills, fill), log.fills)
    same(
        "rejection",
        rows(done.rejections, ("ts", "account", "symbol", "strategy", "side", "reason")),
        log.rejections,
    )
    same(
        "cash flow",
        rows(done.cashflows, ("ts", "account", "symbol", "kind", "quantity", "per_share", "amount_micro")),
        log.cashflows,
    )
    same("trade", rows(done.trades, TRADE_FIELDS), log.trades)
    same("risk", rows(done.risk, ("ts", "account", "kind")), log.risk)
    cash_and_equity = [[(int(x[0]), int(x[2])) for x in row] for row in done.equity]
    assert cash_and_equity == log.equity, "equity"
    return done


@settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
    max_examples=examples(250),
)
@given(st.integers(0, 2**32 - 1))
def test_both_desks_agree_on_every_fill_rejection_and_cent(seed: int) -> None:
    compare(random_case(seed))


@settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], max_examples=examples(60)
)
@given(st.integers(0, 2**32 - 1))
def test_both_desks_agree_when_votes_are_blended(seed: int) -> None:
    compare(random_case(seed, mode=Mode.BLEND))


@settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], max_examples=examples(8)
)
@given(st.integers(0, 2**32 - 1))
def test_both_desks_agree_on_more_symbols_than_a_word_has_bits(seed: int) -> None:
    compare(random_case(seed, n_rows=40, n_symbols=70))
