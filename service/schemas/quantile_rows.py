"""Writes the quantiles of a batch as rows of numbers in binary, all at once.

The libraries of Avro and Protobuf write one number at a time, which takes several times as long as all the rest of a
forecast. In both formats a row is its numbers in little endian between bytes that are the same for every row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rows_of(quantiles: NDArray[np.float64], kind: str, before: bytes, after: bytes = b"") -> list[bytes]:
    """Returns the rows of each of several forecasts, joined.

    Args:
        quantiles: (n, steps, levels).
        kind: "<f4" or "<f8", the type of a number.
        before, after: bytes around each row.
    """
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(quantiles, kind).view(np.uint8)
    width = len(before) + numbers.shape[2] + len(after)
    found = np.empty((*numbers.shape[:2], width), np.uint8)
    found[:, :, : len(before)] = np.frombuffer(before, np.uint8)
    found[:, :, len(before) : width - len(after)] = numbers
    found[:, :, width - len(after) :] = np.frombuffer(after, np.uint8)
    return [rows.tobytes() for rows in found]


def varint(number: int) -> bytes:
    """Returns a number from 0 on as both formats write it, seven bits to a byte."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
