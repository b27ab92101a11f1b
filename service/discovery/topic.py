"""A sample of a Kafka topic."""

from __future__ import annotations

from service.config.sections import Config
from service.discovery.sample import MOST_RECORDS, InputSample, of_topic
from service.kafka.tools.sample import newest_records
from service.schemas.frames import frames_of


def sample_of_topic(config: Config, topic: str) -> InputSample:
    """Reads the newest records of a topic, and looks up their schemas where a registry is configured.

    Raises:
        TransportError: the topic does not exist, has no records, or cannot be read.
        SchemaRegistryError: the registry does not answer.
    """
    records = newest_records(config.kafka, topic, MOST_RECORDS)
    frames = frames_of(config.schema_registry, wanted=config.input.format)
    if frames is not None:
        try:
            frames.prepare(records.values)
        finally:
            frames.close()
    return of_topic(topic, records, config.input, frames)
