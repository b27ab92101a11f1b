r"""Prior forecast of a series without a scale of its own, from the variation of the stream's other series.

While all values of a row are equal, it has no scale. Its forecast is its last value y, with the quantiles of a normal
distribution z (of mean absolute error 1) around it,

    y + u sqrt(h) z,      u = |y| p / (1 - p) (1/n - 1/N) / (1 - 1/N)      n values observed, 0 from N = `YOUNG_VALUES`

p is the mean of scale / (|level| + scale) over the series of the stream at their N-th value. It is initialised to
`USUAL_SHARE` with the weight of `BEFORE` series. Where y is 0, u is based on the mean of their scales instead, which is
0 before the first one. A series without a value has no forecast: all quantiles are nan. The means are updated in the
order of the events; they are three numbers for all rows of a forecaster, and part of its state.
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
    """Returns the initial prior (3,) float64: number of series that it was learnt from, mean share, mean scale."""
    return np.array([0.0, USUAL_SHARE, 0.0])


def prior_from(numbers: list[str]) -> NDArray[np.float64]:
    """Returns the prior from the three hexadecimal numbers in a header.

    Raises:
        CheckpointError: the numbers are not a valid prior.
    """
    found = np.array([float.fromhex(str(number)) for number in numbers])
    if found.shape != (3,) or not found[COUNT] >= 0.0 or not 0.0 <= found[SHARE] <= 1.0 or not found[UNIT] >= 0.0:
        msg = f"prior: got {numbers}, expected a count, a share from 0 to 1, and a scale"
        raise CheckpointError(msg)
    return found


@inlined
def learn_prior(P: Any, D: Any, d: int, anchor: float) -> None:
    """Updates the prior P, overwritten, by the statistics D[d:] of a row at its `YOUNG_VALUES`-th value."""
    scale = D[d + SCALE]
    if scale > TINY:
        share = scale / (abs(anchor + D[d + LEVEL]) + scale)
        P[COUNT] += 1.0
        P[SHARE] += (share - P[SHARE]) * max(1.0 / (P[COUNT] + BEFORE), SLOWEST)
        P[UNIT] += (scale - P[UNIT]) * max(1.0 / P[COUNT], SLOWEST)


@inlined
def young_unit(P: Any, D: Any, d: int, anchor: float, observed: int) -> float:
    """Returns the mean absolute error of the prior's 1-step-ahead forecast.

    0: the row has its own scale or `YOUNG_VALUES` values; nan: the row has no value, hence no forecast.
    """
    if observed == 0:
        return math.nan
    if D[d + SCALE] > TINY or observed >= YOUNG_VALUES:
        return 0.0
    unit = abs(anchor + D[d + LAST]) * P[SHARE] / max(1.0 - P[SHARE], 0.01)
    if not unit > 0.0:
        unit = P[UNIT]
    return unit * (1.0 / observed - 1.0 / YOUNG_VALUES) / (1.0 - 1.0 / YOUNG_VALUES)  # type: ignore[no-any-return]
