"""Avro, Protobuf and JSON Schema records with a real registry: forecast like JSON, also after outages."""

from __future__ import annotations

import io
import json
import os
import signal
import time

import httpx
import pytest
from click.testing import CliRunner
from daemons import Daemons, answers, events
from fastavro import parse_schema, schemaless_writer
from kafka_broker import free_ports
from kafka_tools import produce, read_topic
from proto_records import message, registered

from service.cli import main
from service.cli._preflight import dry_run
from service.config.schema_registry import SchemaRegistryConfig
from service.config.sections import Config
from service.schemas.forecast_reader import ForecastReader

COUNT = 120  # events of one format
UNIT = {"type": "enum", "name": "Unit", "namespace": "metrics", "symbols": ["percent", "seconds"]}
TIME = {"type": "long", "logicalType": "timestamp-micros"}
OLD = {
    "type": "record",
    "name": "Event",
    "namespace": "metrics",
    "fields": [
        {"name": "series", "type": "string"},
        {"name": "timestamp", "type": TIME},
        {"name": "value", "type": ["null", "double"]},
    ],
}
NEW = {**OLD, "fields": [{"name": "unit", "type": "metrics.Unit"}, *reversed(OLD["fields"])]}
AS_JSON = {"type": "object", "properties": {"series": {"type": "string"}, "value": {"type": ["number", "null"]}}}
PROTO_UNIT = 'syntax = "proto3"; package metrics; enum Unit { PERCENT = 0; SECONDS = 1; }'
PROTO = """syntax = "proto3";
package metrics;
import "google/protobuf/timestamp.proto";
import "metrics/unit.proto";
message Other { Unit unit = 1; }
message Event { string series = 1; google.protobuf.Timestamp timestamp = 2; optional double value = 3; Unit unit = 4; }
"""
UNKNOWN = 987_654


def framed(number: int, payload: bytes) -> bytes:
    """Returns a payload in the wire format."""
    return b"\0" + number.to_bytes(4, "big") + payload


def in_avro(number: int, schema: object, lines: list[bytes], named: list[object] = ()) -> list[bytes]:
    """Encodes events as Avro."""
    types: dict[str, object] = {}
    for one in named:
        parse_schema(one, types)
    parsed, made = parse_schema(schema, types), []
    for line in lines:
        event = json.loads(line)
        stream = io.BytesIO()
        schemaless_writer(stream, parsed, event | {"timestamp": event["timestamp"] * 1000 + 999, "unit": "seconds"})
        made.append(framed(number, stream.getvalue()))
    return made


def in_protobuf(number: int, lines: list[bytes]) -> list[bytes]:
    """Encodes events as the second message of `PROTO`."""
    schema = registered(PROTO, "", [registered(PROTO_UNIT, "metrics/unit.proto")])
    made = []
    for line in lines:
        event = json.loads(line)
        one = message(schema, "metrics.Event", {"series": event["series"], "value": event["value"], "unit": "SECONDS"})
        one.timestamp.FromMicroseconds(event["timestamp"] * 1000 + 999)
        made.append(framed(number, b"\2\2" + one.SerializeToString()))
    return made


def forecasts(bootstrap: str, app: str) -> dict[str, list[bytes]]:
    """Returns all forecasts by series, without the name of the topic."""
    return {
        key.rpartition(" ")[2]: [value.replace(app.encode(), b"") for value in values]
        for key, values in answers(bootstrap, app).items()
    }


@pytest.fixture
def plain(bootstrap, topics_of, app, tmp_path):
    """Returns a function that forecasts JSON records with a daemon of its own, and returns the forecasts."""

    def run(lines: list[bytes]) -> dict[str, list[bytes]]:
        other = f"{app}-plain"
        topic = topics_of(other)
        produce(bootstrap, topic, lines)
        with Daemons(tmp_path / "plain", bootstrap, other, topic) as daemons:
            assert daemons.finish() == 0, daemons.log()
        return forecasts(bootstrap, other)

    return run


