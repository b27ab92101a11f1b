"""Turns forecasts into samples for remote write: one delivery per forecast, with a sample per step and quantile.

    forecast{metric="load", instance="web1", horizon="3600", step="12", quantile="0.5"}  value  origin or target time

The labels of a series of Prometheus stay labels, so that its forecasts can be joined with it; its name becomes the
label `metric`. A series of another source has its name in the label `series`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster import Forecasts, calendar_name, target_times
from service.config.remote_write import OWN_LABELS, RemoteWriteConfig
from service.deliveries.delivery import CommittedEvents, Delivery
from service.messages.encode import forecast_statuses, published_from
from service.messages.prometheus_names import NAME, labels_of
from service.messages.remote_write_samples import encode_labels, encode_sample, encode_time
from service.messages.series_patterns import SeriesPatterns
from service.ports import name_of_run

_REMEMBERED: Final = 200_000  # encoded label sets


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
        self._labels: dict[tuple[str, int, int, tuple[float, ...], int], list[bytes]] = {}

    def deliveries(self, events: CommittedEvents) -> Iterator[Delivery]:
        """Yields the chosen samples of every published forecast, except those of revisions."""
        publication = events.publication
        decoded, forecasts = publication.decoded, publication.forecasts
        published = self._published[publication.group]
        if events.is_known or (published.from_ms is None and publication.unit.of_history):
            return
        horizon = forecasts.quantiles.shape[1]
        steps = np.array([one for one in self._settings.steps or sorted({1, horizon}) if one <= horizon], np.int64)
        levels = publication.forecaster.config.quantiles
        columns = [at for at, level in enumerate(levels) if not self._settings.quantiles or level in
                   self._settings.quantiles]  # fmt: skip
        at = self._chosen(decoded.series, forecasts, published, events.start)
        if not len(at) or not len(steps) or not columns:
            return
        values = forecasts.quantiles[at][:, steps - 1][:, :, columns].astype("<f8").reshape(len(at), -1)
        times = self._times(forecasts, at, steps)
        chosen = tuple(levels[column] for column in columns)
        partition = name_of_run(publication.partition, publication.unit.run)
        for number, event in enumerate(at.tolist()):
            if not np.isfinite(values[number]).all():
                continue
            series, data = decoded.series[event], values[number].tobytes()
            labels = self._labels_of(
                series, int(forecasts.interval_ms[event]), int(forecasts.calendar[event]), chosen, steps
            )
            stamps = [encode_time(one) for one in times[number].tolist() for _ in columns]
            body = b"".join(
                encode_sample(own, data[8 * place : 8 * place + 8], stamp)
                for place, (own, stamp) in enumerate(zip(labels, stamps, strict=True))
            )
            within = 0 if decoded.within is None else decoded.within[event]
            identity = orjson.dumps([partition, decoded.positions[event], within, series]).decode()
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

    def _labels_of(
        self, series: str, interval_ms: int, calendar: int, levels: tuple[float, ...], steps: NDArray[np.int64]
    ) -> list[bytes]:
        """Returns the encoded labels of all steps and levels of a series."""
        key = series, interval_ms, calendar, levels, int(steps[-1])
        found = self._labels.get(key)
        if found is None:
            if (len(self._labels) + 1) * len(steps) * len(levels) > _REMEMBERED:
                self._labels.clear()
            own = base_labels(series, self._settings.metric, self._settings.labels)
            found = self._labels[key] = [
                encode_labels(
                    [*own, ("horizon", horizon_label(interval_ms, calendar, step)), ("step", str(step)),
                     ("quantile", f"{level:g}")]
                )
                for step in steps.tolist()
                for level in levels
            ]  # fmt: skip
        return found

    def on_partitions(self, assigned: Collection[str]) -> None:
        """Does nothing: there is no state of partitions."""


def base_labels(series: str, metric: str, further: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the labels of the forecasts of a series, without those of step and quantile.

    Args:
        series: as events name it. metric: name of the metric of forecasts. further: labels of all samples.
    """
    labels = labels_of(series)
    fixed = {NAME: metric, **further}
    if labels is None:
        return [*fixed.items(), ("series", series)]
    own = dict(labels)
    if name := own.pop(NAME, ""):
        fixed["metric"] = name
    taken = {*fixed, *OWN_LABELS}
    for label, value in sorted(own.items(), key=lambda one: one[0] in taken):  # those that keep their name first
        while label in fixed or label in OWN_LABELS:
            label = f"exported_{label}"
        fixed[label] = value
    return [*fixed.items()]


def horizon_label(interval_ms: int, calendar: int, step: int) -> str:
    """Returns how far ahead a step is: in seconds, such as "3600"; for steps of the calendar as "3mo" or "2y"."""
    if calendar:
        name = calendar_name(calendar)
        unit = name.lstrip("0123456789")
        return f"{step * int(name.removesuffix(unit))}{unit}"
    whole, rest = divmod(step * interval_ms, 1000)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
