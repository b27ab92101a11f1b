"""Packed quantiles as the head of forecaster/packed/quantiles.py defines them, one number at a time in Python."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def packed(quantiles: NDArray[np.float64]) -> tuple[bytes, float, float, int] | None:
    """Returns the codes of one forecast (S, L), its bounds and digits; None where it has none."""
    rows = quantiles.tolist()
    numbers = [number for row in rows for number in row]
    if not all(map(math.isfinite, numbers)) or not math.isfinite(max(numbers) - min(numbers)):
        return None
    mid = len(rows[0]) // 2
    least, greatest = min(numbers), max(numbers)
    halves = [max(row[mid] - row[0], row[-1] - row[mid]) for row in rows]
    narrowest = min([half for half in halves if 0.0 < half < math.inf], default=greatest - least)
    digits = next((d for d in range(16) if narrowest / 1000.0 * 10.0**d >= 1.0), -1)
    if digits >= 0:
        least, greatest = (round_half_even(bound, digits) for bound in (least, greatest))
    span = greatest - least
    out = bytearray()
    for row in rows:
        code = round(min(max((row[mid] - least) / (span or 1.0), 0.0), 1.0) * (2**24 - 1))
        known = least + span * (code / (2**24 - 1))
        out += code.to_bytes(3, "big")
        for level, number in enumerate(row):
            if level != mid:
                away = known - number if level < mid else number - known
                away = away / (span or 1.0) * (4095 << 30)
                out += distance_code(min(max(away, 0.0), float(4095 << 30))).to_bytes(2, "big")
    return bytes(out), least, greatest, digits


def round_half_even(number: float, digits: int) -> float:
    """Returns a number rounded to decimals, or as it is where that is no number."""
    scaled = number * 10.0**digits
    found = float(round(scaled)) / 10.0**digits + 0.0 if math.isfinite(scaled) else math.inf
    return found if math.isfinite(found) else number


def distance_code(away: float) -> int:
    """Returns the code of a distance in its units: the nearest number of 11 bits times a power of two."""
    if away < 2047.5:
        return round(away)
    away = float(np.float32(away))
    exponent = max(math.frexp(away)[1] - 12, 0)
    mantissa = math.floor(Fraction(away) / 2**exponent + Fraction(1, 2))  # half up
    return ((exponent + 1) << 11) + mantissa - 2048
