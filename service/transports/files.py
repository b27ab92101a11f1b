"""A partition made of files: one file, or the files of a glob one after the other in sorted order.

A position is a byte offset in the concatenation of the files (uncompressed), so it never goes back. What was
read is written down by the sink as `FileEntry` in the transaction that commits the position; a restart checks
the files against it, so a replaced or truncated file is an error and never a silent mixture.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import structlog

from service.errors import SourceGoneError, SourceUnavailableError
from service.messages import CSV_HEADER
from service.ports import Records
from service.transports._bytes import content_size, open_bytes
from service.transports._lines import Lines
from service.transports._replay import as_records, read_header, replay_files
from service.transports.manifest import FileEntry, file_format

_log = structlog.get_logger(__name__)


class FileSource:
    """Reads one partition. One thread only.

    Args:
        entry: a file name or a glob.
        format_setting: "auto", "csv" or "jsonl".
        growing: says whether more may still come; asked at the end of the last file.
        max_record_bytes: longer lines become records with the problem "too_large".
        cold: what to do when the files are not the ones that were read before: True goes on at the committed
            position with the files of now, False raises.
        partition: name of the partition; the entry itself by default.
        required: whether it is an error at the start that there is no file and none will come.

    Raises:
        ConfigurationError: neither the name nor the setting says the format.
    """

    def __init__(
        self,
        entry: str,
        format_setting: str = "auto",
        *,
        growing: Callable[[], bool] = lambda: False,
        max_record_bytes: int = 65_536,
        cold: bool = False,
        partition: str | None = None,
        required: bool = True,
    ) -> None:
        self.partition = entry if partition is None else partition
        self._pattern = entry
        self._is_glob = glob.has_magic(entry) and not Path(entry).exists()
        self._format = format_setting
        self._growing = growing
        self._max_bytes = max_record_bytes
        self._cold = cold
        self._required = required
        if not self._is_glob:
            file_format(entry, format_setting)  # a name that says nothing is an error now, not at midnight
        self._entries: list[FileEntry] = []
        self._lines: Lines | None = None  # of the last entry
        self._descriptor = -1
        self._headers: tuple[tuple[str, bytes], ...] = ()
        self._position = 0
        self._earliest = 0
        self._reported: set[str] = set()  # damaged files that were logged

    # Positions ----------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Everything before it was handed out by `read`."""
        return self._position

    def earliest(self) -> int:
        """The oldest position that the files still hold."""
        return self._earliest

    def manifest(self, position: int) -> list[FileEntry]:
        """The files as they are to be written down together with the committed `position`."""
        if self._entries:
            self._entries[-1] = self._entries[-1].with_head_of(self._descriptor)
        begun = [entry for entry in self._entries if entry.base <= position]
        return [
            replace(
                entry,
                size=None if following is None else entry.size,
                cuts=tuple(cut for cut in entry.cuts if cut[0] <= position),
            )
            for entry, following in zip_longest(begun, begun[1:])
        ]

    def file_at(self, position: int) -> str:
        """The file in which a position stands; empty before the first file."""
        return next((entry.path for entry in reversed(self._entries) if entry.base <= position), "")

    def lag(self) -> int:
        """Bytes between `position` and the end of the last file there is."""
        end = sum(content_size(Path(path)) for path in self._candidates())
        if self._entries:
            end += self._entries[-1].base + content_size(Path(self._entries[-1].path))
        return max(0, end - self._position)

    def finished(self) -> bool:
        """Whether everything was handed out and nothing more will come."""
        if self._growing() or self._candidates():
            return False
        lines = self._lines
        return lines is None or (lines.next_position == lines.read_to <= self._position and not lines.fill())

    # Start --------------------------------------------------------------------------------------------------

    def open(self, entries: Sequence[FileEntry], committed: int | None) -> None:
        """Gets ready to read from the committed position on.

        Args:
            entries: what `manifest` gave at that position.
            committed: the committed position, or None where nothing was ever committed.

        Raises:
            SourceGoneError: the files are not the ones that were read before (unless `cold`).
            SourceUnavailableError: there is no such file, and none will come.
        """
        self.close()
        self._entries = list(entries)
        self._position = committed or 0
        self._earliest = self._held_from()
        if not self._entries:
            if self._required and not self._candidates() and not self._growing():
                msg = f'input.files: got "{self._pattern}", which is no file; expected a name or glob of files'
                raise SourceUnavailableError(msg)
            return
        last = self._entries[-1]
        try:
            self._resume(last)
        except SourceGoneError:
            if not self._cold:
                raise
            self._start_again_after(last.path)

    def _held_from(self) -> int:
        earliest = self._position
        for entry, following in reversed([*zip_longest(self._entries, self._entries[1:])]):
            if entry.mismatch(self._position if following is None else following.base):
                break
            earliest = entry.base
        return earliest

    def _resume(self, entry: FileEntry) -> None:
        if reason := entry.mismatch(self._position):
            msg = (
                f"{entry.path}: {reason}; expected the file of which {self._position - entry.base} bytes "
                'were read. Put it back, or set state.on_source_gone = "cold" to go on with the present files'
            )
            raise SourceGoneError(msg)
        header, header_end = read_header(entry.path, self._format, self._max_bytes)
        # A header that was not whole yet when the position was committed is read again from the file's start.
        start = max(entry.base, self._position) if self._position - entry.base >= header_end else entry.base
        self._open_file(entry.path, entry.base, start, header, fragment=start in dict(entry.cuts))

    def _start_again_after(self, path: str) -> None:
        """Positions go on rising: the files of now follow at the committed position."""
        self._earliest = self._position
        self._entries = [] if Path(path).exists() else [FileEntry(path, self._position)]
        if not self._entries:
            self._append_file(path)

    # Reading ------------------------------------------------------------------------------------------------

    def read(self, limit: int) -> Records | None:
        """At most `limit` records of one file; None when there is nothing to say now.

        Raises:
            SourceGoneError: the file was truncated or replaced while it was read.
            SourceUnavailableError: a file cannot be opened.
        """
        while True:
            if self._lines is not None and (taken := self._lines.take(limit)) is not None:
                if not self._headers and self._lines.header is not None:
                    self._headers = ((CSV_HEADER, self._lines.header),)
                self._position = taken.next_position
                return as_records(self.partition, taken, self._headers)
            following = self._candidates()
            if self._lines is None:
                if not following:
                    return None
                self._append_file(following[0])
                continue
            # Asked before the last look into the file, so that what its writer wrote last is seen.
            complete = bool(following) or not self._growing()
            if self._lines.fill():
                continue
            if not complete:
                self._check_unchanged()
                return self._moved()
            if self._finish_line():
                continue
            if (moved := self._moved()) is not None:
                return moved
            if not following:
                return None
            self._leave_file()

    def _moved(self) -> Records | None:
        """A batch without records over bytes that hold none, if there are any."""
        if self._lines is None or self._lines.next_position <= self._position:
            return None
        self._position = self._lines.next_position
        return Records(self.partition, [], self._position, [])

    def _finish_line(self) -> bool:
        """Takes what stands after the last line end as a record; whether there was anything."""
        lines = self._lines
        if lines is None:
            return False
        path, damage = self._entries[-1].path, lines.source.damage()
        if damage and path not in self._reported:
            self._reported.add(path)
            _log.warning("input file is damaged; what comes before was read", path=path, damage=damage)
        problem = "truncated" if damage else ""
        if lines.finish(problem):
            last = self._entries[-1]
            self._entries[-1] = replace(last, cuts=(*last.cuts, (lines.read_to, problem)))
        return lines.pending

    # Files --------------------------------------------------------------------------------------------------

    def _candidates(self) -> list[str]:
        """Files that come after the newest one taken, in order."""
        last = self._entries[-1].path if self._entries else ""
        if not self._is_glob:
            return [self._pattern] if not last and Path(self._pattern).exists() else []
        found = (name for name in self._matches() if name > last)
        return sorted(name for name in found if Path(name).is_file())

    def _matches(self) -> list[str]:
        return glob.glob(self._pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns

    def _append_file(self, path: str) -> None:
        self._open_file(path, self._position, self._position)
        self._entries.append(FileEntry(path, self._position).with_head_of(self._descriptor))

    def _open_file(
        self, path: str, base: int, start: int, header: bytes | None = None, *, fragment: bool = False
    ) -> None:
        is_csv = file_format(path, self._format) == "csv"
        source, self._descriptor = open_bytes(Path(path), start - base)
        self._lines = Lines(
            source,
            start,
            max_bytes=self._max_bytes,
            header=is_csv and start == base,
            fragment=fragment,
            first=start == base,
        )
        self._headers = ((CSV_HEADER, header),) if header is not None and start > base else ()

    def _leave_file(self) -> None:
        if self._lines is None:
            return
        last = self._entries[-1].with_head_of(self._descriptor)
        self._entries[-1] = replace(last, size=self._lines.read_to - last.base)
        self.close()

    def _check_unchanged(self) -> None:
        """Notices a file that was cut short or exchanged while it was followed."""
        path = self._entries[-1].path
        try:
            now, ours = Path(path).stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return  # moved away; what we hold open was read to its end, and a new one may come
        read = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
            reason = "was replaced by another file"
        elif ours.st_size < read:
            reason = f"was truncated to {ours.st_size} bytes after {read} had been read"
        else:
            return
        msg = f"{path}: {reason}; expected a file that only grows. To rotate, follow a glob of dated names"
        raise SourceGoneError(msg)

    # Replay -------------------------------------------------------------------------------------------------

    def replay(self, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) once more, cut into records exactly as before; `read` is not disturbed.

        Raises:
            SourceGoneError: the files no longer hold it.
        """
        if start < self._earliest:
            msg = f'"{self.partition}": {start} is needed again, but the files reach back to {self._earliest}'
            raise SourceGoneError(msg)
        return replay_files(
            self.partition, list(self._entries), start, end, limit, self._format, max_bytes=self._max_bytes
        )

    def close(self) -> None:
        """Releases the file."""
        if self._lines is not None:
            self._lines.source.close()
        self._lines, self._descriptor = None, -1
