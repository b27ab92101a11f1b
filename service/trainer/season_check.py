"""Compares the seasons of the network with those of the training history, at every training.

A network has one list of seasons for all its series, in steps, as part of its shape. With `model.seasons = "auto"` a
training tries a network of the seasons that the history wants (candidates.py). A configured list is kept, and the
result is only reported: in the decision, the log and a metric, with the setting to change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from forecaster import History, ModelConfig, calendar_interval, calendar_seasons, detect_seasons, on_grid

_MOST: Final = 3  # of one network
_ALL: Final = 16  # more than the calendar has
_CYCLES: Final = 7  # a shorter history neither shows nor excludes a season, see `detect_seasons`
_SERIES: Final = 64  # evenly spread over all series; more would not change the result


@dataclass(frozen=True, slots=True)
class Seasons:
    """The seasons of a history, lengths in steps.

    Attributes:
        network: seasons of the network.
        shown: seasons that the history clearly shows.
        wanted: seasons that the network should have: those shown, and those of the network that the history does not
            exclude.
    """

    network: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    wanted: tuple[int, ...] = ()

    @classmethod
    def of(cls, found: Mapping[str, Sequence[int]] | None) -> Self:
        """Converts from JSON values; None gives empty lists."""
        return cls(*(tuple(int(s) for s in (found or {}).get(name, ())) for name in ("network", "shown", "wanted")))

    @property
    def differ(self) -> tuple[int, ...]:
        """Seasons that the network lacks, or has without need."""
        return tuple(sorted({*self.network} ^ {*self.wanted}))

    @property
    def setting(self) -> str:
        """The setting to change where they differ."""
        return f"model.seasons = {list(self.wanted)}"

    def description(self) -> str:
        """Formats the result as text."""
        possible = tuple(season for season in self.wanted if season not in self.shown)
        lists = [", ".join(map(str, some)) or "none" for some in (self.shown, self.network, possible)]
        text = f"the history clearly shows {lists[0]}, the network has {lists[1]}"
        if possible and self.differ:
            text += f" and may need {lists[2]}"
        return f'{text}: set {self.setting}, or "auto", which lets trainings try them' if self.differ else text

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `of`."""
        return {"network": list(self.network), "shown": list(self.shown), "wanted": list(self.wanted)}


def check_seasons(history: History, model: ModelConfig) -> Seasons:
    """Finds the seasons of a history, as a pure function.

    Series whose interval differs from the most common one are ignored. A season that is not a calendar period (minute,
    hour, day, week, year) can neither be shown nor excluded, and is kept.
    """
    intervals = Counter(history.intervals.values())
    intervals.pop(0, None)
    usual = max(intervals, key=lambda interval: (intervals[interval], interval), default=0)
    interval_ms = model.interval_ms or usual
    if not interval_ms:
        return Seasons(model.seasons, (), model.seasons)
    order = np.argsort(history.series, kind="stable")
    serials, begins = np.unique(history.series[order], return_index=True)
    ends = [*begins[1:].tolist(), len(order)]
    fitting = [
        order[begin:end]
        for serial, begin, end in zip(serials.tolist(), begins.tolist(), ends, strict=True)
        if history.intervals.get(serial, interval_ms) == interval_ms and end > begin + 1
    ]
    if len(fitting) > _SERIES:
        fitting = [fitting[i] for i in np.linspace(0, len(fitting) - 1, _SERIES).astype(int)]
    if fitting and not model.interval_ms:
        interval_ms = calendar_interval(history.timestamp_ms[fitting[0]], interval_ms, model.timezone)
    grids = [on_grid(history.timestamp_ms[at], history.value[at], interval_ms) for at in fitting]
    longest = max(map(len, grids), default=0)
    every = detect_seasons(grids, interval_ms, limit=_ALL)
    most = every if len(every) <= _MOST else detect_seasons(grids, interval_ms, limit=_MOST)
    shown = tuple(season for season in most if longest >= _CYCLES * season)
    judged = [season for season in calendar_seasons(interval_ms) if longest >= _CYCLES * season]
    own = [season for season in model.seasons if season not in shown and (season in every or season not in judged)]
    return Seasons(model.seasons, shown, tuple(sorted([*shown, *own][:_MOST])))
