"""Shares models through Kafka: a compacted topic keyed by sha256, and one key for the champion of each group.

A model is written in the transaction of the first adoption that names it, so a reader of an adoption finds the model.
A champion's record names the model that any instance adopted last; the last record of the topic applies to all
instances.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
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
    """The storage of models on this machine.

    Attributes:
        groups: the groups of series that have models here; champions of others are ignored.
    """

    groups: Collection[str]

    def read(self, sha256: str) -> bytes | None:
        """Returns the bytes of a model, or None without it."""

    def add(self, sha256: str, data: bytes) -> None:
        """Verifies and stores a model."""

    def champion(self, group: str) -> str | None:
        """Returns the champion of a group on this machine; None without one, or without such a group."""

    def promote(self, sha256: str, group: str) -> None:
        """Makes a stored model the champion of a group."""

    def seen(self, group: str) -> str:
        """Returns the last champion of the topic passed to `set_seen`, "" for none."""

    def set_seen(self, sha256: str, group: str) -> None:
        """Stores the topic's champion durably."""


class RegistryShelf:
    """The models of `service.registry.models.Registry`.

    Args:
        registry: the registry; `of_group` of it has the decisions of a group.
        groups: the groups that are configured.
    """

    def __init__(self, registry: Any, groups: Collection[str] = ("",)) -> None:
        self._registry, self.groups = registry, groups

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

    def champion(self, group: str) -> str | None:
        """Returns the champion of a group on this machine."""
        found: str | None = self._registry.of_group(group).champion()
        return found

    def promote(self, sha256: str, group: str) -> None:
        """Makes a stored model the champion of a group."""
        self._registry.of_group(group).promote(sha256, reason="adopted by another instance")

    def seen(self, group: str) -> str:
        """Returns the last champion of the topic passed to `set_seen`, "" for none."""
        path = self._seen_path(group)
        return path.read_text().strip() if path.exists() else ""

    def set_seen(self, sha256: str, group: str) -> None:
        """Stores the topic's champion durably."""
        path = self._seen_path(group)
        path.with_suffix(".tmp").write_text(sha256 + "\n")
        path.with_suffix(".tmp").replace(path)

    def _seen_path(self, group: str) -> Path:
        folder: Path = self._registry.of_group(group).decisions_folder
        return folder / _SEEN_FILE


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
        self._champions: dict[str, str] = {}  # by group, of the last record: read, or written by this process
        self._unapplied: dict[str, str] = {}  # by group, read since the last `apply`
        self._read, self._due = 0, 0.0
        self._own_end: int | None = 0  # behind the last champion that this process wrote; None: to be asked for

    @property
    def published(self) -> frozenset[str]:
        """The models in the topic, as far as read."""
        return frozenset(self._published)

    def read(self, reader: Reader) -> None:
        """Copies new models of the topic to the shelf, including those of open transactions if they commit."""
        source = TopicPartition(self._topic, 0)
        end = reader.end(source)
        self._own_end = end if self._own_end is None else self._own_end
        self._read_to(reader, source, end)

    def read_new(self, reader: Reader) -> None:
        """Does the same periodically, without waiting for transactions of other processes."""
        if time.monotonic() >= self._due:
            source = TopicPartition(self._topic, 0)
            if self._own_end is None:
                self._own_end = reader.end(source)
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
            if (group := _group_of(record.key)) is not None:
                self._unapplied[group] = record.value.decode()
            else:
                sha256 = record.key.decode()
                self._published.add(sha256)
                if self._shelf.read(sha256) is None:
                    self._held[sha256] = record.value

    def apply(self) -> None:
        """Stores models and champion on the shelf.

        A champion of the topic that was stored before is ignored: a model promoted on this machine since then is newer,
        and its adoption is still to be written. So are all champions until the last one that this process wrote has
        been read: brokers may show a committed transaction a moment later, and what is before it in the topic has been
        replaced by it.
        """
        for sha256, data in self._held.items():
            self._shelf.add(sha256, data)
        self._held.clear()
        if self._own_end is None or self._read < self._own_end:
            return
        self._champions |= self._unapplied
        self._unapplied.clear()
        for group, champion in self._champions.items():
            if group in self._shelf.groups:
                self._apply_champion(champion, group)

    def _apply_champion(self, champion: str, group: str) -> None:
        shelf = self._shelf
        if not champion or champion == shelf.seen(group):
            return
        if shelf.champion(group) != champion:
            if shelf.read(champion) is None:
                _log.warning("champion named by the models topic is missing from it", model=champion[:12])
                return
            shelf.promote(champion, group)
        shelf.set_seen(champion, group)

    def messages(self, sha256: str, group: str = "") -> list[Message]:
        """Returns the records to write with an adoption: the model if the topic lacks it, the champion if changed."""
        messages = []
        if sha256 not in self._published:
            data = self._shelf.read(sha256)
            if data is not None:
                messages.append(Message(self._topic, 0, sha256.encode(), data, []))
        if sha256 != self._champions.get(group, ""):
            messages.append(Message(self._topic, 0, _champion_key(group), sha256.encode(), []))
        return messages

    def written(self, messages: Sequence[Message]) -> None:
        """Called after these records are committed."""
        for message in messages:
            if message.topic == self._topic and message.key is not None:
                if (group := _group_of(message.key)) is not None:
                    self._champions[group] = champion = (message.value or b"").decode()
                    self._shelf.set_seen(champion, group)
                    self._own_end = None
                else:
                    self._published.add(message.key.decode())


def _champion_key(group: str) -> bytes:
    """Returns the key of the champion of a group."""
    return CHAMPION_KEY + (b"/" + group.encode() if group else b"")


def _group_of(key: bytes) -> str | None:
    """Returns the group of which a record has the champion; None for the key of a model."""
    name, _, group = key.partition(b"/")
    return group.decode() if name == CHAMPION_KEY else None
