"""Recent events of a bounded number of series: one ring buffer per series, written in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forecaster import tracked_horizons
from service.recent.series_history import Detail

if TYPE_CHECKING:
    from collections.abc import Mapping


class EventRings:
    """Arrays with one row per slot. The caller holds a lock.

    The memory is reserved once, and allocated by the operating system at the first write:
    slots x (events x (38 + 8 K Q) + 8 H Q) bytes for K tracked horizons, H steps and Q levels.

    Args:
        slots: number of series. events: per series.
        horizon: H. levels: of the quantiles.

    Attributes:
        tracked: horizons that are recorded with every event: 1, 2, 4, ... and H.
    """

    def __init__(self, slots: int, events: int, horizon: int, levels: tuple[float, ...]) -> None:
        self.slots, self.events, self.levels = slots, events, levels
        self.tracked = tracked = tracked_horizons(horizon)
        shape = slots, events
        self._columns: dict[str, NDArray[Any]] = {
            "timestamp_ms": np.zeros(shape, np.int64),
            "position": np.zeros(shape, np.int64),
            "step": np.zeros(shape, np.int64),
            "value": np.zeros(shape, np.float64),
            "anomaly": np.zeros(shape, np.float32),
            "flagged": np.zeros(shape, np.bool_),
            "quantiles": np.zeros((*shape, len(tracked), len(levels))),
        }
        self._latest = np.zeros((slots, horizon, len(levels)))
        self._interval, self._calendar = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
        self._written = np.zeros(slots, np.int64)
        self._answered = np.zeros(slots, np.bool_)
        self._picked = np.array(self.tracked, np.int64) - 1

    @property
    def bytes(self) -> int:
        """Bytes of all slots, used or not."""
        return sum(column.nbytes for column in self._columns.values()) + self._latest.nbytes

    @property
    def horizon(self) -> int:
        """Steps of a forecast."""
        return self._latest.shape[1]

    def clear(self, slot: int) -> None:
        """Clears a slot."""
        self._written[slot], self._interval[slot], self._answered[slot] = 0, 0, False

    def append(
        self,
        slots: NDArray[np.int64],
        events: NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
        forecasts: NDArray[np.floating] | None,
    ) -> None:
        """Appends events to their slots, overwriting the oldest ones.

        Args:
            slots: (n,) slot of every event, in the order of the stream.
            events: (n,) index of every event in the following arrays.
            columns: (m,) each: timestamp_ms, position, step, value, anomaly, flagged, interval_ms,
                calendar.
            forecasts: (m, H, Q) made at the events, or None where unknown.
        """
        by_slot = np.argsort(slots, kind="stable")
        where = slots[by_slot]
        first = np.flatnonzero(np.diff(where, prepend=-1))
        counts = np.diff(first, append=len(where))
        rank = np.arange(len(where)) - np.repeat(first, counts)
        at = (self._written[where] + rank) % self.events
        fits = rank >= np.repeat(counts, counts) - self.events
        picked, rows, at = events[by_slot[fits]], where[fits], at[fits]
        for name, ring in self._columns.items():
            if name != "quantiles":
                ring[rows, at] = columns[name][picked]
        kept = self._columns["quantiles"]
        if forecasts is None:
            kept[rows, at] = np.nan
        else:
            kept[rows, at] = forecasts[picked[:, None], self._picked]
        once = where[first]
        self._written[once] += counts
        if forecasts is not None:
            newest = events[by_slot[first + counts - 1]]
            self._latest[once] = forecasts[newest]
            self._interval[once] = columns["interval_ms"][newest]
            self._calendar[once] = columns["calendar"][newest]
            self._answered[once] = True

    def correct(
        self,
        slots: NDArray[np.int64],
        events: NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
        forecasts: NDArray[np.floating],
    ) -> None:
        """Replaces the forecast of the newest event of slots, each once, by that of a late event.

        Args:
            slots, events, columns, forecasts: as for `append`; the time and the value of the newest event stay.
        """
        used = self._answered[slots]
        slots, events = slots[used], events[used]
        at = (self._written[slots] - 1) % self.events
        self._columns["step"][slots, at] = columns["step"][events]
        self._columns["quantiles"][slots, at] = forecasts[events[:, None], self._picked]
        self._latest[slots], self._interval[slots] = forecasts[events], columns["interval_ms"][events]
        self._calendar[slots] = columns["calendar"][events]

    def detail(self, slot: int, partition: str, series: str, model: str) -> Detail:
        """Copies the content of a slot."""
        written = int(self._written[slot])
        used = min(written, self.events)
        order = (np.arange(written - used, written)) % self.events
        answered = bool(self._answered[slot])
        return Detail(
            partition=partition,
            series=series,
            tracked=self.tracked,
            levels=self.levels,
            latest=self._latest[slot].copy() if answered else None,
            interval_ms=int(self._interval[slot]),
            calendar=int(self._calendar[slot]) if answered else 0,
            model=model if answered else "",
            **{name: column[slot][order] for name, column in self._columns.items()},
        )

    def newest(self, slot: int) -> tuple[int, float, float] | None:
        """Returns time, value and anomaly score of the last event of a slot."""
        if not self._written[slot]:
            return None
        at = int(self._written[slot] - 1) % self.events
        column = self._columns
        return (
            int(column["timestamp_ms"][slot, at]),
            float(column["value"][slot, at]),
            float(column["anomaly"][slot, at]),
        )
