"""TS_ variables reach every setting, and none is ignored in silence."""

import pytest

from config import SettingsError, load_settings


@pytest.fixture
def load(tmp_path):
    empty = tmp_path / "s.json"
    empty.write_text("{}")
    return lambda **environ: load_settings(empty, environ=environ)


@pytest.fixture
def message(load):
    def message(**environ):
        with pytest.raises(SettingsError) as error:
            load(**environ)
        return str(error.value)

    return message


def test_other_variables_are_left_alone(load):
    load(PATH="/bin", TSX="1", ts_backtest="1")


@pytest.mark.parametrize(("text", "value"), [("10", 10), ("null", None), ("None", None)])
def test_a_number_or_null_replaces_a_limit(load, text, value):
    assert load(TS_RISK_MANAGEMENT__MAX_POSITIONS=text).risk_management.max_positions == value


@pytest.mark.parametrize(("text", "value"), [(".5", 0.5), ("1", 1.0), ("5e-1", 0.5), (" 0.25 ", 0.25)])
def test_numbers_may_be_written_as_people_do(load, text, value):
    assert load(TS_RISK_MANAGEMENT__MAX_NAME=text).risk_management.max_name == value


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("1", True), ("0", False)])
def test_switches(load, text, value):
    assert load(TS_BACKTEST__FRACTIONAL_SHARES=text).backtest.fractional_shares is value


def test_none_stays_a_word_where_it_is_a_choice(load):
    assert load(TS_EMAIL__SECURITY="none").email.security == "none"


def test_arrays_are_json(load):
    assert load(TS_EMAIL__RECIPIENTS='["a@b.c", "d@e.f"]').email.recipients == ("a@b.c", "d@e.f")


def test_objects_are_json_and_merge(load):
    weights = load(TS_STRATEGY_WEIGHTS='{"can_slim": 0.5, "mine": 1}').strategy_weights
    assert weights["can_slim"] == 0.5
    assert weights["mine"] == 1
    assert weights["trend_following"] == 0.25


def test_one_key_of_an_object(load):
    settings = load(
        TS_STRATEGY_WEIGHTS__CAN_SLIM="0.5",
        TS_RISK_MANAGEMENT__SECTOR_LIMITS__BIOTECH="0.1",
        TS_RISK_MANAGEMENT__SECTOR_LIMITS__REAL_ESTATE="0.2",
        TS_RISK_MANAGEMENT__SECTOR_LIMITS__ENERGY="null",
    )
    assert settings.strategy_weights["can_slim"] == 0.5
    limits = {"biotech": 0.1, "technology": 0.40, "energy": None, "other": 0.25, "real estate": 0.2}
    assert settings.risk_management.sector_limits == limits


def test_deep_settings(load):
    settings = load(TS_AUTOMATION__FUNDAMENTALS_REFRESH__VALIDATION__MIN_SYMBOLS="7")
    assert settings.automation.fundamentals_refresh.validation.min_symbols == 7


def test_the_short_form_of_the_vendor_key(load):
    assert load(TS_ALPHA_VANTAGE_KEY="abc").data_sources.alpha_vantage_key.reveal() == "abc"


@pytest.mark.parametrize(
    ("name", "section", "key"),
    [
        ("TS_EMAIL__PASSWORD_FILE", "email", "password"),
        ("TS_ALPHA_VANTAGE_KEY_FILE", "data_sources", "alpha_vantage_key"),
        ("TS_DATA_SOURCES__ALPHA_VANTAGE_KEY_FILE", "data_sources", "alpha_vantage_key"),
        ("TS_STORAGE__DATABASE_URL_FILE", "storage", "database_url"),
    ],
)
def test_secrets_are_read_from_files_without_the_last_line_break(load, tmp_path, name, section, key):
    path = tmp_path / "secret"
    path.write_text("abc def\n")
    assert getattr(getattr(load(**{name: str(path)}), section), key).reveal() == "abc def"


def test_a_file_of_a_secret_that_is_empty_is_refused(load, tmp_path):
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(SettingsError, match="TS_EMAIL__PASSWORD_FILE: the file is empty"):
        load(TS_EMAIL__PASSWORD_FILE=str(tmp_path / "secret"))


def test_an_empty_secret_is_not_set(load):
    assert load(TS_EMAIL__PASSWORD="").email.password is None


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"TS_RISK_MANAGEMENT__MAX_POSITION": "3"},
            "TS_RISK_MANAGEMENT__MAX_POSITION: unknown variable,"
            " did you mean TS_RISK_MANAGEMENT__MAX_POSITIONS?",
        ),
        (
            {"TS_ALPHAVANTAGE_KEY": "canary"},
            "TS_ALPHAVANTAGE_KEY: unknown variable, did you mean TS_ALPHA_VANTAGE_KEY?",
        ),
        ({"TS_X": "1"}, "TS_X: unknown variable"),
        (
            {"TS_BACKTEST__MODE_FILE": "/x"},
            "TS_BACKTEST__MODE_FILE: unknown variable, did you mean TS_BACKTEST__MODE?",
        ),
        (
            {"TS_RISK_MANAGEMENT__MAX_POSITIONS": "0"},
            "TS_RISK_MANAGEMENT__MAX_POSITIONS: risk_management.max_positions: expected int >= 1, got 0",
        ),
        (
            {"TS_RISK_MANAGEMENT__MAX_POSITIONS": ""},
            'TS_RISK_MANAGEMENT__MAX_POSITIONS: risk_management.max_positions: expected int, got ""',
        ),
        (
            {"TS_RISK_MANAGEMENT__MAX_NAME": "nan"},
            "TS_RISK_MANAGEMENT__MAX_NAME: risk_management.max_name: expected finite number, got nan",
        ),
        (
            {"TS_RISK_MANAGEMENT__MAX_NAME": "1e999"},
            "TS_RISK_MANAGEMENT__MAX_NAME: risk_management.max_name: expected finite number <= 1, got 1e999",
        ),
        (
            {"TS_STORAGE__DATA_DIR": "null"},
            "TS_STORAGE__DATA_DIR: storage.data_dir: expected a path, got null",
        ),
        (
            {"TS_EMAIL__RECIPIENTS": "a@b.c"},
            "TS_EMAIL__RECIPIENTS: email.recipients: expected JSON: invalid JSON at 1:1: Expecting value",
        ),
        (
            {"TS_RISK_MANAGEMENT__SECTOR_LIMITS__BIOTEC": "0.1"},
            "TS_RISK_MANAGEMENT__SECTOR_LIMITS__BIOTEC: risk_management.sector_limits.biotec: unknown sector,"
            " did you mean biotech?",
        ),
        (
            {"TS_EMAIL__PASSWORD": "canary", "TS_EMAIL__PASSWORD_FILE": "/dev/null/x"},
            "TS_EMAIL__PASSWORD_FILE: cannot be read: Not a directory",
        ),
        (
            {"TS_ALPHA_VANTAGE_KEY": "canary", "TS_DATA_SOURCES__ALPHA_VANTAGE_KEY": "canary"},
            "TS_DATA_SOURCES__ALPHA_VANTAGE_KEY: sets data_sources.alpha_vantage_key, as does"
            " TS_ALPHA_VANTAGE_KEY; unset one of them",
        ),
        ({"TS_EMAIL__PASSWORD_FILE": "canary"}, "TS_EMAIL__PASSWORD_FILE: no such file"),
        ({"TS_EMAIL__PASSWORD": "canary\udc80"}, "TS_EMAIL__PASSWORD: email.password: expected str, got ***"),
    ],
)
def test_a_wrong_variable_is_named(message, environ, problem):
    assert message(**environ) == problem
