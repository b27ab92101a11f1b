"""What a sample holds, read with given settings: series, intervals, gaps, disorder, counters, seasons, rejects."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.aggregate.aggregator import Aggregator
from service.config.aggregate import AggregateConfig
from service.config.groups import shown_group
from service.config.input import InputConfig
from service.discovery.cadence import FirstEvents, first_seasons
from service.discovery.cadence_groups import cadence_groups
from service.discovery.sample import InputSample
from service.discovery.window_advice import FEW, Series, WindowAdvice, advise
from service.messages.decode import Decoder

_MOST_SERIES: Final = 5  # listed by name
_RISES: Final = 0.3  # of the steps of a counter go up at least
_RESETS: Final = 0.05  # of its steps go down at most
_GAP: Final = 1.5  # intervals that are a gap
_LEAST_SHARE: Final = 0.1  # of the series for an interval to be named


@dataclass(slots=True)
class Summary:
    """The events of a sample.

    Attributes:
        records, events, missing: counts; events without a value are missing values.
        series: number of series; examples: names of some of them.
        first_ms, last_ms: event times.
        intervals_ms: usual intervals of the series, the commonest first.
        gaps: events that come later than usual. duplicates: events at the time of another one of their series.
        late: events older than the newest event of their series.
        counters: series that only grow, but for resets.
        seasons: lengths in steps of the seasons that a network for these series has.
        rejects: records by the reason of their reject; first: the detail of the first one.
        clock_changes: times without a zone within a change of the clock.
        filtered: records, and elements of their arrays, that do not meet `input.where`.
        windows: values of the windows that close; None without windows.
        advice: windows that would make the series regular; None where they are, or windows are configured. The seasons
            are those of the values of these windows.
        cadences: number of series of each group by cadence, by its name; none where all series have one cadence.
        ahead: names of known future values that records have and the settings do not name.
    """

    records: int
    events: int = 0
    missing: int = 0
    series: int = 0
    examples: list[str] = field(default_factory=list)
    first_ms: int = 0
    last_ms: int = 0
    intervals_ms: list[int] = field(default_factory=list)
    gaps: int = 0
    duplicates: int = 0
    late: int = 0
    counters: list[str] = field(default_factory=list)
    seasons: list[int] = field(default_factory=list)
    rejects: dict[str, int] = field(default_factory=dict)
    first: str = ""
    clock_changes: int = 0
    filtered: int = 0
    windows: int | None = None
    advice: WindowAdvice | None = None
    cadences: dict[str, int] = field(default_factory=dict)
    ahead: list[str] = field(default_factory=list)


def summarise(
    sample: InputSample, settings: InputConfig, interval_ms: int = 0, aggregator: Aggregator | None = None
) -> Summary:
    """Decodes a sample as the daemon would, and returns what is in it.

    Args:
        sample: the records.
        settings: how they are read.
        interval_ms: the configured interval of the series; 0 where it is estimated.
        aggregator: turns the events into values of windows, which have the seasons; None without windows.
    """
    decoded = Decoder(settings, frames=sample.frames).decode(sample.records)
    found = Summary(len(sample.records), len(decoded), decoded.missing, clock_changes=decoded.clock_changes)
    found.rejects = dict(Counter(reject.reason for reject in decoded.rejects))
    found.filtered = sum(count for _, count in decoded.filtered)
    found.first = decoded.rejects[0].detail if decoded.rejects else ""
    found.ahead = _known_ahead(sample, settings)
    if not len(decoded):
        return found
    found.first_ms, found.last_ms = int(decoded.timestamp_ms.min()), int(decoded.timestamp_ms.max())
    rows: dict[str, list[int]] = {}
    for at, name in enumerate(decoded.series):
        rows.setdefault(name, []).append(at)
    found.series, found.examples = len(rows), list(rows)[:_MOST_SERIES]
    intervals, several = Counter[int](), list[Series]()
    for name, its in rows.items():
        times, values = decoded.timestamp_ms[its], decoded.value[its]
        newest = np.maximum.accumulate(times)
        found.late += int((times[1:] < newest[:-1]).sum())
        times, first = np.unique(times, return_index=True)
        found.duplicates += len(its) - len(times)
        steps = np.diff(times)
        if len(steps):
            usual = int(np.median(steps))
            intervals[usual] += 1
            found.gaps += int((steps > _GAP * usual).sum())
        if counter := _is_counter(values[first]):
            found.counters.append(name)
        order = np.argsort(decoded.timestamp_ms[its], kind="stable")
        several.append(Series(name, decoded.timestamp_ms[its][order], values[order], counter))
    found.intervals_ms = [one for one, count in intervals.most_common(3) if count >= _LEAST_SHARE * len(rows)]
    if aggregator is not None:
        events = aggregator.values_of(decoded)
        found.windows = len(events)
    elif (advice := advise(several)) is not None:
        if sample.format == "access-log" and settings.fields.value == "request_time":
            advice = advice.of_requests()
        found.advice, windows = advice, AggregateConfig.model_validate(advice.settings)
        events, interval_ms = Aggregator(windows, len(rows)).values_of(decoded), round(windows.interval * 1000)
    else:
        events = decoded
    all_events = FirstEvents.of(events, complete=sample.complete)
    found.seasons = list(first_seasons(all_events, interval_ms))
    if not interval_ms and aggregator is None:
        found.cadences = {shown_group(group.name): len(group.series) for group in cadence_groups(all_events)}
    return found


def _known_ahead(sample: InputSample, settings: InputConfig) -> list[str]:
    """Returns the names of the known future values of the first record that `input.future_covariates` has not."""
    begin, values = f"{settings.fields.future}.", sample.records.values
    names = [path.removeprefix(begin) for path in sample.paths if path.startswith(begin)]  # columns of CSV
    if values and values[0][:1] == b"{":
        with contextlib.suppress(ValueError):  # it is rejected, with the reason
            given = orjson.loads(values[0]).get(str(settings.fields.future))
            names += (
                [name for name, ahead in given.items() if isinstance(ahead, list)] if isinstance(given, dict) else []
            )
    return [name for name in dict.fromkeys(names) if name not in settings.future_covariates]


def _is_counter(values: NDArray[np.float64]) -> bool:
    present = values[np.isfinite(values)]
    if len(present) < FEW or (present < 0).any():
        return False
    steps = np.diff(present)
    return bool((steps > 0).mean() >= _RISES and (steps < 0).mean() <= _RESETS and present[-1] != present[0])
