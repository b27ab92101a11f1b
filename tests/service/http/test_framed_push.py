"""Pushed records in the wire format of a schema registry are read as those of a topic."""

from __future__ import annotations

import base64
import gzip
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from avro_records import EVENT, Shelf, decoded, encoded, frame, frames_with
from fastavro import parse_schema
from hypothesis import given
from hypothesis import strategies as st
from proto_records import EVENT as PROTO_EVENT
from proto_records import message_class, registered
from push_door import LINES, Door, opened
from structlog.testing import capture_logs

from service.config.input import InputConfig
from service.errors import SchemaRegistryError
from service.http.framed_bodies import (
    IN_BASE64,
    MOST_SCHEMAS,
    ONE_RECORD,
    FramedBodies,
    FramedBodyError,
)
from service.messages.decode import Decoder
from service.ports import Records
from service.schemas.codecs import codec_of
from service.schemas.frames import SchemaFrames
from service.schemas.schema import JSON_SCHEMA, RegisteredSchema
from service.sources.push_log import PushLog

ONE, SEVERAL = {"content-type": ONE_RECORD}, {"content-type": IN_BASE64}
TIME = 1_700_000_000_000
PROTO = registered(PROTO_EVENT)
SCHEMAS: dict[int, Any] = {
    1: EVENT, 2: PROTO, 3: RegisteredSchema("{}", JSON_SCHEMA), 4: SchemaRegistryError("the registry is down"),
}  # fmt: skip
ANY = {
    "type": "record",
    "name": "Any",
    "fields": [
        {"name": "series", "type": ["string", "bytes", "long"]},
        {"name": "timestamp", "type": [
            {"type": "long", "logicalType": "timestamp-micros"}, "string", "double", "null",
        ]},
        {"name": "value", "type": [
            "null", "double", "float", "long", "boolean", "string", "bytes", {"type": "array", "items": "int"},
        ]},
    ],
}  # fmt: skip


def avro(step: int, **more: Any) -> bytes:
    """Returns an event in Avro."""
    return encoded(EVENT, {"series": "a", "timestamp": TIME + 60_000 * step, "value": step / 4, **more})


def proto(step: int) -> bytes:
    """Returns the same event in Protobuf."""
    one = message_class(PROTO, "metrics.Event")(series="a", value=step / 4)
    one.timestamp.FromMilliseconds(TIME + 60_000 * step)
    return frame(2, b"\0" + one.SerializeToString())


def several(*values: bytes) -> bytes:
    """Returns a body of Confluent's REST Proxy."""
    return orjson.dumps({"records": [{"key": None, "value": base64.b64encode(one).decode()} for one in values]})


