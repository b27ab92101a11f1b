"""Parses JSON records to columns of raw event fields. No checks across fields here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from service.config.input import FieldNames
from service.messages.controls import may_be_control, read_control
from service.messages.depth import MAX_DEPTH, deep_ones
from service.messages.parsed import NO_FALLBACK, Fallback, Parsed, Problem
from service.messages.timestamps import Milliseconds


class JsonParser:
    """Parses JSON objects, one per record, with strict types: "5" or true is not a number. Skips other fields.

    For a repeated field the last value counts. NaN, Infinity and numbers outside of float64, which JSON does not have
    but some writers produce, are accepted.
    """

    def __init__(
        self, names: FieldNames, covariates: Sequence[str], future: Sequence[str] = (), horizon: int = 1
    ) -> None:
        self._horizon = horizon
        fields: list[Any] = [("series", str), ("timestamp", int | float | str), ("value", float | None)]
        rename = {"series": names.series, "timestamp": names.timestamp, "value": names.value}
        if names.record_time:
            fields.append(("record_time", int | float | str | None, None))
            rename["record_time"] = names.record_time
        for number, name in enumerate(covariates):
            fields.append((f"covariate_{number}", float | None, None))
            rename[f"covariate_{number}"] = name
        self._future = [f"future_{number}" for number in range(len(future))]
        if future:
            lists = [(name, list[float | None] | None, None) for name in self._future]
            called = dict(zip(self._future, future, strict=True))
            fields.append(("future", msgspec.defstruct("Future", lists, rename=called, gc=False) | None, None))
            rename["future"] = names.future
        self._has_record_time = bool(names.record_time)
        self._covariates = [f"covariate_{number}" for number in range(len(covariates))]
        self._event = msgspec.defstruct("Event", fields, rename=rename, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self._event).decode
        given = [(name, kind, None) for name, kind, *_ in fields[:2]]
        self._partial = msgspec.defstruct("PartialEvent", [*fields[2:3], *given, *fields[3:]], rename=rename, gc=False)

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        fallback: Fallback = NO_FALLBACK,
    ) -> None:
        """See `Parser`."""
        decode, events, good = self._decode, list[Any](), list[int]()
        if deep := deep_ones(values, indices):
            text = (
                f"got values nested more than {MAX_DEPTH} levels deep, expected an object with the fields of an event"
            )
            problems.update(dict.fromkeys(deep, Problem("undecodable", text)))
            indices = [index for index in indices if index not in problems]
        for index in indices:
            try:
                events.append(decode(values[index]))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                event = self._decode_otherwise(values[index], str(error), index, fallback)
                if event is None:
                    problem = _no_event(values[index], index, error, into)
                    if problem is not None:
                        problems[index] = problem
                    continue
                events.append(event)
            good.append(index)
            if self._future:
                self._cut(events[-1].future)
        if not all(event.series for event in events):
            for event, index in zip(events, good, strict=True):
                if not event.series:
                    problems[index] = Problem("missing_field", "got an empty series, expected its name")
            good = [index for event, index in zip(events, good, strict=True) if event.series]
            events = [event for event in events if event.series]
        into.index += good
        into.series += [event.series for event in events]
        into.times += [event.timestamp for event in events]
        into.values += [math.nan if event.value is None else event.value for event in events]
        if self._has_record_time:
            into.record_times += [event.record_time for event in events]
        if self._covariates:
            rows = [[getattr(event, name) for name in self._covariates] for event in events]
            into.covariates += [[math.nan if item is None else item for item in row] for row in rows]
        if self._future:
            into.future += [[getattr(event.future, name, None) for name in self._future] for event in events]

    def _cut(self, lists: Any) -> None:
        """Truncates the lists of known future values to the horizon.

        Lists need a multiple of the memory of their text.
        """
        for name in self._future:
            numbers = getattr(lists, name, None)
            if numbers and len(numbers) > self._horizon:
                setattr(lists, name, numbers[: self._horizon])

    # Errors are not passed on and raised again below: such an error would refer to itself through its frame, and keep
    # the complete batch in memory until the next garbage collection, which is rare.

    def _decode_otherwise(self, value: bytes, error: str, index: int, fallback: Fallback) -> Any:
        """Retries with the record's key and time for missing fields; returns None where that fails."""
        try:
            if "missing required field" not in error or fallback == NO_FALLBACK:
                return self._decode_leniently(value, error, self._event)
            return self._filled(value, index, fallback)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            return None

    def _filled(self, value: bytes, index: int, fallback: Fallback) -> Any:
        try:
            event: Any = msgspec.json.decode(value, type=self._partial)
        except msgspec.MsgspecError as again:
            event = self._decode_leniently(value, str(again), self._partial)
            if event is None:
                return None
        key = None if fallback.keys is None else fallback.keys[index]
        if event.series is None and key is not None:
            event.series = key.decode()
        if event.timestamp is None and fallback.timestamps_ms is not None:
            event.timestamp = Milliseconds(fallback.timestamps_ms[index])
        return None if event.series is None or event.timestamp is None else event

    def _decode_leniently(self, value: bytes, error: str, kind: Any) -> Any:
        """Retries with Python's parser for values that only that one accepts; else returns None."""
        if not (b"NaN" in value or b"Infinity" in value or "out of range" in error):
            return None
        event: Any = msgspec.convert(json.loads(value.decode()), kind)
        (event.series or "").encode()  # rejects half a surrogate pair, like the strict parser
        return event


def _no_event(value: bytes, index: int, error: Exception, into: Parsed) -> Problem | None:
    """Returns the problem of a record that is not an event; None for a control record, which is appended."""
    if not ("missing required field" in str(error) and may_be_control(value)):
        return _json_problem(error)
    try:
        into.controls.append(read_control(value, index))
    except ValueError as wrong:
        return Problem("wrong_type", str(wrong))
    return None


def _json_problem(error: Exception) -> Problem:
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        return Problem("missing_field" if "missing required field" in text else "wrong_type", text)
    return Problem("undecodable", text)
