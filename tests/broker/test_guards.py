"""Guards of the transport against the known defects of kafka-python 3.0.12; `test_library_alone` shows the defects."""

from __future__ import annotations

import gc
import importlib.util
import logging
import time

import kafka
import kafka.producer.kafka as library_producer
import kafka_proxy as wire
import pytest
from confluent_kafka import KafkaException
from contract import unit_of
from kafka.admin import ConfigResource
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, TopicPartition
from kafka_tools import Shelf, crash, drain, positions, produce, read_topic, settings, transport, values
from structlog.testing import capture_logs

from service.errors import TransportBusyError, TransportError
from service.kafka import kafka_python_producer as kafka_producer
from service.kafka.confluent import ConfluentConsumer
from service.kafka.confluent_producer import ConfluentProducer
from service.kafka.fencing import FencedBefore
from service.kafka.group import Assignment, group_consumer
from service.kafka.kafka_python_producer import TransactionalProducer
from service.kafka.records import Message
from service.kafka.watchdog import Watchdog
from service.ports import Adoption, Reject

GROUP = ConsumerGroupMetadata("a-group")


def quick(bootstrap, app, **more):
    """Returns settings with short limits."""
    return settings(bootstrap, app, request_timeout=1, delivery_timeout=2, transaction_timeout=5, **more)


@pytest.fixture
def producer(proxied, topics, app):
    """The transport's producer behind the proxy, fenced, with one transaction committed."""
    topics()
    producer = TransactionalProducer(quick(proxied, app))
    producer.fence()
    producer.transact([Message(f"{app}.forecasts", 0, None, b"before", [])], {}, GROUP)
    yield producer
    producer.close(broken=True)


def test_undelivered_record_fails_the_transaction(producer, proxy, bootstrap, app):
    """An undelivered record fails the whole transaction, offsets included."""
    proxy.request_rules[wire.PRODUCE] = wire.eat
    proxy.seen.clear()
    message = Message(f"{app}.forecasts", 0, None, b"lost", [])
    with pytest.raises(KafkaError):
        producer.transact([message], {TopicPartition(f"{app}.in", 0): 5}, GROUP)
    assert wire.TXN_OFFSET_COMMIT not in proxy.seen
    assert values(read_topic(bootstrap, f"{app}.forecasts")) == [b"before"]


@pytest.mark.parametrize("how", ["no response", "refused"])
def test_undelivered_record_fails_the_transaction_of_confluent(how, proxied, proxy, topics, admin, bootstrap, app):
    """A record that gets no response, or that brokers refuse, fails the whole transaction, offsets included."""
    topics()
    config = quick(proxied, app, client="confluent", membership="alone")
    consumer, out, source = ConfluentConsumer(config, Assignment()), f"{app}.forecasts", TopicPartition(f"{app}.in", 0)
    consumer.assign([source])
    producer = ConfluentProducer(config)
    producer.fence()
    producer.transact([Message(out, 0, None, b"before", [])], {source: 1}, consumer.membership())
    if how == "refused":
        admin.alter_configs([ConfigResource("TOPIC", out, {"max.message.bytes": "2000"})])
    else:
        proxy.request_rules[wire.PRODUCE] = wire.eat
    small, large = Message(out, 0, None, b"small", []), Message(out, 0, None, b"x" * 5000, [])
    with pytest.raises((TransportError, KafkaException)):
        producer.transact([small, large, small], {source: 5}, consumer.membership())
    producer.close(broken=True)
    proxy.request_rules.clear()
    successor = ConfluentProducer(config)
    successor.fence()
    assert consumer.committed(source, 10_000).offset == 1
    successor.close(broken=True)
    consumer.close(1000)
    assert values(read_topic(bootstrap, out)) == [b"before"]


