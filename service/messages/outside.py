"""Reads what is outside of the value of a record: its key, its headers, the names of its topic and its file."""

from __future__ import annotations

from typing import Final

from service.config.series_rule import Outside
from service.messages.keys import text_of_key
from service.messages.parsed import Around, RejectedError
from service.messages.timestamps import Milliseconds, parse_time

FILE_NAME: Final = "file-name"
"""Name of the record header with the name of the record's file, without folder and suffix."""

_EXPECTED: Final = "expected the name of a series; see input.fields.series, which may name a field or a header"
_CE_VERSION, _CE_TIME = "ce_specversion", "ce_time"


def text_outside(part: Outside, index: int, around: Around) -> str:
    """Returns a part of the name of a series.

    Raises:
        RejectedError: the record has none.
    """
    if part.place == "topic":
        return around.topic
    if part.place == "key":
        key = None if around.keys is None else around.keys[index]
        if key is None:
            raise RejectedError("missing_field", "got a record without a key, expected one for {key} in the series")
        return name_of_key(key)
    name = FILE_NAME if part.place == "file" else part.name
    if (value := _header_of(around, index, name)) is None:
        missing = "file name" if part.place == "file" else f"header {name!r}"
        raise RejectedError("missing_field", f"got a record without a {missing}, expected one for the series")
    return value


def name_of_key(key: bytes) -> str:
    """Returns the name of a series in the key of a record.

    Raises:
        RejectedError: it is no name.
    """
    if (name := text_of_key(key)) is None:
        raise RejectedError("undecodable", f"got a key that is not UTF-8, {_EXPECTED}")
    if not name:
        raise RejectedError("missing_field", f"got an empty key, {_EXPECTED}")
    return name


def file_of(around: Around, index: int) -> str | None:
    """Returns the name of the file of a record, without folder and suffix, or None."""
    return _header_of(around, index, FILE_NAME)


def is_cloudevent(around: Around, index: int) -> bool:
    """Returns whether a record is a CloudEvent in binary mode: its attributes are headers, its value is the data."""
    return _header_of(around, index, _CE_VERSION) is not None


def event_time(around: Around, index: int) -> int | None:
    """Returns the time of a CloudEvent in binary mode, or None."""
    text = _header_of(around, index, _CE_TIME) if is_cloudevent(around, index) else None
    found = None if text is None else parse_time(text)
    return None if found is None else Milliseconds(found)


def _header_of(around: Around, index: int, name: str) -> str | None:
    headers = () if around.headers is None else around.headers[index]
    value = next((value for known, value in headers if known == name), None)
    return None if value is None else value.decode("utf-8", "replace")
