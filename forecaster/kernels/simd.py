"""A value of sixteen numbers, with which cells are written like their equations and compiled to vector instructions.

    load(array, at)          16 numbers from a 1-D contiguous array, as one value
    store(array, at, v)      the reverse; the array is overwritten in place
    prefetch(array, at)      a hint that array[at] is needed soon
    splat(array, x)          one number in all lanes, in the type of the array
    + - * /                  lane by lane, also with a plain number
    fma(a, b, c)             a * b + c with one rounding, lane by lane or on plain numbers
    maximum, minimum         lane-wise maximum and minimum; nan in the first argument stays
    sqrt(v)                  square root
    tanh(v), sigmoid(v)      activations
    select(v, a, b)          a where v > 0, else b, lane by lane
    wide(v)                  the same numbers as float64
    reduce_sum(v)            the sum of the lanes, halves first: a fixed order

Lanes are float32 in the service and float64 in gradient checks. A machine with narrower registers splits the value;
every operation is rounded according to IEEE 754, so the bits are the same. Offsets are not checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic, models, overload, register_model

from forecaster.kernels.pieces import PIECE

LANES = 16
insert_function: Any = cgutils.get_or_insert_function


def typed_intrinsic(define: Callable[..., Any]) -> Any:
    """Applies `numba.extending.intrinsic`; the result is untyped, as the compiled function has another signature.

    Arguments that are constants at compile time arrive as literal types.
    """
    return intrinsic(prefer_literal=True)(define)


class LanesType(types.Type):
    """The Numba type of a value of sixteen floats."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        element = ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(element, LANES))  # type: ignore[no-untyped-call]  # numba is untyped


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(LanesType(array_type.dtype))
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


@typed_intrinsic
def load(typingctx: Any, array: Any, at: Any) -> Any:
    """Returns the sixteen numbers that start at `array[at]`."""
    del typingctx, at
    lanes = LanesType(array.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_pointer(context, builder, signature.args[0], *args))
        value.align = array.dtype.bitwidth // 8
        return value

    return lanes(array, types.int64), codegen


@typed_intrinsic
def store(typingctx: Any, array: Any, at: Any, value: Any) -> Any:
    """Overwrites the sixteen numbers that start at `array[at]`."""
    del typingctx, at
    if value != LanesType(array.dtype):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], place).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.int64, value), codegen


