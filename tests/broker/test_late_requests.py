"""Requests that a client sent twice and whose first copy arrives in the middle of the next transaction.

Both clients send a request again when its connection breaks (confluent also when its answer is late), and both use
the protocol in which all transactions of a producer share one epoch: brokers cannot distinguish the late copy from a
request of the open transaction. LATE_ROUNDS sets the number of tries per case; `make late` uses 200.
"""

from __future__ import annotations

import os

import kafka_proxy as wire
import pytest
from kafka.structs import ConsumerGroupMetadata, TopicPartition
from kafka_tools import positions, produce, settings, transport
from late_requests import events_needed, run_late

from service.kafka import confluent, confluent_producer
from service.kafka.kafka_python_producer import TransactionalProducer
from service.kafka.records import Message

ROUNDS = int(os.environ.get("LATE_ROUNDS", "1"))
CLIENTS = ["kafka-python", "confluent"]
REQUESTS = pytest.mark.parametrize("api", [wire.END_TXN, wire.TXN_OFFSET_COMMIT], ids=["EndTxn", "TxnOffsetCommit"])


@REQUESTS
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "late"])
@pytest.mark.parametrize(("limit", "size"), [(3, 10), (1000, 1500)], ids=["small", "large"])
def test_late_request(proxied, proxy, topics, bootstrap, app, tmp_path, client, cut, limit, size, api):
    """A request that arrives in the middle of the next transaction loses, duplicates or tears nothing."""
    count = events_needed(limit, ROUNDS)
    produce(bootstrap, topics(), [b"%d" % at for at in range(count)])
    quick = settings(proxied, app, client=client, request_timeout=1, delivery_timeout=4, transaction_timeout=8)
    arrived = run_late(lambda: transport(quick, tmp_path), proxy, api, ROUNDS, cut=cut, limit=limit, size=size)
    assert arrived == ROUNDS
    assert sorted(positions(bootstrap, app)) == list(range(count))
    again = transport(settings(bootstrap, app, client=client), tmp_path)
    again.start()
    assert again.committed(f"{app}.in-0") == count
    again.close()


def producer_of(client, config):
    """Returns a client's fenced producer and the group argument of its calls."""
    if client == "confluent":
        consumer = confluent.ConfluentConsumer(config, confluent.Assignment())
        producer, group = confluent_producer.ConfluentProducer(config), consumer.membership()
        consumer.close(1000)
    else:
        producer, group = TransactionalProducer(config), ConsumerGroupMetadata(config.group_name)
    producer.fence()
    return producer, group


@REQUESTS
@pytest.mark.parametrize("client", CLIENTS)
def test_new_epoch_after_a_second_try_only(proxied, proxy, topics, app, client, api):
    """A request that was sent twice adds an epoch before the next transaction; a request sent once adds none."""
    topics()
    config = settings(proxied, app, client=client, membership="alone")
    producer, group = producer_of(client, config)

    def transact():
        message = Message(f"{app}.forecasts", 0, None, b"x", [])
        producer.transact([message], {TopicPartition(f"{app}.in", 0): 1}, group)
        return producer.epochs

    transact()
    producer._sent_once, before = True, producer.epochs  # ignores the cost of the first transaction
    assert [transact() for _ in range(20)] == [before] * 20
    proxy.request_rules[api] = cut_first = wire.CutFirst(1)
    assert transact() == before
    assert cut_first.times
    assert transact() == before + 1
    if client == "confluent" and api == wire.TXN_OFFSET_COMMIT:  # a retry has to take longer than a single call may
        assert cut_first.times[1] - cut_first.times[0] > confluent_producer.OFFSETS_ONCE_SECONDS
    producer.close(broken=False)


@pytest.mark.parametrize("client", CLIENTS)
def test_neither_client_has_an_epoch_per_transaction(proxied, proxy, topics, app, client):
    """Neither client uses EndTxn version 5, which begins a new epoch by itself (KIP-890)."""
    topics()
    producer, group = producer_of(client, settings(proxied, app, client=client, membership="alone"))
    versions = []

    def look(frame):
        versions.append(int.from_bytes(frame[6:8], "big"))
        return frame

    proxy.request_rules[wire.END_TXN] = look
    message = Message(f"{app}.forecasts", 0, None, b"x", [])
    producer.transact([message], {TopicPartition(f"{app}.in", 0): 1}, group)
    producer.close(broken=False)
    assert max(versions) < 5, "docs/delivery.md says that neither client has it"
