r"""What a series whose scale is not known yet is forecast by: how far the stream's other series move.

While all values of a row were the same there is no scale to forecast with. Its forecast is its last value y, with the
quantiles of a normal distribution z (of mean absolute error 1) around it,

    y + u sqrt(h) z,      u = |y| p / (1 - p) (1/n - 1/N) / (1 - 1/N)      n values seen, 0 from N = `YOUNG_VALUES` on

p is the mean of scale / (|level| + scale) over the series of the stream at their N-th value. It begins at `USUAL_SHARE`
as if `BEFORE` series had shown it. Where y is 0, u is the mean of their scales instead, and 0 before any. A series
without a value has no forecast: all quantiles are nan. The means are learnt in the order of the events; they are three
numbers for all rows of a forecaster, and part of its state.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import CheckpointError
from forecaster.features.outliers import YOUNG_VALUES
from forecaster.features.step_inputs import LAST, LEVEL, SCALE, TINY
from forecaster.kernels.jit import inlined

COUNT, SHARE, UNIT = 0, 1, 2
USUAL_SHARE, BEFORE = 0.1, 4.0
SLOWEST = 1.0 / 64.0


def first_prior() -> NDArray[np.float64]:
    """(3,) float64 how many series have shown how far they move, the mean share and the mean scale, before any."""
    return np.array([0.0, USUAL_SHARE, 0.0])


def prior_from(numbers: list[str]) -> NDArray[np.float64]:
    """The prior from the three hexadecimal numbers that a header holds.

    Raises:
        CheckpointError: they cannot be such numbers.
    """
    found = np.array([float.fromhex(str(number)) for number in numbers])
    if found.shape != (3,) or not found[COUNT] >= 0.0 or not 0.0 <= found[SHARE] <= 1.0 or not found[UNIT] >= 0.0:
        msg = f"prior: got {numbers}, expected a count, a share from 0 to 1, and a scale"
        raise CheckpointError(msg)
    return found


@inlined
def learn_prior(P: Any, D: Any, d: int, anchor: float) -> None:
    """Takes the statistics D[d:] of a row at its `YOUNG_VALUES`-th value into the prior P, overwritten."""
    scale = D[d + SCALE]
    if scale > TINY:
        share = scale / (abs(anchor + D[d + LEVEL]) + scale)
        P[COUNT] += 1.0
        P[SHARE] += (share - P[SHARE]) * max(1.0 / (P[COUNT] + BEFORE), SLOWEST)
        P[UNIT] += (scale - P[UNIT]) * max(1.0 / P[COUNT], SLOWEST)


@inlined
def young_unit(P: Any, D: Any, d: int, anchor: float, observed: int) -> float:
    """Mean absolute error of a 1-step-ahead forecast by the prior; 0: the row has its own scale; nan: unknown."""
    if observed == 0:
        return math.nan
    if D[d + SCALE] > TINY or observed >= YOUNG_VALUES:
        return 0.0
    unit = abs(anchor + D[d + LAST]) * P[SHARE] / max(1.0 - P[SHARE], 0.01)
    if not unit > 0.0:
        unit = P[UNIT]
    return unit * (1.0 / observed - 1.0 / YOUNG_VALUES) / (1.0 - 1.0 / YOUNG_VALUES)  # type: ignore[no-any-return]
