"""Settings from their layers: built-in < default_settings.json < settings.local.json < TS_ variables.

Invariants
1. A later layer wins setting by setting; objects with free keys (`sector_limits`, `strategy_weights`)
   merge key by key. Null switches one sector's limit off, and takes a strategy's weight away.
2. Whatever the files and the environment hold, the outcome is `Settings` or one `SettingsError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from config.consistency import Conflict, conflicts
from config.errors import SettingsError
from config.files import read_json
from config.layers import (
    PREFIX,
    Assignment,
    document_assignments,
    environment_assignments,
    shown,
)
from config.schema import decode_secret
from config.settings import Settings, settings_as_dict

__all__ = ["Loaded", "SettingsError", "load_settings", "load_with_provenance"]

DEFAULTS_PATH = Path(__file__).with_name("default_settings.json")
LOCAL_PATH = Path(__file__).with_name("settings.local.json")
BUILT_IN = "built-in"


class Loaded(NamedTuple):
    """Settings, and for each dotted path the file or variable that it came from."""

    settings: Settings
    provenance: dict[str, str]


_cache: dict[tuple[object, ...], Loaded] = {}


def load_settings(
    settings_path: str | Path | None = None,
    defaults_path: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    force: bool = False,
) -> Settings:
    """Return the settings in force. Files are read once per process unless `force` is set.

    A path that is given must exist; without one, `config/settings.local.json` is read if it is there.
    """
    return load_with_provenance(settings_path, defaults_path, environ, force).settings


def load_with_provenance(
    settings_path: str | Path | None = None,
    defaults_path: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
    force: bool = False,
) -> Loaded:
    """Return the settings in force and where each of them came from."""
    variables = tuple(sorted((name, text) for name, text in environ.items() if name.startswith(PREFIX)))
    key = (settings_path, defaults_path, variables)
    if force or key not in _cache:
        loaded = _load(settings_path, defaults_path, dict(variables))
        _cache.clear()  # One entry: a process has one configuration at a time
        _cache[key] = loaded
    return _cache[key]


def _load(
    settings_path: str | Path | None,
    defaults_path: str | Path | None,
    environ: Mapping[str, str],
) -> Loaded:
    tree: dict[str, Any] = {}
    origins: dict[str, _Origin] = {}
    layers = (
        document_assignments(settings_as_dict(Settings()), BUILT_IN),
        _file_layer(defaults_path, DEFAULTS_PATH),
        _file_layer(settings_path, LOCAL_PATH, optional=True),
        environment_assignments(environ),
    )
    for rank, layer in enumerate(layers):
        for assignment in layer:
            _assign(tree, origins, assignment, rank)
    settings = msgspec.convert(tree, Settings, dec_hook=decode_secret)
    for conflict in conflicts(settings):
        raise _conflict_error(conflict, origins)
    return Loaded(settings, {path: origin.source for path, origin in origins.items()})


def _file_layer(given: str | Path | None, standard: Path, *, optional: bool = False) -> Iterator[Assignment]:
    if given is None and optional and not standard.exists():
        return iter(())
    label = standard.name if given is None else str(given)
    return document_assignments(read_json(standard if given is None else given, label), label)


class _Origin(NamedTuple):
    rank: int
    source: str


def _assign(tree: dict[str, Any], origins: dict[str, _Origin], assignment: Assignment, rank: int) -> None:
    *parents, key = assignment.path
    node = tree
    for parent in parents:
        if not isinstance(node.get(parent), dict):  # Not there yet, or switched off by null before
            node[parent] = {}
            origins.pop(shown(parents), None)
        node = node[parent]
    path = shown(assignment.path)
    if isinstance(node.get(key), dict):
        for entry in node[key]:
            origins.pop(f"{path}.{entry}", None)
    if assignment.removes:
        node.pop(key, None)
        origins.pop(path, None)
    else:
        node[key] = assignment.value
        origins[path] = _Origin(rank, assignment.source)


def _conflict_error(conflict: Conflict, origins: Mapping[str, _Origin]) -> SettingsError:
    # Name the source that spoke last: the others were there before and were in order
    involved = [
        (origin, path)
        for path in conflict.paths
        for where, origin in origins.items()
        if where == path or where.startswith(f"{path}.")
    ]
    if not involved:
        return SettingsError(f"{conflict.paths[0]}: {conflict.problem}")
    origin, path = max(involved, key=lambda pair: pair[0].rank)
    return SettingsError(f"{origin.source}: {path}: {conflict.problem}")
