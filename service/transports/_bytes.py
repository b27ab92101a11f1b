"""Bytes of a file that may still grow, plain or gzip, counted in uncompressed bytes."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from service.errors import SourceGoneError, SourceUnavailableError

_GZIP = 31  # zlib's window bits for "gzip frame, largest window"
# Events do not compress like this; data that expand to so many times their size are made to keep a reader busy.
MOST_EXPANSION = 500
_SMALL = 64 << 20  # bytes; what is not more than this is read whatever it came from
_CHUNK = 1 << 18  # bytes; one read of a disk is dear, a megabyte of half-parsed lines is not worth it either


class ByteSource(Protocol):
    """Bytes in order; the end may move."""

    def read(self, size: int) -> bytes:
        """At most `size` further bytes; empty when there is nothing more now."""

    def damage(self) -> str:
        """What is wrong with the file so far, or the empty text."""

    def close(self) -> None:
        """Releases the file."""


class PlainBytes:
    """A file as it is.

    Args:
        file: an open file; owned from now on.
        offset: where reading starts, in bytes.
    """

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file = file
        file.seek(offset)

    def read(self, size: int) -> bytes:
        """At most `size` further bytes; empty at the present end."""
        return self._file.read(size)

    def damage(self) -> str:
        """Never anything: any bytes are a plain file."""
        return ""

    def close(self) -> None:
        """Releases the file."""
        self._file.close()


class GzipBytes:
    """The content of a gzip file of one or several members, which may still be written to.

    Unlike `gzip.open` it keeps every byte before a damaged or missing part, and goes on when the file grows.

    Args:
        file: an open file; owned from now on.
        offset: where reading starts, in uncompressed bytes; what lies before is decompressed and dropped.
    """

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(_GZIP)
        self._input = b""  # compressed bytes not yet handed to zlib
        self._inside = False  # within a member: an end here is an early end
        self._damage = ""
        self._taken = self._given = 0  # bytes compressed and not
        while offset > 0:
            skipped = len(self.read(min(offset, _CHUNK)))
            if not skipped:
                msg = f"{file.name}: holds {offset} uncompressed bytes less than were read from it before"
                raise SourceGoneError(msg)
            offset -= skipped

    def read(self, size: int) -> bytes:
        """At most `size` further uncompressed bytes; empty at the present end and from a damaged part on."""
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
        """What is wrong: damaged data, or an end in the middle of a member."""
        return self._damage or ("the gzip data end too early" if self._inside else "")

    def close(self) -> None:
        """Releases the file."""
        self._file.close()


def open_bytes(path: Path, offset: int) -> tuple[ByteSource, int]:
    """Opens a file by its suffix (.gz or plain).

    Args:
        path: the file.
        offset: where to start, in uncompressed bytes.

    Returns:
        The bytes, and the file descriptor that they come from (still owned by the bytes).

    Raises:
        SourceUnavailableError: the file cannot be opened.
        SourceGoneError: a gzip file holds less than `offset`.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); expected a readable file"
        raise SourceUnavailableError(msg) from error
    try:
        return (GzipBytes if path.suffix == ".gz" else PlainBytes)(file, offset), file.fileno()
    except BaseException:
        file.close()
        raise


def content_size(path: Path) -> int:
    """Uncompressed size of a file in bytes: for gzip what its last member says of itself, modulo 4 GiB."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if path.suffix != ".gz" or size < 18:  # an empty gzip file has 18 bytes or more
                return size
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")
    except OSError:
        return 0
