"""Snapshots: the whole state of a run as bytes, exact to the last bit and checked when read.

A state is a tree of dicts with arrays, numbers, strings and None at its leaves. Layout of the bytes: magic,
sha256 of what follows, MessagePack of the tree in which an array is (dtype, shape, raw bytes).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.errors import DataError, EngineError

MAGIC = b"smallcap-snapshot-3\n"
_ARRAY = "\x00array"


def encode(tree: Mapping[str, Any]) -> bytes:
    """Return a state tree as bytes. Raises EngineError for a leaf that cannot be saved."""
    body = msgspec.msgpack.encode(_pack(tree, "state"))
    return MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes, source: str = "snapshot") -> dict[str, Any]:
    """Return the tree saved by `encode`. Raises DataError when the bytes are not one, or damaged."""
    tree: dict[str, Any] = _unpack(msgspec.msgpack.decode(check(data, source)))
    return tree


def check(data: bytes, source: str = "snapshot") -> memoryview:
    """Return the body of a snapshot. Raises DataError when the bytes are not one, or damaged."""
    body = memoryview(data)[len(MAGIC) + 32 :]
    if not data.startswith(MAGIC):
        raise DataError(f"{source}: not a snapshot of this version")
    if hashlib.sha256(body).digest() != data[len(MAGIC) : len(MAGIC) + 32]:
        raise DataError(f"{source}: checksum does not match; the snapshot is damaged")
    return body


def write(path: Path, data: bytes) -> None:
    """Write a snapshot so that a crash leaves either the old file or the new one, whole."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _pack(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _pack(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise EngineError(f"{where}: arrays of Python objects cannot be saved, was {value.dtype}")
        dtype = value.dtype.descr if value.dtype.names else value.dtype.str
        return {_ARRAY: [_plain_descr(dtype), list(value.shape), value.tobytes()]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, (list, tuple)):
        return [_pack(v, where) for v in value]
    raise EngineError(
        f"{where}: expected arrays, numbers, strings or None in a state, was {type(value).__name__}"
    )


def _plain_descr(descr: Any) -> Any:
    if isinstance(descr, str):
        return descr
    return [[part if isinstance(part, str) else list(part) for part in item] for item in descr]


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if _ARRAY in value:
            descr, shape, raw = value[_ARRAY]
            if not isinstance(descr, str):
                descr = [
                    tuple(tuple(part) if isinstance(part, list) else part for part in item) for item in descr
                ]
            return np.frombuffer(raw, np.dtype(descr)).reshape(shape).copy()
        return {k: _unpack(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unpack(v) for v in value]
    return value
