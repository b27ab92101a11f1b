"""Two steps of a compilation that Numba repeats thousands of times, in less time and with the same results.

    sizes of types       of memory, for every variable; llvmlite writes and parses a module of LLVM for each request
    names of variables   in a statement, in each of a dozen passes; Numba asks every attribute for five classes

Neither has a public interface. The internals used here are `Type.get_abi_size` (llvmlite/ir/types.py) and
`Inst._rec_list_vars` (numba/core/ir.py); tests/forecaster/kernels/test_quick_steps.py compares results with theirs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import ir as numba_ir
from numba.core.compiler_lock import global_compiler_lock

_HOLDERS = (numba_ir.Inst, list, tuple, dict)


@contextlib.contextmanager
def quick_steps() -> Iterator[None]:
    """Replaces both steps until the end of a compilation; of all threads, under its lock."""
    kinds: Any = ir.types.Type
    instructions: Any = numba_ir.Inst
    get_abi_size, list_vars = kinds.get_abi_size, instructions._rec_list_vars  # noqa: SLF001 - see the module
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

    with global_compiler_lock:
        kinds.get_abi_size, instructions._rec_list_vars = remembered_size, variables  # noqa: SLF001 - see the module
        try:
            yield
        finally:
            kinds.get_abi_size, instructions._rec_list_vars = get_abi_size, list_vars  # noqa: SLF001 - see the module
