"""Runs: the outputs of a partition that belong together, and what becomes of them when its committed offset is gone.

Every offset that the daemon commits carries a mark with the run and the offset itself. A program that resets offsets
writes none, and a group that was empty for too long has no offset at all, so both are noticed. The record of a run goes
into the topic of adoptions with the first transaction of the run.

    mark is ours, nothing beyond it    the run goes on
    no mark, nothing was answered      the first run begins, at the oldest record or where somebody has set it
    no mark, nothing at or beyond it   the run goes on there: somebody has put the offset back
    else                               stop, or a new run, whose records carry its number
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import structlog

from service.config.kafka import KafkaConfig
from service.errors import SourceGoneError
from service.kafka.history import History
from service.kafka.outputs import newest_output
from service.kafka.records import Message, Origin, Past, run_message

_log = structlog.get_logger(__name__)

_MARK: Final = re.compile(r"forecaster run (\d+) to (\d+)")


def mark_of(run: int, offset: int) -> str:
    """What is committed along with an offset."""
    return f"forecaster run {run} to {offset}"


def marked_run(mark: str, offset: int) -> int | None:
    """The run of a committed offset, or None where its mark is not one of ours or belongs to another offset."""
    found = _MARK.fullmatch(mark.rstrip("\0"))  # confluent-kafka sends the end of the text along
    return int(found[1]) if found and int(found[2]) == offset else None


class Runs:
    """The run that each partition of this process is in.

    Args:
        settings: of the session.
        history: what the topics hold.
        counts: partitions of each topic of outputs.
    """

    def __init__(self, settings: KafkaConfig, history: History, counts: Mapping[str, int]) -> None:
        self._settings, self._history, self._counts = settings, history, counts
        self._runs: dict[str, int] = {}
        self._unrecorded: set[str] = set()  # partitions whose run has no record yet

    def of(self, partition: str) -> int:
        """The number of the run, from 1 on."""
        return self._runs.get(partition, 1)

    def enter(self, source: Origin, offset: int | None, mark: str) -> None:
        """Finds out which run a partition is in.

        Args:
            source: the partition.
            offset, mark: as the group has them; none and "" where it has no offset.

        Raises:
            SourceGoneError: the offset is gone, and the configuration says stop.
        """
        name = str(source)
        self._unrecorded.discard(name)
        past = self._history.past(source, self._counts[self._settings.adoptions])
        run = past.newest_run
        if offset is None or marked_run(mark, offset) != run or past.reach >= offset:
            if not past or (not past.runs and offset is not None and past.reach < offset):  # before there were marks
                self._unrecorded.add(name)
            elif beyond := self._beyond(source, past, offset):
                if self._settings.on_offsets_gone == "stop":
                    raise self._gone(source, offset, past, beyond)
                run += 1
                self._unrecorded.add(name)
                _log.warning("committed offset is gone, new run", partition=name, run=run, offset=offset)
            else:
                _log.warning("committed offset was set by another program", partition=name, run=run, offset=offset)
        self._runs[name] = run

    def _beyond(self, source: Origin, past: Past, offset: int | None) -> int:
        """1 + the greatest offset that is known to be answered, 0 where none is at or beyond `offset`."""
        run = past.newest_run
        found = newest_output(self._history, self._settings, self._counts, source, run, offset)
        known = max(past.reach, -1 if found is None else found)
        return known + 1 if offset is None or known >= offset else 0

    def _gone(self, source: Origin, offset: int | None, past: Past, beyond: int) -> SourceGoneError:
        settings, run = self._settings, past.newest_run
        got = "no committed offset" if offset is None else f"the committed offset {offset}, set by another program"
        start = "its oldest record" if offset is None else f"offset {offset}"
        return SourceGoneError(
            f'{source}: the group "{settings.group_name}" has {got}, but run {run} has answered events up to offset '
            f"{beyond - 1} at least; going on would answer them twice. End all processes of the group and set the "
            f"offset to {beyond} (kafka-consumer-groups.sh --bootstrap-server {settings.bootstrap[0]} --group "
            f"{settings.group_name} --topic {source.topic}:{source.partition} --reset-offsets --to-offset {beyond} "
            f'--execute), or set kafka.on_offsets_gone = "new-run" to answer everything from {start} on again, with '
            f"empty state, as run {run + 1}"
        )

    def messages(self, source: Origin, position: int) -> list[Message]:
        """The record of the run, where the next transaction is its first; `position`: where that begins."""
        if str(source) not in self._unrecorded:
            return []
        topic = self._settings.adoptions
        return [run_message(self.of(str(source)), source, position, topic, self._counts[topic])]

    def recorded(self, partition: str) -> None:
        """The transaction is committed."""
        self._unrecorded.discard(partition)
