"""Which flagged events of a group are announced: none in maintenance windows, and a budget for all its series.

The budget is of a partition: at most `budget` flags with an event time in each of its periods

    [k budget_period, (k + 1) budget_period) of the epoch.

Flags are counted in the order of the events, which decides which of them come too late; those in maintenance do not
count. The counts of the `PERIODS` periods that were used last are kept: a wrong event time uses a period of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from forecaster import Note
from service.config.library import AnomalySettings
from service.config.maintenance import MaintenanceWindow
from service.messages.series_patterns import SeriesPatterns

if TYPE_CHECKING:
    from forecaster import Forecaster, Forecasts

PERIODS: Final = 64


class FlagFilter:
    """Filters the flags of one group in one partition.

    Args:
        settings: the anomaly rules.
        used: as returned by `state`.

    Attributes:
        settings: the anomaly rules in force.
    """

    def __init__(self, settings: AnomalySettings, used: Sequence[tuple[int, int]] = ()) -> None:
        self.settings, self._windows = settings, _windows_of(settings)
        self._used = {int(period): int(count) for period, count in used}

    def with_settings(self, settings: AnomalySettings) -> FlagFilter:
        """Returns a filter of other rules that goes on with the counts, unless they are of other periods."""
        return FlagFilter(settings, self.state() if settings.budget_period == self.settings.budget_period else ())

    def judge(self, forecaster: Forecaster) -> None:
        """Puts the rules in force in the state of the group."""
        patterns = SeriesPatterns([rule.series for rule in self.settings.rules])
        forecaster.judge_by(
            self.settings.library(), self.settings.library_rules(), patterns.first if patterns else None
        )

    def apply(self, series: Sequence[str], forecasts: Forecasts) -> None:
        """Clears flags that are not to be announced, and notes why (`Note.MAINTENANCE`, `Note.OVER_BUDGET`).

        Args:
            series: of every event.
            forecasts: of the events, overwritten.
        """
        if not (self._windows or self.settings.budget):
            return
        for at in np.flatnonzero(forecasts.flagged).tolist():
            ms = int(forecasts.origin_ms[at])
            if self.in_maintenance(series[at], ms):
                forecasts.notes[at] |= Note.MAINTENANCE
            elif not self._spend(ms):
                forecasts.notes[at] |= Note.OVER_BUDGET
            else:
                continue
            forecasts.flagged[at] = 0

    def in_maintenance(self, series: str, ms: int) -> bool:
        """Returns whether a series is in a maintenance window at an event time."""
        return any(patterns.first([series])[0] and window.has(ms) for patterns, window in self._windows)

    def _spend(self, ms: int) -> bool:
        """Counts a flag in the period of an event time; returns whether it is within the budget."""
        if not self.settings.budget:
            return True
        period = ms // round(self.settings.budget_period * 1000)
        count = self._used.pop(period, 0)
        self._used[period] = min(count + 1, self.settings.budget)
        if len(self._used) > PERIODS:
            del self._used[next(iter(self._used))]
        return count < self.settings.budget

    def state(self) -> list[tuple[int, int]]:
        """Returns the counts by period, those used last at the end."""
        return list(self._used.items())


def _windows_of(settings: AnomalySettings) -> list[tuple[SeriesPatterns, MaintenanceWindow]]:
    return [(SeriesPatterns([one.series]), one) for one in settings.maintenance]