def test_sequence_error_fails_the_transaction(producer, proxy, bootstrap, app):
    """A batch that fails with a sequence error fails the whole transaction."""
    topic = f"{app}.forecasts"
    proxy.seen.clear()
    proxy.answer_rules[wire.PRODUCE] = wire.sequence_error(topic)
    with pytest.raises(KafkaError):
        producer.transact([Message(topic, 0, None, b"failed", [])], {TopicPartition(f"{app}.in", 0): 5}, GROUP)
    assert wire.TXN_OFFSET_COMMIT not in proxy.seen
    producer.close(broken=True)
    again = TransactionalProducer(quick(bootstrap, app))
    again.fence()
    again.close(broken=False)
    assert values(read_topic(bootstrap, topic)) == [b"before"]


@pytest.mark.parametrize("api", [wire.END_TXN, wire.TXN_OFFSET_COMMIT])
def test_no_endless_wait(producer, proxy, app, api):
    """A missing answer ends in an error, where the library alone would wait for ever."""
    proxy.answer_rules[api] = wire.eat
    began = time.monotonic()
    with pytest.raises(KafkaError):
        producer.transact([Message(f"{app}.forecasts", 0, None, b"x", [])], {TopicPartition(f"{app}.in", 0): 5}, GROUP)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("api", [wire.END_TXN, wire.TXN_OFFSET_COMMIT, wire.PRODUCE, wire.ADD_PARTITIONS])
@pytest.mark.parametrize("side", ["request", "answer"])
def test_lost_frame(proxied, bootstrap, topics, app, proxy, tmp_path, api, side):
    """If a request or an answer of a transaction is lost, every record is answered exactly once after a restart."""
    produce(bootstrap, topics(), [b"%d" % i for i in range(12)])

    def lose(published):
        if published == 2:
            rules = proxy.request_rules if side == "request" else proxy.answer_rules
            rules[api] = wire.eat_first(1)

    starts = drain(lambda: transport(quick(proxied, app), tmp_path), lose)
    assert positions(bootstrap, app) == list(range(12))
    assert starts <= 2


def test_bytes_on_the_way_are_bounded(producer, monkeypatch, app):
    """The producer hands over at most a bound of bytes at once, because the client's `send` would accept any amount."""
    monkeypatch.setattr(kafka_producer, "_BYTES_ON_THE_WAY", 50_000)
    calls, flush = [], producer._producer.flush
    monkeypatch.setattr(producer._producer, "flush", lambda timeout: (calls.append(timeout), flush(timeout)))
    producer.transact([Message(f"{app}.forecasts", 0, None, b"x" * 10_000, [])] * 20, {}, GROUP)
    assert len(calls) >= 4


def test_close_leaves_no_thread(producer, proxy, app):
    """A producer whose broker does not answer is closed within seconds, and its thread ends."""
    proxy.request_rules[wire.PRODUCE] = wire.eat
    producer._producer.begin_transaction()
    producer._producer.send(f"{app}.forecasts", b"x", partition=0)
    producer.close(broken=True)
    assert not producer._producer._sender.is_alive()


def test_dropped_producer_leaves_the_log_alone(bootstrap, topics, app, monkeypatch):
    """A garbage-collected producer does not disable the library's logging."""
    topics()
    monkeypatch.setattr(library_producer, "log", logging.getLogger("kafka.producer.kafka"))
    producer = TransactionalProducer(quick(bootstrap, app))
    producer.close(broken=True)
    del producer
    gc.collect()
    assert isinstance(library_producer.log, logging.Logger)


def test_checksums_are_compiled():
    """The compiled checksum is installed; the Python version would cost two thirds of the throughput."""
    assert importlib.util.find_spec("crc32c") is not None


def test_damaged_answer_does_not_spin(proxied, bootstrap, topics, app, proxy, tmp_path):
    """A wrong checksum raises an error, the next poll raises instead of spinning, and a restart reads the batch."""
    produce(bootstrap, topics(), [b"0123456789" * 10])
    one = transport(quick(proxied, app), tmp_path)
    one.start()
    proxy.answer_rules[wire.FETCH] = lambda frame: frame.replace(b"0123456789", b"9876543210")
    with pytest.raises(TransportError, match=r"[Cc]orrupt|[Cc]hecksum|CRC|crc"):
        one.poll(10, 5)
    began = time.monotonic()
    with pytest.raises(TransportError, match="failed before"):
        one.poll(10, 0.2)
    assert time.monotonic() - began < 1
    one.close()
    proxy.answer_rules.clear()
    again = transport(quick(proxied, app), tmp_path)
    again.start()
    records = again.poll(10, 1)
    assert records is not None
    assert records.values == [b"0123456789" * 10]
    again.close()


