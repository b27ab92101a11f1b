"""Steps of a compilation that Numba repeats thousands of times, in less time and with the same results.

    sizes of types       of memory, for every variable; llvmlite writes and parses a module of LLVM for each request
    names of variables   in a statement, in each of a dozen passes; Numba asks every attribute for five classes
    types of names       Numba makes an error for every function or module before it looks it up by its name
    lifetimes            of variables, after each pass that changes blocks; only generators need them
    registries           of implementations; Numba imports two dozen modules again for each function it has not found
    texts of errors      that Numba catches itself; where colorama is installed, each prepares the terminal for colours
    garbage              a compilation makes millions of objects that stay until its end; fewer collections look at them

None has a public interface but the last. The internals used here are `Type.get_abi_size` (llvmlite/ir/types.py), and of
Numba `Inst._rec_list_vars` (core/ir.py), `BaseContext.resolve_value_type` (core/typing/context.py), `PostProcessor.run`
(core/postproc.py), `CPUContext.load_additional_registries` (core/cpu.py), `_termcolor_inst` (core/errors.py) and
`_termcolor` (core/typing/typeof.py); tests/forecaster/kernels/test_quick_steps.py compares results with theirs.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from llvmlite import ir
from numba.core import errors, transforms
from numba.core import ir as numba_ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import CPUContext
from numba.core.postproc import PostProcessor, VariableLifetime
from numba.core.typing import typeof as typing_of
from numba.core.typing.context import BaseContext

_HOLDERS = (numba_ir.Inst, list, tuple, dict)
_NAMED = frozenset({FunctionType, BuiltinFunctionType, ModuleType})  # what has no type by its value
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
    with global_compiler_lock, contextlib.ExitStack() as stack:
        for owner, name, replacement in _replacements():
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, replacement)
        collections = gc.get_threshold()
        stack.callback(gc.set_threshold, *collections)
        if collections[0]:  # and not where there are no collections
            gc.set_threshold(*(max(pair) for pair in zip(collections, _COLLECTIONS, strict=True)))
        yield


def _replacements() -> list[tuple[Any, str, Any]]:
    """Returns what is replaced, as owners and names of attributes, and by what."""
    return [
        (ir.types.Type, "get_abi_size", _quick_sizes()),
        (numba_ir.Inst, "_rec_list_vars", _quick_variables()),
        (BaseContext, "resolve_value_type", _quick_types()),
        (PostProcessor, "run", _quick_lifetimes()),
        (CPUContext, "load_additional_registries", _quick_registries()),
        (errors, "_termcolor_inst", _Plain()),
        (typing_of, "_termcolor", _Plain()),
    ]


def _quick_sizes() -> Callable[..., int]:
    kinds: Any = ir.types.Type
    get_abi_size = kinds.get_abi_size
    sizes: dict[Any, tuple[int, Any]] = {}

    def remembered_size(kind: Any, target_data: Any, context: Any = None) -> int:
        text = str(kind)
        if "%" in text:  # it refers to a type by its name, which is one of a context
            return int(get_abi_size(kind, target_data, context))
        key = id(target_data), text
        if key not in sizes:
            sizes[key] = get_abi_size(kind, target_data, context), target_data  # which lives as long as its identity
        return sizes[key][0]

    return remembered_size


def _quick_variables() -> Callable[..., list[Any]]:
    instructions: Any = numba_ir.Inst
    list_vars = instructions._rec_list_vars  # noqa: SLF001 - see the module
    plain: dict[type, bool] = {}

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

    return variables


def _quick_types() -> Callable[..., Any]:
    contexts: Any = BaseContext
    resolve_value_type = contexts.resolve_value_type

    def by_name_first(context: Any, value: Any) -> Any:
        found = context._get_global_type(value) if type(value) in _NAMED else None  # noqa: SLF001 - see the module
        return resolve_value_type(context, value) if found is None else found

    return by_name_first


def _quick_lifetimes() -> Callable[..., None]:
    processors: Any = PostProcessor
    run = processors.run
    canonical: Any = transforms.canonicalize_cfg
    lifetimes: Any = VariableLifetime

    def without(processor: Any, *ends: Any, **named: Any) -> None:
        function = processor.func_ir
        if ends or named or function.is_generator:
            run(processor, *ends, **named)
            return
        function.blocks = canonical(function.blocks)
        function.variable_lifetime = lifetimes(function.blocks)  # which finds them where it is asked
        function.generator_info = None

    return without


def _quick_registries() -> Callable[..., None]:
    contexts: Any = CPUContext
    load_additional_registries = contexts.load_additional_registries
    loaded = list[bool]()

    def import_once(context: Any) -> None:
        if not loaded:
            load_additional_registries(context)
            loaded.append(True)
        # Functions that take part in a compilation are registered meanwhile, in any of them.
        for registry in tuple(context._registries):  # noqa: SLF001 - see the module
            context.install_registry(registry)

    return import_once
