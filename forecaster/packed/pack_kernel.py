"""The kernel of `forecaster.packed.pack_quantiles`; the head of quantiles.py has the equations."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from forecaster.kernels.jit import inlined, kernel
from forecaster.packed.quantiles import LARGEST_DISTANCE, MANTISSA, MIDDLE_CODES, MOST_DIGITS

_FINE: Final = 1000.0  # the last decimal is at most this part of the narrowest step
_EXPONENT: Final = (127 + 10) << 11  # that of 1024 in a float32, less the first of the codes


@inlined
def _rounded(bound: float, scale: float) -> float:
    """Returns a bound rounded to its decimals, as all quantiles are when they are read."""
    found: float = np.rint(bound * scale) / scale + 0.0
    return found if np.isfinite(found) else bound


@kernel
def pack_kernel(quantiles: Any, powers: Any, distance: Any, bits: Any, packed: Any) -> None:
    """Packs the quantiles of all forecasts.

    Args:
        quantiles: (n, S, L) float64, not falling over the levels, C-contiguous.
        powers: (`MOST_DIGITS` + 1,) float64, the powers of ten from 1 on.
        distance, bits: (1,) float32, overwritten, and the same memory as int32.
        packed: `PackedQuantiles` of zeros, with `digits` = -1; overwritten where the quantiles are usable.
    """
    n, steps, levels = quantiles.shape
    mid = levels // 2
    for i in range(n):
        q, codes = quantiles[i], packed.codes[i]
        least, greatest, narrowest, total = np.inf, -np.inf, np.inf, 0.0
        for s in range(steps):
            for level in range(levels):
                least, greatest = min(least, q[s, level]), max(greatest, q[s, level])
                total += 0.0 * q[s, level]  # nan after one that is not finite
            half = max(q[s, mid] - q[s, 0], q[s, levels - 1] - q[s, mid])
            if half > 0.0:
                narrowest = min(narrowest, half)
        span = greatest - least
        if not (np.isfinite(span) and total == 0.0):
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
        at = 0
        for s in range(steps):
            middle = np.int64(np.rint(min(max((q[s, mid] - least) / scale, 0.0), 1.0) * MIDDLE_CODES))
            known = least + span * (middle / MIDDLE_CODES)
            codes[at], codes[at + 1], codes[at + 2] = middle >> 16, (middle >> 8) & 255, middle & 255
            at += 3
            for level in range(levels):
                if level == mid:
                    continue
                away = known - q[s, level] if level < mid else q[s, level] - known
                away = min(max(away / scale * LARGEST_DISTANCE, 0.0), LARGEST_DISTANCE)
                if away < MANTISSA - 0.5:
                    code = np.int64(np.rint(away))
                else:  # a float32 without the bits that are not stored; rounding up carries over into the exponent
                    distance[0] = away
                    code = ((np.int64(bits[0]) + 0x800) >> 12) - _EXPONENT
                codes[at], codes[at + 1] = code >> 8, code & 255
                at += 2
