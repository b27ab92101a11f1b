"""Fuzz targets: readers of foreign bytes, and the errors that each may raise.

Seeds are files of the archive of tests/upgrades, so that most inputs pass the first check.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import avro_events
import cramjam
import proto_events
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from snapshot_pairs import Pair, unpacked

from forecaster import CheckpointError, Forecaster, Model, SequenceModel, load_model
from service.config.input import InputConfig
from service.config.load import load_config
from service.errors import ConfigurationError, ServiceError, SinkFormatError, TransportError
from service.http import otlp, remote_write
from service.http.framed_bodies import IN_BASE64, ONE_RECORD, FramedBodies, FramedBodyError
from service.http.web_config import load_web_config
from service.lifecycle import SystemClock
from service.messages.decode import CSV_HEADER, Decoder
from service.messages.parse_lines import FORMAT_HEADER
from service.ports import Records
from service.registry import exclusions
from service.registry.models import Registry
from service.schemas.schema import SchemaError
from service.sinks.sqlite_sink import SqliteSink
from service.snapshots.file import Snapshot, read
from service.sources.byte_source import open_bytes

T = TypeVar("T")
ARCHIVE: Final = Path(__file__).parents[1] / "upgrades" / "0.1.0.tar.gz"
EVENT: Final = b'{"series": "a", "timestamp": "2026-01-05T00:00:00Z", "value": 1.5, "load": [1, null]}'
CLOUD: Final = b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "data": %s}' % EVENT
POINT: Final = rb'm\ 1,a=b,c\,d=e\=f g=1.5,h=2i,i="x, \" y",j=t 1767571200000000000'
ENTRIES: Final = rb"""a.org:443 ::1 - Ann Lee [22/Nov/2026:10:00:01 +0100] "GET /a?b HTTP/1.1" 200 51 "-" "x \" y" rt=5
10.0.0.7 - - [22/Nov/2026:10:00:01 +0000] "\x16" 400 - "-" "-" "1.2.3.4" 12 0.25 [up] 3ms
"""
POINTS: Final = b"# comment\n" + POINT + b"\nm g=1\n"
TABLES: Final = b"""#group,false,false,true,false,true,true,true\r
#datatype,string,long,dateTime:RFC3339,double,string,string,string\r
#default,_result,,,,,,\r
,result,table,_time,_value,_field,_measurement,host\r
,,0,2026-01-05T00:00:00Z,1.5,used,"a ""b"", c",w0\r
\r
#datatype,string,long,boolean
,result,table,"x
y"
,,1,true
"""
WEB: Final = b"""
tls_server_config:
  cert_file: a.pem
  key_file: b.pem
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: c.pem
  min_version: TLS12
basic_auth_users:
  ann: $2b$04$uTdMMzXlkBvFO6sAS9Oj4uKBxS2hDoHKjsxP7kvTi6H5Ee/Ncu2Ee
"""


SAMPLES: Final = remote_write.encode([((("__name__", "up"), ("job", "a")), ((1_767_571_200_000, 1.5),))])
METRICS_JSON: Final = b"""{"resourceMetrics": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
    "scopeMetrics": [{"scope": {"name": "lib"}, "metrics": [
        {"name": "load", "gauge": {"dataPoints": [{"timeUnixNano": "1767571200000000000", "asDouble": 1.5,
            "attributes": [{"key": "cpu", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}}]}]}},
        {"name": "h", "histogram": {"dataPoints": [{"count": "1"}]}}]}]}]}"""
METRICS: Final = json_format.Parse(METRICS_JSON, ExportMetricsServiceRequest()).SerializeToString()


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        made: valid inputs to mutate, or what makes them: collecting the tests must not compile a kernel.
        take: reads bytes; an exception outside `allowed` is a defect.
        allowed: exceptions that refuse an input.
    """

    made: tuple[bytes, ...] | Callable[[], tuple[bytes, ...]]
    take: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...] = ()

    @property
    def seeds(self) -> tuple[bytes, ...]:
        """The valid inputs."""
        return self.made() if callable(self.made) else self.made


@cache
def scratch() -> Path:
    """Returns a folder for the files that are read."""
    return Path(tempfile.mkdtemp(prefix="forecaster-fuzz-"))


@cache
def seed(pattern: str) -> bytes:
    """Returns a file of the archive."""
    with tarfile.open(ARCHIVE) as held:
        name = next(name for name in sorted(held.getnames()) if Path(name).match(pattern))
        found = held.extractfile(name)
        assert found is not None
        return found.read()


def at(name: str, reader: Callable[[Path], T]) -> Callable[[bytes], T]:
    """Returns a function that reads bytes as a file of the given name."""

    def take(data: bytes) -> T:
        path = scratch() / name
        path.write_bytes(data)
        return reader(path)

    return take


def events(data: bytes, header: bytes | None = None) -> None:
    """Decodes lines: each is an event, a control record or a reject, once; a reject has its bytes and a reason."""
    lines = data.split(b"\n")
    headers = None if header is None else [((CSV_HEADER, header),)] * len(lines)
    decoded = Decoder(InputConfig()).decode(
        Records("p", range(len(lines)), len(lines), lines, headers=headers, timestamps_ms=[0] * len(lines))
    )
    beside = (one.position for one in (*decoded.rejects, *decoded.controls))
    assert {*decoded.positions, *beside} == set(range(len(lines)))
    for one in decoded.rejects:
        assert one.value == lines[one.position]
        assert one.detail


