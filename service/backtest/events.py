"""The events of a file as columns in time order, decoded by the code for the live stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forecaster import History
from service.aggregate.aggregator import Aggregator
from service.config.input import InputConfig
from service.config.sections import Config
from service.discovery.choice import settled
from service.discovery.sample import sample_of_file
from service.errors import ServiceError
from service.messages.decode import CSV_HEADER, Decoded, Decoder, reject_of
from service.ports import Reject
from service.sources.byte_source import open_bytes
from service.sources.file_replay import as_records, headers_of
from service.sources.lines import Lines

_READ = 65_536


@dataclass(frozen=True)
class EventTable:
    """The events of a file, in time order.

    Attributes:
        names: the series, sorted.
        series: (n,) int64, index into `names`.
        timestamp_ms: (n,) int64.
        value: (n,) float64, nan where missing.
        covariates: (n, C) float32, or None.
        rejects: number of rejected records; `example` is the first of them.
        future: (n, F, horizon) float32, or None.
    """

    names: list[str]
    series: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    covariates: NDArray[np.float32] | None
    rejects: int
    example: Reject | None
    future: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """The number of events."""
        return len(self.series)

    @property
    def series_names(self) -> list[str]:
        """The name of every event's series; all events of a series share one string object."""
        return [self.names[i] for i in self.series.tolist()]


class _Names:
    """Numbers names by their first appearance; memory depends on the distinct names only."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Returns (n,) the number of each name."""
        found = self._numbers
        return np.fromiter((found.setdefault(name, len(found)) for name in names), np.int64, len(names))

    def ranked(self) -> tuple[list[str], NDArray[np.int64]]:
        """Returns the names, sorted, and the rank of each number among them."""
        names = sorted(self._numbers)
        rank = np.zeros(len(names), np.int64)
        rank[[self._numbers[name] for name in names]] = np.arange(len(names))
        return names, rank


def read_file(path: Path, config: Config) -> EventTable:
    """Reads a file with the fields, windows and late events of a configuration, see `read_events`."""
    windows = Aggregator.of(config.aggregate, config.state.max_series, config.input.late_within)
    return read_events(path, config.input, config.model.horizon, windows)


