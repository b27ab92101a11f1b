"""The state of one partition in memory: its rows, its position, its training schedule.

`pieces` cuts a decoded batch where a training becomes due, so that it becomes due only at the end of a unit. With
`[aggregate]` it also turns the raw events into values of closed windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from forecaster import Batch, DriftTest, Forecaster, Forecasts, Model, QualityWatch, Shadow
from service.aggregate.aggregator import Aggregator
from service.alerts.alert_states import AlertStates
from service.alerts.breach_rules import BreachRules
from service.config.library import AnomalySettings
from service.config.retrain import RetrainConfig
from service.messages.decode import Decoded
from service.partitions.flag_filter import FlagFilter
from service.partitions.grouping import Grouping
from service.partitions.history_overlap import HistoryOverlap
from service.partitions.schedule import Progress, Schedule
from service.ports import TimeMark, name_of_run

_log = structlog.get_logger()

_STEPS_TO_LEARN_FROM: Final = 100
"""Events per series without which a training that follows the growth of the stream would bring nothing."""

FIRST_GROUP_CHECK: Final = 64
"""Events after which it is first found whether series need a group by cadence; again as they grow by a quarter."""


@dataclass(slots=True)
class Partition:
    """The state of a partition in the engine; `forecaster` is the state at `position` unless `ahead`.

    Attributes:
        name: of the partition.
        forecaster: rows and model in force.
        position: committed source position.
        schedule, progress: determine when a training becomes due.
        recorded: whether the model in force has a committed adoption.
        ahead: whether the rows include events that are not committed; such a state must not be stored.
        snapshot_due: monotonic seconds at which a snapshot becomes due.
        rules: settings of drift test and trials.
        drift: the test on forecast errors, None where it is disabled.
        shadow: the shadow model, or None. guard: it is the former champion, not a challenger.
        quality: scores forecasts when their targets arrive, None where it is disabled; not part of the state.
        flags: which flagged events are announced; has the anomaly rules in force.
        alerts: which alerts of its series last.
        feedback: number of the last feedback on anomalies that its state includes; of `group` "" only.
        run: the run of its outputs, see `ports.Transport.run`.
        aggregator: its open windows, at the same position as the rows; None where events are forecast as they are.
        overlap: the end of its history by series; None where it has had none.
        group: the group of its series, see `others`; "": those that no `[[group]]` matches.
        others: of a configuration with groups, a partition of the same name for each of them, which has the rows of its
            series, their schedule, tests and quality, and the same position; only `group` "" has the rest.
        grouping: assigns its series to groups; None without groups.
        seeks_groups: whether its series may get groups by cadence, see `at_group_check`; of `group` "" only.
    """

    name: str
    forecaster: Forecaster
    position: int
    schedule: Schedule
    progress: Progress
    recorded: bool = False
    ahead: bool = False
    snapshot_due: float = 0.0
    rules: RetrainConfig = field(default_factory=lambda: RetrainConfig.model_validate({}))
    drift: DriftTest | None = None
    shadow: Shadow | None = None
    guard: bool = False
    quality: QualityWatch | None = None
    flags: FlagFilter = field(default_factory=lambda: FlagFilter(AnomalySettings.model_validate({})))
    alerts: AlertStates = field(default_factory=lambda: AlertStates(BreachRules(()), ()))
    feedback: int = 0
    run: int = 1
    aggregator: Aggregator | None = None
    overlap: HistoryOverlap | None = None
    group: str = ""
    others: tuple[Partition, ...] = ()
    grouping: Grouping | None = None
    seeks_groups: bool = False

    @property
    def groups(self) -> tuple[Partition, ...]:
        """Itself, for the series of `group` "", and the states of the other groups, in the order of their numbers."""
        return (self, *self.others)

    def of_group(self, name: str) -> Partition:
        """Returns the state of a group."""
        return self if name == self.group else next(one for one in self.others if one.group == name)

    def shares(self, piece: Piece) -> Sequence[tuple[Partition, Piece]]:
        """Returns the groups with their shares of a piece; without groups, itself with the piece."""
        return tuple(zip(self.groups, piece.shares, strict=True)) if piece.shares else ((self, piece),)

    def observe(self, piece: Piece) -> list[Forecasts]:
        """Observes a piece in the rows of all groups; returns the forecasts of each."""
        return [group._observe(share) for group, share in self.shares(piece)]  # noqa: SLF001 - of the same class

    def _observe(self, share: Piece) -> Forecasts:
        found = self.forecaster.observe(self.batch_of(share), share.decoded.forget)
        self.flags.apply(share.decoded.series, found)
        return found

    def batch_of(self, share: Piece) -> Batch:
        """Returns the events of a share, with known future values for the horizon of the network in force."""
        batch, horizon = share.decoded.batch, self.forecaster.config.horizon
        if batch.future is None or batch.future.shape[2] == horizon:
            return batch
        return replace(batch, future=batch.future[:, :, :horizon])

    def advance_groups(self, piece: Piece, forecasts: Sequence[Forecasts] | None) -> list[Partition]:
        """Advances all groups past a piece, see `advance`; returns those of which a training becomes due."""
        shares = self.shares(piece)
        parts = zip(shares, [None] * len(shares) if forecasts is None else forecasts, strict=True)
        return [group for (group, share), found in parts if group.advance(share, found)]

    @property
    def identity(self) -> str:
        """Partition and run: the same position in two runs is not the same state."""
        return name_of_run(self.name, self.run)

    @property
    def in_history(self) -> bool:
        """Whether it has not reached its live records yet."""
        return self.position < 0

    def stands_at(self, position: int | None, run: int, marks: Callable[[int], Sequence[TimeMark]]) -> bool:
        """Returns whether this is the state at a committed position of a run, behind all time marks there.

        Args:
            position, run: as committed.
            marks: returns the committed time marks from a position on.
        """
        at_end = not self.ahead and (self.position, self.run) == (position, run)
        return at_end and (self.aggregator is None or not self.unseen(marks(self.position)))

    def unseen(self, marks: Sequence[TimeMark]) -> list[TimeMark]:
        """Returns the time marks from the position on that the open windows do not include."""
        last = None if self.aggregator is None else self.aggregator.marked
        return [mark for mark in marks if mark.position >= self.position and (last is None or mark > last)]

    def advance(self, piece: Piece, forecasts: Forecasts | None) -> bool:
        """Advances past a piece that the rows include and that is committed (or was, in a replay).

        Args:
            piece: the observed piece.
            forecasts: of its events, None without events.

        Returns:
            Whether a training becomes due here.
        """
        if forecasts is not None and len(piece.decoded):
            batch = self.batch_of(piece)
            if self.shadow is not None:
                self.shadow.observe(batch, forecasts)
            if self.drift is not None:
                self.drift.observe(batch, forecasts, self.forecaster.config.quantiles)
            if self.quality is not None:
                self.quality.observe(batch, forecasts, self.forecaster.series_count)
        if forecasts is None:
            self.alerts.pass_by()
        else:
            levels, in_maintenance = self.forecaster.config.quantiles, self.flags.in_maintenance
            self.alerts.observe(piece.decoded, forecasts, levels, in_maintenance)
        due = piece.due and self._is_enough(len(piece.decoded))
        self.schedule.advance(
            self.progress, piece.decoded.timestamp_ms, due=due, of_last_record=piece.decoded.last_record_events
        )
        if self.position < 0 <= piece.next_position:
            self.snapshot_due = 0.0  # so that no restart from here on needs the history again
            if self.overlap is not None:
                self.overlap.end(self._accepted_ms)
        self.position, self.ahead = piece.next_position, False
        return due or (len(piece.decoded) > 0 and self._drifted(piece.decoded))

    def _accepted_ms(self, series: Sequence[str], newest_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns up to which times the events of series were accepted; see `HistoryOverlap.end`."""
        if self.aggregator is not None:
            return self.aggregator.accepted_ms(newest_ms)
        if self.grouping is None:
            return self.forecaster.accepted_ms(series)
        numbers, found = self.grouping.of(series), np.zeros(len(series), np.int64)
        for number, group in enumerate(self.groups):
            at = np.flatnonzero(numbers == number)
            found[at] = group.forecaster.accepted_ms([series[i] for i in at.tolist()])
        return found

    def _is_enough(self, more: int) -> bool:
        """Returns whether the series have events enough for a training that is due, after `more` of them."""
        wanted = _STEPS_TO_LEARN_FROM * self.forecaster.series_count if self.schedule.half else 0
        return self.progress.events + more >= wanted

    def _drifted(self, decoded: Decoded) -> bool:
        """Returns whether drift makes a training due: at an alarm, which resets the sum, or as a follow-up of one.

        Args:
            decoded: the events up to here.
        """
        since = self.progress.events - max(0, self.progress.due_at)
        if self.drift is None or not self.at_check or since < max(1, self.rules.drift_cooldown):
            return False
        alarm = self.drift.statistic >= self.rules.drift_threshold
        last = len(decoded) - 1
        self.alerts.observe_drift(last, int(decoded.timestamp_ms[last]), decoded.positions[last], drifts=alarm)
        if alarm:
            _log.info(
                "drift detected", partition=self.name, position=self.position, statistic=round(self.drift.statistic, 2)
            )
            self.drift.reset()
        elif not self.progress.follow:
            return False
        self.progress.follow = self.rules.drift_follow if alarm else self.progress.follow - 1
        self.progress.due_at, self.progress.cause = self.progress.events, "drift"
        return True

    @property
    def is_checked(self) -> bool:
        """Whether the partition has anything to check periodically."""
        return self.drift is not None or self.shadow is not None

    def reaches_check(self, more: int) -> bool:
        """Returns whether a number of next events reaches a position where shadow model and drift are checked."""
        before, every = self.progress.events, self.rules.check_events
        return (before + more) // every > before // every

    @property
    def at_check(self) -> bool:
        """Whether the partition is at a position where shadow model and drift are checked."""
        return self.progress.reached_multiple_of(self.rules.check_events)

    @property
    def at_group_check(self) -> bool:
        """Whether it is at a position where it is found whether series need a group by cadence: ever rarer ones."""
        return self.seeks_groups and self.progress.reached_growth_from(FIRST_GROUP_CHECK)

    @property
    def until_group_check(self) -> int:
        """The number of next events up to such a position."""
        return self.progress.until_growth_from(FIRST_GROUP_CHECK)

    def begin(self, model: Model, *, guard: bool) -> None:
        """Starts a shadow model; if the same one is running already, it continues.

        Raises:
            ConfigError: the model does not fit the state.
        """
        if self.shadow is None or self.guard != guard or self.shadow.model.sha256 != model.sha256:
            self.shadow = Shadow.start(self.forecaster, model, self.rules.shadow_series)
            self.guard = guard

    def adopt(self, model: Model, beat: Callable[[], None] = lambda: None) -> None:
        """Puts a model in force.

        If it was on trial here, the model it replaces becomes the shadow model; otherwise a trial ends. A model of
        another shape builds the rows anew, which takes time, and restarts drift test and quality, whose waiting
        forecasts are those of other steps.

        Args:
            model: of any shape.
            beat: called meanwhile.
        """
        before = self.forecaster.model
        if model.sha256 == before.sha256:
            return
        tried = self.shadow is not None and not self.guard and self.shadow.model.sha256 == model.sha256
        self.shadow, fits = None, self.forecaster.fits(model)
        self.forecaster.adopt(model, beat)
        config = model.config
        if not fits and self.drift is not None:
            self.drift = DriftTest(self.rules.shadow_series, config.seasons, config.timezone)
        if not fits and self.quality is not None:
            self.quality = self.quality.restarted(config)
        if tried:
            self.begin(before, guard=True)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a batch that becomes one unit.

    Attributes:
        decoded: events and rejects of the part. mark: the time mark that it stands for, None for records.
        position, next_position: source positions that it covers.
        due: whether a training becomes due at its last event; with groups, that of any group.
        shares: the shares of all groups, in the order of their numbers; none without groups.
        places: of a share, the index of each of its events among those of the piece, shape (n,); else empty.
    """

    decoded: Decoded
    position: int
    next_position: int
    due: bool
    mark: TimeMark | None = None
    shares: tuple[Piece, ...] = ()
    places: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
