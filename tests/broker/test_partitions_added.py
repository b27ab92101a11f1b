"""Partitions that are added to an input topic while the daemon runs."""

from __future__ import annotations

import time

import pytest
from contract import unit_of
from kafka_tools import produce, read_topic, settings, transport


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
@pytest.mark.parametrize("membership", ["group", "alone"])
def test_partitions_added(bootstrap, admin, topics, app, tmp_path, client, membership):
    """Added partitions are read within `metadata_max_age`, from their beginning; existing partitions continue."""
    topic = topics(1)
    produce(bootstrap, topic, [b"a", b"b"])
    config = settings(
        bootstrap, app, client=client, membership=membership, metadata_max_age=1, stop_at_end=False, session_timeout=6
    )
    one = transport(config, tmp_path)
    one.patience = 0.2
    one.start()
    generation, served, deadline = one.generation, [], time.monotonic() + 60
    while len(served) < 7 and time.monotonic() < deadline:
        records = one.poll(10, 0.2)
        if records is None:
            continue
        assert records.partition in one.all_partitions()
        one.publish(unit_of(records))
        served += [(records.partition, at) for at in records.positions]
        if len(served) == 2:
            admin.create_partitions({topic: 3})
            for partition, count in ((0, 1), (1, 2), (2, 2)):
                produce(bootstrap, topic, [b"c"] * count, partition=partition)
    assert sorted(served) == [
        (f"{topic}-{partition}", at) for partition, end in enumerate((3, 2, 2)) for at in range(end)
    ]
    assert one.partitions() == one.all_partitions() == [f"{topic}-{number}" for number in range(3)]
    assert one.generation > generation
    one.close()
    assert len(read_topic(bootstrap, f"{app}.forecasts")) == 7
