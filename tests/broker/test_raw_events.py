"""Windows over a topic: a daemon that is killed with windows open closes the same ones, with tombstones among them."""

from __future__ import annotations

import json
import os
import random

import pytest
from daemons import Daemons
from idle_kills import KILLED, SECTIONS, assert_once, undisturbed
from kafka_tools import produce, read_topic

from service.config.sections import Config

KILLS = int(os.environ.get("CHAOS_WINDOW_KILLS", "6"))
TIME = 1_700_000_040_000  # a whole minute


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_with_windows_over_a_topic(bootstrap, topics, app, tmp_path):
    """After kills the topic has the value of every window once, and the series of a tombstone begins anew."""
    topic = topics()
    records = [
        json.dumps({"series": "ab"[at % 2], "timestamp": TIME + at * 5_000, "value": float(at)}).encode()
        for at in range(300)
    ]
    produce(bootstrap, topic, records[:174])
    produce(bootstrap, topic, [None], key=b"a")  # within a window
    produce(bootstrap, topic, records[174:])
    more = {
        "aggregate": {"interval": "1m", "functions": ["count", "max"], "grace": "5s"},
        "input": {"tombstone": "forget", "max_poll_records": 8},
        "state": {"snapshot_every": "1h"},
    }
    with Daemons(tmp_path, bootstrap, app, topic, more) as daemons:
        for kill_at in ("step:4:1", "step:4:4", "step:3:5"):
            assert daemons.run(kill_at=kill_at) == -9
        assert daemons.finish() == 0, daemons.log()
    found = [json.loads(record.value) for record in read_topic(bootstrap, f"{app}.forecasts")]

    # Window n has the records 12 n to 12 n + 11, and closes when both series have passed its end and the grace: with
    # record 12 n + 14. The tombstone is at 174, so records from 174 on have the next offset.
    closing = [14 + 12 * window + (window >= 14) for window in range(24)]
    names = ["a.count", "a.max", "b.count", "b.max"]
    assert [(one["source"]["position"], one["series"]) for one in found] == [
        (offset, name) for offset in closing for name in names
    ]
    assert len({(one["source"]["position"], one["source"]["event"]) for one in found}) == len(found)
    # A series is not evaluated for anomalies before its eleventh value.
    fresh = {name: [at for at in range(24) if found[4 * at + names.index(name)]["anomaly"] is None] for name in names}
    begun_anew = [*range(10), *range(14, 24)]
    assert fresh == dict(zip(names, [begun_anew, begun_anew, list(range(10)), list(range(10))], strict=True))
    assert read_topic(bootstrap, f"{app}.rejects") == []


@pytest.mark.slow
@pytest.mark.timeout(600 + 30 * KILLS)
def test_killed_at_random_moments(bootstrap, topics, app, tmp_path):
    """Kills at random moments with windows open, without time marks, do not change a byte of what is published.

    The long form is a part of `make chaos`: CHAOS_WINDOW_KILLS=200.
    """
    topic, rng = topics(), random.Random(18)
    windows = {"interval": "1m", "functions": ["count", "max", "p90"], "grace": "5s", "idle": "1h"}
    sections = SECTIONS | {"aggregate": windows, "input": SECTIONS["input"] | {"max_poll_records": 8}}
    with Daemons(tmp_path, bootstrap, app, topic, sections, stop_at_end=False) as daemons:
        for kill in range(KILLS):
            events = []
            for at in range(60 * kill, 60 * kill + 60):
                late = 70_000 if at % 17 == 5 else 0
                one = {"series": "abc"[at % 3], "timestamp": TIME + at * 5_000 - late, "value": at * 7 % 101}
                events.append(json.dumps(one).encode())
            produce(bootstrap, topic, events)
            assert daemons.run(seconds=rng.uniform(0.5, 5.0)) == KILLED
    with Daemons(tmp_path, bootstrap, app, topic, sections) as daemons:
        assert daemons.finish() == 0, daemons.log()
    found = [record.value.decode() for record in read_topic(bootstrap, f"{app}.forecasts")]
    rejects = [
        (int(dict(one.headers)["__connect.errors.offset"]), one.value)
        for one in read_topic(bootstrap, f"{app}.rejects")
    ]
    kafka = {"bootstrap": bootstrap, "app": app, "topics": [topic], "membership": "alone", "instance": "quiet"}
    quiet = sections | {
        "kafka": kafka | {"group": f"{app}q", "stop_at_end": True},
        "input": SECTIONS["input"] | {"max_poll_records": 1},
        "output": {"sink": "sqlite", "format": "json"},
        "state": {"data_dir": str(tmp_path / "quiet")},
    }
    expected, refused = undisturbed(Config.model_validate(quiet), {})

    assert len(found) > 20 * KILLS
    assert_once(found)
    assert list(map(json.loads, found)) == list(map(json.loads, expected))
    assert len(rejects) > KILLS
    assert rejects == refused
