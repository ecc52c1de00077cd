"""A weight under a name that is nearly a strategy's is refused; a third party's name is not."""

import pytest

from config import load_settings
from config.errors import SettingsError
from config.settings import Settings
from config.strategies import BUILT_IN_BY_SHORT_NAME, unknown_strategy
from strategies import registry


def test_the_names_are_those_of_the_registry_and_of_the_default_weights():
    assert BUILT_IN_BY_SHORT_NAME == registry.SHORT_NAMES
    assert list(Settings().strategy_weights) == list(BUILT_IN_BY_SHORT_NAME.values())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trend", "trend_following"), ("canslim", "can_slim"), ("trend_folowing", "trend_following"),
        ("Can_Slim", "can_slim"), ("dan_zanger_cup_handel", "dan_zanger_cup_handle"),
    ],
)  # fmt: skip
def test_a_near_miss_names_the_strategy_meant(typed, meant, tmp_path):
    settings = tmp_path / "s.json"
    settings.write_text(f'{{"strategy_weights": {{"{typed}": 0.5}}}}')
    with pytest.raises(SettingsError) as raised:
        load_settings(settings, environ={}, force=True)
    assert str(raised.value) == (
        f"{settings}: strategy_weights.{typed}: unknown strategy, did you mean {meant}?"
    )


@pytest.mark.parametrize("name", ["can_slim", "my_idea", "trend_following_v2", "quiet_then_strong", "cup"])
def test_built_in_names_and_a_third_partys_pass(name):
    assert unknown_strategy(name) is None
