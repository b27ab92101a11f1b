"""Selects the series with metrics of their own and keeps their last forecasts; the number is bounded for any input.

A series is exported if a pattern of `metrics.export_series` matches it, if a threshold watches it, or if it is among
the `metrics.export_top` series with the most recent anomalies. The latter are found by the space-saving sketch
(Metwally, Agrawal & El Abbadi 2005) over flagged events, with counts that are halved periodically. Only a series with
twice the count displaces another one, so that labels do not change with every flag.

The engine writes and a scrape reads: the entry of a series is replaced as one object, never modified.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from forecaster import Batch, Forecasts, is_observed
from service.config.durations import format_duration
from service.config.monitoring import MetricsConfig, Threshold
from service.publication import Listener, Publication, SeriesKey, newest_corrections

if TYPE_CHECKING:
    from forecaster import Forecaster

_log = structlog.get_logger()

# Names that match no pattern are cached up to this number; further names are matched each time.
_REMEMBERED: Final = 100_000
# Flagged events after which the counts of the sketch are halved, so that old anomalies lose weight.
_HALVED: Final = 1000
_CANDIDATES: Final = 4  # counted per slot of the top list


@dataclass(frozen=True, slots=True)
class Shown:
    """The last event of an exported series, with its forecast.

    Attributes:
        partition, series: identify the series.
        timestamp_ms: of the event. value: nan where missing. anomaly: its score, nan without one.
        interval_ms: between two steps, 0 where unknown.
        quantiles: (horizon, levels) of the forecast, nan without a forecast. levels: their levels.
        calendar, timezone: of the steps where they are calendar months, see `forecaster.Forecasts`.
    """

    partition: str
    series: str
    timestamp_ms: int
    value: float
    anomaly: float
    interval_ms: int
    quantiles: NDArray[np.floating]
    levels: tuple[float, ...]
    calendar: int = 0
    timezone: str = "UTC"

    @property
    def known(self) -> bool:
        """Whether there is a forecast."""
        return bool(np.isfinite(self.quantiles).all())


class ExportedSeries(Listener):
    """Selects the exported series and keeps their last events.

    Args:
        config: the settings; `configure` replaces them.
    """

    def __init__(self, config: MetricsConfig) -> None:
        self._lock = threading.Lock()
        self._shown: dict[SeriesKey, Shown] = {}
        self._counts: dict[SeriesKey, float] = {}
        self._flags = 0
        self._top: set[SeriesKey] = set()
        self.configure(config)

    def configure(self, config: MetricsConfig) -> None:
        """Replaces the settings; series that they do not select are no longer exported."""
        patterns = [*config.export_series, *(threshold.series for threshold in config.thresholds)]
        fits = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")
        with self._lock:
            self.config, self._fits, self._listed, self._others = config, fits, set[SeriesKey](), set[SeriesKey]()
            self._shown, self._counts, self._top, self._reported = {}, {}, set(), set[int]()

    def on_publication(self, publication: Publication) -> None:
        """Keeps the last event of every exported series."""
        levels = publication.forecaster.config.quantiles
        self.update(publication.partition, publication.decoded.batch, publication.forecasts, levels)
        if gone := publication.forgotten:
            self.forget(publication.partition, gone)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Mapping[str, Forecaster]]) -> None:  # noqa: ARG002 - only `assigned` matters
        """Removes the series of partitions that another process serves now."""
        self.keep(assigned)

    def update(self, partition: str, batch: Batch, forecasts: Forecasts, levels: tuple[float, ...]) -> None:
        """Keeps the last event of every exported series.

        Costs one pass over the names where series are exported, and nothing otherwise.
        """
        config = self.config
        if not (config.export_series or config.thresholds or config.export_top) or not len(batch):
            return
        answered = np.flatnonzero(is_observed(forecasts.status)).tolist()
        last = dict(zip([batch.series[i] for i in answered], answered, strict=True))
        with self._lock:
            if config.export_top:
                for i in np.flatnonzero(forecasts.flagged).tolist():
                    self._flagged((partition, batch.series[i]))
            for name, at in last.items():
                key = (partition, name)
                if key in self._top or key in self._listed or self._joins(key):
                    self._shown[key] = Shown(
                        partition, name, int(batch.timestamp_ms[at]), float(batch.value[at]),
                        float(forecasts.anomaly[at]), int(forecasts.interval_ms[at]), forecasts.quantiles[at].copy(),
                        levels, int(forecasts.calendar[at]), forecasts.timezone,
                    )  # fmt: skip
                    self._report(self._shown[key])
            for name, at in newest_corrections(batch.series, forecasts).items():
                if (row := self._shown.get((partition, name))) is not None:
                    self._shown[partition, name] = dataclasses.replace(
                        row, interval_ms=int(forecasts.interval_ms[at]), quantiles=forecasts.quantiles[at].copy(),
                        calendar=int(forecasts.calendar[at]),
                    )  # fmt: skip

    def _report(self, row: Shown) -> None:
        """Logs once per threshold that its `within` is outside of the forecast horizon of a series."""
        horizon = len(row.quantiles)
        for number, threshold in enumerate(self.config.thresholds):
            if number in self._reported or not row.interval_ms or threshold.reached(row.interval_ms, horizon):
                continue
            if fnmatch.fnmatchcase(row.series, threshold.series):
                self._reported.add(number)
                _log.warning(
                    "threshold is outside of the forecast horizon", series=row.series, limit=threshold.label,
                    got=format_duration(threshold.within), expected=threshold.expected(row.interval_ms, horizon),
                )  # fmt: skip

    def _joins(self, key: SeriesKey) -> bool:
        """Returns whether a series is exported from now on because of its name."""
        if len(self._listed) >= self.config.export_limit or key in self._others:
            return False
        if self._fits.fullmatch(key[1]):
            self._listed.add(key)
            return True
        if len(self._others) < _REMEMBERED:
            self._others.add(key)
        return False

    def _flagged(self, key: SeriesKey) -> None:
        """Counts an anomaly; a series with twice the smallest count in the top list displaces that series."""
        counts, top, size = self._counts, self._top, self.config.export_top
        if key not in counts and len(counts) >= _CANDIDATES * size:
            least = min(counts, key=lambda other: (counts[other], other))
            counts[key] = counts.pop(least)
            self._drop(least)
        counts[key] = counts.get(key, 0.0) + 1.0
        if key not in top:
            if len(top) < size:
                top.add(key)
            else:
                quietest = min(top, key=lambda other: (counts.get(other, 0.0), other))
                if counts[key] >= 2.0 * counts.get(quietest, 0.0):
                    self._drop(quietest)
                    top.add(key)
        self._flags += 1
        if self._flags % _HALVED == 0:
            for other in counts:
                counts[other] /= 2.0

    def _drop(self, key: SeriesKey) -> None:
        self._top.discard(key)
        if key not in self._listed:
            self._shown.pop(key, None)

    def keep(self, partitions: Collection[str]) -> None:
        """Removes the series of all other partitions, which another process exports now."""
        with self._lock:
            for keys in (self._listed, self._others, self._top):
                keys.difference_update([key for key in keys if key[0] not in partitions])
            for table in (self._shown, self._counts):
                for key in [key for key in table if key[0] not in partitions]:
                    del table[key]

    def forget(self, partition: str, series: Iterable[str]) -> None:
        """Removes series whose state was removed; they are exported again from their next event on."""
        with self._lock:
            for name in series:
                self._shown.pop((partition, name), None)

    def rows(self) -> list[Shown]:
        """Returns all exported series, ordered by name."""
        with self._lock:
            shown = list(self._shown.values())
        return sorted(shown, key=lambda row: (row.partition, row.series))

    def watched(self) -> Iterator[tuple[Shown, Threshold]]:
        """Yields every exported series with every threshold that watches it, at most `export_limit` pairs."""
        left = self.config.export_limit
        rows = self.rows()
        for threshold in self.config.thresholds:
            for row in rows:
                if fnmatch.fnmatchcase(row.series, threshold.series):
                    if not left:
                        return
                    left -= 1
                    yield row, threshold


def exceedance(quantiles: NDArray[np.floating], levels: Sequence[float], limit: float) -> NDArray[np.float64]:
    """Computes the probability that the value is above a limit, per horizon.

    Interpolates linearly between quantiles. Outside of the outermost ones the tail probability halves with every
    further half-width of the outer half of the distribution, so it is small but not zero.

    Args:
        quantiles: (horizon, levels) non-decreasing. levels: their levels. limit: finite.

    Returns:
        (horizon,) probabilities from 0 to 1.
    """
    a = np.asarray(levels, np.float64)
    out = np.empty(len(quantiles))
    middle = len(a) // 2
    for h, row in enumerate(np.asarray(quantiles, np.float64)):
        if limit >= row[-1]:
            half = row[-1] - row[middle]
            far = (limit - row[-1]) / half if half > 0.0 else (0.0 if limit == row[-1] else np.inf)
            out[h] = (1.0 - a[-1]) * 0.5 ** (2.0 * far)
            if limit == row[-1] and half <= 0.0:
                out[h] = 0.0  # the value is equal to the limit, not above it
        elif limit < row[0]:
            half = row[middle] - row[0]
            far = (row[0] - limit) / half if half > 0.0 else np.inf
            out[h] = 1.0 - a[0] * 0.5 ** (2.0 * far)
        else:
            out[h] = 1.0 - np.interp(limit, row, a)
    return out


def breach(row: Shown, threshold: Threshold) -> tuple[float, float] | None:
    """Computes the probability that a series crosses a limit within `within`, and the expected time until then.

    A forecast has the distribution at every horizon, but not their dependence. This assumes that a path keeps its
    quantile level, as a trend does: the probability of a crossing up to step h is the maximum of the probabilities up
    to h. That is a lower bound; it is too small for series with weak autocorrelation.

    Returns:
        The probability, and the mean time in seconds from the last event to the crossing, given that there is one (nan
        where the probability is zero or the interval unknown). None without a forecast, and where `within` is outside
        of the forecast horizon.
    """
    if not row.known or not threshold.reached(row.interval_ms, len(row.quantiles)):
        return None
    from forecaster import step_times  # noqa: PLC0415 - compiled; slow to import

    if threshold.above is not None:
        chance = exceedance(row.quantiles, row.levels, threshold.above)
    else:
        limit = -float(threshold.below or 0.0)
        mirrored = -row.quantiles[:, ::-1]
        chance = exceedance(mirrored, [1.0 - level for level in reversed(row.levels)], limit)
    steps = np.arange(1, len(chance) + 1)
    times = step_times(row.timestamp_ms, row.interval_ms, row.calendar, steps, row.timezone)
    seconds = (times - row.timestamp_ms) / 1000.0
    if threshold.within:
        chance = chance[seconds <= threshold.within]
    crossed = np.maximum.accumulate(chance)
    now = np.diff(crossed, prepend=0.0)
    if not row.interval_ms or crossed[-1] <= 0.0:
        return float(crossed[-1]), float("nan")
    return float(crossed[-1]), float((now * seconds[: len(now)]).sum() / crossed[-1])
