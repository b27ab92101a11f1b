"""Steps of Numba that are done in less time have the results of its own."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from llvmlite import ir
from numba.core import errors
from numba.core import ir as numba_ir
from numba.core.compiler import run_frontend
from numba.core.cpu import CPUContext
from numba.core.registry import cpu_target

from forecaster.features.interval import is_near
from forecaster.kernels.quick_steps import quick_steps
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
    colours: Any = errors
    return [ir.types.Type.get_abi_size, numba_ir.Inst._rec_list_vars, CPUContext.load_additional_registries,
            colours._termcolor_inst]  # fmt: skip


def test_numba_is_as_before() -> None:
    """Afterwards all steps are Numba's own, also after an error."""
    before = replaced()
    with quick_steps():
        assert all(one is not own for one, own in zip(replaced(), before, strict=True))
    assert replaced() == before
    with pytest.raises(KeyError, match="broken"), quick_steps():
        raise KeyError("broken")
    assert replaced() == before
