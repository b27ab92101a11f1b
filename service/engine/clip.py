"""Clips forecasts to the configured bounds of their series, e.g. a percentage to at most 100.

The network, the calibration and all decisions (training, trial, drift) use unclipped forecasts; published, exported and
displayed forecasts are clipped. Actuals are never outside of the bounds, so clipping does not change the coverage, and
a restart does not depend on the bounds.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from service.config.limits import Limit

if TYPE_CHECKING:
    from forecaster import Forecasts

# Names are cached with their bounds up to this number; then the cache is cleared.
_REMEMBERED: Final = 100_000


class Limits:
    """Clips forecasts to the bounds of their series. Used by one thread.

    Args:
        limits: the first entry that matches a series applies.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._fits = [re.compile(fnmatch.translate(limit.series)).fullmatch for limit in limits]
        bounds = [(-math.inf, math.inf), *(limit.bounds for limit in limits)]
        self._least, self._greatest = np.array(bounds, np.float64).T
        self._known: dict[str, int] = {}

    def applied(self, series: Sequence[str], forecasts: Forecasts) -> Forecasts:
        """Returns the forecasts with their quantiles clipped to the bounds; the input is not changed.

        Args:
            series: shape (n,), of every event.
            forecasts: of the events; events without a forecast keep nan.
        """
        if not self._fits or not len(series):
            return forecasts
        which = np.array([self._known.get(name) or self._find(name) for name in series])
        if not which.any():
            return forecasts
        least, greatest = self._least[which, None, None], self._greatest[which, None, None]
        return dataclasses.replace(forecasts, quantiles=np.clip(forecasts.quantiles, least, greatest))

    def _find(self, name: str) -> int:
        """Returns the index of the bounds of a series, from 1; 0 where it has none."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = next((at for at, fits in enumerate(self._fits, 1) if fits(name)), 0)
            self._known[name] = found
        return found
