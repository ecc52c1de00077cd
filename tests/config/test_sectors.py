"""A sector limit acts under the names that the gate knows, and says so under any other."""

import pytest

from config.sectors import KNOWN_SECTORS, SECTOR_ALIASES, sector_named, unknown_sector
from config.settings import Settings
from risk.sectors import sector_key


@pytest.mark.parametrize("name", KNOWN_SECTORS)
def test_known_names_are_those_of_the_gate(name):
    assert unknown_sector(name) is None
    assert sector_key(name, "biotechnology" if name == "biotech" else "") == name


@pytest.mark.parametrize(("alias", "name"), SECTOR_ALIASES.items())
def test_a_vendors_name_points_to_that_of_the_gate(alias, name):
    assert sector_key(alias, "") == name
    assert unknown_sector(alias) == f"unknown sector, did you mean {name}?"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("biotec", "biotech"), ("Energy", "energy"), ("real_estate", "real estate"), ("utilites", "utilities")],
)
def test_a_near_miss_names_the_sector_meant(typed, meant):
    assert unknown_sector(typed) == f"unknown sector, did you mean {meant}?"


@pytest.mark.parametrize("name", ["shipping", "cannabis", "spac", "x"])
def test_names_of_a_users_own_pass(name):
    assert unknown_sector(name) is None


def test_variables_write_spaces_as_underscores():
    assert sector_named("financial_services") == "financial services"
    assert sector_named("my_own") == "my_own"


def test_the_default_limits_are_for_known_sectors():
    limits = Settings().risk_management.sector_limits
    assert limits is not None
    assert set(limits) <= set(KNOWN_SECTORS)
