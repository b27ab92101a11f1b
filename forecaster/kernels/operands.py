"""Operands of kernels: an array and its offsets as one named argument.

    Block      numbers that start at one place
    Rows       rows of whole vectors, a fixed distance apart
    Strided    a matrix of any strides, of which single numbers are read
    Ring       the newest values of a series, and the means of older ones
    HeadInputs inputs of the head for one event

All are NamedTuples, which Numba takes apart at compile time: the compiled code has no trace of them. A kernel that
Python calls often takes them as plain tuples and converts them first, `Block(*block)`: the dispatcher finds the types
of a plain tuple in C, those of a NamedTuple in Python, at half a microsecond per field and call.

Arrays are 1-D, contiguous and of one float type unless a class says otherwise; offsets count numbers and are not
checked.
"""

from __future__ import annotations

from typing import Any, NamedTuple


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
    """The newest values of a series, and the means of older ones; see features/profile.py.

    The value of step n is array[at + n % length], nan where it is missing. What is read of a step that lies `full` or
    more steps behind the newest one is the mean of its bin, array[bins + n // width % held].

    Attributes:
        array: (n,) float32 or float64.
        at: start of the ring.
        length: of the ring, in steps.
        newest: the newest step, counted from the first of the series.
        full: steps from the newest one on that are read as values.
        width: steps of a bin; 1: there are no bins, and `full` is `length`.
        bins: start of the bins. held: how many there are.
        reach: steps from the newest one on that can be read.
    """

    array: Any
    at: int
    length: int
    newest: int
    full: int
    width: int
    bins: int
    held: int
    reach: int


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
