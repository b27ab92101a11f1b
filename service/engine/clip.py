"""What the values of single series cannot go beyond: shares end at 100, while rates beside them do not.

The network, the calibration and every decision (training, trial, drift) see the forecasts as they are; what is
published, shown and exported is moved onto the limits. An outcome is never beyond them, so intervals cover as much as
before, and a restart needs to know nothing of them.
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

# Names are remembered with their limits up to this many; then the memory starts anew.
_REMEMBERED: Final = 100_000


class Limits:
    """Moves forecasts onto the limits of their series. Used by one thread.

    Args:
        limits: of several that fit a series the first holds.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._fits = [re.compile(fnmatch.translate(limit.series)).fullmatch for limit in limits]
        bounds = [(-math.inf, math.inf), *(limit.bounds for limit in limits)]
        self._least, self._greatest = np.array(bounds, np.float64).T
        self._known: dict[str, int] = {}

    def applied(self, series: Sequence[str], forecasts: Forecasts) -> Forecasts:
        """The forecasts with quantiles beyond a limit moved onto it; what was given stays as it is.

        Args:
            series: shape (n,), of every event.
            forecasts: of the events; events without an answer keep nan.
        """
        if not self._fits or not len(series):
            return forecasts
        which = np.array([self._known.get(name) or self._find(name) for name in series])
        if not which.any():
            return forecasts
        least, greatest = self._least[which, None, None], self._greatest[which, None, None]
        return dataclasses.replace(forecasts, quantiles=np.clip(forecasts.quantiles, least, greatest))

    def _find(self, name: str) -> int:
        """The place of the limit of a series, from 1; 0 where it has none."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = next((at for at, fits in enumerate(self._fits, 1) if fits(name)), 0)
            self._known[name] = found
        return found
