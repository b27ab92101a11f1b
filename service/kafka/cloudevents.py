"""CloudEvents on Kafka, and headers that are copied from events to forecasts.

binary mode       attributes are headers (ce_*), the value is the event itself: no conversion needed
structured mode   content-type application/cloudevents+json, the value is an envelope: its `data` is the event
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from service.kafka.records import Headers, within
from service.messages.depth import too_deep
from service.ports import Records, Reject

_STRUCTURED: Final = b"application/cloudevents+json"


class _Envelope(msgspec.Struct):
    specversion: str
    data: msgspec.Raw = msgspec.Raw(b"")


_decode: Final[Any] = msgspec.json.Decoder(_Envelope).decode


class Envelopes:
    """Extracts events from their envelopes, and stores the envelopes because rejects must have the original bytes."""

    def __init__(self) -> None:
        self._originals: dict[str, dict[int, bytes]] = {}

    def open(self, records: Records) -> Records:
        """Replaces the values of structured CloudEvents by their events; other records stay unchanged."""
        self._originals.pop(records.partition, None)
        if records.headers is None:
            return records
        values, originals = list(records.values), {}
        for at, headers in enumerate(records.headers):
            if any(
                name.lower() == "content-type" and (value or b"").startswith(_STRUCTURED) for name, value in headers
            ):
                if too_deep(values[at]):
                    continue  # as below
                try:
                    data = bytes(_decode(values[at]).data)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue  # the decoder rejects it with a reason
                if data:
                    originals[records.positions[at]], values[at] = values[at], data
        if originals:
            self._originals[records.partition] = originals
        return replace(records, values=values) if originals else records

    def keep(self, partitions: Collection[str]) -> None:
        """Discards the batches of all other partitions."""
        self._originals = {name: found for name, found in self._originals.items() if name in partitions}

    def closed(self, partition: str, rejects: Sequence[Reject]) -> Sequence[Reject]:
        """Returns the rejects with their original bytes."""
        originals = self._originals.get(partition)
        if not originals:
            return rejects
        return [replace(reject, value=originals.get(reject.position, reject.value)) for reject in rejects]


class PassedHeaders:
    """Headers of events that are copied to their forecasts, e.g. a trace's `traceparent`.

    Args:
        names: of the headers.
        limit: maximal bytes of headers per forecast; of an event with more, only the first ones are copied.
    """

    def __init__(self, names: Sequence[str], limit: int = 16 << 10) -> None:
        self._names, self._limit = frozenset(names), limit
        self._found: dict[str, dict[int, Headers]] = {}

    def note(self, records: Records) -> None:
        """Stores the headers of a batch until the next one of its partition."""
        self._found.pop(records.partition, None)
        if self._names and records.headers is not None:
            self._found[records.partition] = {
                position: within([(name, value or b"") for name, value in headers if name in self._names], self._limit)
                for position, headers in zip(records.positions, records.headers, strict=True)
                if headers
            }

    def keep(self, partitions: Collection[str]) -> None:
        """Discards the batches of all other partitions."""
        self._found = {name: found for name, found in self._found.items() if name in partitions}

    def of(self, partition: str, positions: Sequence[int]) -> list[Headers]:
        """Returns the headers for the forecasts of these events; empty if the partition has none."""
        found = self._found.get(partition)
        return [found.get(position, []) for position in positions] if found else []
