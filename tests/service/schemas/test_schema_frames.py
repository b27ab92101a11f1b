"""Schemas are looked up before a batch is decoded, and kept within a bound."""

from __future__ import annotations

import importlib.util
import json

import pytest
from avro_records import EVENT, Shelf, decoded, encoded, frame, frames_with
from proto_records import EVENT as PROTO_EVENT
from proto_records import event_record, registered

from service.config.input import InputConfig
from service.config.schema_registry import SchemaRegistryConfig
from service.errors import SchemaRegistryError
from service.messages.decode import Decoder
from service.ports import Records
from service.schemas import proto_files
from service.schemas.codecs import codec_for, codec_of
from service.schemas.frames import SchemaFrames, frames_of
from service.schemas.schema import RegisteredSchema, SchemaError

RECORD = {"series": "a", "timestamp": 1_700_000_000_000, "value": 2.0}
BODY = encoded(EVENT, RECORD)[5:]


def test_one_lookup_per_schema():
    """A schema is asked for once, however many records and batches have its id."""
    shelf = Shelf({1: EVENT})
    frames = SchemaFrames(shelf, codec_of, 10)
    assert not frames.holds([frame(1, BODY)])
    for _ in range(3):
        assert len(decoded(frames, [frame(1, BODY)] * 5)) == 5
    assert frames.holds([frame(1, BODY), b"{}"])
    assert shelf.asked == [1]


def test_bound():
    """The least recently used schemas are dropped, never those of the batch at hand."""
    shelf = Shelf(dict.fromkeys(range(10), EVENT))
    frames = SchemaFrames(shelf, codec_of, 3)
    assert len(decoded(frames, [frame(number, BODY) for number in range(6)])) == 6
    for number in (0, 1, 0, 2):
        frames.prepare([frame(number, BODY)])
    assert len(frames) == 3
    asked = len(shelf.asked)
    frames.prepare([frame(number, BODY) for number in (0, 1, 2)])
    assert len(shelf.asked) == asked


def test_bound_while_the_registry_fails():
    """Batches whose lookups fail do not add schemas beyond the bound."""
    shelf = Shelf(dict.fromkeys(range(40), EVENT) | {99: SchemaRegistryError("down")})
    frames = SchemaFrames(shelf, codec_of, 3)
    for first in range(0, 40, 2):
        with pytest.raises(SchemaRegistryError):
            frames.prepare([frame(number, BODY) for number in (first, first + 1, 99)])
        assert len(frames) <= 3
    assert frames.holds([frame(38, BODY), frame(39, BODY)])


def test_stop():
    """A stop is seen before every lookup; what was found before is kept."""
    shelf = Shelf(dict.fromkeys(range(10), EVENT))
    frames = SchemaFrames(shelf, codec_of, 20)
    values = [frame(number, BODY) for number in range(10)]
    with pytest.raises(SchemaRegistryError, match="stopped"):
        frames.prepare(values, lambda: len(shelf.asked) == 4)
    frames.prepare(values, lambda: len(shelf.asked) == 10)
    assert shelf.asked == list(range(10))


def test_mixed_batch():
    """Avro, JSON Schema and plain JSON records are read side by side; each reject says what is wrong with it."""
    schemas = {
        1: EVENT,
        2: RegisteredSchema("{}", "JSON"),
        3: RegisteredSchema("syntax", "PROTOBUF"),
        4: RegisteredSchema("{"),
        5: RegisteredSchema("?", "XML"),
    }
    plain = json.dumps(RECORD).encode()
    values = [
        frame(1, BODY), frame(2, plain), plain, frame(2, b"{"), frame(3, BODY), frame(4, BODY), frame(5, BODY),
        frame(9, BODY), b"\0\0\0", frame(2, b"[" * 200), frame(2, b'{"exclude": {}}'), frame(2, b"NaN"),
    ]  # fmt: skip
    found = decoded(frames_with(schemas), values)
    assert found.positions == [0, 1, 2]
    assert {(*row,) for row in zip(found.series, found.timestamp_ms.tolist(), found.value.tolist(), strict=True)} == {
        ("a", 1_700_000_000_000, 2.0)
    }
    said = {reject.position: (reject.reason, reject.detail) for reject in found.rejects}
    assert {at: reason for at, (reason, _) in said.items()} == {
        3: "undecodable", 4: "unknown_schema", 5: "unknown_schema", 6: "unknown_schema", 7: "unknown_schema",
        8: "undecodable", 9: "undecodable", 10: "missing_field", 11: "wrong_type",
    }  # fmt: skip
    assert "Protobuf schema that cannot be compiled" in said[4][1]
    assert "'XML', which is not read" in said[6][1]
    assert said[7][1].startswith("schema 9: ")
    assert [reject.value for reject in found.rejects] == values[3:]


