"""Shares snapshots through Kafka, so that another machine restores a partition without recomputing its state.

    <app>.snapshot-chunks   compacted; snapshots in chunks, keyed by partition, slot and number
    <app>.snapshots         compacted; per partition the manifest of the newest snapshot: position, checksum, offsets

A partition has two slots, used alternately: while one is overwritten, the manifest refers to the other, so a writer
that fails half-way loses nothing. A reader verifies the checksum. Snapshots only shorten a restart: without one, the
same state is computed from the input.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from kafka import KafkaProducer
from kafka.structs import TopicPartition

from service.config.kafka import KafkaConfig
from service.errors import SourceGoneError, TransportError
from service.kafka.connection import connection
from service.kafka.construct import construct
from service.kafka.reader import Reader

_SLOTS: Final = 2
_SEND_SECONDS: Final = 60.0


class _Manifest(msgspec.Struct, frozen=True):
    """The location of a snapshot. `first` and `last` are offsets of its chunks on `chunk_partition`."""

    position: int
    sha256: str
    size: int
    slot: int
    chunks: int
    chunk_partition: int
    first: int
    last: int


class KafkaSnapshots:
    """Shares snapshots through two topics; see `service.snapshots.sharing.Exchange`. Opens its clients for each call.

    Args:
        settings: of the transport.
    """

    def __init__(self, settings: KafkaConfig) -> None:
        self._settings = settings
        self._asked: dict[str, _Manifest] = {}  # of the last `newest`, for the `fetch` that follows

    def offer(self, partition: str, position: int, path: Path) -> None:
        """Writes a snapshot's chunks, and its manifest after all of them are acknowledged.

        Raises:
            TransportError, KafkaError, OSError: not shared; the previous snapshot remains shared.
        """
        settings, data = self._settings, path.read_bytes()
        size = max(settings.max_request_bytes - 10_000, 1000)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        before = self._manifest(partition)
        slot = 0 if before is None else (before.slot + 1) % _SLOTS
        producer = construct(
            KafkaProducer, **connection(settings), acks="all", max_request_size=max(settings.max_request_bytes, 1 << 20)
        )
        try:
            count = len(producer.partitions_for(settings.snapshot_chunks) or ())
            if not count:
                msg = (
                    f'topic "{settings.snapshot_chunks}": not found; `forecaster topics create` creates missing topics'
                )
                raise TransportError(msg)
            where = int.from_bytes(hashlib.sha256(partition.encode()).digest()[:4]) % count
            offsets = []
            for number, piece in enumerate(pieces):  # one at a time: a snapshot must not fill the client's memory
                sent = producer.send(settings.snapshot_chunks, piece, _key(partition, slot, number), partition=where)
                offsets.append(int(sent.get(_SEND_SECONDS).offset))
            sha256 = hashlib.sha256(data).hexdigest()
            manifest = _Manifest(position, sha256, len(data), slot, len(pieces), where, offsets[0], offsets[-1])
            value = orjson.dumps(msgspec.structs.asdict(manifest))
            producer.send(settings.snapshots, value, partition.encode(), partition=0).get(_SEND_SECONDS)
        finally:
            producer.close(5)

    def newest(self, partition: str) -> int | None:
        """Returns the position of the newest shared snapshot, or None."""
        manifest = self._manifest(partition)
        if manifest is None:
            self._asked.pop(partition, None)
            return None
        self._asked[partition] = manifest
        return manifest.position

    def fetch(self, partition: str) -> bytes | None:
        """Returns the newest shared snapshot of a partition, complete and verified; None without any.

        Raises:
            SourceGoneError: it is the newest one, and its chunks are lost or damaged; asking again does not help.
            TransportError, KafkaError: it cannot be read now, or a newer one has replaced it.
        """
        manifest = self._asked.pop(partition, None) or self._manifest(partition)
        if manifest is None:
            return None
        wanted = {_key(partition, manifest.slot, number): number for number in range(manifest.chunks)}
        found: dict[int, bytes] = {}
        reader = Reader(self._settings)
        try:
            source = TopicPartition(self._settings.snapshot_chunks, manifest.chunk_partition)
            for batch in reader.read(source, manifest.first, manifest.last + 1, 100):
                found |= {wanted[record.key]: record.value for record in batch if record.key in wanted}
        except SourceGoneError:  # what is left of it has another checksum
            found.clear()
        finally:
            reader.close()
        data = b"".join(found[number] for number in sorted(found))
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            msg = (
                f"shared snapshot of {partition} at {manifest.position}: got {len(data)} bytes with another checksum, "
                f"expected {manifest.size}"
            )
            if self._manifest(partition) == manifest:
                msg += "; its chunks are lost or damaged, and the next upload replaces it"
                raise SourceGoneError(msg)
            msg += "; a newer snapshot overwrote it"
            raise TransportError(msg)
        return data

    def _manifest(self, partition: str) -> _Manifest | None:
        """Returns the newest manifest of a partition, or None."""
        reader = Reader(self._settings)
        try:
            records: list[Any] = reader.whole(TopicPartition(self._settings.snapshots, 0))
        finally:
            reader.close()
        mine = [record.value for record in records if record.key == partition.encode() and record.value is not None]
        return msgspec.json.decode(mine[-1], type=_Manifest) if mine else None


def _key(partition: str, slot: int, number: int) -> bytes:
    return f"{partition}/{slot}/{number}".encode()
