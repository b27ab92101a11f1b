"""Checks everything on Kafka that a daemon needs, with advice for each problem."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from service.config.findings import Finding, Verdict
from service.config.kafka import KafkaConfig
from service.errors import TransportError
from service.kafka.connection import connection
from service.kafka.construct import construct
from service.kafka.kafka_python_producer import TransactionalProducer
from service.kafka.tools.topics import TopicPlan, admin_client

_FOREVER: Final = "-1"
# Clocks of synchronised machines differ by less than this.
_CLOCK_SECONDS: Final = 5.0


def examine(settings: KafkaConfig, wanted: list[TopicPlan]) -> Iterator[Finding]:
    """Checks everything that a daemon with these settings needs, and yields the findings one by one."""
    reached = False
    for address in settings.bootstrap:
        finding = _reach(address)
        reached = reached or finding.verdict == "ok"
        yield finding
    if not reached:
        return
    try:
        with admin_client(settings) as client:
            yield from _examine_cluster(client)
            yield from _examine_topics(client, wanted)
            yield from _examine_rights(client, wanted)
    except TransportError as error:
        yield Finding("error", "sign-in", str(error))
        return
    if settings.topics:
        yield from _examine_clock(settings)
        yield _attempt("read", lambda: _try_reading(settings), "ACLs: READ on topics and group")
    if any("WRITE" in topic.rights for topic in wanted):
        yield _attempt("write", lambda: _try_transaction(settings), "ACLs: WRITE and DESCRIBE on the transactional id")


def _reach(address: str) -> Finding:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return Finding("ok", f"broker {address}", "reached")
    except (OSError, ValueError) as error:
        return Finding("error", f"broker {address}", f"{error}; expected host:port of a running broker")


def _examine_cluster(client: Any) -> Iterator[Finding]:
    cluster = client.describe_cluster()
    brokers = cluster.get("brokers", [])
    yield Finding("ok", "cluster", f"{len(brokers)} broker(s), id {cluster.get('cluster_id')}")
    version = client.config.get("api_version") or ()
    text = f"protocol of Apache Kafka {'.'.join(map(str, version))} or newer" if version else "unknown"
    old = bool(version) and tuple(version) < (2, 5)
    hint = "; expected 2.5 or newer, as older ones cannot fence members of a group" if old else ""
    yield Finding("error" if old else "ok", "version", text + hint)


def _examine_topics(client: Any, wanted: list[TopicPlan]) -> Iterator[Finding]:
    present = set(client.list_topics())
    names = [topic.name for topic in wanted if topic.name in present]
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = client.describe_configs(resources, config_filter="all").get("topic", {}) if names else {}
    for topic in wanted:
        subject = f"topic {topic.name}"
        if topic.name not in present:
            yield Finding("error", subject, f"does not exist ({topic.role}); run `forecaster topics create`")
            continue
        found = {key: str(_value(entry)) for key, entry in configs.get(topic.name, {}).items()}
        wrong = [
            f"{key} is {found[key]}, expected {value}"
            for key, value in topic.settings.items()
            if key in found and not _suffices(key, found[key], value)
        ]
        verdict: Verdict = "warning" if wrong else "ok"
        yield Finding(verdict, subject, "; ".join(wrong) or topic.role)


def _examine_rights(client: Any, wanted: list[TopicPlan]) -> Iterator[Finding]:
    """Compares the operations that brokers permit with those needed; without an authorizer all are permitted."""
    present = set(client.list_topics())
    allowed = {
        topic["name"]: topic.get("authorized_operations")
        for topic in client.describe_topics([topic.name for topic in wanted if topic.name in present])
    }
    for topic in wanted:
        operations = allowed.get(topic.name)
        if operations is None:
            continue
        lacking = [right for right in topic.rights if right not in operations]
        if lacking:
            grants = " ".join(f"--operation {right}" for right in lacking)
            text = f"not allowed: {', '.join(lacking)}; kafka-acls --add --allow-principal ... {grants}"
            yield Finding("error", f"rights on {topic.name}", f"{text} --topic {topic.name}")


def _examine_clock(settings: KafkaConfig) -> Iterator[Finding]:
    """Compares clocks: an input record from the future means a wrong clock, of its producer or of this machine."""
    consumer = construct(KafkaConsumer, **connection(settings), group_id=None, enable_auto_commit=False)
    try:
        sources = [
            TopicPartition(t, p) for t in settings.topics for p in sorted(consumer.partitions_for_topic(t) or ())
        ]
        ends = consumer.end_offsets(sources) if sources else {}
        filled = [source for source in sources if ends[source] > consumer.beginning_offsets([source])[source]]
        consumer.assign(filled)
        for source in filled:
            consumer.seek(source, ends[source] - 1)
        records = [r for batch in (consumer.poll(2000).values() if filled else ()) for r in batch]
    except KafkaError as error:
        yield Finding("warning", "clock", f"not compared: {error}")
        return
    finally:
        consumer.close(autocommit=False)
    newest = max((record.timestamp for record in records), default=None)
    if newest is None:
        yield Finding("ok", "clock", "no record to compare with yet")
        return
    ahead = newest / 1000 - time.time()
    if ahead > _CLOCK_SECONDS:
        text = f"the newest input record is {ahead:.0f} s ahead of this machine; set one of the two clocks (NTP)"
        yield Finding("warning", "clock", text)
    else:
        yield Finding("ok", "clock", f"the newest input record is {-ahead:.0f} s old")


def _value(entry: Any) -> Any:
    return entry.get("value") if isinstance(entry, dict) else entry


def _suffices(key: str, found: str, wanted: str) -> bool:
    if key == "retention.ms":
        return found == _FOREVER or int(found) >= int(wanted)
    if key == "max.message.bytes":
        return int(found) >= int(wanted)
    if key.startswith("segment."):
        return int(found) <= int(wanted)
    return found == wanted


def _attempt(subject: str, attempt: Callable[[], str], needs: str) -> Finding:
    try:
        return Finding("ok", subject, attempt())
    except KafkaError as error:  # its text includes its name
        return Finding("error", subject, f"{error}; needs {needs}")
    except (TransportError, OSError) as error:
        return Finding("error", subject, f"{type(error).__name__}: {error}; needs {needs}")


def _try_reading(settings: KafkaConfig) -> str:
    arguments = connection(settings) | {"group_id": settings.group_name, "enable_auto_commit": False}
    consumer = construct(KafkaConsumer, **arguments)
    try:
        sources = [
            TopicPartition(t, p) for t in settings.topics for p in sorted(consumer.partitions_for_topic(t) or ())
        ]
        ends = consumer.end_offsets(sources)
        behind = sum(end - (consumer.committed(source) or 0) for source, end in ends.items())
        return f"{len(sources)} input partition(s), consumer lag {behind}"
    finally:
        consumer.close(autocommit=False)


def _try_transaction(settings: KafkaConfig) -> str:
    # A separate id: the daemon's id would fence the running daemon.
    own = settings.model_copy(update={"instance": f"{settings.instance_name}-doctor", "membership": "group"})
    producer = TransactionalProducer(own)
    try:
        producer.fence()
        return "transactions are allowed"
    finally:
        producer.close(broken=True)
