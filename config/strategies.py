"""The names that strategy weights go by: a weight under a mistyped or short name would be silently inert."""

from __future__ import annotations

STRATEGY_WEIGHTS = ("strategy_weights",)

BUILT_IN_BY_SHORT_NAME = {
    "zanger": "dan_zanger_cup_handle",
    "canslim": "can_slim",
    "trend": "trend_following",
    "livermore": "livermore_breakout",
}


def unknown_strategy(name: str) -> str | None:
    """Return the problem with a name that is nearly, but not quite, that of a built-in strategy.

    Other unfamiliar names pass, and those that lengthen a built-in one: a third party's strategies have them.
    """
    built_in = BUILT_IN_BY_SHORT_NAME.values()
    if any(known in name for known in built_in):
        return None
    from difflib import get_close_matches

    plain = name.lower()
    meant = [full for short, full in BUILT_IN_BY_SHORT_NAME.items() if plain == short]
    meant += get_close_matches(plain, built_in, n=1, cutoff=0.85)
    return f"unknown strategy, did you mean {meant[0]}?" if meant else None
