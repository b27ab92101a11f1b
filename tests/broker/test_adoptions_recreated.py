"""The topic of adoptions is deleted and created again while a process lives: it is read from its new begin."""

from __future__ import annotations

import time

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError
from kafka_tools import settings

from service.kafka.fencing import FencedBefore
from service.kafka.guard import ClientGuard
from service.kafka.history import TopicHistory
from service.kafka.records import Origin, mark_message
from service.kafka.watchdog import Watchdog
from service.ports import TimeMark

SOURCE = Origin("in", 0)


def send(bootstrap: str, topic: str, times: range) -> None:
    """Writes a time mark for each time."""
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for at in times:
        message = mark_message(TimeMark(1, at), SOURCE, topic, 1, 1)
        producer.send(topic, key=message.key, value=message.value, partition=0).get(30)
    producer.close()


@pytest.mark.slow
def test_read_from_the_new_begin(bootstrap: str, app: str) -> None:
    """Its records are those of the new topic alone, also where these are as many as the old ones, and more."""
    config = settings(bootstrap, app)
    topic, admin = config.adoptions, KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, 1, 1)])
    send(bootstrap, topic, range(3))
    guard = ClientGuard(app, Watchdog(0), FencedBefore(), lambda _: False, lambda _: False)
    history = TopicHistory(config, guard, lambda: None)
    history.open()
    try:
        assert [one.time_ms for one in history.past(SOURCE, 1).marks(1)] == [0, 1, 2]
        admin.delete_topics([topic])
        deadline = time.monotonic() + 60
        while True:  # a deletion takes a moment
            try:
                admin.create_topics([NewTopic(topic, 1, 1)])
                break
            except KafkaError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        send(bootstrap, topic, range(10, 15))
        assert [one.time_ms for one in history.past(SOURCE, 1).marks(1)] == [10, 11, 12, 13, 14]
    finally:
        history.close()
        admin.close()
