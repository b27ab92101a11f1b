"""The history of one partition: the inputs of `[bootstrap]`, one after the other, at negative positions.

Every input has positions of its own, `INPUT_SPAN` of them from `HISTORY_BEGIN` on, so that the position alone says in
which input it is; after the end of one, reading skips to the begin of the next. What a restart needs is stored like
that of files, in entries whose `base` is negative.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from service.config.csv_start import USUAL_START, CsvStart
from service.errors import SourceUnavailableError
from service.ports import HISTORY_BEGIN, Records
from service.sources.catalog import has_file, no_such_file
from service.sources.file_source import FileSource
from service.sources.manifest import FileEntry

INPUT_SPAN: Final = 1 << 44
"""Positions of one input: 17 TB of uncompressed bytes; 512 inputs are all of the negative positions."""

_LIVE: Final = (-1, "")  # key of the entry with the live position
_COUNT: Final = (-2, "")  # key of the entry with the number of partitions


class HistoryInput(NamedTuple):
    """An input of the history: a file or a glob, and how it is read; see `FileSource`."""

    entry: str
    format: str = "auto"
    max_record_bytes: int = 65_536
    named: bool = False
    csv: CsvStart = USUAL_START

    def is_there(self) -> bool:
        """Returns whether there is a file."""
        return has_file(self.entry)


def begin_of(number: int) -> int:
    """Returns the position at which an input begins."""
    return HISTORY_BEGIN + number * INPUT_SPAN


def number_of(position: int) -> int:
    """Returns the input of a position."""
    return (position - HISTORY_BEGIN) // INPUT_SPAN


class PartitionHistory:
    """Reads the history of one partition. Used by one thread only.

    Args:
        partition: name of the partition whose state takes it in.
        inputs: in the order in which they are read.
        entries: stored with the committed position.
        committed: the committed position, None at the first start; not negative where the history was taken in.
        live: at the first start the live position at which reading goes on after it.
        partitions: the present number of partitions of the live source.

    Attributes:
        partitions: their number at the first start, by which series belong to this partition, also in a replay after
            further ones were added.
        position: the position up to which `read` has returned records.
        ends: whether `end` was called, and that is not committed yet.

    Raises:
        SourceUnavailableError: there is no such file.
        SourceGoneError: a file is not the one that was read before.
    """

    def __init__(
        self,
        partition: str,
        inputs: Sequence[HistoryInput],
        entries: Sequence[FileEntry],
        committed: int | None,
        live: int | None = None,
        partitions: int = 1,
    ) -> None:
        self.partition, self._inputs = partition, inputs
        self._entries = [entry for entry in entries if entry.base < 0]
        self.position = HISTORY_BEGIN if committed is None else committed
        self._readers: dict[int, FileSource] = {}
        self._released: list[tuple[int, str]] = []
        self._live = live if live is not None else live_begin(entries)
        self._stored = live is None  # whether live position and number of partitions are in the entries
        stored = next((entry.size for entry in entries if entry.key == _COUNT), None)
        self.partitions = partitions if stored is None else stored
        self.ends = False
        for number in range(max(0, number_of(min(self.position, 0))), len(inputs)) if self.position < 0 else ():
            self._reader(number)  # a missing file is an error now, not after hours

    def _reader(self, number: int) -> FileSource:
        if number not in self._readers:
            one = self._inputs[number]
            if number_of(self.position) <= number and not one.is_there():
                raise SourceUnavailableError(no_such_file("bootstrap", one.entry))
            reader = FileSource(
                one.entry, one.format, max_record_bytes=one.max_record_bytes, partition=self.partition, required=False,
                named=one.named, csv=one.csv,
            )  # fmt: skip
            begin = begin_of(number)
            own = [entry for entry in self._entries if number_of(entry.base) == number]
            within = number_of(self.position) == number
            reader.open(own, self.position if within else _end(own[-1]) if own else begin)
            self._readers[number] = reader
        return self._readers[number]

    @property
    def held(self) -> bool:
        """Whether records of it may be read again: it was not released."""
        return self.position < 0 or bool(self._entries) or bool(self._readers)

    def end(self, earliest: int) -> Records:
        """Ends the history; returns the batch without records that skips to the live position.

        Args:
            earliest: the oldest live position that can still be read.
        """
        live = earliest if self._live is None else max(self._live, earliest)
        self._stored = self._stored and live == self._live
        self._live, self.position, self.ends = live, live, True
        return Records(self.partition, [], live, [])

    def read(self, limit: int) -> Records | None:
        """Returns at most `limit` records, or a skip to the next input; None at the end of the last one."""
        number = number_of(self.position)
        if number >= len(self._inputs):
            return None
        records = self._reader(number).read(limit)
        if records is None:
            if number + 1 == len(self._inputs):
                return None
            records = Records(self.partition, [], begin_of(number + 1), [])
        self.position = records.next_position
        return records

    def replay(self, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again, in batches of at most `limit` records.

        Where `end` is not negative, the last batch skips to the live position.

        Raises:
            SourceGoneError: the files no longer hold it.
        """
        for number in range(number_of(start), min(number_of(min(end, -1)) + 1, len(self._inputs))):
            reader, upper = self._reader(number), begin_of(number + 1)
            first, last = max(start, begin_of(number)), min(end, reader.position)
            if first < last:
                yield from reader.replay(first, last, limit)
            if end >= upper and number + 1 < len(self._inputs):
                yield Records(self.partition, [], upper, [])
        if end >= 0 and self._live is not None:
            yield Records(self.partition, [], self._live, [])

    def earliest(self) -> int:
        """Returns a position from which on it can be read again, while it is held."""
        return HISTORY_BEGIN

    def changes(self, position: int) -> tuple[list[FileEntry], list[tuple[int, str]]]:
        """Returns the entries to store with a position that is committed, and keys of those to be removed."""
        changed, removed = list[FileEntry](), list(self._released)
        for number, reader in self._readers.items():
            if begin_of(number) < position:
                more, gone = reader.changes(min(position, reader.position))
                changed, removed = changed + more, removed + gone
        if not self._stored:
            changed.append(FileEntry(_LIVE[1], _LIVE[0], self._live))
            changed.append(FileEntry(_COUNT[1], _COUNT[0], self.partitions))
        return changed, removed

    def written(self, position: int) -> None:
        """Notes that the result of `changes` is stored."""
        self._released.clear()
        self._stored = True
        for number, reader in self._readers.items():
            if begin_of(number) < position:
                reader.written(min(position, reader.position))

    def release(self, position: int) -> None:
        """Notes that nothing before the position will be read again; not negative: nothing of the history."""
        if position < 0:
            for number, reader in self._readers.items():
                if begin_of(number) < position:
                    reader.release(min(position, reader.position))
            return
        if not self.held:
            return
        known = {entry.key for entry in self._entries} | {_LIVE, _COUNT}
        for reader in self._readers.values():
            known |= {entry.key for entry in reader.manifest(reader.position)}
        self._released += sorted(known)
        self._entries = []
        self.close()

    def lag(self) -> int:
        """Returns the bytes that were not read yet."""
        return sum(reader.lag() for number, reader in self._readers.items() if number >= number_of(self.position))

    def close(self) -> None:
        """Releases the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


def _end(entry: FileEntry) -> int:
    """Returns the position after the bytes that were read of a file."""
    return entry.base + max(0, entry.checked - entry.start)


def live_begin(entries: Sequence[FileEntry]) -> int | None:
    """Returns the live position at which reading goes on after the history, None where there is none."""
    return next((entry.size for entry in entries if entry.key == _LIVE), None)
