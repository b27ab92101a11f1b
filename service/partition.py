"""One partition in memory: its rows, its position, its training schedule.

pieces    a decoded batch cut where a training falls due, so that one falls due at the end of a unit only
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from forecaster import DriftTest, Forecaster, Forecasts, Model, QualityWatch, Shadow
from service.config.sections import RetrainConfig
from service.messages.decode import Decoded
from service.ports import Records, name_of_run
from service.schedule import Progress, Schedule

_log = structlog.get_logger()


@dataclass(slots=True)
class Partition:
    """What the engine holds per partition; `forecaster` is always the state at `position`, or `ahead` says no.

    Attributes:
        name: of the partition.
        forecaster: rows and model in force.
        position: committed source position.
        schedule, progress: when a training falls due.
        recorded: whether the model in force stands in a committed adoption.
        ahead: the rows have seen events that are not committed; they must not be kept.
        snapshot_due: monotonic seconds from which on a snapshot is due.
        rules: of drift and trials.
        drift: the test on the errors, None where it is switched off.
        shadow: what runs beside the model in force, or None. guard: it is the former champion, not a challenger.
        quality: scores what was forecast when its values come, None where it is switched off; of no consequence.
        run: that its outputs belong to, see `ports.Transport.run`.
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

    @property
    def identity(self) -> str:
        """Partition and run: the same position of two runs is not the same state."""
        return name_of_run(self.name, self.run)

    def stands_at(self, position: int | None, run: int) -> bool:
        """Whether the state here is that of a committed position of a run."""
        return not self.ahead and (self.position, self.run) == (position, run)

    def advance(self, piece: Piece, forecasts: Forecasts | None) -> bool:
        """Moves on behind a piece that the rows have seen and that is committed (or was, in a replay).

        Args:
            piece: what was taken in.
            forecasts: of its events, None where it has none.

        Returns:
            Whether a training falls due here.
        """
        if forecasts is not None and len(piece.decoded):
            batch = piece.decoded.batch
            if self.shadow is not None:
                self.shadow.observe(batch, forecasts)
            if self.drift is not None:
                self.drift.observe(batch, forecasts, self.forecaster.config.quantiles)
            if self.quality is not None:
                self.quality.observe(batch, forecasts, self.forecaster.series_count)
        self.schedule.advance(self.progress, piece.decoded.timestamp_ms, due=piece.due)
        self.position, self.ahead = piece.next_position, False
        return piece.due or (len(piece.decoded) > 0 and self._drifted())

    def _drifted(self) -> bool:
        """Whether drift makes a training fall due: at an alarm, which starts the sum anew, or as one that follows."""
        since = self.progress.events - max(0, self.progress.due_at)
        if self.drift is None or not self.at_look or since < max(1, self.rules.drift_cooldown):
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
    def looks(self) -> bool:
        """Whether there is anything to look at now and then."""
        return self.drift is not None or self.shadow is not None

    @property
    def at_look(self) -> bool:
        """Whether the partition is where shadow and drift are looked at."""
        return self.progress.events > 0 and self.progress.events % self.rules.check_events == 0

    def begin(self, model: Model, *, guard: bool) -> None:
        """Lets a model run beside the one in force from here on; the same one again goes on as it was.

        Raises:
            ConfigError: it does not fit the state.
        """
        if self.shadow is None or self.guard != guard or self.shadow.model.sha256 != model.sha256:
            self.shadow = Shadow.start(self.forecaster, model, self.rules.shadow_series)
            self.guard = guard

    def adopt(self, model: Model) -> None:
        """Puts a model in force. If it was on trial here, the one it replaces stays beside it; else a trial ends."""
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
        decoded: events and rejects of the part.
        position, next_position: source positions that it covers.
        due: a training falls due at its last event.
    """

    decoded: Decoded
    position: int
    next_position: int
    due: bool


def pieces(partition: Partition, records: Records, decoded: Decoded) -> Iterator[Piece]:
    """Cuts a batch behind every event at which a training falls due, or shadow and drift are looked at.

    Where the cuts fall depends on the events only, not on how they were batched. The caller calls
    `partition.advance` with every piece before it asks for the next one.
    """
    schedule, progress = partition.schedule, partition.progress
    event, record, total = 0, 0, len(records)
    while True:
        due = schedule.due(progress, decoded.timestamp_ms[event:])
        look = partition.rules.check_events - progress.events % partition.rules.check_events
        looks = partition.looks and look <= len(decoded) - event
        after = min(due or look, look) if looks else due
        end = len(decoded) if after is None else event + after
        last = total if after is None else decoded.index[end - 1] + 1
        next_position = records.next_position if last == total else records.positions[last]
        position = records.positions[record] if record < total else partition.position
        part = _part(decoded, event, end, position, next_position)
        yield Piece(part, position, next_position, due is not None and due == after)
        event, record = end, last
        if record >= total:
            return


def _part(decoded: Decoded, start: int, end: int, position: int, next_position: int) -> Decoded:
    beside = (one.position for ones in (decoded.rejects, decoded.controls, decoded.tombstones) for one in ones)
    if start == 0 and end == len(decoded) and all(at < next_position for at in beside):
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
        rejects=[reject for reject in decoded.rejects if position <= reject.position < next_position],
        controls=[control for control in decoded.controls if position <= control.position < next_position],
        tombstones=[
            dataclasses.replace(tombstone, event=tombstone.event - start)
            for tombstone in decoded.tombstones
            if position <= tombstone.position < next_position
        ],
        missing=int((value != value).sum()),  # noqa: PLR0124 - nan differs from itself
    )
