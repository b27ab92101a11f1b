"""The default transport: files and standard input in, one SQLite file (or standard output) out. No broker.

    sources (FileSource per partition) --poll--> engine --publish--> sink (SQLite, or lines + positions)

The position of every source is committed with the forecasts, so every event is forecast exactly once
(SQLite) or at least once (standard output), whatever happens to the process in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from service.config.sections import Config
from service.folder_lock import FolderLock
from service.ports import Adoption, Encoded, Outcomes, OutputIdentity, Records, Unit, models_from
from service.sinks.sqlite_sink import SqliteSink
from service.sinks.stdout_sink import StdoutSink
from service.sources.file_source import FileSource
from service.sources.manifest import FileEntry
from service.sources.pipes import check_twice, kind_of, spool_name
from service.sources.push_log import PushLog
from service.sources.push_source import PushSource
from service.sources.stdin_spool import Spool

STDIN_PARTITION = "stdin"
GRACE_SECONDS = 5.0  # a writer that was told to go on elsewhere has finished its line by then
_LOOK_SECONDS = 0.05  # between two looks at idle files: a person sees no delay, a laptop stays asleep


class Sink(Protocol):
    """Where units go, and what was committed there."""

    @property
    def identity(self) -> OutputIdentity:
        """By which it is told from others, once it is open."""

    def open(self) -> None:
        """Takes the exclusive lock and gets ready."""

    def committed(self, partition: str) -> int | None:
        """The committed source position, or None."""

    def adoptions(self, partition: str) -> list[Adoption]:
        """All committed adoptions, by rising position."""

    def adopting(self) -> list[str]:
        """Partitions with adoptions, those that are not read any more too."""

    def files(self, partition: str) -> list[FileEntry]:
        """The input files as they stood at the committed position."""

    def outcomes(self, partitions: Sequence[str]) -> Outcomes:
        """What became of all committed records of these partitions."""

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Commits the unit, and with it what has changed of the entries of input files."""

    def close(self) -> None:
        """Releases everything."""


