"""Sizes and offsets of kernels: NamedTuples of whole numbers that a kernel takes as data, but for a few literals.

    @sized("vectors")                 `vectors` is a literal: each of its values is compiled by itself
    class Head(NamedTuple):
        vectors: int
        horizon: int                  data: one compiled kernel serves every horizon
        seasons: tuple[int, ...]      data of any length: `len(head.seasons)`, `head.seasons[i]`

    variant, numbers = split(head)    `variant` has the literals, and places in `numbers` instead of the data
    head = bind(variant, numbers)     in a kernel that closes over `variant` and takes `numbers` as an argument

`bind` gives an object with the fields of the NamedTuple. Literals are literal types of Numba, as required for the
number of vectors of a product, also in pieces that have the object as an argument. All other fields are loads from
`numbers`, which nothing overwrites while a kernel runs: the loads are marked as invariant, so that the compiler moves
them out of loops. A NamedTuple of literals alone needs no `numbers`: a kernel that closes over it reads them.
"""

from __future__ import annotations

import hashlib
import operator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import imputils
from numba.core.typing import typeof as typing_of
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, models, overload, register_model, typeof_impl
from numpy.typing import NDArray

from forecaster.kernels.pieces import PIECE
from forecaster.kernels.simd import typed_intrinsic

# Numba is untyped.
_maybe_literal: Any = types.maybe_literal
_typeof: Any = typing_of.typeof
_lower_constant: Any = imputils.lower_constant
_lower_getattr_generic: Any = imputils.lower_getattr_generic
_register: Any = typeof_impl
_CONSTANT: Any = typing_of.Purpose.constant
_I64 = ir.IntType(64)
MOST, LONGEST = 2**28 - 1, 63  # the largest whole number among sizes, the longest tuple

C = TypeVar("C", bound=type[tuple[Any, ...]])
V = TypeVar("V", bound=tuple[Any, ...])
_LITERALS: dict[type, frozenset[str] | None] = {}  # the literal fields of every class; None: all
_MOST: dict[type, dict[str, int]] = {}  # bounds of its data fields, where they are not `MOST` and `LONGEST`


class Place(NamedTuple):
    """The place of a data field in the numbers of its kernel.

    Attributes:
        at: its index; for a tuple the index of its length, which its numbers follow, is found there.
        kind: int, float or tuple.
        most: the largest whole number, or the longest tuple.
    """

    at: int
    kind: str
    most: int


def sized(*names: str, **most: int) -> Any:
    """Returns a decorator of a NamedTuple class whose fields of these names are literals, and all others data.

    `most` are the largest numbers, or the longest tuples, of data fields that bound short loops: the compiler would
    otherwise prepare these loops for many steps.
    """
    return _registered(frozenset(names), most)


def literals(cls: C) -> C:
    """Makes all fields of a NamedTuple class literals where a kernel closes over an instance."""
    return _registered(None, {})(cls)  # type: ignore[no-any-return]


def _registered(names: frozenset[str] | None, most: dict[str, int]) -> Any:
    def decorate(cls: C) -> C:
        plain = _register.dispatch(tuple)

        def typed(value: Any, context: Any) -> Any:
            return LiteralsType(value) if context.purpose is _CONSTANT else plain(value, context)

        _register.register(cls)(typed)
        _LITERALS[cls], _MOST[cls] = names, most
        return cls

    return decorate


def split(value: V) -> tuple[V, NDArray[np.int64]]:
    """Divides sizes into what a kernel is compiled for and what it takes as data.

    Returns:
        The value with a `Place` in every data field; the numbers, of which floats are stored by their bits.

    Raises:
        ValueError: a whole number is negative or too large, or a tuple is too long.
    """
    data: list[Any] = []
    variant = _placed(value, data)
    numbers, tail = list[int](), list[int]()
    for field in data:
        if isinstance(field, float):
            numbers.append(int(np.float64(field).view(np.int64)))
        elif isinstance(field, tuple):
            numbers.append(len(data) + len(tail))
            tail += [len(field), *field]
        else:
            numbers.append(field)
    return variant, np.array(numbers + tail, np.int64)


def _placed(value: Any, data: list[Any]) -> Any:
    """Returns sizes with a `Place` in every data field, and appends these fields to `data`."""
    names, fields = _LITERALS[type(value)], []
    for name, field in zip(value._fields, value, strict=True):
        if type(field) in _LITERALS:
            fields.append(_placed(field, data))
        elif names is None or name in names:
            fields.append(field)
        else:
            fields.append(_place(value, name, field, len(data)))
            data.append(field)
    return type(value)(*fields)


def _place(value: Any, name: str, field: Any, at: int) -> Place:
    """Returns the place of a data field of `value`, whose numbers are checked."""
    if isinstance(field, float):
        return Place(at, "float", 0)
    numbers, many = (field, True) if isinstance(field, tuple) else ((field,), False)
    most = _MOST[type(value)].get(name, LONGEST if many else MOST)
    largest = MOST if many else most
    if (many and len(numbers) > most) or not all(0 <= number <= largest for number in numbers):
        expected = f"at most {most} whole numbers" if many else "a whole number"
        msg = f"{type(value).__name__}.{name}: got {field}, expected {expected} from 0 to {largest}"
        raise ValueError(msg)
    return Place(at, "tuple" if many else "int", most)


def bind(variant: Any, numbers: Any) -> Any:
    """Returns the sizes that `split` divided; as Python here, compiled in a kernel."""
    return type(variant)(*(_bound(field, numbers) for field in variant))


