"""Reads decimal numbers, correctly rounded; a piece of kernels.

A number is w 10^q with an integer w of at most 19 digits. Where w < 2^53 and |q| <= 22 both are exact as float64, and
so their product or quotient is the nearest float64 (Clinger 1990, How to read floating point numbers accurately).
Otherwise its bits are those of the product of w and the first 128 bits of 5^q, which decide the rounding but in rare
cases (Lemire 2021, Number parsing at a gigabyte per second; the steps below have the names of that paper). Those cases,
longer numbers and larger exponents are left to the caller.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from forecaster.flat_text.layout import EXACT_POWER, LEAST_POWER, MOST_POWER
from forecaster.kernels.jit import inlined

MOST_DIGITS: Final = 19

BAD: Final = 0
INTEGER: Final = 1
FRACTION: Final = 2

_WHOLE: Final = np.uint64(1 << 53)
_LOW: Final = np.uint64(0xFFFFFFFF)
_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_U0, _U1, _U3, _U9, _U10, _U32, _U63 = (np.uint64(number) for number in (0, 1, 3, 9, 10, 32, 63))
_IMPLICIT: Final = np.uint64(1 << 52)


@inlined
def _product(a: Any, b: Any) -> Any:
    """Returns the higher and the lower 64 bits of a product of two uint64."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _U32, b & _LOW, b >> _U32
    low, cross, other = a_low * b_low, a_high * b_low, a_low * b_high
    middle = (low >> _U32) + (cross & _LOW) + (other & _LOW)
    return a_high * b_high + (cross >> _U32) + (other >> _U32) + (middle >> _U32), a * b


@inlined
def _leading_zeros(w: Any) -> int:
    count = 0
    for step in (32, 16, 8, 4, 2, 1):
        if w >> np.uint64(64 - step) == _U0:
            w = w << np.uint64(step)
            count += step
    return count


@inlined
def _rounded(w: Any, q: int, constants: Any) -> Any:
    """Returns whether w 10^q, w > 0, can be rounded here, and its float64."""
    if w < _WHOLE and -EXACT_POWER <= q <= EXACT_POWER:
        exact = np.float64(np.int64(w))
        return True, exact / constants.tens[-q] if q < 0 else exact * constants.tens[q]
    if q < LEAST_POWER or q > MOST_POWER:
        return False, 0.0
    zeros = _leading_zeros(w)
    w = w << np.uint64(zeros)
    high, low = _product(w, constants.fives[q - LEAST_POWER, 0])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):
        more, _ = _product(w, constants.fives[q - LEAST_POWER, 1])
        low = low + more
        if low < more:
            high = high + _U1
    if low == _ALL and (q < -27 or q > 55):
        return False, 0.0
    upper = high >> _U63
    shift = upper + _U9
    mantissa = high >> shift
    exponent = ((217706 * q) >> 16) + 63 + np.int64(upper) - zeros + 1023
    if exponent <= 0 or exponent >= 2046:
        return False, 0.0
    # half way between two numbers: to the even one
    if low <= _U1 and -4 <= q <= 23 and mantissa & _U3 == _U1 and mantissa << shift == high:
        mantissa = mantissa & ~_U1
    mantissa = (mantissa + (mantissa & _U1)) >> _U1
    if mantissa >= _WHOLE:
        mantissa = _IMPLICIT
        exponent += 1
    constants.bits[0] = (mantissa & ~_IMPLICIT) | (np.uint64(exponent) << np.uint64(52))
    return True, constants.real[0]


@inlined
def number_at(text: Any, at: int, end: int, constants: Any) -> Any:
    """Reads the number of JSON that begins at an index.

    Args:
        text: (N,) uint8.
        at, end: its first byte, and behind the last one that may be read.
        constants: `Powers`.

    Returns:
        `BAD`, `INTEGER` or `FRACTION`; the index behind it; its float64; and where it is an integer of at most 18
        digits that value, else 0. `BAD` where it is no number of JSON, or is not read here: see the head of the file;
        also -0, of which readers differ.
    """
    kind, value = BAD, 0.0
    whole: Any = 0
    negative = at < end and text[at] == 45
    if negative:
        at += 1
    w, digits, q = _U0, 0, 0  # `digits` from the first one that is not 0, as w may overflow
    first = at
    while at < end and 48 <= text[at] <= 57:
        w = w * _U10 + np.uint64(text[at] - 48)
        digits += digits > 0 or text[at] != 48
        at += 1
    good = at > first and (text[first] != 48 or at == first + 1)
    is_whole = True
    if good and at < end and text[at] == 46:
        is_whole = False
        at += 1
        point = at
        while at < end and 48 <= text[at] <= 57:
            w = w * _U10 + np.uint64(text[at] - 48)
            digits += digits > 0 or text[at] != 48
            at += 1
        q = point - at
        good = at > point
    if good and at < end and (text[at] == 101 or text[at] == 69):
        is_whole = False
        at += 1
        below = at < end and text[at] == 45
        if at < end and (text[at] == 45 or text[at] == 43):
            at += 1
        point = at
        power: Any = 0
        while at < end and 48 <= text[at] <= 57:
            power = min(power * 10 + (np.int64(text[at]) - 48), 10000)
            at += 1
        q += -power if below else power
        good = at > point
    if good and digits <= MOST_DIGITS:
        if w == _U0:
            if not negative:
                kind = INTEGER if is_whole else FRACTION
        else:
            fine, size = _rounded(w, q, constants)
            if fine:
                kind = INTEGER if is_whole else FRACTION
                value = -size if negative else size
                if is_whole and digits < MOST_DIGITS:
                    whole = -np.int64(w) if negative else np.int64(w)
                elif is_whole:
                    kind = FRACTION  # whose integer is not read
    return kind, at, value, whole
