"""Headers that are copied from events to their forecasts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from service.kafka.records import Headers, within
from service.ports import Records


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
