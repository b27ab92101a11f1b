"""Turns forecasts into deliveries for remote write: the chosen steps and quantiles of each published forecast.

    identity   JSON: partition with its run, position, number within the record, series
    body       `forecast_labels.shape_of`, line end, times (8 bytes each, one per step), values (8 bytes each)

The labels are added when they are sent: in the spool they would be ten times the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster import Forecasts, target_times
from service.config.remote_write import RemoteWriteConfig
from service.deliveries.delivery import CommittedEvents, Delivery, Spooled
from service.deliveries.forecast_labels import SampleHeads, shape_of
from service.messages.encode import forecast_statuses, published_from
from service.messages.remote_write_samples import encode_time
from service.messages.series_patterns import SeriesPatterns
from service.ports import name_of_run
from service.publication import ServedAlerts

_TIME: Final = "<i8"
_VALUE: Final = "<f8"
_WIDTH: Final = 8


class Published(NamedTuple):
    """Which forecasts of a group are published: those of every n-th step, and of events from a time on; None: all."""

    every: int
    from_ms: int | None


class ForecastSamples:
    """A `DeliveryProducer`. Used in the engine's thread.

    Args:
        settings: what is written.
        published: by group of series.
        target: name of the target.
    """

    def __init__(self, settings: RemoteWriteConfig, published: Mapping[str, Published], target: str) -> None:
        self._settings, self._published, self._target = settings, published, target
        self._patterns = SeriesPatterns(settings.series)

    def deliveries(self, events: CommittedEvents) -> Iterator[Delivery]:
        """Yields the chosen samples of every published forecast, except those of revisions."""
        publication = events.publication
        decoded, forecasts = publication.decoded, publication.forecasts
        published, settings = self._published[publication.group], self._settings
        if events.is_known or (published.from_ms is None and publication.unit.of_history):
            return
        horizon = forecasts.quantiles.shape[1]
        steps = np.array([one for one in sorted(settings.steps) or sorted({1, horizon}) if one <= horizon], np.int64)
        levels = publication.forecaster.config.quantiles
        columns = [at for at, level in enumerate(levels) if not settings.quantiles or level in settings.quantiles]
        at = self._chosen(decoded.series, forecasts, published, events.start)
        if not len(at) or not len(steps) or not columns:
            return
        values = forecasts.quantiles[at][:, steps - 1][:, :, columns].astype(_VALUE).reshape(len(at), -1)
        times = self._times(forecasts, at, steps).astype(_TIME)
        finite = np.isfinite(values).all(axis=1).tolist()
        chosen, listed = [levels[column] for column in columns], steps.tolist()
        partition = name_of_run(publication.partition, publication.unit.run)
        shapes: dict[tuple[int, int], bytes] = {}
        kinds = zip(forecasts.interval_ms[at].tolist(), forecasts.calendar[at].tolist(), strict=True)
        for number, (event, kind) in enumerate(zip(at.tolist(), kinds, strict=True)):
            if not finite[number]:
                continue
            shape = shapes.get(kind) or shapes.setdefault(kind, shape_of(*kind, listed, chosen))
            within = 0 if decoded.within is None else decoded.within[event]
            identity = orjson.dumps([partition, decoded.positions[event], within, decoded.series[event]]).decode()
            body = b"%b\n%b%b" % (shape, times[number].tobytes(), values[number].tobytes())
            yield Delivery(self._target, event, identity, body)

    def _chosen(
        self, series: Sequence[str], forecasts: Forecasts, published: Published, start: int
    ) -> NDArray[np.int64]:
        """Returns the indices of the events whose forecasts are written."""
        status = np.isin(forecasts.status, forecast_statuses())
        due = (forecasts.steps % published.every == 0) | (forecasts.flagged != 0)
        wanted = status & due & published_from(forecasts, published.from_ms) & (self._patterns.first(series) > 0)
        wanted[:start] = False
        return np.flatnonzero(wanted)

    def _times(self, forecasts: Forecasts, at: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the times of the samples, shape (m, steps)."""
        if self._settings.times == "target":
            return target_times(forecasts, at)[:, steps - 1]
        return np.repeat(forecasts.origin_ms[at][:, None], len(steps), axis=1)

    def on_partitions(self, served: Collection[str]) -> None:
        """Does nothing: there is no state of partitions."""

    def on_served(self, served: ServedAlerts) -> None:
        """Does nothing, too."""


def encode_forecast(one: Spooled, heads: SampleHeads) -> bytes:
    """Encodes the samples of a forecast in the spool as part of a request of remote write."""
    shape, _, data = one.body.partition(b"\n")
    steps, levels = map(len, orjson.loads(shape)[2:])
    times = [encode_time(at) for at in np.frombuffer(data, _TIME, steps).tolist()]
    series, place, parts = orjson.loads(one.identity)[-1], steps * _WIDTH, list[bytes]()
    for step, time in enumerate(times):
        for head in heads.of(series, shape, len(time))[step * levels : (step + 1) * levels]:
            parts += (head, data[place : place + _WIDTH], time)
            place += _WIDTH
    return b"".join(parts)
