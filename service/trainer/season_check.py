"""Whether the seasons of the network are still those of the stream: looked at again with every training, and told.

A network has one list of seasons for all its series, in steps; it is a part of its shape, which a running daemon does
not change. So nothing is decided here: the answer goes into the decision, the log and a metric, with what to set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from forecaster import History, ModelConfig, calendar_interval, calendar_seasons, detect_seasons, on_grid

_MOST: Final = 3  # of a network
_ALL: Final = 16  # more than the calendar has
_CYCLES: Final = 7  # a history that is shorter neither shows a season nor rules it out: see `detect_seasons`
_SERIES: Final = 64  # spread over all; more would tell the same


@dataclass(frozen=True, slots=True)
class Seasons:
    """What a history says of seasons, lengths in steps.

    Attributes:
        network: that the network has.
        shown: that the history shows, beyond doubt.
        wanted: that a network should have: those shown, and of its own those that the history does not rule out.
    """

    network: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    wanted: tuple[int, ...] = ()

    @classmethod
    def of(cls, found: Mapping[str, Sequence[int]] | None) -> Self:
        """From JSON values; without them nothing is known."""
        return cls(*(tuple(int(s) for s in (found or {}).get(name, ())) for name in ("network", "shown", "wanted")))

    @property
    def differ(self) -> tuple[int, ...]:
        """Those that the network lacks, or has for nothing."""
        return tuple(sorted({*self.network} ^ {*self.wanted}))

    @property
    def setting(self) -> str:
        """What to set where they differ; with an empty data folder, as it is another network."""
        return f"model.seasons = {list(self.wanted)}"

    def told(self) -> str:
        """In words."""
        lists = [", ".join(map(str, some)) or "none" for some in (self.shown, self.network)]
        text = f"the history shows {lists[0]}, the network has {lists[1]}"
        return f"{text}: set {self.setting}, with a new state.data_dir" if self.differ else text

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `of`."""
        return {"network": list(self.network), "shown": list(self.shown), "wanted": list(self.wanted)}


def look(history: History, model: ModelConfig) -> Seasons:
    """Asks a history: a function of the two.

    Series of another interval than most have no say. A season that is none of the calendar's (minute, hour, day, week,
    year) can neither be shown nor ruled out, and stays.
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
