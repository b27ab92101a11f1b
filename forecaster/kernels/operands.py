"""Operands of kernels: an array and its offsets as one named argument.

    Block      numbers that start at one place
    Rows       rows of whole vectors, a fixed distance apart
    Strided    a matrix of any strides, of which single numbers are read
    Ring       the newest values of a series
    HeadInputs inputs of the head for one event

All are NamedTuples, which Numba takes apart at compile time: the compiled code has no trace of them. A kernel that
Python calls often takes them as plain tuples and converts them first, `Block(*block)`: the dispatcher finds the types
of a plain tuple in C, those of a NamedTuple in Python, at half a microsecond per field and call.

Arrays are 1-D, contiguous and of one float type unless a class says otherwise; offsets count numbers and are not
checked.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, TypeVar

from numba import types
from numba.core import imputils
from numba.core.typing import typeof as typing_of
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, models, register_model, typeof_impl

# Numba is untyped.
_maybe_literal: Any = types.maybe_literal
_typeof: Any = typing_of.typeof
_lower_constant: Any = imputils.lower_constant
_lower_getattr_generic: Any = imputils.lower_getattr_generic
_register: Any = typeof_impl
_CONSTANT: Any = typing_of.Purpose.constant

C = TypeVar("C", bound=type[tuple[Any, ...]])


class Block(NamedTuple):
    """Numbers that start at one place.

    Attributes:
        array: (n,) floats.
        at: start of the block.
    """

    array: Any
    at: int


class Rows(NamedTuple):
    """Rows of whole vectors: row r, lane j is array[at + r*row + j].

    Attributes:
        array: (n,) floats.
        at: start of row 0.
        row: distance of two rows.
    """

    array: Any
    at: int
    row: int


class Strided(NamedTuple):
    """A matrix read number by number: row r, column k is array[at + r*row + k*k_step].

    Attributes:
        array: (n,) floats.
        at: start of the matrix.
        row: distance of two rows.
        k_step: distance of two columns; with row = 1 the matrix is read transposed.
    """

    array: Any
    at: int
    row: int
    k_step: int


class Ring(NamedTuple):
    """The newest values of a series: that of step n is array[at + n % length], nan where it is missing.

    Attributes:
        array: (n,) float32 or float64.
        at: start of the ring.
        length: of the ring, in steps.
        newest: the newest step, counted from the first of the series.
    """

    array: Any
    at: int
    length: int
    newest: int


class HeadInputs(NamedTuple):
    """Inputs of the head for one event, see features/head_inputs.py.

    Attributes:
        array: (n,) floats.
        moment: start of the inputs of the moment.
        target: input i of the target h steps ahead is array[target + i*row + h - 1]; dates follow the targets.
        row: distance of two inputs of one target, a multiple of 16.
    """

    array: Any
    moment: int
    target: int
    row: int


class LiteralsType(types.Type):
    """The Numba type of a NamedTuple of literals that a kernel closes over: its value is part of the type."""

    def __init__(self, value: Any) -> None:
        self.value = value
        # a digest of the value: it is part of the names of compiled functions, which must be equal in every process
        digest = hashlib.sha256(repr(value).encode()).hexdigest()[:16]
        super().__init__(name=f"{type(value).__name__}_{digest}")

    @property
    def key(self) -> Any:
        """The identity of the type."""
        return type(self.value), self.value

    def field(self, name: str) -> tuple[Any, Any]:
        """Returns type and value of a field; whole numbers have a literal type."""
        value = getattr(self.value, name)
        return _maybe_literal(value) or _typeof(value, _CONSTANT), value


@register_model(LiteralsType)
class _LiteralsModel(models.OpaqueModel):
    """Data model without any data at run time."""


@infer_getattr
class _LiteralsAttributes(AttributeTemplate):
    key = LiteralsType

    def generic_resolve(self, value: Any, attr: str) -> Any:  # type: ignore[override] # typed by its default
        return value.field(attr)[0] if attr in value.value._fields else None


def _lower_field(context: Any, builder: Any, kind: LiteralsType, value: Any, attr: str) -> Any:
    del value
    return context.get_constant_generic(builder, *kind.field(attr))


def _lower_literals(context: Any, builder: Any, kind: LiteralsType, value: Any) -> Any:
    del builder, kind, value
    return context.get_dummy_value()


_lower_getattr_generic(LiteralsType)(_lower_field)
_lower_constant(LiteralsType)(_lower_literals)


def literals(cls: C) -> C:
    """Makes an instance of a NamedTuple class part of the compiled type where a kernel closes over it.

    A whole number that a kernel closes over is a literal type of Numba, as required for the number of vectors of a
    product; in an ordinary NamedTuple it would not be. In a piece with such a NamedTuple as an argument its numbers are
    literals too. Instances that Python passes as arguments are not affected.
    """
    plain = _register.dispatch(tuple)

    def typed(value: Any, context: Any) -> Any:
        return LiteralsType(value) if context.purpose is _CONSTANT else plain(value, context)

    _register.register(cls)(typed)
    return cls
