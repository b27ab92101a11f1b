"""Single series that are shown one by one: which, and what was last forecast for each. Bounded, whatever the input.

A series is shown because a pattern of `metrics.export_series` fits it, because a threshold watches it, or because it
is among the `metrics.export_top` with the most anomalies of late. The latter are found by the space-saving sketch
(Metwally, Agrawal & El Abbadi 2005) over flagged events, with counts that halve now and then; a series is displaced
only by one with twice as many, so that labels do not come and go with every flag.

The loop writes, a scrape reads: what is kept per series is replaced as a whole, never changed.
"""

from __future__ import annotations

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
from service.publication import Listener, Publication, SeriesKey

if TYPE_CHECKING:
    from forecaster import Forecaster

_log = structlog.get_logger()

# Names are remembered as not wanted up to this many; beyond, they are matched again.
_REMEMBERED: Final = 100_000
# Flagged events after which the counts of the sketch are halved: what was long ago fades.
_HALVED: Final = 1000
_CANDIDATES: Final = 4  # kept per place of the top list


@dataclass(frozen=True, slots=True)
class Shown:
    """A series as of its last event.

    Attributes:
        partition, series: which.
        timestamp_ms: of the event. value: nan where missing. anomaly: its score, nan where there is none.
        interval_ms: between two steps, 0 where not known.
        quantiles: (horizon, levels) of the forecast, nan where nothing is known of the series. levels: of them.
        calendar, timezone: of the steps where they are months, see `forecaster.Forecasts`.
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
    """Which series are shown, and what of each.

    Args:
        config: may be replaced by `configure`.
    """

    def __init__(self, config: MetricsConfig) -> None:
        self._lock = threading.Lock()
        self._shown: dict[SeriesKey, Shown] = {}
        self._counts: dict[SeriesKey, float] = {}
        self._flags = 0
        self._top: set[SeriesKey] = set()
        self.configure(config)

    def configure(self, config: MetricsConfig) -> None:
        """Takes other settings over; what they do not name is not shown any more."""
        patterns = [*config.export_series, *(threshold.series for threshold in config.thresholds)]
        fits = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")
        with self._lock:
            self.config, self._fits, self._listed, self._others = config, fits, set[SeriesKey](), set[SeriesKey]()
            self._shown, self._counts, self._top, self._reported = {}, {}, set(), set[int]()

    def on_publication(self, publication: Publication) -> None:
        """Keeps the last answer for every series that is shown."""
        levels = publication.forecaster.config.quantiles
        self.update(publication.partition, publication.decoded.batch, publication.forecasts, levels)
        if gone := publication.forgotten:
            self.forget(publication.partition, gone)

    def on_partitions(self, assigned: Collection[str], restored: Mapping[str, Forecaster]) -> None:  # noqa: ARG002 - assigned ones keep what is shown
        """Forgets the series of partitions that another process serves now."""
        self.keep(assigned)

    def update(self, partition: str, batch: Batch, forecasts: Forecasts, levels: tuple[float, ...]) -> None:
        """Keeps the last answer for every series that is shown.

        Costs one pass over the names where something is to be shown, and nothing where not.
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

    def _report(self, row: Shown) -> None:
        """Logs once per threshold that the forecast of a series does not reach as far as it asks for."""
        horizon = len(row.quantiles)
        for number, threshold in enumerate(self.config.thresholds):
            if number in self._reported or not row.interval_ms or threshold.reached(row.interval_ms, horizon):
                continue
            if fnmatch.fnmatchcase(row.series, threshold.series):
                self._reported.add(number)
                _log.warning(
                    "threshold looks further than the forecast", series=row.series, limit=threshold.label,
                    got=format_duration(threshold.within), expected=threshold.expected(row.interval_ms, horizon),
                )  # fmt: skip

    def _joins(self, key: SeriesKey) -> bool:
        """Whether a series is to be shown from now on because of its name."""
        if len(self._listed) >= self.config.export_limit or key in self._others:
            return False
        if self._fits.fullmatch(key[1]):
            self._listed.add(key)
            return True
        if len(self._others) < _REMEMBERED:
            self._others.add(key)
        return False

    def _flagged(self, key: SeriesKey) -> None:
        """Counts an anomaly, and lets the series displace the quietest of the top list if it has twice as many."""
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
        """Forgets the series of all other partitions: another process shows them now."""
        with self._lock:
            for keys in (self._listed, self._others, self._top):
                keys.difference_update([key for key in keys if key[0] not in partitions])
            for table in (self._shown, self._counts):
                for key in [key for key in table if key[0] not in partitions]:
                    del table[key]

    def forget(self, partition: str, series: Iterable[str]) -> None:
        """Shows series no longer that the engine has forgotten, until their next event."""
        with self._lock:
            for name in series:
                self._shown.pop((partition, name), None)

    def rows(self) -> list[Shown]:
        """All that is shown, in the order of names."""
        with self._lock:
            shown = list(self._shown.values())
        return sorted(shown, key=lambda row: (row.partition, row.series))

    def watched(self) -> Iterator[tuple[Shown, Threshold]]:
        """Every shown series with every limit that watches it, `export_limit` pairs at most."""
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
    """Probability that the value lies above a limit, per horizon.

    Straight lines between quantiles. Beyond the outermost ones the probability falls from theirs by half over every
    further half-width of the outer half of the distribution, so it is small but not zero.

    Args:
        quantiles: (horizon, levels) non-decreasing. levels: of them. limit: finite.

    Returns:
        (horizon,) from 0 to 1.
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
                out[h] = 0.0  # the value is where the limit is, and not above it
        elif limit < row[0]:
            half = row[middle] - row[0]
            far = (row[0] - limit) / half if half > 0.0 else np.inf
            out[h] = 1.0 - a[0] * 0.5 ** (2.0 * far)
        else:
            out[h] = 1.0 - np.interp(limit, row, a)
    return out


def breach(row: Shown, threshold: Threshold) -> tuple[float, float] | None:
    """Probability that a series crosses a limit within the time asked for, and the expected time until then.

    What is forecast are the distributions at every horizon, not how they hang together. Taken is that a path keeps its
    level, as those of a trend do: the probability to have crossed by h is the greatest of those up to h. That is a
    lower bound; a series that forgets quickly has more chances.

    Returns:
        The probability; and the mean time in seconds from the last event to the crossing, if there is one (nan where
        there is no chance of it or the interval is not known). None where nothing is known of the series, and where the
        forecast does not reach as far as is asked for.
    """
    if not row.known or not threshold.reached(row.interval_ms, len(row.quantiles)):
        return None
    from forecaster import step_times  # noqa: PLC0415 - compiled; commands that only read settings do not wait for it

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
