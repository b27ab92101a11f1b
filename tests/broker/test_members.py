"""Members of a consumer group: with different clients, and while a process runs that must be alone."""

from __future__ import annotations

import pytest
from contract import unit_of
from kafka_tools import Member, make_topics, positions, produce, settings, transport, wait_until

from service.errors import TransportError

EACH = 40  # records per partition and wave


@pytest.mark.parametrize("clients", [("kafka-python", "confluent"), ("confluent", "kafka-python")], ids=lambda c: c[0])
def test_members_with_different_clients(bootstrap, admin, app, tmp_path, clients):
    """Members with different clients share the partitions, so that a group can change its client process by process."""
    topic = f"{app}.in"
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
    make_topics(admin, app)
    members = []
    try:
        for number, client in enumerate(clients):
            instance = f"number-{number}"
            config = settings(bootstrap, app, client=client, instance=instance, stop_at_end=False)
            folder = tmp_path / instance
            members.append(Member(lambda config=config, folder=folder: transport(config, folder)))
            wait_until(lambda: members and all(len(one.owned) == 2 // len(members) for one in members))
            for partition in (0, 1):
                produce(bootstrap, topic, [b"a"] * EACH, partition=partition)
            wait_until(lambda: len(positions(bootstrap, app)) >= 2 * EACH * len(members))
        # Every offset of both partitions once.
        assert sorted(positions(bootstrap, app)) == [at for at in range(2 * EACH) for _ in (0, 1)]
    finally:
        for one in members:
            one.close()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_member_joins_while_a_process_is_alone(bootstrap, topics, app, tmp_path, client):
    """The process that must be alone cannot commit any more, and the member continues at the last committed offset."""
    produce(bootstrap, topics(), [b"a", b"b", b"c"])
    common = {"client": client, "stop_at_end": False}
    alone = transport(settings(bootstrap, app, instance="one", membership="alone", **common), tmp_path / "alone")
    alone.start()
    alone.publish(unit_of(alone.poll(1, 0.5)))
    held = alone.poll(1, 0.5)
    config = settings(bootstrap, app, instance="two", **common)
    member = Member(lambda: transport(config, tmp_path / "member"))
    try:
        wait_until(lambda: member.owned)
        with pytest.raises(TransportError):
            alone.publish(unit_of(held))
        alone.close()
        wait_until(lambda: len(positions(bootstrap, app)) >= 3)
    finally:
        member.close()
    assert positions(bootstrap, app) == [0, 1, 2]