@typed_intrinsic
def prefetch(typingctx: Any, array: Any, at: Any) -> Any:
    """Prefetches the cache line of `array[at]`, for which it is only a hint: no data changes."""
    del typingctx, at

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        line = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(function, [line, ir.Constant(i32, 1), ir.Constant(i32, 2), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


def _spread(context: Any, builder: Any, lanes: LanesType, kind: Any, value: Any) -> Any:
    if isinstance(kind, LanesType):
        return value
    number = context.cast(builder, value, kind, lanes.dtype)
    vector = context.get_value_type(lanes)
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, nothing, zeros)


@typed_intrinsic
def splat(typingctx: Any, array: Any, x: Any) -> Any:
    """Returns `x` in all lanes, in the type of the elements of `array` (which is not read)."""
    del typingctx
    lanes = LanesType(array.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(context, builder, lanes, signature.args[1], args[1])

    return lanes(array, x), codegen


def _lanes_of(*kinds: Any) -> LanesType | None:
    found = [kind for kind in kinds if isinstance(kind, LanesType)]
    return found[0] if found else None


def _lanewise(emit: Any, doc: str) -> Any:
    """Returns an intrinsic on Lanes and plain numbers mixed; `emit(builder, lanes, values)` writes the instruction."""

    def define(typingctx: Any, arguments: Any) -> Any:
        del typingctx
        kinds = arguments.types
        lanes = _lanes_of(*kinds)
        if lanes is None:
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            del signature
            values = [builder.extract_value(args[0], i) for i in range(len(kinds))]
            values = [_spread(context, builder, lanes, k, v) for k, v in zip(kinds, values, strict=True)]
            return emit(builder, lanes, values)

        return lanes(arguments), codegen

    define.__doc__ = doc
    return intrinsic(define)


def _binary(name: str) -> Any:
    return _lanewise(lambda builder, lanes, v: getattr(builder, name)(*v), f"Lane-wise {name}.")


_add, _sub, _mul, _div = _binary("fadd"), _binary("fsub"), _binary("fmul"), _binary("fdiv")


@overload(operator.add, strict=False, jit_options=PIECE)
def _overload_add(a: Any, b: Any) -> Any:
    if _lanes_of(a, b):
        return lambda a, b: _add((a, b))
    return None


@overload(operator.sub, strict=False, jit_options=PIECE)
def _overload_sub(a: Any, b: Any) -> Any:
    if _lanes_of(a, b):
        return lambda a, b: _sub((a, b))
    return None


@overload(operator.mul, strict=False, jit_options=PIECE)
def _overload_mul(a: Any, b: Any) -> Any:
    if _lanes_of(a, b):
        return lambda a, b: _mul((a, b))
    return None


@overload(operator.truediv, strict=False, jit_options=PIECE)
def _overload_div(a: Any, b: Any) -> Any:
    if _lanes_of(a, b):
        return lambda a, b: _div((a, b))
    return None


def _call(builder: Any, lanes: LanesType, name: str, values: Any) -> Any:
    vector = values[0].type
    symbol = f"llvm.{name}.v{LANES}f{lanes.dtype.bitwidth}"
    function = insert_function(builder.module, ir.FunctionType(vector, [vector] * len(values)), symbol)
    return builder.call(function, values)


def _pick(builder: Any, comparison: str, values: Any) -> Any:
    a, b = values
    return builder.select(builder.fcmp_ordered(comparison, b, a), b, a)


_vector_fma = _lanewise(lambda builder, lanes, v: _call(builder, lanes, "fma", v), "Lane-wise fma.")
_vector_sqrt = _lanewise(lambda builder, lanes, v: _call(builder, lanes, "sqrt", v), "Lane-wise sqrt.")
_vector_max = _lanewise(lambda builder, lanes, v: _pick(builder, ">", v), "b where b > a, else a.")
_vector_min = _lanewise(lambda builder, lanes, v: _pick(builder, "<", v), "b where b < a, else a.")


def _emit_select(builder: Any, lanes: LanesType, values: Any) -> Any:
    condition, a, b = values
    del lanes
    zero = ir.Constant(condition.type, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered(">", condition, zero), a, b)


_vector_select = _lanewise(_emit_select, "a where condition > 0, else b.")


def _emit_libm_tanh(builder: Any, lanes: LanesType, values: Any) -> Any:
    del lanes
    (x,) = values
    double = ir.DoubleType()
    function = insert_function(builder.module, ir.FunctionType(double, [double]), "tanh")
    result = x
    for i in range(LANES):
        lane = ir.Constant(ir.IntType(32), i)
        result = builder.insert_element(result, builder.call(function, [builder.extract_element(x, lane)]), lane)
    return result


_vector_libm_tanh = _lanewise(_emit_libm_tanh, "tanh of the C library in float64, for gradient checks.")


@typed_intrinsic
def wide(typingctx: Any, value: Any) -> Any:
    """Returns the same numbers as float64."""
    del typingctx
    if not isinstance(value, LanesType):
        return None
    lanes = LanesType(types.float64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del signature
        if value.dtype == types.float64:
            return args[0]
        return builder.fpext(args[0], context.get_value_type(lanes))

    return lanes(value), codegen


@typed_intrinsic
def reduce_sum(typingctx: Any, value: Any) -> Any:
    """Returns the sum of all lanes: 8 + 8, then 4 + 4, 2 + 2, 1 + 1."""
    del typingctx
    if not isinstance(value, LanesType):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del context, signature
        (v,) = args
        i32, width = ir.IntType(32), LANES
        while width > 1:
            width //= 2
            nothing = ir.Constant(v.type, ir.Undefined)
            low = ir.Constant(ir.VectorType(i32, width), list(range(width)))
            high = ir.Constant(ir.VectorType(i32, width), list(range(width, 2 * width)))
            v = builder.fadd(builder.shuffle_vector(v, nothing, low), builder.shuffle_vector(v, nothing, high))
        return builder.extract_element(v, ir.Constant(i32, 0))

    return value.dtype(value), codegen


@typed_intrinsic
def _scalar_fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    del typingctx
    if not (isinstance(a, types.Float) and a == b == c):
        return None
    return a(a, b, c), lambda context, builder, signature, args: builder.fma(*args)


def fma(a: Any, b: Any, c: Any) -> Any:
    """Returns a * b + c with one rounding (IEEE 754-2008, 5.4.1), on Lanes or numbers of one type. Kernels only."""
    msg = f"fma is for compiled kernels, got {type(a).__name__}: call it under forecaster.kernels.jit.kernel"
    raise TypeError(msg, b, c)


@overload(fma, strict=False, jit_options=PIECE)
def _overload_fma(a: Any, b: Any, c: Any) -> Any:
    if _lanes_of(a, b, c):
        return lambda a, b, c: _vector_fma((a, b, c))
    return lambda a, b, c: _scalar_fma(a, b, c)


def _kernel_only(name: str, doc: str) -> Any:
    def function(*values: Any) -> Any:
        msg = f"{name} is for compiled kernels: call it from a function under forecaster.kernels.jit.kernel"
        raise TypeError(msg, values)

    function.__name__, function.__doc__ = name, doc
    return function


maximum = _kernel_only("maximum", "The lane-wise maximum; nan in `a` stays.")
minimum = _kernel_only("minimum", "The lane-wise minimum; nan in `a` stays.")
sqrt = _kernel_only("sqrt", "The lane-wise square root.")
select = _kernel_only("select", "a where condition > 0, else b, lane by lane.")


@overload(maximum, strict=False, jit_options=PIECE)
def _overload_maximum(a: Any, b: Any) -> Any:
    return lambda a, b: _vector_max((a, b))


@overload(minimum, strict=False, jit_options=PIECE)
def _overload_minimum(a: Any, b: Any) -> Any:
    return lambda a, b: _vector_min((a, b))


@overload(sqrt, strict=False, jit_options=PIECE)
def _overload_sqrt(a: Any) -> Any:
    return lambda a: _vector_sqrt((a,))


@overload(select, strict=False, jit_options=PIECE)
def _overload_select(condition: Any, a: Any, b: Any) -> Any:
    return lambda condition, a, b: _vector_select((condition, a, b))
