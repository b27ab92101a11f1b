"""Converts forecasts to records whose quantiles are plain numbers, for databases that have arrays.

The records are those of `service.messages.compact`; in place of codes, `CompactForecast.quantiles` has the elements of
an array as PostgreSQL sends and receives them in binary: step by step, level by level, each with its size in bytes (4
bytes, most significant first) before it. They are float32 values (`real`) where float32 has all quantiles of the
forecast exactly, which holds for most series, and float64 values (`double precision`) where it has not.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.packed import NO_DIGITS, PackedQuantiles
from service.messages.compact import CompactFormat
from service.messages.digits import exact_in_float32

NARROW_BYTES: Final = 8
"""Bytes of a float32 element, with its size."""

_NARROW: Final = np.dtype([("size", ">i4"), ("number", ">f4")])
_WIDE: Final = np.dtype([("size", ">i4"), ("number", ">f8")])


class ArrayFormat(CompactFormat):
    """`service.messages.encode.OutputFormat` of compact records with arrays of numbers."""

    def packed(self, quantiles: NDArray[np.float64]) -> PackedQuantiles:
        """Returns quantiles (n, S, L) as float32 elements; `usable` where these are exact."""
        n = len(quantiles)
        with np.errstate(over="ignore", invalid="ignore"):
            elements = np.frombuffer(_elements(quantiles, _NARROW), np.uint8)
        codes = elements.reshape(n, math.prod(quantiles.shape[1:]) * _NARROW.itemsize)  # n is 0 in a history
        zeros = np.zeros(n)
        return PackedQuantiles(
            codes, zeros, zeros, np.full(n, NO_DIGITS, np.int64), np.array(exact_in_float32(quantiles), np.bool_)
        )

    def packed_alone(self, quantiles: NDArray[np.float64], more: dict[str, Any]) -> bytes:  # noqa: ARG002 - not needed
        """Returns quantiles (S, L) as float64 elements."""
        return _elements(quantiles, _WIDE)


def _elements(numbers: NDArray[np.float64], kind: np.dtype[np.void]) -> bytes:
    found = np.empty(numbers.shape, kind)
    found["size"], found["number"] = kind["number"].itemsize, numbers
    return found.tobytes()