def test_fenced_by_name(bootstrap, topics, app, tmp_path):
    """A second process of the same name fences the first; a second fencing of one process is a TransportBusyError."""
    produce(bootstrap, topics(), [b"a", b"b"])
    fenced = FencedBefore()
    first = transport(settings(bootstrap, app), tmp_path / "1", fenced=fenced)
    first.start()
    records = first.poll(10, 1)
    second = transport(settings(bootstrap, app), tmp_path / "2")
    second.start()
    with pytest.raises(TransportError, match="fenced") as error:
        first.publish(unit_of(records))
    assert not isinstance(error.value, TransportBusyError)
    first.close()
    third = transport(settings(bootstrap, app), tmp_path / "3", fenced=fenced)
    third.start()
    again = third.poll(10, 1)
    second.close()
    fourth = transport(settings(bootstrap, app), tmp_path / "4")
    fourth.start()
    with pytest.raises(TransportBusyError, match=r"kafka\.instance"):
        third.publish(unit_of(again))
    third.close()
    fourth.close()
    assert read_topic(bootstrap, f"{app}.forecasts") == []


def test_fenced_static_member_cannot_publish(bootstrap, topics, app, tmp_path):
    """A replaced static member still polls in the library, but its offsets, and so its forecasts, are refused."""
    produce(bootstrap, topics(), [b"a", b"b"])
    config = settings(bootstrap, app)
    first = transport(config, tmp_path / "1")
    first.start()
    records = first.poll(10, 1)
    # Another member with this instance id has a separate producer: only the group registers the replacement.
    other = settings(bootstrap, app)
    assignment = Assignment()
    consumer = group_consumer(other, assignment)
    deadline = time.monotonic() + 20
    while consumer.group_metadata().state != "<stable>" and time.monotonic() < deadline:
        consumer.poll(100)
    with pytest.raises(TransportError):
        first.publish(unit_of(records))
    first.close()
    consumer.close(autocommit=False)
    assert read_topic(bootstrap, f"{app}.forecasts") == []


def test_oversized_forecast_is_diverted(bootstrap, topics, app, tmp_path):
    """A forecast above the size limit goes to the dead-letter topic, truncated; the rest of the unit is published."""
    produce(bootstrap, topics(), [b"a", b"b"])
    one = transport(settings(bootstrap, app, max_request_bytes=100_000), tmp_path)
    one.start()
    records = one.poll(10, 1)
    unit = unit_of(records)
    unit.forecasts[0] = b"x" * 200_000
    big = Reject(records.positions[1], b"y" * 300_000, "too_large", "got 300000 bytes", b"k", (("h", b"v"),))
    one.publish(type(unit)(unit.partition, unit.position, unit.next_position, unit.series, unit.forecasts, [big]))
    one.close()
    assert len(read_topic(bootstrap, f"{app}.forecasts")) == 1
    cut = read_topic(bootstrap, f"{app}.rejects")
    assert [dict(r.headers)["forecaster.value.bytes"] for r in cut] == [b"200000", b"300000"]
    assert all(dict(r.headers)["forecaster.reason"] == b"too_large" for r in cut)
    assert all(len(r.value) < 100_000 for r in cut)


def test_watchdog():
    """A call that exceeds the limit is reported once, with its name; a call within the limit is not reported."""
    fired = []
    watchdog = Watchdog(0.2, lambda call, seconds: fired.append(call))
    watchdog.start()
    with watchdog.watching("quick"):
        pass
    with watchdog.watching("slow"):
        deadline = time.monotonic() + 10
        while not fired and time.monotonic() < deadline:
            time.sleep(0.02)
    watchdog.close()
    assert fired == ["slow"]
    assert watchdog._thread is None


