"""Settings come from their layers in the promised order, or not at all."""

import json

import pytest

import config.loader
from config import Secret, SettingsError, load_settings, load_with_provenance
from tests.config.leaves import default_of, leaves, nested, other_value, variable


@pytest.fixture
def write(tmp_path):
    def write(document, name="s.json"):
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


@pytest.fixture
def message(write):
    def message(document, environ=None):
        path = write(document)
        with pytest.raises(SettingsError) as error:
            load_settings(path, environ=environ or {})
        assert "\n" not in str(error.value)
        return str(error.value).replace(str(path), "settings.local.json")

    return message


def _get(settings, path):
    value = settings
    for key in path:
        value = getattr(value, key)
    if isinstance(value, Secret):
        return value.reveal()
    return list(value) if isinstance(value, tuple) else value


def _includes(actual, wanted):
    return wanted.items() <= actual.items() if isinstance(wanted, dict) else actual == wanted


@pytest.mark.parametrize(("path", "kind"), [pytest.param(p, k, id=".".join(p)) for p, k in leaves()])
def test_every_setting_follows_defaults_then_file_then_environment(path, kind, write, monkeypatch):
    monkeypatch.setattr(config.loader, "conflicts", lambda settings: ())  # One setting at a time
    default, other = default_of(path), other_value(path, kind)
    other_text = other if isinstance(other, str) else json.dumps(other)
    plain, changed = write(nested(path, default), "plain.json"), write(nested(path, other), "changed.json")

    assert _includes(_get(load_settings(plain, environ={}), path), default) or default is None
    assert _includes(_get(load_settings(plain, defaults_path=changed, environ={}), path), default)
    assert _includes(_get(load_settings(changed, defaults_path=plain, environ={}), path), other)
    assert _includes(_get(load_settings(plain, environ={variable(path): other_text}), path), other)


def test_the_local_file_is_read_when_it_is_there(write, monkeypatch):
    monkeypatch.setattr(config.loader, "LOCAL_PATH", write({"backtest": {"slippage_bps": 7}}))
    assert load_settings(environ={}, force=True).backtest.slippage_bps == 7


def test_the_local_file_may_be_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(config.loader, "LOCAL_PATH", tmp_path / "none.json")
    assert load_settings(environ={}, force=True) == config.Settings()


def test_an_error_in_the_local_file_is_one_line_with_file_and_path(write, monkeypatch):
    path = write({"risk_management": {"max_positions": 0}}, "settings.local.json")
    monkeypatch.setattr(config.loader, "LOCAL_PATH", path)
    with pytest.raises(SettingsError) as error:
        load_settings(environ={}, force=True)
    assert str(error.value) == "settings.local.json: risk_management.max_positions: expected int >= 1, got 0"
    assert error.value.exit_code == 78


