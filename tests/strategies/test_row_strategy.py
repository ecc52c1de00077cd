"""Strategies in plain Python: what they may leave out, and what is refused by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from engine.errors import ConfigError, DataError, EngineError
from engine.events import Side
from strategies import registry
from strategies.base import Row, RowStrategy, Signal
from tests.strategies.bases import random_bases
from tests.strategies.random_tapes import cut, run


class Params(NamedTuple):
    confidence: float = 0.6
    every: int = 10


class Now(RowStrategy):
    name = "now_and_then"
    short = "now"
    Params = Params

    def begin(self) -> None:
        self.memory["rows"] = 0

    def on_row(self, row: Row) -> Iterable[Signal] | None:
        self.memory["rows"] += 1
        if self.memory["rows"] % self.params.every:
            return None
        return [Signal(row.symbols[0], Side.BUY, confidence=self.params.confidence)]


TAPE = random_bases(1, 40)
ROWS = cut(TAPE, list(range(1, 40)))


def test_a_row_without_a_signal_may_return_nothing() -> None:
    assert len(run(Now(), ROWS)) == 4


def test_parameters_are_typed_named_and_recorded() -> None:
    strategy = Now(every="20")
    assert len(run(strategy, ROWS)) == 2
    assert strategy.parameters() == {"confidence": 0.6, "every": 20}
    with pytest.raises(ConfigError, match=r"now\.every: expected int, was 'x'"):
        Now(every="x")
    with pytest.raises(ConfigError, match=r"now\.pace: no such parameter; now has confidence, every"):
        Now(pace=1)


@pytest.mark.parametrize("confidence", [float("nan"), 7.0, -0.1])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(EngineError, match=f"now_and_then signalled .* with confidence {confidence}"):
        run(Now(confidence=confidence) if confidence == confidence else _Nan(), ROWS)


class _Nan(Now):
    def on_row(self, row: Row) -> Iterable[Signal]:
        return [Signal(row.symbols[0], Side.BUY, confidence=float("nan"))]


class _Writes(Now):
    def on_row(self, row: Row) -> Iterable[Signal]:
        row.close[:] = 1.0
        return []


def test_bars_are_not_a_strategys_to_change() -> None:
    before = TAPE.close.copy()
    with pytest.raises(ValueError, match="read-only"):
        run(_Writes(), ROWS)
    np.testing.assert_array_equal(TAPE.close, before)


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (5, "now_and_then returned 5; expected a list of Signal"),
        (["AAA"], "now_and_then returned 'AAA'; expected a list of Signal"),
        ([Signal("?", "BUY", 0.6)], "now_and_then signalled .* with invalid literal .* 'BUY'"),  # type: ignore[arg-type]
        ([Signal("?", Side.BUY, "high")], "now_and_then signalled .* with '<=' not supported"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_signal_is_refused_by_the_strategys_name(returned: Any, complaint: str) -> None:
    class Wrong(Now):
        def on_row(self, row: Row) -> Any:
            if isinstance(returned, list) and isinstance(returned[0], Signal):
                return [dataclasses.replace(returned[0], symbol=row.symbols[0])]
            return returned

    with pytest.raises(EngineError, match=complaint):
        run(Wrong(), ROWS)


class _Nameless(RowStrategy):
    def on_row(self, row: Row) -> None: ...


class _Idle(RowStrategy):
    name = "idle"


class _Short(Now):
    name = "trend"
    short = ""


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (5, "5 is no strategy; derive the class from RowStrategy or KernelStrategy"),
        (dict, "no strategy; derive"),
        (_Idle, "strategy class _Idle lacks on_row"),
        (_Nameless, "strategy class _Nameless has no name"),
        (_Short, "strategy name 'trend' is taken by a built-in strategy"),
    ],
)
def test_what_is_no_strategy_is_not_registered(cls: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        registry.register(cls)


def test_two_modules_may_not_bring_the_same_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(
            "from strategies import base, registry\n@registry.register\nclass A(base.RowStrategy):\n"
            "    name = 'a'\n    def on_row(self, row): ...\n"
        )
    assert registry.load_module(tmp_path / "one.py") == ["a"]
    of_one = registry._registered["a"]
    with pytest.raises(ConfigError, match=r"two\.py: strategy 'a' is of another module already"):
        registry.load_module(tmp_path / "two.py")
    assert registry._registered["a"] is of_one


def test_a_module_that_is_asked_for_again_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    module = tmp_path / "one.py"
    module.write_text(
        "from strategies import base, registry\n@registry.register\nclass A(base.RowStrategy):\n"
        "    name = 'a'\n    def on_row(self, row): ...\n"
    )
    assert registry.load_module(module) == ["a"]
    before = registry._registered["a"]
    module.write_text("half written (")
    assert registry.load_module(module) == ["a"]
    assert registry._registered == {"a": before}


def test_a_short_name_of_a_built_in_strategy_is_taken() -> None:
    class Trend(Now):
        name = "my_trend"
        short = "trend"

    with pytest.raises(ConfigError, match="short name 'trend' is taken by trend_following"):
        registry.register(Trend)


def test_the_state_of_other_parameters_is_refused_where_it_does_not_fit() -> None:
    first, second = registry.create("livermore"), registry.create("livermore", above_sma=50)
    for strategy in (first, second):
        run(strategy, [TAPE])
    with pytest.raises(DataError, match=r"livermore_breakout was run with other parameters; its closes must"):
        second.restore(first.state())


def test_a_package_that_cannot_be_imported_and_one_that_is_not_there_are_named(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken_package-0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 0.1\n")
    (folder / "entry_points.txt").write_text("[smallcap.strategies]\nbroken = no_such_module:Strategy\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"strategy 'broken' .* ModuleNotFoundError: No module named"):
        registry.create("broken")
    with pytest.raises(ConfigError, match=r"unknown strategy 'brok'; there are .*, broken"):
        registry.create("brok")
