"""The state of one partition in memory: its rows, its position, its training schedule.

`pieces` cuts a decoded batch where a training becomes due, so that it becomes due only at the end of a unit. With
`[aggregate]` it also turns the raw events into values of closed windows.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from forecaster import DriftTest, Forecaster, Forecasts, Model, QualityWatch, Shadow
from service.aggregate.aggregator import Aggregator
from service.config.sections import RetrainConfig
from service.messages.decode import Decoded
from service.ports import Records, TimeMark, name_of_run
from service.schedule import Progress, Schedule
from service.seam import Seam

_log = structlog.get_logger()

_STEPS_TO_LEARN_FROM: Final = 100
"""Events per series without which a training that follows the growth of the stream would bring nothing."""

PIECE_EVENTS: Final = 16_384
"""Number of events after which a piece ends: with the usual horizon their forecasts have some ten megabytes."""


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
        run: the run of its outputs, see `ports.Transport.run`.
        aggregator: its open windows, at the same position as the rows; None where events are forecast as they are.
        seam: the end of its history by series; None where it has had none.
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
    run: int = 1
    aggregator: Aggregator | None = None
    seam: Seam | None = None

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
            batch = piece.decoded.batch
            if self.shadow is not None:
                self.shadow.observe(batch, forecasts)
            if self.drift is not None:
                self.drift.observe(batch, forecasts, self.forecaster.config.quantiles)
            if self.quality is not None:
                self.quality.observe(batch, forecasts, self.forecaster.series_count)
        due = piece.due and self._is_enough(len(piece.decoded))
        self.schedule.advance(
            self.progress, piece.decoded.timestamp_ms, due=due, of_last_record=piece.decoded.last_record_events
        )
        if self.position < 0 <= piece.next_position:
            self.snapshot_due = 0.0  # so that no restart from here on needs the history again
            if self.seam is not None:
                self.seam.end(self._accepted_ms)
        self.position, self.ahead = piece.next_position, False
        return due or (len(piece.decoded) > 0 and self._drifted())

    def _accepted_ms(self, series: Sequence[str], newest_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns up to which times the events of series were accepted; see `Seam.end`."""
        if self.aggregator is None:
            return self.forecaster.accepted_ms(series)
        return self.aggregator.accepted_ms(newest_ms)

    def _is_enough(self, more: int) -> bool:
        """Returns whether the series have events enough for a training that is due, after `more` of them."""
        wanted = _STEPS_TO_LEARN_FROM * self.forecaster.series_count if self.schedule.half else 0
        return self.progress.events + more >= wanted

    def _drifted(self) -> bool:
        """Returns whether drift makes a training due: at an alarm, which resets the sum, or as a follow-up of one."""
        since = self.progress.events - max(0, self.progress.due_at)
        if self.drift is None or not self.at_check or since < max(1, self.rules.drift_cooldown):
            return False
        alarm = self.drift.statistic >= self.rules.drift_threshold
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

    @property
    def at_check(self) -> bool:
        """Whether the partition is at a position where shadow model and drift are checked."""
        return self.progress.reached_multiple_of(self.rules.check_events)

    def begin(self, model: Model, *, guard: bool) -> None:
        """Starts a shadow model; if the same one is running already, it continues.

        Raises:
            ConfigError: the model does not fit the state.
        """
        if self.shadow is None or self.guard != guard or self.shadow.model.sha256 != model.sha256:
            self.shadow = Shadow.start(self.forecaster, model, self.rules.shadow_series)
            self.guard = guard

    def adopt(self, model: Model) -> None:
        """Puts a model in force.

        If it was on trial here, the model it replaces becomes the shadow model; otherwise a trial ends.
        """
        before = self.forecaster.model
        if model.sha256 == before.sha256:
            return
        tried = self.shadow is not None and not self.guard and self.shadow.model.sha256 == model.sha256
        self.shadow = None
        self.forecaster.adopt(model)
        if tried:
            self.begin(before, guard=True)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a batch that becomes one unit.

    Attributes:
        decoded: events and rejects of the part. mark: the time mark that it stands for, None for records.
        position, next_position: source positions that it covers.
        due: whether a training becomes due at its last event.
    """

    decoded: Decoded
    position: int
    next_position: int
    due: bool
    mark: TimeMark | None = None


def marked_piece(partition: Partition, mark: TimeMark) -> Piece:
    """Returns the values of the windows that a time mark at the position of a partition closes.

    Raises:
        ValueError: the partition has no windows.
    """
    if partition.aggregator is None:
        msg = f"partition {partition.name!r} has no windows, expected some for a time mark"
        raise ValueError(msg)
    cut, closed = _Cut(partition), partition.aggregator.mark(mark)
    if len(closed):
        cut.ends(closed.start_ms)
    nothing = Decoded([], np.zeros(0, np.int64), np.zeros(0), None, [], [], [], 0)
    return Piece(closed.events(nothing, [mark.position]), mark.position, mark.position, cut.due, mark)


def pieces(partition: Partition, records: Records, decoded: Decoded) -> Iterator[Piece]:
    """Cuts a batch after every event at which a training becomes due, or shadow model and drift are checked.

    A record with several events stays whole: the cut is after its last event. A piece has about `PIECE_EVENTS` events
    at most, because each of them becomes a forecast of the unit. The cuts that decide depend on the events only, not on
    the batches. The caller calls `partition.advance` with every piece before requesting the next one.

    With windows, the events of a piece are the values of those that its records close, and the raw events of a piece
    are added to their windows when it is requested: the open windows then stand at its end, like the rows once it is
    observed, and a later piece that is never requested has not changed them.
    """
    if partition.seam is not None:
        decoded = partition.seam.admitted(records, decoded)
    if partition.aggregator is not None:
        yield from _pieces_of_windows(partition, partition.aggregator, records, decoded)
        return
    schedule, progress = partition.schedule, partition.progress
    event, record, total = 0, 0, len(records)
    while True:
        due = schedule.due(progress, decoded.timestamp_ms[event:])
        check = partition.rules.check_events - progress.events % partition.rules.check_events
        checks = partition.is_checked and check <= len(decoded) - event
        after = min(due or check, check) if checks else due
        if min(after or len(decoded), len(decoded) - event) > PIECE_EVENTS:
            after = PIECE_EVENTS
        end = len(decoded) if after is None else decoded.end_of_record(event + after)
        last = total if after is None else decoded.index[end - 1] + 1
        next_position = records.next_position if last == total else records.positions[last]
        position = records.positions[record] if record < total else partition.position
        part = _part(decoded, event, end, position, next_position)
        if partition.seam is not None:
            partition.seam.pass_by(records, part.series, part.timestamp_ms)
        yield Piece(part, position, next_position, due is not None and event + due <= end)
        event, record = end, last
        if record >= total:
            return


def _pieces_of_windows(partition: Partition, aggregator: Aggregator, records: Records, raw: Decoded) -> Iterator[Piece]:
    """Cuts a batch like `pieces`, after records that close windows; counts are those of the values of windows."""
    tombstones, event, record, total = deque(raw.tombstones), 0, 0, len(records)
    while True:
        cut, begin = _Cut(partition), event
        closed, event = aggregator.take(raw, event, tombstones, cut.ends)
        if partition.seam is not None:
            partition.seam.pass_by(records, raw.series[begin:event], raw.timestamp_ms[begin:event])
        last = raw.index[event - 1] + 1 if cut.reached else total
        next_position = records.next_position if last == total else records.positions[last]
        position = records.positions[record] if record < total else partition.position
        events = closed.events(_part(raw, 0, 0, position, next_position), records.positions)
        yield Piece(events, position, next_position, cut.due)
        record = last
        if record >= total:
            return


class _Cut:
    """Decides after which record a piece of windows ends.

    Args:
        partition: its schedule, progress and rules decide.

    Attributes:
        due: whether a training becomes due there. reached: whether the piece ends there, before the end of the batch.
    """

    def __init__(self, partition: Partition) -> None:
        self._partition, self._progress = partition, dataclasses.replace(partition.progress)
        self._count, self.due, self.reached = 0, False, False
        every = partition.rules.check_events
        checks = every - self._progress.events % every if partition.is_checked else PIECE_EVENTS
        self._most = min(PIECE_EVENTS, checks)

    def ends(self, start_ms: Sequence[int]) -> bool:
        """Observes the windows that a record closed, by their begins; returns whether the piece ends with it."""
        times, schedule = np.array(start_ms, np.int64), self._partition.schedule
        self.due = schedule.due(self._progress, times) is not None
        schedule.advance(self._progress, times, due=False)
        self._count += len(times)
        self.reached = self.due or self._count >= self._most
        return self.reached


def _part(decoded: Decoded, start: int, end: int, position: int, next_position: int) -> Decoded:
    others = [one.position for ones in (decoded.rejects, decoded.controls, decoded.tombstones) for one in ones]
    others += [*(at for at, _ in decoded.filtered), *decoded.duplicates]
    if start == 0 and end == len(decoded) and all(at < next_position for at in others):
        return decoded
    span = slice(start, end)
    value = decoded.value[span]
    return dataclasses.replace(
        decoded,
        series=decoded.series[span],
        timestamp_ms=decoded.timestamp_ms[span],
        value=value,
        covariates=None if decoded.covariates is None else decoded.covariates[span],
        future=None if decoded.future is None else decoded.future[span],
        positions=decoded.positions[span],
        index=decoded.index[span],
        within=None if decoded.within is None else decoded.within[span],
        rejects=[reject for reject in decoded.rejects if position <= reject.position < next_position],
        controls=[control for control in decoded.controls if position <= control.position < next_position],
        tombstones=[
            dataclasses.replace(tombstone, event=tombstone.event - start)
            for tombstone in decoded.tombstones
            if position <= tombstone.position < next_position
        ],
        missing=int((value != value).sum()),  # noqa: PLR0124 - nan differs from itself
        filtered=[one for one in decoded.filtered if position <= one[0] < next_position],
        duplicates=[at for at in decoded.duplicates if position <= at < next_position],
    )
