"""Pushing events over HTTP: accepted events are on disk, refused ones are reported line by line."""

from __future__ import annotations

import gzip
import math
import re
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cramjam
import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import TurnedClock, config_of, event
from push_door import LINES, NOW, Door, opened

from service.http import HttpServer, Push, api_routes, create_app
from service.http.remote_write import RemoteWrite, RemoteWriteError, Sample, TooLargeError, encode, series_id
from service.messages.decode import Decoder
from service.monitoring.health import Health

WRITE = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The endpoints with the default settings, shared by all tests."""
    yield from opened(tmp_path_factory.mktemp("door"))


@pytest.fixture
def door(usual: Door) -> Door:
    """The shared endpoints with fresh counts."""
    usual.begin()
    return usual


class TestLines:
    """POST /api/v1/events."""

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n  \n"])
    @pytest.mark.parametrize("zipped", [False, True])
    def test_taken(self, door: Door, end: bytes, zipped: bool) -> None:
        """Accepted lines are on disk unchanged before the response."""
        lines = [event(step) for step in range(50)]
        body = b"\xef\xbb\xbf" + end.join(lines)
        headers = LINES | ({"content-encoding": "gzip"} if zipped else {})
        assert door.post("events", gzip.compress(body) if zipped else body, headers) == {"accepted": 50, "filtered": 0}
        assert door.spooled() == lines
        assert door.counted("push_events_total", path="events") == 50
        assert door.metrics.registry.get_sample_value("forecaster_push_spool_bytes") == door.log.size > 0

    def test_line_protocol(self, door: Door) -> None:
        """Line protocol is accepted line by line; comments and blank lines are not kept."""
        kind = {"content-type": "application/x-influx-line-protocol"}
        lines = [b"cpu,host=a idle=%d,user=2i %d" % (step, 1_700_000_000 + step) for step in range(3)]
        body = b"# from Telegraf\n" + b"\n\n  #=\n".join(lines) + b"\n"
        assert door.post("events", body, kind) == {"accepted": 3, "filtered": 0}
        assert door.spooled() == lines
        error = door.post("events", body + b"m f=1\n", kind, 400)["error"]
        assert error["lines"][0].startswith("line 9: ")
        assert "line 1: undecodable" in door.post("events", b"#=00\n", LINES, 400)["error"]["message"]

    def test_one_wrong(self, door: Door) -> None:
        """One wrong line refuses the whole body; the error states the line's number and its problem."""
        body = event(1) + b"\n\n" + b'{"series": "a", "value": 3}\n[1]\n' + event(2)
        error = door.post("events", body, LINES, 400)["error"]
        assert error["code"] == "invalid"
        assert error["message"].startswith(
            "2 of 4 lines are not events; nothing of the body was accepted. line 3: missing_"
        )
        assert [line.partition(":")[0] for line in error["lines"]] == ["line 3", "line 4"]
        assert door.spooled() == []
        assert door.counted("push_refused_total", reason="invalid") == 1

    def test_far_ahead(self, door: Door) -> None:
        """An event over a day ahead is refused on arrival, because later events of its series would count as late."""
        late = orjson.dumps({"series": "a", "timestamp": NOW.wall_ms() + 86_400_001, "value": 1})
        error = door.post("events", event(1) + b"\n" + late, LINES, 400)["error"]
        assert error["lines"] == [
            "line 2: too_far_ahead: 86400001 ms after the present time, expected at most 86400000 (input.max_ahead)"
        ]

    def test_no_lines(self, door: Door) -> None:
        """An empty body is no error and adds no event."""
        assert door.post("events", b"\n \n", LINES)["accepted"] == 0

    @pytest.mark.parametrize(
        ("headers", "text"),
        [
            ({"content-type": "text/plain"}, "content-type: got 'text/plain', expected application/x-ndjson"),
            ({}, "content-type: got ''"),
            (LINES | {"content-encoding": "br"}, "content-encoding: got 'br', expected gzip or none"),
        ],
    )
    def test_other_kinds(self, door: Door, headers: dict[str, str], text: str) -> None:
        """Content types that other sites' pages may send without a preflight, and unknown encodings, are refused."""
        assert text in door.post("events", event(1), headers, 415)["error"]["message"]
        assert door.spooled() == []

    @pytest.mark.parametrize(
        "body",
        # Explicit ids and mtime=0: ids made of bytes with gzip's time stamp would differ between test workers.
        [
            pytest.param(b"no gzip", id="no gzip"),
            pytest.param(gzip.compress(event(1), mtime=0)[:-5], id="cut short"),
            pytest.param(gzip.compress(b"", mtime=0) + b"more", id="more behind its end"),
        ],
    )
    def test_bad_gzip(self, door: Door, body: bytes) -> None:
        """A body that does not decompress is refused as a whole."""
        door.post("events", body, LINES | {"content-encoding": "gzip"}, 400)

    def test_bomb(self, door: Door) -> None:
        """A small body that decompresses to a large one is refused."""
        bomb = gzip.compress(b"\n" * (1 << 24))
        error = door.post("events", bomb, LINES | {"content-encoding": "gzip"}, 413)["error"]
        assert "input.push_body" in error["message"]

    def test_many_wrong(self, door: Door) -> None:
        """After a hundred wrong lines the check stops, and the error states how many lines were checked."""
        error = door.post("events", event(1) + b"\nx" * 50_000, LINES, 400)["error"]
        found = re.match(
            r"(\d+) of the first (\d+) lines are not events; nothing of the body was accepted", error["message"]
        )
        assert found is not None
        wrong, seen = map(int, found.groups())
        assert 100 <= wrong == seen - 1 < 50_000
        assert len(error["lines"]) == 10
        assert door.spooled() == []

    def test_one_body_of_a_client_at_a_time(self, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bodies of one client are checked one at a time, so that one client does not occupy every worker."""
        running, most = list[int](), list[int]()
        checked = Decoder.decode

        def slowly(decoder: Decoder, records: Any) -> Any:
            running.append(1)
            most.append(len(running))
            time.sleep(0.02)
            running.pop()
            return checked(decoder, records)

        monkeypatch.setattr(Decoder, "decode", slowly)
        with ThreadPoolExecutor(8) as pool:
            bodies = [event(step) for step in range(16)]
            answers = list(pool.map(lambda body: door.post("events", body, LINES), bodies))
        assert [one["accepted"] for one in answers] == [1] * 16
        assert max(most) == 1
        assert sorted(door.spooled()) == sorted(bodies)

    def test_full(self, tmp_path: Path) -> None:
        """While the spool is full, events get 429 and remote write gets 503, which makes Prometheus retry."""
        for door in opened(tmp_path, push_spool=1 << 20):
            door.log.most_bytes = 100
            assert door.post("events", event(1) + b"\n" + event(2), LINES, 429)["error"]["code"] == "full"
            body = encode([([("__name__", "up"), ("job", "x" * 100)], [(1, 1.0)])])
            assert door.post("write", body, WRITE, 503)["error"]["code"] == "full"
            assert door.counted("push_refused_total", reason="full") == 2

    def test_not_ready(self, tmp_path: Path) -> None:
        """Before the engine has opened the data folder no event is accepted."""
        door = Door(tmp_path)
        with door.server, httpx.Client(base_url=door.server.url, trust_env=False) as door.client:
            assert door.post("events", event(1), LINES, 503)["error"]["code"] == "not_ready"

    def test_off(self, tmp_path: Path) -> None:
        """Without input.push a push gets 404, and the message states the setting."""
        door = Door(tmp_path)
        routes = api_routes(Push(None, config_of(tmp_path).input, door.metrics, NOW).endpoints())
        server = HttpServer(create_app(door.metrics, Health(TurnedClock()), dict, routes=routes), "127.0.0.1", 0)
        with server, httpx.Client(base_url=server.url, trust_env=False) as door.client:
            assert "set input.push = true" in door.post("events", event(1), LINES, 404)["error"]["message"]


def _series(labels: list[tuple[bytes, bytes]], timestamp: int) -> bytes:
    """Encodes a series of one sample in protobuf, with any labels."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([8 * number + 2, len(data)]) + data

    inner = b"".join(field(1, field(1, name) + field(2, value)) for name, value in labels)
    return field(1, inner + field(2, b"\x09" + struct.pack("<d", 1.0) + bytes([0x10, timestamp])))


class TestRemoteWrite:
    """POST /api/v1/write."""

    def test_taken(self, door: Door) -> None:
        """Every sample becomes an event; a stale marker becomes an event without a value."""
        one, two = [("__name__", "up"), ("job", 'a"\n\\'), ("az", "é")], [("__name__", "plain")]
        body = encode([(one, [(1_700_000_000_000, 1.5), (1_700_000_015_000, STALE)]), (two, [(7, -math.inf)])])
        assert door.post("write", body, WRITE) == {"accepted": 3, "filtered": 0}
        name = 'up{az="é",job="a\\"\\n\\\\"}'
        assert [orjson.loads(line) for line in door.spooled()] == [
            {"series": name, "timestamp": 1_700_000_000_000, "value": 1.5},
            {"series": name, "timestamp": 1_700_000_015_000, "value": None},
            {"series": "plain", "timestamp": 7, "value": None},
        ]

    def test_filtered(self, tmp_path: Path) -> None:
        """Only metrics that match a glob, and series that the input accepts, are accepted."""
        series = [([("__name__", name)], [(1, 1.0)]) for name in ("node_load1", "node_boot", "up", "go_x")]
        for door in opened(tmp_path, push_metrics=["node_*", "up"], series=["node_load1", "up"]):
            assert door.post("write", encode(series), WRITE) == {"accepted": 2, "filtered": 2}
            assert door.counted("push_filtered_total") == 2

    def test_fields_of_other_shapes(self, tmp_path: Path) -> None:
        """Nested and wide lines can be pushed; remote write, which has neither, is refused with the reason."""
        fields = {"series": "host.name", "values": ["cpu", "mem"]}
        for door in opened(tmp_path, fields=fields):
            line = b'{"host": {"name": "a"}, "timestamp": 1, "cpu": 2, "mem": 3}'
            assert door.post("events", line, LINES) == {"accepted": 1, "filtered": 0}
            error = door.post("write", encode([([("__name__", "x")], [(1, 1.0)])]), WRITE, 400)["error"]
            assert error["message"].startswith("remote write and OTLP need one value per event")

    def test_some_wrong(self, door: Door) -> None:
        """Samples that are not events are reported to the sender, and the others are accepted."""
        error = door.post("write", encode([([("__name__", "x")], [(10**17, 1.0), (5, 2.0)])]), WRITE, 400)["error"]
        assert error["message"].startswith("1 of 2 samples are not events; the others were accepted. ")
        assert [orjson.loads(line)["value"] for line in door.spooled()] == [2.0]

    @pytest.mark.parametrize(
        ("labels", "text"),
        [
            ([("__name__", "up"), ("job", "a"), ("job", "b")], "the label 'job' more than once"),
            ([("__name__", "up"), ("__name__", "down")], "the label '__name__' more than once"),
            ([("__name__", "up"), ("", "a")], "a label without a name"),
            ([("__name__", "up"), ("", "")], "a label without a name"),
            ([("job", "a")], "no label __name__"),
            ([("__name__", "")], "no label __name__"),
            ([], "no label __name__"),
            ([("__name__", "up"), ("job", b"\xff")], "not UTF-8"),
            ([("__name__", "up"), (b"\xc3\x28", "a")], "not UTF-8"),
        ],
    )
    def test_labels_that_name_no_series(self, door: Door, labels: list[tuple[Any, Any]], text: str) -> None:
        """Samples with invalid labels are refused, and the others of the body are accepted."""
        one, last = [("__name__", "one"), ("empty", "")], [("__name__", "last")]
        raw = [tuple(part if isinstance(part, bytes) else part.encode() for part in label) for label in labels]
        body = bytes(cramjam.snappy.compress_raw(b"".join(
            (bytes(cramjam.snappy.decompress_raw(encode([(one, [(1, 1.0)])]))), _series(raw, 2),
             bytes(cramjam.snappy.decompress_raw(encode([(last, [(3, 3.0)])])))),
        )))  # fmt: skip
        error = door.post("write", body, WRITE, 400)["error"]
        assert error["message"].startswith("1 of 3 samples are not events; the others were accepted. ")
        assert text in error["message"]
        assert [orjson.loads(line)["series"] for line in door.spooled()] == ["one", "last"]

    def test_metadata_only(self, door: Door) -> None:
        """A body without samples, as Prometheus sends now and then, is no error."""
        assert door.post("write", encode([]), WRITE)["accepted"] == 0

    @pytest.mark.parametrize(
        ("body", "headers", "status"),
        [
            (b"rubbish", WRITE, 400),
            (bytes(cramjam.snappy.compress_raw(b"\xff" * 50)), WRITE, 400),
            (encode([])[:-1], WRITE, 400),
            (encode([([("__name__", "x")], [(10**17, 1.0), (NOW.wall_ms() + 10**8, 1.0)])]), WRITE, 400),
            (bytes(cramjam.snappy.compress_raw(bytes(1 << 17))), WRITE, 413),
            (encode([]), {"content-type": "application/x-protobuf"}, 415),
            (encode([]), WRITE | {"content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, 415),
        ],
    )
    def test_refused(self, door: Door, body: bytes, headers: dict[str, str], status: int) -> None:
        """A malformed, oversized or unsupported body, or one without a valid sample, is refused as a whole."""
        assert len(door.post("write", body, headers, status)["error"]["message"]) > 20
        assert door.spooled() == []

    def test_samples_of_a_long_series(self, door: Door) -> None:
        """A small body whose samples would become gigabytes of lines is refused before any line is made."""
        labels = [("__name__", "x" * 30_000)]
        body = encode([(labels, [(1, 1.0)] * 3)])
        error = door.post("write", body, WRITE, 413)["error"]
        assert (
            "bytes of lines with the labels of their series, expected at most 65536 (input.push_body)"
            in error["message"]
        )
        assert door.post("write", encode([(labels[:], [(1, 1.0)] * 2)]), WRITE)["accepted"] == 2
        assert len(door.spooled()) == 2

    @given(st.binary(max_size=200))
    def test_any_bytes(self, body: bytes) -> None:
        """Arbitrary bytes either decode to samples or are refused."""
        for packed in (body, bytes(cramjam.snappy.compress_raw(body))):
            try:
                found, filtered = RemoteWrite([], 1000).decode(packed)
            except RemoteWriteError:
                continue
            assert all(isinstance(one, Sample) for one in found)
            assert filtered == 0

    def test_says_it_is_large(self) -> None:
        """A body with a declared size over the limit is refused before decompression."""
        with pytest.raises(TooLargeError, match="expected at most 1000"):
            RemoteWrite([], 1000).decode(b"\xff\xff\xff\xff\x0f")

    @given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=4))
    def test_series_id(self, labels: dict[str, str]) -> None:
        """The series id does not depend on the order of labels, and differs for other labels."""
        pairs = list(labels.items())
        assert series_id(pairs) == series_id(pairs[::-1])
        assert series_id(pairs) != series_id([*pairs, ("one_more", "x")])


def test_ours_is_theirs() -> None:
    """A body written by hand from the specification is decoded as specified, byte for byte."""
    label = b"\x0a\x08__name__\x12\x02up"
    sample = b"\x09" + struct.pack("<d", 2.5) + b"\x10\xe8\x07"
    series = b"\x0a" + bytes([len(label)]) + label + b"\x12" + bytes([len(sample)]) + sample
    body = bytes(cramjam.snappy.compress_raw(b"\x0a" + bytes([len(series)]) + series + b"\x1a\x02\x08\x01"))
    assert RemoteWrite([], 1000).decode(body) == ([Sample("up", 1000, 2.5)], 0)
