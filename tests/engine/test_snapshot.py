"""Snapshots come back exactly, and damaged ones do not come back at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine import snapshot
from engine.desk import LOT_DTYPE, PLAN_DTYPE
from engine.errors import DataError, EngineError
from engine.events import SIGNAL_DTYPE

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | arrays.arrays(
        st.sampled_from([np.dtype(x) for x in ("f8", "i8", "u1", "?", "i4")]), arrays.array_shapes(min_side=0)
    )
)
names = st.text(max_size=4)
branches = st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(names, x), max_leaves=6)
trees = st.dictionaries(names, branches)


def equal(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray)
            and left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
            and right.flags.writeable
        )
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(equal(left[k], right[k]) for k in left)
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, float):
        return isinstance(right, float) and np.float64(left).tobytes() == np.float64(right).tobytes()
    return type(left) is type(right) and left == right


@settings(deadline=None)
@given(trees)
def test_a_tree_comes_back_to_the_last_bit(tree: dict[str, object]) -> None:
    assert equal(tree, snapshot.decode(snapshot.encode(tree)))


@pytest.mark.parametrize("dtype", [SIGNAL_DTYPE, LOT_DTYPE, PLAN_DTYPE])
def test_records_come_back_with_their_layout(dtype: np.dtype[np.void]) -> None:
    rows = np.frombuffer(np.random.default_rng(1).bytes(6 * dtype.itemsize), dtype).reshape(2, 3)
    assert equal(rows, snapshot.decode(snapshot.encode({"x": rows}))["x"])


@given(st.data())
def test_any_damaged_byte_is_noticed(data: st.DataObject) -> None:
    good = snapshot.encode({"x": np.arange(5), "y": 1.5})
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(
        DataError, match=r"file\.bin: (checksum does not match|not a snapshot of this version)"
    ):
        snapshot.decode(bytes(bad), "file.bin")


@given(st.integers(0, 200))
def test_a_truncated_or_lengthened_snapshot_is_refused(n: int) -> None:
    good = snapshot.encode({"x": np.arange(30)})
    with pytest.raises(DataError):
        snapshot.decode(good[:n])
    with pytest.raises(DataError):
        snapshot.decode(good + b"x")


@pytest.mark.parametrize("leaf", [object(), np.array([object()]), {1, 2}])
def test_what_cannot_be_saved_exactly_is_refused_by_its_place(leaf: object) -> None:
    with pytest.raises(EngineError, match=r"state\.a\.b: "):
        snapshot.encode({"a": {"b": leaf}})


def test_writing_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    for content in (b"one", b"two"):
        snapshot.write(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
