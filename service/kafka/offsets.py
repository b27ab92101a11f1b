"""Offsets of each assigned partition: read, committed, and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kafka.structs import TopicPartition

from service.errors import TransportError
from service.kafka.client import Consumer
from service.kafka.columns import name_of
from service.kafka.reader import Reader


class GroupProgress:
    """Offsets by partition, named topic-number.

    Args:
        silence_seconds: longest time for which a partition with further records may return none.

    Attributes:
        sources: the assigned partitions.
        read: next offset of each partition that is being read.
        ends: end offset of each partition that is read to an end only.
    """

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self.sources: dict[str, TopicPartition] = {}
        self.read: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self._silent_since: dict[str, float] = {}

    def take(self, sources: Collection[TopicPartition]) -> None:
        """Replaces the partitions and clears their offsets."""
        self.sources = {name_of(source): source for source in sources}
        self.read.clear()
        self._silent_since.clear()

    def check_silence(self, consumer: Consumer, polled: Mapping[TopicPartition, Any], reader: Reader) -> None:
        """Detects a partition that has records but returns none for long: it is stuck in the library.

        After the error a new client continues to read.

        Args:
            consumer: of the group.
            polled: its last result.
            reader: queried for the end of the readable records, where a partition seems stuck.

        Raises:
            TransportError: a partition is stuck.
        """
        now = time.monotonic()
        for name, source in self.sources.items():
            if name not in self.read:
                continue
            if source in polled:
                self._silent_since.pop(name, None)
                continue
            end = consumer.highwater(source)  # None before the first answer, which a stuck partition may never get
            position = max(consumer.position(source), self.read[name])  # past transaction markers, which are no records
            if end is not None and end <= position:
                self._silent_since.pop(name, None)
            elif now - self._silent_since.setdefault(name, now) > self._silence_seconds:
                stable = reader.committed_end(source)  # records from an open transaction on are not readable
                if stable > position:
                    msg = (
                        f"{name}: got no records from offset {position} on for {self._silence_seconds:g} s, expected "
                        f"those up to offset {stable}, which are committed; check the brokers"
                    )
                    raise TransportError(msg)
                self._silent_since.pop(name)

    def ended(self, consumer: Consumer, committed: Callable[[str], int | None]) -> bool:
        """Returns whether everything up to `ends` was read and committed."""
        return all(self._ended(consumer, committed, name, source) for name, source in self.sources.items())

    def _ended(
        self, consumer: Consumer, committed: Callable[[str], int | None], name: str, source: TopicPartition
    ) -> bool:
        read = self.read.get(name)
        if read is None or read > (committed(name) or read):
            return False
        # The last offsets may be transaction markers, which only the consumer's own position counts.
        end = self.ends.get(name, 0)  # a partition added since the start was empty then
        return read >= end or consumer.position(source) >= end

    def lag(self, consumer: Consumer, committed: Callable[[str], int | None]) -> dict[str, int]:
        """Returns the consumer lag: offsets between committed position and end of each partition, as last known."""
        found = {}
        for name, source in self.sources.items():
            end, position = consumer.highwater(source), committed(name)
            found[name] = 0 if end is None or position is None else max(0, end - position)
        return found
