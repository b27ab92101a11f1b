"""Where each of our partitions stands: what was read of it, what is committed, and where it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kafka.structs import TopicPartition

from service.errors import TransportError
from service.kafka.client import Consumer
from service.kafka.columns import name_of
from service.kafka.reader import Reader


class Progress:
    """Offsets by partition, named topic-number.

    Args:
        silence_seconds: how long a partition that has records may give none.

    Attributes:
        sources: our partitions.
        read: where reading goes on, of those that are being read.
        ends: where those end that are read to an end only.
    """

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self.sources: dict[str, TopicPartition] = {}
        self.read: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self._silent_since: dict[str, float] = {}

    def take(self, sources: Collection[TopicPartition]) -> None:
        """Begins anew with these partitions; nothing is known of them."""
        self.sources = {name_of(source): source for source in sources}
        self.read.clear()
        self._silent_since.clear()

    def look_for_silence(self, consumer: Consumer, polled: Mapping[TopicPartition, Any], reader: Reader) -> None:
        """A partition that has records and gives none for long is stuck in the library; a new client reads on.

        Args:
            consumer: of the group.
            polled: what it just gave.
            reader: asked for the end of what can be read, where one seems stuck.

        Raises:
            TransportError: one is.
        """
        now = time.monotonic()
        for name, source in self.sources.items():
            if name not in self.read:
                continue
            end = None if source in polled else consumer.highwater(source)
            position = consumer.position(source)  # passes markers of transactions, which are no records
            if end is None or end <= position:
                self._silent_since.pop(name, None)
            elif now - self._silent_since.setdefault(name, now) > self._silence_seconds:
                stable = reader.committed_end(source)  # what is behind an open transaction is not ours yet
                if stable > position:
                    msg = f"{name}: gave nothing after offset {position} for a long time, and holds {stable}"
                    raise TransportError(msg)
                self._silent_since.pop(name)

    def ended(self, consumer: Consumer, committed: Callable[[str], int | None]) -> bool:
        """Whether everything up to `ends` was read and committed."""
        return all(self._ended(consumer, committed, name, source) for name, source in self.sources.items())

    def _ended(
        self, consumer: Consumer, committed: Callable[[str], int | None], name: str, source: TopicPartition
    ) -> bool:
        read = self.read.get(name)
        if read is None or read > (committed(name) or read):
            return False
        # The last offsets may be markers of transactions, which only the consumer's own position passes.
        end = self.ends.get(name, 0)  # a partition that was added since the start had nothing then
        return read >= end or consumer.position(source) >= end

    def lag(self, consumer: Consumer, committed: Callable[[str], int | None]) -> dict[str, int]:
        """Offsets between what is committed and the end of each partition, as far as the last answers told."""
        found = {}
        for name, source in self.sources.items():
            end, position = consumer.highwater(source), committed(name)
            found[name] = 0 if end is None or position is None else max(0, end - position)
        return found
