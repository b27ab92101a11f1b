"""Formats of events and forecasts on Kafka: fallbacks, CloudEvents, headers, several forecasts per record."""

from __future__ import annotations

import json

import pytest
from daemons import Daemons, events
from kafka_tools import produce, read_topic

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
