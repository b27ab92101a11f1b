"""A member that was suspended beyond its session does not publish records of partitions that it lost."""

from __future__ import annotations

import time

import pytest
from contract import unit_of
from kafka import KafkaAdminClient
from kafka_tools import positions, produce, settings, transport

from service.errors import TransportError

SESSION = 2


def wait_until_empty(bootstrap, group):
    """Waits until the group has no members, as all their sessions have ended."""
    admin = KafkaAdminClient(bootstrap_servers=[bootstrap])
    try:
        deadline = time.monotonic() + 60
        while admin.describe_groups([group])[group]["members"]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        admin.close()


@pytest.mark.parametrize("rest", ["asleep", "just awake"])
def test_nothing_of_a_lost_partition_is_published(bootstrap, topics, app, tmp_path, rest):
    """Another member has answered meanwhile, and the group is empty when the first member resumes.

    Brokers accept offsets without a membership for a group without members. kafka-python has no membership after a
    heartbeat answered by "unknown member", which its own thread sends as soon as the process resumes.
    """
    topics()
    produce(bootstrap, f"{app}.in", [b"a", b"b", b"c"])
    quick = {"session_timeout": SESSION, "stop_at_end": False}
    first = transport(settings(bootstrap, app, instance="one", **quick), tmp_path / "one")
    first.start()
    held = first.poll(1, 0.5)
    assert held is not None
    coordinator = first.source.consumer._consumer._coordinator
    coordinator._disable_heartbeat()  # suspends the member

    second = transport(settings(bootstrap, app, instance="two", **quick), tmp_path / "two")
    second.start()
    for _ in range(2):
        records = second.poll(1, 0.5)
        while records is None:  # the partition is assigned once the first member's session has ended
            records = second.poll(1, 0.5)
        second.publish(unit_of(records))
    second.close()
    wait_until_empty(bootstrap, app)

    if rest == "just awake":
        coordinator.reset_generation()
    with pytest.raises(TransportError):
        first.publish(unit_of(held))
    first.close()
    assert positions(bootstrap, app) == [0, 1]
    third = transport(settings(bootstrap, app, instance="one", **quick), tmp_path / "one")
    third.start()
    (partition,) = third.partitions()
    assert third.committed(partition) == 2
    third.close()
