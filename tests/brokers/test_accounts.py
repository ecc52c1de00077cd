"""The accounts a desk begins with."""

from __future__ import annotations

import pytest

from brokers.config import DeskConfig
from brokers.desk import Desk
from engine.errors import ConfigError
from engine.slab import Universe
from strategies import registry


def test_an_account_without_a_micro_dollar_is_refused_by_name() -> None:
    strategies = [registry.create(name) for name in ("trend_following", "can_slim")]
    with pytest.raises(ConfigError, match="the account can_slim would begin without a micro-dollar"):
        Desk(Universe(("A",)), strategies, DeskConfig(capital_usd=1.0), (1.0, 1e-9))
