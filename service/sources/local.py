"""The local source: files, standard input, pipes and pushed events, one partition each, without a broker.

The position of every partition is a byte offset; the sink stores a `FileEntry` per file that was read, which a restart
needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from service.config.sections import Config
from service.errors import ConfigurationError
from service.ports import Records, Reject
from service.sources import CommittedPositions, Source
from service.sources.byte_source import ROW_FORMS
from service.sources.catalog import has_file, no_such_file
from service.sources.file_source import FileSource
from service.sources.manifest import FileEntry, check_not_of_kafka
from service.sources.pipes import check_twice, kind_of, spool_name
from service.sources.push_log import PushLog
from service.sources.push_source import PushSource
from service.sources.stdin_spool import Spool

STDIN_PARTITION: Final = "stdin"
GRACE_SECONDS: Final = 5.0  # a writer that rotates to a new file finishes its last line within this time
_KEPT_HEADER_BYTES: Final = 1024  # of a CSV file; every reject has a copy of its header
_CHECK_SECONDS: Final = 0.05  # between two checks of idle files: no visible delay, little CPU load


class PartitionReader(Protocol):
    """One partition: `FileSource` or `PushSource`."""

    partition: str

    @property
    def position(self) -> int:
        """Returns the position up to which `read` has returned records."""

    def open(self, entries: Sequence[FileEntry], committed: int | None) -> None:
        """Prepares to read from the committed position on."""

    def read(self, limit: int) -> Records | None:
        """Returns at most `limit` records; None when there are none now."""

    def replay(self, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again."""

    def earliest(self) -> int:
        """Returns the oldest position that is held."""

    def changes(self, position: int) -> tuple[list[FileEntry], list[tuple[int, str]]]:
        """Returns file entries to store with the committed `position`, and keys of those to be removed."""

    def written(self, position: int) -> None:
        """Notes that the result of `changes` for the position is on disk."""

    def release(self, position: int) -> None:
        """Notes that nothing before the position will be read again."""

    def lag(self) -> int:
        """Returns the bytes between `position` and the end."""

    def finished(self) -> bool:
        """Returns whether everything was read and the input cannot grow."""

    def close(self) -> None:
        """Releases everything."""


