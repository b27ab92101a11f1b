"""Models on their way through Kafka: a compacted topic keyed by sha256, and one key that names the champion.

A model is written in the transaction of the first adoption that names it, so whoever reads an adoption finds the
model. The champion's record says which model was adopted last by anyone; the last record of the topic wins, for all
instances alike.
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
# Between two looks: how soon a promotion elsewhere is noticed.
_LOOK_SECONDS: Final = 5.0
_SEEN_FILE: Final = "champion-of-topic"
_log = structlog.get_logger(__name__)


class ModelShelf(Protocol):
    """Where this machine keeps its models."""

    def read(self, sha256: str) -> bytes | None:
        """The bytes of a model, or None where it is not here."""

    def add(self, sha256: str, data: bytes) -> None:
        """Keeps a model, verified to be the one of that name."""

    def champion(self) -> str | None:
        """The model to use."""

    def crown(self, sha256: str) -> None:
        """Makes a model that is here the one to use."""

    def seen(self) -> str:
        """The topic's champion as it was last taken note of, "" for none."""

    def saw(self, sha256: str) -> None:
        """Takes note of the topic's champion, durably."""


class RegistryShelf:
    """The models of `service.registry.Registry`.

    Args:
        registry: theirs.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def _path(self, sha256: str) -> Path:
        folder: Path = self._registry.folder
        return folder / f"{sha256}.safetensors"

    def read(self, sha256: str) -> bytes | None:
        """The bytes of a model, or None where it is not here."""
        path = self._path(sha256)
        return path.read_bytes() if path.exists() else None

    def add(self, sha256: str, data: bytes) -> None:
        """Keeps a model.

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
                msg = f"got model {model.sha256[:12]} under the key {sha256[:12]} of the models topic"
                raise CheckpointError(msg)
            self._registry.add(model)
        finally:
            received.unlink(missing_ok=True)

    def champion(self) -> str | None:
        """The model to use."""
        found: str | None = self._registry.champion()
        return found

    def crown(self, sha256: str) -> None:
        """Makes a model the one to use."""
        self._registry.promote(sha256, reason="adopted by another instance")

    def seen(self) -> str:
        """The topic's champion as it was last taken note of, "" for none."""
        path = self._registry.folder / _SEEN_FILE
        return path.read_text().strip() if path.exists() else ""

    def saw(self, sha256: str) -> None:
        """Takes note of the topic's champion."""
        path: Path = self._registry.folder / _SEEN_FILE
        path.with_suffix(".tmp").write_text(sha256 + "\n")
        path.with_suffix(".tmp").replace(path)


class ModelsTopic:
    """What the topic holds, as far as it was read.

    Args:
        shelf: where models are kept on this machine.
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
        """The models in the topic, as far as it was read."""
        return frozenset(self._published)

    def read(self, reader: Reader) -> None:
        """Brings to the shelf what is new in the topic, transactions that are open now included if they commit."""
        source = TopicPartition(self._topic, 0)
        self._read_to(reader, source, reader.end(source))

    def look(self, reader: Reader) -> None:
        """The same once in a while, without ever waiting for a transaction of somebody else."""
        if time.monotonic() >= self._due:
            source = TopicPartition(self._topic, 0)
            self._read_to(reader, source, reader.committed_end(source))

    def _read_to(self, reader: Reader, source: TopicPartition, end: int) -> None:
        self._due = time.monotonic() + _LOOK_SECONDS
        start = max(self._read, reader.earliest(source))
        for batch in reader.read(source, start, end, 100):
            self.took(batch)
        self._read = max(self._read, end)
        self.apply()

    def took(self, records: Sequence[Any]) -> None:
        """Takes in further records of the topic, in their order."""
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
        """Brings models and champion to the shelf.

        A champion of the topic that was taken note of before changes nothing: a model that was promoted here since
        is newer, and its adoption is still to be written.
        """
        for sha256, data in self._held.items():
            self._shelf.add(sha256, data)
        self._held.clear()
        champion = self._champion
        if not champion or champion == self._shelf.seen():
            return
        if self._shelf.champion() != champion:
            if self._shelf.read(champion) is None:
                _log.warning("the champion of the models topic is not in it", model=champion[:12])
                return
            self._shelf.crown(champion)
        self._shelf.saw(champion)

    def messages(self, sha256: str) -> list[Message]:
        """What must be written with an adoption: the model if it is not in the topic, the champion if it changed."""
        messages = []
        if sha256 not in self._published:
            data = self._shelf.read(sha256)
            if data is not None:
                messages.append(Message(self._topic, 0, sha256.encode(), data, []))
        if sha256 != self._champion:
            messages.append(Message(self._topic, 0, CHAMPION_KEY, sha256.encode(), []))
        return messages

    def written(self, messages: Sequence[Message]) -> None:
        """Those messages are committed."""
        for message in messages:
            if message.topic == self._topic and message.key is not None:
                if message.key == CHAMPION_KEY:
                    self._champion = (message.value or b"").decode()
                    self._shelf.saw(self._champion)
                else:
                    self._published.add(message.key.decode())
