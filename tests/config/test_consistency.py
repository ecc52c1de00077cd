"""Settings that are fine alone and contradict each other are refused together."""

import json

import pytest

from config import SettingsError, load_settings


@pytest.fixture
def load(tmp_path):
    def load(document, environ=None):
        path = tmp_path / "s.json"
        path.write_text(json.dumps(document))
        try:
            return load_settings(path, environ=environ or {})
        except SettingsError as error:
            return str(error).replace(str(path), "s.json")

    return load


MAIL = {"enabled": True, "smtp_server": "mail.example", "sender": "a@b.c", "recipients": ["d@e.f"]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"email": MAIL | {"recipients": []}},
            "s.json: email.enabled: email.recipients must be set while email.enabled is true, was empty",
        ),
        (
            {"email": {"security": "none", "password": "x"}},
            "s.json: email.security: email.security must be starttls or tls when there is a password,"
            " was none",
        ),
        (
            {"risk_management": {"drawdown_warnings": [0.15, 0.1]}},
            "s.json: risk_management.drawdown_warnings: expected ascending levels, got 0.15, 0.1",
        ),
        (
            {"universe_criteria": {"market_cap_min": 3e9}},
            "s.json: universe_criteria.market_cap_min: universe_criteria.market_cap_min must be <="
            " universe_criteria.market_cap_max (2000000000), was 3000000000",
        ),
        (
            {"strategy_weights": dict.fromkeys(("trend_following", "livermore_breakout"), 0)},
            None,
        ),
        (
            {
                "strategy_weights": {
                    "dan_zanger_cup_handle": None,
                    "can_slim": None,
                    "trend_following": None,
                    "livermore_breakout": 0,
                }
            },
            "s.json: strategy_weights: expected at least one weight > 0, got none",
        ),
        (
            {"backtest": {"costs": "realistic", "half_spread_bps": 5}},
            "s.json: backtest.costs: backtest.half_spread_bps must be 0 while backtest.costs is"
            " realistic, was 5",
        ),
        (
            {"automation": {"scan": {"timezone": "../etc/passwd"}}},
            "s.json: automation.scan.timezone: expected a time zone such as America/New_York,"
            " got ../etc/passwd",
        ),
        ({"automation": {"fundamentals_refresh": {"timezone": "Europe/Berlin"}}}, None),
        (
            {"monitoring": {"drawdown_clear": 0.1}},
            "s.json: monitoring.drawdown_clear: monitoring.drawdown_clear must be < the first of"
            " monitoring.drawdown_levels (0.1), was 0.1",
        ),
        (
            {"stream": {"address": "tcp://0.0.0.0:5556", "key_file": "publisher.key_secret"}},
            "s.json: stream.key_file: stream.clients_dir must be set with stream.key_file, was null",
        ),
        (
            {"stream": {"clients_dir": "clients"}},
            "s.json: stream.clients_dir: stream.key_file must be set with stream.clients_dir, was null",
        ),
        (
            {"monitor": {"bars_key_file": "alice.key_secret"}},
            "s.json: monitor.bars_key_file: monitor.bars_server_key must be set with"
            " monitor.bars_key_file, was null",
        ),
        (
            {"monitoring": {"single_name_warn": 0.2}},
            "s.json: monitoring.single_name_warn: monitoring.single_name_warn must be <="
            " monitoring.single_name_critical (0.15), was 0.2",
        ),
        ({"monitoring": {"single_name_critical": None, "single_name_warn": 0.2}}, None),
        ({"email": MAIL}, None),
    ],
)
def test_a_contradiction_names_the_rule(load, document, message):
    outcome = load(document)
    assert outcome == message if message else not isinstance(outcome, str)


def test_a_contradiction_is_laid_to_the_layer_that_spoke_last(load):
    message = load({"email": {"password": "x"}}, {"TS_EMAIL__SECURITY": "none"})
    assert message.startswith("TS_EMAIL__SECURITY: email.security: ")
