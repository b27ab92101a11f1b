"""The table of series: series id -> row, and all per-series state as arrays; one table per input partition.

    hidden   float32   hidden state of every layer, ring of recent values, means of older ones (profile.py), ring of
                       recent covariates, anomaly score (anomaly.py), ensemble (combine.py)
    stats    float64   level, scale, last value; level and scale of every covariate, then of every known-future one;
                       the anchor (anchor.py)
    counters int64     counters and times, see the column names below; those of time are explained in interval.py

Address space is reserved for `max_series` rows, and the operating system commits memory when a row is first touched:
growth copies nothing and causes no pause. When the table is full, the rows whose last event is the oldest in the
stream are evicted, a 64th of the table at a time; this is a function of the stream alone, so a replay evicts the same
series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forecaster.anomaly import anomaly_floats
from forecaster.features.counters import (
    BEFORE_TS,
    CADENCE,
    DOUBT,
    DOUBT_UNIT,
    EVENT,
    GAPS,
    INTERVAL,
    LAST_TS,
    LEARNT,
    LEARNT_UNIT,
    N_GAPS,
    NEVER,
    SERIAL,
)
from forecaster.features.interval import DOUBTS
from forecaster.features.step_inputs import LEVEL, N_BEHIND, N_STATISTICS
from forecaster.kernels.buffers import reserve
from forecaster.layout import WARM_STEPS, Layout
from forecaster.series_column import SeriesLookup
from forecaster.state.incremental import Mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forecaster.state.capture import Capture
    from forecaster.state.late_rows import LateRows

EVICT_SHARE = 64


class Table:
    """The state of up to `max_series` series. Kernels write into its arrays; only the table assigns rows.

    Attributes:
        index: series id -> row.
        hidden, stats, counters: the arrays, (max_series, columns).
        used: number of rows ever assigned (freed ones included).
        free: freed rows; the last one is assigned next.
        added_total: series ever added; a series' serial is its number in that order and never used again.
        evicted_total: series evicted since the table was made.
        removed_total: series evicted or forgotten since this object was made.
        names, rows: the index as two lists, which are only appended to, or replaced by new lists; see `relist`.
        captures: observers that are called before rows are written.
        changed, epoch: the write epoch in which each row was last written, (max_series,) uint32, and the current one.
        token: identifies the marks of this table.
        late: rings and checkpoints for late events, None where these are not put in their place.
    """

    def __init__(self, layout: Layout, max_series: int) -> None:
        covariates = len(layout.config.covariates)
        learns = layout.config.interval_ms == 0
        self.layout, self.max_series = layout, max_series
        self.ring_at = layout.state_floats
        self.covariate_ring_at = self.ring_at + layout.ring_floats
        self.anomaly_at = self.covariate_ring_at + WARM_STEPS * covariates
        self.ensemble_at = self.anomaly_at + anomaly_floats(layout.n_q)
        n_hidden = self.ensemble_at + layout.ensemble.floats
        self.hidden = reserve(max_series, -(-n_hidden // 16) * 16, np.float32)
        followed = covariates + len(layout.config.future_covariates)
        self.anchor_at = N_STATISTICS + 2 * followed
        self.stats = reserve(max_series, self.anchor_at + N_BEHIND, np.float64)
        self.counters = reserve(max_series, GAPS + (N_GAPS if learns else 1), np.int64)
        self.index: dict[str, int] = {}
        self._lookup = SeriesLookup(self.index)
        self.used = 0
        self.free: list[int] = []
        self.added_total = 0
        self.evicted_total = self.removed_total = 0
        self._stale = False  # the lists hold series that are no longer in the index
        self.names: list[str] = []
        self.rows: list[int] = []
        self.captures: list[Capture] = []
        self.changed = reserve(max_series, 1, np.uint32)[:, 0]
        self.epoch, self.token = 1, object()
        self.late: LateRows | None = None

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Returns all arrays that have a row per series."""
        return self.hidden, self.stats, self.counters

    @property
    def bytes_per_series(self) -> int:
        """Returns the bytes of array state per row; the index adds about a hundred for the id."""
        late = 0 if self.late is None else self.late.array.strides[0]
        return self.hidden.strides[0] + self.stats.strides[0] + self.counters.strides[0] + late

    @property
    def full(self) -> bool:
        """Returns whether the next new series needs an eviction first."""
        return not self.free and self.used == self.max_series

    def prepare_write(self, rows: NDArray[np.int64]) -> None:
        """Marks rows as changed and passes them to the captures; must be called before rows in use are written."""
        self.changed[rows] = self.epoch
        for capture in tuple(self.captures):  # a capture may be closed meanwhile
            capture.copy_rows(rows)

    def rows_of(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns the row of every series, shape (n,), -1 where it has none."""
        return self._lookup.slots(series)

    def add_to_index(self, series: str, row: int) -> None:
        """Adds a series to the index."""
        self.index[series] = row
        self.names.append(series)
        self.rows.append(row)

    def add(self, series: str) -> int:
        """Initialises a row for a new series and returns it. The table must not be full."""
        if self.free:
            row = self.free.pop()
            if self.captures:
                self.prepare_write(np.array([row]))
        else:
            row = self.used
            self.used += 1
        self.changed[row] = self.epoch
        self.hidden[row] = 0.0
        self.hidden[row, self.ring_at :] = np.nan
        self.stats[row] = 0.0
        self.stats[row, N_STATISTICS : self.anchor_at : 2] = np.nan  # nan: the level of a covariate is not known yet
        self.counters[row] = 0
        self.counters[row, INTERVAL] = self.layout.config.interval_ms
        self.counters[row, BEFORE_TS] = NEVER
        self.counters[row, CADENCE] = DOUBT * DOUBT_UNIT + (
            LEARNT * LEARNT_UNIT if self.layout.config.interval_ms else 0
        )
        self.counters[row, SERIAL] = self.added_total
        if self.late is not None:
            self.late.clear(row)
        self.added_total += 1
        self.add_to_index(series, row)
        return row

    def evict(self) -> list[str]:
        """Frees the rows with the oldest last events, a 64th of all rows, and returns their series."""
        count = max(1, self.max_series // EVICT_SHARE)
        rows = np.fromiter(self.index.values(), np.int64, len(self.index))
        names = list(self.index)
        last = self.counters[rows, EVENT]
        oldest = np.argsort(last, kind="stable")[:count]
        evicted = [names[i] for i in oldest]
        self.free.extend(int(rows[i]) for i in oldest[::-1])
        for name in evicted:
            del self.index[name]
        self._lookup.forget()
        self._stale = True
        self.evicted_total += count
        self.removed_total += count
        return evicted

    def forget(self, series: str) -> bool:
        """Clears the row of a series and frees it; returns False if the series has none."""
        row = self.index.pop(series, None)
        if row is None:
            return False
        self._lookup.forget()
        self.prepare_write(np.array([row]))
        for array in self.arrays:
            array[row] = 0
        if self.late is not None:
            self.late.clear(row)
        self.counters[row, SERIAL] = -1  # of no series
        self.free.append(row)
        self._stale = True
        self.removed_total += 1
        return True

    def relist(self) -> None:
        """Replaces the two lists of the index if they hold series that are no longer in it."""
        if self._stale:
            self.names, self.rows, self._stale = list(self.index), list(self.index.values()), False

    def mark(self, history_written: int) -> Mark:
        """Returns a mark of the present state and begins a new write epoch."""
        self.epoch += 1
        return Mark(self.token, self.epoch - 1, len(self.index), self.removed_total, history_written)

    def changed_since(self, mark: Mark) -> NDArray[np.int64]:
        """Returns the rows in use that were written since the mark, rising."""
        return np.flatnonzero(self.changed[: self.used] > mark.epoch)

    def accepted_ms(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns up to which time the events of each series were accepted; see `Forecaster.accepted_ms`."""
        found, counters = np.full(len(series), NEVER, np.int64), self.counters
        of = self.rows_of(series)
        at = np.flatnonzero(of >= 0)
        if len(at):
            rows = of[at]
            doubted = counters[rows, CADENCE] // DOUBT_UNIT & DOUBTS
            found[at] = np.where(doubted > 0, counters[rows, BEFORE_TS], counters[rows, LAST_TS])
        return found

    def levels(self) -> NDArray[np.float64]:
        """Returns the running level of every used row, for inspection."""
        levels: NDArray[np.float64] = self.stats[: self.used, LEVEL] + self.stats[: self.used, self.anchor_at]
        return levels
