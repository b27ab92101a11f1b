"""The record of what a target has acknowledged, and of the batch that is being sent: one small file, never synced.

If it is lost, deliveries are repeated. As the end of a batch is noted before it is sent, a batch that is sent again
after a kill is the same batch: a target that stores a batch as a whole has all of it or nothing.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Final, NamedTuple

_RECORD: Final = struct.Struct("<QQQ")
_CHECKSUM: Final = struct.Struct("<I")


class SpoolPlace(NamedTuple):
    """A place between two entries: segment and offset."""

    segment: int
    offset: int


class SentRecord:
    """The file; its callers hold the lock of the spool."""

    def __init__(self) -> None:
        self._file = -1

    def open(self, path: Path) -> tuple[SpoolPlace, int] | None:
        """Opens or creates the file.

        Returns:
            The place up to which everything is acknowledged, and the offset of the end of the batch after it, 0 where
            none was noted; None if the record is not there or not intact.

        Raises:
            OSError: it cannot be opened.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        data = os.pread(self._file, _RECORD.size + _CHECKSUM.size, 0)
        if len(data) < _RECORD.size + _CHECKSUM.size:
            return None
        if _CHECKSUM.unpack_from(data, _RECORD.size)[0] != zlib.crc32(data[: _RECORD.size]):
            return None
        segment, offset, batch_end = _RECORD.unpack_from(data)
        return SpoolPlace(segment, offset), batch_end

    def note(self, sent: SpoolPlace, batch_end: int) -> None:
        """Writes the record; if that fails, deliveries are repeated after a kill, perhaps in other batches."""
        data = _RECORD.pack(*sent, batch_end)
        with contextlib.suppress(OSError):
            os.pwrite(self._file, data + _CHECKSUM.pack(zlib.crc32(data)), 0)

    def close(self) -> None:
        """Closes the file, opened or not."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
