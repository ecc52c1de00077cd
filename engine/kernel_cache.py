"""Numba's disk cache as kernels need it: a start that finds its kernels on the disk loads no compiler.

Numba fills the compiler's tables before it looks at the disk, and with a kernel imports the modules of all
functions that were compiled into it, NumPy's in Numba's own words above all: together a quarter of a second.
"""

from __future__ import annotations

import logging
from typing import Any

from numba.core import caching

_FunctionCache: Any = caching.FunctionCache  # Numba's own types do not cover these
_CompileResultCacheImpl: Any = caching.CompileResultCacheImpl

_log = logging.getLogger(__name__)
_told: list[str] = []  # the folder that cannot be written; once is enough


class _Written(_CompileResultCacheImpl):  # type: ignore[misc]
    """What of a compiled kernel goes to the disk."""

    def reduce(self, cres: Any) -> Any:
        """Leave out the environments without constants: machine code reads nothing else of them."""
        *parts, environments = super().reduce(cres)
        return (*parts, tuple(one for one in environments if one.consts))


class KernelCache(_FunctionCache):  # type: ignore[misc]
    """The cache of one kernel."""

    _impl_class = _Written

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for a signature, or None. A compiler that is needed fills its tables itself."""
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled kernel. A disk that takes it not costs time at each start, and no run."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            if not _told:
                _told.append(self._impl.locator.get_cache_path())
                _log.warning(
                    "%s cannot be written (%s): each start compiles anew; free some space or set"
                    " SMALLCAP_CACHE_DIR", _told[0], error.strerror,
                )  # fmt: skip
