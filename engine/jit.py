"""The one way kernels are compiled, and a disk cache in which a stale kernel can never run.

Numba's own cache notices an edit to the file of a kernel but not to a function it calls in another
file. So the cache lives in a directory keyed by a hash of every source file that may hold compiled
code, the versions of numba, llvmlite and numpy, and the CPU. A second start compiles nothing; an edit
anywhere compiles again. Numba's cache files are pickles, so the directory is private to its owner
and refused otherwise.

Import this module before any module that defines a kernel (they all import it for `kernel`).
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
from numba.core import config as _config
from numba.core import event as _event
from numba.core import types as _types
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.kernel_cache import KernelCache
from engine.parts import PartCompiler

numba_config: Any = _config  # Numba's own types do not cover these
numba_events: Any = _event
types: Any = _types
typeof: Any = numba.typeof

_ROOT = Path(__file__).resolve().parent.parent
# A kernel anywhere else may call kernels of its own file and of these packages only.
_KERNEL_PACKAGES = ("engine", "strategies", "risk", "brokers")


def source_hash() -> str:
    """Return a sha256 (hex) of the sources of all kernels and of the compilers that translate them."""
    import llvmlite.binding as llvm

    digest = hashlib.sha256()
    for package in _KERNEL_PACKAGES:
        for path in sorted((_ROOT / package).glob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    for name in ("numba", "llvmlite", "numpy"):
        digest.update(f"{name}={version(name)}".encode())
    digest.update(f"{sys.version_info[:2]}{llvm.get_host_cpu_name()}".encode())
    digest.update(str(llvm.get_host_cpu_features().flatten()).encode())
    digest.update(os.environ.get("NUMBA_BOUNDSCHECK", "").encode())
    return digest.hexdigest()


def cache_root() -> Path:
    """Return the folder that holds kernel caches: `$SMALLCAP_CACHE_DIR`, or the user's cache folder."""
    configured = os.environ.get("SMALLCAP_CACHE_DIR")
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smallcap"


def _private_directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise EngineError(
            f"{path}: kernel cache cannot be made ({error.strerror}); set SMALLCAP_CACHE_DIR to a folder that"
            " can be written"
        ) from error
    status = path.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise EngineError(
            f"{path}: kernel cache must belong to the user running the program (uid {os.getuid()}),"
            f" was uid {status.st_uid}; set SMALLCAP_CACHE_DIR to a folder of your own"
        )
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise EngineError(
            f"{path}: kernel cache must not be writable by others,"
            f" was mode {stat.S_IMODE(status.st_mode):o}; run: chmod 700 {path}"
        )
    return path


