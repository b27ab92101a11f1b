"""Steps of a compilation that Numba repeats thousands of times, in less time and with the same results.

    sizes of types       of memory, for every variable; llvmlite writes and parses a module of LLVM for each request
    names of variables   in a statement, in each of a dozen passes; Numba asks every attribute for five classes
    registries          of implementations; Numba imports two dozen modules again for each function it has not found
    texts of errors     that Numba catches itself; where colorama is installed, each prepares the terminal for colours
    garbage             a compilation makes millions of objects that stay until its end; fewer collections look at them

None has a public interface but the last. The internals used here are `Type.get_abi_size` (llvmlite/ir/types.py),
`Inst._rec_list_vars` (numba/core/ir.py), `CPUContext.load_additional_registries` (numba/core/cpu.py) and
`_termcolor_inst` (numba/core/errors.py); tests/forecaster/kernels/test_quick_steps.py compares results with theirs.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import errors
from numba.core import ir as numba_ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import CPUContext

_HOLDERS = (numba_ir.Inst, list, tuple, dict)
# New objects until a collection, collections until one of older objects, and until one of all.
_COLLECTIONS = (50_000, 20, 100)


class _Plain:
    """Texts of errors without colours."""

    def _unchanged(self, text: str) -> str:
        return text

    code = errmsg = filename = indicate = highlight = reset = _unchanged


@contextlib.contextmanager
def quick_steps() -> Iterator[None]:
    """Replaces these steps until the end of a compilation; of all threads, under its lock."""
    kinds: Any = ir.types.Type
    instructions: Any = numba_ir.Inst
    contexts: Any = CPUContext
    colours: Any = errors
    get_abi_size, list_vars = kinds.get_abi_size, instructions._rec_list_vars  # noqa: SLF001 - see the module
    load_registries = contexts.load_additional_registries
    loaded = list[bool]()
    sizes: dict[Any, tuple[int, Any]] = {}
    plain: dict[type, bool] = {}

    def remembered_size(kind: Any, target_data: Any, context: Any = None) -> int:
        text = str(kind)
        if "%" in text:  # it refers to a type by its name, which is one of a context
            return int(get_abi_size(kind, target_data, context))
        key = id(target_data), text
        if key not in sizes:
            sizes[key] = get_abi_size(kind, target_data, context), target_data  # which lives as long as its identity
        return sizes[key][0]

    def variables(instruction: Any, value: Any) -> list[Any]:
        kind = type(value)
        if kind is numba_ir.Var:
            return [value]
        if kind is dict:
            found = []
            for part in value.values():
                if type(part) is numba_ir.Var:
                    found.append(part)
                elif not is_plain(type(part)):
                    found += variables(instruction, part)
            return found
        return [] if is_plain(kind) else list(list_vars(instruction, value))

    def is_plain(kind: type) -> bool:
        """Returns whether values of a class hold no variables."""
        if kind not in plain:
            plain[kind] = not issubclass(kind, (numba_ir.Var, *_HOLDERS))
        return plain[kind]

    def load_once(context: Any) -> None:
        if loaded:
            for registry in tuple(context._registries):  # noqa: SLF001 - see the module
                context.install_registry(registry)
        else:
            load_registries(context)
            loaded.append(True)

    with global_compiler_lock:
        collections, scheme = gc.get_threshold(), colours._termcolor_inst  # noqa: SLF001 - see the module
        kinds.get_abi_size, instructions._rec_list_vars = remembered_size, variables  # noqa: SLF001 - see the module
        contexts.load_additional_registries, colours._termcolor_inst = load_once, _Plain()  # noqa: SLF001 - as above
        if collections[0]:  # and not where there are no collections
            gc.set_threshold(*(max(pair) for pair in zip(collections, _COLLECTIONS, strict=True)))
        try:
            yield
        finally:
            gc.set_threshold(*collections)
            contexts.load_additional_registries, colours._termcolor_inst = load_registries, scheme  # noqa: SLF001
            kinds.get_abi_size, instructions._rec_list_vars = get_abi_size, list_vars  # noqa: SLF001 - see the module