def csv(data: bytes) -> None:
    """Decodes lines whose first line is the header of the others."""
    header, _, rest = data.partition(b"\n")
    events(rest, header)


def cloud_events(data: bytes) -> None:
    """Decodes lines as structured CloudEvents: lines without an envelope are read as they are."""
    lines = data.split(b"\n")
    kind = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    records = Records("p", range(len(lines)), len(lines), lines, headers=[kind] * len(lines))
    decoded = Decoder(InputConfig()).decode(records)
    beside = (one.position for one in (*decoded.rejects, *decoded.controls))
    assert {*decoded.positions, *beside} == set(range(len(lines)))
    for one in decoded.rejects:
        assert one.value == lines[one.position]


def line_protocol(data: bytes) -> None:
    """Decodes lines of a file, and all of them as one record: each is events, a comment or a reject with its bytes."""
    lines = data.split(b"\n")
    headers = [((FORMAT_HEADER, b"influx"),)] * len(lines)
    decoded = Decoder(InputConfig()).decode(Records("p", range(len(lines)), len(lines), lines, headers=headers))
    found = {*decoded.positions, *(one.position for one in decoded.rejects)}
    comments = {at for at, line in enumerate(lines) if line.strip(b"\xef\xbb\xbf \t\r")[:1] in {b"", b"#"}}
    assert found | comments == set(range(len(lines)))
    for one in decoded.rejects:
        assert one.value == lines[one.position]
        assert one.detail
    Decoder(InputConfig(format="influx")).decode(Records("p", [0], 1, [data], timestamps_ms=[0]))


