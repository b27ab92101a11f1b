"""The recorded events of one series and the forecasts made for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detail:
    """Copies of the recorded columns in the order of the stream; n events, K tracked horizons, Q levels, H steps.

    Attributes:
        partition, series: identify the series.
        timestamp_ms, position, step: (n,) int64. Position -1: restored from the training history.
        value: (n,) nan where missing. anomaly: (n,) nan without a score. flagged: (n,) bool.
        quantiles: (n, K, Q) forecasts made at every event; nan where not recorded.
        tracked: the K horizons, in steps. levels: the Q levels.
        latest: (H, Q) the newest forecast, None without one. interval_ms: of its steps, 0 while unknown.
        calendar: of its steps where they are calendar months, see `forecaster.Forecasts`.
        model: sha256 of the model that made it, "" without one.
    """

    partition: str
    series: str
    timestamp_ms: NDArray[np.int64]
    position: NDArray[np.int64]
    step: NDArray[np.int64]
    value: NDArray[np.float64]
    anomaly: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    quantiles: NDArray[np.float64]
    tracked: tuple[int, ...]
    levels: tuple[float, ...]
    latest: NDArray[np.float64] | None
    interval_ms: int
    calendar: int
    model: str

    def __len__(self) -> int:
        """The number of events."""
        return len(self.timestamp_ms)

    def forecast_for(self, horizon: int) -> NDArray[np.float64]:
        """Returns the forecast for every event made `horizon` steps before it; nan where not recorded.

        Args:
            horizon: one of `tracked`.

        Returns:
            (n, Q) quantiles. They never depend on the value of the event or a later one.
        """
        found = np.full((len(self), len(self.levels)), np.nan)
        hit, at = self._back(horizon)
        found[hit] = self.quantiles[at[hit], self.tracked.index(horizon)]
        return found

    def value_before(self, steps: int) -> NDArray[np.float64]:
        """Returns for every event the value so many steps before it, shape (n,); nan where not recorded."""
        found = np.full(len(self), np.nan)
        hit, at = self._back(steps)
        found[hit] = self.value[at[hit]]
        return found

    def _back(self, steps: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Returns for every event whether the one so many steps before it is recorded, and its index."""
        if not len(self):
            return np.zeros(0, np.bool_), np.zeros(0, np.int64)
        # A series whose state was removed counts its steps from zero again; each such period is handled separately.
        life = np.cumsum(np.diff(self.step, prepend=self.step[0] - 1) < 0)
        width = int(self.step.max()) + steps + 1
        keys = life * width + self.step
        wanted = np.where(self.step >= steps, keys - steps, -1)
        at = np.maximum(np.searchsorted(keys, wanted, side="right") - 1, 0)  # the last event of that step
        return (keys[at] == wanted) & (life[at] == life), at
