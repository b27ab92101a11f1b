"""Covariates for all series at once: an event of a reserved series sets them, and they hold until it sets others.

Where in the stream it stands decides from which event on it holds, not its timestamp; so a replay does the same. A
number that an event brings itself comes before the one that was broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Broadcast:
    """What was broadcast so far.

    Args:
        series: identifier of the reserved series, "" for none.
        width: number of covariates.

    Attributes:
        values: (width,) float32 in force, nan where nothing was broadcast yet.
    """

    def __init__(self, series: str, width: int) -> None:
        self.series = series
        self.values = np.full(width, np.nan, np.float32)

    def fill(
        self, series: Sequence[str], covariates: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Takes the broadcasts out of a batch.

        Args:
            series: (n,) identifiers.
            covariates: (n, width), nan where missing.

        Returns:
            Indices (m,) of the other events, and their covariates (m, width) with what was broadcast before each of
            them filled in.
        """
        said = np.fromiter((name == self.series for name in series), np.bool_, len(series))
        in_force = [self.values]
        for row in covariates[said]:
            in_force.append(np.where(np.isfinite(row), row, in_force[-1]))
        self.values = in_force[-1]
        others = np.flatnonzero(~said)
        before = np.stack(in_force)[np.cumsum(said)[others]]
        own = covariates[others]
        return others, np.where(np.isfinite(own), own, before).astype(np.float32)
