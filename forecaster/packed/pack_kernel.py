"""The kernel of `forecaster.packed.pack_quantiles`; the head of quantiles.py has the equations."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.jit import inlined, kernel
from forecaster.packed.quantiles import LARGEST_DISTANCE, MANTISSA, MIDDLE_CODES, MOST_DIGITS

_FINE: Final = 1000.0  # the last decimal is at most this part of the narrowest step
_EXPONENT: Final = (127 + 10) << 11  # that of 1024 in a float32, less the first of the codes


class PackScratch(NamedTuple):
    """Memory for one forecast of S steps and L levels.

    Attributes:
        known: (S L,) float64, the middle of each step as it is read.
        side: (S L,) float64, -1 for levels below the middle, else 1; not overwritten.
        away: (S L,) float64, distances from the middle. narrow: (S L,) float32, the same.
        bits: (S L,) int32, the memory of `narrow`, and then the codes of the distances.
        code: (S L,) int64, those of the middle.
    """

    known: NDArray[np.float64]
    side: NDArray[np.float64]
    away: NDArray[np.float64]
    narrow: NDArray[np.float32]
    bits: NDArray[np.int32]
    code: NDArray[np.int64]


def pack_scratch(steps: int, levels: int) -> PackScratch:
    """Returns memory for forecasts of this shape."""
    size, narrow = steps * levels, np.zeros(steps * levels, np.float32)
    side = np.where(np.arange(size) % levels < levels // 2, -1.0, 1.0)
    return PackScratch(np.zeros(size), side, np.zeros(size), narrow, narrow.view(np.int32), np.zeros(size, np.int64))


@inlined
def _rounded(bound: float, scale: float) -> float:
    """Returns a bound rounded to its decimals, as all quantiles are when they are read."""
    found: float = np.rint(bound * scale) / scale + 0.0
    return found if np.isfinite(found) else bound


@kernel
def pack_kernel(quantiles: Any, levels: int, powers: Any, scratch: Any, packed: Any) -> None:
    """Packs the quantiles of all forecasts.

    The loops over all quantiles of a forecast are free of branches and of sums, so that the compiler makes vectors of
    them; each number is computed as in the head of quantiles.py.

    Args:
        quantiles: (n, S L) float64, not falling over the levels of a step, C-contiguous.
        levels: L.
        powers: (`MOST_DIGITS` + 1,) float64, the powers of ten from 1 on.
        scratch: `PackScratch`, overwritten.
        packed: `PackedQuantiles` of zeros, with `digits` = -1; overwritten where the quantiles are usable.
    """
    n, size = quantiles.shape
    steps, mid, last = size // levels, levels // 2, levels - 1
    known, side, away, narrow, bits, code = scratch
    for i in range(n):
        q, codes, others = quantiles[i], packed.codes[i], 0
        for at in range(size):
            others += q[at] - q[at] != 0.0  # nan or infinite
        least, greatest, narrowest = np.inf, -np.inf, np.inf
        for s in range(steps):
            low, middle, high = q[s * levels], q[s * levels + mid], q[s * levels + last]
            least, greatest = min(least, low), max(greatest, high)
            half = max(middle - low, high - middle)
            if half > 0.0:
                narrowest = min(narrowest, half)
        span = greatest - least
        if others or not np.isfinite(span):
            continue
        packed.usable[i] = True
        if not np.isfinite(narrowest):
            narrowest = span
        digits = 0
        while digits <= MOST_DIGITS and narrowest / _FINE * powers[digits] < 1.0:
            digits += 1
        if digits <= MOST_DIGITS:
            packed.digits[i] = digits
            least, greatest = _rounded(least, powers[digits]), _rounded(greatest, powers[digits])
        packed.least[i], packed.greatest[i] = least, greatest
        span = greatest - least
        scale = span if span > 0.0 else 1.0
        for s in range(steps):
            share = min(max((q[s * levels + mid] - least) / scale, 0.0), 1.0) * MIDDLE_CODES
            whole = np.int64(np.rint(share))
            code[s * levels + mid] = whole
            middle = least + span * (whole / MIDDLE_CODES)
            for level in range(levels):
                known[s * levels + level] = middle
        for at in range(size):
            distance = (q[at] - known[at]) * side[at] / scale * LARGEST_DISTANCE
            distance = min(max(distance, 0.0), LARGEST_DISTANCE)
            away[at], narrow[at] = distance, distance
        for at in range(size):
            few = np.int32(np.rint(min(away[at], np.float64(MANTISSA))))
            # A float32 without the bits that are not stored; rounding up carries over into the exponent.
            many = np.int32(((bits[at] + np.int32(0x800)) >> np.int32(12)) - np.int32(_EXPONENT))
            bits[at] = few if away[at] < MANTISSA - 0.5 else many
        at = 0
        for s in range(steps):
            whole = code[s * levels + mid]
            codes[at], codes[at + 1], codes[at + 2] = whole >> 16, (whole >> 8) & 255, whole & 255
            at += 3
            for level in range(levels):
                if level != mid:
                    two = bits[s * levels + level]
                    codes[at], codes[at + 1] = two >> 8, two & 255
                    at += 2
