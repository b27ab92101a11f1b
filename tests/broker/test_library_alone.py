"""Defects of kafka-python 3.0.12 without guards; each is the reason for a guard in the transport.

A test that fails after an upgrade shows that its defect is fixed and its guard may go. `test_guards` tests the guards.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import subprocess
import sys
import time

import kafka.producer.kafka as library_producer
import kafka_proxy as wire
import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.producer.future import FutureRecordMetadata
from kafka.structs import ConsumerGroupMetadata, TopicPartition
from kafka_tools import produce, read_topic, settings, values

from service.kafka.group import Assignment, group_consumer
from service.kafka.kafka_python_producer import TransactionalProducer
from service.kafka.records import Message

GROUP = ConsumerGroupMetadata("a-group")
SPINNING = """
import sys
from kafka import KafkaConsumer
from kafka.structs import TopicPartition
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1], auto_offset_reset="earliest", enable_auto_commit=False)
consumer.assign([TopicPartition(sys.argv[2], 0)])
try:
    while not consumer.poll(500):
        pass
except Exception:
    print("raised", flush=True)
    consumer.poll(500)
print("returned", flush=True)
"""


@pytest.fixture
def bare(proxied, topics, app):
    """The library's producer, set up as the transport's producer."""
    topics()
    producer = KafkaProducer(
        bootstrap_servers=proxied,
        transactional_id=app,
        request_timeout_ms=1000,
        delivery_timeout_ms=2000,
        transaction_timeout_ms=5000,
        max_block_ms=5000,
        retry_backoff_ms=20,
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(f"{app}.forecasts", b"before", partition=0)
    producer.commit_transaction()
    yield producer
    producer._sender.force_close()
    producer._sender.join(5)
    producer.close(timeout=0)


def test_library_commits_without_an_undelivered_record(bare, proxy, bootstrap, app):
    """The library commits a transaction with an undelivered record."""
    bare.begin_transaction()
    proxy.request_rules[wire.PRODUCE] = wire.eat
    lost = bare.send(f"{app}.forecasts", b"lost", partition=0)
    with pytest.raises(KafkaError):
        lost.get(10)
    proxy.request_rules.clear()
    bare.commit_transaction()
    assert values(read_topic(bootstrap, f"{app}.forecasts")) == [b"before"]


def test_without_the_look_at_futures_an_answer_is_lost(proxied, proxy, topics, bootstrap, app, monkeypatch):
    """Without the check of futures, the transport's producer commits the offset and loses the forecast."""
    topics()
    quick = settings(proxied, app, request_timeout=1, delivery_timeout=2, transaction_timeout=5)
    producer = TransactionalProducer(quick)
    producer.fence()
    flush = producer._producer.flush

    def flush_and_heal(timeout):
        flush(timeout)
        proxy.request_rules.clear()
        proxy.cut()

    monkeypatch.setattr(producer._producer, "flush", flush_and_heal)
    monkeypatch.setattr(FutureRecordMetadata, "succeeded", lambda _: True)
    proxy.request_rules[wire.PRODUCE] = wire.eat
    proxy.seen.clear()
    producer.transact([Message(f"{app}.forecasts", 0, None, b"lost", [])], {TopicPartition(f"{app}.in", 0): 5}, GROUP)
    assert wire.TXN_OFFSET_COMMIT in proxy.seen
    producer.close(broken=True)
    assert read_topic(bootstrap, f"{app}.forecasts") == []


def test_library_hides_a_sequence_error_in_commit(bare, proxy, app, jars):
    """The library's commit returns although a batch fails while the transaction is being committed.

    Brokers of 3.9 refuse the new epoch that the library requests, so there the commit fails.
    """
    bare.begin_transaction()
    topic = f"{app}.forecasts"
    proxy.answer_rules[wire.PRODUCE] = wire.sequence_error(topic, after=0.5)
    future = bare.send(topic, b"failed", partition=0)
    with pytest.raises(KafkaError) if jars.version.startswith("3.") else contextlib.nullcontext():
        bare.commit_transaction()
    assert future.failed()


def test_library_takes_whatever_it_is_given(bare, proxy, app):
    """The library's `send` never blocks, however much is in flight to a broker that does not answer."""
    bare.begin_transaction()
    proxy.request_rules[wire.PRODUCE] = wire.eat
    futures = [bare.send(f"{app}.forecasts", b"x" * 100_000, partition=0) for _ in range(400)]
    assert not any(future.is_done for future in futures)


def test_library_leaves_a_thread(bare, proxy, app):
    """The library fails to close a producer whose broker does not answer, and leaves its thread running."""
    bare.begin_transaction()
    proxy.request_rules[wire.PRODUCE] = wire.eat
    bare.send(f"{app}.forecasts", b"x", partition=0)
    with pytest.raises(KafkaError):
        bare.close(timeout=0.3)
    assert bare._sender.is_alive()


def test_library_silences_its_log(bootstrap, monkeypatch):
    """A garbage-collected producer of the library disables the logging of all producers."""
    monkeypatch.setattr(library_producer, "log", logging.getLogger("kafka.producer.kafka"))
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    producer.close()
    del producer
    gc.collect()
    assert not isinstance(library_producer.log, logging.Logger)


def test_library_spins_after_a_damaged_batch(proxied, proxy, bootstrap, topics, app):
    """The library's poll never returns after a poll that raised for a wrong checksum."""
    produce(bootstrap, topics(), [b"0123456789" * 10])
    proxy.answer_rules[wire.FETCH] = lambda frame: frame.replace(b"0123456789", b"9876543210")
    with subprocess.Popen(
        [sys.executable, "-c", SPINNING, proxied, f"{app}.in"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "raised\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(4)
        child.kill()
        assert child.stdout.read() == ""


def test_library_refuses_questions_in_callbacks(bootstrap, topics, app):
    """The library refuses requests for committed offsets in rebalance callbacks, which run on the network thread."""
    topic, said = topics(), []

    class Asks(Assignment):
        def on_partitions_assigned(self, assigned):
            super().on_partitions_assigned(assigned)
            with contextlib.suppress(RuntimeError):
                self.consumer.committed(TopicPartition(topic, 0))
                said.append("answered")
            self.changes += 100

    asks = Asks()
    consumer = group_consumer(settings(bootstrap, app), asks)
    deadline = time.monotonic() + 20
    while asks.changes < 100 and time.monotonic() < deadline:
        consumer.poll(100)
    consumer.close(autocommit=False)
    assert asks.changes >= 100
    assert said == []
