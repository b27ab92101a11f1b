"""The recent events of all series in one ring buffer of columns: the training data.

The ring holds the newest `capacity` events of the partition, whatever the number of series. It is a function of the
stream and part of the state, and therefore of the snapshot that the trainer reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import CheckpointError
from forecaster.features.counters import INTERVAL, SERIAL
from forecaster.kernels.buffers import reserve
from forecaster.state.checkpoint import checked
from forecaster.state.incremental import HISTORY, ROWS, column, names_of

BLOCK: Final = 256  # events whose changes are noted together
_NEEDED: Final = {"whole", "rows", "names", "name_ends", ROWS, f"{ROWS}.whole"}


@dataclass(frozen=True)
class History:
    """Events in the order of the stream, without duplicate and late ones.

    Attributes:
        series: (n,) int64, serial number of the series, never reused.
        timestamp_ms: (n,) int64.
        value: (n,) float64, nan where missing.
        covariates: (n, C) float32, nan where missing.
        future: (n, F, horizon) float32, known future values of each event, nan where missing; None without any.
        names: serial -> identifier, for the series that still have a row.
        intervals: serial -> milliseconds between steps, for the same series.
        robust: (n,) float64, the values that lag inputs read; None: `value`.
    """

    series: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    covariates: NDArray[np.float32]
    names: dict[int, str] = field(default_factory=dict)
    intervals: dict[int, int] = field(default_factory=dict)
    future: NDArray[np.float32] | None = None
    robust: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Returns the number of events."""
        return len(self.series)

    @staticmethod
    def needs(name: str) -> bool:
        """Returns whether `of_state` reads the array called `name` of a state."""
        return name.startswith("history.") or name in _NEEDED

    @staticmethod
    def of_state(arrays: dict[str, NDArray[Any]], header: dict[str, Any], events: int) -> History:
        """Returns the recent events of a state, equal to `Forecaster.from_state(...).history()`, without its rows.

        Args:
            arrays: from `Forecaster.state`, at least those for which `needs` is true.
            header: from `Forecaster.header`.
            events: maximum number of events; the newest are returned.

        Raises:
            CheckpointError: state and header do not belong together.
        """
        with checked("the state"):
            written, capacity = int(header["history_written"]), int(header["history_capacity"])
            start = written % capacity if capacity and written >= capacity else 0
            columns = {name: arrays[f"history.{name}"] for name in HISTORY}
            used = len(columns["series"])
            order = (np.arange(max(0, used - events), used) + start) % max(1, used)
            rows = arrays["rows"]
            serials, intervals = (column(arrays, "whole", rows, index).tolist() for index in (SERIAL, INTERVAL))
            names = names_of(arrays)
            return History(
                columns["series"][order],
                columns["timestamp_ms"][order],
                columns["value"][order],
                columns["covariates"][order],
                names=dict(zip(serials, names, strict=True)),
                intervals=dict(zip(serials, intervals, strict=True)),
                future=arrays["history.future"][order] if "history.future" in arrays else None,
                robust=columns["robust"][order],
            )

    @staticmethod
    def merged(parts: list[History]) -> History:
        """Concatenates `parts`, histories of several partitions; serials are renumbered so that they do not collide."""
        if len(parts) == 1:
            return parts[0]
        series: list[NDArray[np.int64]] = []
        names: dict[int, str] = {}
        intervals: dict[int, int] = {}
        base = 0
        for part in parts:
            series.append(part.series + base)
            names |= {serial + base: name for serial, name in part.names.items()}
            intervals |= {serial + base: interval for serial, interval in part.intervals.items()}
            base += 1 + max(int(part.series.max(initial=0)), max(part.names, default=0))
        return History(
            np.concatenate(series),
            np.concatenate([part.timestamp_ms for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.covariates for part in parts]),
            names,
            intervals,
            None if parts[0].future is None else np.concatenate([p.future for p in parts if p.future is not None]),
            np.concatenate([part.value if part.robust is None else part.robust for part in parts]),
        )


