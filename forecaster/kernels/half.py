"""Sixteen numbers in half precision (IEEE 754 binary16), stored two to a number in an array of float32.

    load_halves(array, at)                  16 numbers, starting at half number `at`, as one value of simd.py, exact
    store_halves(array, at, count, value)   the reverse: the first `count` lanes, rounded to nearest, ties to even

Eleven bits of significand: an error of at most 2^-11 of a number, of 2^-25 below 2^-14. Numbers beyond +-65504 are
clipped to it; nan stays nan. Only integer instructions and one exact product or sum are used, so the bits are the same
with and without the conversion instructions of newer processors. Offsets are not checked.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types

from forecaster.kernels.simd import LANES, LanesType, typed_intrinsic

_WORDS, _HALVES = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.IntType(16), LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_SIGN, _INFINITY, _LARGEST = 0x80000000, 0x7F800000, 0x477FE000  # bits of float32; the last of 65504
_SMALLEST_NORMAL: Final = 113 << 23  # 2^-14; below it halves are 2^-24 apart, as float32 numbers are from 0.5 on
_REBIAS: Final = (127 - 15) << 23


def _words(number: int) -> Any:
    return ir.Constant(_WORDS, [number] * LANES)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    halves = builder.bitcast(data, ir.IntType(16).as_pointer())
    return builder.bitcast(builder.gep(halves, [at]), _HALVES.as_pointer())


def _narrow(builder: Any, value: Any) -> Any:
    """Returns the bits of the nearest half of every lane."""
    bits = builder.bitcast(value, _WORDS)
    sign = builder.and_(bits, _words(_SIGN))
    size = builder.xor(bits, sign)
    kept = builder.select(builder.icmp_signed(">", size, _words(_LARGEST)), _words(_LARGEST), size)
    half = ir.Constant(_FLOATS, [0.5] * LANES)
    small = builder.bitcast(builder.fadd(builder.bitcast(kept, _FLOATS), half), _WORDS)  # rounds where halves do
    small = builder.sub(small, builder.bitcast(half, _WORDS))
    odd = builder.and_(builder.lshr(kept, _words(13)), _words(1))
    normal = builder.lshr(builder.add(builder.sub(kept, _words(_REBIAS - 0xFFF)), odd), _words(13))
    result = builder.select(builder.icmp_signed("<", kept, _words(_SMALLEST_NORMAL)), small, normal)
    result = builder.select(builder.icmp_signed(">", size, _words(_INFINITY)), _words(0x7E00), result)
    return builder.trunc(builder.or_(result, builder.lshr(sign, _words(16))), _HALVES)


def _widen(builder: Any, halves: Any) -> Any:
    """Returns the value of every half."""
    bits = builder.zext(halves, _WORDS)
    size = builder.and_(bits, _words(0x7FFF))
    scaled = builder.bitcast(builder.shl(size, _words(13)), _FLOATS)
    value = builder.bitcast(builder.fmul(scaled, ir.Constant(_FLOATS, [2.0**112] * LANES)), _WORDS)
    endless = builder.or_(value, _words(_INFINITY))
    value = builder.select(builder.icmp_signed(">=", size, _words(0x7C00)), endless, value)
    sign = builder.shl(builder.and_(bits, _words(0x8000)), _words(16))
    return builder.bitcast(builder.or_(value, sign), _FLOATS)


@typed_intrinsic
def load_halves(typingctx: Any, array: Any, at: Any) -> Any:
    """Returns the sixteen numbers that start at half number `at` of an array of float32."""
    del typingctx, at
    if array.dtype != types.float32:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        halves = builder.load(_pointer(context, builder, signature.args[0], *args))
        halves.align = 2
        return _widen(builder, halves)

    return LanesType(types.float32)(array, types.int64), codegen


@typed_intrinsic
def store_halves(typingctx: Any, array: Any, at: Any, count: Any, value: Any) -> Any:
    """Overwrites the first `count` (16 at most) of the sixteen numbers from half number `at` on; the others stay."""
    del typingctx, at, count
    if array.dtype != types.float32 or value != LanesType(types.float32):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[1])
        before = builder.load(place)
        before.align = 2
        nothing = ir.Constant(_WORDS, ir.Undefined)
        count = builder.insert_element(nothing, builder.trunc(args[2], ir.IntType(32)), ir.Constant(ir.IntType(32), 0))
        count = builder.shuffle_vector(count, nothing, _words(0))
        wanted = builder.icmp_signed("<", ir.Constant(_WORDS, list(range(LANES))), count)
        builder.store(builder.select(wanted, _narrow(builder, args[3]), before), place).align = 2
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, value), codegen
