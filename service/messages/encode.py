"""Converts forecasts to bytes, in batches; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster import Forecasts, Note, SeriesColumn, Silence, Status, chosen
from service.messages.decode import Decoded
from service.messages.digits import printable
from service.messages.timestamps import LATEST_MS, format_times
from service.ports import Encoded

UNKNOWN: Final = "unknown"
"""The status of a forecast without quantiles."""

# Status of a forecast by that of the event that gets it; a revision is "ok".
_STATUS: Final[dict[int, str]] = {Status.OK: "ok", Status.MISSING: "missing", Status.UNKNOWN: UNKNOWN}
_ANSWERED: Final = np.isin(np.arange(len(Status)), [*_STATUS])  # by status
_REVISION: Final[dict[str, object]] = {"revision": 1}
_SUPPRESSED: Final[dict[int, str]] = {Note.MAINTENANCE: "maintenance", Note.OVER_BUDGET: "budget"}
_SUPPRESSED_NOTES: Final = np.uint8(Note.MAINTENANCE | Note.OVER_BUDGET)
_STAGED: Final = 512  # forecasts that are staged together, about a megabyte
_FIXED: Final[dict[str, object]] = {}  # further fields of forecasts with steps of fixed length
_MODEL_DIGITS = 12  # digits of a model's sha256 in a forecast, enough to distinguish models

SourceOf = Callable[[int], Mapping[str, object]]
"""Returns the source of the forecast of an event by its index."""

Write = Callable[[int, str], bytes]
"""Writes the forecast of an event by its index, with its status."""


def none_together(events: NDArray[np.int64]) -> None:
    """`Writer.together` of a format that writes records one by one."""


class Writer(NamedTuple):
    """Writes the forecasts of a batch.

    Attributes:
        one: writes the forecast of an event.
        together: writes those of several events at once, by their indices (m,); None where `one` is to be called for
            each of them. Both give the same bytes.
    """

    one: Write
    together: Callable[[NDArray[np.int64]], Sequence[bytes] | None] = none_together


class OutputFormat(Protocol):
    """Writes forecasts and silences in one format; the same ones give the same bytes."""

    def writer(
        self, decoded: Decoded, forecasts: Forecasts, levels: Sequence[float], model: str, source: SourceOf
    ) -> Writer:
        """Returns what writes the forecasts of a batch."""

    def silence(self, silence: Silence, source: Mapping[str, object]) -> bytes:
        """Writes a silence."""


class JsonFormat:
    """`OutputFormat` of JSON objects."""

    def writer(
        self, decoded: Decoded, forecasts: Forecasts, levels: Sequence[float], model: str, source: SourceOf
    ) -> Writer:
        """See `OutputFormat`."""
        origins, months = format_times(forecasts.origin_ms), _months(forecasts)
        intervals, anomalies = forecasts.interval_ms.tolist(), forecasts.anomaly.tolist()
        flagged = forecasts.flagged.astype(np.bool_).tolist()
        quantiles, revised = printable(forecasts.quantiles), dict.fromkeys(revisions(forecasts), _REVISION)
        suppressed = {at: {"suppressed": why} for at, why in suppressions(forecasts).items()}
        shared_levels = orjson.Fragment(orjson.dumps(list(levels)))

        def write(at: int, status: str) -> bytes:
            return orjson.dumps(
                {
                    "series": decoded.series[at],
                    "origin": origins[at],
                    "interval_ms": intervals[at],
                    **months.get(at, _FIXED),
                    "levels": shared_levels,
                    "quantiles": None if status == UNKNOWN else quantiles[at],
                    "anomaly": anomalies[at],
                    "flagged": flagged[at],
                    "model": model,
                    "source": text_of(source(at)),
                    "status": status,
                    **revised.get(at, _FIXED),
                    **suppressed.get(at, _FIXED),
                },
                option=orjson.OPT_SERIALIZE_NUMPY,
            )

        return Writer(write)

    def silence(self, silence: Silence, source: Mapping[str, object]) -> bytes:
        """See `OutputFormat`."""
        times = format_times(np.array([silence.last_ms, silence.expected_ms, silence.noticed_ms]))
        return orjson.dumps(silence_object(silence.series, times, text_of(source)))


def silence_object(series: str, times: Sequence[str], source: Mapping[str, object]) -> dict[str, Any]:
    """Returns a silence as the JSON format has it.

    Args:
        series: that is silent.
        times: of its last event, when the next one was expected, and when that was noticed, ISO-8601.
        source: as text.
    """
    last, expected, noticed = times
    return {
        "series": series,
        "kind": "silence",
        "last": last,
        "expected": expected,
        "noticed": noticed,
        "source": source,
    }


def text_of(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a source with the times of its window as texts."""
    if (window := source.get("window")) is None:
        return source
    found = {**source, "window": dict(zip(window, format_times(np.array([*window.values()])), strict=True))}
    if "mark" in source:
        (found["mark"],) = format_times(np.array([source["mark"]]))
    return found