def read_events(
    path: Path,
    settings: InputConfig,
    horizon: int = 1,
    aggregator: Aggregator | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> EventTable:
    """Reads a file in any format of `input.format`, and sorts its events by time.

    Events with equal times keep the order of the file. The fields that the configuration does not name are chosen as
    by `forecaster run` (`service.discovery.choice`). `horizon` steps of known future values are read. With an
    aggregator, the events are the windows that the records of the file close, in its order, as in the daemon: of a
    window that late events revise, the last value; windows with equal begins are in the order of their names.

    `progress` is called with the number of events so far, 0 for the unknown number of all, and "reading".

    Raises:
        ConfigurationError: format or columns cannot be determined.
        ServiceError: the file cannot be read, or has no event.
    """
    sample = sample_of_file(str(path), settings)
    settings = settled(sample, settings)
    decoder = Decoder(settings, horizon)
    headers = headers_of(str(path), None, named=True, form=sample.format)
    names, series = _Names(), [np.zeros(0, np.int64)]
    times, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    covariates, future = list[NDArray[np.float32]](), list[NDArray[np.float32]]()
    revises = list[NDArray[np.bool_]]()
    rejects, example = 0, None
    source = open_bytes(path, 0, form=sample.format)
    source.complete()
    lines = Lines(source, 0, max_bytes=settings.max_record_bytes, header=sample.format == "csv", csv=settings.csv_start)
    try:
        while lines.fill() or lines.finish():
            while (taken := lines.take(_READ)) is not None:
                if lines.header is not None and CSV_HEADER not in dict(headers):
                    headers = headers_of(str(path), lines.header, named=True, form=sample.format)
                records = as_records(str(path), taken, headers)
                decoded = decoder.decode(records)
                rejected = decoded.rejects
                if aggregator is not None:
                    decoded = aggregator.values_of(decoded)
                    refused = () if decoded.windows is None else decoded.windows.refused
                    rejected = [*rejected, *(reject_of(records, at, problem) for at, problem in refused)]
                    revises.append(_revises(decoded))
                series.append(names.numbers(decoded.series))
                times.append(decoded.timestamp_ms)
                values.append(decoded.value)
                if decoded.covariates is not None:
                    covariates.append(decoded.covariates)
                if decoded.future is not None:
                    future.append(decoded.future)
                rejects += len(rejected)
                example = example or next(iter(rejected), None)
                if progress is not None:
                    progress(sum(map(len, times)), 0, "reading")
        if damage := source.damage():
            msg = f"{path}: {damage}"
            raise ServiceError(msg)
    finally:
        source.close()
    numbers = np.concatenate(series)
    if not len(numbers):
        why = f"; the first of {rejects} rejected records:  {example.detail}" if example else ""
        msg = f"{path}: got no events, expected at least one{why}"
        raise ServiceError(msg)
    columns = np.concatenate(times), np.concatenate(values)
    if aggregator is not None:
        keep = _last_values(names.ranked()[1][numbers], columns[0], np.concatenate(revises))
        numbers, columns = numbers[keep], (columns[0][keep], columns[1][keep])
    return _in_time_order(names, numbers, *columns, covariates, future, rejects, example)


def joined(tables: Sequence[EventTable]) -> EventTable:
    """Returns the events of one table or several, in time order; those of equal time in the order of the tables."""
    if len(tables) == 1:
        return tables[0]
    names = _Names()
    numbers = [names.numbers(table.names)[table.series] for table in tables]
    times, values = (np.concatenate([getattr(table, name) for table in tables]) for name in ("timestamp_ms", "value"))
    covariates, future = ([one for table in tables if (one := getattr(table, name)) is not None]
                          for name in ("covariates", "future"))  # fmt: skip
    rejects = sum(table.rejects for table in tables)
    example = next((table.example for table in tables if table.example is not None), None)
    return _in_time_order(names, np.concatenate(numbers), times, values, covariates, future, rejects, example)


def _revises(decoded: Decoded) -> NDArray[np.bool_]:
    """Returns of every value of a window whether it replaces an earlier one, shape (n,)."""
    windows = decoded.windows
    return np.zeros(len(decoded), np.bool_) if windows is None or windows.revises is None else windows.revises


def _last_values(series: NDArray[np.int64], times: NDArray[np.int64], revises: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns which values of windows remain, by time and series: the last revision, or the first value without one.

    Args:
        series, times: of the values, shape (n,), in the order in which the windows closed or were revised.
        revises: (n,) whether the value is a revision.
    """
    place = np.arange(len(series))
    order = np.lexsort((np.where(revises, -1 - place, place), series, times))
    again = (np.diff(series[order]) == 0) & (np.diff(times[order]) == 0)
    kept: NDArray[np.int64] = order[np.concatenate([[True], ~again])]
    return kept


def events_of(history: History) -> EventTable:
    """Returns the events of a history in time order, without series that have lost their row.

    Raises:
        ServiceError: there are no events.
    """
    known = np.isin(history.series, np.fromiter(history.names, np.int64, len(history.names)))
    names = _Names()
    numbers = names.numbers([history.names[serial] for serial in history.series[known].tolist()])
    if not len(numbers):
        msg = "got a history without events, expected at least one; let the daemon run for longer"
        raise ServiceError(msg)
    covariates = [history.covariates[known]] if history.covariates.shape[1] else []
    times, values = history.timestamp_ms[known], history.value[known].astype(np.float64)
    future = [] if history.future is None else [history.future[known]]
    return _in_time_order(names, numbers, times, values, covariates, future, 0, None)


def _in_time_order(
    names: _Names,
    numbers: NDArray[np.int64],
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    covariates: list[NDArray[np.float32]],
    future: list[NDArray[np.float32]],
    rejects: int,
    example: Reject | None,
) -> EventTable:
    sorted_names, rank = names.ranked()
    numbers = rank[numbers]
    extra = np.concatenate(covariates) if covariates else None
    ahead = np.concatenate(future) if future else None
    if (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        numbers, times, values = numbers[order], times[order], values[order]
        extra = None if extra is None else extra[order]
        ahead = None if ahead is None else ahead[order]
    return EventTable(sorted_names, numbers, times, values, extra, rejects, example, ahead)