def test_models_travel(bootstrap, topics, app, tmp_path):
    """A model is published with its adoption, and a process that reads the adoption stores the model on its shelf."""
    produce(bootstrap, topics(), [b"a"])
    sha256 = "a" * 64
    here, there = Shelf({sha256: b"weights"}), Shelf()
    first = transport(settings(bootstrap, app), tmp_path / "1", here)
    first.start()
    records = first.poll(10, 1)
    first.publish(unit_of(records, adoption=Adoption(0, sha256)))
    crash(first)
    second = transport(settings(bootstrap, app), tmp_path / "2", there)
    second.start()
    assert second.adoptions(f"{app}.in-0") == [Adoption(0, sha256)]
    assert there.models == {sha256: b"weights"}
    assert there.champion("") == sha256
    second.close()


def test_our_callbacks_only_take_notes():
    """Rebalance callbacks pause and seek new partitions and count changes, and send no requests."""
    calls = []

    class Consumer:
        def __getattr__(self, name):
            return lambda *arguments: calls.append(name)

    assignment = Assignment()
    assignment.consumer = Consumer()
    assignment.on_partitions_assigned([TopicPartition("a", 0)])
    assignment.on_partitions_revoked([TopicPartition("a", 0)])
    assignment.on_partitions_lost([TopicPartition("a", 0)])
    assert calls == ["pause", "seek"]
    assert (assignment.changes, assignment.lost) == (3, 1)


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_first_join_has_partitions(bootstrap, topics, app, tmp_path, client):
    """The first start of a group returns with its partitions, not with an empty assignment."""
    topics(3)
    one = transport(settings(bootstrap, app, client=client), tmp_path)
    one.start()
    assert one.partitions() == [f"{app}.in-{number}" for number in range(3)]
    one.close()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_nothing_of_its_own_is_not_the_end(bootstrap, topics, app, tmp_path, client):
    """A member without partitions is finished only after a session without any: a rebalance may be in progress."""
    topics(1)
    one = transport(settings(bootstrap, app, client=client), tmp_path)
    one.start()
    one.source._progress.take([])
    assert not one.finished()
    one.source._assigned_at -= one.source._settings.session_timeout + 1
    assert one.finished()
    one.close()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
@pytest.mark.parametrize("end", [3, None], ids=["after an answer", "before the first answer"])
def test_silent_partition(bootstrap, topics, app, tmp_path, client, end):
    """A partition that holds records and delivers none, as both libraries had, ends in a restart."""
    topic = topics()
    produce(bootstrap, topic, [b"a"])
    one = transport(settings(bootstrap, app, client=client, stop_at_end=False), tmp_path)
    one.patience = 1.0
    one.start()
    one.source._progress._silence_seconds = 0.5  # limit for the silence only; calls are watched with the usual limit
    one.publish(unit_of(one.poll(10, 1)))
    assert one.poll(10, 1) is None  # no records at the end are no fault
    assert one.source._progress._silent_since == {}
    source = TopicPartition(topic, 0)
    one.source._consumer.highwater = lambda _: end  # the end offset of a fetch before the partition fell silent
    one.source._consumer.pause(source)
    produce(bootstrap, topic, [b"b", b"c"])
    one.patience = 20.0
    with pytest.raises(TransportError, match="got no records from offset 1 on"):
        one.poll(10, 1)
    one.close()


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_first_records_are_deleted(admin, bootstrap, topics, app, tmp_path, client):
    """A first start on a topic whose oldest records are gone begins at the oldest one held, and logs that."""
    topic = topics()
    produce(bootstrap, topic, [b"a", b"b", b"c"])
    admin.delete_records({TopicPartition(topic, 0): 2})
    with capture_logs() as logs:
        drain(lambda: transport(settings(bootstrap, app, client=client), tmp_path))
        drain(lambda: transport(settings(bootstrap, app, client=client), tmp_path))
    assert positions(bootstrap, app) == [2]
    (warning,) = [log for log in logs if "deleted" in log["event"]]
    assert (warning["log_level"], warning["partition"], warning["offset"]) == ("warning", f"{topic}-0", 2)


def test_version_is_one_without_the_known_stalls():
    """The library has the version that the guards are made for, later than those whose partitions fell silent."""
    assert kafka.__version__ == "3.0.12"
