"""The topics that a daemon needs, with what settings: makes them, and says what is wrong with what is there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from service.errors import TransportError
from service.transports.kafka_clients import construct
from service.transports.kafka_config import KafkaConfig
from service.transports.kafka_producer import TransactionalProducer
from service.transports.kafka_security import connection

Verdict = Literal["ok", "warning", "error"]
_FOREVER: Final = "-1"


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as the daemon needs it.

    Attributes:
        name: of the topic.
        partitions: how many, when it is made.
        settings: those that matter; a topic with others is reported.
        role: what it is for, in words.
    """

    name: str
    partitions: int
    settings: dict[str, str]
    role: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        verdict: how it is.
        subject: what was looked at.
        text: what was found, and what to do about it.
    """

    verdict: Verdict
    subject: str
    text: str


def plan(settings: KafkaConfig, partitions: int, retention_ms: int) -> list[TopicPlan]:
    """All topics of a daemon.

    Args:
        settings: names.
        partitions: of inputs and outputs.
        retention_ms: of inputs; must be longer than the age that snapshots can reach.
    """
    largest = str(max(settings.max_request_bytes, 1 << 20) + 4096)
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    compacted = {"cleanup.policy": "compact"}
    shared = [
        TopicPlan(settings.snapshots, 1, compacted, "manifests of shared snapshots"),
        TopicPlan(settings.snapshot_chunks, partitions, compacted | {"max.message.bytes": largest}, "shared snapshots"),
    ]
    return [
        *(TopicPlan(name, partitions, kept, "events in") for name in settings.topics),
        TopicPlan(
            settings.forecasts, partitions, {"cleanup.policy": "delete", "max.message.bytes": largest}, "forecasts"
        ),
        TopicPlan(settings.rejects, partitions, {"cleanup.policy": "delete", "max.message.bytes": largest}, "rejects"),
        # Compaction alone never removes one: every adoption has a key of its own.
        TopicPlan(settings.adoptions, partitions, {"cleanup.policy": "compact"}, "adoptions of models"),
        TopicPlan(
            settings.models, 1, {"cleanup.policy": "compact", "max.message.bytes": str(64 << 20)}, "models by sha256"
        ),
        *(shared if settings.share_snapshots else []),
    ]


@contextmanager
def admin_client(settings: KafkaConfig) -> Iterator[Any]:
    """An admin client; its errors become ours.

    Raises:
        TransportError: brokers cannot be reached, or refuse.
    """
    try:
        with closing(construct(KafkaAdminClient, **connection(settings))) as client:
            yield client
    except KafkaError as error:
        msg = f"{', '.join(settings.bootstrap)}: {type(error).__name__}: {error}; is this the right kafka.bootstrap?"
        raise TransportError(msg) from error


def create_topics(settings: KafkaConfig, wanted: list[TopicPlan], replication: int) -> list[str]:
    """Makes those topics that are not there; the names of those that were made. Topics that are there stay as they are.

    Raises:
        TransportError: brokers cannot be reached, or refuse.
    """
    with admin_client(settings) as client:
        present = set(client.list_topics())
        missing = {
            topic.name: {
                "num_partitions": topic.partitions,
                "replication_factor": replication,
                "configs": topic.settings,
            }
            for topic in wanted
            if topic.name not in present
        }
        if missing:
            client.create_topics(missing)
            client.wait_for_topics(list(missing))
        return list(missing)


def examine(settings: KafkaConfig, wanted: list[TopicPlan]) -> Iterator[Finding]:
    """Looks at everything that a daemon with these settings will need, one thing after the other."""
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
    except TransportError as error:
        yield Finding("error", "sign-in", str(error))
        return
    yield _attempt("read", lambda: _try_reading(settings), "ACLs: READ on topics and group")
    yield _attempt("write", lambda: _try_transaction(settings), "ACLs: WRITE and DESCRIBE on the transactional id")


def _reach(address: str) -> Finding:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5):
            return Finding("ok", f"broker {address}", "reached")
    except (OSError, ValueError) as error:
        return Finding("error", f"broker {address}", f"{error}; expected host:port of a broker that runs")


def _examine_cluster(client: Any) -> Iterator[Finding]:
    cluster = client.describe_cluster()
    brokers = cluster.get("brokers", [])
    yield Finding("ok", "cluster", f"{len(brokers)} broker(s), id {cluster.get('cluster_id')}")
    version = client.config.get("api_version") or ()
    text = f"speaks like Apache Kafka {'.'.join(map(str, version))} or newer" if version else "unknown"
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
            yield Finding("error", subject, f"is not there ({topic.role}); run `forecaster topics create`")
            continue
        found = {key: str(_value(entry)) for key, entry in configs.get(topic.name, {}).items()}
        wrong = [
            f"{key} is {found[key]}, expected {value}"
            for key, value in topic.settings.items()
            if key in found and not _suffices(key, found[key], value)
        ]
        verdict: Verdict = "warning" if wrong else "ok"
        yield Finding(verdict, subject, "; ".join(wrong) or topic.role)


def _value(entry: Any) -> Any:
    return entry.get("value") if isinstance(entry, dict) else entry


def _suffices(key: str, found: str, wanted: str) -> bool:
    if key == "retention.ms":
        return found == _FOREVER or int(found) >= int(wanted)
    if key == "max.message.bytes":
        return int(found) >= int(wanted)
    return found == wanted


def _attempt(subject: str, attempt: Callable[[], str], needs: str) -> Finding:
    try:
        return Finding("ok", subject, attempt())
    except (KafkaError, TransportError, OSError) as error:
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
        return f"{len(sources)} input partition(s), {behind} offsets to go"
    finally:
        consumer.close(autocommit=False)


def _try_transaction(settings: KafkaConfig) -> str:
    # An id of its own: the daemon's would fence the daemon that runs.
    own = settings.model_copy(update={"instance": f"{settings.instance_name}-doctor"})
    producer = TransactionalProducer(own)
    try:
        producer.fence()
        return "transactions are allowed"
    finally:
        producer.close(broken=True)
