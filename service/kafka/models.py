"""Shares models through Kafka: a compacted topic keyed by sha256, and one key for the champion.

A model is written in the transaction of the first adoption that names it, so a reader of an adoption finds the model.
The champion's record names the model that any instance adopted last; the last record of the topic applies to all
instances.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from kafka.structs import TopicPartition

from service.kafka.reader import Reader
from service.kafka.records import Message

CHAMPION_KEY: Final = b"champion"
# Interval of reading the topic: the delay until a promotion by another instance is noticed.
_CHECK_SECONDS: Final = 5.0
_SEEN_FILE: Final = "champion-of-topic"
_log = structlog.get_logger(__name__)


class ModelShelf(Protocol):
    """The storage of models on this machine."""

    def read(self, sha256: str) -> bytes | None:
        """Returns the bytes of a model, or None without it."""

    def add(self, sha256: str, data: bytes) -> None:
        """Verifies and stores a model."""

    def champion(self) -> str | None:
        """Returns the champion of this machine."""

    def promote(self, sha256: str) -> None:
        """Makes a stored model the champion."""

    def seen(self) -> str:
        """Returns the last champion of the topic passed to `set_seen`, "" for none."""

    def set_seen(self, sha256: str) -> None:
        """Stores the topic's champion durably."""


class RegistryShelf:
    """The models of `service.registry.models.Registry`.

    Args:
        registry: the registry.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def _path(self, sha256: str) -> Path:
        folder: Path = self._registry.folder
        return folder / f"{sha256}.safetensors"

    def read(self, sha256: str) -> bytes | None:
        """Returns the bytes of a model, or None without it."""
        path = self._path(sha256)
        return path.read_bytes() if path.exists() else None

    def add(self, sha256: str, data: bytes) -> None:
        """Stores a model.

        Raises:
            CheckpointError: the bytes are damaged or are not that model.
        """
        from forecaster import CheckpointError, load_model  # noqa: PLC0415 - compiled kernels; settings must not wait

        path = self._path(sha256)
        received = path.with_name(f"{sha256}.{os.getpid()}.received")
        received.write_bytes(data)
        try:
            model = load_model(received)
            if model.sha256 != sha256:
                msg = f"models topic: got model {model.sha256[:12]} in a record with the key {sha256[:12]}"
                raise CheckpointError(msg)
            self._registry.add(model)
        finally:
            received.unlink(missing_ok=True)

    def champion(self) -> str | None:
        """Returns the champion of this machine."""
        found: str | None = self._registry.champion()
        return found

    def promote(self, sha256: str) -> None:
        """Makes a stored model the champion."""
        self._registry.promote(sha256, reason="adopted by another instance")

    def seen(self) -> str:
        """Returns the last champion of the topic passed to `set_seen`, "" for none."""
        path = self._registry.folder / _SEEN_FILE
        return path.read_text().strip() if path.exists() else ""

    def set_seen(self, sha256: str) -> None:
        """Stores the topic's champion durably."""
        path: Path = self._registry.folder / _SEEN_FILE
        path.with_suffix(".tmp").write_text(sha256 + "\n")
        path.with_suffix(".tmp").replace(path)


class ModelsTopic:
    """The contents of the models topic, as far as read.

    Args:
        shelf: storage of models on this machine.
        topic: the name of the topic.
    """

    def __init__(self, shelf: ModelShelf, topic: str) -> None:
        self._shelf, self._topic = shelf, topic
        self._held: dict[str, bytes] = {}
        self._published: set[str] = set()
        self._champion = ""
        self._read, self._due = 0, 0.0

    @property
    def published(self) -> frozenset[str]:
        """The models in the topic, as far as read."""
        return frozenset(self._published)

    def read(self, reader: Reader) -> None:
        """Copies new models of the topic to the shelf, including those of open transactions if they commit."""
        source = TopicPartition(self._topic, 0)
        self._read_to(reader, source, reader.end(source))

    def read_new(self, reader: Reader) -> None:
        """Does the same periodically, without waiting for transactions of other processes."""
        if time.monotonic() >= self._due:
            source = TopicPartition(self._topic, 0)
            self._read_to(reader, source, reader.committed_end(source))

    def _read_to(self, reader: Reader, source: TopicPartition, end: int) -> None:
        self._due = time.monotonic() + _CHECK_SECONDS
        start = max(self._read, reader.earliest(source))
        for batch in reader.read(source, start, end, 100):
            self.apply_records(batch)
        self._read = max(self._read, end)
        self.apply()

    def apply_records(self, records: Sequence[Any]) -> None:
        """Processes further records of the topic, in their order."""
        for record in records:
            if record.key is None or record.value is None:
                continue
            if record.key == CHAMPION_KEY:
                self._champion = record.value.decode()
            else:
                sha256 = record.key.decode()
                self._published.add(sha256)
                if self._shelf.read(sha256) is None:
                    self._held[sha256] = record.value

    def apply(self) -> None:
        """Stores models and champion on the shelf.

        A champion of the topic that was stored before is ignored: a model promoted on this machine since then is newer,
        and its adoption is still to be written.
        """
        for sha256, data in self._held.items():
            self._shelf.add(sha256, data)
        self._held.clear()
        champion = self._champion
        if not champion or champion == self._shelf.seen():
            return
        if self._shelf.champion() != champion:
            if self._shelf.read(champion) is None:
                _log.warning("champion named by the models topic is missing from it", model=champion[:12])
                return
            self._shelf.promote(champion)
        self._shelf.set_seen(champion)

    def messages(self, sha256: str) -> list[Message]:
        """Returns the records to write with an adoption: the model if the topic lacks it, the champion if changed."""
        messages = []
        if sha256 not in self._published:
            data = self._shelf.read(sha256)
            if data is not None:
                messages.append(Message(self._topic, 0, sha256.encode(), data, []))
        if sha256 != self._champion:
            messages.append(Message(self._topic, 0, CHAMPION_KEY, sha256.encode(), []))
        return messages

    def written(self, messages: Sequence[Message]) -> None:
        """Called after these records are committed."""
        for message in messages:
            if message.topic == self._topic and message.key is not None:
                if message.key == CHAMPION_KEY:
                    self._champion = (message.value or b"").decode()
                    self._shelf.set_seen(self._champion)
                else:
                    self._published.add(message.key.decode())