def test_brackets_in_a_payload():
    """The limit on the nesting of JSON does not see brackets in binary payloads."""
    schema = {**EVENT, "fields": [*EVENT["fields"], {"name": "more", "type": {"type": "array", "items": "int"}}]}
    value = encoded(schema, {**RECORD, "more": [-46] * 1000})
    assert b"[" * 200 in value
    assert len(decoded(frames_with({1: schema}), [value])) == 1


def test_new_schema():
    """A schema with more fields in mid-stream changes nothing for the fields that are mapped."""
    fields = [{"name": "host", "type": "string"}, *reversed(EVENT["fields"])]
    other = {**EVENT, "fields": fields}
    values = [frame(1, BODY), encoded(other, {**RECORD, "host": "h"}, 2)]
    found = decoded(frames_with({1: EVENT, 2: other}), values)
    assert (found.series, found.value.tolist(), found.rejects) == (["a", "a"], [2.0, 2.0], [])


def test_registry_down():
    """While the registry does not answer nothing is decided; what was found before is kept."""
    shelf = Shelf({1: EVENT, 2: SchemaRegistryError("down")})
    results: list[str] = []
    frames = SchemaFrames(shelf, codec_of, 10, results.append)
    values = [frame(1, BODY), frame(2, BODY)]
    with pytest.raises(SchemaRegistryError):
        frames.prepare(values)
    shelf.schemas[2] = EVENT
    frames.prepare(values)
    assert (shelf.asked, results) == ([1, 2, 2], ["found", "failed", "found"])


def test_unknown_is_asked_again():
    """An unknown id is not asked for again at once, but some time later."""
    shelf, now = Shelf({}), [0.0]
    results: list[str] = []
    frames = SchemaFrames(shelf, codec_of, 10, results.append, lambda: now[0])
    for seconds in (0.0, 10.0, 31.0):
        now[0] = seconds
        frames.prepare([frame(1, BODY)])
        shelf.schemas[1] = SchemaError("no") if seconds < 10 else EVENT
    assert shelf.asked == [1, 1]
    assert results == ["unknown", "found"]
    assert len(decoded(frames, [frame(1, BODY)])) == 1


def test_without_a_registry():
    """Without a registry, JSON payloads are read and others are rejected with the setting that is missing."""
    assert frames_of(SchemaRegistryConfig()) is None
    values = [frame(7, BODY), frame(7, json.dumps(RECORD).encode())]
    found = Decoder(InputConfig()).decode(Records("in-0", range(2), 2, values))
    (reject,) = found.rejects
    assert (reject.position, reject.reason) == (0, "undecodable")
    assert "schema 7" in reject.detail
    assert "schema_registry.url" in reject.detail
    assert found.positions == [1]


@pytest.mark.parametrize(("wanted", "reject"), [("auto", None), ("avro", 1), ("json-schema", 0)])
def test_format_of_topics(wanted, reject):
    """A format rejects the records of schemas of another type, with the setting; JSON records are read as ever."""
    frames = SchemaFrames(Shelf({1: EVENT, 2: RegisteredSchema("{}", "JSON")}), codec_for(wanted), 10)
    plain = json.dumps(RECORD).encode()
    found = decoded(frames, [frame(1, BODY), frame(2, plain), plain])
    assert [one.position for one in found.rejects] == ([] if reject is None else [reject])
    for one in found.rejects:
        assert one.reason == "unknown_schema"
        assert f'input.format = "{wanted}"' in one.detail


def test_compiler_that_does_not_run(monkeypatch):
    """A compiler that the machine has no room for is no fault of the schema: nothing is decided, and it runs again."""

    def run(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    frames = frames_with({1: registered(PROTO_EVENT)})
    value = event_record({"series": "a", "timestamp": 1, "value": 2.0})
    with monkeypatch.context() as patch:
        patch.setattr(proto_files.subprocess, "run", run)
        with pytest.raises(SchemaRegistryError, match="did not run"):
            frames.prepare([value])
    assert len(decoded(frames, [value])) == 1


def test_without_the_compiler(monkeypatch):
    """Without its extra, Protobuf records are rejected with the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "grpc_tools" else object())
    (reject,) = decoded(frames_with({1: registered(PROTO_EVENT)}), [frame(1, b"\0")]).rejects
    assert reject.reason == "unknown_schema"
    assert "forecaster-daemon[protobuf]" in reject.detail
