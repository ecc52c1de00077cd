"""Settings documents and the environment as flat lists of assignments, each checked where it was written.

Invariants
1. What leaves this module fits the types of `config.settings`; anything else is a `SettingsError`.
2. An error names the source (file or variable) and the setting, and never the value of a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_origin

from config.errors import SettingsError
from config.files import parse_json, read_text
from config.schema import (
    Fault,
    check_value,
    dict_value_type,
    field_types,
    is_nullable,
    is_secret,
    is_section,
    list_item_type,
)
from config.sectors import SECTOR_LIMITS, sector_named, unknown_sector
from config.settings import Section, Settings
from config.strategies import STRATEGY_WEIGHTS, unknown_strategy

PREFIX = "TS_"
SHORT_NAMES = {"TS_ALPHA_VANTAGE_KEY": "TS_DATA_SOURCES__ALPHA_VANTAGE_KEY"}
_FILE_SUFFIX = "_FILE"

Path = tuple[str, ...]


class Assignment(NamedTuple):
    """One setting, set by one source."""

    path: Path
    value: Any
    source: str
    removes: bool = False  # null for a free key whose value cannot be null: the key goes


def document_assignments(document: Any, source: str) -> Iterator[Assignment]:
    """Yield what a parsed settings file sets, in its order."""
    yield from _section(Settings, document, (), source)


def _section(section: type[Section], value: Any, path: Path, source: str) -> Iterator[Assignment]:
    if not isinstance(value, dict):
        # The value stays out of the message: a section holds secrets
        raise _error(source, path, f"expected an object, got {_kind(value)}")
    kinds = field_types(section)
    for key, child in value.items():
        if key not in kinds:
            raise _error(source, (*path, key), _unknown("key", key, kinds))
        yield from _any(kinds[key], child, (*path, key), source)


def _any(kind: Any, value: Any, path: Path, source: str) -> Iterator[Assignment]:
    item_kind = list_item_type(kind)
    if is_section(kind):
        yield from _section(kind, value, path, source)
    elif dict_value_type(kind) is not None and isinstance(value, dict):
        for key, child in value.items():
            yield _entry(kind, key, child, path, source)
    elif item_kind is not None and isinstance(value, list):
        items = [_checked(item_kind, item, path, source, f"[{i}]") for i, item in enumerate(value)]
        yield Assignment(path, items, source)
    else:
        yield Assignment(path, _checked(kind, value, path, source), source)


def _entry(
    kind: Any, key: str, value: Any, path: Path, source: str, *, from_text: bool = False
) -> Assignment:
    if not _is_unicode(key):
        raise _error(source, (*path, key), "expected a key of valid Unicode")
    if path == SECTOR_LIMITS and (problem := unknown_sector(key)):
        raise _error(source, (*path, key), problem)
    if path == STRATEGY_WEIGHTS and (problem := unknown_strategy(key)):
        raise _error(source, (*path, key), problem)
    if value is None:
        return Assignment((*path, key), None, source, removes=not is_nullable(dict_value_type(kind)))
    checked = _checked(dict_value_type(kind), value, (*path, key), source, from_text=from_text)
    return Assignment((*path, key), checked, source)


def environment_assignments(environ: Mapping[str, str]) -> Iterator[Assignment]:
    """Yield what the `TS_` variables set, in the order of their names."""
    taken: dict[Path, str] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        kind, path, key, is_file = _find(name)
        # The name alone: a password put there by mistake would show in the message
        text = read_text(environ[name], name, size_max=65_536).rstrip("\r\n") if is_file else environ[name]
        if is_file and text == "":  # Half replaced, perhaps: the secret before must not be forgotten for it
            raise SettingsError(f"{name}: the file is empty")
        if is_secret(kind) and text == "":
            continue  # What `X=${X}` of a container gives when nothing was set
        setting = path if key is None else (*path, key)
        if setting in taken:
            raise SettingsError(f"{name}: sets {shown(setting)}, as does {taken[setting]}; unset one of them")
        taken[setting] = name
        yield from _variable(kind, path, key, text, name)


def _variable(kind: Any, path: Path, key: str | None, text: str, name: str) -> Iterator[Assignment]:
    is_null = text.strip().lower() in ("null", "none")
    if key is not None:
        yield _entry(kind, key, None if is_null else text, path, name, from_text=True)
    elif is_null and get_origin(kind) is not Literal:  # "none" is a choice of some settings
        yield Assignment(path, _checked(kind, None, path, name), name)
    elif dict_value_type(kind) is not None or list_item_type(kind) is not None:
        try:
            value = parse_json(text)
        except Fault as fault:
            raise _error(name, path, f"expected JSON: {fault}") from None
        yield from _any(kind, value, path, name)
    else:
        yield Assignment(path, _checked(kind, text, path, name, from_text=True), name)


class _Found(NamedTuple):
    kind: Any
    path: Path
    key: str | None = None  # of an object with free keys
    is_file: bool = False  # the variable names a file that holds the value


def _find(name: str) -> _Found:
    variables = _variables()
    for variable, kind, path in variables:
        if name == variable:
            return _Found(kind, path)
        if is_secret(kind) and name == variable + _FILE_SUFFIX:
            return _Found(kind, path, is_file=True)
        if dict_value_type(kind) is not None and name.startswith(f"{variable}__"):
            key = name.removeprefix(f"{variable}__").lower()
            if key:
                return _Found(kind, path, sector_named(key) if path == SECTOR_LIMITS else key)
    names = [variable for variable, _, _ in variables]
    names += [variable + _FILE_SUFFIX for variable, kind, _ in variables if is_secret(kind)]
    raise SettingsError(f"{name}: {_unknown('variable', name, names)}")


def _variables() -> list[tuple[str, Any, Path]]:
    """Return name, type and path of every variable, the short forms included."""
    long_names = list(_leaves(Settings, ()))
    by_name = {name: (kind, path) for name, kind, path in long_names}
    return long_names + [(short, *by_name[name]) for short, name in SHORT_NAMES.items()]


def _leaves(section: type[Section], path: Path) -> Iterator[tuple[str, Any, Path]]:
    for key, kind in field_types(section).items():
        if is_section(kind):
            yield from _leaves(kind, (*path, key))
        else:
            yield PREFIX + "__".join((*path, key)).upper(), kind, (*path, key)


def _checked(
    kind: Any,
    value: Any,
    path: Path,
    source: str,
    index: str = "",
    *,
    from_text: bool = False,
) -> Any:
    try:
        return check_value(kind, value, from_text=from_text)
    except Fault as fault:
        raise _error(source, path, str(fault), index) from None


def shown(path: Sequence[str]) -> str:
    """Return the path as it is written in messages: `risk_management.sector_limits.biotech`."""
    return ".".join(path)


def _error(source: str, path: Path, problem: str, index: str = "") -> SettingsError:
    where = f"{shown(path)}{index}: " if path else ""
    return SettingsError(f"{source}: {where}{problem}")


def _unknown(what: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"unknown {what}, did you mean {close[0]}?"
    return f"unknown {what}" + (f", expected one of {', '.join(known)}" if len(known) <= 12 else "")


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)
