"""The kernel cache is private and keyed by its sources; kernels are IEEE, sequential and see records."""

from __future__ import annotations

import ast
import copy
import os
import pickle
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numba import typeof

from engine import jit
from engine.desk import LOT_DTYPE, allocate_outbox, allocate_state
from engine.errors import EngineError

ROOT = Path(jit.__file__).resolve().parent.parent
KERNEL_FILES = sorted(p for package in jit._KERNEL_PACKAGES for p in (ROOT / package).glob("*.py"))


def test_the_cache_folder_belongs_to_its_owner_alone() -> None:
    status = jit.CACHE_DIR.stat()
    assert status.st_uid == os.getuid()
    assert stat.S_IMODE(status.st_mode) & 0o022 == 0


def test_a_cache_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(EngineError, match="must not be writable by others, was mode 777; run: chmod 700"):
        jit._private_directory(shared)
    assert stat.S_IMODE(jit._private_directory(tmp_path / "new").stat().st_mode) == 0o700


def test_a_cache_folder_that_cannot_be_made_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"file/kernels: kernel cache cannot be made .*SMALLCAP_CACHE_DIR"):
        jit._private_directory(tmp_path / "file" / "kernels")


def test_the_cache_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMALLCAP_CACHE_DIR", str(tmp_path))
    assert jit.cache_root() == tmp_path
    monkeypatch.delenv("SMALLCAP_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jit.cache_root() == tmp_path / "smallcap"


def test_any_edit_of_a_kernel_source_changes_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for package in jit._KERNEL_PACKAGES:
        (tmp_path / package).mkdir()
        for path in (ROOT / package).glob("*.py"):
            shutil.copy(path, tmp_path / package)
    monkeypatch.setattr(jit, "_ROOT", tmp_path)
    before = jit.source_hash()
    assert jit.source_hash() == before
    for path in (tmp_path / "engine" / "ledger.py", tmp_path / "risk" / "sizing.py"):
        text = path.read_text()
        path.write_text(text + "# edited\n")
        assert jit.source_hash() != before
        path.write_text(text)
    (tmp_path / "strategies" / "new.py").write_text("")
    assert jit.source_hash() != before


def test_a_record_view_has_the_same_compiled_type_as_the_array() -> None:
    plain = np.zeros((2, 3), LOT_DTYPE)
    assert typeof(plain) == typeof(plain.view(np.recarray))


def test_rows_of_the_desk_can_be_written_by_attribute_when_kernels_run_uncompiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jit.numba_config, "DISABLE_JIT", 1)
    state, out = allocate_state(1, 2, 1, 1, close_bars=22, range_bars=1, blend=True), allocate_outbox(4)
    lot = state.lots[0, 1]
    lot.quantity = 7
    out.orders[2].seq = 9
    assert state.lots["quantity"].tolist() == [[0, 7]]
    assert int(out.orders["seq"][2]) == 9


def test_a_kernel_divides_by_zero_as_numpy_does_compiled_or_not() -> None:
    def ratio(values: np.ndarray) -> float:
        return values[0] / values[1]

    kernel = jit.kernel(ratio) if jit.numba_config.DISABLE_JIT else jit._interpreted(ratio)
    assert np.isnan(kernel(np.zeros(2)))
    assert kernel(np.array([1.0, 0.0])) == np.inf


@jit.kernel
def verdicts(value: float) -> tuple[bool, bool, bool]:
    return np.isnan(value), not value <= 0.1, value > 0.1


def test_a_kernel_tells_nan_from_a_number_compiled_or_not() -> None:
    """Under fastmath none of this holds, and a limit that is compared with NaN fails open."""
    for function in (verdicts, getattr(verdicts, "py_func", verdicts)):
        assert [bool(one) for one in function(np.nan)] == [True, True, False]
        assert [bool(one) for one in function(0.2)] == [False, True, True]


class Numbers(NamedTuple):
    factor: float = 2.0
    shift: int = 1


class Columns(NamedTuple):
    first: np.ndarray
    second: np.ndarray


@jit.kernel
def combine(columns: Columns, numbers: Numbers, row: int) -> float:
    columns.second[row] += 1.0
    return numbers.factor * columns.first[row] + columns.second[row] + numbers.shift


