"""A small monitor on a made-up market, for the tests of core, writer and daemon."""

from __future__ import annotations

from pathlib import Path

from config.settings import Monitoring, RiskManagement, Settings, settings_as_dict
from engine.slab import Bars
from feeds.live import LiveRow
from monitors.core import LiveCore
from monitors.inputs import Plan, Readings
from monitors.writer import SCHEMA, Writer
from scripts.live_assembly import DECIDING, assemble
from storage.live import LiveStore, open_store
from tests.faults.trial import N_ROWS, SYMBOLS, ZIGZAG, market

NOW_NS = 1_700_000_000_000_000_000


def plan(
    *, strategies=(("zigzag", {}),), settings: Settings | None = None, positions=None, capital_usd=100_000.0
) -> Plan:
    plain = settings_as_dict(settings or settings_of())
    return Plan(
        symbols=SYMBOLS,
        sectors=("technology", "energy", "", ""),
        industries=("",) * 4,
        exchanges=("",) * 4,
        benchmark="",
        strategies=strategies,
        modules=(str(ZIGZAG),),
        weights=(1.0 / len(strategies),) * len(strategies),
        capital_usd=capital_usd,
        settings={name: plain[name] for name in DECIDING},
        positions=positions,
    )


def settings_of(**risk) -> Settings:
    return Settings(
        risk_management=RiskManagement(**{"max_positions": 4, "max_name": 0.5, **risk}),
        monitoring=Monitoring(drawdown_levels=(0.01, 0.02, 0.04)),
    )


def rows(start: int = 0, stop: int = N_ROWS, bars: Bars | None = None) -> list[LiveRow]:
    return [LiveRow(row, "test", False) for row in (bars or market()).rows(start, stop).cut(1)]


def writer_on(directory: Path, *, snapshot_inputs: int = 25, rows_kept: int | None = None) -> Writer:
    store: LiveStore = open_store(directory, SCHEMA)
    writer = Writer(store, LiveCore(assemble), snapshot_inputs=snapshot_inputs, rows_kept=rows_kept)
    writer.recover()
    return writer


def at(second: int = 0) -> Readings:
    return Readings(NOW_NS + second * 10**9)
