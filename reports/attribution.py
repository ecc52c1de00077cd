"""Who earned the return: by strategy, sector, symbol and any grouping of them, exactly.

1. At every close the profits of all lots, and of cash, add up to E_t - E_{t-1} - F_t; `attribute` refuses
   a run in which they do not, to 1e-9 of equity.
2. Linked contributions (Carino) add up to the compounded return R, in every grouping:
   c_{i,t} = pnl_{i,t} / E_{t-1}, k_t = ln(1 + r_t) / r_t, k = ln(1 + R) / R, C_i = sum_t c_{i,t} k_t / k.
3. Profits over the initial capital add up to R too, as long as nothing is paid in or out.

The profit of a blend's lot is split by the shares that the strategies had in the vote for its entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.events import CashFlows, CashKind, Orders, Side, Signals
from reports.daily import Daily, daily, day_numbers
from reports.lots import LotHistory, lot_history
from reports.recorder import BLEND, Recorder
from risk.sectors import sector_key
from strategies.aggregation import BLEND_MEASUREMENTS

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MICRO = 1e6
RESIDUAL_MAX = 1e-9  # of equity
CASH = "cash"
BY = ("strategy", "sector", "symbol")


class Part(NamedTuple):
    """What a group of keys earned. `linked` is None where a return was -100 % or worse."""

    key: tuple[str, ...]
    profit_usd: float
    contribution: float  # profit over the initial capital
    linked: float | None  # Carino


def link(contributions: Float, returns: Float) -> Float | None:
    """Return float64[n], the linked contributions of n parts: contributions[T, n] of returns[T].

    None where a return is -1 or worse.
    """
    weights = carino_weights(returns)
    return None if weights is None else np.asarray(weights @ contributions)


def carino_weights(returns: Float) -> Float | None:
    """Return k_t / k of each period."""
    if np.any(~(returns > -1)):
        return None
    growth = np.log1p(returns)
    total = float(np.sum(growth))
    one = np.ones(len(returns))
    k = np.divide(growth, returns, out=one, where=returns != 0)
    whole = np.expm1(total)
    return np.asarray(k * (whole / total if total != 0 else 1.0))


@dataclass(frozen=True, eq=False)
class Attribution:
    """The attribution of one run: all accounts together."""

    history: Daily
    residual_max: float  # largest |sum of profits - change of equity| / equity of a close
    keys: tuple[tuple[str, str, str], ...]  # (strategy, sector, symbol) of each entry
    lots: LotHistory
    _entry_lot: Int  # [n], an entry is a lot, or one strategy's share of it
    _entry_share: Float
    _cash_micro: Int  # [K], interest
    _day: Int  # [K], row -> day

    def by(self, *names: str) -> list[Part]:
        """Return the parts of a grouping, e.g. `by("strategy")` or `by("sector", "symbol")`, by key.
        Interest has the key `cash` throughout."""
        groups, of_entry = self._groups(names)
        n = len(groups)
        profit = np.bincount(of_entry, self._per_lot(None)[self._entry_lot] * self._entry_share, n)
        weights = self._weights
        linked = None
        if weights is not None:
            linked = np.bincount(of_entry, self._per_lot(weights)[self._entry_lot] * self._entry_share, n)
        parts = [
            Part(key, float(profit[i]), float(profit[i]) / self.history.capital,
                 None if linked is None else float(linked[i]))
            for i, key in enumerate(groups)
        ]  # fmt: skip
        if np.any(self._cash_micro):
            earned = self._cash_micro / MICRO
            of_cash = None if weights is None else float(earned @ weights[self._day])
            total = float(earned.sum())
            parts.append(Part((CASH,) * len(names), total, total / self.history.capital, of_cash))
        return parts

    def daily_contributions(self, *names: str) -> tuple[list[tuple[str, ...]], Float]:
        """Return the keys of a grouping and float64[D, n]: profit of each day over the equity before it."""
        groups, of_entry = self._groups(names)
        made = self._spread(of_entry, len(groups), self.lots.profit_lot, self.lots.profit_row,
                            self.lots.profit_micro)  # fmt: skip
        return groups, made / self._before[:, None]

    def exposure(self, *names: str) -> tuple[list[tuple[str, ...]], Float]:
        """Return the keys of a grouping and float64[D, n]: value of positions over equity at each close."""
        groups, of_entry = self._groups(names)
        closing = np.zeros(len(self._day), bool)
        closing[last_of_each_row(self._day)] = True
        keep = closing[self.lots.value_row]
        made = self._spread(of_entry, len(groups), self.lots.value_lot[keep], self.lots.value_row[keep],
                            self.lots.value_micro[keep])  # fmt: skip
        return groups, made / self.history.equity[:, None]

    def _groups(self, names: Sequence[str]) -> tuple[list[tuple[str, ...]], Int]:
        if not names or not set(names) <= set(BY):
            raise EngineError(f"a grouping must be of {', '.join(BY)}, was {', '.join(names) or 'nothing'}")
        keys = [tuple(key[BY.index(name)] for name in names) for key in self.keys]
        groups = sorted(set(keys))
        place = {key: i for i, key in enumerate(groups)}
        return groups, np.array([place[key] for key in keys], np.int64)

    def _per_lot(self, weights: Float | None) -> Float:
        """Return dollars that each lot earned, weighted by day."""
        dollars = self.lots.profit_micro / MICRO
        if weights is not None:
            dollars = dollars * weights[self._day[self.lots.profit_row]]
        return np.asarray(np.bincount(self.lots.profit_lot, dollars, len(self.lots.symbol)), np.float64)

    def _spread(self, of_entry: Int, n: int, lot: Int, row: Int, micro: Int) -> Float:
        """Return float64[D, n]: dollars per day and group, of flat rows per lot."""
        made = np.zeros(len(self.history) * n)
        order = np.argsort(self._entry_lot, kind="stable")
        counts = np.bincount(self._entry_lot, minlength=len(self.lots.symbol))
        start = np.cumsum(counts) - counts
        for extra in range(int(counts.max(initial=0))):  # Entries of one lot: one, or one per voter
            has = counts[lot] > extra
            entry = order[start[lot[has]] + extra]
            cell = self._day[row[has]] * n + of_entry[entry]
            made += np.bincount(cell, micro[has] / MICRO * self._entry_share[entry], len(made))
        return made.reshape(len(self.history), n)

    @property
    def _before(self) -> Float:
        return np.concatenate(([self.history.capital], self.history.equity[:-1]))[: len(self.history)]

    @cached_property
    def _weights(self) -> Float | None:
        """float64[D], what a dollar of profit on a day adds to the linked return."""
        linked = carino_weights(self.history.returns)
        return None if linked is None else linked / self._before


def attribute(recorder: Recorder) -> Attribution:
    """Return the attribution of a run that was recorded from its start.

    Raises EngineError when the profits do not add up to the change of equity.
    """
    lots = lot_history(recorder)
    curve = recorder.equity()
    interest, flows = _outside(recorder, curve.ts)
    equity = curve.equity.sum(axis=1)
    capital = sum(recorder.capital_usd)
    residual = _residual(lots, equity, round(capital * MICRO), interest + flows)
    history = daily(curve.ts, equity / MICRO, capital, flows_usd=flows / MICRO)
    entry_lot, entry_share, strategy = _voters(recorder, lots)
    universe = recorder.universe
    sector = [sector_key(s, i) for s, i in zip(universe.sectors, universe.industries, strict=True)]
    symbol = lots.symbol[entry_lot].tolist()
    days = day_numbers(curve.ts)
    return Attribution(
        history=history,
        residual_max=residual,
        keys=tuple(
            (recorder.strategy_names[i], sector[s], universe.symbols[s])
            for i, s in zip(strategy.tolist(), symbol, strict=True)
        ),
        lots=lots,
        _entry_lot=entry_lot,
        _entry_share=entry_share,
        _cash_micro=interest,
        _day=np.cumsum(np.diff(days, prepend=days[:1]) != 0),
    )


def last_of_each_row(day: Int) -> Int:
    """Return the position of the last row of each day number."""
    return np.flatnonzero(np.diff(day, append=-1) != 0)


def _outside(recorder: Recorder, ts: Int) -> tuple[Int, Int]:
    """Return int64[K] micro-dollars of interest, and of flows from outside."""
    rows = recorder.rows(CashFlows)
    made = []
    for kind in (CashKind.INTEREST, CashKind.EXTERNAL_FLOW):
        chosen = rows[rows["kind"] == kind]
        total = np.zeros(len(ts), np.int64)
        np.add.at(total, np.searchsorted(ts, chosen["ts"]), chosen["amount_micro"])
        made.append(total)
    return made[0], made[1]


def _residual(lots: LotHistory, equity: Int, capital: int, other: Int) -> float:
    """Return the largest part of equity that profits leave unexplained at a close; raise if it counts."""
    explained = other.copy()
    np.add.at(explained, lots.profit_row, lots.profit_micro)
    before = np.concatenate(([capital], equity[:-1]))[: len(equity)]
    gap = np.abs(explained - (equity - before)) / np.maximum(np.abs(before), 1)
    worst = float(gap.max(initial=0.0))
    if worst > RESIDUAL_MAX:
        row = int(np.argmax(gap))
        raise EngineError(
            f"attribution: profits must add up to the change of equity to {RESIDUAL_MAX:g} of it,"
            f" were {gap[row]:.3g} off at row {row}"
        )
    return worst


def _voters(recorder: Recorder, lots: LotHistory) -> tuple[Int, Float, Int]:
    """Return (lot, share, strategy) of each entry. What the record of a vote does not name stays with
    the blend."""
    n_lots, blend = len(lots.symbol), len(recorder.strategy_names) - 1
    if recorder.accounts != (BLEND,):
        return np.arange(n_lots), np.ones(n_lots), lots.strategy
    signals = recorder.rows(Signals)
    votes = signals[(signals["strategy"] == blend) & (signals["side"] == Side.BUY)]
    of_vote = {
        key: i for i, key in enumerate(zip(votes["ts"].tolist(), votes["symbol"].tolist(), strict=True))
    }
    orders = recorder.rows(Orders)
    decided = dict(zip(orders["order_id"].tolist(), orders["ts_decided"].tolist(), strict=True))
    signalled = dict(zip(orders["order_id"].tolist(), orders["symbol"].tolist(), strict=True))
    first = len(BLEND_MEASUREMENTS)
    found: list[tuple[int, float, int]] = []
    for lot, order in enumerate(lots.order_id.tolist()):
        vote = of_vote.get((decided.get(order, -1), signalled.get(order, -1)))
        shares = np.empty(0) if vote is None else np.nan_to_num(votes["details"][vote, first : first + blend])
        found += [(lot, share, i) for i, share in enumerate(shares.tolist()) if share > 0]
        rest = 1.0 - float(shares.sum())
        if rest > 1e-9:
            found.append((lot, rest, blend))
    table = np.array(found, np.float64).reshape(-1, 3)
    return table[:, 0].astype(np.int64), table[:, 1].copy(), table[:, 2].astype(np.int64)
