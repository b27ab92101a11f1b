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
    from forecaster import Forecaster
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
        self._forecasters: dict[str, Forecaster] = {}
        self._slots, self._rings = Slots(series), EventRings(0, 1, 1, ())
        self._model = [""] * series
        self._anomalies = AnomalyLog(_ANOMALIES if series else 0)
        self.listener: Callable[[BatchUpdate], None] | None = None

    # The engine's thread -----------------------------------------------------------------------------------------

    def on_publication(self, publication: Publication) -> None:
        """Records a published batch. Never raises."""
        self.record(publication.partition, publication.decoded, publication.forecasts, publication.forecaster)
        if gone := publication.forgotten:
            self.forget(publication.partition, gone)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Forecaster]) -> None:  # noqa: ARG002 - only `restored` matters
        """Replaces the served partitions."""
        self.serve(restored)

    def serve(self, forecasters: Mapping[str, Forecaster]) -> None:
        """Sets the partitions that are served now; removes what was recorded of others. Never raises."""
        before, self._forecasters = self._forecasters, dict(forecasters)
        gone, new = before.keys() - forecasters.keys(), forecasters.keys() - before.keys()
        with self._lock:
            for partition in gone:
                self._slots.drop_partition(partition)
        for partition in sorted(new) if self._count else ():
            self._guarded(self._recall, partition, forecasters[partition])

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
            slots = self._fit(forecasts.quantiles.shape[1], levels)
            slots.taken += len(names)
            slots.drop_silent(forecaster.series_count)
            get = slots.index.setdefault(partition, {}).get
            slot = np.array([get(name, -1) for name in names], np.int64)
            if slots.free and (new := np.flatnonzero((slot < 0) & answered)).size:
                self._clear(slots.join(partition, [names[i] for i in new.tolist()]))
                slot = np.array([get(name, -1) for name in names], np.int64)
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
                self._rings.append(rows, kept, columns, forecasts.quantiles)
                slots.seen[rows] = slots.taken
                for row in np.unique(rows).tolist():
                    self._model[row] = model
            corrected = [(get(name, -1), at) for name, at in newest_corrections(names, forecasts).items()]
            if known := [pair for pair in corrected if pair[0] >= 0]:
                where, events = np.array(known, np.int64).T
                self._rings.correct(where, events, columns, forecasts.quantiles)
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

    def _fit(self, horizon: int, levels: tuple[float, ...]) -> Slots:
        """Replaces rings and slots where forecasts have another shape than before; keeps subscriptions."""
        if self._rings.horizon != horizon or self._rings.levels != levels:
            self._rings = EventRings(self._count, self._events, horizon, levels)
            for partition in list(self._slots.index):
                self._slots.drop_partition(partition)
        return self._slots

    def _clear(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._rings.clear(slot)
            self._model[slot] = ""

    def _recall(self, partition: str, forecaster: Forecaster) -> None:
        """Restores values from the training history after a restart, for the series with the newest events."""
        if self._rings.slots and not self._slots.free:
            return
        history = forecaster.history()
        newest = dict.fromkeys(history.series[::-1][: 64 * self._count].tolist())
        chosen = {history.names[serial]: serial for serial in newest if serial in history.names}
        with self._lock:
            slots = self._fit(forecaster.config.horizon, forecaster.config.quantiles)
            self._clear(slots.join(partition, chosen))
            for name, serial in chosen.items():
                slot = slots.of((partition, name))
                if slot is None:
                    continue
                rows = np.flatnonzero(history.series == serial)[-self._events :]
                columns: dict[str, NDArray[Any]] = {
                    "timestamp_ms": history.timestamp_ms[rows],
                    "position": np.full(len(rows), -1, np.int64),
                    "step": np.zeros(len(rows), np.int64),
                    "value": history.value[rows].astype(np.float64),
                    "anomaly": np.full(len(rows), np.nan, np.float32),
                    "flagged": np.zeros(len(rows), np.bool_),
                }
                self._rings.append(np.full(len(rows), slot, np.int64), np.arange(len(rows)), columns, None)

    # Readers ---------------------------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """Bytes that the rings may use, used or not."""
        return self._rings.bytes

    def series(self) -> list[SeriesKey]:
        """Returns partition and identifier of every series with state."""
        return [(partition, one) for partition, found in self._forecasters.items() for one in found.series]

    def partition_of(self, series: str, partition: str = "") -> str | None:
        """Returns the partition of a series, the first by name where several have it; None where none has."""
        for name, forecaster in sorted(self._forecasters.items()):
            if partition in ("", name) and forecaster.row_of(series) is not None:
                return name
        return None

    def forecaster(self, partition: str) -> Forecaster | None:
        """Returns the state of a partition.

        The engine changes it meanwhile, so that a reader may see a partial update.
        """
        return self._forecasters.get(partition)

    def timezone(self, partition: str) -> str:
        """Returns the timezone of a partition's calendar steps."""
        found = self._forecasters.get(partition)
        return "UTC" if found is None else found.config.timezone

    def newest(self, keys: Sequence[SeriesKey]) -> list[tuple[int, float, float] | None]:
        """Returns time, value and score of the last event of each series; None where it is not recorded.

        Requests no slots.
        """
        with self._lock:
            slots = [self._slots.of(key) for key in keys]
            return [None if slot is None else self._rings.newest(slot) for slot in slots]

    def detail(self, partition: str, series: str) -> Detail | None:
        """Copies what is recorded of a series; requests a slot if it has none.

        Returns:
            None without any forecast, or where all slots have subscribers.
        """
        with self._lock:
            slot = self._ask((partition, series))
            return None if slot is None else self._rings.detail(slot, partition, series, self._model[slot])

    def _ask(self, key: SeriesKey) -> int | None:
        if not self._rings.slots:
            return None
        slot, new = self._slots.ask(key)
        if slot is not None and new:
            self._clear([slot])
        return slot

    def listen(self, keys: Sequence[SeriesKey]) -> bool:
        """Subscribes to series; returns whether all of them have a slot. Undone by `leave`."""
        with self._lock:
            self._slots.listen(keys)
            found = [self._ask(key) for key in keys]
            return not self._rings.slots or None not in found

    def leave(self, keys: Sequence[SeriesKey]) -> None:
        """Ends subscriptions."""
        with self._lock:
            self._slots.leave(keys)

    def anomalies(self, partition: str = "", series: str | None = None) -> list[Anomaly]:
        """Returns the newest anomalies, newest last, optionally of one partition or series."""
        with self._lock:
            found = self._anomalies.copy()
        return AnomalyLog.read(found, partition, series)
