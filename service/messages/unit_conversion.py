"""Converts values from the units in which they are written, as `input.units` says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.config.units import SeriesUnit
from service.messages.series_patterns import SeriesPatterns


class UnitConversion:
    """Converts the values of selected series. Used by one thread.

    Args:
        units: the first entry that matches a series applies.
    """

    def __init__(self, units: Sequence[SeriesUnit]) -> None:
        self._patterns = SeriesPatterns([unit.series for unit in units])
        rows = [(1.0, 0.0), *((unit.factor, unit.offset) for unit in units)]
        self._factor, self._offset = np.array(rows, np.float64).T
        self._changes = (self._factor != 1) | (self._offset != 0)

    def convert(self, series: Sequence[str], value: NDArray[np.float64]) -> None:
        """Converts values in place; those with factor 1 and offset 0 keep their bits.

        Args:
            series: shape (n,).
            value: nan where missing, overwritten, shape (n,). A product beyond float64 becomes infinite.
        """
        if not self._patterns or not len(value):
            return
        which = self._patterns.first(series)
        at = np.flatnonzero(self._changes[which])
        with np.errstate(over="ignore", invalid="ignore"):
            value[at] = value[at] * self._factor[which[at]] + self._offset[which[at]]
