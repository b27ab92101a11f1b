"""What is remembered of the stream for those who look at it: details of some series, anomalies of all.

The loop announces every published batch: a lookup per event, then arrays as a whole. Readers copy one series
at a time under the same lock, so that neither waits for more than a millisecond or two. Nothing here is state: it
starts anew with the process, it loses what is old, and where it fails the engine goes on without it.
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
from service.publication import Listener, Publication, SeriesKey
from service.recent.anomalies import Anomaly, AnomalyLog, anomalies_of
from service.recent.event_rings import EventRings
from service.recent.series_history import Detail
from service.recent.slots import Slots

if TYPE_CHECKING:
    from forecaster import Forecaster
    from service.messages.decode import Decoded

_log = structlog.get_logger()

_ANOMALIES: Final = 10_000  # of all series together: half a megabyte
_STIRRED: Final = 256  # events of one batch that listeners are told of


@dataclass(frozen=True, slots=True)
class BatchUpdate:
    """What listeners are told of one batch.

    Attributes:
        partition, model: where, and the sha256 of the model. levels: of the quantiles. timezone: of the network.
        series: of every event. columns: (m,) each, as of `EventRings.append`. quantiles: (m, H, Q).
        lost: events that were left out because there were too many in one batch.
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
    """What is remembered.

    The methods of `Listener`, `record`, `forget` and `serve` belong to the loop's thread; the others may be called from
    any.

    Args:
        series: places; 0: nothing is remembered. events: of each.
        failed: called for every batch that could not be remembered.

    Attributes:
        listener: called in the loop's thread with what stirred, where somebody listens; must be quick.
    """

    def __init__(self, series: int, events: int, failed: Callable[[], None] = lambda: None) -> None:
        self._count, self._events, self._failed = series, events, failed
        self._lock = threading.Lock()
        self._forecasters: dict[str, Forecaster] = {}
        self._places, self._rings = Slots(series), EventRings(0, 1, 1, ())
        self._model = [""] * series
        self._anomalies = AnomalyLog(_ANOMALIES if series else 0)
        self.listener: Callable[[BatchUpdate], None] | None = None

    # The loop's side -----------------------------------------------------------------------------------------

    def on_publication(self, publication: Publication) -> None:
        """Remembers a published batch. Never raises."""
        self.record(publication.partition, publication.decoded, publication.forecasts, publication.forecaster)
        if gone := publication.forgotten:
            self.forget(publication.partition, gone)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Forecaster]) -> None:  # noqa: ARG002 - only restored ones can be read
        """Takes over the partitions that are served now."""
        self.serve(restored)

    def serve(self, forecasters: Mapping[str, Forecaster]) -> None:
        """The partitions that are served now; what was remembered of others is forgotten. Never raises."""
        before, self._forecasters = self._forecasters, dict(forecasters)
        gone, new = before.keys() - forecasters.keys(), forecasters.keys() - before.keys()
        with self._lock:
            for partition in gone:
                self._places.drop_partition(partition)
        for partition in sorted(new) if self._count else ():
            self._guarded(self._recall, partition, forecasters[partition])

    def record(self, partition: str, decoded: Decoded, forecasts: Forecasts, forecaster: Forecaster) -> None:
        """Remembers a published batch. Never raises."""
        if self._count and len(decoded):
            self._guarded(self._record, partition, decoded, forecasts, forecaster)

    def forget(self, partition: str, series: Sequence[str]) -> None:
        """Forgets series that the engine has forgotten; one that has begun anew comes back with its next event."""
        with self._lock:
            for name in series:
                self._places.drop((partition, name))

    def _guarded(self, remember: Callable[..., None], *args: Any) -> None:
        try:
            remember(*args)
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            # What arrays and dictionaries can raise: a defect of this folder must not stop the engine.
            self._failed()
            _log.warning("batch not shown in the API", error=str(error), kind=type(error).__name__)

    def _record(self, partition: str, decoded: Decoded, forecasts: Forecasts, forecaster: Forecaster) -> None:
        names, status, model = decoded.series, forecasts.status, forecaster.model.sha256
        levels, answered = forecaster.config.quantiles, is_observed(status)
        found = anomalies_of(partition, decoded, forecasts)
        with self._lock:
            places = self._fit(forecasts.quantiles.shape[1], levels)
            places.taken += len(names)
            places.drop_silent(forecaster.series_count)
            get = places.index.setdefault(partition, {}).get
            place = np.array([get(name, -1) for name in names], np.int64)
            if places.free and (new := np.flatnonzero((place < 0) & answered)).size:
                self._clear(places.join(partition, [names[i] for i in new.tolist()]))
                place = np.array([get(name, -1) for name in names], np.int64)
            kept = np.flatnonzero((place >= 0) & answered)
            rows = place[kept]
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
                places.seen[rows] = places.taken
                for row in np.unique(rows).tolist():
                    self._model[row] = model
            self._anomalies.extend(found)
            listener, heard = self.listener, np.flatnonzero(places.heard[rows])
        if listener is None or not (len(heard) or found):
            return
        lost, heard = max(0, len(heard) - _STIRRED), heard[-_STIRRED:]
        told = kept[heard]
        listener(
            BatchUpdate(
                partition, model, levels, forecasts.timezone, [names[i] for i in told.tolist()],
                {name: column[told] for name, column in columns.items()}, forecasts.quantiles[told], lost,
                found[-_STIRRED:],
            )
        )  # fmt: skip

    def _fit(self, horizon: int, levels: tuple[float, ...]) -> Slots:
        """Rings and places anew where forecasts have another shape than before; listeners stay."""
        if self._rings.horizon != horizon or self._rings.levels != levels:
            self._rings = EventRings(self._count, self._events, horizon, levels)
            for partition in list(self._places.index):
                self._places.drop_partition(partition)
        return self._places

    def _clear(self, places: Sequence[int]) -> None:
        for place in places:
            self._rings.clear(place)
            self._model[place] = ""

    def _recall(self, partition: str, forecaster: Forecaster) -> None:
        """After a restart: the values that training still knows, for the series that had events last."""
        if self._rings.places and not self._places.free:
            return
        history = forecaster.history()
        newest = dict.fromkeys(history.series[::-1][: 64 * self._count].tolist())
        chosen = {history.names[serial]: serial for serial in newest if serial in history.names}
        with self._lock:
            places = self._fit(forecaster.config.horizon, forecaster.config.quantiles)
            self._clear(places.join(partition, chosen))
            for name, serial in chosen.items():
                place = places.of((partition, name))
                if place is None:
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
                self._rings.append(np.full(len(rows), place, np.int64), np.arange(len(rows)), columns, None)

    # The readers' side ---------------------------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """What the rings may take, used or not."""
        return self._rings.bytes

    def series(self) -> list[SeriesKey]:
        """Partition and identifier of every series that the engine has a row for."""
        return [(partition, one) for partition, found in self._forecasters.items() for one in found.series]

    def partition_of(self, series: str, partition: str = "") -> str | None:
        """The partition where a series is, the first by name where it is in several; None where it is in none."""
        for name, forecaster in sorted(self._forecasters.items()):
            if partition in ("", name) and forecaster.row_of(series) is not None:
                return name
        return None

    def forecaster(self, partition: str) -> Forecaster | None:
        """The state of a partition, which the loop goes on changing: for a look that may be torn by a moment."""
        return self._forecasters.get(partition)

    def timezone(self, partition: str) -> str:
        """By whose clocks the months of a partition's forecasts begin."""
        found = self._forecasters.get(partition)
        return "UTC" if found is None else found.config.timezone

    def newest(self, keys: Sequence[SeriesKey]) -> list[tuple[int, float, float] | None]:
        """Time, value and score of the last event of each, None where it is not remembered. Asks for none."""
        with self._lock:
            places = [self._places.of(key) for key in keys]
            return [None if place is None else self._rings.newest(place) for place in places]

    def detail(self, partition: str, series: str) -> Detail | None:
        """Copies of what is remembered of a series; asks for a place where it has none.

        Returns:
            None where nothing was ever forecast, or every place is kept for listeners.
        """
        with self._lock:
            place = self._ask((partition, series))
            return None if place is None else self._rings.detail(place, partition, series, self._model[place])

    def _ask(self, key: SeriesKey) -> int | None:
        if not self._rings.places:
            return None
        place, new = self._places.ask(key)
        if place is not None and new:
            self._clear([place])
        return place

    def listen(self, keys: Sequence[SeriesKey]) -> bool:
        """The listener is told of these from now on; whether all of them have a place. Undone by `leave`."""
        with self._lock:
            self._places.listen(keys)
            found = [self._ask(key) for key in keys]
            return not self._rings.places or None not in found

    def leave(self, keys: Sequence[SeriesKey]) -> None:
        """Somebody stopped listening to them."""
        with self._lock:
            self._places.leave(keys)

    def anomalies(self, partition: str = "", series: str | None = None) -> list[Anomaly]:
        """The newest anomalies, the newest last; of one partition or series where it is named."""
        with self._lock:
            found = self._anomalies.copy()
        return AnomalyLog.read(found, partition, series)
