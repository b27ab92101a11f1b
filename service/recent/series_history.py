"""What is remembered of one series: its recent events and what had been forecast for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detail:
    """Copies, in the order of the stream; n events, K tracked horizons, Q levels, H steps.

    Attributes:
        partition, series: whose.
        timestamp_ms, position, step: (n,) int64. Position -1: from the training history, after a restart.
        value: (n,) nan where missing. anomaly: (n,) nan where there is none. flagged: (n,) bool.
        quantiles: (n, K, Q) what was forecast at every event; nan where that is not remembered.
        tracked: the K horizons, in steps. levels: the Q levels.
        latest: (H, Q) the newest forecast, None where there is none yet. interval_ms: of its steps, 0 while unknown.
        calendar: what its steps are where they are months, see `forecaster.Forecasts`.
        model: sha256 of the model that made it, "" where there is none.
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
        """What had been forecast for every event `horizon` steps before it; nan where that is not remembered.

        Args:
            horizon: one of `tracked`.

        Returns:
            (n, Q) quantiles. That of an event never depends on its own value or a later one.
        """
        found = np.full((len(self), len(self.levels)), np.nan)
        if not len(self):
            return found
        # A series that was forgotten and came back counts its steps from the start: every life by itself.
        life = np.cumsum(np.diff(self.step, prepend=self.step[0] - 1) < 0)
        width = int(self.step.max()) + horizon + 1
        keys = life * width + self.step
        wanted = np.where(self.step >= horizon, keys - horizon, -1)
        at = np.maximum(np.searchsorted(keys, wanted, side="right") - 1, 0)  # the last event of that step
        hit = (keys[at] == wanted) & (life[at] == life)
        found[hit] = self.quantiles[at[hit], self.tracked.index(horizon)]
        return found
