"""The stateful forecaster: the rows of one partition, their history, and the weights in use.

    f = Forecaster(ModelConfig(horizon=24, seasons=(24,)))
    forecasts = f.observe(Batch(["a"], np.array([t]), np.array([3.5])))

The same events in the same order give bit-identical forecasts, however they are batched and whether or not the object
is saved and loaded in between. It uses no clock and no threads, and is not safe for use from two threads at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts
from forecaster.config import AnomalyConfig, ModelConfig, TrainConfig
from forecaster.ensemble.prior import prior_from
from forecaster.errors import BatchError, CheckpointError, ConfigError
from forecaster.features.broadcast import broadcast_of
from forecaster.model import Model, model_from, same_shape
from forecaster.observe.observed_rows import ObservedRows
from forecaster.observe.rebuilt_rows import carried, rebuilt
from forecaster.pretrained.start import start_model
from forecaster.state.arrays import capture, change_share, count_of, counts, restore_arrays, views
from forecaster.state.capture import Capture
from forecaster.state.checkpoint import checked, read_checkpoint, write_checkpoint
from forecaster.state.history import History
from forecaster.state.incremental import Mark
from forecaster.state.late_rows import MOST_STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from forecaster.explanation.explain import Explanation, WhatIf
    from forecaster.explanation.situation import Situation
    from forecaster.observe.row_rules import NumbersOf
    from forecaster.observe.series_scores import RecentScores
    from forecaster.state.table import Table
    from forecaster.training.loop import FitProgress, FitReport

KIND = "forecaster"


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
        self.anomaly = anomaly or AnomalyConfig()
        self._broadcast = broadcast_of(broadcast, model.config)
        self._observed = ObservedRows(model, max_series, history_events, self.anomaly, late_within)

    @property
    def _table(self) -> Table:
        return self._observed.table

    @property
    def late_within(self) -> int:
        """Steps within which a late event is put in its place."""
        return 0 if self._table.late is None else self._table.late.within

    @property
    def model(self) -> Model:
        """The weights in use."""
        return self._observed.model

    @property
    def config(self) -> ModelConfig:
        """Configuration of the network."""
        return self._observed.model.config

    @property
    def series(self) -> list[str]:
        """Identifiers of the series that have a row, in the order of their first event."""
        return list(self._table.index)

    @property
    def series_count(self) -> int:
        """Number of series that have a row."""
        return len(self._table.index)

    @property
    def events_total(self) -> int:
        """Number of events observed so far."""
        return self._observed.events_total

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
        return self._observed.history.capacity

    @property
    def bytes_per_series(self) -> int:
        """Bytes of state per series, without its identifier and the shared history."""
        return self._table.bytes_per_series

    @property
    def state_bytes(self) -> int:
        """Bytes of state of all rows in use."""
        return self._table.used * self._table.bytes_per_series

    def judge_by(
        self, anomaly: AnomalyConfig, others: Sequence[AnomalyConfig] = (), number_of: NumbersOf | None = None
    ) -> None:
        """Replaces the anomaly settings, which flag events and detect silent series, from the next event on.

        Learnt tails and past flags are kept; silence detection that was off starts with the next events.

        Args:
            anomaly: the settings of all series, as far as they do not have others.
            others: settings of some series; their `silent_after` has no effect. They are not part of `state`.
            number_of: returns for series 0, or which of the others they have, counted from 1, shape (n,); it must
                return the same for a series at every call. None: no series has others.
        """
        self.anomaly = anomaly
        self._observed.judge_by(anomaly, others, number_of)

    def adjust_threshold(self, series: str, change: int) -> int:
        """Makes the threshold of a series stricter (change > 0) or less strict, from its next event on.

        With strictness s its events are flagged from 1 - (1 - threshold) / 2^s on. A series keeps it where its row is
        evicted, forgotten or built anew; it is part of `header`.

        Args:
            series: any name.
            change: what is added to its strictness, which stays from -1 to 6.

        Returns:
            The strictness now.
        """
        return self._observed.row_rules.adjust(series, change, self._table.index)

    @property
    def strictness(self) -> Mapping[str, int]:
        """Strictness of the series where it is not 0, see `adjust_threshold`."""
        return self._observed.row_rules.strictness

    def fits(self, model: Model) -> bool:
        """Returns whether a model has the shape of the running state: only its weights may differ."""
        return same_shape(self.config, model.config)

    def adopt(self, model: Model, beat: Callable[[], None] = lambda: None) -> None:
        """Replaces the network from the next event on.

        With the same shape every row re-encodes its own ring at its next event. With another one (another horizon,
        season, covariate, cell, size...) all rows are built anew from what they and the history hold, see
        rebuilt_rows.py: that takes the time of observing these events, and the memory of both states meanwhile.

        Args:
            model: the network.
            beat: called between blocks of events where rows are built anew.

        Raises:
            ConfigError: known future values are broadcast and the model has no configured interval.
        """
        if self.fits(model):
            self._observed.use(model)
            return
        broadcast = carried(self._broadcast, self.config, broadcast_of(self.broadcast, model.config), model.config)
        scored = self._observed.scorer is not None
        self._observed = rebuilt(self._observed, model, self.anomaly, beat=beat)
        if scored:
            self._observed.score_series()
        self._broadcast = broadcast

    def sample(self, model: Model, limit: int) -> Self:
        """Returns a forecaster, without history, of the first series, whose rows are built as in `adopt`.

        Args:
            model: of any shape.
            limit: number of series, at most.

        Raises:
            ConfigError: as in `adopt`.
        """
        count = min(limit, self.series_count)
        twin = type(self)(model, max_series=max(1, count), history_events=0, broadcast=self.broadcast)
        twin._observed = rebuilt(  # noqa: SLF001 - of the same class
            self._observed, model, twin.anomaly, np.arange(count), max_series=twin.max_series
        )
        carried(self._broadcast, self.config, twin._broadcast, model.config)  # noqa: SLF001 - of the same class
        return twin

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
            return self._broadcast.observe(batch, forget, self.config, self._observed.observe)
        return self._observed.observe(batch, forget)

    def score_series(self) -> None:
        """Scores the 1-step-ahead forecasts of all series from the next event on, for `recent_scores`.

        It changes no forecast and is not part of the state. With a network of another shape the scores start anew.
        """
        self._observed.score_series()

    def recent_scores(self, series: Sequence[str] | None = None) -> RecentScores | None:
        """Returns recent coverage, errors, skill and flagged share of series; None without `score_series`.

        Args:
            series: some series; those that have a row are returned. None: all of them.
        """
        scorer = self._observed.scorer
        return None if scorer is None else scorer.read(series)

    def forget(self, series: Iterable[str]) -> int:
        """Forgets series: clears and frees their rows; the next event of such a series starts it anew.

        Their past events stay in the history until newer ones overwrite them.

        Returns:
            The number of them that had a row.
        """
        return sum(map(self._table.forget, series))

    def history(self) -> History:
        """Returns the recent events of all series (copies)."""
        return self._observed.copied_history()

    def fit(self, train: TrainConfig | None = None, progress: Callable[[FitProgress], None] | None = None) -> FitReport:
        """Trains on the forecaster's history, starting from the weights in use, and adopts the result.

        Args:
            train: settings of the training; None: the defaults.
            progress: called at every evaluation.

        Raises:
            TrainingError: too little history.
        """
        from forecaster.training.loop import fit  # noqa: PLC0415 - training is loaded only where it is used

        report = fit(self.history(), self.model, train or TrainConfig(), progress)
        self.adopt(report.model)
        return report

    def copies(self, series: str, count: int) -> Self:
        """Returns a new forecaster, without history, whose series "0", "1", ... are copies of the state of `series`.

        Args:
            series: the one to copy.
            count: number of copies.

        Raises:
            BatchError: the series has no row.
        """
        if series not in self._table.index:
            msg = f"series: got {series!r}, expected one that has been observed and not been evicted"
            raise BatchError(msg)
        twin = type(self)(self.model, max_series=count, history_events=0)
        twin._observed.copy_row(self._observed, self._table.index[series], count)  # noqa: SLF001 - of the same class
        return twin

    def situation(self, series: str) -> Situation:
        """Copies what the newest forecast of a series was computed from, for `explain` and `what_if` in any thread.

        Raises:
            BatchError: the series has no row, or no forecast of steps ahead yet.
        """
        from forecaster.explanation.situation import situation_of  # noqa: PLC0415 - loaded only where it is used

        return situation_of(self._observed, series)

    def explain(self, series: str) -> Explanation:
        """Explains the newest forecast of a series; changes nothing.

        Raises:
            BatchError: as of `situation`.
        """
        from forecaster.explanation.explain import explain  # noqa: PLC0415 - as above

        return explain(self.situation(series))

    def what_if(self, series: str, values: Mapping[str, float | Sequence[float | None]]) -> WhatIf:
        """Computes the newest forecast of a series for other known future values; changes nothing.

        Args:
            series: its identifier.
            values: by covariate, see `explanation.explain.what_if`.

        Raises:
            BatchError: as of `situation`; or the network has no such covariate, or there are too many values.
        """
        from forecaster.explanation.explain import what_if  # noqa: PLC0415 - as above

        return what_if(self.situation(series), values)

    def header(self) -> dict[str, Any]:
        """Returns the JSON-able metadata that belong to `state()`."""
        late = {"late_within": self.late_within} if self.late_within else {}
        return late | {
            "config": self.config.to_dict(),
            "model_sha256": self.model.sha256,
            "events_total": self.events_total,
            **self._observed.silences.header(),
            "prior": [number.hex() for number in self._observed.prior.tolist()],
            **self._broadcast.header(),
            **self._observed.row_rules.header(),
            **counts(self._table, self._observed.history),
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns all state as arrays. Large ones are VIEWS of live memory: copy them before the next `observe`."""
        return views(self._table, self._observed.history) | self._observed.calendars.state()

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
        return capture(
            self._table, self._observed.history, self.header(), lock, since, self._observed.calendars.state()
        )

    def change_share(self, since: Mark) -> float:
        """Estimates the size of an incremental snapshot since a mark as a share of a full one, from 0 to 1.

        It is 1 where the mark is of another forecaster.
        """
        return change_share(self._table, self._observed.history, since)

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
            restore_arrays(self._table, self._observed.history, arrays, header)
            self._observed.events_total = count_of(header, "events_total")
            self._observed.calendars.restore(arrays)
            self._observed.silences.restore(header)
            self._observed.prior[...] = prior_from(header["prior"])
            self._broadcast.restore(header)
            self._observed.row_rules.restore(header, self._table.index)
        return self

    def save(self, path: Path | str) -> None:
        """Writes model and state into the file `path`, atomically.

        Raises:
            OSError: the file could not be written.
        """
        tensors = {f"model.{name}": np.array(v) for name, v in self.model.layout.views(self.model.params).items()}
        arrays = {f"state.{name}": array for name, array in self.state().items()}
        chosen = {"max_series": self._table.max_series, "anomaly": self.anomaly.to_dict()}
        chosen["broadcast_series"] = self._broadcast.series
        write_checkpoint(path, tensors | arrays, self.header() | chosen, KIND)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Restores a forecaster from the file `path` that `save` wrote.

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

    def accepted_ms(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns up to which time the events of each series were accepted, epoch milliseconds.

        It is the time of the newest event of its row, or while that time is in doubt, the newest one that is not (see
        `features.interval`); the least number where there is none.

        Args:
            series: names, shape (n,).

        Returns:
            The times, shape (n,).
        """
        return self._table.accepted_ms(series)

    def known(self, series: Sequence[str]) -> list[bool]:
        """Returns which of the series have a row."""
        return [name in self._table.index for name in series]
