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

import itertools
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic, lower_builtin, models, register_model
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

LANES = 16
# Numba is untyped.
_lower_builtin: Any = lower_builtin
_infer_global: Any = infer_global
_signature: Any = signature
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


def _lanewise(function: Any, arity: int, emit: Any) -> None:
    """Compiles calls of a function, on Lanes and plain numbers mixed, to what `emit(builder, lanes, values)` writes.

    Unlike an `overload` it is no function of its own: a kernel has hundreds of these calls, and linking and inlining a
    function for each of them would take a tenth of the time of a compilation.
    """

    @_infer_global(function)
    class _Call(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            lanes = None if kws or len(args) != arity else _lanes_of(*args)
            return None if lanes is None else _signature(lanes, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = sig.return_type
        values = [_spread(context, builder, lanes, k, v) for k, v in zip(sig.args, args, strict=True)]
        return emit(builder, lanes, values)

    for kinds in itertools.product((LanesType, types.Number), repeat=arity):
        if LanesType in kinds:
            _lower_builtin(function, *kinds)(lower)


for _operator, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _lanewise(_operator, 2, lambda builder, lanes, values, name=_name: getattr(builder, name)(*values))


def _call(builder: Any, lanes: LanesType, name: str, values: Any) -> Any:
    vector = values[0].type
    symbol = f"llvm.{name}.v{LANES}f{lanes.dtype.bitwidth}"
    function = insert_function(builder.module, ir.FunctionType(vector, [vector] * len(values)), symbol)
    return builder.call(function, values)


def _pick(builder: Any, comparison: str, values: Any) -> Any:
    a, b = values
    return builder.select(builder.fcmp_ordered(comparison, b, a), b, a)


def _emit_select(builder: Any, lanes: LanesType, values: Any) -> Any:
    condition, a, b = values
    del lanes
    zero = ir.Constant(condition.type, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered(">", condition, zero), a, b)


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


def fma(a: Any, b: Any, c: Any) -> Any:
    """Returns a * b + c with one rounding (IEEE 754-2008, 5.4.1), on Lanes or numbers of one type. Kernels only."""
    msg = f"fma is for compiled kernels, got {type(a).__name__}: call it under forecaster.kernels.jit.kernel"
    raise TypeError(msg, b, c)


@_infer_global(fma)
class _ScalarFma(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        fits = not kws and len(args) == 3 and isinstance(args[0], types.Float) and len(set(args)) == 1
        return _signature(args[0], *args) if fits else None


def _lower_scalar_fma(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    del context, sig
    return builder.fma(*args)


_lower_builtin(fma, types.Float, types.Float, types.Float)(_lower_scalar_fma)


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


libm_tanh = _kernel_only("libm_tanh", "tanh of the C library in float64, for gradient checks.")

_lanewise(fma, 3, lambda builder, lanes, values: _call(builder, lanes, "fma", values))
_lanewise(sqrt, 1, lambda builder, lanes, values: _call(builder, lanes, "sqrt", values))
_lanewise(maximum, 2, lambda builder, lanes, values: _pick(builder, ">", values))
_lanewise(minimum, 2, lambda builder, lanes, values: _pick(builder, "<", values))
_lanewise(select, 3, _emit_select)
_lanewise(libm_tanh, 1, _emit_libm_tanh)
