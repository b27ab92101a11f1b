"""Raw events of a topic to counts per 10 s of 1,000 series, on one core, beside Quix Streams where that is installed.

    taskset -c 0 python benchmarks/raw_event_topics.py [--events 400000] [--series 1000] [--bootstrap HOST:PORT]

Each reads the same topic of JSON lines with one partition through librdkafka, decodes and counts them, without
forecasts and recovery: nothing is written to Kafka, and Quix Streams has its state store in a folder. Prints raw events
per second of the process's processor time, the best of three runs, and how many windows were closed. Without
`--bootstrap` a broker is started, as for the tests (Java and Maven). Quix Streams is in no extra, as it needs an older
confluent-kafka: `pip install quixstreams` in an environment of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from raw_events import BATCH, lines

from service.aggregate.aggregator import Aggregator
from service.config.aggregate import AggregateConfig
from service.config.input import InputConfig
from service.messages.decode import Decoder
from service.ports import Records

SETTINGS: dict[str, Any] = {"interval": "10s", "functions": ["count"], "empty": "missing"}


@contextlib.contextmanager
def broker(given: str) -> Iterator[str]:
    """Yields the address of the given broker, or of one that is started."""
    if given:
        yield given
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "broker"))
    from kafka_broker import Cluster
    from kafka_jars import installation

    with tempfile.TemporaryDirectory(prefix="forecaster-bench-") as folder:
        cluster = Cluster(installation("4"), Path(folder) / "kafka")
        try:
            yield str(cluster.bootstrap)
        finally:
            cluster.close()


def produced(bootstrap: str, records: list[bytes], series: int) -> str:
    """Writes the records to a new topic with one partition; returns its name."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = f"raw-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(60)
    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 1_000_000})
    for at, record in enumerate(records):
        producer.produce(topic, record, key=b"s%d" % (at * 7919 % series))
        if at % BATCH == 0:
            producer.poll(0)
    producer.flush(120)
    return topic


def count_by_forecaster(bootstrap: str, topic: str, events: int) -> int:
    """Reads, decodes and counts as the daemon does with `kafka.client = "confluent"`; returns the closed windows."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
    decoder, closed, position = Decoder(InputConfig()), 0, 0
    aggregator = Aggregator(AggregateConfig.model_validate(SETTINGS), 100_000)
    consumer.assign([TopicPartition(topic, 0, 0)])
    while position < events:
        found = [one for one in consumer.consume(BATCH, 1.0) if one.error() is None]
        if not found:
            continue
        offsets, end = [one.offset() for one in found], found[-1].offset() + 1
        records = Records("0", offsets, end, [one.value() for one in found], [one.key() for one in found])
        closed, position = closed + len(aggregator.take(decoder.decode(records), 0, deque())[0]), end
    consumer.close()
    return closed


def count_by_quix(bootstrap: str, topic: str, events: int) -> int:
    """Does the same as an application of Quix Streams; returns the number of closed windows."""
    from quixstreams import Application

    closed = 0

    def counted(_: object) -> None:
        nonlocal closed
        closed += 1

    with tempfile.TemporaryDirectory(prefix="forecaster-bench-") as folder:
        application = Application(
            broker_address=bootstrap, consumer_group=uuid.uuid4().hex, auto_offset_reset="earliest", state_dir=folder,
            use_changelog_topics=False, loglevel=logging.WARNING,
        )  # fmt: skip
        source = application.topic(
            topic, value_deserializer="json", timestamp_extractor=lambda value, *_: value["timestamp"]
        )
        frame = application.dataframe(source)
        frame.tumbling_window(10_000).count().final().update(counted)
        application.run(count=events, timeout=600.0)
    return closed


PEERS: dict[str, Callable[[str, str, int], int]] = {
    "forecaster, reading, decoding and counting": count_by_forecaster,
    "Quix Streams, reading, decoding and counting": count_by_quix,
}


def topic_table(events: int, series: int, given: str = "", runs: int = 3) -> str:
    """Returns the table of those that are installed."""
    text = ["| | raw events per second of processor time | windows |", "|---|--:|--:|"]
    with broker(given) as bootstrap:
        topic = produced(bootstrap, lines(events, series), series)
        for name, count in PEERS.items():
            best, windows_closed = float("inf"), 0
            try:
                for _ in range(runs):
                    begun = time.process_time()
                    windows_closed = count(bootstrap, topic, events)
                    best = min(best, time.process_time() - begun)
            except ImportError:
                continue
            text.append(f"| {name} | {events / best:,.0f} | {windows_closed:,} |")
    return "\n".join(text)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--bootstrap", default="")
    given = parser.parse_args()
    print(topic_table(given.events, given.series, given.bootstrap))


if __name__ == "__main__":
    main()
