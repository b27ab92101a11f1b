"""The code of pieces: LLVM's intermediate code, linked where a kernel takes it, and never optimised alone.

A kernel of optimised code takes a piece together with all pieces within it. One of quick code (quick_code.py) takes the
piece alone, and the pieces within it once each, however many pieces contain them.

The internals of Numba that are used are those of `CPUCodeLibrary.finalize` (numba/core/codegen.py).
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary


class Quickness:
    """Whether a quick compilation runs in this process; under Numba's lock."""

    depth = 0


def is_quick() -> bool:
    """Returns whether the running compilation is a quick one."""
    return Quickness.depth > 0


def lay_out(library: Any, module: Any) -> None:
    """Gives a module the layout of this machine's data, and does not optimise its functions."""
    module.data_layout = library._codegen._data_layout  # noqa: SLF001 - see the module


class PieceLibrary(JITCodeLibrary):
    """The code of a piece."""

    _linked: Any = None

    def finalize(self) -> None:
        """Ends the piece: its functions may be part of many kernels, and what it calls is not linked yet."""
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)  # noqa: SLF001 - see the module
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                function.linkage = "linkonce_odr"
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Returns a module of the piece and all within it."""
        self._ensure_finalized()  # type: ignore[no-untyped-call]
        if self._linked is None:
            module = self._final_module.clone()
            for library in dict.fromkeys(self._linking_libraries):
                module.link_in(library._get_module_for_linking(), preserve=True)  # noqa: SLF001 - see the module
            self._linked = module
        return self._linked

    def _optimize_functions(self, ll_module: Any) -> None:
        if is_quick():
            lay_out(self, ll_module)
        else:
            super()._optimize_functions(ll_module)  # type: ignore[no-untyped-call]


def parts_of(library: Any) -> list[Any]:
    """Returns the libraries of all that a kernel calls, directly or in its pieces, once each."""
    found: dict[Any, None] = {}
    waiting = list(library._linking_libraries)  # noqa: SLF001 - see the module
    while waiting:
        part = waiting.pop()
        if part not in found:
            found[part] = None
            if isinstance(part, PieceLibrary):  # another one has linked what it calls
                waiting += part._linking_libraries  # noqa: SLF001 - see the module
    return list(found)


def module_of(part: Any) -> Any:
    """Returns the module of such a library: of a piece without those within it."""
    return part._final_module if isinstance(part, PieceLibrary) else part._get_module_for_linking()  # noqa: SLF001
