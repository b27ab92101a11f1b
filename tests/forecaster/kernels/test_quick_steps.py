"""Steps of Numba that are done in less time have the results of its own."""

from __future__ import annotations

from typing import Any

import pytest
from llvmlite import ir
from numba.core import ir as numba_ir
from numba.core.compiler import run_frontend
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


def test_numba_is_as_before() -> None:
    """Afterwards both steps are Numba's own, also after an error."""
    before = ir.types.Type.get_abi_size, numba_ir.Inst._rec_list_vars
    with quick_steps():
        assert before[0] is not ir.types.Type.get_abi_size
        assert before[1] is not numba_ir.Inst._rec_list_vars
    assert (ir.types.Type.get_abi_size, numba_ir.Inst._rec_list_vars) == before
    with pytest.raises(KeyError, match="broken"), quick_steps():
        raise KeyError("broken")
    assert (ir.types.Type.get_abi_size, numba_ir.Inst._rec_list_vars) == before
