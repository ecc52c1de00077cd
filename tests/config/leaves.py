"""Every setting as a path with its type, and a second legal value for each."""

from typing import Any, Literal, get_args, get_origin

from config import Settings
from config.schema import (
    Fault,
    check_value,
    dict_value_type,
    field_types,
    is_secret,
    is_section,
    list_item_type,
)

_TEXTS = ("a@b.example", "07:15", "some-text")


def leaves(section=Settings, path=()):
    """Yield (path, type) of every setting; objects with free keys count as one."""
    for key, kind in field_types(section).items():
        if is_section(kind):
            yield from leaves(kind, (*path, key))
        else:
            yield (*path, key), kind


def default_of(path: tuple[str, ...]) -> Any:
    """Return the built-in value."""
    value: Any = Settings()
    for key in path:
        value = getattr(value, key)
    return list(value) if isinstance(value, tuple) else value


def other_value(path: tuple[str, ...], kind: Any) -> Any:
    """Return a JSON value that is legal and not the default."""
    default = default_of(path)
    if dict_value_type(kind) is not None:
        return {"other": 0.125}
    if (item := list_item_type(kind)) is not None:
        return [_scalar(item, None)]
    return "canary" if is_secret(kind) else _scalar(kind, default)


def _scalar(kind: Any, default: Any) -> Any:
    bases = [getattr(member, "__origin__", member) for member in (kind, *get_args(kind))]
    if bool in bases:
        return not default
    for candidate in (6, 7, 0.0625, *(get_args(kind) if get_origin(kind) is Literal else _TEXTS)):
        if candidate != default and _is_legal(kind, candidate):
            return candidate
    raise AssertionError(f"no other value for {kind}")


def _is_legal(kind: Any, value: Any) -> bool:
    try:
        check_value(kind, value)
    except Fault:
        return False
    return True


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the settings document that sets this path."""
    for key in reversed(path):
        value = {key: value}
    return value


def variable(path: tuple[str, ...]) -> str:
    """Return the name of the path's environment variable."""
    return "TS_" + "__".join(path).upper()
