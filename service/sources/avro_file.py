"""Apache Avro object files: a row per record, read by blocks; a file may be written to meanwhile, as gzip may."""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import fastavro

from service.errors import EXHAUSTED
from service.sources.byte_source import MOST_EXPANSION, WatchedFile
from service.sources.row_bytes import as_line

MAGIC: Final = b"Obj\x01"
LONGEST_BLOCK: Final = 64 << 20  # bytes, as stored and decompressed; writers make blocks of some kilobytes
_SMALL: Final = 64 << 20  # bytes of lines; up to this size the expansion is not checked
_CHUNK: Final = 1 << 16
_MOST_ROWS: Final = 1024  # per piece
# Codecs that expand without limit, and up to how many bytes their blocks are too short for more than `LONGEST_BLOCK`.
_EXPANDING: Final[dict[str, tuple[Callable[[bytes, int], bytes], int]]] = {
    "deflate": (lambda data, most: zlib.decompressobj(-15).decompress(data, most), 1 << 16),
    "bzip2": (lambda data, most: bz2.BZ2Decompressor().decompress(data, most), 32),
    "xz": (lambda data, most: lzma.LZMADecompressor().decompress(data, most), 32),
}


class _Input:
    """The bytes from the start of a block on, as the file object that the library reads.

    Args:
        file: read in order.
    """

    def __init__(self, file: WatchedFile) -> None:
        self.short = False  # whether a read has met the present end of the file
        self.codec = "null"  # of the blocks; known after the header
        self._file = file
        self._data = bytearray()
        self._at = 0

    def read(self, size: int) -> bytes:
        """Returns exactly `size` bytes.

        Raises:
            EOFError: the file does not have them now.
            ValueError: no block is as long, as stored or decompressed.
        """
        if not 0 <= size <= LONGEST_BLOCK:
            msg = f"a block of {size} bytes, expected at most {LONGEST_BLOCK}"
            raise ValueError(msg)
        while len(self._data) - self._at < size:
            if not self.grow():
                self.short = True
                raise EOFError
        self._at += size
        data = bytes(self._data[self._at - size : self._at])
        self._check_expansion(data)
        return data

    def _check_expansion(self, data: bytes) -> None:
        """Raises for the bytes of a block that expand to more than a block may have."""
        decompress, harmless = _EXPANDING.get(self.codec, (None, 0))
        # The library decompresses a block as a whole, and would use up the memory.
        if decompress is not None and len(data) > harmless and len(decompress(data, LONGEST_BLOCK + 1)) > LONGEST_BLOCK:
            msg = f"a block that expands to more than {LONGEST_BLOCK} bytes"
            raise ValueError(msg)

    def grow(self) -> bool:
        """Reads further bytes of the file and returns whether there were any."""
        data = self._file.read(_CHUNK)
        self._data += data
        return bool(data)

    def tell(self) -> int:
        """Returns the offset of the next byte in the file."""
        return self._file.end - len(self._data) + self._at

    @property
    def pending(self) -> bytes:
        """Returns the bytes from the start of the block on that were read from the file."""
        return bytes(self._data)

    def cut(self) -> bytes:
        """Returns the bytes before the next one and forgets them: a block begins here."""
        data = bytes(self._data[: self._at])
        del self._data[: self._at]
        self._at = 0
        return data

    def rewind(self, header: bytes) -> None:
        """Goes back to the start of the block, with the header of the file before it."""
        self._data[:0] = header
        self._at, self.short = 0, False


class AvroRows:
    """Reads the rows of an Avro file.

    Args:
        file: owned by this object from then on.
    """

    def __init__(self, file: WatchedFile) -> None:
        self._file = file
        self._input = _Input(file)
        self._header = b""
        self._blocks: Iterator[Any] | None = None
        self._rows: Iterator[Any] = iter(())  # of the present block
        self._done = 0  # offset up to which all rows were returned
        self._given = 0  # bytes of lines
        self._damage = ""

    def more(self) -> bytes:
        """Returns further rows as whole JSON lines; empty when there are none now."""
        while not self._damage:
            lines = self._piece()
            if not lines and not self._next_block():
                break
            if not lines:
                continue
            self._given += len(lines)
            if self._given > _SMALL and self._given > MOST_EXPANSION * self._file.end:
                self._damage = f"Avro data that expand to more than {MOST_EXPANSION} times their size"
            return lines
        return b""

    def _piece(self) -> bytes:
        """Returns the next rows of the block."""
        lines = list[bytes]()
        try:
            for row in islice(self._rows, _MOST_ROWS):
                lines.append(as_line(row))  # one by one, as those before a broken one are kept
        except Exception as error:  # noqa: BLE001 - the library raises any type for broken data
            self._fail(error)
        return b"".join(lines)

    def _next_block(self) -> bool:
        """Reads one more block and returns whether there was one."""
        if self._damage:
            return False
        self._done = self._input.tell()
        if self._blocks is None and self._file.end and not self._input.grow():
            return False  # nothing was written since the end was met
        block = None
        try:
            if self._blocks is None:
                self._begin()
            if self._blocks is not None:
                block = next(self._blocks, None)
        except Exception as error:  # noqa: BLE001 - as above
            if not self._input.short:
                self._fail(error)
        if block is None:  # the library's reader ends with the file: another one continues when the file grows
            self._blocks = None
            self._input.rewind(b"")
            return False
        self._input.cut()
        self._rows = iter(block)
        return True

    def _begin(self) -> None:
        """Starts the library's reader at the block that is next."""
        if not self._header:
            self._check_magic()
        self._input.rewind(self._header)
        self._input.codec = "null"  # the header is not compressed
        source: Any = self._input  # has what the library calls of a file object
        blocks = fastavro.block_reader(source, handle_unicode_errors="replace")
        self._header = self._input.cut()
        self._input.codec = blocks.codec
        self._blocks = iter(blocks)

    def _check_magic(self) -> None:
        while len(self._input.pending) < len(MAGIC) and self._input.grow():
            pass
        start = self._input.pending[: len(MAGIC)]
        if not MAGIC.startswith(start):
            msg = f"got a file that begins with {start!r}, expected {MAGIC!r}"
            raise ValueError(msg)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in EXHAUSTED):
            raise error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        self._damage = f"damaged Avro data after {self._done} bytes: {reason}"

    def complete(self) -> None:
        """Changes nothing: every row has an end of its own."""

    def damage(self) -> str:
        """Returns the damage: broken data, or an end of file within a block; else the empty string."""
        return self._damage or ("the Avro file is truncated" if self._input.pending else "")

    def share(self) -> float:
        """Returns how much of the file has become rows, from 0 to 1."""
        return min(1.0, self._done / max(1, os.fstat(self._file.fileno()).st_size))

    def close(self) -> None:
        """Releases the file."""
        self._file.close()