JSON: Final[OutputFormat] = JsonFormat()


def encode(
    decoded: Decoded,
    forecasts: Forecasts,
    *,
    partition: str,
    levels: Sequence[float],
    model_sha256: str,
    every: int = 1,
    from_ms: int | None = None,
    stage: Callable[[Encoded], None] | None = None,
    run: int = 1,
    output: OutputFormat = JSON,
    places: list[int] | None = None,
) -> Encoded:
    """Encodes the forecasts of a batch, one record per event with a forecast.

    Every record has `series`, `origin` (ISO-8601), `interval_ms` (and for calendar steps `interval`, e.g. "1mo", and
    `targets`, the time of every step), `levels`, `quantiles` (one row per step, one column per level), `anomaly` (null
    while unknown), `flagged`, `model` (prefix of its sha256), `source` (partition and position, the identity of the
    forecast) and `status`: "ok", "missing" if the event had no value, or "unknown" while the series has no forecast,
    and `quantiles` is null. An event that would have been flagged in another time or with a larger budget has
    `suppressed`. The source of a value of a closed window has `window`, its begin and end, and `mark`, the
    event time of the time mark, where no record but such a mark has closed it.
    The record of a late event that was put in its place has `revision` = 1: it is the corrected forecast of the newest
    event of the series, at `origin`; its source is the late event. Without a forecast there is no such record.
    An event that reveals that a series is silent is followed by a record with `kind` = "silence".

    Args:
        decoded: the events. partition: their partition.
        forecasts: the forecasts of the library, one row per event; duplicate and late events have none.
        levels: the quantile levels. model_sha256: the model that made the forecasts.
        every: only of every n-th step of a series, and of flagged events.
        from_ms: only of events from this time on, epoch milliseconds; None: of all.
        stage: called with a few hundred forecasts at a time, as soon as they are encoded.
        run: of the partition; `source` has it from the second run on.
        output: the format of the records.
        places: extended by the index of the event of every record, where it is given.

    Returns:
        Series and bytes of the forecasts, in the order of the events; each is a function of its event only.
    """
    published = published_from(forecasts, from_ms)
    identity = {"partition": partition} | ({} if run == 1 else {"run": run})

    def source(at: int) -> dict[str, object]:
        return _source(identity, decoded, at)

    write, together = output.writer(decoded, forecasts, levels, model_sha256[:_MODEL_DIGITS], source)
    silent: dict[int, list[Silence]] = {}
    for one in forecasts.silences:
        if published[one.event]:
            silent.setdefault(one.event, []).append(one)
    answered = _ANSWERED[forecasts.status]
    answered[[*revisions(forecasts)]] = True
    wanted = published if every == 1 else ((forecasts.steps % every == 0) | (forecasts.flagged != 0)) & published
    chosen_events = np.flatnonzero(answered & wanted)
    if not silent and (records := together(chosen_events)) is not None:
        return _encoded_together(decoded, chosen_events, records, stage, places)
    status, is_wanted = forecasts.status.tolist(), wanted.tolist()
    encoded, positions, staged = list[bytes](), list[int](), 0
    series = list[str]()
    for part in _parts(np.flatnonzero(answered).tolist(), silent):
        events = [at for at in part if is_wanted[at]]
        series += [decoded.series[at] for at in events]
        encoded += [write(at, _STATUS.get(status[at], "ok")) for at in events]
        positions += [decoded.positions[at] for at in events]
        last = part[-1]
        for silence in silent.get(last, ()):  # only an event with a forecast reveals a silence
            events.append(last)
            series.append(silence.series)
            encoded.append(output.silence(silence, source(last)))
            positions.append(decoded.positions[last])
        if places is not None:
            places += events
        if stage is not None and len(encoded) - staged >= _STAGED:
            stage(Encoded(series[staged:], encoded[staged:], positions[staged:]))
            staged = len(encoded)
    named: Sequence[str] = series
    if not silent and isinstance(decoded.series, SeriesColumn):  # whose numbers a sink may use
        named = chosen(decoded.series, chosen_events)
    return Encoded(named, encoded, positions)


