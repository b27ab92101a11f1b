"""Quantiles of forecasts as codes of two and three bytes, for programs that store many of them.

The quantiles of a forecast with S steps and L levels take S (3 + 2 (L - 1)) bytes instead of the eleven characters a
number that JSON takes. With `least` and `greatest` of all its quantiles, and one level in the middle of each step:

    middle     24 bits, linear from `least` to `greatest`:   middle = least + (greatest - least) code / (2^24 - 1)
    others     16 bits, their distance from the middle with a 5-bit exponent e and an 11-bit mantissa m:
               distance = unit m                     for e = 0
               distance = unit (2048 + m) 2^(e - 1)  for e > 0,   unit = (greatest - least) / (4095 2^30)

The middle is exact to 6e-8 of the range of the forecast, every other quantile to 1/4096 of its distance from the
middle; `least` and `greatest` bound all of them, the order of the levels stays, and numbers are rounded to `digits`
decimals, a thousandth of the narrowest step at most.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MIDDLE_CODES: Final = (1 << 24) - 1
MANTISSA: Final = 1 << 11
LARGEST_DISTANCE: Final = float((2 * MANTISSA - 1) << 30)
"""In units of distances."""

MOST_DIGITS: Final = 15
"""More decimals than this are not rounded to: the numbers have as many digits as they need."""

NO_DIGITS: Final = -1
"""Of a forecast whose quantiles are not rounded."""


class PackedQuantiles(NamedTuple):
    """The quantiles of n forecasts as codes.

    Attributes:
        codes: (n, S (3 + 2 (L - 1))) uint8, step by step: 3 bytes of the middle, then 2 bytes of every other level, by
            rising level, most significant byte first.
        least, greatest: (n,) float64, bounds of all quantiles; 0 where the codes are not valid.
        digits: (n,) int64, decimals; `NO_DIGITS` where they are not rounded.
        usable: (n,) bool, whether the codes are valid: not where a quantile is not finite, or the range is not.
    """

    codes: NDArray[np.uint8]
    least: NDArray[np.float64]
    greatest: NDArray[np.float64]
    digits: NDArray[np.int64]
    usable: NDArray[np.bool_]


def pack_quantiles(quantiles: NDArray[np.float64]) -> PackedQuantiles:
    """Returns quantiles as codes; see the head of the file.

    Args:
        quantiles: (n, S, L) float64, not falling over the levels.

    Returns:
        The codes; those of a forecast depend on no other.
    """
    n, steps, levels = quantiles.shape
    packed = PackedQuantiles(
        np.zeros((n, steps * (3 + 2 * (levels - 1))), np.uint8), np.zeros(n), np.zeros(n),
        np.full(n, NO_DIGITS, np.int64), np.zeros(n, np.bool_),
    )  # fmt: skip
    # Compiled; who only reads does not need it.
    from forecaster.packed.pack_kernel import pack_kernel, pack_scratch  # noqa: PLC0415

    powers = 10.0 ** np.arange(MOST_DIGITS + 1)
    flat = np.ascontiguousarray(quantiles).reshape(n, steps * levels)
    pack_kernel(flat, levels, powers, pack_scratch(steps, levels), packed)
    return packed


def unpack_quantiles(
    codes: bytes, least: float, greatest: float, digits: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Returns the quantiles of one forecast, (S, L) float64.

    Args:
        codes: of the forecast, S (3 + 2 (L - 1)) bytes.
        least, greatest: its bounds.
        digits: its decimals, or `NO_DIGITS`.
        shape: (S, L).
    """
    steps, levels = shape
    found, mid = np.frombuffer(codes, np.uint8).reshape(steps, -1), levels // 2
    high, low = found[:, :3].astype(np.int64), np.ascontiguousarray(found[:, 3:]).view(">u2").astype(np.int64)
    middle = least + (greatest - least) * (high @ np.array([65536, 256, 1]) / MIDDLE_CODES)
    exponent, mantissa = low >> 11, low & (MANTISSA - 1)
    unit = (greatest - least) / LARGEST_DISTANCE
    distance = unit * np.where(exponent > 0, (MANTISSA + mantissa) << np.maximum(exponent - 1, 0), mantissa)
    quantiles = np.empty((steps, levels))
    quantiles[:, mid] = middle
    quantiles[:, :mid] = middle[:, None] - distance[:, :mid]
    quantiles[:, mid + 1 :] = middle[:, None] + distance[:, mid:]
    if digits != NO_DIGITS:
        quantiles = np.round(quantiles, digits) + 0.0  # no -0.0
    return np.clip(quantiles, least, greatest)
