"""Strategies by name: the four built in, those of installed packages, and those of a file.

A package offers one through the entry-point group `smallcap.strategies`; a file (`--strategy-module`)
by decorating its class with `@register`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from strategies.base import Strategy

GROUP = "smallcap.strategies"

# Name -> "module:class", imported when asked for: kernels take time to load.
_BUILT_IN = {
    "dan_zanger_cup_handle": ("zanger", "strategies.zanger:CupWithHandle"),
    "can_slim": ("canslim", "strategies.canslim:CanSlim"),
    "trend_following": ("trend", "strategies.trend:EmaTrend"),
    "livermore_breakout": ("livermore", "strategies.livermore:LivermoreBreakout"),
}
_registered: dict[str, type[Strategy]] = {}
_loaded: dict[Path, list[str]] = {}  # what each file registered

BUILT_IN: tuple[str, ...] = tuple(_BUILT_IN)
SHORT_NAMES: dict[str, str] = {short: name for name, (short, _) in _BUILT_IN.items()}


def register(cls: type[Strategy]) -> type[Strategy]:
    """Make a strategy class available under its `name` (and `short` name). Use as a decorator."""
    given: Any = cls  # By a file of anybody's
    if not (isinstance(given, type) and issubclass(given, Strategy)):
        raise ConfigError(f"{given!r} is no strategy; derive the class from RowStrategy or KernelStrategy")
    if missing := sorted(cls.__abstractmethods__):
        raise ConfigError(f"strategy class {cls.__name__} lacks {', '.join(missing)}")
    if not getattr(cls, "name", ""):
        raise ConfigError(f'strategy class {cls.__name__} has no name; add a line name = "..."')
    if cls.name in _BUILT_IN or cls.name in SHORT_NAMES:
        raise ConfigError(f"strategy name {cls.name!r} is taken by a built-in strategy")
    if cls.short in SHORT_NAMES:
        raise ConfigError(f"short name {cls.short!r} is taken by {SHORT_NAMES[cls.short]}")
    _registered[cls.name] = cls
    return cls


def load_module(path: Path) -> list[str]:
    """Import a file of strategies and return the names it registered.

    A file that this process has loaded stays as it was: a monitor reads its settings again, not its code.
    """
    known = _loaded.get(path.resolve())
    if known and set(known) <= _registered.keys():
        return known
    if not path.is_file():
        raise ConfigError(f"--strategy-module {path}: no such file")
    before = dict(_registered)
    spec = importlib.util.spec_from_file_location(f"strategy_module_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--strategy-module {path}: expected a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ConfigError as error:
        raise ConfigError(f"--strategy-module {path}: {error}") from error
    except Exception as error:
        raise ConfigError(f"--strategy-module {path}: {type(error).__name__}: {error}") from error
    again = [name for name, cls in _registered.items() if before.get(name, cls) is not cls]
    if again:
        _registered.update(before)
        raise ConfigError(f"--strategy-module {path}: strategy {again[0]!r} is of another module already")
    added = [name for name in _registered if name not in before]
    if not added:
        raise ConfigError(
            f"--strategy-module {path}: registers no strategy;"
            " decorate the class with @strategies.registry.register"
        )
    _loaded[path.resolve()] = added
    return added


def full_name(name: str) -> str:
    """Return the full name for a full or short name. Raises ConfigError naming what there is."""
    if name in _BUILT_IN or name in _registered:
        return name
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    for full, cls in _registered.items():
        if cls.short == name:
            return full
    packaged = entry_points(group=GROUP).names
    if name in packaged:
        return name
    known = ", ".join([*SHORT_NAMES, *(c.short or n for n, c in _registered.items()), *sorted(packaged)])
    raise ConfigError(f"unknown strategy {name!r}; there are {known}")


def strategy_class(name: str) -> type[Strategy]:
    """Return the class registered under a full or short name."""
    full = full_name(name)
    if full in _registered:
        return _registered[full]
    if full in _BUILT_IN:
        module, attribute = _BUILT_IN[full][1].split(":")
        loaded: Any = getattr(importlib.import_module(module), attribute)
    else:
        (point,) = entry_points(group=GROUP, name=full)
        try:
            loaded = point.load()
        except Exception as error:
            raise ConfigError(
                f"strategy {full!r} of an installed package ({point.value}) cannot be loaded:"
                f" {type(error).__name__}: {error}"
            ) from error
    return loaded


def create(name: str, **parameters: Any) -> Strategy:
    """Return a new strategy. Raises ConfigError for an unknown name or parameter."""
    cls: Any = strategy_class(name)
    strategy: Strategy = cls(**parameters)
    return strategy
