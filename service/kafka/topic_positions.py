"""Positions in a compacted topic, for sources without offsets on this cluster: files, pipes, pushed events.

    key ["<partition>"]                       position, and the counts of all records before it
    key ["<partition>", <base>, "<path>"]     a `FileEntry`; removed by a record without a value

A transaction writes the changes. All records are on partition 0, in the order in which they were written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import orjson
from kafka.structs import TopicPartition

from service.errors import SinkFormatError, SourceGoneError
from service.kafka.records import Message, Origin, Past, run_message
from service.kafka.session import KafkaSession
from service.kafka.sink import Commit
from service.ports import Outcomes, OutputIdentity, Unit
from service.sources.manifest import FileEntry

_DETAIL: Final = 500  # kept characters of the first reject's detail


class PositionRecord(msgspec.Struct, frozen=True):
    """Position of a partition, and the counts of all records before it (see `service.ports.Outcomes`)."""

    position: int
    events: int = 0
    late: int = 0
    duplicates: int = 0
    rejects: dict[str, int] = msgspec.field(default_factory=dict)
    first: str = ""

    def after(self, unit: Unit) -> PositionRecord:
        """Returns the position after a unit, with its outcomes added; late events are not counted as rejects."""
        made = unit.outcomes
        reasons = Counter(self.rejects) + Counter(one.reason for one in unit.rejects if one.reason != "late")
        first = self.first or next((one.detail[:_DETAIL] for one in unit.rejects), "")
        return PositionRecord(
            unit.next_position,
            self.events + made.events,
            self.late + made.late,
            self.duplicates + made.duplicates,
            dict(reasons),
            first,
        )


class _Key(msgspec.Struct, frozen=True, array_like=True):
    partition: str
    base: int | None = None  # of an entry; negative in a history
    path: str = ""


_decode_key: Final[Any] = msgspec.json.Decoder(_Key).decode
_decode_position: Final[Any] = msgspec.json.Decoder(PositionRecord).decode
_decode_entry: Final[Any] = msgspec.json.Decoder(FileEntry).decode


def read_positions(
    records: Sequence[tuple[bytes | None, bytes | None]], topic: str
) -> tuple[dict[str, PositionRecord], dict[str, dict[tuple[int, str], FileEntry]]]:
    """Parses the contents of the topic by partition.

    Args:
        records: keys and values, in the order of the topic.
        topic: for the error message.

    Returns:
        The position of every partition, and its entries by base and path.

    Raises:
        SinkFormatError: a record cannot be parsed.
    """
    positions: dict[str, PositionRecord] = {}
    entries: dict[str, dict[tuple[int, str], FileEntry]] = {}
    for key, value in records:
        try:
            found: _Key = _decode_key(key or b"")
            mine = entries.setdefault(found.partition, {})
            if found.base is None:
                positions[found.partition] = _decode_position(value or b"")
            elif value is None:
                mine.pop((found.base, found.path), None)
            else:
                mine[found.base, found.path] = _decode_entry(value)
        except (msgspec.MsgspecError, ValueError) as error:
            msg = f'topic "{topic}": got the record {key!r} = {value!r}, expected a position of this program ({error})'
            raise SinkFormatError(msg) from error
    return positions, entries


class TopicPositions:
    """`service.kafka.sink.Positions` of a source that is not on this cluster.

    Args:
        session: of the cluster.
    """

    def __init__(self, session: KafkaSession) -> None:
        self._session, self._settings = session, session.settings
        self._topic = self._settings.positions
        self._counts = session.counts
        self._positions: dict[str, PositionRecord] = {}
        self._entries: dict[str, dict[tuple[int, str], FileEntry]] = {}
        self._checked: set[str] = set()

    @property
    def topics(self) -> Sequence[str]:
        """The topic of positions."""
        return (self._topic,)

    def identity(self, cluster: str) -> OutputIdentity:
        """Returns the identity, composed of cluster and both topics."""
        forecasts = self._settings.forecasts
        place = f'topic "{forecasts}" with positions in topic "{self._topic}" in Kafka cluster {cluster}'
        return OutputIdentity(f"kafka/{cluster}/{self._topic}/{forecasts}" if cluster else "", place=place)

    def open(self) -> None:
        """Reads the complete topic.

        Raises:
            SinkFormatError: a record cannot be parsed.
        """
        with self._session.guarded("positions"):
            records = self._session.history.reader.whole(TopicPartition(self._topic, 0))
            self._positions, self._entries = read_positions([(one.key, one.value) for one in records], self._topic)

    def origin(self, partition: str) -> Origin:
        """Returns the partition by its name."""
        return Origin(partition, 0, kafka=False)

    def committed(self, partition: str) -> int | None:
        """Returns the position in the topic.

        Raises:
            SourceGoneError: it contradicts the topic of adoptions.
        """
        found = self._positions.get(partition)
        position = None if found is None else found.position
        if partition not in self._checked:
            past = self._session.history.past(self.origin(partition), self._counts[self._settings.adoptions])
            if wrong := _contradiction(past, position):
                msg = (
                    f'"{partition}": {wrong}; continuing would forecast events twice or with another state. Restore '
                    f'the topics "{self._topic}" and "{self._settings.adoptions}" as of the same time, or start with '
                    "another kafka.app and state.data_dir"
                )
                raise SourceGoneError(msg)
            self._checked.add(partition)
        return position

    def files(self, partition: str) -> Sequence[FileEntry]:
        """Returns the entries as read at the start."""
        found = self._entries.get(partition, {})
        return [found[key] for key in sorted(found)]

    def run(self, partition: str) -> int:  # noqa: ARG002 - a lost position never starts a new run
        """Returns 1, the only run."""
        return 1

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """Returns the sums of the counts stored with the positions."""
        found = [self._positions[name] for name in partitions if name in self._positions]
        rejects: Counter[str] = Counter()
        for one in found:
            rejects.update(one.rejects)
        return Outcomes(
            sum(one.events for one in found),
            sum(one.late for one in found),
            sum(one.duplicates for one in found),
            dict(rejects),
            next((one.first for one in found if one.first), ""),
        )

    def forget(self) -> None:
        """Does nothing: no other process changes the positions."""

    def commit(
        self, unit: Unit, origin: Origin, files: Sequence[FileEntry], removed: Sequence[tuple[int, str]]
    ) -> Commit:
        """Returns the position and the changed entries; at the first commit also the record of the begin of the run."""
        name = unit.partition
        messages = position_messages(self._topic, self._after(unit), unit, files, removed)
        if name not in self._positions:
            adoptions = self._settings.adoptions
            messages.append(run_message(1, origin, unit.position, adoptions, self._counts[adoptions]))
        return Commit(messages, {}, None, "")

    def recorded(self, unit: Unit) -> None:
        """Sets the position to that of the unit."""
        self._positions[unit.partition] = self._after(unit)

    def _after(self, unit: Unit) -> PositionRecord:
        return self._positions.get(unit.partition, PositionRecord(0)).after(unit)


def position_messages(
    topic: str, after: PositionRecord, unit: Unit, files: Sequence[FileEntry], removed: Sequence[tuple[int, str]]
) -> list[Message]:
    """Returns the records of a position: tombstones of removed entries, changed entries, and the position.

    Args:
        topic: of positions.
        after: the position after the unit.
        unit: gives the partition.
        files, removed: see `service.sources.Source.changes`.
    """
    name = unit.partition
    messages = [Message(topic, 0, _key(name, *key), None, []) for key in removed]
    messages += [Message(topic, 0, _key(name, *entry.key), orjson.dumps(entry), []) for entry in files]
    return [*messages, Message(topic, 0, _key(name), msgspec.json.encode(after), [])]


def _key(*parts: str | int) -> bytes:
    return orjson.dumps(parts)


def _contradiction(past: Past, position: int | None) -> str:
    """Returns how the topic of adoptions contradicts a position, "" if it does not."""
    if position is None:
        return "got no position, but the topic of adoptions shows that events were forecast" if past else ""
    if not past:
        return f"got the position {position}, but the topic of adoptions shows no event that was forecast"
    places = [adoption.position for adoption in past.adoptions(1)]
    adopted = max(places, default=position - 1)  # positions of the history are negative
    if adopted >= position or past.runs.get(1, position) > position:
        return f"got the position {position}, but the topic of adoptions has later positions"
    return ""
