"""Where in an array a kernel reads and writes: an array and its offsets, as one named argument.

    Block      numbers from one place on
    Rows       rows of whole vectors, a fixed distance apart
    Strided    a matrix of any strides, of which single numbers are read
    Ring       the newest values of a series
    HeadInputs what the head sees of one event

All are NamedTuples, which Numba takes apart at compile time: in the compiled code nothing of them is left. A kernel
that Python calls often takes them as plain tuples and names them first, `Block(*block)`: of a plain tuple the
dispatcher finds the types in C, of a NamedTuple in Python, at half a microsecond per field and call.

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
    """Numbers from one place on.

    Attributes:
        array: (n,) floats.
        at: where the block starts.
    """

    array: Any
    at: int


class Rows(NamedTuple):
    """Rows of whole vectors: row r, lane j is array[at + r*row + j].

    Attributes:
        array: (n,) floats.
        at: where row 0 starts.
        row: distance of two rows.
    """

    array: Any
    at: int
    row: int


class Strided(NamedTuple):
    """A matrix read number by number: row r, column k is array[at + r*row + k*k_step].

    Attributes:
        array: (n,) floats.
        at: where it starts.
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
        at: where the ring starts.
        length: of the ring, in steps.
        newest: the newest step, counted from the first of the series.
    """

    array: Any
    at: int
    length: int
    newest: int


class HeadInputs(NamedTuple):
    """What the head sees of one event, see features/head_inputs.py.

    Attributes:
        array: (n,) floats.
        moment: inputs of the moment start there.
        target: input i of the target h steps ahead is array[target + i*row + h - 1]; dates stand behind the targets.
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
        # by its value, as it is part of the names of compiled functions, which are the same in every process
        digest = hashlib.sha256(repr(value).encode()).hexdigest()[:16]
        super().__init__(name=f"{type(value).__name__}_{digest}")

    @property
    def key(self) -> Any:
        """What tells one from another."""
        return type(self.value), self.value

    def field(self, name: str) -> tuple[Any, Any]:
        """Type and value of a field; whole numbers are of a literal type."""
        value = getattr(self.value, name)
        return _maybe_literal(value) or _typeof(value, _CONSTANT), value


@register_model(LiteralsType)
class _LiteralsModel(models.OpaqueModel):
    """Nothing is left of it at run time."""


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
    """Makes an instance of a NamedTuple class part of the type of what is compiled, where a kernel closes over it.

    A whole number that a kernel closes over is a literal type of Numba, and the number of vectors of a product has to
    be one; in a NamedTuple it would not be. Pieces that such a NamedTuple is handed to see its numbers as literals too.
    Instances that Python passes as arguments are not concerned.
    """
    plain = _register.dispatch(tuple)

    def typed(value: Any, context: Any) -> Any:
        return LiteralsType(value) if context.purpose is _CONSTANT else plain(value, context)

    _register.register(cls)(typed)
    return cls
