"""Runs: the outputs of a partition that belong together, and the handling of a lost committed offset.

Every offset that the daemon commits has a mark with the run and the offset itself. A program that resets offsets
writes no mark, and a group that was empty for too long has no offset at all, so both are detected. The record of a run
is written to the topic of adoptions in the first transaction of the run.

    valid mark, no output at or beyond it    the run continues
    no mark, no output at all                the first run begins, at the oldest record or at the offset that was set
    no mark, no output at or beyond it       the run continues there: another program has reset the offset
    else                                     stop, or a new run, whose records have its number
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import structlog

from service.config.kafka import KafkaConfig
from service.errors import SourceGoneError
from service.kafka.history import TopicHistory
from service.kafka.outputs import newest_output
from service.kafka.records import Message, Origin, Past, run_message
from service.schemas.forecast_reader import ForecastReader

_log = structlog.get_logger(__name__)

_MARK: Final = re.compile(r"forecaster run (\d+) to (\d+)")


def mark_of(run: int, offset: int) -> str:
    """Returns the mark committed with an offset."""
    return f"forecaster run {run} to {offset}"


def marked_run(mark: str, offset: int) -> int | None:
    """Returns the run of a committed offset, or None where its mark has another format or belongs to another offset."""
    found = _MARK.fullmatch(mark.rstrip("\0"))  # confluent-kafka includes the terminator of the text
    return int(found[1]) if found and int(found[2]) == offset else None


class Runs:
    """The present run of each partition of this process.

    Args:
        settings: of the session.
        history: reads the topics.
        counts: number of partitions of each output topic.
        reader: of forecasts.
    """

    def __init__(
        self, settings: KafkaConfig, history: TopicHistory, counts: Mapping[str, int], reader: ForecastReader
    ) -> None:
        self._settings, self._history, self._counts, self._reader = settings, history, counts, reader
        self._runs: dict[str, int] = {}
        self._unrecorded: set[str] = set()  # partitions whose run has no record yet

    def of(self, partition: str) -> int:
        """Returns the number of the run, from 1 on."""
        return self._runs.get(partition, 1)

    def enter(self, source: Origin, offset: int | None, mark: str) -> None:
        """Determines the run of a partition.

        Args:
            source: the partition.
            offset, mark: as committed in the group; None and "" without an offset.

        Raises:
            SourceGoneError: the offset is lost, and `kafka.on_offsets_gone` is "stop".
        """
        name = str(source)
        self._unrecorded.discard(name)
        past = self._history.past(source, self._counts[self._settings.adoptions])
        run = past.newest_run
        if offset is None or marked_run(mark, offset) != run or past.reach >= offset:
            if not past or (not past.runs and offset is not None and past.reach < offset):  # releases without marks
                self._unrecorded.add(name)
            elif beyond := self._beyond(source, past, offset):
                if self._settings.on_offsets_gone == "stop":
                    raise self._gone(source, offset, past, beyond)
                run += 1
                self._unrecorded.add(name)
                _log.warning("committed offset was reset or removed, new run", partition=name, run=run, offset=offset)
            else:
                _log.warning("committed offset was set by another program", partition=name, run=run, offset=offset)
        self._runs[name] = run

    def _beyond(self, source: Origin, past: Past, offset: int | None) -> int:
        """Returns 1 + the greatest offset known to be processed, 0 where none is at or beyond `offset`."""
        run = past.newest_run
        found = newest_output(self._history, self._settings, self._counts, source, run, offset, self._reader)
        known = max(past.reach, -1 if found is None else found)
        return known + 1 if offset is None or known >= offset else 0

    def _gone(self, source: Origin, offset: int | None, past: Past, beyond: int) -> SourceGoneError:
        settings, run = self._settings, past.newest_run
        got = "no committed offset" if offset is None else f"the committed offset {offset}, set by another program"
        start = "the oldest record" if offset is None else f"offset {offset}"
        return SourceGoneError(
            f'{source}: the group "{settings.group_name}" has {got}, but run {run} has forecast events up to offset '
            f"{beyond - 1} at least; continuing would forecast them twice. End all processes of the group and set the "
            f"offset to {beyond} (kafka-consumer-groups.sh --bootstrap-server {settings.bootstrap[0]} --group "
            f"{settings.group_name} --topic {source.topic}:{source.partition} --reset-offsets --to-offset {beyond} "
            f'--execute), or set kafka.on_offsets_gone = "new-run" to forecast all events from {start} on again, with '
            f"empty state, as run {run + 1}"
        )

    def messages(self, source: Origin, position: int) -> list[Message]:
        """Returns the record of the run for its first transaction, else nothing; `position`: where the run begins."""
        if str(source) not in self._unrecorded:
            return []
        topic = self._settings.adoptions
        return [run_message(self.of(str(source)), source, position, topic, self._counts[topic])]

    def recorded(self, partition: str) -> None:
        """Called after the transaction is committed."""
        self._unrecorded.discard(partition)