def _bound(field: Any, numbers: Any) -> Any:
    if isinstance(field, Place):
        if field.kind == "tuple":
            at = int(numbers[field.at])
            return tuple(numbers[at + 1 : at + 1 + int(numbers[at])].tolist())
        number = numbers[field.at]
        return float(number.view(np.float64)) if field.kind == "float" else int(number)
    # not `in _LITERALS`: its values are in the cache key of kernels, and differ from process to process
    return bind(field, numbers) if hasattr(field, "_fields") else field


class LiteralsType(types.Type):
    """The Numba type of sizes that a kernel closes over: their value is part of the type."""

    is_known = True  # a value of the type needs nothing at run time

    def __init__(self, value: Any) -> None:
        self.value = value
        # a digest of the value: it is part of the names of compiled functions, which must be equal in every process
        digest = hashlib.sha256(repr(value).encode()).hexdigest()[:16]
        super().__init__(name=f"{type(self).__name__}_{type(value).__name__}_{digest}")

    @property
    def key(self) -> Any:
        """The identity of the type."""
        return type(self.value), self.value

    def field(self, name: str) -> tuple[Any, Any]:
        """Returns type and value of a field; whole numbers have a literal type."""
        value = getattr(self.value, name)
        return _maybe_literal(value) or _typeof(value, _CONSTANT), value


class SizesType(LiteralsType):
    """The Numba type of bound sizes: a variant, and at run time a pointer to the numbers."""

    is_known = False

    def field(self, name: str) -> tuple[Any, Any]:
        """Returns type and value of a field; the value of data is its `Place`."""
        value = getattr(self.value, name)
        if isinstance(value, Place):
            if value.kind == "tuple":
                return NumbersType(value.most), value
            return types.int64 if value.kind == "int" else types.float64, value
        if _LITERALS.get(type(value)) is not None:
            return SizesType(value), value
        return super().field(name)


class NumbersType(types.Type):
    """The Numba type of a tuple of whole numbers that is data: a pointer to their count, which they follow."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        super().__init__(name=f"Numbers({longest})")


@register_model(LiteralsType)
class _LiteralsModel(models.OpaqueModel):
    """Data model without any data at run time."""


@register_model(SizesType)
@register_model(NumbersType)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _I64.as_pointer())  # type: ignore[no-untyped-call]  # numba is untyped


@infer_getattr
class _LiteralsAttributes(AttributeTemplate):
    key = LiteralsType

    def generic_resolve(self, value: Any, attr: str) -> Any:  # type: ignore[override] # typed by its default
        return value.field(attr)[0] if attr in value.value._fields else None


@infer_getattr
class _SizesAttributes(_LiteralsAttributes):
    key = SizesType


def _lower_field(context: Any, builder: Any, kind: LiteralsType, value: Any, attr: str) -> Any:
    del value
    return context.get_constant_generic(builder, *kind.field(attr))


def _invariant(builder: Any, pointer: Any, most: int = 0) -> Any:
    """Returns a number that no store changes while the kernel runs, from 0 to `most`; 0: any bits.

    Without its range every index that depends on it would be tested for being negative, which counts from the end.
    """
    value = builder.load(pointer)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    if most:
        value.set_metadata("range", builder.module.add_metadata([ir.Constant(_I64, 0), ir.Constant(_I64, most + 1)]))
    return value


def _lower_size(context: Any, builder: Any, kind: SizesType, value: Any, attr: str) -> Any:
    found, field = kind.field(attr)
    if isinstance(found, SizesType):
        return value
    if not isinstance(field, Place):
        return context.get_constant_generic(builder, found, field)
    place = builder.gep(value, [ir.Constant(_I64, field.at)])
    number = _invariant(builder, place, MOST if field.kind == "tuple" else field.most)
    if field.kind == "tuple":
        return builder.gep(value, [number])
    return builder.bitcast(number, ir.DoubleType()) if field.kind == "float" else number


def _lower_literals(context: Any, builder: Any, kind: LiteralsType, value: Any) -> Any:
    del builder, kind, value
    return context.get_dummy_value()


_lower_getattr_generic(LiteralsType)(_lower_field)
_lower_getattr_generic(SizesType)(_lower_size)
_lower_constant(LiteralsType)(_lower_literals)


@typed_intrinsic
def _bind(typingctx: Any, variant: Any, numbers: Any) -> Any:
    del typingctx

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[1])(context, builder, args[1]).data

    return SizesType(variant.value)(variant, numbers), codegen


@overload(bind, strict=False, jit_options=PIECE)
def _overload_bind(variant: Any, numbers: Any) -> Any:
    del variant, numbers
    return lambda variant, numbers: _bind(variant, numbers)


@typed_intrinsic
def _count_of(typingctx: Any, numbers: Any) -> Any:
    del typingctx
    return types.int64(numbers), lambda context, builder, signature, args: _invariant(builder, args[0], numbers.longest)


@typed_intrinsic
def _number(typingctx: Any, numbers: Any, index: Any) -> Any:
    del typingctx, index

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del context, signature
        return _invariant(builder, builder.gep(args[0], [builder.add(args[1], ir.Constant(_I64, 1))]), MOST)

    return types.int64(numbers, types.int64), codegen


@overload(len, strict=False, jit_options=PIECE)
def _overload_len(numbers: Any) -> Any:
    return (lambda numbers: _count_of(numbers)) if isinstance(numbers, NumbersType) else None


@overload(operator.getitem, strict=False, jit_options=PIECE)
def _overload_getitem(numbers: Any, index: Any) -> Any:
    return (lambda numbers, index: _number(numbers, index)) if isinstance(numbers, NumbersType) else None
