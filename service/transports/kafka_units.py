"""What a unit becomes on Kafka: the records of one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from service.ports import Unit
from service.transports.kafka_config import KafkaConfig
from service.transports.kafka_events import Envelopes, PassedHeaders
from service.transports.kafka_models import ModelsTopic
from service.transports.kafka_records import (
    Message,
    Partitioner,
    Source,
    adoption_message,
    cut,
    forecast_messages,
    reject_message,
    size,
)


class Units:
    """Turns units into records.

    Args:
        settings: names of topics, limits.
        counts: partitions of each of them.
        models: what the models topic lacks goes along with an adoption.
        envelopes: rejects leave in the envelope that their events came in.
        passed: headers of events that their forecasts carry on.
    """

    def __init__(
        self,
        settings: KafkaConfig,
        counts: Mapping[str, int],
        models: ModelsTopic,
        envelopes: Envelopes,
        passed: PassedHeaders,
    ) -> None:
        self._settings, self._counts, self._models = settings, counts, models
        self._envelopes, self._passed = envelopes, passed
        self._partitioner = Partitioner()

    def messages(self, unit: Unit, source: Source) -> list[Message]:
        """Forecasts, rejects, and where one is recorded the adoption with its model; none larger than brokers take."""
        settings, counts = self._settings, self._counts
        messages = forecast_messages(
            unit,
            settings.forecasts,
            counts[settings.forecasts],
            self._partitioner,
            settings.forecasts_per_record,
            self._passed.of(unit.partition, unit.positions),
        )
        messages += [
            reject_message(reject, source, settings.app, settings.rejects, counts[settings.rejects])
            for reject in self._envelopes.closed(unit.partition, unit.rejects)
        ]
        most = settings.max_request_bytes
        for at, message in enumerate(messages):
            if len(message.value) + 20_000 > most and size(message) > most:
                where = source.partition % counts[settings.rejects]
                messages[at] = cut(message, settings.rejects, where, most, "too_large")
        if unit.adoption is not None:
            # Never cut: a model that does not fit must fail loudly, not be missing.
            messages += self._models.messages(unit.adoption.model_sha256)
            messages.append(adoption_message(unit.adoption, source, settings.adoptions, counts[settings.adoptions]))
        return messages
