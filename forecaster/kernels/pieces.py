"""How the pieces of a kernel are compiled: to LLVM's intermediate code, which their callers take in, and no further.

Numba compiles every function to machine code, with all optimisations and a wrapper for Python. A piece is optimised as
part of each kernel that it is in, and nothing else calls it: the machine code of pieces took half of the time of a
compilation.

Numba has no public way to this. What is used of its inside is what `NativeLowering.run_pass` and
`CPUCodeLibrary.finalize` are made of (numba/core/typed_passes.py and codegen.py);
tests/forecaster/kernels/test_pieces.py fails where a release changes it. It has types for its public names only.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined] # an extension module without types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.typed_passes import NativeLowering


class Piece(Dispatcher):
    """A function that kernels are made of."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs as Python where Python calls it, since it has no machine code."""
        return self.py_func(*args, **kwargs)


class _Library(JITCodeLibrary):
    """The code of a piece, with the pieces that it is made of: linked, and left as it is."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)  # type: ignore[no-untyped-call]
class _Lowering(NativeLowering):
    """To intermediate code; numba finds it by an entry point, which leads nowhere."""

    _name = "lowering_of_a_piece"

    def run_pass(self, state: Any) -> bool:
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        state.flags.no_compile = True
        super().run_pass(state)  # type: ignore[no-untyped-call]
        fndesc, env = state["cr"].fndesc, state["cr"].env
        entry = _dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname, "", 0, env, (state.library,))
        state["cr"] = state["cr"]._replace(cfunc=entry)
        state.targetctx.insert_user_function(entry, fndesc, [state.library])
        return True


class PieceCompiler(CompilerBase):
    """Numba's compiler with the last step replaced."""

    def define_pipelines(self) -> list[Any]:
        """The passes of a compilation."""
        passes: Any = DefaultPassBuilder.define_nopython_pipeline(self.state)  # type: ignore[no-untyped-call]
        passes.passes = [(_Lowering if step is NativeLowering else step, text) for step, text in passes.passes]
        passes.finalize()
        return [passes]


# How numba is to compile a piece: without the functions by which Python and C would call it.
PIECE: Any = {
    "forceinline": True, "error_model": "numpy", "pipeline_class": PieceCompiler, "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}  # fmt: skip
