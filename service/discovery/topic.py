"""A sample of a Kafka topic."""

from __future__ import annotations

from dataclasses import replace

from service.config.input import InputConfig
from service.config.kafka import KafkaConfig
from service.discovery.sample import MOST_RECORDS, InputSample, of_json
from service.kafka.tools.sample import newest_records


def sample_of_topic(kafka: KafkaConfig, topic: str, settings: InputConfig) -> InputSample:
    """Reads the newest records of a topic.

    Raises:
        TransportError: the topic does not exist, has no records, or cannot be read.
    """
    return replace(of_json(topic, newest_records(kafka, topic, MOST_RECORDS), settings), complete=False)
