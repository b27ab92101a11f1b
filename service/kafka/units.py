"""Converts a unit to the records of one Kafka transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.config.kafka import KafkaConfig
from service.kafka.models import ModelsTopic
from service.kafka.passed_headers import PassedHeaders
from service.kafka.records import (
    Message,
    Origin,
    Partitioner,
    adoption_message,
    cut,
    deletion_messages,
    forecast_messages,
    mark_message,
    reject_message,
    size,
)
from service.ports import Encoded, TimeMark, Unit


class Units:
    """Converts units to records.

    Args:
        settings: names of topics, limits.
        counts: number of partitions of each topic.
        models: adds models that the models topic lacks to an adoption.
        passed: headers of events that are copied to their forecasts.
    """

    def __init__(
        self,
        settings: KafkaConfig,
        counts: Mapping[str, int],
        models: ModelsTopic,
        passed: PassedHeaders,
    ) -> None:
        self._settings, self._counts, self._models, self._passed = settings, counts, models, passed
        self._partitioner = Partitioner()

    def forecasts(self, partition: str, forecasts: Encoded, source: Origin) -> list[Message]:
        """Returns the records of some forecasts of a unit; none larger than brokers accept."""
        settings, count = self._settings, self._counts[self._settings.forecasts]
        passed = self._passed.of(partition, forecasts.positions)
        together = settings.forecasts_per_record
        most = settings.max_request_bytes
        return self._cut(
            forecast_messages(forecasts, settings.forecasts, count, self._partitioner, together, passed, most), source
        )

    def messages(self, unit: Unit, source: Origin, staged: int = 0, deleted: Sequence[TimeMark] = ()) -> list[Message]:
        """Returns the records of a unit: forecasts, rejects, adoptions with their models, and a mark.

        Args:
            unit: the unit.
            source: its partition.
            staged: the number of its first forecasts that were sent before.
            deleted: the oldest time marks of the partition, which are no longer needed.
        """
        settings, counts = self._settings, self._counts
        topic, count = settings.adoptions, counts[settings.adoptions]
        forecasts = Encoded(unit.series[staged:], unit.forecasts[staged:], unit.positions[staged:])
        messages = self.forecasts(unit.partition, forecasts, source)
        for reject in unit.rejects:
            made = reject_message(reject, source, settings.app, settings.rejects, counts[settings.rejects], unit.run)
            messages += self._cut([made], source, len(made.headers) - len(reject.headers))
        for adoption in unit.adoptions:
            # Never cut: a model that does not fit must raise an error, not be missing.
            messages += self._models.messages(adoption.model_sha256, adoption.group)
            messages.append(adoption_message(adoption, source, topic, count, unit.run))
        if unit.mark is not None:
            messages.append(mark_message(unit.mark, source, topic, count, unit.run))
        return messages + deletion_messages(deleted, source, topic, count, unit.run)

    def _cut(self, messages: list[Message], source: Origin, own: int = 0) -> list[Message]:
        """Replaces records that are larger than brokers accept by cut records for the rejects; `own`: see `cut`."""
        settings, most = self._settings, self._settings.max_request_bytes
        for at, message in enumerate(messages):
            bytes_ = len(message.value or b"") + len(message.key or b"")
            if (message.headers or bytes_ + 1000 > most) and size(message) > most:
                where = source.partition % self._counts[settings.rejects]
                messages[at] = cut(message, settings.rejects, where, most, "too_large", own)
        return messages