class Source(Protocol):
    """One partition: `FileSource` or `PushSource`."""

    partition: str

    @property
    def position(self) -> int:
        """Everything before it was handed out by `read`."""

    def open(self, entries: Sequence[FileEntry], committed: int | None) -> None:
        """Gets ready to read from the committed position on."""

    def read(self, limit: int) -> Records | None:
        """At most `limit` records; None when there is nothing to say now."""

    def replay(self, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) once more."""

    def earliest(self) -> int:
        """The oldest position that is held."""

    def changes(self, position: int) -> tuple[list[FileEntry], list[tuple[int, str]]]:
        """Entries of files to be written down with the committed `position`, and keys of those to be removed."""

    def written(self, position: int) -> None:
        """What `changes` gave for the position is on disk."""

    def release(self, position: int) -> None:
        """Nothing before it will be read again."""

    def lag(self) -> int:
        """Bytes between `position` and the end."""

    def finished(self) -> bool:
        """Whether everything was handed out and nothing more will come."""

    def close(self) -> None:
        """Releases everything."""


class EmbeddedTransport:
    """`service.ports.Transport` over files. See there for the guarantees.

    Args:
        sources: one per partition, with distinct names.
        sink: where units go.
        atomic: whether the sink publishes a unit as a whole.
        spools: the spools of standard input and pipes, by partition.
        lock: of the data folder, whose snapshots and models belong to one output at a time.
        sleep: waits that many seconds; replaced in tests.
    """

    generation = 0  # the partitions never change

    def __init__(
        self,
        sources: Sequence[Source],
        sink: Sink,
        *,
        atomic: bool,
        spools: Mapping[str, Spool] | None = None,
        lock: FolderLock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.atomic = atomic
        self._sources = {source.partition: source for source in sources}
        self._sink = sink
        self._spools = dict(spools or {})
        self._lock = lock
        self._sleep = sleep
        self._published: dict[str, int] = {}
        self._held: frozenset[str] = frozenset()
        self._turn = 0  # the partition that polls first, so that a busy one does not starve the others

    def start(self) -> None:
        """Takes the locks of folder and sink, reads the committed positions, checks and opens the sources."""
        if self._lock is not None:
            self._lock.take()
        self._sink.open()
        for spool in self._spools.values():
            spool.start()
        for name, source in self._sources.items():
            committed = self._sink.committed(name)
            source.open(self._sink.files(name), committed)
            self._published[name] = source.position

    @property
    def identity(self) -> OutputIdentity:
        """That of the sink."""
        return self._sink.identity

    def partitions(self) -> Sequence[str]:
        """The entries of `input.files`; standard input is "stdin"."""
        return list(self._sources)

    def committed(self, partition: str) -> int | None:
        """The committed byte offset, or None where nothing was ever committed."""
        return self._sink.committed(partition)

    def run(self, partition: str) -> int:  # noqa: ARG002 - positions stand beside the forecasts
        """The first and only one."""
        return 1

    def earliest(self, partition: str) -> int:
        """The oldest byte offset that the files still hold."""
        return self._sources[partition].earliest()

    def adoptions(self, partition: str) -> Sequence[Adoption]:
        """All committed adoptions of the partition, by rising position."""
        return self._sink.adoptions(partition)

    def models_needed(self) -> set[str]:
        """Those in force where the files still hold the events; of files that are not read now, all."""
        found = set[str]()
        for name in self._sink.adopting():
            source = self._sources.get(name)
            found |= models_from(self._sink.adoptions(name), -1 if source is None else source.earliest())
        return found

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) once more."""
        return self._sources[partition].replay(start, end, limit)

    def everywhere(self) -> Sequence[str]:
        """The same as `partitions`: one process reads all files."""
        return self.partitions()

    def hold(self, partitions: Collection[str]) -> None:
        """Leaves these out of `poll`."""
        self._held = frozenset(partitions)

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """The next records of the partition whose turn it is, or None when none came within the timeout."""
        waited = 0.0
        while True:
            if (records := self.another(limit, ())) is not None:
                return records
            if waited >= timeout_seconds or self._read_everything():
                return None
            pause = min(_LOOK_SECONDS, timeout_seconds - waited)
            self._sleep(pause)
            waited += pause

    def another(self, limit: int, taken: Collection[str]) -> Records | None:
        """The next records of the partition whose turn it is, unless it is taken, if there are any now."""
        sources = [source for name, source in self._sources.items() if name not in self._held]
        for step in range(len(sources)):
            at = (self._turn + step) % len(sources)
            if sources[at].partition in taken:
                return None
            if (records := sources[at].read(limit)) is not None:
                self._turn = at + 1
                return records
        return None

    def stage(self, partition: str, forecasts: Encoded) -> None:
        """Does nothing: the sink is a file, which takes the whole unit at once."""

    def publish(self, unit: Unit) -> None:
        """Commits the unit together with the state of the files that its position belongs to."""
        source = self._sources[unit.partition]
        self._sink.publish(unit, *source.changes(unit.next_position))
        source.written(unit.next_position)
        self._published[unit.partition] = unit.next_position

    def release(self, partition: str, position: int) -> None:
        """Lets go of what lies before the position, which no snapshot needs any more: old pieces of the spool.

        The files of the configuration are the user's and stay.
        """
        source = self._sources[partition]
        source.release(position)
        if isinstance(source, FileSource) and partition in self._spools:
            self._spools[partition].release(source.file_at(position))

    def outcomes(self) -> Outcomes:
        """As the sink has kept them with every unit."""
        return self._sink.outcomes(list(self._sources))

    def finished(self) -> bool:
        """Whether every file was read to its end and everything polled was published."""
        published = all(self._published.get(name) == s.position for name, s in self._sources.items())
        return published and self._read_everything()

    def _read_everything(self) -> bool:
        return all(source.finished() for source in self._sources.values())

    def lag(self) -> dict[str, int]:
        """Bytes between what was published and the end of the files, by partition."""
        return {
            name: source.lag() + source.position - self._published.get(name, source.position)
            for name, source in self._sources.items()
        }

    def close(self) -> None:
        """Releases files and locks."""
        for source in self._sources.values():
            source.close()
        for spool in self._spools.values():
            spool.close()
        try:
            self._sink.close()
        finally:
            if self._lock is not None:
                self._lock.release()


def build_embedded(config: Config, push: PushLog | None = None) -> EmbeddedTransport:
    """The transport that the configuration describes; opens nothing yet.

    Args:
        config: checked.
        push: where pushed events are; one more partition.

    Raises:
        ConfigurationError: a file name says no format and `input.format` does not either, or names no file or pipe.
    """
    settings, state = config.input, config.state
    check_twice(list(settings.files))
    sources: list[Source] = []
    spools: dict[str, Spool] = {}
    cold = state.on_source_gone == "cold"
    for entry in settings.files:
        kind = kind_of(entry)
        partition = STDIN_PARTITION if kind == "stdin" else entry
        pattern, format_setting, growing = entry, settings.format, lambda: settings.follow
        if kind != "file":
            folder = STDIN_PARTITION if kind == "stdin" else spool_name(entry)
            spool = spools[partition] = Spool.of_process(
                state.data_dir / "spool" / folder,
                settings.format,
                pipe=entry if kind == "pipe" else None,
                again=settings.follow,
                max_record_bytes=settings.max_record_bytes,
            )
            pattern, format_setting, growing = spool.pattern, "auto", spool.growing
        sources.append(
            FileSource(
                pattern,
                format_setting,
                growing=growing,
                max_record_bytes=settings.max_record_bytes,
                cold=cold,
                partition=partition,
                required=kind == "file",
                grace=GRACE_SECONDS,
            )
        )
    if push is not None:
        sources.append(PushSource(push, cold=cold))
    database = SqliteSink(config.output_path)
    lock = FolderLock(
        state.data_dir / "data.lock", state.data_dir, "give each daemon its own state.data_dir, whatever its output"
    )
    if config.output.sink == "stdout":
        return EmbeddedTransport(sources, StdoutSink(database), atomic=False, spools=spools, lock=lock)
    return EmbeddedTransport(sources, database, atomic=True, spools=spools, lock=lock)
