"""Options and settings become the objects of a run, or one clear complaint."""

from dataclasses import fields
from datetime import date

import msgspec
import pytest

from brokers.config import DeskConfig, Intrabar, Mode, Sizing, SpreadModel
from config import Settings
from engine.errors import ConfigError
from scripts.assembly import UsageError, build_strategies, day, desk_config, normalised_weights
from strategies import registry

WEIGHTS = Settings().strategy_weights
MODULE = """
import strategies.registry
from strategies.base import RowStrategy

@strategies.registry.register
class Mine(RowStrategy):
    name = "mine_of_assembly"
    def on_row(self, row):
        return ()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    path = tmp_path / "mine.py"
    path.write_text(MODULE)
    return path


def test_default_settings_are_the_defaults_of_the_desk():
    made, default = desk_config(Settings()), DeskConfig()
    for field in fields(DeskConfig):
        assert getattr(made, field.name) == getattr(default, field.name), field.name


def test_options_win_over_the_settings():
    made = desk_config(Settings(), mode="blend", capital=5_000.0)
    assert made.mode is Mode.BLEND
    assert made.capital_usd == 5_000.0


def test_every_limit_that_settings_switch_off_is_off_at_the_desk():
    off = msgspec.convert(
        {
            "risk_management": dict.fromkeys(
                ["max_positions", "max_name", "sector_limits", "max_gross", "adv_cap", "min_notional",
                 "individual_stop", "portfolio_stop"]
            ),
            "backtest": {"participation": None, "delist_after_sessions": None},
        },
        Settings,
    )  # fmt: skip
    made = desk_config(off)
    for name in (
        "max_positions", "max_name", "sector_limits", "max_gross", "adv_cap", "min_notional_usd",
        "individual_stop", "portfolio_stop", "participation", "delist_after_sessions",
    ):  # fmt: skip
        assert getattr(made, name) is None, name


def test_realistic_costs_are_estimated_per_symbol():
    settings = msgspec.convert(
        {
            "backtest": {"costs": "realistic", "intrabar": "path"},
            "risk_management": {"position_sizing": "vol_target"},
        },
        Settings,
    )  # fmt: skip
    made = desk_config(settings)
    assert made.spread_model is SpreadModel.CORWIN_SCHULTZ
    assert made.impact_coefficient == 0.75
    assert made.intrabar is Intrabar.PATH
    assert made.position_sizing is Sizing.VOL_TARGET


@pytest.mark.parametrize("capital", [0.0, -1.0, float("nan"), float("inf"), 2e12])
def test_capital_that_cannot_be_traded_is_a_usage_error(capital):
    with pytest.raises(UsageError, match="--capital must be > 0"):
        desk_config(Settings(), capital=capital)


def test_short_and_full_names_choose_strategies_in_the_order_given_and_once():
    made = build_strategies(["livermore", "trend_following", "trend"], [], [], WEIGHTS)
    assert [strategy.name for strategy in made] == ["livermore_breakout", "trend_following"]


def test_without_names_all_built_in_strategies_run_and_those_of_the_modules(module):
    made = build_strategies([], [], [module], WEIGHTS)
    assert [strategy.name for strategy in made] == [*registry.BUILT_IN, "mine_of_assembly"]


def test_without_names_a_strategy_that_the_settings_give_no_weight_does_not_run():
    made = build_strategies([], [], [], {**WEIGHTS, "can_slim": 0.0})
    assert "can_slim" not in [strategy.name for strategy in made]


def test_parameters_reach_their_strategy_by_short_or_full_name():
    made = build_strategies(
        ["trend", "livermore"], ["trend.fast_span=12", "trend_following.slow_span=40"], [], WEIGHTS
    )
    assert made[0].parameters()["fast_span"] == 12
    assert made[0].parameters()["slow_span"] == 40


def test_an_unknown_strategy_is_answered_with_the_closest_name():
    with pytest.raises(UsageError, match=r"did you mean livermore\?"):
        build_strategies(["livermor"], [], [], WEIGHTS)


@pytest.mark.parametrize("option", ["trend.fast_span", "fast_span=3", "=3", ".a=1", "trend.=1"])
def test_a_malformed_parameter_is_a_usage_error(option):
    with pytest.raises(UsageError, match=r"--param must be NAME\.key=value"):
        build_strategies(["trend"], [option], [], WEIGHTS)


def test_a_parameter_of_a_strategy_that_does_not_run_is_a_usage_error():
    with pytest.raises(UsageError, match="livermore is not run"):
        build_strategies(["trend"], ["livermore.window=3"], [], WEIGHTS)


def test_a_parameter_with_a_wrong_name_or_value_is_a_configuration_error():
    with pytest.raises(ConfigError, match="no such parameter"):
        build_strategies(["trend"], ["trend.fast=3"], [], WEIGHTS)
    with pytest.raises(ConfigError, match="expected int"):
        build_strategies(["trend"], ["trend.fast_span=soon"], [], WEIGHTS)


def test_weights_are_normalised_over_the_strategies_chosen():
    made = build_strategies(["trend", "livermore"], [], [], WEIGHTS)
    assert normalised_weights(made, WEIGHTS) == pytest.approx([0.25 / 0.45, 0.20 / 0.45])


def test_a_strategy_without_an_entry_gets_the_mean_of_the_others(module):
    made = build_strategies(["zanger", "livermore", "mine_of_assembly"], [], [module], WEIGHTS)
    assert normalised_weights(made, WEIGHTS) == pytest.approx([0.3 / 0.75, 0.2 / 0.75, 0.25 / 0.75])


def test_strategies_that_all_lack_an_entry_share_equally(module):
    made = build_strategies(["mine_of_assembly", "trend"], [], [module], {})
    assert normalised_weights(made, {}) == [0.5, 0.5]


def test_a_strategy_named_in_spite_of_weight_zero_is_a_configuration_error():
    made = build_strategies(["trend"], [], [], WEIGHTS)
    with pytest.raises(ConfigError, match=r"strategy_weights\.trend_following must be > 0"):
        normalised_weights(made, {"trend_following": 0.0})


def test_dates_are_iso_dates():
    assert day("2020-01-31", "--start") == date(2020, 1, 31)
    assert day(None, "--start") is None
    with pytest.raises(UsageError, match=r"--end must be a date such as 2020-01-31, was '31\.1\.2020'"):
        day("31.1.2020", "--end")
