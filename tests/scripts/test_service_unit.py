"""The systemd unit that docs/deploy offers: what keeps a monitor running (G-1, G-2)."""

from configparser import ConfigParser
from pathlib import Path

UNIT = Path(__file__).parents[2] / "docs" / "deploy" / "smallcap-monitor.service"


def test_restarts_are_not_given_up_on_and_silence_is_one():
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"  # The default gives up after 5 starts in 10 s
    assert unit["Unit"]["OnFailure"]
    assert unit["Service"]["Restart"] in ("always", "on-failure")
    assert unit["Service"]["Type"] == "notify"
    assert 0 < int(unit["Service"]["WatchdogSec"]) <= 30
