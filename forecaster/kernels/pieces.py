"""Compilation of the pieces of a kernel: to LLVM's intermediate code, which their callers link, and no further.

Numba compiles every function to machine code, with all optimisations and a wrapper for Python. A piece is optimised as
part of each kernel that contains it, and nothing else calls it: the machine code of pieces took half of the time of a
compilation. Literal arguments are constants in a piece before its types are inferred, so that a branch that they
exclude (the other cells, the other head) is not compiled.

Numba has no public interface for this. The internals used here are those of `NativeLowering.run_pass` and
`CPUCodeLibrary.finalize` (numba/core/typed_passes.py and codegen.py), and the definitions of variables, from which
`DeadBranchPrune` finds constants (numba/core/untyped_passes.py); tests/forecaster/kernels/test_pieces.py fails
where a release changes them. Only Numba's public names have types.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc, types  # type: ignore[attr-defined] # an extension module without types
from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.typed_passes import InlineOverloads, IRLegalization, NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes, InlineInlinables, RewriteSemanticConstants

from forecaster.kernels.piece_code import PieceLibrary

# Steps for what no piece has: closures, expressions over whole arrays, which allocate, and the ends of references.
_WITHOUT = (InlineClosureLikes, InlineInlinables, InlineOverloads, NopythonRewrites, IRLegalization)


class PieceDispatcher(Dispatcher):
    """A function that is part of kernels."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the function as Python where Python calls it, since it has no machine code."""
        return self.py_func(*args, **kwargs)


@register_pass(mutates_CFG=False, analysis_only=True)  # type: ignore[no-untyped-call]
class _Lowering(NativeLowering):
    """Lowers a piece to intermediate code; numba registers it by an entry point, which is null."""

    _name = "lowering_of_a_piece"

    def run_pass(self, state: Any) -> bool:
        state.library = PieceLibrary(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        state.flags.no_compile = True
        super().run_pass(state)  # type: ignore[no-untyped-call]
        fndesc, env = state["cr"].fndesc, state["cr"].env
        entry = _dynfunc.make_function(fndesc.lookup_module(), fndesc.qualname, "", 0, env, (state.library,))
        state["cr"] = state["cr"]._replace(cfunc=entry)
        state.targetctx.insert_user_function(entry, fndesc, [state.library])
        return True


@register_pass(mutates_CFG=False, analysis_only=False)  # type: ignore[no-untyped-call]
class _LiteralArguments(FunctionPass):
    """Replaces literal arguments by their values: whole numbers, and sizes that a kernel is compiled for (sizes.py)."""

    _name = "literal_arguments"

    def __init__(self) -> None:
        FunctionPass.__init__(self)  # type: ignore[no-untyped-call]

    def run_pass(self, state: Any) -> bool:
        known: dict[str, Any] = {}
        for block in state.func_ir.blocks.values():
            for statement in block.find_insts(ir.Assign):
                constant = _constant_of(statement.value, state.args, known)
                if constant is not None:
                    name = statement.target.name
                    definitions = state.func_ir._definitions[name]  # noqa: SLF001 - see the module
                    definitions[definitions.index(statement.value)] = constant
                    statement.value = constant
                    if len(definitions) == 1:
                        known[name] = constant.value
        return False


def _constant_of(value: Any, kinds: Any, known: dict[str, Any]) -> Any:
    """Returns a constant for what is assigned; None where it is another thing, or not known.

    Args:
        value: an argument, or a field of a variable.
        kinds: the Numba types of the arguments.
        known: values of variables.
    """
    if isinstance(value, ir.Arg):
        kind = kinds[value.index]
        if isinstance(kind, types.IntegerLiteral):
            return ir.Const(kind.literal_value, value.loc)  # type: ignore[no-untyped-call]
        if getattr(kind, "is_known", False):
            return ir.FreeVar(value.index, value.name, kind.value, value.loc)  # type: ignore[no-untyped-call]
    elif isinstance(value, ir.Expr) and value.op == "getattr" and value.value.name in known:
        field = getattr(known[value.value.name], value.attr)
        if type(field) is int:
            return ir.Const(field, value.loc)  # type: ignore[no-untyped-call]
    return None


class PieceCompiler(CompilerBase):
    """Numba's compiler with another last step, and literal arguments as constants."""

    def define_pipelines(self) -> list[Any]:
        """Returns the passes of a compilation."""
        passes: Any = DefaultPassBuilder.define_nopython_pipeline(self.state)  # type: ignore[no-untyped-call]
        kept = list[Any]()
        for step, text in passes.passes:
            if step is RewriteSemanticConstants:  # which finds further constants: lengths of tuples
                kept.append((_LiteralArguments, "literal arguments"))
            if step not in _WITHOUT:
                kept.append((_Lowering if step is NativeLowering else step, text))
        passes.passes = kept
        passes.finalize()
        return [passes]


# Numba options of a piece: without the wrappers for calls from Python and C.
PIECE: Any = {
    "forceinline": True, "error_model": "numpy", "pipeline_class": PieceCompiler, "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}  # fmt: skip
