"""Converts bytes to events, in batches; pure. Invalid bytes become rejects, never exceptions.

Event in, as JSON (field names are configurable):

    {"series": "cpu.host1", "timestamp": "2026-11-22T10:00:00Z", "value": 0.73, "temperature": 21.5,
     "future": {"promotion": [0, 0, 1]}}

With a transport that has keys and record times (Kafka), events may lack the fields for series and time. An event may
also be a line of CSV whose header line is the record header "csv-header"; and a record may be lines of InfluxDB line
protocol or of an access log, see parse_lines.py. `timestamp` may be epoch milliseconds or seconds. A value of null, NaN
or infinity is a missing observation. Known future values are one list per name, the next step first; values beyond the
horizon are ignored. Records of other shapes are read as `input.fields` says: see mapping.py. The stream may also have
control records: see controls.py.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, SeriesColumn, SeriesNames
from forecaster.flat_text import LOW, MIDDLE, FlatColumns, FlatNames, FlatText, joined_columns
from service.config.input import InputConfig
from service.messages.controls import Exclude, Tombstone, series_of_key
from service.messages.decoded_rows import DecodedRows, as_float32, numbers_within, positions_of
from service.messages.event_bounds import EventBounds
from service.messages.frames import Frames
from service.messages.parse_access_log import AccessLogParser
from service.messages.parse_csv import CsvParser
from service.messages.parse_influx import InfluxParser
from service.messages.parse_json import JsonParser
from service.messages.parse_lines import FORMAT_HEADER
from service.messages.parsed import Around, Parsed, Parser, Problem
from service.messages.timestamps import EXPECTED as EXPECTED_TIME
from service.messages.timestamps import count_clock_changes, sizes_of, to_epoch_ms
from service.messages.unit_conversion import UnitConversion
from service.ports import Records, Reject

REASONS: Final = {
    "undecodable": "not JSON or CSV of the expected shape, or not UTF-8",
    "missing_field": "a required field is missing",
    "wrong_type": "a field has another type than expected",
    "bad_timestamp": "the event time cannot be parsed",
    "unknown_schema": "the schema registry does not have the schema of the record, or it cannot be used",
    "not_an_event": "an envelope without a new value, such as a deleted row",
    "too_large": "longer than input.max_record_bytes",
    "series_too_long": "the name of the series is longer than input.max_series_bytes",
    "unknown_series": "not in input.series",
    "too_far_ahead": "later than the record time by more than input.max_ahead",
    "truncated": "the record is incomplete: its file ended within it",
    "damaged": "the bytes differ from those that were written: the disk changed them",
    "tombstone": "a Kafka record without a value: only counted, see input.tombstone",
    "late": 'older than the newest event of its series, or behind its closed window, and input.late is "dead-letter"',
    "series_clash": "its values would have the name of those of another series, see aggregate.functions",
    "no_bucket": "not a bucket of a histogram, as aggregate.functions has it, or one of too many",
    "too_many_windows": "its window would be one more than the bound of open windows, see aggregate",
}
"""Every reason for a reject, with its meaning; bounded, valid as a metric label."""

CSV_HEADER = "csv-header"
"""Name of the record header with the header line of the record's CSV file."""

_NO_VALUE: Final = Problem("tombstone", REASONS["tombstone"])