@pytest.mark.slow
def test_formats(bootstrap, topics, app, tmp_path, registry, plain):
    """Avro before and after a schema change, Protobuf and JSON Schema give the forecasts of JSON; junk is named."""
    topic = topics()
    old = registry.register(f"{app}-value", OLD)
    registry.register(f"{app}-unit", UNIT)
    unit = [{"name": "metrics.Unit", "subject": f"{app}-unit", "version": 1}]
    new = registry.register(f"{app}-new", NEW, references=unit)
    as_json = registry.register(f"{app}-json", AS_JSON, "JSON")
    registry.register(f"{app}-proto-unit", PROTO_UNIT, "PROTOBUF")
    imported = [{"name": "metrics/unit.proto", "subject": f"{app}-proto-unit", "version": 1}]
    proto = registry.register(f"{app}-proto", PROTO, "PROTOBUF", imported)
    lines = events(5 * COUNT, bad=False)
    parts = [lines[at : at + COUNT] for at in range(0, len(lines), COUNT)]
    junk = [framed(UNKNOWN, b"\2a"), framed(old, b"\2"), framed(as_json, b'{"series"'), framed(proto, b"\2\6")]
    sent = [
        *in_avro(old, OLD, parts[0]), *in_avro(new, NEW, parts[1], [UNIT]), *junk,
        *(framed(as_json, line) for line in parts[2]), *in_protobuf(proto, parts[3]), *parts[4],
    ]  # fmt: skip
    produce(bootstrap, topic, sent)
    with Daemons(tmp_path / "avro", bootstrap, app, topic, {"schema_registry": {"url": registry.url}}) as daemons:
        assert daemons.finish() == 0, daemons.log()
    found = forecasts(bootstrap, app)
    assert sum(map(len, found.values())) == len(lines)
    assert found == plain([*parts[0], *parts[1], *[b"{"] * len(junk), *parts[2], *parts[3], *parts[4]])
    rejects = read_topic(bootstrap, f"{app}.rejects")
    assert [record.value for record in rejects] == junk
    reasons = [dict(record.headers)["forecaster.reason"] for record in rejects]
    assert reasons == [b"unknown_schema", *[b"undecodable"] * 3]
    assert str(UNKNOWN).encode() in b"".join(value for _, value in rejects[0].headers)


def test_dry_run(bootstrap, topics, app, tmp_path, registry):
    """`forecaster config check --online` asks the registry, and says where it gets no answer that it understands."""
    kafka = {"bootstrap": [bootstrap], "app": app, "topics": [topics()]}
    said = {}
    for url in (registry.url, registry.url.replace("ccompat", "nothing")):
        sections = {"kafka": kafka, "schema_registry": {"url": url}, "state": {"data_dir": str(tmp_path)}}
        said |= {one.subject: one for one in dry_run(Config.model_validate(sections)) if one.subject == url}
    assert [one.verdict for one in said.values()] == ["ok", "error"]
    assert "status 404" in said[url].text


@pytest.mark.slow
def test_outage(bootstrap, topics, app, tmp_path, registry, plain):
    """While the registry is down, a new schema blocks the daemon, also after a kill; then everything is forecast."""
    topic, lines = topics(), events(2 * COUNT, bad=False)
    old = registry.register(f"{app}-value", OLD)
    new = registry.register(f"{app}-new", {**OLD, "name": "Other"})
    (port,) = free_ports(1)
    more = {
        "schema_registry": {"url": registry.url, "timeout": "2s"}, "http": {"port": port},
        "state": {"snapshot_every": "1h"},  # so that a killed daemon has to decode the records again
    }  # fmt: skip
    produce(bootstrap, topic, in_avro(old, OLD, lines[:COUNT]))
    with Daemons(tmp_path / "avro", bootstrap, app, topic, more, stop_at_end=False) as daemons:
        pid = daemons.start()
        await_sample(port, "forecaster_forecasts_total", COUNT, daemons)
        registry.kill()
        produce(bootstrap, topic, in_avro(new, {**OLD, "name": "Other"}, lines[COUNT:]))
        for _ in range(2):
            await_sample(port, 'forecaster_condition{reason="schema_registry_down"}', 1, daemons)
            assert sample(port, 'forecaster_rejected_total{reason="unknown_schema"}') == 0
            assert sample(port, 'forecaster_schema_lookups_total{result="failed"}') > 0
            os.kill(pid, signal.SIGKILL)
            daemons.wait()
            pid = daemons.start()
        registry.start()
        await_forecasts(bootstrap, app, len(lines))
        os.kill(pid, signal.SIGKILL)
        daemons.wait()
        said = daemons.log()
    assert forecasts(bootstrap, app) == plain(lines)
    assert read_topic(bootstrap, f"{app}.rejects") == []
    assert 2 <= said.count("schema registry unavailable") <= 3  # once per outage and process
    assert "schema registry available again" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("away", "max_poll"),
    [(12.0, 6), pytest.param(60.0, 0, marks=pytest.mark.long)],
    ids=["beyond-the-poll-interval", "minute"],
)
def test_long_outage(bootstrap, topics, app, tmp_path, registry, plain, away, max_poll):
    """A registry that is away, also for so long that the process leaves its group, costs no record and no reject."""
    topic, lines = topics(), events(3 * COUNT, bad=False)
    parts = [lines[at : at + COUNT] for at in range(0, len(lines), COUNT)]
    other = {**OLD, "name": "Other"}
    old, new = registry.register(f"{app}-value", OLD), registry.register(f"{app}-new", other)
    (port,) = free_ports(1)
    more = {"schema_registry": {"url": registry.url, "timeout": "2s"}, "http": {"port": port}}
    produce(bootstrap, topic, in_avro(old, OLD, parts[0]))
    with Daemons(tmp_path / "avro", bootstrap, app, topic, more, stop_at_end=False) as daemons:
        pid = daemons.start(max_poll=max_poll)
        await_sample(port, "forecaster_forecasts_total", COUNT, daemons)
        registry.kill()
        produce(bootstrap, topic, [*in_avro(new, other, parts[1]), *in_avro(old, OLD, parts[2])])
        await_sample(port, 'forecaster_condition{reason="schema_registry_down"}', 1, daemons)
        time.sleep(away)  # how long the registry is down; waits for nothing
        assert len(read_topic(bootstrap, f"{app}.forecasts")) == COUNT  # nothing is passed
        registry.start()
        await_forecasts(bootstrap, app, len(lines))
        os.kill(pid, signal.SIGKILL)
        daemons.wait()
        said = daemons.log()
    assert forecasts(bootstrap, app) == plain(lines), said
    assert read_topic(bootstrap, f"{app}.rejects") == []
    assert said.count("schema registry available again") == 1
    assert ("transport failed, restarting" in said) == bool(max_poll)  # it has left its group


