"""The stateful forecaster: the rows of one partition, their history, and the weights in use.

    f = Forecaster(ModelConfig(horizon=24, seasons=(24,)))
    forecasts = f.observe(Batch(["a"], np.array([t]), np.array([3.5])))

The same events in the same order give bit-identical forecasts, however they are batched and whether or not the object
is saved and loaded in between. It uses no clock and no threads, and is not safe for use from two threads at once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.anomaly import rules
from forecaster.batch import (
    Batch,
    Columns,
    Forecasts,
    Note,
    Status,
    allocate_forecasts,
    columns,
    empty_forecasts,
    is_observed,
)
from forecaster.config import AnomalyConfig, ModelConfig, TrainConfig
from forecaster.ensemble.prior import first_prior, prior_from
from forecaster.errors import BatchError, CheckpointError, ConfigError
from forecaster.features.broadcast import Broadcast
from forecaster.features.calendar import calendar_table
from forecaster.features.counters import INTERVAL, SERIAL
from forecaster.late_events import LateEvents, ObservedState
from forecaster.layout import kernel_weights
from forecaster.model import Model, model_from
from forecaster.observe import observe_kernel
from forecaster.observe.buffers import make_scratch
from forecaster.observe.forecast import LARGEST
from forecaster.pretrained.start import start_model
from forecaster.state.arrays import capture, change_share, count_of, counts, restore_arrays, views
from forecaster.state.calendar_rows import CalendarWatch
from forecaster.state.capture import Capture
from forecaster.state.checkpoint import checked, read_checkpoint, write_checkpoint
from forecaster.state.history import History, HistoryRing
from forecaster.state.incremental import Mark
from forecaster.state.late_rows import MOST_STEPS, LateRows
from forecaster.state.silence import SilenceWatch
from forecaster.state.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from forecaster.training.loop import FitReport, Progress

KIND = "forecaster"
# Settings that must agree for new weights under a running state: all but those of the initial weights.
_STATE_FIELDS = (
    "cell", "hidden_size", "layers", "head", "head_size", "horizon", "quantiles", "seasons", "interval_ms",
    "interval_months", "calendar", "timezone", "holidays", "clip", "non_negative", "covariates", "future_covariates",
    "max_gap", "mixture",
)  # fmt: skip


def limits(config: ModelConfig) -> tuple[float, float]:
    """Returns the least and the greatest value that a quantile may have."""
    low, high = config.clip or (-LARGEST, LARGEST)
    return max(low, 0.0) if config.non_negative else low, high


class Forecaster:
    """Forecasts from every event of many interleaved series.

    Args:
        model: weights, or a configuration (then those of `start_model`).
        max_series: series held at once; beyond it the longest silent ones are evicted.
        history_events: recent events kept to learn from.
        anomaly: which events to flag.
        broadcast: series whose events set covariates and known future values of all others; "" for none.
        late_within: steps of its series within which a late event is put in its place (late_events.py); 0: late events
            are ignored.

    Raises:
        ConfigError: a bound is not met, or known future values are to be broadcast and no interval is configured.
    """

    def __init__(
        self,
        model: Model | ModelConfig,
        *,
        max_series: int = 100_000,
        history_events: int = 500_000,
        anomaly: AnomalyConfig | None = None,
        broadcast: str = "",
        late_within: int = 0,
    ) -> None:
        if max_series < 1:
            raise ConfigError("max_series", max_series, "at least 1")
        if history_events < 0:
            raise ConfigError("history_events", history_events, "0 (no training) or more")
        if not 0 <= late_within <= MOST_STEPS:
            raise ConfigError("late_within", late_within, f"0 (late events are ignored) to {MOST_STEPS} steps")
        model = model if isinstance(model, Model) else start_model(model)
        layout = model.layout
        self._model = model
        self._weights: NDArray[np.float32] = kernel_weights(layout, model.params)
        self._kernel = observe_kernel(layout)
        self._scratch = make_scratch(layout)
        self._prior = first_prior()
        self.anomaly = anomaly or AnomalyConfig()
        self._rules = np.array([*rules(self.anomaly), *limits(layout.config)])
        self._calendar_table = calendar_table(layout.config.timezone, layout.config.holidays)
        config = layout.config
        self._ahead = len(config.future_covariates), config.horizon
        if broadcast and config.future_covariates and not config.interval_ms:
            raise ConfigError("interval_ms", 0, "the time between two steps, by which broadcast lists are shifted")
        self._broadcast = Broadcast(broadcast, len(config.covariates), self._ahead, config.interval_ms)
        self._table = table = Table(layout, max_series)
        self._rows = (  # the table in the form that the kernel takes
            table.hidden.reshape(-1), table.stats.reshape(-1), table.counters.reshape(-1),
            table.hidden.shape[1], table.stats.shape[1], table.counters.shape[1],
        )  # fmt: skip
        self._calendars = CalendarWatch(self._table, config)
        self._watch = SilenceWatch(self._table, self.anomaly.silent_after, self._calendars, config.timezone)
        self._history = HistoryRing(history_events, len(config.covariates), self._ahead)
        self.events_total = 0
        self._late = self._late_events(late_within) if late_within else None

    def _late_events(self, within: int) -> LateEvents:
        """Adds rings and checkpoints for late events to the table, and returns what observes them."""
        table, config = self._table, self.config
        late = table.late = LateRows(
            table.counters, table.stats, table.hidden, self._calendars.array, within, len(config.covariates),
            math.prod(self._ahead),
        )  # fmt: skip
        return LateEvents(config, ObservedState(table, self._calendars, self._history), late, self._observe_again,
                          self._run_in_order)  # fmt: skip

    @property
    def late_within(self) -> int:
        """Steps within which a late event is put in its place."""
        return 0 if self._table.late is None else self._table.late.within

    @property
    def model(self) -> Model:
        """The weights in use."""
        return self._model

    @property
    def config(self) -> ModelConfig:
        """Configuration of the network."""
        return self._model.config

    @property
    def series(self) -> list[str]:
        """Identifiers of the series that have a row, in the order of their first event."""
        return list(self._table.index)

    @property
    def series_count(self) -> int:
        """Number of series that have a row."""
        return len(self._table.index)

    @property
    def evicted_total(self) -> int:
        """Number of series evicted so far."""
        return self._table.evicted_total

    @property
    def broadcast(self) -> str:
        """The series whose events set the covariates of all others, or ""."""
        return self._broadcast.series

    @property
    def max_series(self) -> int:
        """Series held at once."""
        return self._table.max_series

    @property
    def history_events(self) -> int:
        """Recent events kept to learn from."""
        return self._history.capacity

    @property
    def bytes_per_series(self) -> int:
        """Bytes of state per series, without its identifier and the shared history."""
        return self._table.bytes_per_series

    @property
    def state_bytes(self) -> int:
        """Bytes of state of all rows in use."""
        return self._table.used * self._table.bytes_per_series

    def judge_by(self, anomaly: AnomalyConfig) -> None:
        """Replaces the anomaly settings, which flag events and detect silent series, from the next event on.

        Learnt tails and past flags are kept; silence detection that was off starts with the next events.
        """
        self.anomaly = anomaly
        self._rules[: len(self._rules) - 2] = rules(anomaly)
        self._watch.change(anomaly.silent_after)

    def adopt(self, model: Model) -> None:
        """Replaces the weights from the next event on; every row re-encodes its own ring at its next event.

        Raises:
            ConfigError: the model does not fit the state (another cell, size, season...), each field named.
        """
        for name in _STATE_FIELDS:
            mine, other = getattr(self.config, name), getattr(model.config, name)
            if mine != other:
                expected = f"{mine!r} as in the running state; start with an empty state to change it"
                raise ConfigError(name, other, expected)
        self._model = model
        self._weights = kernel_weights(model.layout, model.params)

    def observe(self, batch: Batch, forget: Sequence[tuple[int, str]] = ()) -> Forecasts:
        """Observes events, in order, and forecasts from each.

        Args:
            batch: events; new series get a row.
            forget: series to forget, each with the index of the event before which that happens (the number of
                events: after the last), by rising index. See `forget`.

        Returns:
            One row per event.

        Raises:
            BatchError: the columns do not fit each other or the model; no event was observed.
        """
        if self._broadcast.series:
            return self._observe_others(batch, forget)
        return self._observe(batch, forget)

    def forget(self, series: Iterable[str]) -> int:
        """Forgets series: clears and frees their rows; the next event of such a series starts it anew.

        Their past events stay in the history until newer ones overwrite them.

        Returns:
            The number of them that had a row.
        """
        return sum(map(self._table.forget, series))

    def _observe_others(self, batch: Batch, forget: Sequence[tuple[int, str]]) -> Forecasts:
        """Applies broadcast events, observes the others, and returns forecasts in the order of the batch."""
        ts, _, cov, future = columns(batch, self.config)  # the whole batch is checked before any event is observed
        n, width = len(batch), len(self.config.covariates)
        cov, future = cov[: n * width].reshape(n, width), future[: n * math.prod(self._ahead)].reshape(n, *self._ahead)
        others, filled, ahead = self._broadcast.fill(batch.series, ts, cov, future)
        part = replace(
            batch if len(others) == n else batch.taken(others),
            covariates=filled if width else None,
            future=ahead if self._ahead[0] else None,
        )
        found = self._observe(part, [(int(np.searchsorted(others, at)), name) for at, name in forget])
        if len(others) == n:
            return found
        out = empty_forecasts(ts.copy(), self.config)
        out.status[...] = Status.BROADCAST
        names = (
            "status", "origin_ms", "interval_ms", "steps", "quantiles", "anomaly", "flagged", "calendar", "notes",
            "noted_ms",
        )  # fmt: skip
        for name in names:
            getattr(out, name)[others] = getattr(found, name)
        out.silences.extend(replace(silence, event=int(others[silence.event])) for silence in found.silences)
        return out

    def _observe(self, batch: Batch, forget: Sequence[tuple[int, str]]) -> Forecasts:
        taken = columns(batch, self.config)
        origins = taken[0] if self._late is None else taken[0].copy()
        out, start, n = allocate_forecasts(origins, self.config), 0, len(batch)
        rows = np.empty(n, np.int64)
        for at, name in forget:
            self._observe_part(batch, rows, taken, out, start, at)
            self._table.forget(name)
            start = at
        self._observe_part(batch, rows, taken, out, start, n)
        return out

    def _observe_part(
        self, batch: Batch, rows: NDArray[np.int64], taken: Columns, out: Forecasts, start: int, end: int
    ) -> None:
        """Observes events start..end-1: writes their rows to `rows`, adding rows of new series."""
        series, revises = batch.series, batch.revises
        names, index = series[start:end], self._table.index
        try:  # usually every series has a row
            rows[start:end] = np.fromiter(map(index.__getitem__, names), np.int64, end - start)
        except KeyError:
            pass
        else:
            self._run(rows, taken, out, start, end, revises)
            return
        for i, row in enumerate(map(index.get, names), start):  # lazy: looks up after the additions before it
            if row is None:
                name = series[i]
                if self._table.full:  # eviction depends on the events before this one, so observe them first
                    self._run(rows, taken, out, start, i, revises)
                    start = i
                    self._table.evict()
                row = self._table.add(name)
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
            self._late.observe(rows, taken, out, start, end, self._model.tag, self.events_total + 1, revises)
        self.events_total += end - start

    def _run_kernel(self, events: Any, outputs: Any, prior: NDArray[np.float64], first: int) -> None:
        """Runs the kernel; see `observe` in observe/kernel.py."""
        self._kernel(
            self._weights, self._scratch, self._rows, events, outputs, self._rules, prior, self._calendar_table, first,
            self._model.tag,
        )  # fmt: skip

    def _observe_again(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, robust: NDArray[np.float64]
    ) -> None:
        """Runs the kernel over events of the past, with a copy of the prior, which learns from a series once."""
        outputs = (
            out.status, out.interval_ms, out.steps, out.quantiles.reshape(-1), out.anomaly, out.flagged, robust,
            out.notes, out.noted_ms,
        )  # fmt: skip
        self._run_kernel((rows, *taken), outputs, self._prior.copy(), 0)

    def _run_in_order(
        self, rows: NDArray[np.int64], taken: Columns, out: Forecasts, start: int, end: int, first: int
    ) -> None:
        """Runs the kernel over events start..end-1 and appends them to the history.

        Event `start` is the `first`-th of the stream.
        """
        ts, value, cov, future = taken
        width, ahead = len(self.config.covariates), math.prod(self._ahead)
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
        self._table.prepare_write(rows)
        before = self._watch.before(rows)
        outputs = status, interval, steps, quantiles.reshape(-1), anomaly, flagged, robust, notes, noted
        self._run_kernel((rows, ts, value, cov, future), outputs, self._prior, first)
        self._calendars.after(rows, ts, status, interval, steps, calendar, (notes & Note.SAME_STEP) != 0)
        silences = self._watch.after(rows, ts, status, interval, steps, calendar, before, start)
        if silences:
            out.silences.extend(silences)
        if self._history.capacity:
            kept = np.flatnonzero(is_observed(status))
            value, robust = value[kept], robust[kept]
            self._history.append(
                series=self._table.counters[rows[kept], SERIAL],
                timestamp_ms=ts[kept],
                value=np.where(np.isnan(robust), np.nan, value),
                robust=robust,
                covariates=cov.reshape(-1, width)[kept] if width else np.zeros((len(kept), 0), np.float32),
                **({"future": future.reshape(-1, *self._ahead)[kept]} if ahead else {}),
            )

    def history(self) -> History:
        """Returns the recent events of all series (copies)."""
        columns = self._history.ordered()
        counters, index = self._table.counters, self._table.index
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

    def fit(self, train: TrainConfig | None = None, progress: Callable[[Progress], None] | None = None) -> FitReport:
        """Trains on the forecaster's history, starting from the weights in use, and adopts the result.

        Raises:
            TrainingError: too little history.
        """
        from forecaster.training.loop import fit  # noqa: PLC0415 - training is loaded only where it is used

        report = fit(self.history(), self._model, train or TrainConfig(), progress)
        self.adopt(report.model)
        return report

    def copies(self, series: str, count: int) -> Self:
        """Returns a new forecaster, without history, whose series "0", "1", ... are copies of the state of `series`.

        Raises:
            BatchError: the series has no row.
        """
        if series not in self._table.index:
            msg = f"series: got {series!r}, expected one that has been observed and not been evicted"
            raise BatchError(msg)
        twin = type(self)(self._model, max_series=count, history_events=0)
        twin._copy_row(self._table, self._table.index[series], count)  # noqa: SLF001 - of the same class
        twin.events_total = self.events_total
        twin._prior[...] = self._prior  # noqa: SLF001 - of the same class
        return twin

    def _copy_row(self, table: Table, source: int, count: int) -> None:
        """Fills the empty table with `count` copies of a row of another table."""
        for i in range(count):
            row = self._table.add(str(i))
            for other, mine in zip(table.arrays, self._table.arrays, strict=True):
                mine[row] = other[source]
            self._table.counters[row, SERIAL] = i

    def header(self) -> dict[str, Any]:
        """Returns the JSON-able metadata that belong to `state()`."""
        late = {"late_within": self.late_within} if self.late_within else {}
        return late | {
            "config": self.config.to_dict(),
            "model_sha256": self._model.sha256,
            "events_total": self.events_total,
            **self._watch.header(),
            "prior": [number.hex() for number in self._prior.tolist()],
            **self._broadcast.header(),
            **counts(self._table, self._history),
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns all state as arrays. Large ones are VIEWS of live memory: copy them before the next `observe`."""
        return views(self._table, self._history) | self._calendars.state()

    def capture(self, lock: AbstractContextManager[Any], since: Mark | None = None) -> Capture:
        """Captures the present state for another thread to read block by block while this one observes further events.

        Args:
            lock: shared by the two threads, e.g. a `threading.Lock`.
            since: `mark` of an earlier capture of this forecaster; only changes since then are captured.

        Returns:
            What `state` and `header` return now, or the changes (incremental.py). It costs memory and time until it
            is closed.

        Raises:
            ValueError: the mark is of another forecaster.
        """
        return capture(self._table, self._history, self.header(), lock, since, self._calendars.state())

    def change_share(self, since: Mark) -> float:
        """Estimates the size of an incremental snapshot since a mark as a share of a full one, from 0 to 1.

        It is 1 where the mark is of another forecaster.
        """
        return change_share(self._table, self._history, since)

    @classmethod
    def from_state(
        cls,
        arrays: dict[str, NDArray[Any]],
        header: dict[str, Any],
        model: Model,
        *,
        max_series: int = 100_000,
        history_events: int = 500_000,
        anomaly: AnomalyConfig | None = None,
        broadcast: str = "",
        late_within: int = 0,
    ) -> Self:
        """Restores a forecaster from `state` and `header`; it continues bit for bit where they were taken.

        Args:
            arrays: as returned by `state`, or with changes applied to them; copied.
            header: as returned by `header`.
            model: the model named in the header.
            max_series: may be raised, not lowered below the rows in use.
            history_events: may change; the newest events that fit are kept.
            anomaly: may change.
            broadcast: may change; values broadcast so far stay in effect.
            late_within: may change; then no event is put in its place before those observed so far.

        Raises:
            CheckpointError: state, header and model do not belong together, or do not fit the limits.
        """
        self = cls(
            model, max_series=max_series, history_events=history_events, anomaly=anomaly, broadcast=broadcast,
            late_within=late_within,
        )  # fmt: skip
        with checked("the state"):
            if header["model_sha256"] != model.sha256:
                made, got = header["model_sha256"][:12], model.sha256[:12]
                msg = f"the state does not fit: made with model {made}, got model {got}"
                raise CheckpointError(msg)
            restore_arrays(self._table, self._history, arrays, header)
            self.events_total = count_of(header, "events_total")
            self._calendars.restore(arrays)
            self._watch.restore(header)
            self._prior[...] = prior_from(header["prior"])
            self._broadcast.restore(header)
        return self

    def save(self, path: Path | str) -> None:
        """Writes model and state into one file, atomically.

        Raises:
            OSError: the file could not be written.
        """
        tensors = {f"model.{name}": np.array(v) for name, v in self._model.layout.views(self._model.params).items()}
        arrays = {f"state.{name}": array for name, array in self.state().items()}
        chosen = {"max_series": self._table.max_series, "anomaly": self.anomaly.to_dict()}
        chosen["broadcast_series"] = self._broadcast.series
        write_checkpoint(path, tensors | arrays, self.header() | chosen, KIND)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Restores a forecaster from a file that `save` wrote.

        Raises:
            CheckpointError: the file is damaged, of another kind or version, or inconsistent.
        """
        arrays, header = read_checkpoint(path, KIND)
        parts: dict[str, dict[str, NDArray[Any]]] = {"model": {}, "state": {}}
        for name, array in arrays.items():
            kind, _, rest = name.partition(".")
            parts.setdefault(kind, {})[rest] = array
        with checked(str(path)):
            return cls.from_state(
                parts["state"],
                header,
                model_from(parts["model"], header["config"], str(path)),
                max_series=int(header["max_series"]),
                history_events=int(header["history_capacity"]),
                anomaly=AnomalyConfig.from_dict(header.get("anomaly", {})),
                broadcast=str(header.get("broadcast_series", "")),
                late_within=int(header.get("late_within", 0)),
            )

    def row_of(self, series: str) -> int | None:
        """Returns the row of a series, or None."""
        return self._table.index.get(series)

    def known(self, series: Sequence[str]) -> list[bool]:
        """Returns which of the series have a row."""
        return [name in self._table.index for name in series]