class Aggregated(NamedTuple):
    """Of events that are values of closed windows: what they have besides other events.

    Attributes:
        end_ms: ends of the windows, shape (n,); the event times are their begins.
        taken: number of raw events that were added to windows.
        refused: raw events that were not, with the index of their record in the batch: late, or beyond a bound.
        skipped: windows without events that were left out of long gaps.
        forget: see `Decoded.forget`.
        dropped: windows with events whose times were wrong, far ahead of all others.
        mark_ms: event time of the time mark that closed them, None where records did.
        repaired: number of late raw events that were added to closed windows.
        revises: which values replace earlier ones of their windows, shape (n,); None: none.
        late_steps: of the late raw events, how many need an `input.late_within` of at least so many intervals.
    """

    end_ms: NDArray[np.int64]
    taken: int
    refused: Sequence[tuple[int, Problem]]
    skipped: int
    forget: list[tuple[int, str]]
    dropped: int = 0
    mark_ms: int | None = None
    repaired: int = 0
    revises: NDArray[np.bool_] | None = None
    late_steps: Mapping[int, int] = MappingProxyType({})

    @property
    def late(self) -> int:
        """The number of late raw events that were not added to windows."""
        return sum(problem.reason == "late" for _, problem in self.refused)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The events of a batch as columns, and its rejects.

    Attributes:
        series: shape (n,).
        timestamp_ms: event times, epoch milliseconds, shape (n,).
        value: nan where missing, shape (n,).
        covariates: nan where missing, shape (n, C), or None when there are none.
        positions: source position of every event, strictly rising, shape (n,).
        index: index of every event's record in the decoded batch, shape (n,).
        rejects: rejected records, by rising position.
        missing: number of missing values.
        future: known future values, nan where missing, shape (n, F, horizon), or None without any.
        controls: control records, by rising position.
        tombstones: records without a value, by rising position.
        within: index of every event among the events of its record, -1 where the record has one event only, shape (n,);
            None where all records are such.
        clock_changes: event times without a zone at which the clock of their zone shows a time twice or skips it.
        filtered: position of every record of which something does not meet `input.where`, and how many elements of it.
        two_units: some numeric times were interpreted as seconds, others as milliseconds of 1970.
        windows: where the events are values of closed windows, with the record that closed the window; else None.
        duplicates: position of every event that was left out because the history had it already (history_overlap.py).
    """

    series: Sequence[str]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    covariates: NDArray[np.float32] | None
    positions: list[int]
    index: list[int]
    rejects: list[Reject]
    missing: int
    future: NDArray[np.float32] | None = None
    controls: list[Exclude] = field(default_factory=list)
    tombstones: list[Tombstone] = field(default_factory=list)
    two_units: bool = False
    within: list[int] | None = None
    clock_changes: int = 0
    filtered: list[tuple[int, int]] = field(default_factory=list)
    windows: Aggregated | None = None
    duplicates: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of events."""
        return len(self.series)

    @property
    def changes_state(self) -> bool:
        """Whether the state differs after it: there are events, or raw events were added to windows."""
        return len(self.series) > 0 or (self.windows is not None and self.windows.taken > 0)

    def end_of_record(self, end: int) -> int:
        """Returns the first index from `end` on, above 0, at which another record begins, or the number of events."""
        if self.within is not None:
            while end < len(self.index) and self.index[end] == self.index[end - 1]:
                end += 1
        return end

    @property
    def last_record_events(self) -> int:
        """The number of events of the last record that has any, 1 without events."""
        if self.within is None or not self.index:
            return 1
        return len(self.index) - bisect_left(self.index, self.index[-1])

    @property
    def forget(self) -> list[tuple[int, str]]:
        """Series whose state is removed, each with the index of the event before which that happens."""
        if self.windows is not None:
            return self.windows.forget
        return [(one.event, one.series) for one in self.tombstones if one.series]

    @property
    def batch(self) -> Batch:
        """The events as a batch for the library."""
        revises = None if self.windows is None else self.windows.revises
        return Batch(self.series, self.timestamp_ms, self.value, self.covariates, self.future, revises)


class Decodes(Protocol):
    """What decodes records: a `Decoder`, or several of them."""

    @property
    def waits(self) -> bool:
        """Whether records were decoded without compiled code, as that is not compiled yet."""

    def decode(self, records: Records) -> Decoded:
        """Decodes a batch, see `Decoder.decode`."""


