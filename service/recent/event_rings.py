"""Recent events of a bounded number of series, a ring of columns each, written a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.recent.series_history import Detail

if TYPE_CHECKING:
    from collections.abc import Mapping


class EventRings:
    """Arrays with a row per place. Whoever holds them locks.

    The memory is reserved at once and taken by the operating system when it is first written:
    places x (events x (38 + 8 K Q) + 8 H Q) bytes for K tracked horizons, H steps and Q levels.

    Args:
        places: series at once. events: of each.
        horizon: H. levels: of the quantiles.

    Attributes:
        tracked: horizons that are remembered with every event: 1, 2, 4, ... and H.
    """

    def __init__(self, places: int, events: int, horizon: int, levels: tuple[float, ...]) -> None:
        self.places, self.events, self.levels = places, events, levels
        self.tracked = tracked = (*(1 << power for power in range((horizon - 1).bit_length())), horizon)
        shape = places, events
        self._columns: dict[str, NDArray[Any]] = {
            "timestamp_ms": np.zeros(shape, np.int64),
            "position": np.zeros(shape, np.int64),
            "step": np.zeros(shape, np.int64),
            "value": np.zeros(shape, np.float64),
            "anomaly": np.zeros(shape, np.float32),
            "flagged": np.zeros(shape, np.bool_),
            "quantiles": np.zeros((*shape, len(tracked), len(levels))),
        }
        self._latest = np.zeros((places, horizon, len(levels)))
        self._interval, self._calendar = np.zeros(places, np.int64), np.zeros(places, np.int64)
        self._written = np.zeros(places, np.int64)
        self._answered = np.zeros(places, np.bool_)
        self._picked = np.array(self.tracked, np.int64) - 1

    @property
    def bytes(self) -> int:
        """Of all places, used or not."""
        return sum(column.nbytes for column in self._columns.values()) + self._latest.nbytes

    @property
    def horizon(self) -> int:
        """Steps of a forecast."""
        return self._latest.shape[1]

    def clear(self, place: int) -> None:
        """Empties a place."""
        self._written[place], self._interval[place], self._answered[place] = 0, 0, False

    def append(
        self,
        places: NDArray[np.int64],
        events: NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
        forecasts: NDArray[np.floating] | None,
    ) -> None:
        """Writes events behind the others of their places, over the oldest.

        Args:
            places: (n,) of every event, in the order of the stream.
            events: (n,) index of every event in what follows.
            columns: (m,) each: timestamp_ms, position, step, value, anomaly, flagged, interval_ms,
                calendar.
            forecasts: (m, H, Q) made at the events, or None where that is not known.
        """
        by_place = np.argsort(places, kind="stable")
        where = places[by_place]
        first = np.flatnonzero(np.diff(where, prepend=-1))
        counts = np.diff(first, append=len(where))
        rank = np.arange(len(where)) - np.repeat(first, counts)
        slot = (self._written[where] + rank) % self.events
        fits = rank >= np.repeat(counts, counts) - self.events
        picked, rows, slot = events[by_place[fits]], where[fits], slot[fits]
        for name, ring in self._columns.items():
            if name != "quantiles":
                ring[rows, slot] = columns[name][picked]
        kept = self._columns["quantiles"]
        if forecasts is None:
            kept[rows, slot] = np.nan
        else:
            kept[rows, slot] = forecasts[picked[:, None], self._picked]
        once = where[first]
        self._written[once] += counts
        if forecasts is not None:
            newest = events[by_place[first + counts - 1]]
            self._latest[once] = forecasts[newest]
            self._interval[once] = columns["interval_ms"][newest]
            self._calendar[once] = columns["calendar"][newest]
            self._answered[once] = True

    def detail(self, place: int, partition: str, series: str, model: str) -> Detail:
        """Copies of what a place holds."""
        written = int(self._written[place])
        used = min(written, self.events)
        order = (np.arange(written - used, written)) % self.events
        answered = bool(self._answered[place])
        return Detail(
            partition=partition,
            series=series,
            tracked=self.tracked,
            levels=self.levels,
            latest=self._latest[place].copy() if answered else None,
            interval_ms=int(self._interval[place]),
            calendar=int(self._calendar[place]) if answered else 0,
            model=model if answered else "",
            **{name: column[place][order] for name, column in self._columns.items()},
        )

    def newest(self, place: int) -> tuple[int, float, float] | None:
        """Time, value and anomaly score of the last event of a place."""
        if not self._written[place]:
            return None
        at = int(self._written[place] - 1) % self.events
        column = self._columns
        return (
            int(column["timestamp_ms"][place, at]),
            float(column["value"][place, at]),
            float(column["anomaly"][place, at]),
        )
