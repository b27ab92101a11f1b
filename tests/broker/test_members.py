"""Members of a consumer group: members with different clients, and a member beside a process that must be alone."""

from __future__ import annotations

import threading
import time

import pytest
from contract import unit_of
from kafka_tools import make_topics, positions, produce, settings, transport

from service.errors import TransportError

EACH = 40  # records per partition and wave


class Member(threading.Thread):
    """A member of a group in a thread: publishes what it polls, and restarts after a failure, as the engine does.

    Attributes:
        owned: the partitions assigned to it at its last poll.
    """

    def __init__(self, config, folder):
        super().__init__(daemon=True)
        self._config, self._folder, self._ended = config, folder, threading.Event()
        self.owned = []
        self.start()

    def run(self):
        """Polls and publishes until `close`."""
        while not self._ended.is_set():
            one = transport(self._config, self._folder)
            one.patience = 0.2
            try:
                one.start()
                while not self._ended.is_set():
                    records = one.poll(10, 0.2)
                    self.owned = one.partitions()
                    if records is not None:
                        one.publish(unit_of(records))
            except TransportError:
                self._ended.wait(0.2)
            finally:
                one.close()

    def close(self):
        """Ends the member."""
        self._ended.set()
        self.join(60)


def wait_until(happened, seconds=90):
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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
            members.append(Member(config, tmp_path / instance))
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
def test_a_member_joins_beside_a_process_that_is_alone(bootstrap, topics, app, tmp_path, client):
    """The process that must be alone cannot commit any more, and the member continues at the last committed offset."""
    produce(bootstrap, topics(), [b"a", b"b", b"c"])
    common = {"client": client, "stop_at_end": False}
    alone = transport(settings(bootstrap, app, instance="one", membership="alone", **common), tmp_path / "alone")
    alone.start()
    alone.publish(unit_of(alone.poll(1, 0.5)))
    held = alone.poll(1, 0.5)
    member = Member(settings(bootstrap, app, instance="two", **common), tmp_path / "member")
    try:
        wait_until(lambda: member.owned)
        with pytest.raises(TransportError):
            alone.publish(unit_of(held))
        alone.close()
        wait_until(lambda: len(positions(bootstrap, app)) >= 3)
    finally:
        member.close()
    assert positions(bootstrap, app) == [0, 1, 2]
