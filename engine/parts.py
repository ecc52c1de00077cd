"""How a part of kernels is compiled: translated to LLVM's language, and no further.

Numba would optimise every function by itself, turn it into machine code and write both to the disk cache.
Nobody runs a part by itself: its code is linked into each kernel that calls it, and optimised and turned into
machine code there. Leaving the rest out saves a third of a first start, and the machine code is the same.
"""

from __future__ import annotations

from typing import Any

from numba.core import codegen, compiler

_Compiler: Any = compiler.Compiler  # Numba's own types do not cover these
_Library: Any = codegen.JITCodeLibrary


class PartCompiler(_Compiler):  # type: ignore[misc]
    """Numba's compiler with a `Part` as its product."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.library = Part(self.state.targetctx.codegen(), "part")


class Part(_Library):  # type: ignore[misc]
    """Code for kernels to link."""

    def _optimize_final_module(self) -> None:
        """Leave it to the kernel."""

    def _finalize_final_module(self) -> None:
        self._finalized = True  # Without machine code

    def get_pointer_to_function(self, name: str) -> int:
        """Finish the code, as Numba's own libraries do here, and return 0: nothing can call it."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """What Numba tells about a function that is ready to run, for which it looks in the machine code."""
        return _NOT_LOADED


class _NotLoaded:
    def set_env(self, name: str, env: Any) -> None:
        """Kernels neither raise nor call Python, the two uses of an environment."""


_NOT_LOADED = _NotLoaded()
