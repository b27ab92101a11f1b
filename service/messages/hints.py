"""What a reject says of a record or a field that cannot be read: what it may be, and what would read it."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final, NamedTuple

from service.config.field_paths import Keys
from service.messages.frames import json_payload, schema_id
from service.messages.parsed import Around

SHOWN: Final = 80
"""Characters of a wrong value in a message."""

_MOST_NAMES: Final = 6
_SEPARATED: Final = re.compile(rb"[^,;\t|]+(?:[,;\t|][^,;\t|]*)+")  # at the begin of a line of CSV
_NUMBER: Final = re.compile(r"\s*[+-]?\d[\d.,' _\u00a0\u202f]*", re.ASCII)
_NAME: Final = re.compile(r"[\w$@ -]{1,40}")
_GLUE_BYTES: Final = 18  # a version, a byte for the compression, and a UUID


class _Form(NamedTuple):
    """A format that a record shows by its first bytes."""

    start: bytes
    name: str
    way: str


_COMPRESSED: Final = "compress it by the producer's compression.type instead, which the client removes"
_IN_FILES: Final = "expected JSON; such a file is read as it is by input.files"
_FORMS: Final = (
    _Form(b"\x1f\x8b", "a value that is compressed by gzip", f"expected JSON; {_COMPRESSED}"),
    _Form(b"\x28\xb5\x2f\xfd", "a value that is compressed by zstd", f"expected JSON; {_COMPRESSED}"),
    _Form(b"\x04\x22\x4d\x18", "a value that is compressed by lz4", f"expected JSON; {_COMPRESSED}"),
    _Form(b"\x82SNAPPY", "a value that is compressed by snappy", f"expected JSON; {_COMPRESSED}"),
    _Form(b"Obj\x01", "an Avro object file", _IN_FILES),
    _Form(b"PAR1", "a Parquet file", _IN_FILES),
)
_BINARY: Final = "binary formats are read in Confluent's wire format: Avro or Protobuf, with schema_registry.url"


def of_no_json(value: bytes, problem: str, around: Around) -> str:
    """Returns what a record that is no JSON may be, and what would read it.

    Args:
        value: of the record.
        problem: why it is not JSON.
        around: the record has a time in it where it is one of a topic.
    """
    if not value.strip():
        return "got an empty value, expected JSON; a record without a value, which is null, is a tombstone"
    number = schema_id(value)
    if number is not None and json_payload(value) is value:
        return (
            f"got a record that begins with a zero byte, as in the wire format of a schema registry (schema {number}), "
            "expected JSON; to read Avro or Protobuf, set schema_registry.url"
        )
    for form in _FORMS:
        if value.startswith(form.start):
            return f"got {form.name}, {form.way}"
    if value[:2] in {b"\x03\x00", b"\x03\x05"} and len(value) >= _GLUE_BYTES:
        return f"got what may be the frame of AWS Glue's schema registry, expected JSON; {_BINARY}"
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return f"got bytes that are not UTF-8 (byte {error.start}), expected JSON in UTF-8; {_BINARY}"
    if value.lstrip()[:1] not in b"{[<\"'" and _SEPARATED.match(value):
        way = 'set input.format = "csv"'
        if around.timestamps_ms is not None:
            way = "send a line in each record, and the line with the names of the columns as its header csv-header"
        return f"got what may be CSV, expected JSON; to read it, {way} ({problem})"
    return f"got {value[:SHOWN]!r}, expected JSON: {problem}"


def missing(path: str, record: object) -> str:
    """Returns the text for a field that a record does not have."""
    if not isinstance(record, dict):
        return f"got {shown(record)}, expected an object with the field {path}; see input.fields"
    names = ", ".join(str(name)[:40] for name in islice(record, _MOST_NAMES))
    more = " ..." if len(record) > _MOST_NAMES else ""
    return (
        f"got the fields {names}{more}, expected {path} as well; see input.fields"
        if names
        else (f"got an empty object, expected the field {path}; see input.fields")
    )


def inside(raw: object, path: str, setting: str) -> str:
    """Returns what would read a part of an object or an array in place of all of it; empty for anything else.

    Args:
        raw: what is there.
        path: of it.
        setting: the key of `input.fields` with that path.
    """
    place, inner = path, raw
    if isinstance(raw, list):
        is_table = bool(raw) and isinstance(raw[0], dict)
        place, inner = f"{path}[]" if is_table else f"{path}[0]", raw[0] if is_table else None
    if isinstance(inner, dict):
        name = str(next(iter(inner), ""))
        place = f"{place}.{name if _NAME.fullmatch(name) else 'NAME'}"
    return "" if place == path else f'; a part of it is read by a path: input.fields.{setting} = "{place}"'


def of_number(raw: object) -> str:
    """Returns what would read a text that has a number in it; empty for anything else."""
    found = _NUMBER.match(raw) if isinstance(raw, str) else None
    if found is None:
        return ""
    if found.end() < len(found.string):
        return "; a number is read without its unit and other text"
    return "; see input.fields.decimal and input.fields.thousands"


def at(keys: Keys) -> str:
    """Returns keys as a text."""
    return ".".join(map(str, keys)) or "the record"


def shown(raw: object) -> str:
    """Returns a value as a text of bounded length."""
    text = repr(raw)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
