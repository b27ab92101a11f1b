"""Reading of files that may still grow: plain, gzip, or files of rows; offsets are in uncompressed bytes.

Files of rows are JSON documents, Parquet and Avro, see `service.sources.row_bytes`; their bytes are JSON lines.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from service.errors import SourceGoneError, SourceUnavailableError

if TYPE_CHECKING:
    from service.sources.row_bytes import RowBytes

ROW_FORMS: Final = frozenset({"json", "parquet", "avro", "annotated-csv"})
_GZIP = 31  # zlib's window bits for "gzip frame, largest window"
# Events do not compress this well; data that expand by more than this factor are a decompression bomb.
MOST_EXPANSION = 500
_SMALL = 64 << 20  # bytes; up to this size the expansion is not checked
_CHUNK = 1 << 18  # bytes; a compromise between the number of disk reads and the memory of half-parsed lines
_KEPT: Final = 4096  # bytes at both ends of the read part that are compared at every further read


class ByteSource(Protocol):
    """A sequential reader of bytes whose end may move."""

    def read(self, size: int) -> bytes:
        """Returns at most `size` further bytes; empty when there are none now."""

    def damage(self) -> str:
        """Returns a description of the damage found so far, or the empty string."""

    def close(self) -> None:
        """Releases the file."""


class WatchedFile:
    """An open file whose read part must not change: both ends of that part are compared at every further read.

    Args:
        file: unbuffered; owned by this object from then on.
    """

    def __init__(self, file: FileIO) -> None:
        self.name = str(file.name)
        self._file = file
        self._head = self._tail = b""
        self._end = 0

    @property
    def end(self) -> int:
        """Returns the offset after the last byte read."""
        return self._end

    def fileno(self) -> int:
        """Returns the file descriptor."""
        return self._file.fileno()

    def seek(self, offset: int) -> None:
        """Continues at an offset; the bytes before it count as read."""
        self._file.seek(offset)
        self._end = offset
        self._head = os.pread(self.fileno(), min(_KEPT, offset), 0)
        self._tail = os.pread(self.fileno(), min(_KEPT, offset), max(0, offset - _KEPT))

    def read(self, size: int) -> bytes:
        """Returns at most `size` further bytes; empty at the present end.

        Raises:
            SourceGoneError: the bytes read before have changed.
        """
        data = self._file.read(size) or b""
        if data:  # compared after the read, so that the comparison covers the state that was read
            self.check()
            self._end += len(data)
            self._tail = (self._tail + data)[-_KEPT:] if len(data) < _KEPT else data[-_KEPT:]
            self._head += data[: max(0, _KEPT - len(self._head))]
        return data

    def check(self) -> None:
        """Compares both ends of the part that was read.

        Raises:
            SourceGoneError: they have changed.
        """
        tail = os.pread(self.fileno(), len(self._tail), self._end - len(self._tail))
        if tail != self._tail or os.pread(self.fileno(), len(self._head), 0) != self._head:
            msg = (
                f"{self.name}: was rewritten after {self._end} bytes had been read; expected a file that only grows. "
                "Write a new file and follow a glob of names"
            )
            raise SourceGoneError(msg)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class CheckedBytes:
    """A reader with a running checksum, available at any later position, in rising order.

    Args:
        source: the content; owned by this object from then on.
        file: the file of the content.
        offset: of the next byte.
        checksum: CRC-32 of all content before it.
        rows: the source, if it is a file of rows.
    """

    def __init__(
        self, source: ByteSource, file: WatchedFile, offset: int, checksum: int, rows: RowBytes | None = None
    ) -> None:
        self.file = file
        self._source, self._rows = source, rows
        self._ahead: deque[bytes] = deque()  # read, but not in the checksum yet
        self._offset, self._checksum = offset, checksum

    def read(self, size: int) -> bytes:
        """Returns at most `size` further bytes."""
        data = self._source.read(size)
        if data:
            self._ahead.append(data)
        return data

    def complete(self) -> None:
        """Notes that the file ends here: at the next end of its bytes, rows that only the end ends are read."""
        if self._rows is not None:
            self._rows.complete()

    def at(self, offset: int) -> tuple[int, int]:
        """Returns the greatest offset read up to the given one, and the checksum of all bytes before it."""
        while self._ahead and self._offset < offset:
            data = self._ahead.popleft()
            if len(data) > offset - self._offset:
                self._ahead.appendleft(data[offset - self._offset :])
                data = data[: offset - self._offset]
            self._checksum = zlib.crc32(data, self._checksum)
            self._offset += len(data)
        return self._offset, self._checksum

    def whole(self) -> tuple[int, int]:
        """Returns the number of all bytes that were read, and their checksum."""
        offset, checksum = self._offset, self._checksum
        for data in self._ahead:
            offset, checksum = offset + len(data), zlib.crc32(data, checksum)
        return offset, checksum

    def total(self) -> int | None:
        """Returns the size of a file of rows in bytes of its lines, about; None for other files."""
        return None if self._rows is None else self._rows.total()

    def is_unfinished(self) -> bool:
        """Returns whether it is a file of rows whose end is missing or broken."""
        return self._rows is not None and bool(self._rows.damage())

    def damage(self) -> str:
        """Returns a description of the damage found so far, or the empty string."""
        return self._source.damage()

    def close(self) -> None:
        """Releases the file."""
        self._source.close()


class PlainBytes:
    """The bytes of a plain file.

    Args:
        file: owned by this object from then on.
        offset: where reading starts, in bytes.
    """

    def __init__(self, file: WatchedFile, offset: int) -> None:
        self._file = file
        file.seek(offset)

    def read(self, size: int) -> bytes:
        """Returns at most `size` further bytes; empty at the present end."""
        return self._file.read(size)

    def damage(self) -> str:
        """Returns the empty string: any bytes are a valid plain file."""
        return ""

    def close(self) -> None:
        """Releases the file."""
        self._file.close()


class GzipBytes:
    """The content of a gzip file of one or several members, which may still be written to.

    Unlike `gzip.open` it returns every byte before a damaged or missing part, and continues when the file grows.

    Args:
        file: owned by this object from then on.
        offset: where reading starts, in uncompressed bytes; the bytes before it are decompressed and dropped.
    """

    def __init__(self, file: WatchedFile, offset: int) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(_GZIP)
        self._input = b""  # compressed bytes not yet handed to zlib
        self._inside = False  # within a member: an end of file here is premature
        self._damage = ""
        self._taken = self._given = 0  # compressed bytes read and uncompressed bytes returned
        while offset > 0:
            skipped = len(self.read(min(offset, _CHUNK)))
            if not skipped:
                msg = f"{file.name}: is {offset} uncompressed bytes shorter than when it was read; restore the file"
                raise SourceGoneError(msg)
            offset -= skipped

    def read(self, size: int) -> bytes:
        """Returns at most `size` further uncompressed bytes; empty at the present end and from a damaged part on."""
        while not self._damage:
            if not self._input:
                self._input = self._file.read(_CHUNK)
                self._taken += len(self._input)
                if not self._input:
                    return b""
            if not self._inside and not self._input.strip(b"\0"):
                self._input = b""  # padding after the last member, as tape drives and some loggers write it
                continue
            self._inside = True
            try:
                data = self._inflate.decompress(self._input, size)
            except zlib.error as error:
                self._damage = f"damaged gzip data: {error}"
                break
            if self._inflate.eof:
                self._input, self._inside = self._inflate.unused_data, False
                self._inflate = zlib.decompressobj(_GZIP)
            else:
                self._input = self._inflate.unconsumed_tail
            self._given += len(data)
            if self._given > _SMALL and self._given > MOST_EXPANSION * self._taken:
                self._damage = f"gzip data that expand to more than {MOST_EXPANSION} times their size"
                break
            if data:
                return data
        return b""

    def damage(self) -> str:
        """Returns the damage: damaged data, or an end of file within a member; else the empty string."""
        return self._damage or ("the gzip data are truncated" if self._inside else "")

    def close(self) -> None:
        """Releases the file."""
        self._file.close()


def open_bytes(path: Path, offset: int, checksum: int = 0, form: str = "") -> CheckedBytes:
    """Opens a file by its suffix (.gz or plain) and its format.

    Args:
        path: the file.
        offset: where to start, in uncompressed bytes.
        checksum: CRC-32 of the bytes before `offset`.
        form: one of `ROW_FORMS` for files of rows; all other texts mean lines.

    Raises:
        SourceUnavailableError: the file cannot be opened.
        SourceGoneError: a gzip file or a file of rows holds less than `offset`.
        ConfigurationError: a package that the format needs is not installed.
    """
    try:
        file = WatchedFile(FileIO(path, "rb"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); expected a readable file"
        raise SourceUnavailableError(msg) from error
    try:
        if form in ROW_FORMS:
            from service.sources.row_files import open_rows  # noqa: PLC0415 - few inputs need its packages, which load long

            rows = open_rows(file, offset, form, compressed=path.suffix == ".gz")
            return CheckedBytes(rows, file, offset, checksum, rows)
        source = (GzipBytes if path.suffix == ".gz" else PlainBytes)(file, offset)
    except BaseException:
        file.close()
        raise
    return CheckedBytes(source, file, offset, checksum)


def content_checksum(path: Path, length: int, form: str = "") -> int | None:
    """Returns the CRC-32 of the first `length` uncompressed bytes of a file, or None if it holds fewer.

    Raises:
        SourceUnavailableError: the file cannot be opened.
    """
    source = open_bytes(path, 0, form=form)
    try:
        source.complete()  # as many bytes are read as were read before, with such a row or without it
        offset, checksum = 0, 0
        while offset < length and source.read(min(_CHUNK, length - offset)):
            offset, checksum = source.at(length)
        return checksum if offset == length else None
    finally:
        source.close()


def content_size(path: Path) -> int:
    """Returns the uncompressed size of a file in bytes; for gzip the size field of its last member, modulo 4 GiB.

    For files of rows, whose lines are not known before they are read, it is the size of the file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if path.suffix != ".gz" or size < 18:  # an empty gzip file has 18 bytes or more
                return size
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")
    except OSError:
        return 0