class HistoryRing:
    """Ring buffer of events; `written` counts the events written, the next one is written at `written % capacity`.

    Args:
        capacity: number of events held.
        covariates: number of covariates per event.
        future: number of known future covariates per event, and number of steps; 4 bytes per value.
    """

    def __init__(self, capacity: int, covariates: int, future: tuple[int, int] = (0, 0)) -> None:
        self.capacity, self.written = capacity, 0
        self.columns: dict[str, NDArray[Any]] = {
            "series": reserve(capacity, 1, np.int64)[:, 0],
            "timestamp_ms": reserve(capacity, 1, np.int64)[:, 0],
            "value": reserve(capacity, 1, np.float64)[:, 0],
            "robust": reserve(capacity, 1, np.float64)[:, 0],
            "covariates": reserve(capacity, covariates, np.float32),
        }
        if math.prod(future):
            self.columns["future"] = reserve(capacity, math.prod(future), np.float32).reshape(capacity, *future)
        # Write epoch in which events of a block were replaced: blocks of the order of the stream, in a ring.
        self._replaced = np.zeros(-(-capacity // BLOCK) + 1, np.uint32)

    def append(self, **columns: NDArray[Any]) -> None:
        """Appends events; they overwrite the oldest ones."""
        n = len(columns["series"])
        keep = min(n, self.capacity)
        if keep == 0:
            self.written += n
            return
        at = (self.written + n - keep) % self.capacity
        first = min(keep, self.capacity - at)
        for name, ring in self.columns.items():
            newest = columns[name][n - keep :]
            ring[at : at + first] = newest[:first]
            ring[: keep - first] = newest[first:]
        self.written += n

    def replace(self, slots: NDArray[np.int64], columns: dict[str, NDArray[Any]], epoch: int) -> None:
        """Replaces events.

        Args:
            slots: (m,) numbers of the events in the order of the stream, from 0 on; those not held are left out.
            columns: the new events.
            epoch: write epoch of the table.
        """
        held = slots >= max(0, self.written - self.capacity)
        places = slots[held] % max(1, self.capacity)
        for name, ring in self.columns.items():
            ring[places] = columns[name][held]
        self._replaced[slots[held] // BLOCK % len(self._replaced)] = epoch

    def first_changed(self, written: int, epoch: int) -> int:
        """Returns an event before which none was written after the first `written`, or replaced after a write epoch."""
        changed = np.flatnonzero(self._replaced > epoch)
        if not len(changed):
            return written
        newest = (self.written - 1) // BLOCK
        return max(0, min(written, BLOCK * int((newest - (newest - changed) % len(self._replaced)).min())))

    def view(self) -> dict[str, NDArray[Any]]:
        """Returns the used part of every column, in the order of the ring (views)."""
        used = min(self.written, self.capacity)
        return {name: ring[:used] for name, ring in self.columns.items()}

    def since(self, written: int) -> dict[str, NDArray[Any]] | None:
        """Returns the events after the first `written`, in stream order (copies); None if not all are held."""
        count = self.written - written
        if not 0 <= count < max(1, self.capacity):
            return None
        at = written % max(1, self.capacity)
        first = min(count, self.capacity - at)
        return {
            name: np.concatenate((ring[at : at + first], ring[: count - first])) for name, ring in self.columns.items()
        }

    def restore(self, columns: dict[str, NDArray[Any]], written: int, capacity: int) -> None:
        """Restores the columns that `view` of a ring of `capacity` returned; if not all events fit, the newest.

        Raises:
            CheckpointError: the columns are not those of such a ring.
        """
        for name, mine in self.columns.items():
            got, expected = columns[name], (min(written, capacity), *mine.shape[1:])
            if got.dtype != mine.dtype or got.shape != expected:
                msg = f"history.{name}: got {got.dtype} {got.shape}, expected {mine.dtype} {expected}"
                raise CheckpointError(msg)
        if capacity == self.capacity:
            self.written = written
            for name, column in self.view().items():
                column[...] = columns[name]
            return
        start = written % capacity if capacity and written >= capacity else 0
        self.written = 0  # restarts the count: events that the other ring had overwritten are not here either
        self.append(**{name: np.roll(column, -start, axis=0) for name, column in columns.items()})

    def ordered(self) -> dict[str, NDArray[Any]]:
        """Returns every column in stream order (copies)."""
        used = min(self.written, self.capacity)
        start = self.written % self.capacity if used and used == self.capacity else 0
        return {name: np.roll(ring[:used], -start, axis=0) for name, ring in self.columns.items()}
