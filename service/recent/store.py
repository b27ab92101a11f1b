"""Records recent events for API and page: details of some series, anomalies of all.

The engine announces every published batch: one lookup per event, then array operations. Readers copy one series at a
time under the same lock, so that neither waits for more than a millisecond or two. Nothing here is part of the state:
it starts empty with the process, old data is overwritten, and the engine continues if it fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from forecaster import Forecasts, Status, is_observed
from service.publication import Listener, Publication, SeriesKey, newest_corrections
from service.recent.anomalies import Anomaly, AnomalyLog, anomalies_of
from service.recent.event_rings import EventRings
from service.recent.series_history import Detail
from service.recent.slots import Slots

if TYPE_CHECKING:
    from forecaster import Forecaster, RecentScores
    from service.messages.decode import Decoded

_log = structlog.get_logger()

_ANOMALIES: Final = 10_000  # of all series together, half a megabyte
_MOST_SENT: Final = 256  # events of one batch that are sent to subscribers


@dataclass(frozen=True, slots=True)
class BatchUpdate:
    """The update of one batch for subscribers.

    Attributes:
        partition, model: the partition, and the sha256 of the model. levels: of the quantiles. timezone: of the
            network.
        series: of every event. columns: (m,) each, as of `EventRings.append`. quantiles: (m, H, Q).
        lost: events that were dropped because there were too many in one batch.
        anomalies: of all series.
    """

    partition: str
    model: str
    levels: tuple[float, ...]
    timezone: str
    series: list[str]
    columns: Mapping[str, NDArray[Any]]
    quantiles: NDArray[np.floating]
    lost: int
    anomalies: Sequence[Anomaly]


class RecentStore(Listener):
    """The recorded recent events.

    The methods of `Listener`, `record`, `forget` and `serve` belong to the engine's thread; the others may be called
    from any thread.

    Args:
        series: number of slots; 0: nothing is recorded. events: per series.
        failed: called for every batch that could not be recorded.

    Attributes:
        listener: called in the engine's thread with every update, while there are subscribers; must be fast.
    """

    def __init__(self, series: int, events: int, failed: Callable[[], None] = lambda: None) -> None:
        self._count, self._events, self._failed = series, events, failed
        self._lock = threading.Lock()
        self._forecasters: dict[str, Mapping[str, Forecaster]] = {}  # by partition and group of series
        self._slots, self._rings = Slots(series), dict[tuple[int, tuple[float, ...]], EventRings]()  # by shape
        self._ring_of: list[EventRings | None] = [None] * series
        self._model = [""] * series
        self._anomalies = AnomalyLog(_ANOMALIES if series else 0)
        self.listener: Callable[[BatchUpdate], None] | None = None

    # The engine's thread -----------------------------------------------------------------------------------------

    def on_publication(self, publication: Publication) -> None:
        """Records a published batch. Never raises."""
        self.record(publication.partition, publication.decoded, publication.forecasts, publication.forecaster)
        if gone := publication.forgotten:
            self.forget(publication.partition, gone)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:  # noqa: ARG002 - only `restored` matters
        """Replaces the served partitions."""
        self.serve(restored)

    def serve(self, forecasters: Mapping[str, Mapping[str, Forecaster]]) -> None:
        """Sets the partitions that are served now, with the state of each group; removes what was recorded of others.

        Never raises.
        """
        before, self._forecasters = self._forecasters, dict(forecasters)
        gone, new = before.keys() - forecasters.keys(), forecasters.keys() - before.keys()
        with self._lock:
            for partition in gone:
                self._slots.drop_partition(partition)
        for partition in sorted(new) if self._count else ():
            for forecaster in forecasters[partition].values():
                self._guarded(self._recall, partition, forecaster)
        for groups in forecasters.values() if self._count else ():
            for forecaster in groups.values():
                forecaster.score_series()

    def record(self, partition: str, decoded: Decoded, forecasts: Forecasts, forecaster: Forecaster) -> None:
        """Records a published batch. Never raises."""
        if self._count and len(decoded):
            self._guarded(self._record, partition, decoded, forecasts, forecaster)

    def forget(self, partition: str, series: Sequence[str]) -> None:
        """Removes series whose state was removed; a series that starts again is recorded from its next event on."""
        with self._lock:
            for name in series:
                self._slots.drop((partition, name))

    def _guarded(self, record: Callable[..., None], *args: Any) -> None:
        try:
            record(*args)
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            # Errors of array and dictionary operations: a defect here must not stop the engine.
            self._failed()
            _log.warning("batch not shown in the API", error=str(error), kind=type(error).__name__)

    def _record(self, partition: str, decoded: Decoded, forecasts: Forecasts, forecaster: Forecaster) -> None:
        names, status, model = decoded.series, forecasts.status, forecaster.model.sha256
        levels, answered = forecaster.config.quantiles, is_observed(status)
        found = anomalies_of(partition, decoded, forecasts)
        with self._lock:
            rings, slots = self._fit(forecasts.quantiles.shape[1], levels), self._slots
            slots.taken += len(names)
            groups = self._forecasters.get(partition, {"": forecaster}).values()
            slots.drop_silent(sum(one.series_count for one in groups))
            slot = slots.of_events(partition, names)
            if slots.free and (new := np.flatnonzero((slot < 0) & answered)).size:
                self._clear(slots.join(partition, [names[i] for i in new.tolist()]))
                slot = slots.of_events(partition, names)
            kept = np.flatnonzero((slot >= 0) & answered)
            rows = slot[kept]
            columns: dict[str, NDArray[Any]] = {
                "timestamp_ms": decoded.timestamp_ms,
                "position": np.array(decoded.positions, np.int64),
                "step": forecasts.steps,
                "value": np.where((status == Status.OK) | (status == Status.UNKNOWN), decoded.value, np.nan),
                "anomaly": forecasts.anomaly,
                "flagged": forecasts.flagged.view(np.bool_),
                "interval_ms": forecasts.interval_ms,
                "calendar": forecasts.calendar,
            }
            if len(kept):
                for row in np.unique(rows).tolist():
                    self._model[row] = model
                    self._use(row, rings)
                rings.append(rows, kept, columns, forecasts.quantiles)
                slots.seen[rows] = slots.taken
            corrected = np.array([*newest_corrections(names, forecasts).values()], np.int64)
            if (events := corrected[slot[corrected] >= 0]).size:
                rings.correct(slot[events], events, columns, forecasts.quantiles)
            self._anomalies.extend(found)
            listener, subscribed = self.listener, np.flatnonzero(slots.subscribed[rows])
        if listener is None or not (len(subscribed) or found):
            return
        lost, subscribed = max(0, len(subscribed) - _MOST_SENT), subscribed[-_MOST_SENT:]
        sent = kept[subscribed]
        listener(
            BatchUpdate(
                partition, model, levels, forecasts.timezone, [names[i] for i in sent.tolist()],
                {name: column[sent] for name, column in columns.items()}, forecasts.quantiles[sent], lost,
                found[-_MOST_SENT:],
            )
        )  # fmt: skip

    def _fit(self, horizon: int, levels: tuple[float, ...]) -> EventRings:
        """Returns the rings for forecasts of a shape; groups of series may have different ones."""
        found = self._rings.get((horizon, levels))
        if found is None:
            found = self._rings[horizon, levels] = EventRings(self._count, self._events, horizon, levels)
        return found

    def _use(self, slot: int, rings: EventRings) -> None:
        """Makes these the rings of a slot; what it has in others is of a series that had it before."""
        if self._ring_of[slot] is not rings:
            rings.clear(slot)
            self._ring_of[slot] = rings

    def _clear(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._ring_of[slot], self._model[slot] = None, ""

    def _recall(self, partition: str, forecaster: Forecaster) -> None:
        """Restores values from the training history after a restart, for the series with the newest events."""
        if not self._slots.free:
            return
        history = forecaster.history()
        newest = dict.fromkeys(history.series[::-1][: 64 * self._count].tolist())
        chosen = {history.names[serial]: serial for serial in newest if serial in history.names}
        with self._lock:
            rings = self._fit(forecaster.config.horizon, forecaster.config.quantiles)
            self._clear(self._slots.join(partition, chosen))
            for name, serial in chosen.items():
                slot = self._slots.of((partition, name))
                if slot is None:
                    continue
                self._use(slot, rings)
                rows = np.flatnonzero(history.series == serial)[-self._events :]
                columns: dict[str, NDArray[Any]] = {
                    "timestamp_ms": history.timestamp_ms[rows],
                    "position": np.full(len(rows), -1, np.int64),
                    "step": np.zeros(len(rows), np.int64),
                    "value": history.value[rows].astype(np.float64),
                    "anomaly": np.full(len(rows), np.nan, np.float32),
                    "flagged": np.zeros(len(rows), np.bool_),
                }
                rings.append(np.full(len(rows), slot, np.int64), np.arange(len(rows)), columns, None)

    # Readers ---------------------------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """Bytes that the rings may use, used or not."""
        return sum(rings.bytes for rings in self._rings.values())

    def series(self) -> list[SeriesKey]:
        """Returns partition and identifier of every series with state."""
        return [
            (partition, one)
            for partition, groups in self._forecasters.items()
            for found in groups.values()
            for one in found.series
        ]

    def scores(self, partition: str = "") -> list[tuple[str, RecentScores]]:
        """Returns the recent scores of all series, by partition and group; of one partition, or of all."""
        found = [
            (name, scores)
            for name, groups in self._forecasters.items()
            if partition in ("", name)
            for one in groups.values()
            if (scores := one.recent_scores()) is not None and len(scores.series)
        ]
        return sorted(found, key=lambda one: one[0])

    def scores_of(self, partition: str, series: str) -> RecentScores | None:
        """Returns the recent scores of one series; None where there are none."""
        found = self._state_of(partition, series)
        scores = None if found is None else found.recent_scores([series])
        return scores if scores is not None and len(scores.series) else None

    def partition_of(self, series: str, partition: str = "") -> str | None:
        """Returns the partition of a series, the first by name where several have it; None where none has."""
        for name in sorted(self._forecasters):
            if partition in ("", name) and self._state_of(name, series) is not None:
                return name
        return None

    def _state_of(self, partition: str, series: str) -> Forecaster | None:
        groups = self._forecasters.get(partition, {}).values()
        return next((one for one in groups if one.row_of(series) is not None), None)

    def forecaster(self, partition: str, series: str = "") -> Forecaster | None:
        """Returns the state of a series, or the first state of its partition where the series has none.

        The engine changes it meanwhile, so that a reader may see a partial update.
        """
        return self._state_of(partition, series) or next(iter(self._forecasters.get(partition, {}).values()), None)

    def group_of(self, partition: str, series: str) -> str | None:
        """Returns the group of a series that has state; None where the partition has one group only."""
        groups = self._forecasters.get(partition, {})
        found = next((name for name, one in groups.items() if one.row_of(series) is not None), None)
        return found if len(groups) > 1 else None

    def season(self, partition: str, series: str) -> int:
        """Returns the steps of the season of seasonal naive forecasts: the shortest one, 1 without any."""
        found = self.forecaster(partition, series)
        return 1 if found is None else min(found.config.seasons, default=1)

    def timezone(self, partition: str, series: str) -> str:
        """Returns the timezone of the calendar steps of a series."""
        found = self.forecaster(partition, series)
        return "UTC" if found is None else found.config.timezone

    def newest(self, keys: Sequence[SeriesKey]) -> list[tuple[int, float, float] | None]:
        """Returns time, value and score of the last event of each series; None where it is not recorded.

        Requests no slots.
        """
        with self._lock:
            slots = [self._slots.of(key) for key in keys]
            rings = [None if slot is None else self._ring_of[slot] for slot in slots]
            return [
                None if slot is None or own is None else own.newest(slot)
                for slot, own in zip(slots, rings, strict=True)
            ]

    def detail(self, partition: str, series: str) -> Detail | None:
        """Copies what is recorded of a series; requests a slot if it has none.

        Returns:
            None without any forecast, or where all slots have subscribers.
        """
        with self._lock:
            slot = self._ask((partition, series))
            rings = None if slot is None else self._ring_of[slot]
            return None if slot is None or rings is None else rings.detail(slot, partition, series, self._model[slot])

    def expected(self, partition: str, series: str, position: int) -> tuple[float, float] | None:
        """Returns lowest and highest quantile of the 1-step-ahead forecast of an event; None where not recorded.

        Requests no slot.
        """
        return self.expected_of(partition, series, [position])[0]

    def expected_of(self, partition: str, series: str, positions: Sequence[int]) -> list[tuple[float, float] | None]:
        """Returns the same for several events of a series."""
        with self._lock:
            slot = self._slots.of((partition, series))
            rings = None if slot is None else self._ring_of[slot]
            if slot is None or rings is None:
                return [None] * len(positions)
            detail = rings.detail(slot, partition, series, "")
        forecasts, out = detail.forecast_for(1), list[tuple[float, float] | None]()
        for position in positions:
            at = np.flatnonzero(detail.position == position)
            found = forecasts[at[-1]] if len(at) else np.array([np.nan])
            out.append((float(found[0]), float(found[-1])) if np.isfinite(found).all() else None)
        return out

    def _ask(self, key: SeriesKey) -> int | None:
        if not self._rings:
            return None
        slot, new = self._slots.ask(key)
        if slot is not None and new:
            self._clear([slot])
            config = None if (found := self._state_of(*key)) is None else found.config
            shape = next(iter(self._rings)) if config is None else (config.horizon, config.quantiles)
            self._use(slot, self._fit(*shape))
        return slot

    def listen(self, keys: Sequence[SeriesKey]) -> bool:
        """Subscribes to series; returns whether all of them have a slot. Undone by `leave`."""
        with self._lock:
            self._slots.listen(keys)
            found = [self._ask(key) for key in keys]
            return not self._rings or None not in found

    def leave(self, keys: Sequence[SeriesKey]) -> None:
        """Ends subscriptions."""
        with self._lock:
            self._slots.leave(keys)

    def anomalies(self, partition: str = "", series: str | None = None) -> list[Anomaly]:
        """Returns the newest anomalies, newest last, optionally of one partition or series."""
        with self._lock:
            found = self._anomalies.copy()
        return AnomalyLog.read(found, partition, series)
