"""Parses JSON records to columns of raw event fields. No checks across fields here."""

from __future__ import annotations

import json
import math
from codecs import BOM_UTF8
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

from service.config.field_paths import is_plain
from service.config.input import InputConfig
from service.messages.controls import may_be_control, read_control
from service.messages.depth import MAX_DEPTH, deep_ones
from service.messages.envelopes import NotAnEvent, unwrap
from service.messages.frames import FrameError, Frames, json_payload, schema_id
from service.messages.mapping import RecordMapping
from service.messages.parsed import NOTHING_AROUND, Around, Parsed, Problem


class JsonParser:
    """Parses JSON records. Skips fields that are not configured; for a repeated field the last value counts.

    The usual record, an object with one value and plain types, is decoded to a struct, which creates no other objects.
    Any other is decoded as a whole and read by `RecordMapping`: that accepts whatever the struct accepts, with the same
    result; only bytes that are not UTF-8, in a field that is not used, are noticed there alone. NaN, Infinity and
    numbers outside of float64, which JSON does not have but some writers produce, are read.
    With `frames`, it decodes the records in their wire format, in whatever format these are.
    """

    def __init__(self, settings: InputConfig, horizon: int = 1, frames: Frames | None = None) -> None:
        names, covariates, future = settings.fields, settings.covariates, settings.future_covariates
        self._mapping, self._frames = RecordMapping(settings, horizon), frames
        self._horizon, self._envelope = horizon, settings.envelope
        self._is_flat = names.is_flat and all(map(is_plain, covariates)) and settings.envelope in {"auto", "none"}
        self._required = {str(names.series), names.timestamp, names.value}
        fields: list[Any] = [("series", str), ("timestamp", int | float | str), ("value", float | None)]
        rename = {"series": str(names.series), "timestamp": names.timestamp, "value": names.value}
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
        event = msgspec.defstruct("Event", fields, rename=rename, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(event).decode

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        around: Around = NOTHING_AROUND,
    ) -> None:
        """See `Parser`."""
        framed = self._framed(values, indices)
        if deep := deep_ones(values, [index for index in indices if index not in framed] if framed else indices):
            text = (
                f"got values nested more than {MAX_DEPTH} levels deep, expected an object with the fields of an event"
            )
            problems.update(dict.fromkeys(deep, Problem("undecodable", text)))
            indices = [index for index in indices if index not in problems]
        decode, events, good = self._decode, list[Any](), list[int]()
        for index in indices:
            if self._is_flat and index not in framed:
                try:
                    event = decode(values[index])
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    pass
                else:
                    if event.series:
                        if self._future:
                            self._cut(event.future)
                        events.append(event)
                        good.append(index)
                        continue
            self._flush(events, good, into)
            problem = self._parse_otherwise(values[index], index, around, into, is_framed=index in framed)
            if problem is not None:
                problems[index] = problem
        self._flush(events, good, into)

    def _cut(self, lists: Any) -> None:
        """Truncates the lists of known future values to the horizon.

        Lists need a multiple of the memory of their text.
        """
        for name in self._future:
            numbers = getattr(lists, name, None)
            if numbers and len(numbers) > self._horizon:
                setattr(lists, name, numbers[: self._horizon])

    def _flush(self, events: list[Any], good: list[int], into: Parsed) -> None:
        """Appends the rows of structs, and empties the lists."""
        if not events:
            return
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
        events.clear()
        good.clear()

    def _framed(self, values: Sequence[bytes], indices: Sequence[int]) -> frozenset[int]:
        """Returns the indices of the records that `frames` decodes."""
        if self._frames is None:
            return frozenset()
        return frozenset(index for index in indices if schema_id(values[index]) is not None)

    def _parse_otherwise(
        self, value: bytes, index: int, around: Around, into: Parsed, *, is_framed: bool
    ) -> Problem | None:
        """Reads a record that is no usual event; appends its rows or its control, or returns its problem."""
        try:
            if is_framed and self._frames is not None:
                record = self._frames.decode(value)
            else:
                record = load_json(json_payload(value.removeprefix(BOM_UTF8)))
        except FrameError as error:
            return error.problem
        except (ValueError, RecursionError) as error:
            return Problem("undecodable", _described(value, str(error)))
        problem = self._add(record, index, around, into)
        is_event = problem is None or problem.reason not in {"missing_field", "not_an_event"}
        if is_event or is_framed or not may_be_control(value):
            return problem
        try:
            into.controls.append(read_control(value, index))
        except ValueError as wrong:
            return Problem("wrong_type", str(wrong))
        return None

    def _add(self, record: object, index: int, around: Around, into: Parsed) -> Problem | None:
        """Removes the envelope, of each element of an array, and appends the rows."""
        payloads, problem = list[object](), None
        for one in record if isinstance(record, list) else [record]:
            try:
                payloads.append(one if self._has_fields(one) else unwrap(one, self._envelope).payload)
            except NotAnEvent as error:
                problem = Problem("not_an_event", str(error))
        if problem is not None and not payloads:
            return problem
        found = self._mapping.add(payloads if isinstance(record, list) else payloads[0], index, around, into)
        if problem is not None and found is None:
            into.partial.setdefault(index, problem)
        return found

    def _has_fields(self, record: object) -> bool:
        """Returns whether a record has the fields of an event itself, so that it is no envelope, as for the struct."""
        return self._is_flat and isinstance(record, dict) and self._required <= record.keys()


def _described(value: bytes, text: str) -> str:
    """Returns why a record is not JSON."""
    number = schema_id(value)
    if number is None or json_payload(value) is not value:
        return text
    return (
        f"got a record that begins with a zero byte, as in the wire format of a schema registry (schema {number}), "
        "expected JSON; to read Avro, set schema_registry.url"
    )


def load_json(value: bytes) -> object:
    """Decodes a record: a JSON value, or several on a line each, which are a list.

    Raises:
        ValueError: it is neither.
    """
    try:
        return _value(value)
    except ValueError as error:
        text = str(error)
    lines = [line for line in value.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].lstrip()[:1] == b"{" and lines[0].rstrip()[-1:] == b"}":
        return [_value(line) for line in lines]
    raise ValueError(text)


def _value(text: bytes) -> object:
    """Decodes one JSON value, with Python's parser where only that one accepts its numbers."""
    try:
        return orjson.loads(text)
    except ValueError as error:
        if not (b"NaN" in text or b"Infinity" in text or "infinity" in str(error)):
            raise ValueError(str(error)) from None
    record: object = json.loads(text.decode())
    json.dumps(record, ensure_ascii=False).encode()  # rejects half a surrogate pair, like the strict parser
    return record
