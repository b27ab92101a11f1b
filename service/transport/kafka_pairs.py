"""Construction of the pairs with Kafka as source, sink or both."""

from __future__ import annotations

from collections.abc import Callable

from service.config.kafka import KafkaConfig
from service.config.sections import Config
from service.folder_lock import FolderLock
from service.kafka.fencing import FencedBefore
from service.kafka.group_positions import GroupPositions
from service.kafka.models import ModelShelf
from service.kafka.session import KafkaSession
from service.kafka.sink import KafkaSink
from service.kafka.source import KafkaSource
from service.kafka.topic_positions import TopicPositions
from service.kafka.watchdog import Watchdog
from service.schemas.forecast_reader import ForecastReader
from service.sinks import Sink
from service.sources import Source
from service.sources.local import local_source
from service.sources.push_log import PushLog
from service.transport.build import data_lock, local_sink
from service.transport.history import after_history, with_history
from service.transport.pair import Pair


def build_with_kafka(
    config: Config,
    shelf: ModelShelf,
    fenced: FencedBefore | None = None,
    watchdog: Watchdog | None = None,
    push: PushLog | None = None,
) -> Pair:
    """Constructs the pair of a configuration that uses Kafka; opens nothing yet.

    Args:
        config: checked.
        shelf: the models of this machine.
        fenced: shared with the pairs before and after this one.
        watchdog: ends the process when a call of the client does not return.
        push: result of `service.transport.build.push_log`.
    """
    lock, ahead = data_lock(config), config.input.workers
    if not config.kafka.topics:
        return local_to_kafka(
            config.kafka, with_history(local_source(config, push), config), shelf, lock, fenced, watchdog
        )
    if config.sink == "kafka":
        reader = ForecastReader(config.schema_registry)
        return kafka_to_kafka(config.kafka, shelf, lock, fenced, watchdog, ahead, reader)
    wrapped = (lambda live: with_history(live, config)) if config.bootstrap.is_set else None
    return kafka_to_local(after_history(config), local_sink(config), lock, fenced, watchdog, ahead, wrapped)


def kafka_to_kafka(
    settings: KafkaConfig,
    shelf: ModelShelf,
    lock: FolderLock,
    fenced: FencedBefore | None = None,
    watchdog: Watchdog | None = None,
    ahead: int = 1,
    forecasts: ForecastReader | None = None,
) -> Pair:
    """Constructs a pair from topics to topics: positions are group offsets, committed in the outputs' transaction."""
    session = KafkaSession(settings, fenced, watchdog, forecasts)
    source = KafkaSource(session, ahead=ahead)
    sink = KafkaSink(session, GroupPositions(session, source), shelf, source.passed)
    return Pair(source, sink, lock=lock, shared=session)


def local_to_kafka(
    settings: KafkaConfig,
    source: Source,
    shelf: ModelShelf,
    lock: FolderLock,
    fenced: FencedBefore | None = None,
    watchdog: Watchdog | None = None,
) -> Pair:
    """Constructs a pair from a local source to topics: positions are records; without a group, one process writes."""
    session = KafkaSession(settings.model_copy(update={"membership": "alone"}), fenced, watchdog)
    return Pair(source, KafkaSink(session, TopicPositions(session), shelf), lock=lock, shared=session)


def kafka_to_local(
    settings: KafkaConfig,
    sink: Sink,
    lock: FolderLock,
    fenced: FencedBefore | None = None,
    watchdog: Watchdog | None = None,
    ahead: int = 1,
    wrapped: Callable[[Source], Source] | None = None,
) -> Pair:
    """Constructs a pair from topics to a local sink, which stores the offsets; `settings.membership` is "alone".

    `wrapped` may put a history before the topics.
    """
    session = KafkaSession(settings, fenced, watchdog)
    source: Source = KafkaSource(session, ahead=ahead, foreign=True, after_history=wrapped is not None)
    return Pair(source if wrapped is None else wrapped(source), sink, lock=lock, shared=session)
