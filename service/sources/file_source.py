"""The partition of files: one file, or the files of a glob one after the other, in the order of `catalog`.

A position is a byte offset in the concatenation of the uncompressed bytes read, so it never decreases. The sink stores
a `FileEntry` with a running checksum per file in the transaction that commits the position; a restart checks the files
against it, so a replaced, rewritten or truncated file is an error and never silently mixed with the old content.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from service.config.csv_start import USUAL_START, CsvStart
from service.errors import SourceGoneError, SourceUnavailableError
from service.messages.decode import CSV_HEADER
from service.ports import Records
from service.sources.byte_source import CheckedBytes, content_size, open_bytes
from service.sources.catalog import Catalog, Stretch, no_such_file
from service.sources.file_replay import as_records, headers_of, read_header, replay_files
from service.sources.lines import Lines
from service.sources.manifest import LINE_END, FileEntry, checksum_of, file_format, form_of
from service.sources.row_files import check_installed
from service.sources.start_check import check_files

_log = structlog.get_logger(__name__)


class FileSource:
    """Reads one partition. Used by one thread only.

    Args:
        entry: a file name or a glob.
        format_setting: `input.format`.
        growing: returns whether the input may still grow; called at the end of the last file.
        max_record_bytes: longer lines become records with the problem "too_large".
        cold: behaviour when the files are not the ones that were read before: True continues at the committed
            position with the present files, False raises.
        partition: name of the partition; the entry itself by default.
        required: whether it is an error at the start if no file exists and none can appear.
        grace: seconds without growth before a followed file is left within a line, or after a rename.
        named: whether the records have the name of their file as a header.
        csv: how CSV files begin.

    Raises:
        ConfigurationError: neither the name nor the setting determines the format, or its package is not installed.
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
        grace: float = 0.0,
        named: bool = False,
        csv: CsvStart = USUAL_START,
    ) -> None:
        self.partition = entry if partition is None else partition
        self._pattern = entry
        self._catalog = Catalog(entry, format_setting)
        self._format = format_setting
        self._growing = growing
        self._max_bytes, self._cold, self._required, self._grace = max_record_bytes, cold, required, grace
        self._named, self._csv = named, csv
        if not self._catalog.is_glob:
            file_format(entry, format_setting)  # a name without a known suffix is an error at the start
        check_installed(form_of(entry, format_setting))
        self._lines: Lines | None = None  # of the last entry
        self._source: CheckedBytes | None = None  # of these lines
        self._headers: tuple[tuple[str, bytes], ...] = ()
        self._position = self._earliest = 0
        self._quiet_since = 0.0  # when the last file was first found without growth while further files exist
        self._changed_ns = 0  # modification time of the last file at its last read
        self._reported: dict[str, str] = {}  # damaged files that were logged: path -> damage

    # Positions ----------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Returns the position up to which `read` has returned records."""
        return self._position

    def earliest(self) -> int:
        """Returns the oldest position that the files still hold."""
        return self._earliest

    def manifest(self, position: int) -> list[FileEntry]:
        """Returns the entries of all files read, as they are to be stored with the committed `position`."""
        self._sum_up(position)
        entries = self._catalog.entries
        return [self._catalog.as_of(at, position) for at, entry in enumerate(entries) if entry.base <= position]

    def changes(self, position: int) -> tuple[list[FileEntry], list[tuple[int, str]]]:
        """Returns entries of `manifest` changed since `written`, and keys of removed ones; at constant cost."""
        self._sum_up(position)
        return self._catalog.changes(position)

    def written(self, position: int) -> None:
        """Notes that the result of `changes` is on disk."""
        self._catalog.written(position)

    def release(self, position: int) -> None:
        """Releases entries before the position, which will not be replayed."""
        if self._catalog.merge(position):
            self._earliest = max(self._earliest, position)

    def _sum_up(self, position: int) -> None:
        """Updates the last entry with the checksum of the bytes before the position."""
        if self._source is None:
            return
        last = self._catalog.entries[-1]
        checked, checksum = self._source.at(position - last.base + last.start)
        entry = replace(last.with_head_of(self._source.file.fileno()), checked=checked, checksum=checksum)
        self._catalog.put(len(self._catalog.entries) - 1, entry)

    def file_at(self, position: int) -> str:
        """Returns the file that contains a position; empty before the first file."""
        return next((entry.path for entry in reversed(self._catalog.entries) if entry.base <= position), "")

    def lag(self) -> int:
        """Returns the bytes between `position` and the end of the last existing file."""
        end = sum(stretch.size for stretch in self._catalog.pending())
        if self._catalog.entries:
            last = self._catalog.entries[-1]
            rows = None if self._source is None else self._source.total()
            end += last.base + (content_size(Path(last.path)) if rows is None else rows) - last.start
        return max(0, end - self._position)

    def finished(self) -> bool:
        """Returns whether everything was read and the input cannot grow."""
        if self._growing() or self._catalog.pending(now=True):
            return False
        lines = self._lines
        return lines is None or (lines.next_position == lines.read_to <= self._position and not lines.fill())

    # Start --------------------------------------------------------------------------------------------------

    def open(self, entries: Sequence[FileEntry], committed: int | None) -> None:
        """Prepares to read from the committed position on.

        Args:
            entries: result of `manifest` at that position.
            committed: the committed position, or None if nothing was ever committed.

        Raises:
            SourceGoneError: the files are not the ones that were read before (unless `cold`).
            SourceUnavailableError: there is no such file, and none can appear.
        """
        self.close()
        self._catalog.load(entries)
        self._catalog.find()
        self._position = self._earliest = committed or 0
        if not entries:
            if self._required and not self._catalog.pending(now=True) and not self._growing():
                raise SourceUnavailableError(no_such_file("input", self._pattern))
            return
        changed, self._earliest = check_files(self._catalog, self._position, self._format)
        if changed and not self._cold:
            raise self._catalog.gone(*next(iter(changed.values())))
        for path in changed:  # positions keep rising: the present files follow at the committed position
            self._catalog.forget(path)
        if self._catalog.entries and self._catalog.entries[-1].base == entries[-1].base:
            self._resume(self._catalog.entries[-1])

    def _resume(self, entry: FileEntry) -> None:
        header, header_end = read_header(entry.path, self._format, self._max_bytes, self._csv)
        # A header that was incomplete when the position was committed is read again from the file's start.
        offset = max(0, self._position - entry.base) + entry.start
        start = entry.base + offset - entry.start if offset >= header_end else entry.base
        self._open_file(entry, start, header, fragment=entry.is_within_line(start))

    # Reading ------------------------------------------------------------------------------------------------

    def read(self, limit: int) -> Records | None:
        """Returns at most `limit` records of one file; None when there are none now.

        Raises:
            SourceGoneError: the file was truncated or replaced while it was read.
            SourceUnavailableError: a file cannot be opened.
        """
        while True:
            if self._lines is not None and (taken := self._lines.take(limit)) is not None:
                if self._lines.header is not None and CSV_HEADER not in dict(self._headers):
                    self._headers = ((CSV_HEADER, self._lines.header), *self._headers)
                self._position = taken.next_position
                return as_records(self.partition, taken, self._headers)
            if self._lines is None:
                if not (following := self._catalog.pending(now=not self._growing())):
                    return None
                self._append_file(following.popleft())
                continue
            if self._fill():
                continue
            # Evaluated before the last read of the file, so that its writer's last bytes are read.
            growing = self._growing()
            following = self._catalog.pending(now=not growing)
            complete = bool(following) or not growing
            if not growing and self._source is not None:
                self._source.complete()
            if self._fill():
                continue
            if not complete or (growing and self._is_awaited()):
                self._check_unchanged()
                self._check_line_ends()
                return self._moved()
            self._check_line_ends()
            if self._finish_line():
                continue
            self._check_content(last=not following)
            if (moved := self._moved()) is not None:
                return moved
            if not following:
                return None
            self._leave_file()

    def _fill(self) -> bool:
        """Reads one more block of the file and returns whether there was one."""
        if self._lines is None or self._source is None or not self._lines.fill():
            return False
        self._changed_ns = os.fstat(self._source.file.fileno()).st_mtime_ns
        self._quiet_since = 0.0
        return True

    def _is_awaited(self) -> bool:
        """Returns whether the writer of the last file may still append to it although a further file exists."""
        lines, last, now = self._lines, self._catalog.entries[-1], time.monotonic()
        self._quiet_since = self._quiet_since or now
        half = lines is not None and lines.next_position < lines.read_to
        half = half or (self._source is not None and self._source.is_unfinished())
        return (half or not self._catalog.holds(last.path)) and now - self._quiet_since < self._grace

    def _moved(self) -> Records | None:
        """Returns a batch without records over bytes that contain none, if there are any."""
        if self._lines is None or self._lines.next_position <= self._position:
            return None
        self._position = self._lines.next_position
        return Records(self.partition, [], self._position, [])

    def _check_content(self, *, last: bool) -> None:
        """Rejects an input that is damaged before its first event; further files of a glob are read first."""
        if self._reported and last and not (self._growing() or self._position):
            path = min(self._reported)
            msg = f"{path}: {self._reported[path]} before the first event; expected an undamaged file"
            raise SourceGoneError(msg)

    def _check_line_ends(self) -> None:
        if self._lines is not None and self._lines.ends_in_cr_alone:
            msg = "got lines that end in CR alone, expected LF or CRLF; convert it: tr '\\r' '\\n'"
            raise SourceGoneError(f"{self._catalog.entries[-1].path}: {msg}")  # noqa: EM102

    def _finish_line(self) -> bool:
        """Makes records of unfinished lines and returns whether there are any."""
        lines = self._lines
        if lines is None:
            return False
        path, damage = self._catalog.entries[-1].path, lines.source.damage()
        if damage and path not in self._reported:
            self._reported[path] = damage
            _log.warning("input file is damaged, only its intact beginning was read", path=path, damage=damage)
        problem = "truncated" if damage else ""
        code = LINE_END if lines.ends_whole else problem
        if lines.finish(problem):
            at = len(self._catalog.entries) - 1
            last = self._catalog.entries[at]
            self._catalog.put(at, replace(last, cuts=(*last.cuts, (lines.read_to, code))))
        return lines.pending

    # Files --------------------------------------------------------------------------------------------------

    def _append_file(self, stretch: Stretch) -> None:
        before = self._catalog.newest(stretch.path) if stretch.appended else None
        base, header = self._position, None
        entry = FileEntry(stretch.path, base)
        if before is not None:
            if not before.is_there:
                if reason := before.mismatch(base, setting=self._format):
                    raise self._catalog.gone(before, reason)
                self._catalog.is_now(before, os.stat(before.path))  # noqa: PTH116 - as below
            half = before.is_within_line(before.base + (before.size or 0))
            entry = replace(
                before, base=base, size=None, start=before.checked, cuts=((base, ""),) if half else (), stored=0,
                changed_ns=0,
            )  # fmt: skip
            header, header_end = read_header(entry.path, self._format, self._max_bytes, self._csv)
            if entry.start < header_end:  # the header was completed only now
                entry = replace(entry, start=0, checked=0, checksum=0, cuts=())
        try:
            self._open_file(entry, base, header, fragment=entry.is_within_line(base))
        except SourceUnavailableError:
            if Path(stretch.path).exists():
                raise
            return  # the file was deleted meanwhile
        if self._source is None:
            return
        status = os.fstat(self._source.file.fileno())
        entry = replace(entry, device=status.st_dev, inode=status.st_ino)
        self._catalog.append(entry.with_head_of(self._source.file.fileno()))

    def _open_file(
        self, entry: FileEntry, position: int, header: bytes | None = None, *, fragment: bool = False
    ) -> None:
        """Opens the file of an entry at a position of its stretch."""
        offset, checksum = position - entry.base + entry.start, 0
        if offset:
            known = entry.checksum if entry.checked == offset else checksum_of(entry.path, offset, self._format)
            checksum = known or 0
        form = file_format(entry.path, self._format)
        self._source = open_bytes(Path(entry.path), offset, checksum, form)
        self._changed_ns = os.fstat(self._source.file.fileno()).st_mtime_ns
        self._quiet_since = 0.0
        self._lines = Lines(
            self._source,
            position,
            max_bytes=self._max_bytes,
            header=not offset and form == "csv",
            csv=self._csv,
            below=header if offset else None,
            fragment=fragment,
            first=not offset,
        )
        self._headers = headers_of(entry.path, header if offset else None, named=self._named, form=form)

    def _leave_file(self) -> None:
        if self._lines is None or self._source is None:
            return
        self._sum_up(self._lines.read_to)
        at, descriptor = len(self._catalog.entries) - 1, self._source.file.fileno()
        # Nothing after a damaged part is read, so the whole file counts as read.
        stored = os.fstat(descriptor).st_size if self._source.damage() else self._source.file.end
        self._catalog.put(at, self._catalog.entries[at].left(self._lines.read_to, stored, descriptor))
        self.close()

    def _check_unchanged(self) -> None:
        """Raises if a file was truncated or overwritten while it was followed."""
        if self._source is None:
            return
        path, file = self._catalog.entries[-1].path, self._source.file
        ours = os.fstat(file.fileno())
        if ours.st_size < file.end:
            reason = f"was truncated to {ours.st_size} bytes after {file.end} had been read"
        elif ours.st_size == file.end and ours.st_mtime_ns != self._changed_ns:
            file.check()
            read, checksum = self._source.whole()
            if not self._catalog.is_at(path, ours) or checksum_of(path, read, self._format) == checksum:
                self._changed_ns = ours.st_mtime_ns
                return
            reason = f"was rewritten after {read} bytes had been read"
        else:
            return
        msg = f"{path}: {reason}; expected a file that only grows. To rotate, follow a glob of dated names"
        raise SourceGoneError(msg)

    # Replay -------------------------------------------------------------------------------------------------

    def replay(self, start: int, end: int, limit: int) -> Iterator[Records]:
        """Reads [start, end) again, cut into the same records as before; `read` is not affected.

        Raises:
            SourceGoneError: the files no longer hold it.
        """
        if start < self._earliest:
            msg = (
                f'"{self.partition}": position {start} is needed for a replay, but the files begin at position '
                f"{self._earliest}; restore the deleted files"
            )
            raise SourceGoneError(msg)
        return replay_files(
            self.partition, list(self._catalog.entries), start, end, limit, self._format, max_bytes=self._max_bytes,
            csv=self._csv, named=self._named,
        )  # fmt: skip

    def close(self) -> None:
        """Releases the file."""
        if self._source is not None:
            self._source.close()
        self._lines = self._source = None
