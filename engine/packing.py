"""Records to msgpack without an object in between: one compiled pass, and byte for byte what `msgspec` makes.

A record is a row of 8-byte numbers. A `Layout` says which of them become which field of a map, and how: text
by a table that is encoded once, floats out of bounds as null, whole numbers in their shortest form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.jit import entry, kernel, step

_INTEGER, _FLOAT, _TEXT, _MEASUREMENTS = range(4)
_NUMBER_BYTES = 9
_ARRAY_BYTES = 5  # of the header of an array
_WORD = 8
_PLACE_MAX = 2**31 - 1  # What is seen not to be negative needs no check as an index


class Integer(NamedTuple):
    """An int64."""

    column: int  # of the record, here and below


class Float(NamedTuple):
    """A float64; null where it is not within bounds, both included. NaN is in no bounds."""

    column: int
    bounds: tuple[float, float] | None = None  # None: as it is, whatever it is


class Text(NamedTuple):
    """An int64 that stands for a text: what each says, beginning with `lowest`; None: it says nothing."""

    column: int
    texts: Sequence[str | None]
    lowest: int = 0


class Measurements(NamedTuple):
    """A map of the float64 from `column` on, named by whose they are; those out of bounds are left out."""

    column: int
    names: Sequence[Sequence[str]]  # by owner, 15 at most each
    owner_column: int
    bounds: tuple[float, float]


Kind = Integer | Float | Text | Measurements


class Layout:
    """Turns records into maps of these fields, in this order. `constants`: texts that stand before them."""

    def __init__(self, fields: Mapping[str, Kind], constants: Mapping[str, str] | None = None) -> None:
        constants = constants or {}
        texts: list[bytes] = []
        owners: list[tuple[int, int]] = []
        program, bounds = [], []
        key = _map_header(len(constants) + len(fields))
        key += b"".join(_encoded(text) for pair in constants.items() for text in pair)
        self._bytes_max = 0  # of a map
        for name, kind in fields.items():
            key += _encoded(name)
            texts.append(key)
            at = [len(texts) - 1, kind.column]
            size = _NUMBER_BYTES
            within = (-np.inf, np.inf)
            match kind:
                case Integer():
                    program.append([*at, _INTEGER, 0, 0, 0])
                case Float():
                    program.append([*at, _FLOAT, int(kind.bounds is not None), 0, 0])
                    within = kind.bounds or within
                case Text():
                    program.append([*at, _TEXT, len(texts), len(kind.texts), kind.lowest])
                    said = [b"" if text is None else _encoded(text) for text in kind.texts]
                    texts += said
                    size = max(map(len, said), default=0)
                case Measurements():
                    program.append([*at, _MEASUREMENTS, len(owners), len(kind.names), kind.owner_column])
                    within = kind.bounds
                    size = 1
                    for names in kind.names:
                        owners.append((len(texts), len(names)))
                        said = [_encoded(name) for name in names]
                        texts += said
                        size = max(size, 1 + sum(map(len, said)) + _NUMBER_BYTES * len(said))
            bounds.append(within)
            self._bytes_max += len(key) + size
            key = b""
        self._program = np.array(program, np.int64)
        self._bounds = np.array(bounds, np.float64)
        self._texts = _words(np.frombuffer(b"".join([*texts, bytes(_WORD)]), np.uint8).copy())
        self._starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        self._owners = np.array(owners or [(0, 0)], np.int64)
        self._out = np.empty(0, np.uint8)  # Used again: memory that is new costs more than writing it
        self._entry: Callable[..., int] | None = None
        self.pack(np.zeros((1, 1), np.int64), 0, 0)  # Compiled now, not when the first record is waiting

    def pack(self, records: NDArray[np.int64], first: int, last: int) -> bytes:
        """Return records[first:last] as an encoded array of maps.

        records: int64[n, columns], C-contiguous; floats by their bits. Raises EngineError for a number that
        says nothing where a text is due.
        """
        bytes_max = _ARRAY_BYTES + (last - first) * self._bytes_max + _WORD
        if bytes_max > len(self._out):
            self._out = np.empty(2 * bytes_max, np.uint8)
            self._out_words = _words(self._out)
        out, words = self._out, self._out_words
        floats = records.view(np.float64)
        tables = (self._program, self._bounds, self._texts, self._starts, self._owners)
        if self._entry is None:
            self._entry = entry(pack_records, records, floats, first, last, *tables, out, words)
        n = self._entry(records, floats, first, last, *tables, out, words)
        if n < 0:
            at = first - n - 1
            raise EngineError(f"record {at} holds a number that has no name: {records[at].tolist()}")
        return out[:n].tobytes()


def _words(array: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the eight bytes from each place on: overlapping, so that one move writes or reads eight."""
    return np.ndarray(len(array) - _WORD + 1, np.int64, array.data, strides=(1,))


