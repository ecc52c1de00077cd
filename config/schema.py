"""What the types of the settings say about one value: whether it may stand there, and what may."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import fields

from config.secret import HIDDEN, Secret
from config.settings import Section


class Fault(Exception):
    """What is wrong with one value, without the place."""


@cache
def field_types(section: type[Section]) -> dict[str, Any]:
    """Return the type of every key of a section."""
    return {field.name: field.type for field in fields(section)}


def is_section(kind: Any) -> bool:
    """Return whether the type is a section: an object with fixed keys."""
    return isinstance(kind, type) and issubclass(kind, Section)


def is_secret(kind: Any) -> bool:
    """Return whether the value may not be shown."""
    return kind is Secret or Secret in get_args(kind)


def is_nullable(kind: Any) -> bool:
    """Return whether null may stand there."""
    return NoneType in get_args(kind)


def dict_value_type(kind: Any) -> Any:
    """Return the type of the values of an object with free keys, None for anything else."""
    for member in (kind, *get_args(kind)):
        if get_origin(member) is dict:
            return get_args(member)[1]
    return None


def list_item_type(kind: Any) -> Any:
    """Return the type of the items of an array, None for anything else."""
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def decode_secret(kind: type, value: Any) -> Any:
    """Wrap a secret; msgspec calls this for every type that it does not know."""
    if isinstance(value, Secret):
        return value
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError("not a secret")


def check_value(kind: Any, value: Any, *, from_text: bool = False) -> Any:
    """Return the value as the type wants it, raise Fault where it cannot be.

    `from_text`: the value is a string that may stand for a number or a switch.
    """
    if is_secret(kind) and value == "":
        return None  # An empty placeholder is no password
    meant = _number(kind, value) if from_text else value
    try:
        if isinstance(meant, str):
            meant.encode()  # A lone surrogate could not be written to any file or log
        converted = msgspec.convert(meant, kind, strict=not from_text, dec_hook=decode_secret)
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError):
        raise Fault(f"expected {expected(kind, meant)}, got {_shown(kind, value, from_text)}") from None
    # NaN passes every comparison that msgspec makes
    if isinstance(converted, float) and not math.isfinite(converted):
        raise Fault(f"expected {expected(kind, meant)}, got {_shown(kind, value, from_text)}")
    return converted


def _number(kind: Any, text: str) -> Any:
    bases = {getattr(member, "__origin__", member) for member in (kind, *get_args(kind))}
    try:
        return float(text) if float in bases else int(text) if int in bases else text
    except ValueError:
        return text


def _shown(kind: Any, value: Any, from_text: bool) -> str:
    if is_secret(kind):
        return HIDDEN
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    plain = from_text and value.isascii() and value.replace(".", "").replace("-", "").isalnum()
    shown: str = value if plain else json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def expected(kind: Any, value: Any) -> str:
    """Return what may stand in place of a refused value: `int >= 1`, `one of "best", "worst"`."""
    from msgspec import inspect  # Needed for errors alone

    return _described(inspect.type_info(kind), value)


def _described(info: Any, value: Any) -> str:
    from msgspec import inspect

    match info:
        case inspect.UnionType():  # Of something and null: the something says more
            return _described(info.types[0], value)
        case inspect.Metadata():
            return str((info.extra_json_schema or {})["description"])
        case inspect.LiteralType():
            return "one of " + ", ".join(json.dumps(choice) for choice in info.values)
        case inspect.VarTupleType():
            return f"an array of {_described(info.item_type, None)}"
        case inspect.DictType():
            return f"an object of {_described(info.value_type, None)}"
        case inspect.IntType():
            return "int" + _broken_bounds(info, value)
        case inspect.FloatType():
            return _finite(value) + "number" + _broken_bounds(info, value)
        case inspect.BoolType():
            return "true or false"
    return "str"


_COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
}


def _broken_bounds(info: Any, value: Any) -> str:
    """Return the bound that a number breaks: the other one would only distract."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    for name, (sign, holds) in _COMPARISONS.items():
        bound = getattr(info, name)
        if bound is not None and value == value and not holds(value, bound):  # NaN breaks none
            return f" {sign} {bound:.12g}"
    return ""


def _finite(value: Any) -> str:
    return "finite " if isinstance(value, float) and not math.isfinite(value) else ""