def with_schema(bootstrap: str, app: str, url: str) -> dict[str, list[object]]:
    """Returns all forecasts by series, which have a schema, as the JSON format has them."""
    found: dict[str, list[object]] = {}
    reader = ForecastReader(SchemaRegistryConfig(url=url))
    for record in read_topic(bootstrap, f"{app}.forecasts"):
        assert record.value[:1] == b"\0"
        (one,) = reader.read(record.value)
        found.setdefault(record.key.decode(), []).append(json.loads(json.dumps(one).replace(app, "")))
    reader.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("form", ["avro", "protobuf"])
def test_outputs(bootstrap, topics, app, tmp_path, registry, plain, form):
    """Forecasts in Avro and Protobuf are those in JSON, also after a kill, and `forecaster tail` shows them."""
    topic, lines = topics(), events(COUNT, bad=False)
    produce(bootstrap, topic, lines)
    more = {"schema_registry": {"url": registry.url}, "output": {"format": form}}
    with Daemons(tmp_path / form, bootstrap, app, topic, more) as daemons:
        assert daemons.run(kill_at="step:4:2") == -signal.SIGKILL
        assert daemons.finish() == 0, daemons.log()
    found = with_schema(bootstrap, app, registry.url)
    assert found == {series: list(map(json.loads, values)) for series, values in plain(lines).items()}
    versions = httpx.get(f"{registry.url}/subjects/{app}.forecasts-value/versions", trust_env=False).json()
    assert versions == [1]  # two processes have registered it
    settings = (f"kafka.bootstrap={bootstrap}", f"schema_registry.url={registry.url}", f"kafka.app={app}")
    sets = [word for setting in settings for word in ("--set", setting)]
    shown = CliRunner().invoke(
        main, ["tail", "--sink", "kafka", "--from-start", "--series", "a", "--count", "30", "--json", *sets]
    )
    assert shown.exit_code == 0, shown.output
    assert [json.loads(line.replace(app, "")) for line in shown.stdout.splitlines()] == found["a"][:30]


def sample(port: int, name: str) -> float:
    """Returns a metric of a daemon, nan while it does not answer."""
    try:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=10).text
    except httpx.HTTPError:
        return float("nan")
    return next((float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name} ")), float("nan"))


def await_forecasts(bootstrap: str, app: str, count: int, seconds: float = 120) -> None:
    """Waits until there are so many forecasts, or the time is over; the caller compares them."""
    deadline = time.monotonic() + seconds
    while len(read_topic(bootstrap, f"{app}.forecasts")) < count and time.monotonic() < deadline:
        time.sleep(0.5)


def await_sample(port: int, name: str, value: float, daemons: Daemons, seconds: float = 120) -> None:
    """Waits until a metric of a daemon has a value."""
    deadline = time.monotonic() + seconds
    while sample(port, name) != value:
        assert time.monotonic() < deadline, f"{name} is {sample(port, name)}\n{daemons.log()}"
        time.sleep(0.2)
