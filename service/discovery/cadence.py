"""The interval and the seasons of the series of an unknown input, from its first events."""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from forecaster import cadence_months, calendar_months, calendar_of, calendar_seasons, detect_seasons, on_grid
from service.aggregate.aggregator import Aggregator
from service.config.library import ModelSettings
from service.config.sections import Config
from service.discovery.sample import InputSample, sample_of_file
from service.errors import ConfigurationError, ServiceError
from service.messages.decode import Decoded, Decoder
from service.messages.selection import selected
from service.partitions.grouping import Grouping
from service.sources.pipes import kind_of
from service.transport.history import history_settings

_MOST_SEASONS: Final = 3  # of one network
_SERIES, _EVENTS = 64, 48  # checked for calendar steps
_ASSUMED: Final = 400  # steps of the longest season that is assumed unseen: a row keeps two of its seasons


class FirstEvents(NamedTuple):
    """The first events of an input.

    Attributes:
        series: (n,) int64, the number of each event's series.
        timestamp_ms: (n,) int64, rising. value: (n,) float64, nan where missing.
        complete: whether the input has no further events.
    """

    series: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    complete: bool = True

    @classmethod
    def of(cls, decoded: Decoded, *, complete: bool) -> Self:
        """Returns the events of decoded records, in the order of their times."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(decoded.series))}
        series = np.array([numbers[name] for name in decoded.series], np.int64)
        order = np.argsort(decoded.timestamp_ms, kind="stable")
        return cls(series[order], decoded.timestamp_ms[order], decoded.value[order], complete)


def seasons_of_input(
    config: Config, group: str = "", history: InputSample | None = None, live: InputSample | None = None
) -> tuple[int, ...] | None:
    """Returns the seasons of a network for an input, in steps, as configured or found in the input files.

    Files are judged by the first one that has events. Other inputs have no seasons where none are configured.

    Args:
        config: the configuration, with the fields that were chosen.
        group: the group of series whose network it is.
        history: a sample of one of the files of the history that was read already; it is not read again.
        live: the same of one of the input files.

    Returns:
        None where a season is a duration and the interval is unknown.

    Raises:
        ConfigurationError: a season is not a whole number of intervals.
    """
    own = config.of_group(group)
    interval = own.step_ms
    known = interval or not own.model.seasons_need_interval
    if own.model.seasons != "auto" and known:
        return steps_of(own.model, interval)
    if own.model.seasons == "auto":
        events = _first_events(config, group, history, live)
        return first_seasons(events, interval) if events else ()
    interval = interval_of_input(config, group, history, live)
    return steps_of(own.model, interval) if interval else None


def interval_of_input(
    config: Config, group: str = "", history: InputSample | None = None, live: InputSample | None = None
) -> int:
    """Returns the interval of the series of a group in the input files, in milliseconds; 0 where it is unknown.

    Args:
        config, group, history, live: see `seasons_of_input`.
    """
    events = _first_events(config, group, history, live)
    return common_interval(events) if events else 0


def steps_of(model: ModelSettings, interval_ms: int) -> tuple[int, ...]:
    """Returns the configured seasons in steps of an interval.

    Raises:
        ConfigurationError: a season is a duration and the interval is unknown (0) or does not divide it.
    """
    try:
        return model.season_steps(interval_ms)
    except ValueError as error:
        msg = f"model.seasons: {error}"
        raise ConfigurationError(msg) from None


def _first_events(
    config: Config, group: str, history: InputSample | None, live: InputSample | None
) -> FirstEvents | None:
    """Returns the first events of a group in the first file, of history and input, that has events; None without."""
    found = [(entry, settings, history) for entry, settings in history_settings(config)]
    if not config.kafka.topics and not any(kind_of(entry) != "file" for entry in config.input.files):
        found += [(entry, config.input, live) for entry in config.input.files]
    for entry, settings, read in found:
        try:
            sample = read if read is not None and read.source == entry else sample_of_file(entry, settings)
        except ServiceError:  # the daemon waits for the file, or reports it
            continue
        decoded = Decoder(settings, frames=sample.frames).decode(sample.records)
        if len(decoded):
            windows = Aggregator.of(config.aggregate, config.state.max_series)
            values = decoded if windows is None else windows.values_of(decoded)
            return _of_group(values, complete=sample.complete, config=config, group=group)
    return None


def _of_group(decoded: Decoded, *, complete: bool, config: Config, group: str) -> FirstEvents | None:
    if config.group:
        numbers = Grouping(config.group).of(decoded.series)
        keep = numbers == config.group_names.index(group)
        if not keep.any():
            return None
        decoded = selected(decoded, keep, duplicates=False)
    return FirstEvents.of(decoded, complete=complete)


def first_seasons(events: FirstEvents, interval_ms: int = 0) -> tuple[int, ...]:
    """Returns the seasons of a network for an input, in steps; none where the intervals of its series differ.

    Args:
        events: the first events.
        interval_ms: as configured; 0 for that of the series.
    """
    interval_ms = interval_ms or common_interval(events)
    return shown_seasons(events, interval_ms) if interval_ms else ()


def common_interval(events: FirstEvents) -> int:
    """Returns the median gap of most series, in milliseconds; 0 where series differ.

    Gaps of 28 to 31 days count as equal, because months have these lengths; likewise for quarters and years.
    """
    medians = []
    for part in events_by_series(events):
        gaps = np.diff(events.timestamp_ms[part])
        gaps = gaps[gaps > 0]
        if len(gaps):
            medians.append(median_gap(gaps))
    if not medians:
        return 0
    found, counts = np.unique(medians, return_counts=True)
    months = cadence_months(found)
    same = counts.max() == len(medians) or (months[0] > 0 and (months == months[0]).all())
    return int(found[np.argmax(counts)]) if same else 0


def median_gap(gaps_ms: NDArray[np.int64]) -> int:
    """Returns the lower median of gaps, which is one of them."""
    return int(np.sort(gaps_ms)[(len(gaps_ms) - 1) // 2])


def common_months(events: FirstEvents, interval_ms: int, timezone: str) -> int:
    """Returns the months of a calendar step if the checked series have such steps, else 0."""
    if not cadence_months(interval_ms):
        return 0
    parts = events_by_series(events)
    some = np.unique(np.linspace(0, len(parts) - 1, _SERIES).astype(int))
    rows = [events.timestamp_ms[parts[number]] for number in some.tolist()]
    found = {calendar_months(calendar_of(row[-_EVENTS:], interval_ms, timezone)) for row in rows if len(row) > 1}
    return found.pop() if len(found) == 1 else 0


def shown_seasons(events: FirstEvents, interval_ms: int) -> tuple[int, ...]:
    """Returns the seasons, in steps: day and week where two of them fit, and other detected ones.

    Day and week are used even if the data do not show them: each season adds an ensemble member, and hourly
    streams get worse without the week. Where no two of one fit, the shortest is assumed, and where the input has
    further events all that are not long.
    """
    grids = [on_grid(events.timestamp_ms[part], events.value[part], interval_ms) for part in events_by_series(events)]
    longest = max(map(len, grids), default=0)
    usual = calendar_seasons(interval_ms)
    reach = longest // 2 if events.complete else max(longest // 2, _ASSUMED)
    seen = tuple(season for season in usual if season <= reach) or usual[:1]
    others = [season for season in detect_seasons(grids, interval_ms) if season not in usual]
    return tuple(sorted((*seen, *others[: _MOST_SEASONS - len(seen)])))


def events_by_series(events: FirstEvents) -> list[NDArray[np.int64]]:
    """Returns the places of the events of each series, in the order of their numbers."""
    if not len(events.series):
        return []
    order = np.argsort(events.series, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(events.series[order])) + 1)