def _map_header(n: int) -> bytes:
    return bytes([0x80 | n]) if n < 16 else bytes([0xDE, 0, n])


_encoded = msgspec.msgpack.Encoder().encode


@kernel
def pack_records(records, floats, first, last, program, bounds, texts, starts, owners, out, words):
    """Write an array of maps to `out`; return its length, or -1 - i where the i-th has an unnamed number.

    program: int64[F, 6], a field each: its key among the texts, column, kind, and of its texts the first, how
    many and the lowest number; of measurements the first line of `owners`, how many, and the column of the
    owner. bounds: float64[F, 2]. texts: by `_words`; starts: int64[T + 1]; owners: int64[S, 2], first text,
    count. out: uint8; words: its `_words`.
    """
    at = _put_array(out, 0, last - first)
    for i in range(first, last):
        for f in range(len(program)):
            at = _put_text(words, at, texts, starts, program[f, 0])
            column, kind = program[f, 1], program[f, 2]
            lowest, highest = bounds[f, 0], bounds[f, 1]
            if kind == _INTEGER:
                at = _put_integer(out, at, records[i, column])
            elif kind == _FLOAT:
                if program[f, 3] == 0 or lowest <= floats[i, column] <= highest:
                    at = _put_float(out, words, at, records[i, column])
                else:
                    out[at] = 0xC0
                    at += 1
            elif kind == _TEXT:
                place = records[i, column] - program[f, 5]
                if place < 0 or place >= program[f, 4]:
                    return -1 - (i - first)
                place += program[f, 3]
                if starts[place] == starts[place + 1]:
                    return -1 - (i - first)
                at = _put_text(words, at, texts, starts, place)
            else:
                owner = records[i, program[f, 5]]
                if owner < 0 or owner >= program[f, 4]:
                    return -1 - (i - first)
                text, n_names = owners[program[f, 3] + owner, 0], owners[program[f, 3] + owner, 1]
                header = at
                at += 1
                n = 0
                for k in range(n_names):
                    if lowest <= floats[i, column + k] <= highest:
                        at = _put_text(words, at, texts, starts, text + k)
                        at = _put_float(out, words, at, records[i, column + k])
                        n += 1
                out[header] = 0x80 | n
    return at


@step
def _put_text(words, at, texts, starts, place):
    """Write a text by eights: the bytes behind its end are written again by what follows, or are none's."""
    first, to = starts[place] & _PLACE_MAX, at & _PLACE_MAX
    n = starts[place + 1] - first
    for k in range(0, n, _WORD):
        words[to + k] = texts[first + k]
    return to + n


@step
def _put_float(out, words, at, bits):
    """Write the eight bytes of a float, highest first."""
    to = at & _PLACE_MAX
    out[to] = 0xCB
    bits = ((bits >> 8) & 0x00FF00FF00FF00FF) | ((bits & 0x00FF00FF00FF00FF) << 8)
    bits = ((bits >> 16) & 0x0000FFFF0000FFFF) | ((bits & 0x0000FFFF0000FFFF) << 16)
    words[to + 1] = ((bits >> 32) & 0xFFFFFFFF) | (bits << 32)
    return to + 1 + _WORD


@step
def _put_array(out, at, n):
    if n < 16:
        out[at] = 0x90 | n
        return at + 1
    if n < 1 << 16:
        return _put_bits(out, at, 0xDC, n, 2)
    return _put_bits(out, at, 0xDD, n, 4)


@step
def _put_integer(out, at, value):
    if -32 <= value < 128:
        out[at] = value & 0xFF
        return at + 1
    if value >= 0:
        if value < 1 << 8:
            return _put_bits(out, at, 0xCC, value, 1)
        if value < 1 << 16:
            return _put_bits(out, at, 0xCD, value, 2)
        if value < 1 << 32:
            return _put_bits(out, at, 0xCE, value, 4)
        return _put_bits(out, at, 0xCF, value, 8)
    if value >= -(1 << 7):
        return _put_bits(out, at, 0xD0, value, 1)
    if value >= -(1 << 15):
        return _put_bits(out, at, 0xD1, value, 2)
    if value >= -(1 << 31):
        return _put_bits(out, at, 0xD2, value, 4)
    return _put_bits(out, at, 0xD3, value, 8)


@step
def _put_bits(out, at, code, value, n_bytes):
    """Write a code and the lowest bytes of a number, highest first."""
    out[at] = code
    for k in range(n_bytes):
        out[at + 1 + k] = (value >> (8 * (n_bytes - 1 - k))) & 0xFF
    return at + 1 + n_bytes
