"""Parses JSON records to columns of raw event fields. No checks across fields here."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import orjson

from forecaster.flat_text import FlatNames
from service.config.input import InputConfig
from service.messages.controls import may_be_control, read_control
from service.messages.depth import MAX_DEPTH, deep_ones
from service.messages.envelopes import NotAnEvent, Unwrapped, parsed_text, unwrap
from service.messages.field_lookup import is_there
from service.messages.flat_records import flat_json
from service.messages.frames import FrameError, Frames, json_payload, schema_id
from service.messages.hints import of_no_json
from service.messages.mapping import RecordMapping
from service.messages.outside import is_cloudevent
from service.messages.parse_lines import LineParser
from service.messages.parsed import NOTHING_AROUND, Around, Parsed, Problem
from service.messages.record_struct import NotWantedError, RecordStruct


class JsonParser:
    """Parses JSON records. Skips fields that are not configured; for a repeated field the last value counts.

    The usual record, an object with plain types, is decoded to a struct, which creates no other objects. Any other is
    decoded as a whole and read by `RecordMapping`: that accepts whatever the struct accepts, with the same result; only
    bytes that are not UTF-8, in a field that is not used, are noticed there alone. NaN, Infinity and numbers outside of
    float64, which JSON does not have but some writers produce, are read.

    Args:
        settings: the fields and the envelope.
        horizon: steps of known future values to keep.
        frames: decodes the records in its wire format, in whatever format these are; None without one.
        lines: parsers of other formats; each parses the records that it recognises, or says what would.
        names: of series that compiled code has read; None: it reads nothing.
    """

    def __init__(
        self,
        settings: InputConfig,
        horizon: int,
        frames: Frames | None,
        lines: Sequence[LineParser],
        names: FlatNames | None = None,
    ) -> None:
        self.flat = None if frames is not None else flat_json(settings, names)
        self._mapping, self._frames, self._lines = RecordMapping(settings, horizon), frames, lines
        self._expected = [one for one in lines if one.is_expected]
        self._struct, self._envelope = RecordStruct.of(settings, horizon), settings.envelope

    def parse(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        around: Around = NOTHING_AROUND,
    ) -> None:
        """See `Parser`."""
        struct, found = self._struct, None
        if self._frames is not None and struct is not None and struct.wanted is not None:
            chosen = values if len(indices) == len(values) else [values[index] for index in indices]
            found = self._frames.columns(chosen, struct.wanted)
        if struct is None or found is None:
            self._parse_each(values, indices, into, problems, around)
            return
        ends = np.flatnonzero(np.diff(found.usual)) + 1
        for begin, end in pairwise([0, *ends.tolist(), len(indices)]):
            if found.usual[begin]:
                struct.append_columns(found, begin, end, indices[begin:end], into)
            else:
                self._parse_each(values, indices[begin:end], into, problems, around)

    def _parse_each(
        self,
        values: Sequence[bytes],
        indices: Sequence[int],
        into: Parsed,
        problems: dict[int, Problem],
        around: Around,
    ) -> None:
        """Does what `parse` does, record by record."""
        framed = self._framed(values, indices)
        if deep := deep_ones(values, [index for index in indices if index not in framed] if framed else indices):
            text = (
                f"got values nested more than {MAX_DEPTH} levels deep, expected an object with the fields of an event"
            )
            problems.update(dict.fromkeys(deep, Problem("undecodable", text)))
            indices = [index for index in indices if index not in problems]
        if self._struct is None:
            for index in indices:
                self._parse_one(values[index], index, into, problems, around, is_framed=index in framed)
            return
        decode, checked = self._struct.decode_wanted, bool(self._struct.literals)
        events, good = list[Any](), list[int]()
        for index in indices:
            value = values[index]
            if index in framed:
                if (event := self._framed_struct(self._struct, value)) is not None:
                    events.append(event)
                    good.append(index)
                    continue
            elif not checked or not self._struct.may_differ(value):
                try:
                    events.append(decode(value))
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    pass
                except NotWantedError:
                    if not may_be_control(value):
                        into.filtered[index] = 1
                        continue
                else:
                    good.append(index)
                    continue
            self._append(self._struct, events, good, values, into, problems, around, framed)
            events, good = [], []
            self._parse_one(value, index, into, problems, around, is_framed=index in framed)
        self._append(self._struct, events, good, values, into, problems, around, framed)

    def _framed_struct(self, struct: RecordStruct, value: bytes) -> Any:
        """Returns the struct of a record that `frames` decodes, or None where it does not fit."""
        try:
            return None if self._frames is None or struct.has_condition else struct.convert(self._frames.decode(value))
        except FrameError:
            return None

    def _append(
        self,
        struct: RecordStruct,
        events: list[Any],
        indices: list[int],
        values: Sequence[bytes],
        into: Parsed,
        problems: dict[int, Problem],
        around: Around,
        framed: frozenset[int],
    ) -> None:
        """Appends the rows of structs; those that are no events are parsed in another way, in their order."""
        if not events:
            return
        if struct.all_fit(events):
            struct.append(events, indices, into)
            return
        begin = 0
        for at, index in enumerate(indices):
            if not struct.fits(events[at]):
                struct.append(events[begin:at], indices[begin:at], into)
                self._parse_one(values[index], index, into, problems, around, is_framed=index in framed)
                begin = at + 1
        struct.append(events[begin:], indices[begin:], into)

    def _parse_one(
        self,
        value: bytes,
        index: int,
        into: Parsed,
        problems: dict[int, Problem],
        around: Around,
        *,
        is_framed: bool = False,
    ) -> None:
        problem = self._parse_otherwise(value, index, around, into, is_framed=is_framed)
        if problem is not None:
            problems[index] = problem

    def _framed(self, values: Sequence[bytes], indices: Sequence[int]) -> frozenset[int]:
        """Returns the indices of the records that `frames` decodes."""
        if self._frames is None:
            return frozenset()
        return frozenset(index for index in indices if schema_id(values[index]) is not None)

    def _parse_otherwise(
        self, value: bytes, index: int, around: Around, into: Parsed, *, is_framed: bool
    ) -> Problem | None:
        """Reads a record that is no usual event; appends its rows or its control, or returns its problem."""
        for lines in () if is_framed else self._expected:
            if lines.recognises(value):
                return lines.add(value, index, around, into)
        try:
            if is_framed and self._frames is not None:
                record = self._frames.decode(value)
            else:
                record = load_json(json_payload(value.removeprefix(BOM_UTF8)))
        except FrameError as error:
            return error.problem
        except (ValueError, RecursionError) as error:
            hint = next((text for lines in self._lines if (text := lines.hint(value))), "")
            return Problem("undecodable", hint or of_no_json(value, str(error), around))
        rows = len(into.index)
        problem = self._add(record, index, around, into)
        is_filtered = problem is None and len(into.index) == rows
        is_event = not is_filtered and (problem is None or problem.reason not in {"missing_field", "not_an_event"})
        if is_event or is_framed or not may_be_control(value):
            return problem
        try:
            into.controls.append(read_control(value, index))
        except ValueError as wrong:
            if is_filtered and not (isinstance(record, dict) and len(record) == 1):  # another field named exclude
                return None
            problem = Problem("wrong_type", str(wrong))
        else:
            problem = None
        into.filtered.pop(index, None)
        return problem

    def _add(self, record: object, index: int, around: Around, into: Parsed) -> Problem | None:
        """Removes the envelope, of each element of an array, and appends the rows."""
        payloads, times, problem = list[object](), list[int | None](), None
        is_data = self._envelope == "cloudevents" and is_cloudevent(around, index)  # in binary mode
        for one in record if isinstance(record, list) else [record]:
            try:
                payload, time = Unwrapped(one) if is_data or self._has_fields(one) else unwrap(one, self._envelope)
                payloads.append(payload)
                times.append(time)
            except NotAnEvent as error:
                problem = Problem("not_an_event", str(error))
        if problem is not None and not payloads:
            return problem
        found = self._mapping.add(payloads if isinstance(record, list) else payloads[0], index, around, into, times)
        if problem is not None and found is None:
            into.partial.setdefault(index, problem)
        return found

    def _has_fields(self, record: object) -> bool:
        """Returns whether a record has the fields of an event itself, so that it is no envelope, as for the struct."""
        return self._struct is not None and all(is_there(record, keys) for keys in self._struct.required)


def load_json(value: bytes) -> object:
    """Decodes a record: a JSON value, or several on a line each, which are a list.

    A text with an object in it is that object: some producers encode what is JSON already.

    Raises:
        ValueError: it is neither.
    """
    try:
        found = _value(value)
        return parsed_text(found) if isinstance(found, str) else found
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
