"""Which limit a symbol falls under."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import ConfigError
from risk.sectors import sector_key, sector_tables


@pytest.mark.parametrize(
    ("sector", "industry", "key"),
    [
        ("Healthcare", "Biotechnology", "biotech"),
        ("Healthcare", "BIOTECH & Medical Research", "biotech"),
        ("Health Care", "Devices", "healthcare"),
        (" Technology ", "", "technology"),
        ("Information Technology", "", "technology"),
        ("", "", "other"),
        ("  ", "Software", "other"),
    ],
)
def test_the_key_is_biotech_by_industry_else_the_sector_else_other(
    sector: str, industry: str, key: str
) -> None:
    assert sector_key(sector, industry) == key


def test_a_sector_without_a_limit_has_that_of_other_and_null_switches_one_off() -> None:
    names, of, limits = sector_tables(
        ["Energy", "Utilities", "", "Technology"],
        [""] * 4,
        {"energy": 0.3, "technology": None, "other": 0.25},
    )
    by_name = dict(zip(names, limits, strict=True))
    assert by_name == {"energy": 0.3, "utilities": 0.25, "other": 0.25, "technology": np.inf}
    assert [names[k] for k in of] == ["energy", "utilities", "other", "technology"]


def test_limits_without_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs a limit for 'other'"):
        sector_tables(["Energy"], [""], {"energy": 0.3})


def test_no_limits_at_all_is_a_choice() -> None:
    assert np.isinf(sector_tables(["Energy"], [""], None)[2]).all()
