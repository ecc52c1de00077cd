"""The settings: their defaults in three places agree, and nothing unusual passes their types."""

import dataclasses
import json
import math
from enum import Enum

import msgspec
import pytest

from brokers.config import DeskConfig
from config import Secret, Settings, settings_as_dict
from config.loader import DEFAULTS_PATH
from config.schema import dict_value_type, field_types, is_section, list_item_type
from config.settings import Email

# DeskConfig's name -> the setting's path, where the names differ by more than the section
_SETTING_OF = {
    "mode": "backtest.mode",
    "capital_usd": "backtest.initial_capital",
    "fixed_notional_usd": "risk_management.fixed_notional",
    "min_notional_usd": "risk_management.min_notional",
    "signal_ttl_sessions": "risk_management.signal_ttl",
    "commission_rate": "backtest.transaction_cost",
}


def test_the_defaults_file_holds_every_setting_with_its_default():
    assert json.loads(DEFAULTS_PATH.read_text(encoding="utf-8")) == settings_as_dict(Settings())


def test_the_defaults_are_those_of_the_desk():
    settings = Settings()
    compared = 0
    for field in dataclasses.fields(DeskConfig):
        if field.name == "spread_model":  # Follows from backtest.costs
            continue
        expected = getattr(DeskConfig(), field.name)
        section, _, key = _SETTING_OF.get(field.name, f"risk_management.{field.name}").partition(".")
        if not hasattr(getattr(settings, section), key):
            section = "backtest"
        actual = getattr(getattr(settings, section), key)
        assert actual == (expected.name.lower() if isinstance(expected, Enum) else expected), field.name
        compared += 1
    assert compared == len(dataclasses.fields(DeskConfig)) - 1


def test_the_static_weights_are_those_of_the_specification():
    assert Settings().strategy_weights == {
        "dan_zanger_cup_handle": 0.30,
        "can_slim": 0.25,
        "trend_following": 0.25,
        "livermore_breakout": 0.20,
    }


def test_settings_as_dict_is_json_and_shows_no_secret():
    settings = Settings(email=Email(password=Secret("canary-7f3a"), recipients=("a@b.c",)))
    text = json.dumps(settings_as_dict(settings))
    assert "canary" not in text
    assert json.loads(text)["email"]["password"] == "***"
    assert "canary" not in repr(settings)


def test_settings_as_dict_shows_that_a_secret_is_not_set():
    assert settings_as_dict(Settings())["email"]["password"] is None


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().email.enabled = True


def _leaf_types(section=Settings, path=""):
    for key, kind in field_types(section).items():
        if is_section(kind):
            yield from _leaf_types(kind, f"{path}{key}.")
        else:
            yield f"{path}{key}", dict_value_type(kind) or list_item_type(kind) or kind


@pytest.mark.parametrize(("path", "kind"), list(_leaf_types()))
def test_every_number_is_bounded_on_both_sides(path, kind):
    bounded = 0
    for member in (kind, *getattr(kind, "__args__", ())):
        base = getattr(member, "__origin__", member)
        if base in (int, float) and member is not base:
            bounded += 1
            meta = member.__metadata__[0]
            assert meta.ge is not None or meta.gt is not None
            assert meta.le is not None or meta.lt is not None
    assert bounded or not {int, float} & set(getattr(kind, "__args__", ())) - {bool}


@pytest.mark.parametrize(("path", "kind"), list(_leaf_types()))
@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, math.nan, 10**400, -1e300], ids=["inf", "-inf", "nan", "huge", "-huge"]
)
def test_no_setting_takes_a_number_without_measure(path, kind, value):
    from config.schema import Fault, check_value

    with pytest.raises(Fault):
        check_value(kind, value)


LIMITS = {
    "risk_management": (
        "max_positions",
        "max_name",
        "sector_limits",
        "max_gross",
        "adv_cap",
        "min_notional",
        "individual_stop",
        "portfolio_stop",
    ),
    "backtest": ("participation", "delist_after_sessions"),
    "universe_criteria": ("market_cap_min", "market_cap_max", "min_daily_volume", "max_spread", "min_float"),
}


def test_every_limit_can_be_switched_off():
    off = msgspec.convert({section: dict.fromkeys(keys) for section, keys in LIMITS.items()}, Settings)
    for section, keys in LIMITS.items():
        assert all(getattr(getattr(off, section), key) is None for key in keys)
