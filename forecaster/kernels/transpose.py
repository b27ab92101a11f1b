"""Copies between arrays as whole vectors: rows whose length is no multiple of sixteen, and transposed tiles.

    copy_part(x, x_at, y, y_at, n)                   up to sixteen numbers from one array to another
    transpose_tile(x, x_at, x_row, y, y_at, y_row)   a tile of 16 x 16 numbers, transposed

Arrays are 1-D, contiguous and of one float type; offsets are not checked.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from forecaster.kernels.simd import LANES, LanesType, _pointer, insert_function, typed_intrinsic

_I32 = ir.IntType(32)


def _constant(numbers: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_I32, len(numbers)), numbers)


@typed_intrinsic
def copy_part(typingctx: Any, x: Any, x_at: Any, y: Any, y_at: Any, n: Any) -> Any:
    """Copies y[y_at + i] = x[x_at + i] for i < n <= 16; later numbers are neither read nor written."""
    del typingctx, x_at, y_at, n
    if x.dtype != y.dtype:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(LanesType(x.dtype))
        source, target = (_pointer(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2))
        nothing = ir.Constant(ir.VectorType(_I32, LANES), ir.Undefined)
        count = builder.insert_element(nothing, builder.trunc(args[4], _I32), ir.Constant(_I32, 0))
        count = builder.shuffle_vector(count, nothing, _constant([0] * LANES))
        mask = builder.icmp_signed("<", _constant(list(range(LANES))), count)
        kind, pointer = f"v{LANES}f{x.dtype.bitwidth}.p0", vector.as_pointer()
        align = ir.Constant(_I32, x.dtype.bitwidth // 8)
        load = ir.FunctionType(vector, [pointer, _I32, mask.type, vector])
        store = ir.FunctionType(ir.VoidType(), [vector, pointer, _I32, mask.type])
        load = insert_function(builder.module, load, f"llvm.masked.load.{kind}")
        store = insert_function(builder.module, store, f"llvm.masked.store.{kind}")
        value = builder.call(load, [source, align, mask, ir.Constant(vector, [0.0] * LANES)])
        builder.call(store, [value, target, align, mask])
        return context.get_dummy_value()

    return types.void(x, types.int64, y, types.int64, types.int64), codegen


@typed_intrinsic
def transpose_tile(typingctx: Any, x: Any, x_at: Any, x_row: Any, y: Any, y_at: Any, y_row: Any) -> Any:
    """Copies y[y_at + j*y_row + i] = x[x_at + i*x_row + j] for i, j < 16, by swapping squares of 8, 4, 2 and 1."""
    del typingctx, x_at, x_row, y_at, y_row
    if x.dtype != y.dtype:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def place(array: int, i: int) -> Any:
            at = builder.add(args[array + 1], builder.mul(args[array + 2], ir.Constant(args[array + 2].type, i)))
            return _pointer(context, builder, signature.args[array], args[array], at)

        rows = []
        for i in range(LANES):
            rows.append(builder.load(place(0, i)))
            rows[i].align = x.dtype.bitwidth // 8
        width = LANES // 2
        while width:
            upper = [lane + (LANES - width if lane & width else 0) for lane in range(LANES)]
            lower = [lane + (LANES if lane & width else width) for lane in range(LANES)]
            for i in range(LANES):
                if not i & width:
                    a, b = rows[i], rows[i + width]
                    rows[i] = builder.shuffle_vector(a, b, _constant(upper))
                    rows[i + width] = builder.shuffle_vector(a, b, _constant(lower))
            width //= 2
        for i, row in enumerate(rows):
            builder.store(row, place(3, i)).align = x.dtype.bitwidth // 8
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(x, i64, i64, y, i64, i64), codegen
