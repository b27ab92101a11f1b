"""Killed daemons over a topic that falls silent: forecasts and time marks are in one transaction."""

from __future__ import annotations

import itertools
import json

import pytest
from daemons import Daemons
from idle_kills import (
    KILLED,
    KILLS,
    SECTIONS,
    Bursts,
    KilledDaemon,
    assert_once,
    marks_in,
    undisturbed,
)
from kafka import KafkaProducer
from kafka_tools import read_topic

from service.config.sections import Config
from service.kafka.tools.topics import create_topics, plan
from service.ports import TimeMark


@pytest.mark.slow
@pytest.mark.timeout(1200 + 30 * KILLS)
@pytest.mark.parametrize("shares", [False, True])
def test_killed_around_time_marks_of_a_topic(bootstrap, app, tmp_path, shares):
    """Kills in any step and at random moments do not change a byte; with shared snapshots, old marks are deleted."""
    topic, kills = f"{app}.in", KILLS if shares else min(KILLS, 6)  # the long form deletes marks
    kafka = {"bootstrap": bootstrap, "app": app, "topics": [topic]}
    shared = {"share_snapshots": "1s"} if shares else {}
    config = Config.model_validate({"kafka": kafka | shared})
    create_topics(config.kafka, plan(config), 1)
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    bursts = Bursts(lambda event: producer.send(topic, event, partition=0))

    def texts() -> list[str]:
        return [record.value.decode() for record in read_topic(bootstrap, f"{app}.forecasts")]

    def newest() -> TimeMark | None:
        return max(itertools.chain(*marks_in(texts()).values()), default=None)

    with Daemons(tmp_path, bootstrap, app, topic, SECTIONS, stop_at_end=False, **shared) as daemons:
        assert daemons.run(seconds=0.1) == KILLED  # compiled once
        bursts.start()
        daemon = KilledDaemon(
            lambda step: daemons.start(kill_at=step),
            lambda seconds: daemons.wait(seconds=seconds),
            newest,
            6 + KILLS // 10,
        )
        daemon.kill(kills)
        bursts.close()
        producer.close()
        end = len(read_topic(bootstrap, topic))
        daemon.kill_behind(lambda mark: mark is not None and mark.position == end)
    with Daemons(tmp_path, bootstrap, app, topic, SECTIONS, **shared) as daemons:
        assert daemons.finish() == 0, daemons.log()
    found = texts()
    marks = marks_in(found)
    rejects = [
        (dict(one.headers)["__connect.errors.offset"], one.value) for one in read_topic(bootstrap, f"{app}.rejects")
    ]
    quiet = SECTIONS | {
        "kafka": kafka | {"membership": "alone", "instance": "quiet", "group": f"{app}q", "stop_at_end": True},
        "input": SECTIONS["input"] | {"max_poll_records": 1},
        "output": {"sink": "sqlite", "format": "json"},
        "state": {"data_dir": str(tmp_path / "quiet")},
    }
    expected, refused = undisturbed(Config.model_validate(quiet), marks)

    assert sum(map(len, marks.values())) >= 2
    assert_once(found)
    assert list(map(json.loads, found)) == list(map(json.loads, expected))
    assert [(int(offset), value) for offset, value in rejects] == refused
    stored = set[bytes]()
    for record in read_topic(bootstrap, f"{app}.adoptions"):
        if b":" in record.key:
            (stored.add if record.value is not None else stored.discard)(record.key)
    assert len(stored) < 60 if shares else len(stored) == sum(map(len, marks.values()))
