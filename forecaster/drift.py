"""Drift: whether one-step forecasts have become worse than they used to be, by a cumulative sum of their errors.

    x = |error| / usual |error| of that series, at most 5          usual: exponential mean over about 200 errors
    g = max(0, g + (x - 1 - 0.25) / n)                             n series with a say

g is the one-sided Page-Hinkley statistic (Page 1954, Continuous inspection schemes; Hinkley 1971), in steps of all
series: errors twice as large as usual, everywhere, add 0.75 per step. Seasons of errors and single outliers decay, a
lasting change does not. A pure function of the events: a replay finds the same.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster._jit import kernel
from forecaster.batch import Batch, Forecasts
from forecaster.prequential import Prequential

SLACK: Final = 0.25
LARGEST: Final = 5.0
USUAL_RATE: Final = 1.0 / 200.0
# Errors of a series before it has a say: its usual error is not known, and the model has hardly seen it.
FIRST: Final = 50


@kernel
def _page_hinkley(slot: Any, error: Any, usual: Any, count: Any, sums: Any) -> None:
    """Moves the statistic on, in the order of the events.

    Args:
        slot, error: (n,); nan errors are left out.
        usual, count: (slots,) mean error and number of errors, overwritten.
        sums: (2,) the statistic and the number of series that have a say, overwritten.
    """
    for i in range(len(slot)):
        e, s = error[i], slot[i]
        if not np.isfinite(e):
            continue
        if count[s] == FIRST:
            sums[1] += 1.0
        if count[s] >= FIRST:
            x = LARGEST if e > 0.0 else 1.0
            if usual[s] > 0.0:
                x = min(e / usual[s], LARGEST)
            sums[0] = max(0.0, sums[0] + (x - 1.0 - SLACK) / sums[1])
        count[s] += 1
        usual[s] += (e - usual[s]) * max(1.0 / count[s], USUAL_RATE)


class DriftTest:
    """The test over the stream of one forecaster.

    Args:
        limit: series in the sample: the first so many.
    """

    def __init__(self, limit: int) -> None:
        self._scorer = Prequential(limit, (1,), (0.5,), 1)
        self._usual, self._count = np.zeros(limit), np.zeros(limit, np.int64)
        self._sums = np.zeros(2)

    @property
    def statistic(self) -> float:
        """g, in steps of all series."""
        return float(self._sums[0])

    def observe(self, batch: Batch, forecasts: Forecasts, levels: tuple[float, ...]) -> None:
        """Takes in events and what was forecast from them; how they are split over calls does not matter."""
        slot = self._scorer.slots(batch.series)
        mine = np.flatnonzero(slot >= 0)
        if not len(mine):
            return
        median = int(np.argmin(np.abs(np.array(levels) - 0.5)))
        point = forecasts.quantiles[mine, :1, median : median + 1][None]
        value = np.asarray(batch.value, np.float64)[mine]
        notes = forecasts.notes[mine] if len(forecasts.notes) else None
        loss = self._scorer.score(slot[mine], forecasts.status[mine], forecasts.steps[mine], value, point, notes)
        _page_hinkley(slot[mine], 2.0 * loss[:, 0], self._usual, self._count, self._sums)

    def reset(self) -> None:
        """Starts the sum anew, after an alarm."""
        self._sums[0] = 0.0

    def state(self) -> dict[str, NDArray[Any]]:
        """All state as arrays (copies)."""
        used = len(self._scorer.index)
        arrays = {f"scorer.{name}": array for name, array in self._scorer.state().items()}
        usual, count = self._usual[:used].copy(), self._count[:used].copy()
        return arrays | {"usual": usual, "count": count, "sums": self._sums.copy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Takes over what `state` gave; a sample that was larger than the limit now is cut."""
        self._scorer.restore({name[7:]: array for name, array in arrays.items() if name.startswith("scorer.")})
        used = len(arrays["usual"])
        if used > len(self._usual):
            self._usual, self._count = np.zeros(used), np.zeros(used, np.int64)
        self._usual[:used], self._count[:used] = arrays["usual"], arrays["count"]
        self._sums[...] = arrays["sums"]
