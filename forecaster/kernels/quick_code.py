"""Quickly made machine code: a kernel that can answer in half of the time of its compilation, until it is optimised.

Nearly half of a compilation is LLVM's. Here the pieces stay functions, linked once and not inlined; LLVM keeps
variables in registers (SROA) and emits the code without an optimising code generator (FastISel). That takes a tenth of
the time, and the code has several times the instructions of the optimised one. Its results are equal bit for bit,
because without `fastmath` no step of LLVM changes a rounding or the order of a sum; test_quick_code.py in
tests/forecaster/kernels compares them.

Numba has no public interface for this. The internals used here are those of `NativeLowering.run_pass` and
`CPUCodeLibrary.finalize`, as in pieces.py; the code is given to the linker as if it came from the cache. Only Numba's
public names have types.
"""

from __future__ import annotations

from typing import Any, cast

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

from forecaster.kernels.piece_code import Quickness, lay_out, module_of, parts_of


class _Library(JITCodeLibrary):
    """The code of a kernel, hardly optimised."""

    def finalize(self) -> None:
        """Links every piece once, and emits the code."""
        module, codegen = self._final_module, cast("Any", self._codegen)
        own = {function.name for function in module.functions}
        for part in parts_of(self):
            self._reload_init.update(part._reload_init)  # noqa: SLF001 - see the module
            module.link_in(module_of(part), preserve=True)
        for function in module.functions:
            if function.name not in own and not function.is_declaration:
                function.linkage = "internal"  # a piece of another kernel may have its name
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.add_aggressive_dce_pass()  # references to pieces as objects, of which no code may remain
        passes.add_global_dead_code_eliminate_pass()
        passes.run(module, codegen._pass_builder(opt=0))  # noqa: SLF001 - see the module
        module.verify()
        self._finalize_final_module()

    def _optimize_functions(self, ll_module: Any) -> None:
        lay_out(self, ll_module)

    def _finalize_final_module(self) -> None:
        codegen: Any = self._codegen
        options: dict[str, Any] = {"opt": 0}
        codegen._customize_tm_options(options)  # noqa: SLF001 - see the module
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(**options)
        self._emitted = machine.emit_object(self._final_module)
        self.enable_object_caching()  # type: ignore[no-untyped-call]
        self._set_compiled_object(self._emitted)  # type: ignore[no-untyped-call]
        super()._finalize_final_module()  # type: ignore[no-untyped-call]

    def _get_compiled_object(self) -> Any:
        return self._emitted


@register_pass(mutates_CFG=True, analysis_only=False)  # type: ignore[no-untyped-call]
class _Lowering(NativeLowering):
    """Lowers a kernel into such a library."""

    _name = "quick_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        return bool(super().run_pass(state))  # type: ignore[no-untyped-call]


class QuickCompiler(CompilerBase):
    """Numba's compiler with another last step."""

    def compile_extra(self, func: Any) -> Any:
        """Compiles a kernel, and its pieces for it."""
        Quickness.depth += 1
        try:
            return super().compile_extra(func)  # type: ignore[no-untyped-call]
        finally:
            Quickness.depth -= 1

    def define_pipelines(self) -> list[Any]:
        """Returns the passes of a compilation."""
        passes: Any = DefaultPassBuilder.define_nopython_pipeline(self.state)  # type: ignore[no-untyped-call]
        passes.passes = [(_Lowering if step is NativeLowering else step, text) for step, text in passes.passes]
        passes.finalize()
        return [passes]