CACHE_DIR: Path = _private_directory(cache_root() / "kernels" / source_hash()[:20])
numba_config.CACHE_DIR = str(CACHE_DIR)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` as a kernel: cached, without the GIL, IEEE arithmetic, no fastmath.

    Division by zero gives inf or NaN, as in NumPy: a kernel cannot raise. It cannot allocate either: the
    caller owns every array, and without reference counts a call between kernels costs nothing.
    """
    compiled = numba.njit(**_OPTIONS)(function)
    if not isinstance(compiled, Dispatcher):  # NUMBA_DISABLE_JIT=1 leaves plain functions
        return _interpreted(function)
    dispatcher = _one_form(compiled)
    dispatcher._cache = KernelCache(function)
    return dispatcher


def entry(function: Any, *args: Any) -> Callable[..., Any]:
    """Return what a call of the kernel `function` with arguments like these runs, compiled if need be.

    A call of the kernel looks at the type of every array of every tuple, 6 us: as long as the work on one
    row. What is returned looks no more: all that it is given later must have the types of these arguments,
    the same dtypes and dimensions, C-contiguous. Nothing would notice if not.
    """
    if not isinstance(function, Dispatcher):
        return cast(Callable[..., Any], function)
    form = (function, *map(_form_of, args))
    found = _ENTRIES.get(form)
    if found is None:
        kernel: Any = function
        signature = tuple(typeof(arg) for arg in args)
        kernel.compile(signature)
        found = _ENTRIES[form] = kernel.overloads[signature].entry_point
    return found


_ENTRIES: dict[tuple[Any, ...], Callable[..., Any]] = {}


def entered(function: Any) -> Callable[..., Any]:
    """Return a function that enters the kernel `function` by `entry`, for the arguments of its first call."""
    found: Callable[..., Any] | None = None

    def run(*args: Any) -> Any:
        nonlocal found
        if found is None:
            found = entry(function, *args)
        return found(*args)

    return run


def _form_of(value: Any) -> Any:
    """Return what a value's type depends on. Numba takes 2 ms to name the types of a desk's arguments."""
    if isinstance(value, tuple):
        return (type(value), *map(_form_of, value))
    if isinstance(value, np.ndarray):
        return (type(value), value.dtype, value.ndim, value.flags.num)
    return (type(value), getattr(value, "dtype", None))


def records(array: NDArray[np.void]) -> NDArray[np.void]:
    """Return a structured array as the desk's kernels take it: its rows have attributes.

    Compiled kernels see a structured array as it is. Interpreted ones need NumPy's record view of it, whose
    rows are views too, so that `array[i].field = x` writes through in both.
    """
    return array.view(np.recarray) if numba_config.DISABLE_JIT else array


def scalars(params: Any) -> Any:
    """Return a NamedTuple of numbers as one record of 8-byte fields, which a kernel takes as one pointer.

    Attribute access stays. A tuple would be taken apart and put together again at every call, which costs
    0.1 us per number from Python and most of the compile time between kernels.
    """
    names = params._fields
    kinds = [np.float64 if isinstance(value, float) else np.int64 for value in params]
    fields = np.dtype(list(zip(names, kinds, strict=True)))
    array = np.zeros(1, fields if numba_config.DISABLE_JIT else np.dtype((_Scalars, fields)))
    array[0] = tuple(params)
    record = records(array)[0]
    if isinstance(record, _Scalars):
        record.data = array.view(np.uint8).data
    return record


class _Scalars(np.void):  # type: ignore[misc]  # final in NumPy's types, not at run time
    """A record whose memory a kernel finds at once: NumPy's own `data` describes every field anew, 1 us."""

    data: Any = None  # A copy that knows no memory is refused by the kernel, not read as something else

    def __copy__(self) -> _Scalars:
        return self  # Nothing changes it

    def __deepcopy__(self, memo: Any) -> _Scalars:
        return self


def _interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a kernel that runs uncompiled the arithmetic it would have: inf and NaN without a warning."""

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return run


def step(function: Callable[..., Any]) -> Any:
    """Compile a part of kernels, which only they can call and which becomes a piece of each caller.

    A call would take the tuples of arrays apart and put them together again, about 0.1 us.
    """
    return _part(function, inlined=True)


def routine(function: Callable[..., Any]) -> Any:
    """Compile a part of kernels that stays a function: one that is large, or called in many places."""
    return _part(function, inlined=False)


def _part(function: Callable[..., Any], *, inlined: bool) -> Any:
    options = {**_OPTIONS, **_PART_OPTIONS, "forceinline": inlined}
    return _one_form(numba.njit(**options)(function))


_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
_PART_OPTIONS: dict[str, Any] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": PartCompiler,
}


def _one_form(compiled: Any) -> Any:
    """Keep Numba from compiling a function anew for every constant that it is called with."""
    if not isinstance(compiled, Dispatcher):  # NUMBA_DISABLE_JIT=1 leaves plain functions
        return compiled
    dispatcher: Any = compiled
    template = dispatcher.get_call_template

    def one_form(args: Any, kws: Any) -> Any:
        return template(
            tuple(types.unliteral(arg) for arg in args),
            {name: types.unliteral(arg) for name, arg in kws.items()},
        )

    dispatcher.get_call_template = one_form
    return dispatcher
