"""Records without a value with both clients: read as null, in a replay too, and applied at their position."""

from __future__ import annotations

import json

import pytest
from daemons import Daemons
from kafka_tools import produce, read_topic, settings, transport

TIME = 1_700_000_000_000


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_read_as_such(bootstrap, topics, app, tmp_path, client):
    """A null value and an empty value are distinct, in a replay too, for every batch boundary."""
    topic = topics()
    produce(bootstrap, topic, [b"1", None, b"", None], key=b"k")
    one = transport(settings(bootstrap, app, client=client), tmp_path)
    one.start()
    polled = one.poll(10, 5)
    assert (polled.values, polled.tombstones, polled.keys) == ([b"1", b"", b"", b""], {1, 3}, [b"k"] * 4)
    replayed = [(records.positions[at], at in records.tombstones) for records in one.replay(f"{topic}-0", 0, 4, 3)
                for at in range(len(records))]  # fmt: skip
    assert replayed == [(0, False), (1, True), (2, False), (3, True)]
    one.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_forgotten(bootstrap, topics, app, tmp_path, client):
    """A daemon that is killed after a tombstone and replays it treats the following events as a new series."""
    topic = topics()

    def send(start, end, key=None):
        for at in range(start, end):
            event = {"series": "a", "timestamp": TIME + at * 60_000, "value": float(at % 5)}
            produce(bootstrap, topic, [json.dumps(event).encode()])
        if key is not None:
            produce(bootstrap, topic, [None], key=key)

    send(0, 20, b"other")
    send(20, 30, b"a")
    more = {"input": {"tombstone": "forget", "max_poll_records": 8}, "state": {"snapshot_every": "1h"}}
    with Daemons(tmp_path, bootstrap, app, topic, more, client=client) as daemons:
        assert daemons.run(kill_at="step:4:4") == -9  # after 32 records: the tombstone is the last of them
        send(30, 40)
        assert daemons.finish() == 0, daemons.log()
    found = [json.loads(record.value) for record in read_topic(bootstrap, f"{app}.forecasts")]
    positions = [one["source"]["position"] for one in found]
    assert positions == [*range(20), *range(21, 31), *range(32, 42)]
    fresh = [one["source"]["position"] for one in found if one["anomaly"] is None]
    assert fresh == [*range(10), *range(32, 42)]  # a series is not evaluated for anomalies before its eleventh event
    assert read_topic(bootstrap, f"{app}.rejects") == []
