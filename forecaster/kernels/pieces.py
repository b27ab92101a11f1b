"""Compilation of the pieces of a kernel: to LLVM's intermediate code, which their callers link, and no further.

Numba compiles every function to machine code, with all optimisations and a wrapper for Python. A piece is optimised as
part of each kernel that contains it, and nothing else calls it: the machine code of pieces took half of the time of a
compilation.

Numba has no public interface for this. The internals used here are those of `NativeLowering.run_pass` and
`CPUCodeLibrary.finalize` (numba/core/typed_passes.py and codegen.py); tests/forecaster/kernels/test_pieces.py fails
where a release changes them. Only Numba's public names have types.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined] # an extension module without types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.typed_passes import InlineOverloads, NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes, InlineInlinables

# Steps for what no piece has: closures, expressions over whole arrays, which allocate.
_WITHOUT = (InlineClosureLikes, InlineInlinables, InlineOverloads, NopythonRewrites)


class PieceDispatcher(Dispatcher):
    """A function that is part of kernels."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the function as Python where Python calls it, since it has no machine code."""
        return self.py_func(*args, **kwargs)


class _Library(JITCodeLibrary):
    """The code of a piece, linked with the pieces that it contains, not optimised."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=True)  # type: ignore[no-untyped-call]
class _Lowering(NativeLowering):
    """Lowers a piece to intermediate code; numba registers it by an entry point, which is null."""

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
    """Numba's compiler with another last step."""

    def define_pipelines(self) -> list[Any]:
        """Returns the passes of a compilation."""
        passes: Any = DefaultPassBuilder.define_nopython_pipeline(self.state)  # type: ignore[no-untyped-call]
        passes.passes = [
            (_Lowering if step is NativeLowering else step, text)
            for step, text in passes.passes
            if step not in _WITHOUT
        ]
        passes.finalize()
        return [passes]


# Numba options of a piece: without the wrappers for calls from Python and C.
PIECE: Any = {
    "forceinline": True, "error_model": "numpy", "pipeline_class": PieceCompiler, "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}  # fmt: skip
