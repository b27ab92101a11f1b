"""Clips forecasts to the configured bounds of their series, e.g. a percentage to at most 100.

The network, the calibration and all decisions (training, trial, drift) use unclipped forecasts; published, exported and
displayed forecasts are clipped. Actuals are never outside of the bounds, so clipping does not change the coverage, and
a restart does not depend on the bounds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from service.config.limits import Limit
from service.messages.series_patterns import SeriesPatterns

if TYPE_CHECKING:
    from forecaster import Forecasts


class Limits:
    """Clips forecasts to the bounds of their series. Used by one thread.

    Args:
        limits: the first entry that matches a series applies.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._patterns = SeriesPatterns([limit.series for limit in limits])
        bounds = [(-math.inf, math.inf), *(limit.bounds for limit in limits)]
        self._least, self._greatest = np.array(bounds, np.float64).T

    def bounds_of(self, series: str) -> tuple[float, float]:
        """Returns the least and the greatest value of forecasts of a series; infinite without bounds."""
        which = int(self._patterns.first([series])[0])
        return float(self._least[which]), float(self._greatest[which])

    def applied(self, series: Sequence[str], forecasts: Forecasts) -> Forecasts:
        """Returns the forecasts with their quantiles clipped to the bounds; the input is not changed.

        Args:
            series: shape (n,), of every event.
            forecasts: of the events; events without a forecast keep nan.
        """
        if not self._patterns or not len(series):
            return forecasts
        which = self._patterns.first(series)
        if not which.any():
            return forecasts
        least, greatest = self._least[which, None, None], self._greatest[which, None, None]
        return dataclasses.replace(forecasts, quantiles=np.clip(forecasts.quantiles, least, greatest))