def _encoded_together(
    decoded: Decoded,
    events: NDArray[np.int64],
    records: Sequence[bytes],
    stage: Callable[[Encoded], None] | None,
    places: list[int] | None,
) -> Encoded:
    """Returns the records of events that were written at once; the usual batch has one for each of its events."""
    if len(events) == len(decoded):
        found = Encoded(decoded.series, records, decoded.positions)
    else:
        positions = [decoded.positions[at] for at in events.tolist()]
        found = Encoded(chosen(decoded.series, events), records, positions)
    if places is not None:
        places += events.tolist()
    if stage is not None and len(records):
        stage(found)
    return found


def forecast_statuses() -> list[int]:
    """Returns the statuses of events that get a forecast with quantiles, revisions left out."""
    return [int(status) for status, text in _STATUS.items() if text != UNKNOWN]


def _parts(events: list[int], ends: Collection[int]) -> Iterator[list[int]]:
    """Yields the events in parts of at most `_STAGED`, which end at those of `ends`."""
    begin = 0
    cuts = [number + 1 for number, at in enumerate(events) if at in ends] if ends else []
    for cut in (*cuts, len(events)):
        while begin < cut:
            yield events[begin : min(begin + _STAGED, cut)]
            begin = min(begin + _STAGED, cut)


def published_from(forecasts: Forecasts, from_ms: int | None) -> NDArray[np.bool_]:
    """Returns of which events something may be published, shape (n,): those from a time on; None: all."""
    if from_ms is None:
        return np.ones(len(forecasts.origin_ms), np.bool_)
    return forecasts.origin_ms >= from_ms


def revisions(forecasts: Forecasts) -> set[int]:
    """Returns the late events with a corrected forecast of the newest event of their series."""
    repaired = np.flatnonzero(forecasts.status == Status.REPAIRED)
    return {*repaired[~np.isnan(forecasts.quantiles[repaired, 0, 0])].tolist()}


def suppressions(forecasts: Forecasts) -> dict[int, str]:
    """Returns why events were not flagged that otherwise would have been, by index: maintenance or budget."""
    notes = forecasts.notes & _SUPPRESSED_NOTES
    return {at: _SUPPRESSED[notes[at]] for at in np.flatnonzero(notes).tolist()}


def calendar_targets(forecasts: Forecasts) -> dict[int, tuple[str, NDArray[np.int64]]]:
    """Returns the name of the steps and their times, by event, where the steps are such of the calendar."""
    at = np.flatnonzero(forecasts.calendar)
    if not len(at):
        return {}
    from forecaster import calendar_name, target_times  # noqa: PLC0415 - compiled; not needed for decoding

    times = np.minimum(target_times(forecasts, at), LATEST_MS)
    codes = forecasts.calendar[at].tolist()
    return {
        event: (calendar_name(code), times[i]) for i, (event, code) in enumerate(zip(at.tolist(), codes, strict=True))
    }


def _months(forecasts: Forecasts) -> dict[int, dict[str, object]]:
    """Returns the fields on calendar steps of a forecast, by event, where its steps are such."""
    found = calendar_targets(forecasts)
    return {event: {"interval": name, "targets": format_times(times)} for event, (name, times) in found.items()}


def _source(source: Mapping[str, object], decoded: Decoded, at: int) -> dict[str, object]:
    """Returns the identity of the forecast of an event."""
    found = {**source, "position": decoded.positions[at]}
    if decoded.within is not None and (number := decoded.within[at]) >= 0:
        found["event"] = number
    if decoded.windows is not None:
        found["window"] = {"start": int(decoded.timestamp_ms[at]), "end": int(decoded.windows.end_ms[at])}
        if decoded.windows.mark_ms is not None:
            found["mark"] = decoded.windows.mark_ms
    return found
