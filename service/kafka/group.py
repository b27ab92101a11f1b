"""Membership in the consumer group, and the assigned partitions.

Callbacks only set flags: they run on the client's IO thread, where blocking calls are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka.connection import connection
from service.kafka.construct import construct

_MAX_POLL_SECONDS: Final = 300  # a batch takes far less; a replay continues to poll


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc] # the library ships no types
    """The last assignment by the group; `changes` increases with every change.

    New partitions are paused at a placeholder position: with no committed offset and no reset policy, `poll` raises
    before their start is set.
    """

    def __init__(self) -> None:
        self.consumer: Any = None
        self.changes = 0
        self.lost = 0

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pauses new partitions."""
        self.changes += 1
        for source in assigned:
            self.consumer.pause(source)
            self.consumer.seek(source, 0)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Only counts: the remaining assignment is read after `poll` has returned."""
        if list(revoked):
            self.changes += 1

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Only counts."""
        if list(lost):
            self.changes += 1
            self.lost += 1


def group_consumer(settings: KafkaConfig, assignment: Assignment, **more: Any) -> Any:
    """Returns a consumer, subscribed but not yet joined; for `kafka.membership` "alone" without a subscription.

    No deserializers: one that raises would make the library's `poll` spin forever.
    """
    session_ms = round(settings.session_timeout * 1000)
    arguments = connection(settings) | {
        "group_id": settings.group_name,
        "isolation_level": "read_committed",  # needed even for inputs without transactions: see committed offsets
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "fetch_max_bytes": settings.fetch_max_bytes,
        "max_partition_fetch_bytes": min(settings.fetch_max_bytes, 4 << 20),
        "max_poll_interval_ms": _MAX_POLL_SECONDS * 1000,
        "metadata_max_age_ms": round(settings.metadata_max_age * 1000),
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": min(3000, session_ms // 4),
        # The second is common with librdkafka, for a group that changes its client a process at a time.
        "partition_assignment_strategy": [StickyPartitionAssignor, RangePartitionAssignor],
    }
    if settings.membership == "group":
        # A restart within the session timeout keeps its partitions without a rebalance.
        arguments["group_instance_id"] = settings.transactional_id
    consumer = construct(KafkaConsumer, **(arguments | more))
    assignment.consumer = consumer
    if settings.membership == "group":
        consumer.subscribe(list(settings.topics), listener=assignment)
    return consumer