@pytest.mark.parametrize("which", ["settings_path", "defaults_path"])
def test_a_path_that_is_given_must_exist(which, tmp_path):
    path = tmp_path / "none.json"
    with pytest.raises(SettingsError, match=r"none\.json: no such file"):
        load_settings(**{which: path}, environ={})


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            {"risk_management": {"max_position": 3}},
            "risk_management.max_position: unknown key, did you mean max_positions?",
        ),
        ({"risk_managment": {}}, "risk_managment: unknown key, did you mean risk_management?"),
        ({"risk_management": {"max_positions": "3"}}, 'risk_management.max_positions: expected int, got "3"'),
        (
            {"risk_management": {"max_positions": True}},
            "risk_management.max_positions: expected int, got true",
        ),
        ({"risk_management": {"max_positions": 2.5}}, "risk_management.max_positions: expected int, got 2.5"),
        ({"risk_management": {"max_name": 1.5}}, "risk_management.max_name: expected number <= 1, got 1.5"),
        ({"risk_management": {"max_name": -0.1}}, "risk_management.max_name: expected number > 0, got -0.1"),
        (
            {"risk_management": {"min_confidence": None}},
            "risk_management.min_confidence: expected number, got null",
        ),
        (
            '{"risk_management": {"max_name": NaN}}',
            "risk_management.max_name: expected finite number, got NaN",
        ),
        (
            '{"risk_management": {"max_name": 1e999}}',
            "risk_management.max_name: expected finite number <= 1, got Infinity",
        ),
        (
            '{"backtest": {"initial_capital": -Infinity}}',
            "backtest.initial_capital: expected finite number > 0, got -Infinity",
        ),
        ({"backtest": {"initial_capital": [1]}}, "backtest.initial_capital: expected number, got an array"),
        (
            {"backtest": {"intrabar": "open"}},
            'backtest.intrabar: expected one of "best", "path", "worst", got "open"',
        ),
        ({"backtest": []}, "backtest: expected an object, got an array"),
        ([], "expected an object, got an array"),
        ("3", "expected an object, got a number"),
        (
            {"risk_management": {"drawdown_warnings": [0.1, 2]}},
            "risk_management.drawdown_warnings[1]: expected number < 1, got 2",
        ),
        (
            {"risk_management": {"drawdown_warnings": 0.1}},
            "risk_management.drawdown_warnings: expected an array of number, got 0.1",
        ),
        (
            {"risk_management": {"sector_limits": {"biotec": 0.3}}},
            "risk_management.sector_limits.biotec: unknown sector, did you mean biotech?",
        ),
        (
            {"risk_management": {"sector_limits": {"biotechnology": 0.3}}},
            "risk_management.sector_limits.biotechnology: unknown sector, did you mean biotech?",
        ),
        (
            {"risk_management": {"sector_limits": {"Health Care": 0.3}}},
            "risk_management.sector_limits.Health Care: unknown sector, did you mean healthcare?",
        ),
        (
            {"risk_management": {"sector_limits": {"biotech": 3}}},
            "risk_management.sector_limits.biotech: expected number <= 1, got 3",
        ),
        (
            {"risk_management": {"sector_limits": 0.3}},
            "risk_management.sector_limits: expected an object of number, got 0.3",
        ),
        ({"strategy_weights": {"mine": -1}}, "strategy_weights.mine: expected number >= 0, got -1"),
        ({"strategy_weights": None}, "strategy_weights: expected an object of number, got null"),
        (
            {"automation": {"fundamentals_refresh": {"time": "9:30"}}},
            'automation.fundamentals_refresh.time: expected a time HH:MM, got "9:30"',
        ),
        (
            {"email": {"sender": "a@b.c\nBcc: x@y.z"}},
            'email.sender: expected an e-mail address, got "a@b.c\\nBcc: x@y.z"',
        ),
        ('{"storage": {"data_dir": "\\ud800"}}', 'storage.data_dir: expected a path, got "\\ud800"'),
        ({"email": {"password": 12345}}, "email.password: expected str, got ***"),
        ({"email": "hunter2"}, "email: expected an object, got a string"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_path(message, document, problem):
    assert message(document) == f"settings.local.json: {problem}"


def test_the_first_of_several_errors_is_reported(message):
    problem = message({"email": {"smtp_port": 0}, "risk_management": {"max_positions": 0}})
    assert problem == "settings.local.json: email.smtp_port: expected int >= 1, got 0"


def test_a_wrong_value_is_refused_even_where_a_later_layer_replaces_it(message):
    environ = {"TS_RISK_MANAGEMENT__MAX_POSITIONS": "5"}
    assert message({"risk_management": {"max_positions": 0}}, environ).startswith("settings.local.json: ")


def test_sector_limits_merge_key_by_key_and_null_switches_one_off(write):
    path = write({"risk_management": {"sector_limits": {"biotech": 0.1, "energy": None, "utilities": 0.2}}})
    limits = load_settings(path, environ={}).risk_management.sector_limits
    # Kept as null, not left out: a sector that is left out falls under "other"
    assert limits == {"biotech": 0.1, "technology": 0.40, "energy": None, "other": 0.25, "utilities": 0.2}


def test_strategy_weights_merge_key_by_key_and_null_removes_one(write):
    weights = load_settings(write({"strategy_weights": {"can_slim": None}}), environ={}).strategy_weights
    assert sorted(weights) == ["dan_zanger_cup_handle", "livermore_breakout", "trend_following"]


def test_null_for_all_sector_limits_switches_them_off(write):
    path = write({"risk_management": {"sector_limits": None}})
    assert load_settings(path, environ={}).risk_management.sector_limits is None


def test_one_limit_over_switched_off_limits_stands_alone(write):
    path = write({"risk_management": {"sector_limits": None}})
    environ = {"TS_RISK_MANAGEMENT__SECTOR_LIMITS__BIOTECH": "0.2"}
    assert load_settings(path, environ=environ).risk_management.sector_limits == {"biotech": 0.2}


def test_weights_of_foreign_strategies_are_accepted(write):
    path = write({"strategy_weights": {"my_own": 0.5}})
    assert load_settings(path, environ={}).strategy_weights["my_own"] == 0.5


def test_an_empty_secret_counts_as_none(write):
    path = write({"email": {"password": ""}})
    assert load_settings(path, environ={}).email.password is None


def test_provenance_names_the_layer_of_every_setting(write, monkeypatch):
    local = write(
        {
            "risk_management": {"max_positions": 7, "sector_limits": {"energy": 0.1}},
            "strategy_weights": {"can_slim": None},
        }
    )
    monkeypatch.setattr(config.loader, "LOCAL_PATH", local.rename(local.with_name("settings.local.json")))
    environ = {"TS_RISK_MANAGEMENT__SECTOR_LIMITS__BIOTECH": "0.1", "TS_ALPHA_VANTAGE_KEY": "canary"}
    _, provenance = load_with_provenance(environ=environ, force=True)
    assert provenance["risk_management.max_positions"] == "settings.local.json"
    assert provenance["risk_management.max_gross"] == "default_settings.json"
    assert provenance["risk_management.sector_limits.technology"] == "default_settings.json"
    assert provenance["risk_management.sector_limits.biotech"] == "TS_RISK_MANAGEMENT__SECTOR_LIMITS__BIOTECH"
    assert provenance["risk_management.sector_limits.energy"] == "settings.local.json"
    assert "strategy_weights.can_slim" not in provenance
    assert provenance["data_sources.alpha_vantage_key"] == "TS_ALPHA_VANTAGE_KEY"
    assert "canary" not in str(provenance)


def test_provenance_says_built_in_where_the_defaults_file_is_silent(write):
    _, provenance = load_with_provenance(defaults_path=write({}), environ={})
    assert provenance["backtest.mode"] == "built-in"


def test_settings_are_read_once_until_forced(write):
    path = write({"backtest": {"slippage_bps": 7}})
    first = load_settings(path, environ={})
    write({"backtest": {"slippage_bps": 8}})
    assert load_settings(path, environ={}) is first
    assert load_settings(path, environ={}, force=True).backtest.slippage_bps == 8
    assert load_settings(path, environ={}).backtest.slippage_bps == 8


def test_a_changed_environment_is_noticed_without_force(write):
    path = write({})
    load_settings(path, environ={})
    assert load_settings(path, environ={"TS_BACKTEST__SLIPPAGE_BPS": "9"}).backtest.slippage_bps == 9


def test_a_name_with_line_breaks_and_escapes_stays_on_one_line(message):
    problem = message({"a\nb\x1b[31m\ud800": 1})
    assert problem.isprintable()
