"""Positions as offsets of the source's own group, committed in the transaction of the outputs. See `runs`."""

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
        session: that of the source.
        source: whose group it is.
    """

    topics: Sequence[str] = ()

    def __init__(self, session: KafkaSession, source: KafkaSource) -> None:
        self._session, self._settings, self._source = session, session.settings, source
        self._committed: dict[str, int | None] = {}  # as far as they were asked for; None: none yet
        self._runs = Runs(self._settings, session.history, session.counts)

    def identity(self, cluster: str) -> OutputIdentity:
        """Positions are those of a group, of what stands in a topic, of one cluster; nobody copies that."""
        group, topic = self._settings.group_name, self._settings.forecasts
        place = f'topic "{topic}" of group "{group}" in Kafka cluster {cluster}'
        return OutputIdentity(f"kafka/{cluster}/{group}/{topic}" if cluster else "", place=place)

    def open(self) -> None:
        """Nothing: offsets are asked for one by one."""

    def origin(self, partition: str) -> Origin | None:
        """The partition of the topic, while it is ours."""
        place = self._source.place_of(partition)
        return None if place is None else Origin(place.topic, place.partition)

    def committed(self, partition: str) -> int | None:
        """The committed offset of the group; waits while a transaction that moves it is being ended."""
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

    def files(self, partition: str) -> Sequence[FileEntry]:  # noqa: ARG002 - an offset says all
        """None."""
        return ()

    def run(self, partition: str) -> int:
        """The run that the committed offset belongs to, or the one that begins."""
        return self._runs.of(partition)

    def outcomes(self, partitions: Sequence[str]) -> None:
        """Not kept: topics hold forecasts and rejects, and late events leave nothing there."""

    def forget(self) -> None:
        """A partition that comes back may have been moved on by others."""
        self._committed.clear()

    def commit(
        self,
        unit: Unit,
        origin: Origin,
        files: Sequence[FileEntry],  # noqa: ARG002 - this source has none
        removed: Sequence[tuple[int, str]],  # noqa: ARG002 - as above
    ) -> Commit:
        """The offset with its mark, and the record of the run where it is the first of its run."""
        place = self._source.place_of(unit.partition)
        messages = self._runs.messages(origin, unit.position)
        offsets = {} if place is None else {place: unit.next_position}
        return Commit(
            messages, offsets, self._source.membership, mark_of(self._runs.of(unit.partition), unit.next_position)
        )

    def recorded(self, unit: Unit) -> None:
        """The offset is that of the unit now."""
        self._runs.recorded(unit.partition)
        self._committed[unit.partition] = unit.next_position