def access_log(data: bytes) -> None:
    """Decodes lines of an access log: each is an event, blank, or a reject with its bytes."""
    lines = data.split(b"\n")
    headers = [((FORMAT_HEADER, b"access-log"),)] * len(lines)
    settings = InputConfig.model_validate({"fields": {"series": "{method} {path}", "value": "request_time"}})
    decoded = Decoder(settings).decode(Records("p", range(len(lines)), len(lines), lines, headers=headers))
    found = {*decoded.positions, *(one.position for one in decoded.rejects)}
    blank = {at for at, line in enumerate(lines) if not line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r")}
    assert found | blank == set(range(len(lines)))
    for one in decoded.rejects:
        assert one.value == lines[one.position]
        assert one.detail


def tables(path: Path) -> None:
    """Reads annotated CSV: whatever the size of the pieces, the rows are the same lines of JSON."""
    found = []
    for size in (7, 1 << 16):
        source, data = open_bytes(path, 0, form="annotated-csv"), b""
        source.complete()
        while piece := source.read(size):
            data += piece
        found.append((data, source.damage()))
        source.close()
    assert found[0] == found[1]
    for line in found[0][0].splitlines():
        json.loads(line)
    assert len(found[0][0]) < 100 * path.stat().st_size + 1000


def pushed(payload: bytes) -> bytes:
    """Returns a body with a record in the wire format, in base64."""
    return b'{"records": [{"value": "%b"}]}' % base64.b64encode(b"\0\0\0\0\1" + payload)


def pushed_records(data: bytes) -> None:
    """Reads a pushed body of records in base64, and the same bytes as one record: lines of JSON, one per record."""
    bodies = FramedBodies(avro_events.frames(), "auto", 1 << 20)
    for kind in (ONE_RECORD, IN_BASE64):
        try:
            lines = bodies.lines(data, kind)
        except FramedBodyError:
            if kind == IN_BASE64:
                raise
            continue
        for line in lines:
            assert b"\n" not in line
            json.loads(line)


@cache
def archived() -> tuple[Snapshot, Model]:
    """Returns the snapshot of the archive, and its model."""
    found = at("good.snapshot", read)(seed("*.snapshot"))
    return found, at("good.safetensors", load_model)(seed(f"data/models/{found.model_sha256}.safetensors"))


def snapshot(path: Path) -> Forecaster:
    """Reads a snapshot and restores its state."""
    found = read(path)
    return Forecaster.from_state(found.arrays, found.library, archived()[1], max_series=4, history_events=200)


@cache
def pair() -> Pair:
    """Returns an incremental snapshot and its base."""
    return Pair.of(*archived(), scratch() / "snapshots")


def output(path: Path) -> None:
    """Opens an output as the daemon does, and reads its committed position."""
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    sink = SqliteSink(path)
    try:
        sink.open()
        sink.committed("events.jsonl")
    finally:
        sink.close()


def registry(path: Path) -> None:
    """Reads the log of decisions and the champion, as a start does."""
    folder = path.parent / "models"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    data = path.read_bytes()
    (folder / "decisions.jsonl").write_bytes(data)
    (folder / "champion").write_bytes(data[:65])
    held = Registry(folder, SystemClock())
    held.recover()
    held.champion()
    held.decisions()


def targets() -> dict[str, Target]:
    """Returns all targets."""
    toml = seed("config.toml")
    files: tuple[type[Exception], ...] = (CheckpointError,)
    return {
        "JSON events": Target((EVENT + b"\n" + EVENT, EVENT), events),
        "CSV events": Target((b'series,timestamp,value\na,1767571200000,1.5\n"b",2026-01-05T00:00:00Z,\n',), csv),
        "line protocol": Target((POINTS,), line_protocol),
        "access log": Target((ENTRIES,), access_log),
        "annotated CSV": Target((TABLES,), at("tables.csv", tables)),
        "pushed records": Target((pushed(avro_events.PAYLOAD),), pushed_records, (FramedBodyError,)),
        "CloudEvents": Target((CLOUD + b"\n" + EVENT, CLOUD), cloud_events),
        "Avro events": Target((avro_events.PAYLOAD,), avro_events.payload),
        "Avro schema": Target((avro_events.SCHEMA,), avro_events.schema, (SchemaError,)),
        "Protobuf events": Target((proto_events.PAYLOAD,), proto_events.payload),
        "Protobuf descriptor": Target((proto_events.descriptor(),), proto_events.schema, (SchemaError, DecodeError)),
        "configuration": Target((toml,), at("config.toml", load_config), (ConfigurationError,)),
        "web configuration": Target((WEB,), at("web.yml", load_web_config), (ConfigurationError,)),
        "model": Target((seed("model.safetensors"),), at("model.safetensors", load_model), files),
        "saved forecaster": Target((seed("saved.forecaster"),), at("saved.forecaster", Forecaster.load), files),
        "sequence model": Target(
            (seed("sequence.safetensors"),), at("sequence.safetensors", SequenceModel.load), files
        ),
        "snapshot": Target((seed("*.snapshot"),), at("one.snapshot", snapshot), files),
        "snapshot of changes": Target(lambda: (pair().changes,), lambda data: pair().intact(pair().whole, data), files),
        "snapshot below changes": Target(
            lambda: (pair().whole,), lambda data: pair().intact(data, pair().changes), files
        ),
        "snapshot of changes, signed": Target(
            lambda: (unpacked(pair().changes),), lambda data: pair().signed_changes(data), files
        ),
        "snapshot below changes, signed": Target(
            lambda: (unpacked(pair().whole),), lambda data: pair().signed_whole(data), files
        ),
        "output": Target(
            (seed("forecasts.sqlite"),), at("forecasts.sqlite", output), (SinkFormatError, TransportError)
        ),
        "exclusions": Target(
            (b'[{"series": "cpu.*", "from_ms": 1767571200000, "to_ms": 1767571300000, "reason": "x"}]',),
            at("exclusions.json", lambda path: exclusions.read(path.parent)),
            (ServiceError,),
        ),
        "remote write": Target(
            (SAMPLES,),
            lambda data: remote_write.RemoteWrite((), 1 << 20).decode(data),
            (remote_write.RemoteWriteError,),
        ),
        "remote write, unpacked": Target(  # otherwise damaged inputs seldom pass the decompression
            (cramjam.snappy.decompress_raw(SAMPLES).read(),),
            lambda data: remote_write.RemoteWrite((), 1 << 20).decode(bytes(cramjam.snappy.compress_raw(data))),
            (remote_write.RemoteWriteError,),
        ),
        "OTLP metrics": Target(
            (METRICS,),
            lambda data: otlp.OtlpMetrics((), ("*",), 1 << 20).decode(data),
            (otlp.OtlpError, remote_write.TooLargeError),
        ),
        "OTLP metrics, JSON": Target(
            (METRICS_JSON,),
            lambda data: otlp.OtlpMetrics((), ("*",), 1 << 20).decode_json(data),
            (otlp.OtlpError, remote_write.TooLargeError),
        ),
        "registry": Target((seed("decisions.jsonl"),), at("decisions.jsonl", registry), (ServiceError,)),
    }


class Broken(bytes):
    """Bytes with a short repr; the input itself stays in the folder `scratch`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, sha256 {hashlib.sha256(self).hexdigest()[:12]}, see {scratch()}>"


@st.composite
def broken(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draws a good input with some pieces flipped, cut out, doubled, overwritten or replaced; at times any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return Broken(draw(st.binary(max_size=200)))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        size = len(data)
        start = draw(st.integers(0, size))
        stop = min(size, start + draw(st.integers(0, 40)))
        how = draw(st.sampled_from(["flip", "cut", "double", "overwrite", "insert", "truncate", "number"]))
        if how == "flip" and start < size:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[start:stop]
        elif how == "double":
            data[start:start] = data[start:stop]
        elif how == "overwrite":
            data[start:stop] = draw(st.binary(min_size=stop - start, max_size=stop - start))
        elif how == "insert":
            data[start:start] = draw(st.binary(max_size=12))
        elif how == "truncate":
            del data[start:]
        else:
            data[start:stop] = draw(
                st.sampled_from([b"1e999", b"-1", b"99999999999999999999", b"null", b'"', b"[[", b"{}"])
            )
    return Broken(data)
