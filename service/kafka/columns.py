"""Converts the client's records to columns, and Kafka partitions to names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kafka.structs import TopicPartition

from service.ports import Records


def name_of(source: TopicPartition) -> str:
    """Returns the engine's name of a partition."""
    return f"{source.topic}-{source.partition}"


def columns(partition: str, batch: Sequence[Any]) -> Records:
    """Converts the library's records to columns."""
    values = [record.value for record in batch]
    headers = [tuple(record.headers) for record in batch] if any(record.headers for record in batch) else None
    return Records(
        partition,
        [record.offset for record in batch],
        batch[-1].offset + 1,
        [value or b"" for value in values],
        [record.key for record in batch],
        headers,
        [record.timestamp for record in batch],
        tombstones=without(values),
    )


def without(values: Sequence[bytes | None]) -> frozenset[int]:
    """Returns the indices of records without a value; an empty value is a value."""
    return frozenset(at for at, value in enumerate(values) if value is None) if None in values else frozenset()


def in_turns(
    polled: Mapping[TopicPartition, Sequence[Any]], limit: int
) -> Iterator[tuple[TopicPartition, Sequence[Any]]]:
    """Yields polled records in batches of at most `limit`, alternating between the partitions."""
    for at in range(0, max(map(len, polled.values()), default=0), limit):
        for source, batch in polled.items():
            if at < len(batch):
                yield source, batch[at : at + limit]


def before(records: Records, end: int) -> Records:
    """Returns the records before an offset."""
    count = bisect_left(records.positions, end)
    return Records(
        records.partition,
        records.positions[:count],
        records.positions[count - 1] + 1 if count else records.positions[0],
        records.values[:count],
        None if records.keys is None else records.keys[:count],
        None if records.headers is None else records.headers[:count],
        None if records.timestamps_ms is None else records.timestamps_ms[:count],
        {at: reason for at, reason in records.problems.items() if at < count},
        frozenset(at for at in records.tombstones if at < count),
    )
