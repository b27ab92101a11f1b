"""What the kernels of flat records take: groups of arrays and constants, and how they are made."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.buffers import reserve

SERIES: Final = 0
TIME: Final = 1
VALUE: Final = 2
"""Fields of a record; covariates follow."""

AUTO, SECONDS, MILLISECONDS, MICROSECONDS, NANOSECONDS = range(5)
"""Units of numeric times; `AUTO`: depending on their size."""

LOW, MIDDLE = 1, 2
"""Bits for integers below 1e8, and for those from there to below 1e11: by `AUTO` milliseconds and seconds."""

LEAST_POWER: Final = -60
MOST_POWER: Final = 60
EXACT_POWER: Final = 22
"""The greatest power of ten that is exact as float64."""


class Powers(NamedTuple):
    """Constants of `number_at`, and memory for the bits of one number.

    Attributes:
        tens: (23,) float64, the exact powers of ten. fives: (121, 2) uint64, the first 128 bits of the powers of five
            from `LEAST_POWER` on, the higher 64 first.
        bits, real: (1,) uint64 and the same memory as float64, overwritten.
    """

    tens: Any
    fives: Any
    bits: Any
    real: Any


class NameTable(NamedTuple):
    """Names by the number of their entry, all overwritten; see name_table.py.

    Attributes:
        slots: (2^k,) int32, entry of a slot plus 1; 0: free. hashes: (E,) uint64 of entries.
        starts: (E + 1,) int64, index of the first byte of an entry in `bytes`. bytes: (B,) uint8.
        used: (1,) int64, number of entries.
    """

    slots: Any
    hashes: Any
    starts: Any
    bytes: Any
    used: Any


class FlatEvents(NamedTuple):
    """The events of n records, all overwritten.

    Attributes:
        good: (n,) uint8, whether the record was read; the others are not valid where it was not.
        entry: (n,) int64, entry of the series in the table of names. time_ms: (n,) int64.
        numbers: (n, 1 + C) float64, the value and the covariates, nan where missing.
        sizes: (1,) int64, added to by "or": `LOW`, `MIDDLE`, of numeric times.
    """

    good: Any
    entry: Any
    time_ms: Any
    numbers: Any
    sizes: Any


def powers() -> Powers:
    """Returns the constants."""
    bits = np.zeros(1, np.uint64)
    tens = np.array([float(f"1e{power}") for power in range(EXACT_POWER + 1)])
    return Powers(tens, _fives(), bits, bits.view(np.float64))


def _fives() -> NDArray[np.uint64]:
    """Returns 5^q truncated to 128 bits, and from -27 to -1 rounded up, as the source of number_text.py has them."""
    found = []
    for power in range(LEAST_POWER, MOST_POWER + 1):
        value = 5 ** abs(power)
        if power < 0:
            bits = value.bit_length()
            value = (1 << (bits + 127 if power >= -27 else 2 * bits + 128)) // value + 1
        shift = value.bit_length() - 128
        value = value >> shift if shift > 0 else value << -shift
        found.append((value >> 64, value & ((1 << 64) - 1)))
    return np.array(found, np.uint64)


def empty_table(entries: int, size: int) -> NameTable:
    """Returns a table for a number of names with a number of bytes; memory is committed where it is first used."""
    slots = 1 << (2 * entries - 1).bit_length()
    return NameTable(
        reserve(slots, 1, np.int32)[:, 0],
        reserve(entries, 1, np.uint64)[:, 0],
        reserve(entries + 1, 1, np.int64)[:, 0],
        reserve(size, 1, np.uint8)[:, 0],
        np.zeros(1, np.int64),
    )


def no_events(n: int, numbers: int) -> FlatEvents:
    """Returns memory for the events of n records, each with a number of numbers."""
    return FlatEvents(
        np.empty(n, np.uint8), np.empty(n, np.int64), np.empty(n, np.int64), np.empty((n, numbers)),
        np.zeros(1, np.int64),
    )  # fmt: skip
