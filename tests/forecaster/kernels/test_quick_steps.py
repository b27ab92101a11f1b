"""Steps of Numba that are done in less time have the results of its own."""

from __future__ import annotations

import gc
import math
import operator
import re
from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core import ir as numba_ir
from numba.core.compiler import run_frontend
from numba.core.cpu import CPUContext
from numba.core.registry import cpu_target

from forecaster.features.interval import is_near
from forecaster.kernels.quick_steps import _replacements, quick_steps
from forecaster.kernels.simd import load
from forecaster.network.layer import layer_step
from forecaster.observe.forecast import mix, network

I64, FLOAT = ir.IntType(64), ir.FloatType()
KINDS = [
    I64, FLOAT, ir.IntType(1), I64.as_pointer(), ir.VectorType(FLOAT, 16), ir.ArrayType(I64, 3),
    ir.LiteralStructType([ir.IntType(8), I64]),
    ir.LiteralStructType([ir.ArrayType(FLOAT, 5), ir.VectorType(FLOAT, 16)]),
]  # fmt: skip


def test_sizes_of_types() -> None:
    """Every type has the size that llvmlite finds, at the first and at the second request."""
    data = cpu_target.target_context.target_data
    expected = [kind.get_abi_size(data) for kind in KINDS]
    assert len(set(expected)) > 3
    with quick_steps():
        for _ in range(2):
            assert [kind.get_abi_size(data) for kind in KINDS] == expected


def test_types_with_a_name() -> None:
    """Types of one name in two contexts have sizes of their own."""
    data = cpu_target.target_context.target_data
    with quick_steps():
        for members, size in (((I64,), 8), ((I64, I64, I64), 24)):
            context = ir.Context()
            kind = context.get_identified_type("named")
            kind.set_body(*members)
            assert kind.get_abi_size(data, context) == size


@pytest.mark.parametrize("function", [is_near, layer_step, network, mix])
def test_variables_of_statements(function: Any) -> None:
    """Every statement of a function has the variables that Numba finds, in its order."""

    def found() -> list[list[str]]:
        blocks = run_frontend(function.py_func).blocks.values()  # type: ignore[no-untyped-call]
        return [[variable.name for variable in one.list_vars()] for block in blocks for one in block.body]

    expected = found()
    assert max(map(len, expected)) > 2
    with quick_steps():
        assert found() == expected


def test_modules_are_imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules with implementations are imported once in a compilation, and again in the next one."""
    imports = list[Any]()
    monkeypatch.setattr(CPUContext, "load_additional_registries", imports.append)
    context = cpu_target.target_context
    for compilations in (1, 2):
        with quick_steps():
            context.load_additional_registries()
            context.load_additional_registries()
        assert imports == compilations * [context]


def test_implementations_are_found_after_the_imports() -> None:
    """An implementation that is registered in a compilation is found by all contexts, also by a copy for one function.

    Numba puts those of intrinsics into any of the registries, and a copy may be made where another one has been.
    """
    context: Any = cpu_target.target_context
    context.refresh()
    with quick_steps():
        for registry in tuple(context._registries):
            for _ in range(3):

                def function() -> None:
                    """Stands for an intrinsic."""

                registry.lower(function)(lambda context, builder, signature, arguments: None)
                assert context.subtarget().get_function(function, types.void())


@pytest.mark.parametrize(
    "value", [math.exp, operator.add, abs, np, math, np.float32, load, is_near, 3, 2.5, (1, 2), np.zeros(2), None]
)
def test_types_of_values(value: Any) -> None:
    """They are those of Numba."""
    context = cpu_target.typing_context
    expected = context.resolve_value_type(value)
    with quick_steps():
        assert context.resolve_value_type(value) == expected


@pytest.mark.parametrize("value", [test_sizes_of_types, pytest, object()])
def test_values_without_a_type(value: Any) -> None:
    """They fail as in Numba, or are as there a module."""
    context = cpu_target.typing_context

    def found() -> str:
        try:
            return str(context.resolve_value_type(value))
        except ValueError as error:
            return re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # without colours, if there are any

    expected = found()
    with quick_steps():
        assert found() == expected


def test_errors_keep_their_text() -> None:
    """An error made in a compilation has the text of any other, but for colours."""
    with quick_steps():
        text = str(errors.NumbaError("an argument", numba_ir.Loc("file.py", 3)))  # type: ignore[no-untyped-call]
    assert text.startswith("an argument\n")
    assert 'File "file.py", line 3' in text


@pytest.mark.parametrize(
    ("given", "meanwhile"),
    [((700, 10, 10), (50_000, 20, 100)), ((90_000, 5, 200), (90_000, 20, 200)), ((0, 10, 10), (0, 10, 10))],
)
def test_collections_of_garbage(given: tuple[int, int, int], meanwhile: tuple[int, int, int]) -> None:
    """There are fewer of them meanwhile, and none where there are none; afterwards there are as many as before."""
    before = gc.get_threshold()
    gc.set_threshold(*given)
    try:
        with quick_steps():
            assert gc.get_threshold() == meanwhile
        assert gc.get_threshold() == given
    finally:
        gc.set_threshold(*before)


def replaced() -> list[Any]:
    """Returns what the steps replace."""
    return [getattr(owner, name) for owner, name, _ in _replacements()]


def test_numba_is_as_before() -> None:
    """Afterwards all steps are Numba's own, also after an error."""
    before = replaced()
    with quick_steps():
        assert all(one is not own for one, own in zip(replaced(), before, strict=True))
    assert replaced() == before
    with pytest.raises(KeyError, match="broken"), quick_steps():
        raise KeyError("broken")
    assert replaced() == before
