"""The rows of one partition, which every event updates: finds them, runs the kernel, and keeps what it observed.

rows     series -> row of the table; a new series gets a row, if necessary that of the longest silent one
kernel   one call for all events of a batch (observe/kernel.py), in order
after    steps of months, silences, and the history to learn from; late events where `late_within` is set
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Columns, Forecasts, Note, allocate_forecasts, columns, is_observed
from forecaster.config import AnomalyConfig, ModelConfig
from forecaster.ensemble.prior import first_prior
from forecaster.features.calendar import calendar_table
from forecaster.features.counters import INTERVAL, SERIAL
from forecaster.layout import kernel_weights
from forecaster.model import Model
from forecaster.observe import observe_kernel
from forecaster.observe.buffers import make_scratch
from forecaster.observe.forecast import LARGEST
from forecaster.observe.late_events import LateEvents, ObservedState
from forecaster.observe.row_rules import NumbersOf, RowRules
from forecaster.observe.series_scores import SeriesScorer
from forecaster.state.calendar_rows import CalendarWatch
from forecaster.state.history import History, HistoryRing
from forecaster.state.late_rows import LateRows
from forecaster.state.silence import SilenceWatch
from forecaster.state.table import Table


def limits(config: ModelConfig) -> tuple[float, float]:
    """Returns the least and the greatest value that a quantile may have."""
    low, high = config.clip or (-LARGEST, LARGEST)
    return max(low, 0.0) if config.non_negative else low, high


class ObservedRows:
    """The rows of one partition and the compiled function that updates them.

    Args:
        model: weights.
        max_series, history_events, late_within: see `Forecaster`.
        anomaly: which events to flag.

    Attributes:
        model: weights in use.
        table, calendars, silences, history: the state of the rows.
        row_rules: the anomaly rules of every row.
        prior: that of young series (ensemble/prior.py), overwritten by events.
        events_total: number of events observed.
        scorer: scores of the series, None where they are not kept.
    """

    def __init__(
        self, model: Model, max_series: int, history_events: int, anomaly: AnomalyConfig, late_within: int
    ) -> None:
        layout, config = model.layout, model.config
        self._ahead = len(config.future_covariates), config.horizon
        self._kernel = observe_kernel(layout)
        self._scratch = make_scratch(layout)
        self.use(model)
        self.prior = first_prior()
        self._calendar_table = calendar_table(config.timezone, config.holidays)
        self.table = table = Table(layout, max_series)
        self.row_rules = RowRules(max_series, anomaly, limits(config))
        self._rows = (  # the table in the form that the kernel takes
            table.hidden.reshape(-1), table.stats.reshape(-1), table.counters.reshape(-1), self.row_rules.offsets,
            table.hidden.shape[1], table.stats.shape[1], table.counters.shape[1],
        )  # fmt: skip
        self.calendars = CalendarWatch(table, config)
        self.silences = SilenceWatch(table, anomaly.silent_after, self.calendars, config.timezone)
        self.history = HistoryRing(history_events, len(config.covariates), self._ahead)
        self.events_total = 0
        self.scorer: SeriesScorer | None = None
        self._late = self._late_events(late_within) if late_within else None

    def _late_events(self, within: int) -> LateEvents:
        """Adds rings and checkpoints for late events to the table, and returns what observes them."""
        table, config = self.table, self.model.config
        late = table.late = LateRows(
            table.counters, table.stats, table.hidden, self.calendars.array, within, len(config.covariates),
            math.prod(self._ahead),
        )  # fmt: skip
        return LateEvents(config, ObservedState(table, self.calendars, self.history), late, self._observe_again,
                          self._run_in_order)  # fmt: skip

    def use(self, model: Model) -> None:
        """Replaces the weights, from the next event on."""
        self.model = model
        self._weights: NDArray[np.float32] = kernel_weights(model.layout, model.params)

    def judge_by(
        self, anomaly: AnomalyConfig, others: Sequence[AnomalyConfig] = (), number_of: NumbersOf | None = None
    ) -> None:
        """Replaces the anomaly settings, from the next event on, see `Forecaster.judge_by`."""
        self.row_rules.change(anomaly, others, number_of, self.table.index)
        self.silences.change(anomaly.silent_after)

    def observe(self, batch: Batch, forget: Sequence[tuple[int, str]]) -> Forecasts:
        """Observes events and forgets series, see `Forecaster.observe`; no series sets numbers of others."""
        taken = columns(batch, self.model.config)
        origins = taken[0] if self._late is None else taken[0].copy()
        out, start, n = allocate_forecasts(origins, self.model.config), 0, len(batch)
        rows = np.empty(n, np.int64)
        for at, name in forget:
            self._observe_part(batch, rows, taken, out, start, at)
            self.table.forget(name)
            start = at
        self._observe_part(batch, rows, taken, out, start, n)
        if self.scorer is not None:
            self.scorer.observe(rows, taken[1], out)
        return out

    def score_series(self) -> None:
        """Scores the 1-step-ahead forecasts of all series from the next event on; see series_scores.py."""
        if self.scorer is None:
            config = self.model.config
            self.scorer = SeriesScorer(self.table, config.quantiles, config.seasons)

    def _observe_part(
        self, batch: Batch, rows: NDArray[np.int64], taken: Columns, out: Forecasts, start: int, end: int
    ) -> None:
        """Observes events start..end-1: writes their rows to `rows`, adding rows of new series."""
        series, revises = batch.series, batch.revises
        names = series[start:end]
        rows[start:end] = self.table.rows_of(names)
        if start == end or rows[start:end].min() >= 0:  # usually every series has a row
            self._run(rows, taken, out, start, end, revises)
            return
        # Lazy: looks up after the additions before it.
        for i, row in enumerate(map(self.table.index.get, names), start):
            if row is None:
                name = series[i]
                if self.table.full:  # eviction depends on the events before this one, so observe them first
                    self._run(rows, taken, out, start, i, revises)
                    start = i
                    self.table.evict()
                row = self.table.add(name)
                self.row_rules.enter(name, row)
            rows[i] = row
        self._run(rows, taken, out, start, end, revises)

    def _run(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, start: int, end: int,
        revises: NDArray[np.bool_] | None,
    ) -> None:  # fmt: skip
        """Observes events start..end-1, whose rows are known."""
        if start == end:
            return
        if self._late is None:
            self._run_in_order(rows, taken, out, start, end, self.events_total + 1)
        else:
            self._late.observe(rows, taken, out, start, end, self.model.tag, self.events_total + 1, revises)
        self.events_total += end - start

    def _run_kernel(self, events: Any, outputs: Any, prior: NDArray[np.float64], first: int) -> None:
        """Runs the kernel; see `observe` in observe/kernel.py."""
        arguments = (
            self._kernel.numbers, self._weights, self._scratch, self._rows, events, outputs, self.row_rules.array,
            prior, self._calendar_table, first, self.model.tag,
        )  # fmt: skip
        self._kernel.select(arguments)(*arguments)

    def observe_rows(self, rows: NDArray[np.int64], taken: Columns) -> None:
        """Observes events of rows (n,) that exist, without returning forecasts; for a state that is built from others.

        `taken`: columns of the events.
        """
        out = allocate_forecasts(taken[0] if self._late is None else taken[0].copy(), self.model.config)
        self._run(np.ascontiguousarray(rows), taken, out, 0, len(rows), None)

    def _observe_again(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, robust: NDArray[np.float64]
    ) -> None:
        """Runs the kernel over events of the past, with a copy of the prior, which learns from a series once."""
        outputs = (
            out.status, out.interval_ms, out.steps, out.quantiles.reshape(-1), out.anomaly, out.flagged, robust,
            out.notes, out.noted_ms,
        )  # fmt: skip
        self._run_kernel((rows, *taken), outputs, self.prior.copy(), 0)

    def _run_in_order(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, start: int, end: int, first: int
    ) -> None:
        """Runs the kernel over events start..end-1 and appends them to the history.

        Event `start` is the `first`-th of the stream.
        """
        ts, value, cov, future = taken
        width, ahead = len(self.model.config.covariates), math.prod(self._ahead)
        status, interval, steps, quantiles = out.status, out.interval_ms, out.steps, out.quantiles
        anomaly, flagged, robust = out.anomaly, out.flagged, np.empty(end - start)
        notes, noted, calendar = out.notes, out.noted_ms, out.calendar
        if end - start < len(rows):
            part = slice(start, end)
            rows, ts, value, status, interval = rows[part], ts[part], value[part], status[part], interval[part]
            steps, quantiles, anomaly, flagged = steps[part], quantiles[part], anomaly[part], flagged[part]
            notes, noted, calendar = notes[part], noted[part], calendar[part]
            cov = cov[start * width : end * width] if width else cov
            future = future[start * ahead : end * ahead] if ahead else future
        self.table.prepare_write(rows)
        before = self.silences.before(rows)
        outputs = status, interval, steps, quantiles.reshape(-1), anomaly, flagged, robust, notes, noted
        self._run_kernel((rows, ts, value, cov, future), outputs, self.prior, first)
        self.calendars.after(rows, ts, status, interval, steps, calendar, (notes & Note.SAME_STEP) != 0)
        silences = self.silences.after(rows, ts, status, interval, steps, calendar, before, start)
        if silences:
            out.silences.extend(silences)
        if self.history.capacity:
            kept = np.flatnonzero(is_observed(status))
            value, robust = value[kept], robust[kept]
            self.history.append(
                series=self.table.counters[rows[kept], SERIAL],
                timestamp_ms=ts[kept],
                value=np.where(np.isnan(robust), np.nan, value),
                robust=robust,
                covariates=cov.reshape(-1, width)[kept] if width else np.zeros((len(kept), 0), np.float32),
                **({"future": future.reshape(-1, *self._ahead)[kept]} if ahead else {}),
            )

    def copy_row(self, other: ObservedRows, row: int, count: int) -> None:
        """Fills this empty state with `count` copies of a row of another one, as series "0", "1", ...

        Both have the same configuration.
        """
        for i in range(count):
            mine = self.table.add(str(i))
            for array, source in zip(self.table.arrays, other.table.arrays, strict=True):
                array[mine] = source[row]
            self.table.counters[mine, SERIAL] = i
        self.events_total = other.events_total
        self.prior[...] = other.prior

    def copied_history(self) -> History:
        """Returns the recent events of all series (copies)."""
        columns = self.history.ordered()
        counters, index = self.table.counters, self.table.index
        serials = {int(counters[row, SERIAL]): (name, int(counters[row, INTERVAL])) for name, row in index.items()}
        return History(
            columns["series"],
            columns["timestamp_ms"],
            columns["value"],
            columns["covariates"],
            names={serial: name for serial, (name, _) in serials.items()},
            intervals={serial: interval for serial, (_, interval) in serials.items()},
            future=columns.get("future"),
            robust=columns["robust"],
        )