class Decoder:
    """Decodes batches of records for one configuration. The result for a batch never depends on those before it.

    Args:
        settings: names of the fields, limits and the accepted series.
        horizon: steps of known future values to decode.
        frames: decodes records in the wire format of a schema registry; None without one.
        most_names: series whose numbers are kept from batch to batch; usual records are then decoded in compiled code,
            and one thread uses the decoder. 0: none, for who decodes little.
    """

    def __init__(
        self, settings: InputConfig, horizon: int = 1, frames: Frames | None = None, most_names: int = 0
    ) -> None:
        self._ahead = len(settings.future_covariates), horizon
        self._covariates = len(settings.covariates)
        self._unit, self._zone = settings.fields.time_unit, settings.fields.timezone
        self._order = settings.fields.date_order
        self._max_bytes = settings.max_record_bytes
        self._bounds = EventBounds(settings)
        self._key_field = str(settings.fields.series) if settings.tombstone == "forget" else ""
        self._conversion = UnitConversion(settings.units)
        lines = InfluxParser(settings, horizon), AccessLogParser(settings, horizon)
        self._lines = {parser.form.encode(): parser for parser in lines}
        self._names = FlatNames(most_names, self._bounds.accepts) if most_names else None
        self._json = JsonParser(settings, horizon, frames, lines, self._names)
        self._csv = CsvParser(settings, horizon, self._names)

    def decode(self, records: Records) -> Decoded:
        """Decodes a batch. Never raises for the content of records.

        Args:
            records: of one partition, polled or replayed; JSON, or line protocol that is recognised, unless their
                headers say otherwise.

        Returns:
            The events, in order, and the rejects. The result for a record never depends on the others.
        """
        parsed = Parsed.empty()
        problems = {
            index: Problem(code, _describe(code, len(records.values[index])))
            for index, code in records.problems.items()
        }
        problems |= dict.fromkeys(records.tombstones, _NO_VALUE)
        topic = records.partition if records.keys is None else records.partition.rpartition("-")[0]
        around = Around(records.keys, records.timestamps_ms, records.headers, topic)
        flat = list[FlatColumns]()
        if self._names is not None:
            self._names.make_room()
        for headers, indices in self._runs(records, problems):
            parser = self._parser(dict(headers))
            others = indices if parser.flat is None else self._read_flat(parser.flat, records, indices, flat)
            if len(others):
                parser.parse(records.values, others, parsed, problems, around)
        times, bad = to_epoch_ms(parsed.times, self._unit, self._zone, self._order)
        wrong = {
            at: Problem("bad_timestamp", f"got {str(parsed.times[at])[:80]!r}, expected {EXPECTED_TIME}") for at in bad
        }
        self._bounds.check_series(parsed, wrong)
        self._bounds.check_ahead(records, parsed, times, wrong)
        return self._result(records, joined_columns(flat), parsed, times, problems, wrong)

    @property
    def waits(self) -> bool:
        """See `Decodes`."""
        return any(one is not None and one.waits for one in (self._json.flat, *self._csv.flat_readers()))

    def _read_flat(
        self, reader: FlatText, records: Records, indices: Sequence[int], into: list[FlatColumns]
    ) -> Sequence[int]:
        """Reads usual records with these indices in compiled code; returns the indices of the others."""
        values, whole = records.values, len(indices) == len(records.values)
        found = reader.read(values if whole else [values[index] for index in indices])
        if found is None:
            return indices
        if not whole:
            found = found._replace(record=np.array(indices, np.int64)[found.record])
        if (ahead := self._bounds.is_ahead(records, found.record, found.time_ms)).any():
            found = found.taken(~ahead)
        into.append(found)
        if len(found.record) == len(indices):
            return ()
        others = np.ones(len(values), np.bool_)
        others[found.record] = False
        return [index for index in indices if others[index]]

    def _parser(self, headers: dict[str, bytes]) -> Parser:
        """Returns the parser for records with these headers."""
        if CSV_HEADER in headers:
            return self._csv.with_header(headers[CSV_HEADER])
        return self._lines.get(headers.get(FORMAT_HEADER, b""), self._json)

    def _runs(
        self, records: Records, problems: dict[int, Problem]
    ) -> list[tuple[Sequence[tuple[str, bytes]], Sequence[int]]]:
        """Groups the indices of the records to parse by their headers."""
        values, headers = records.values, records.headers
        if max(map(len, values), default=0) > self._max_bytes:
            for index, value in enumerate(values):
                if len(value) > self._max_bytes and index not in problems:
                    text = f"got {len(value)} bytes, expected at most {self._max_bytes} (input.max_record_bytes)"
                    problems[index] = Problem("too_large", text)
        good = [i for i in range(len(values)) if i not in problems] if problems else range(len(values))
        if headers is None:
            return [((), good)]
        # Records of one file share one tuple of headers, so comparing identities finds the runs.
        if len(good) and len(set(map(id, headers))) == 1:
            return [(headers[0], good)]
        runs = [list(run) for _, run in groupby(good, lambda i: id(headers[i]))]
        return [(headers[run[0]], run) for run in runs]

    def _result(
        self,
        records: Records,
        flat: FlatColumns | None,
        parsed: Parsed,
        times: NDArray[np.int64],
        problems: dict[int, Problem],
        wrong: dict[int, Problem],
    ) -> Decoded:
        """Drops the rows of `wrong`, and rejects their records and those of `problems`, each record once."""
        known = SeriesNames() if self._names is None else self._names.known
        rows = self._rows(parsed, times, known, wrong)
        rejected = {
            parsed.index[at]: problem for at, problem in sorted(wrong.items(), reverse=True)
        } | parsed.partial | problems  # fmt: skip
        sizes = sizes_of(parsed.times)
        if flat is not None:
            rows, sizes = rows.merged(flat), sizes | flat.sizes
        series, value = SeriesColumn(known, rows.numbers), np.ascontiguousarray(rows.values[:, 0])
        self._conversion.convert(series, value)
        finite = np.isfinite(value)
        value[~finite] = np.nan
        index: list[int] = rows.record.tolist()
        return Decoded(
            series,
            rows.time_ms,
            value,
            as_float32(rows.values[:, 1:]) if self._covariates else None,
            positions_of(records, index),
            index,
            [reject_of(records, i, rejected[i]) for i in sorted(rejected) if i not in records.tombstones],
            len(value) - int(finite.sum()),
            None if rows.future is None else as_float32(rows.future),
            [replace(one, position=records.positions[one.position]) for one in parsed.controls],
            [self._tombstone(records, i, bisect_left(index, i)) for i in sorted(records.tombstones)],
            self._unit == "auto" and sizes == LOW | MIDDLE,
            None if rows.within is None or not len(index) else rows.within.tolist(),
            count_clock_changes(parsed.times, self._zone, self._order),
            [(records.positions[i], count) for i, count in parsed.filtered.items()],
        )

    def _rows(
        self, parsed: Parsed, times: NDArray[np.int64], known: SeriesNames, wrong: dict[int, Problem]
    ) -> DecodedRows:
        """Returns the rows that are not wrong as columns."""
        values = np.array(parsed.values, np.float64)[:, None]
        if self._covariates:
            values = np.hstack((values, np.array(parsed.covariates, np.float64).reshape(-1, self._covariates)))
        future = self._future(parsed.future) if self._ahead[0] else None
        series, index = parsed.series, np.array(parsed.index, np.int64)
        numbered = numbers_within(parsed.index)
        within = None if numbered is None else np.array(numbered, np.int64)
        if wrong:
            keep = np.array([at for at in range(len(index)) if at not in wrong], np.int64)
            series, index, times, values = [series[at] for at in keep.tolist()], index[keep], times[keep], values[keep]
            within = None if within is None else within[keep]
            future = None if future is None else future[keep]
        return DecodedRows(index, known.column(series).numbers, times, values, within, future)

    def _tombstone(self, records: Records, index: int, event: int) -> Tombstone:
        key = None if records.keys is None else records.keys[index]
        return Tombstone(
            records.positions[index], event, series_of_key(key, self._key_field) if self._key_field else ""
        )

    def _future(self, rows: Sequence[Sequence[Sequence[float | None] | None]]) -> NDArray[np.float64]:
        out = np.full((len(rows), *self._ahead), np.nan)
        for at, row in enumerate(rows):
            for name, ahead in enumerate(row):
                if ahead:
                    out[at, name, : len(ahead)] = [math.nan if item is None else item for item in ahead]
        return out


def _describe(code: str, length: int) -> str:
    return f"{REASONS.get(code, code)}; got {length} bytes"


def reject_of(records: Records, index: int, problem: Problem) -> Reject:
    """Returns the record at an index of a batch as a reject, with its original bytes."""
    return Reject(
        records.positions[index],
        records.values[index],
        problem.reason,
        problem.detail,
        None if records.keys is None else records.keys[index],
        () if records.headers is None else records.headers[index],
    )
