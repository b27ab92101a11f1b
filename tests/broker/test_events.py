"""Formats of events and forecasts on Kafka: fallbacks, CloudEvents, headers, several forecasts per record."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from daemons import Daemons, events
from kafka_tools import produce, read_topic

from service.cli import main

TIME = 1_700_000_000_000
EVENT = b'{"series":"a","timestamp":1700000060000,"value":2}'
CLOUD = [("content-type", b"application/cloudevents+json; charset=utf-8"), ("traceparent", b"00-abc")]


@pytest.mark.slow
def test_shapes_of_events(bootstrap, topics, app, tmp_path):
    """Key and record time replace missing fields, CloudEvents are unpacked, configured headers are forwarded."""
    topic = topics()
    produce(bootstrap, topic, [b'{"value":1}'], key=b"a", timestamp_ms=TIME)
    produce(bootstrap, topic, [b'{"specversion":"1.0","id":"1","data":%s}' % EVENT], headers=CLOUD)
    produce(bootstrap, topic, [b'{"series":"a","timestamp":1700000120000,"value":3}'], headers=[("ce_id", b"2")])
    bad = b'{"specversion":"1.0","data":{"series":"a","value":"x","timestamp":5}}'
    produce(bootstrap, topic, [bad, b'{"value":1}'], headers=CLOUD)
    with Daemons(tmp_path, bootstrap, app, topic, pass_headers=["traceparent"]) as daemons:
        assert daemons.finish() == 0, daemons.log()
    found = read_topic(bootstrap, f"{app}.forecasts")
    assert [record.key for record in found] == [b"a"] * 3
    origins = [json.loads(record.value)["origin"] for record in found]
    assert origins == sorted(origins)
    assert len(set(origins)) == 3
    assert [record.headers for record in found] == [[], [("traceparent", b"00-abc")], []]
    rejects = read_topic(bootstrap, f"{app}.rejects")
    assert [record.value for record in rejects] == [bad, b'{"value":1}']
    assert [dict(record.headers)["forecaster.reason"] for record in rejects] == [b"wrong_type", b"missing_field"]
    assert all(("traceparent", b"00-abc") in record.headers for record in rejects)


@pytest.mark.slow
def test_records_with_several_events(bootstrap, topics, app, tmp_path):
    """Wide and enveloped records, arrays and lines of several events, and 8-byte keys, are forecast as they are."""
    topic = topics()
    wide = [b'{"ts":%d,"cpu":1,"mem":{"used":"2"},"note":"x"}' % (TIME + 60_000 * step) for step in range(3)]
    produce(bootstrap, topic, wide, key=(42).to_bytes(8, "big"))
    late = TIME + 600_000
    produce(bootstrap, topic, [
        b'{"before":null,"after":{"ts":%d,"cpu":5},"source":{},"op":"u","ts_ms":1}' % late,
        b'[{"ts":%d,"cpu":1},{"ts":%d,"cpu":"bad"}]' % (late + 60_000, late + 120_000),
        b'{"ts":%d,"cpu":1}\n{"ts":%d,"cpu":2}' % (late + 180_000, late + 240_000),
        b'{"before":{"ts":1},"after":null,"source":{},"op":"d","ts_ms":1}',
    ], key=b"k")  # fmt: skip
    fields = {"series": "{key}/{field}", "timestamp": "ts", "values": ["cpu", "mem.*"]}
    more = {"input": {"partial": "reject"}, "input.fields": fields}
    with Daemons(tmp_path, bootstrap, app, topic, more) as daemons:
        assert daemons.finish() == 0, daemons.log()
    found = [json.loads(record.value) for record in read_topic(bootstrap, f"{app}.forecasts")]
    places = [(one["source"]["position"], one["source"].get("event"), one["series"]) for one in found]
    assert sorted(places, key=lambda place: (place[0], place[1] or 0)) == [
        *((at, event, f"42/{name}") for at in range(3) for event, name in enumerate(("cpu", "mem.used"))),
        (3, None, "k/cpu"), (4, None, "k/cpu"), (5, 0, "k/cpu"), (5, 1, "k/cpu"),
    ]  # fmt: skip
    rejects = read_topic(bootstrap, f"{app}.rejects")
    reasons = [(dict(record.headers)["forecaster.reason"], record.value[:12]) for record in rejects]
    assert reasons == [(b"wrong_type", b'[{"ts":17000'), (b"not_an_event", b'{"before":{"')]


@pytest.mark.slow
def test_inspect(bootstrap, topics, app):
    """`forecaster inspect --topic` finds the fields of the records, and the key for the series."""
    topic = topics()
    produce(bootstrap, topic, [b'{"at":%d,"load":%d}' % (TIME + 60_000 * i, i) for i in range(30)], key=b"web1")
    done = CliRunner().invoke(main, ["inspect", "--topic", topic, "--json", "--set", f"kafka.bootstrap={bootstrap}"])
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    settings = {"input.fields.timestamp": "at", "input.fields.value": "load", "input.fields.series": "{key}"}
    assert facts["settings"] == settings
    assert (facts["events"], facts["series"], facts["examples"]) == (30, 1, ["web1"])


@pytest.mark.slow
def test_several_forecasts_per_record(bootstrap, topics, app, tmp_path):
    """Joined forecasts are arrays keyed by their series, in order; none is lost."""
    topic = topics()
    produce(bootstrap, topic, events(200, bad=False))
    with Daemons(tmp_path, bootstrap, app, topic, forecasts_per_record=5) as daemons:
        assert daemons.finish() == 0, daemons.log()
    found = read_topic(bootstrap, f"{app}.forecasts")
    assert len(found) < 80
    for series in "abcd":
        mine = [f for record in found if record.key == series.encode() for f in json.loads(record.value)]
        assert [f["source"]["position"] for f in mine] == ["abcd".index(series) + 4 * i for i in range(50)]