def test_an_entry_gives_what_the_kernel_gives_for_arrays_it_has_not_seen() -> None:
    numbers = jit.scalars(Numbers())
    entry = jit.entry(combine, Columns(np.zeros(1), np.zeros(1)), numbers, 0)
    for size in (1, 5):
        columns = Columns(np.arange(size) + 10.0, np.zeros(size))
        row = size - 1
        assert entry(columns, numbers, row) == 2.0 * (row + 10.0) + 1.0 + 1
        assert combine(columns, numbers, row) == 2.0 * (row + 10.0) + 2.0 + 1
        assert columns.second[row] == 2.0


def test_an_entry_is_that_of_the_types_it_is_asked_for_with() -> None:
    numbers = jit.scalars(Numbers())
    for dtype in (np.float64, np.int64, np.float64):  # Whole numbers read as floats would be tiny
        columns = Columns(np.full(1, 3, dtype), np.full(1, 4, dtype))
        assert jit.entry(combine, columns, numbers, 0)(columns, numbers, 0) == 2.0 * 3 + 5 + 1


def test_the_scalars_of_two_instances_are_told_apart() -> None:
    columns = Columns(np.ones(1), np.zeros(1))
    one, other = jit.scalars(Numbers()), jit.scalars(Numbers(factor=5.0, shift=3))
    entry = jit.entry(combine, columns, one, 0)
    assert entry(columns, one, 0) == 2.0 + 1.0 + 1
    assert entry(columns, other, 0) == 5.0 + 2.0 + 3
    assert one["factor"] == 2.0
    assert other["shift"] == 3


def test_copied_scalars_are_the_same_numbers_and_ones_without_memory_are_refused() -> None:
    columns = Columns(np.ones(1), np.zeros(1))
    numbers = jit.scalars(Numbers(factor=5.0, shift=3))
    entry = jit.entry(combine, columns, numbers, 0)
    for made in (copy.copy(numbers), copy.deepcopy([numbers])[0]):
        columns.second[0] = 0.0
        assert entry(columns, made, 0) == 5.0 + 1.0 + 3
    if isinstance(numbers, jit._Scalars):
        with pytest.raises(TypeError):
            entry(columns, pickle.loads(pickle.dumps(numbers)), 0)


@pytest.mark.parametrize("path", KERNEL_FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_no_kernel_uses_fastmath_parallel_loops_or_running_sums(path: Path) -> None:
    """They give other bits on another machine, thread count or cutting."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword):
            assert node.arg not in ("fastmath", "parallel"), f"line {node.value.lineno}"
        if isinstance(node, ast.Constant):
            assert node.value not in ("fastmath", "parallel"), f"line {node.lineno}"
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = node.id if isinstance(node, ast.Name) else node.attr
            assert name not in ("prange", "fastmath"), f"line {node.lineno}"
        if isinstance(node, ast.FunctionDef) and _compiled(node):
            for inner in ast.walk(node):
                assert getattr(inner, "attr", "") not in ("cumsum", "nancumsum"), f"line {node.lineno}"


def _compiled(function: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id in ("kernel", "step") for d in function.decorator_list)


def test_only_the_jit_module_compiles() -> None:
    """Every kernel goes through `kernel` or `step`, so every one has the same arithmetic."""
    for path in KERNEL_FILES:
        if path == ROOT / "engine" / "jit.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "attr", getattr(node, "id", ""))
            assert name not in ("njit", "jit", "vectorize", "guvectorize", "cfunc"), f"{path}:{node.lineno}"  # type: ignore[attr-defined]


@jit.step
def halved(columns: Columns, row: int) -> float:
    return columns.first[row] / 2.0


@jit.routine
def quartered(columns: Columns, row: int) -> float:
    return halved(columns, row) / 2.0


@jit.kernel
def eighth(columns: Columns, row: int) -> float:
    return quartered(columns, row) / 2.0


def test_parts_are_machine_code_and_on_the_disk_only_as_pieces_of_their_kernel() -> None:
    columns = Columns(np.array([5.0, 0.7]), np.zeros(2))
    assert [eighth(columns, row) for row in (0, 1)] == [5.0 / 8, 0.7 / 8]
    if jit.numba_config.DISABLE_JIT:
        return
    eighth.compile((typeof(columns), typeof(1)))
    for part in (halved, quartered):
        for compiled in part.overloads.values():
            assert compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name) == 0
        assert not list(jit.CACHE_DIR.rglob(f"*.{part.py_func.__name__}-*"))
    assert list(jit.CACHE_DIR.rglob("*.eighth-*"))