def events(lines: list[bytes], **settings: Any) -> Any:
    """Returns what the daemon reads from the spool: columns, and reasons of rejects."""
    config = InputConfig.model_validate({"max_ahead": 0, **settings})
    found = Decoder(config, 2).decode(Records("push", range(len(lines)), len(lines), lines))
    return found.series, found.timestamp_ms.tolist(), found.value.tolist(), [one.reason for one in found.rejects]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The endpoints with a registry."""
    yield from opened(tmp_path_factory.mktemp("framed"), frames_with(SCHEMAS))


@pytest.fixture
def door(served: Door) -> Door:
    """The shared endpoints with fresh counts."""
    served.begin()
    return served


def test_one_record(door: Door) -> None:
    """A body is one record, in any of the formats, also with gzip; its line is on disk before the response."""
    bodies = [avro(1), proto(2), frame(3, b'{"series": "a", "timestamp": %d,\n"value": 0.75}' % (TIME + 180_000))]
    for body in bodies:
        assert door.post("events", body, ONE) == {"accepted": 1, "filtered": 0}
    assert door.post("events", gzip.compress(avro(4)), ONE | {"content-encoding": "gzip"})["accepted"] == 1
    expected = (["a"] * 4, [TIME + 60_000 * step for step in range(1, 5)], [0.25, 0.5, 0.75, 1.0], [])
    assert events(door.spooled()) == expected
    assert door.counted("push_events_total", path="events") == 4


def test_several_records(door: Door) -> None:
    """A body of the REST Proxy has many records, in any of the formats, in order."""
    assert door.post("events", several(*(avro(step) if step % 2 else proto(step) for step in range(100))), SEVERAL) == {
        "accepted": 100, "filtered": 0,
    }  # fmt: skip
    assert events(door.spooled())[1] == [TIME + 60_000 * step for step in range(100)]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (several(avro(1), frame(9, b"x"), avro(2)), SEVERAL, "record 2: schema 9: the registry does not have it"),
        (several(avro(1), b"{}"), SEVERAL, "record 2: got bytes that begin with b'{}', expected a zero byte"),
        (
            several(avro(1), encoded(EVENT, {"series": "a", "timestamp": 1 << 60, "value": 1})),
            SEVERAL,
            "record 2: bad_",
        ),
        (avro(1)[:-3], ONE, "record 1: "),
        (b"", ONE, "record 1: got bytes that begin with b''"),
        (frame(3, b"[" * 2000), ONE, "record 1: got values nested"),
        (
            frame(3, b'{"a": "%b"}' % (b"x" * 65_536)),
            ONE,
            "record 1: got 65550 bytes, expected at most 65536 (input.max",
        ),
        (frame(3, b"[1]"), ONE, "1 of 1 records are not events"),
        (b"{", SEVERAL, "got a body that is not JSON"),
        (b"[]", SEVERAL, "got other content (Expected `object`, got `array`), expected"),
        (b'{"records": []}', SEVERAL, "got a body without records"),
        (b'{"records": [{"value": ""}, {"value": null}]}', SEVERAL, "record 2: got other content (Expected `bytes`, "),
        (b'{"records": [{"value": ""}, {}]}', SEVERAL, "record 2: got other content (Object missing required field"),
        (b'{"records": [{"value": "a*b"}]}', SEVERAL, "record 1: got other content (Invalid base64 encoded string), "),
        (b"[" * 5000, SEVERAL, "got other content (Expected `object`, got `array`), expected"),
        (b'{"records": [{"key": %b' % (b"[" * 500_000), SEVERAL, "got deeply nested values"),
    ],
)
def test_refused(door: Door, body: bytes, kind: dict[str, str], message: str) -> None:
    """Nothing of a body is accepted where one record is no event; the answer names it, and the id of its schema."""
    error = door.post("events", body, kind, 400)["error"]
    assert message in error["message"]
    assert "nothing of the body was accepted" in error["message"]
    assert door.spooled() == []
    assert door.counted("push_refused_total", reason="invalid") == 1


def test_killed_after_the_answer(tmp_path: Path) -> None:
    """What was answered is there after a kill at that moment, as the lines that the same events have as JSON."""
    doors = opened(tmp_path, frames_with(SCHEMAS))
    door, kept = next(doors), list[tuple[list[bytes], Path]]()
    for number, (body, kind) in enumerate([(avro(1), ONE), (several(proto(2), avro(3)), SEVERAL), (proto(4), ONE)]):
        door.post("events", body, kind)
        kept.append((door.spooled(), tmp_path / f"copy-{number}"))
        shutil.copytree(tmp_path / "push", kept[-1][1])  # what is on the disk if the process ends here
    doors.close()
    for count, (lines, folder) in zip((1, 3, 4), kept, strict=True):
        log = PushLog(folder, 1 << 20)
        log.open(None)
        found = log.read(log.earliest(), 100)
        log.close()
        assert found is not None
        assert found.values == lines
        steps = range(1, count + 1)
        assert events(lines) == (["a"] * count, [TIME + 60_000 * n for n in steps], [n / 4 for n in steps], [])


def test_registry_is_down(door: Door) -> None:
    """While the registry does not answer, the body is refused with 503, and bodies with known schemas are accepted.

    What the registry answered is in the log only.
    """
    with capture_logs() as logs:
        error = door.post("events", several(avro(1), frame(4, b"x")), SEVERAL, 503)["error"]
    assert error["message"].startswith("the schema registry does not answer")
    assert "is down" not in error["message"]
    assert [line["error"] for line in logs if "schemas of pushed records" in line["event"]] == ["the registry is down"]
    assert door.spooled() == []
    assert door.post("events", avro(1), ONE)["accepted"] == 1


def test_without_registry(tmp_path: Path) -> None:
    """Framed JSON needs no registry; other payloads are refused with the key to set."""
    for door in opened(tmp_path):
        body = frame(7, b'{"series": "a", "timestamp": %d, "value": 1}' % TIME)
        assert door.post("events", body, ONE)["accepted"] == 1
        assert "set schema_registry.url" in door.post("events", avro(1), ONE, 400)["error"]["message"]
        assert "nested" in door.post("events", frame(7, b"{" + b'"a":[' * 2000), ONE, 400)["error"]["message"]


def test_bound() -> None:
    """Lines longer than input.push_body refuse the body, whatever its own size."""
    bodies = FramedBodies(SchemaFrames(Shelf({1: EVENT}), codec_of, 10), "auto", 1000)
    assert len(bodies.lines(several(*[avro(1)] * 10), IN_BASE64)) == 10
    with pytest.raises(FramedBodyError, match=r"more than 1000 bytes as JSON \(input.push_body\)"):
        bodies.lines(several(*[avro(1)] * 30), IN_BASE64)


def test_many_schemas() -> None:
    """A body with more schemas than one may have is refused before the first lookup."""
    shelf = Shelf(dict.fromkeys(range(2 * MOST_SCHEMAS), EVENT))
    bodies = FramedBodies(SchemaFrames(shelf, codec_of, 10), "auto", 1 << 20)
    values = [frame(number, avro(1)[5:]) for number in range(MOST_SCHEMAS + 1)]
    with pytest.raises(FramedBodyError, match="101 different schema ids, expected at most 100 per request; send"):
        bodies.lines(several(*values), IN_BASE64)
    assert shelf.asked == []
    assert len(bodies.lines(several(*values[1:]), IN_BASE64)) == MOST_SCHEMAS


def test_memory_of_small_records() -> None:
    """A body of the smallest records takes a small multiple of its bytes."""
    bodies = FramedBodies(None, "auto", 1 << 24)
    body = b'{"records":[' + b",".join([b'{"value":""}'] * (1 << 18)) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(FramedBodyError, match="got 262144 records, expected at most 50000 per request"):
            bodies.lines(body, IN_BASE64)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(body)
    finally:
        tracemalloc.stop()


class SlowShelf(Shelf):
    """A registry whose lookups begin, and go on when they may."""

    def __init__(self, schemas: dict[int, Any], seconds: float) -> None:
        super().__init__(schemas)
        self.seconds, self.began, self.go_on = seconds, threading.Event(), threading.Event()

    def schema(self, number: int) -> RegisteredSchema:
        """Waits, and returns a schema."""
        self.began.set()
        self.go_on.wait(self.seconds)
        return super().schema(number)


def test_other_bodies_do_not_wait(tmp_path: Path) -> None:
    """While the registry is slow, lines of the same client are accepted; of one kind, bodies take turns."""
    shelf = SlowShelf({1: EVENT}, 60)
    line = b'{"series": "b", "timestamp": %d, "value": 1}' % TIME
    for door in opened(tmp_path, SchemaFrames(shelf, codec_of, 10)):
        with ThreadPoolExecutor(1) as pool:
            framed = pool.submit(door.post, "events", avro(1), ONE)
            try:
                assert shelf.began.wait(30)
                assert door.post("events", line, LINES)["accepted"] == 1
                assert not framed.done()
            finally:
                shelf.go_on.set()
            assert framed.result()["accepted"] == 1
        assert events(door.spooled())[0] == ["b", "a"]


def test_stop_between_lookups(tmp_path: Path) -> None:
    """A stop waits for one lookup only, not for those of the other schemas and bodies."""
    shelf = SlowShelf(dict.fromkeys(range(MOST_SCHEMAS), EVENT), 0.05)
    body = several(*(frame(number, avro(1)[5:]) for number in range(MOST_SCHEMAS)))
    for door in opened(tmp_path, SchemaFrames(shelf, codec_of, 10)):
        with ThreadPoolExecutor(1) as pool:
            framed = pool.submit(door.post, "events", body, SEVERAL, 503)
            assert shelf.began.wait(30)
            door.push.close()
            assert len(shelf.asked) < MOST_SCHEMAS
            assert "the daemon stops" in framed.result()["error"]["message"]
        assert door.spooled() == []


PARSED, FRAMES = parse_schema(ANY), frames_with({1: ANY})
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.floats(), st.integers(-(1 << 63), (1 << 63) - 1), st.booleans(), st.text(max_size=5),
    st.binary(max_size=5), st.lists(st.integers(0, 5), max_size=2),
)  # fmt: skip
RECORDS = st.fixed_dictionaries(
    {
        "series": st.one_of(st.text(max_size=3), st.binary(max_size=3), st.integers(0, 1 << 62)),
        "timestamp": st.one_of(
            st.integers(-(1 << 50), 1 << 55), st.just("2026-01-05T00:00Z"), st.floats(-1e12, 1e12), st.none()
        ),
        "value": VALUES,
    }
)


@given(records=st.lists(RECORDS, min_size=1, max_size=5), unit=st.sampled_from(["auto", "s", "ms", "us", "ns"]))
def test_as_on_a_topic(records: list[dict[str, Any]], unit: str) -> None:
    """A pushed record has the events and the reason for a reject that the same record on a topic has."""
    settings = {"fields": {"time_unit": unit}}
    values = [encoded(PARSED, one) for one in records]
    topic = decoded(FRAMES, values, **settings)
    lines = FramedBodies(FRAMES, unit, 1 << 20).lines(several(*values), IN_BASE64)  # type: ignore[arg-type]
    series, times, found, reasons = events(lines, **settings)
    assert series == topic.series
    assert times == topic.timestamp_ms.tolist()
    np.testing.assert_array_equal(found, topic.value)
    assert reasons == [one.reason for one in topic.rejects]
