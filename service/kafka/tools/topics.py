"""The topics that a daemon needs and their settings; creates missing ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from service.config.kafka import KafkaConfig
from service.config.sections import Config
from service.errors import TransportError
from service.kafka.connection import connection
from service.kafka.construct import construct

LEAST_RETENTION_MS = 86_400_000  # of inputs: snapshots are minutes old; a day leaves time to repair a machine


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic that the daemon needs.

    Attributes:
        name: of the topic.
        partitions: number of partitions at creation.
        settings: required settings; a topic with others is reported.
        role: its purpose, as text.
        rights: operations on it that the daemon must be permitted.
    """

    name: str
    partitions: int
    settings: dict[str, str]
    role: str
    rights: tuple[str, ...] = ("READ", "WRITE")


def plan(config: Config, partitions: int = 1, retention_ms: int = LEAST_RETENTION_MS) -> list[TopicPlan]:
    """Returns all topics that a daemon needs: for its input, its output, or both.

    Args:
        config: names, and which of the two is Kafka.
        partitions: of inputs and outputs.
        retention_ms: of inputs; must be longer than the maximal age of snapshots.
    """
    settings = config.kafka
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    inputs = [TopicPlan(name, partitions, kept, "input events", ("READ",)) for name in settings.topics]
    return [*inputs, *(_outputs(settings, partitions) if config.sink == "kafka" else [])]


def _outputs(settings: KafkaConfig, partitions: int) -> list[TopicPlan]:
    largest = str(max(settings.max_request_bytes, 1 << 20) + 4096)
    compacted = {"cleanup.policy": "compact"}
    shared = [
        TopicPlan(settings.snapshots, 1, compacted, "manifests of shared snapshots"),
        TopicPlan(settings.snapshot_chunks, partitions, compacted | {"max.message.bytes": largest}, "shared snapshots"),
    ]
    # A start reads the complete topic, and the newest segment is not compacted.
    read_whole = compacted | {"segment.bytes": str(16 << 20), "segment.ms": "3600000"}
    return [
        TopicPlan(
            settings.forecasts,
            partitions,
            {"cleanup.policy": "delete", "max.message.bytes": largest},
            "forecasts",
            ("WRITE",),
        ),
        TopicPlan(
            settings.rejects,
            partitions,
            {"cleanup.policy": "delete", "max.message.bytes": largest},
            "rejects",
            ("WRITE",),
        ),
        # Compaction never removes an adoption: every one has a unique key. It removes the time marks that were deleted.
        TopicPlan(settings.adoptions, partitions, read_whole, "adoptions of models, time marks"),
        TopicPlan(
            settings.models, 1, {"cleanup.policy": "compact", "max.message.bytes": str(64 << 20)}, "models by sha256"
        ),
        *([] if settings.topics else [TopicPlan(settings.positions, 1, read_whole, "positions of the inputs")]),
        *(shared if settings.topics and settings.share_snapshots else []),
    ]


@contextmanager
def admin_client(settings: KafkaConfig) -> Iterator[Any]:
    """Opens an admin client and converts its errors.

    Raises:
        TransportError: brokers cannot be reached, or refuse the request.
    """
    try:
        with closing(construct(KafkaAdminClient, **connection(settings))) as client:
            yield client
    except KafkaError as error:
        msg = f"{', '.join(settings.bootstrap)}: {error}; check kafka.bootstrap"
        raise TransportError(msg) from error


def create_topics(settings: KafkaConfig, wanted: list[TopicPlan], replication: int) -> list[str]:
    """Creates missing topics and returns their names; existing topics stay unchanged.

    Raises:
        TransportError: brokers cannot be reached, or refuse the request.
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
