"""Positions as offsets of the source's group, committed in the transaction of the outputs. See `runs`."""

from __future__ import annotations

from collections.abc import Sequence

from service.kafka.records import Origin
from service.kafka.runs import Runs, mark_of
from service.kafka.session import KafkaSession
from service.kafka.sink import Commit
from service.kafka.source import KafkaSource
from service.ports import OutputIdentity, Unit
from service.sources.manifest import FileEntry


class GroupPositions:
    """`service.kafka.sink.Positions` of a source on the same cluster.

    Args:
        session: the session of the source.
        source: the source, whose group is used.
    """

    topics: Sequence[str] = ()

    def __init__(self, session: KafkaSession, source: KafkaSource) -> None:
        self._session, self._settings, self._source = session, session.settings, source
        self._committed: dict[str, int | None] = {}  # cached offsets; None: nothing committed yet
        self._runs = Runs(self._settings, session.history, session.counts, session.forecasts)

    def identity(self, cluster: str) -> OutputIdentity:
        """Returns the identity, composed of cluster, group and topic; such an output cannot be copied."""
        group, topic = self._settings.group_name, self._settings.forecasts
        place = f'topic "{topic}" of group "{group}" in Kafka cluster {cluster}'
        return OutputIdentity(f"kafka/{cluster}/{group}/{topic}" if cluster else "", place=place)

    def open(self) -> None:
        """Does nothing: offsets are read individually."""

    def origin(self, partition: str) -> Origin | None:
        """Returns the partition of the topic, or None where it is no longer assigned to this process."""
        place = self._source.place_of(partition)
        return None if place is None else Origin(place.topic, place.partition)

    def committed(self, partition: str) -> int | None:
        """Returns the committed offset of the group; waits for a pending transaction that changes it."""
        if partition not in self._committed:
            settings, place = self._settings, self._source.place_of(partition)
            if place is None:
                raise KeyError(partition)
            with self._session.guarded("committed"):
                limit = round((settings.transaction_timeout + settings.request_timeout) * 1000)
                found = self._source.consumer.committed(place, limit)
            offset, mark = (None, "") if found is None else found
            self._runs.enter(Origin(place.topic, place.partition), offset, mark)
            self._committed[partition] = offset
        return self._committed[partition]

    def files(self, partition: str) -> Sequence[FileEntry]:  # noqa: ARG002 - an offset needs no entries
        """Returns no entries."""
        return ()

    def run(self, partition: str) -> int:
        """Returns the run of the committed offset, or the new run."""
        return self._runs.of(partition)

    def outcomes(self, partitions: Sequence[str]) -> None:
        """Returns None: topics hold forecasts and rejects, but no record of late events."""

    def forget(self) -> None:
        """Discards the cached offsets: other processes may have advanced a partition that is assigned again."""
        self._committed.clear()

    def commit(
        self,
        unit: Unit,
        origin: Origin,
        files: Sequence[FileEntry],  # noqa: ARG002 - this source has none
        removed: Sequence[tuple[int, str]],  # noqa: ARG002 - as above
    ) -> Commit:
        """Returns the offset with its mark, and at the first commit of a run also the record of the run."""
        place = self._source.place_of(unit.partition)
        messages = self._runs.messages(origin, unit.position)
        offsets = {} if place is None else {place: unit.next_position}
        return Commit(
            messages, offsets, self._source.membership, mark_of(self._runs.of(unit.partition), unit.next_position)
        )

    def recorded(self, unit: Unit) -> None:
        """Sets the offset to that of the unit."""
        self._runs.recorded(unit.partition)
        self._committed[unit.partition] = unit.next_position
