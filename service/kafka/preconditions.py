"""Preconditions on Kafka: inputs keep all records, and no member of the group runs while a process is alone.

Brokers accept offsets in a transaction of a process without a membership, whether the group has members or not. So a
member fences the process that is alone (`fence_alone`) once it has joined, before it reads any offset, and the process
that is alone checks the group (`check_alone`) once more after it has fenced others: whichever step comes last, the
other side does not continue.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, Final

import kafka.errors as kafka_errors
import structlog
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from service.config.kafka import KafkaConfig
from service.errors import ConfigurationError, TransportBusyError
from service.kafka.connection import connection
from service.kafka.construct import construct
from service.kafka.kafka_python_producer import TransactionalProducer

_log = structlog.get_logger(__name__)

_POLICY: Final = "cleanup.policy"
_CHECK_SECONDS: Final = 0.5
_NO_GROUP: Final = "GroupIdNotFound"  # newer brokers call a group without members and offsets an error


def check_preconditions(settings: KafkaConfig) -> None:
    """Checks the input topics and, where this process must be alone, the group.

    Raises:
        ConfigurationError: an input topic is compacted, and `kafka.on_compacted_input` is "stop".
        TransportBusyError: the group has members, though this process must be alone.
        KafkaError: brokers do not answer.
    """
    with closing(construct(KafkaAdminClient, **connection(settings))) as client:
        _check_inputs(settings, client)
        if settings.membership == "alone":
            _await_empty_group(settings, client)


def check_alone(settings: KafkaConfig) -> None:
    """Checks that the group has no members.

    Raises:
        TransportBusyError: it has members.
        KafkaError: brokers do not answer.
    """
    with closing(construct(KafkaAdminClient, **connection(settings))) as client:
        _await_empty_group(settings, client)


def fence_alone(settings: KafkaConfig) -> None:
    """Fences a process of the same application with `kafka.membership` "alone"; its next transaction fails.

    Raises:
        KafkaError: brokers do not answer.
    """
    producer = TransactionalProducer(settings.model_copy(update={"membership": "alone"}))
    try:
        producer.fence()
    except kafka_errors.TransactionalIdAuthorizationFailedError:
        _log.warning(
            'a process with kafka.membership "alone" could not be fenced',
            transactional_id=settings.alone_id, needed="ACLs: WRITE and DESCRIBE on this transactional id",
        )  # fmt: skip
    finally:
        producer.close(broken=False)


def _check_inputs(settings: KafkaConfig, client: Any) -> None:
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, [_POLICY]) for topic in settings.topics]
    found = client.describe_configs(resources, config_filter="all").get("topic", {})
    for topic in settings.topics:
        entry = found.get(topic, {}).get(_POLICY)
        if entry is None:  # the library omits values that brokers refuse to return
            _log.warning("cleanup policy of an input topic is not known", topic=topic)
            continue
        policy = str(entry["value"])
        if "compact" not in policy:
            continue
        if settings.on_compacted_input == "stop":
            msg = (
                f'kafka.topics: got "{topic}" with {_POLICY} = {policy}, expected delete: compaction removes records '
                f"that a restart must read again, so it would compute another state. Set {_POLICY}=delete "
                f"(kafka-configs.sh --bootstrap-server {settings.bootstrap[0]} --alter --topic {topic} --add-config "
                f'{_POLICY}=delete), or kafka.on_compacted_input = "accept" to accept that'
            )
            raise ConfigurationError(msg)
        lost = (
            "a restart cannot read removed records again: its state, model trainings and forecasts may differ from "
            "those without a restart, and a partition without a snapshot begins with the newest value of each key"
        )
        _log.warning("input topic is compacted", topic=topic, policy=policy, lost=lost)


def _await_empty_group(settings: KafkaConfig, client: Any) -> None:
    """Checks that the group has no members; waits for the sessions of killed members to end."""
    group, deadline = settings.group_name, time.monotonic() + settings.session_timeout + settings.request_timeout
    while True:
        try:
            found = client.describe_groups([group]).get(group, {})
        except (
            kafka_errors.CoordinatorNotAvailableError
        ) as problem:  # a cluster without any group so far creates its topic now
            found = {"error": str(problem)}
        members, error = found.get("members") or [], found.get("error") or ""
        if not members and (not error or _NO_GROUP in error):
            return
        if time.monotonic() > deadline:
            msg = (
                f'group "{group}": got {error or f"{len(members)} members"}, expected none where '
                'kafka.membership is "alone": both would forecast every event; end the other processes, or set another '
                "kafka.group and kafka.app for this one"
            )
            raise TransportBusyError(msg)
        time.sleep(_CHECK_SECONDS)