class LocalSource(Source):
    """Source of the local partitions, which never change.

    Args:
        readers: one per partition, with distinct names.
        spools: the spools of standard input and pipes, by partition.
        sleep: waits the given number of seconds; replaced in tests.
    """

    def __init__(
        self,
        readers: Sequence[PartitionReader],
        *,
        spools: Mapping[str, Spool] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._readers = {reader.partition: reader for reader in readers}
        self._spools = dict(spools or {})
        self._sleep = sleep
        self._published: dict[str, int] = {}
        self._paused: frozenset[str] = frozenset()
        self._turn = 0  # the partition that polls first, so that a busy one does not starve the others

    def open(self, sink: CommittedPositions) -> None:
        """Starts to spool streams, checks the files against their stored entries, and opens them."""
        for spool in self._spools.values():
            spool.start()
        for name, reader in self._readers.items():
            committed = sink.committed(name)
            reader.open([entry for entry in sink.files(name) if entry.base >= 0], committed)  # not of a history before
            self._published[name] = reader.position

    def open_to_replay(self, sink: CommittedPositions) -> None:
        """Opens the files to replay only: nothing is spooled, and no lock is taken."""
        for name, reader in self._readers.items():
            reader.open([entry for entry in sink.files(name) if entry.base >= 0], sink.committed(name))

    def partitions(self) -> Sequence[str]:
        """Returns the entries of `input.files`; standard input is "stdin", pushed events are "push"."""
        return list(self._readers)

    def all_partitions(self) -> Sequence[str]:
        """Returns the same as `partitions`: one process reads all files."""
        return self.partitions()

    def pause(self, partitions: Collection[str]) -> None:
        """Excludes these partitions from `poll`."""
        self._paused = frozenset(partitions)

    def earliest(self, partition: str) -> int:
        """Returns the oldest byte offset that the files still hold."""
        return self._readers[partition].earliest()

    def poll(self, limit: int, timeout_seconds: float) -> Records | None:
        """Returns the next records, by turns of the partitions, or None if there were none within the timeout."""
        waited = 0.0
        while True:
            if (records := self.poll_buffered(limit, ())) is not None:
                return records
            if waited >= timeout_seconds or self._read_everything():
                return None
            wait = min(_CHECK_SECONDS, timeout_seconds - waited)
            self._sleep(wait)
            waited += wait

    def poll_buffered(self, limit: int, taken: Collection[str]) -> Records | None:
        """Returns the next records that are available now, by turns; None at the turn of a partition in `taken`."""
        readers = [reader for name, reader in self._readers.items() if name not in self._paused]
        for step in range(len(readers)):
            at = (self._turn + step) % len(readers)
            if readers[at].partition in taken:
                return None
            if (records := readers[at].read(limit)) is not None:
                self._turn = at + 1
                return records
        return None

    def replay(self, partition: str, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again."""
        return self._readers[partition].replay(start, end, limit)

    def originals(self, partition: str, rejects: Sequence[Reject]) -> Sequence[Reject]:  # noqa: ARG002 - a source's method
        """Returns the rejects without a long CSV header: millions of short lines below one would fill the disk."""
        return [
            replace(reject, headers=())
            if any(len(value) > _KEPT_HEADER_BYTES for _, value in reject.headers)
            else reject
            for reject in rejects
        ]

    def changes(self, partition: str, position: int) -> tuple[Sequence[FileEntry], Sequence[tuple[int, str]]]:
        """Returns the changed and the removed file entries of the position."""
        return self._readers[partition].changes(position)

    def published(self, partition: str, position: int) -> None:
        """Notes the published position for `lag` and `finished`."""
        self._readers[partition].written(position)
        self._published[partition] = position

    def release(self, partition: str, position: int) -> None:
        """Deletes spool segments before the position, which no snapshot needs any more.

        The files of the configuration belong to the user and are kept.
        """
        reader = self._readers[partition]
        reader.release(position)
        if isinstance(reader, FileSource) and partition in self._spools:
            self._spools[partition].release(reader.file_at(position))

    def finished(self) -> bool:
        """Returns whether every file was read to its end and everything polled was published."""
        published = all(self._published.get(name) == reader.position for name, reader in self._readers.items())
        return published and self._read_everything()

    def _read_everything(self) -> bool:
        return all(reader.finished() for reader in self._readers.values())

    def lag(self) -> dict[str, int]:
        """Returns the bytes between the published position and the end of the files, by partition."""
        return {
            name: reader.lag() + reader.position - self._published.get(name, reader.position)
            for name, reader in self._readers.items()
        }

    def close(self) -> None:
        """Releases the files."""
        for reader in self._readers.values():
            reader.close()
        for spool in self._spools.values():
            spool.close()


def check_files_exist(config: Config) -> None:
    """Checks, before the first start of a daemon, that there is a file for every input; opens none.

    A later start knows which files were read, and compares them when it opens them. With `input.follow` a file may
    appear later.

    Raises:
        ConfigurationError: a name or glob matches no file.
    """
    has_run = config.positions_path.exists() or (config.state.data_dir / "snapshots").exists()
    if has_run or config.input.follow:
        return
    for entry in config.input.files:
        if kind_of(entry) == "file" and not has_file(entry):
            raise ConfigurationError(no_such_file("input", entry))


def local_source(config: Config, push: PushLog | None = None) -> LocalSource:
    """Constructs the source of the configuration section `[input]`; opens nothing yet.

    Args:
        config: checked.
        push: the log of pushed events; one more partition.

    Raises:
        ConfigurationError: neither a file name nor `input.format` determines the format, or it is no file or pipe,
            or a pipe with a format that is read from files only.
    """
    settings, state = config.input, config.state
    check_not_of_kafka(settings.format)
    check_twice(list(settings.files))
    readers: list[PartitionReader] = []
    spools: dict[str, Spool] = {}
    cold = state.on_source_gone == "cold"
    for entry in settings.files:
        kind = kind_of(entry)
        partition = STDIN_PARTITION if kind == "stdin" else entry
        pattern, format_setting, growing = entry, settings.format, lambda: settings.follow
        if kind != "file":
            if settings.format in ROW_FORMS:
                msg = (
                    f'input.files: got "{entry}" with input.format = "{settings.format}", which is read from files '
                    "only; expected the name of a file, or JSON lines or CSV in the pipe"
                )
                raise ConfigurationError(msg)
            folder = STDIN_PARTITION if kind == "stdin" else spool_name(entry)
            spool = spools[partition] = Spool.of_process(
                state.data_dir / "spool" / folder,
                settings.format,
                pipe=entry if kind == "pipe" else None,
                again=settings.follow,
                max_record_bytes=settings.max_record_bytes,
                csv=settings.csv_start,
            )
            pattern, format_setting, growing = spool.pattern, "auto", spool.growing
        readers.append(
            FileSource(
                pattern,
                format_setting,
                growing=growing,
                max_record_bytes=settings.max_record_bytes,
                cold=cold,
                partition=partition,
                required=kind == "file",
                grace=GRACE_SECONDS,
                named=settings.fields.use_file_name,
                csv=settings.csv_start,
            )
        )
    if push is not None:
        readers.append(PushSource(push, cold=cold))
    return LocalSource(readers, spools=spools)
