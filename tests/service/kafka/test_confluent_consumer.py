"""Assignment with librdkafka: partitions are assigned once, at the offsets where they are to be read."""

from __future__ import annotations

from confluent_kafka import TopicPartition as Place
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.kafka import confluent
from service.kafka.confluent import ConfluentConsumer
from service.kafka.group import Assignment


class Library:
    """A fake of the library's consumer that records its assignments."""

    def __init__(self, _settings, logger):
        self.assigned, self._logger = [], logger

    def subscribe(self, _topics, **callbacks):
        """Keeps the callbacks."""
        self.callbacks = callbacks

    def assign(self, places):
        """Records the offsets."""
        self.assigned.append([(place.partition, place.offset) for place in places])

    def resume(self, _places):
        """Accepts."""


def test_no_offset_is_queried(monkeypatch):
    """The callback of the group assigns nothing, so that no query is outstanding when `read_from` assigns."""
    monkeypatch.setattr(confluent, "Consumer", Library)
    config = KafkaConfig.model_validate({"bootstrap": ("h:1",), "app": "a", "topics": ("in",), "client": "confluent"})
    assignment = Assignment()
    consumer = ConfluentConsumer(config, assignment)
    library = consumer._consumer
    library.callbacks["on_assign"](library, [Place("in", 0), Place("in", 1)])
    assert (consumer.assignment(), assignment.changes) == ({TopicPartition("in", 0), TopicPartition("in", 1)}, 1)
    consumer.read_from({TopicPartition("in", 1): 7}, {TopicPartition("in", 0): 5})
    assert library.assigned == [[], [(0, 5), (1, 7)]]
