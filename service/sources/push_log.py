"""Write-ahead log of pushed events: events are on disk before they are acknowledged.

    <folder>/<position, 20 digits>.jsonl      position of its first byte; segments follow each other without a gap

A segment holds groups: JSON lines, then their checksums and a mark with length and checksum of the group. A group is
synced as a unit, and threads that wait for the disk at the same time share a group (group commit). A group without a
mark was cut short by a crash: it was never acknowledged, and it is cut off at the next start. Readers see synced bytes
only, so everything that was read is still there after a crash of the machine. A line whose bytes have changed since it
was written is returned as damaged, the lines around it unchanged: see push_groups.py. A segment is checked when it is
opened, or first read, by a process that did not write it.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog

from service.errors import EXHAUSTED, ServiceError, SourceGoneError
from service.folder_lock import FolderLock, sync_folder
from service.sources.push_groups import LineSpan, inspect, sealed

_log = structlog.get_logger(__name__)

_SEGMENT_BYTES: Final = 16 << 20
_BLOCK_BYTES: Final = 1 << 20  # read at once


class PushError(ServiceError):
    """Events were not accepted; none of them was stored."""


class PushFullError(PushError):
    """The spool has reached its maximum size: the engine has to catch up first."""


class PushClosedError(PushError):
    """The spool is not open, as the daemon is starting or stopping."""


class PushFailedError(PushError):
    """The events could not be written to disk."""


class PushedLines(NamedTuple):
    """Positions of lines, the lines, the position of the next line, and which lines are damaged.

    Attributes:
        problems: as in `Records`: index and reason.
    """

    positions: list[int]
    values: list[bytes]
    next_position: int
    problems: Mapping[int, str] = MappingProxyType({})


@dataclass(slots=True)
class _Group:
    """Lines that are synced as a unit."""

    lines: list[bytes] = field(default_factory=list)
    bytes: int = 0
    written: bool = False
    failure: str = ""


class PushLog:
    """The log; many threads append to it, one reads it.

    Args:
        folder: of the segments; created when missing.
        most_bytes: maximum size of all segments together.
        segment_bytes: size beyond which the next group begins a new segment.
    """

    def __init__(self, folder: Path, most_bytes: int, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._segment_bytes = min(segment_bytes, most_bytes // 8)
        self._lock = threading.Lock()  # guards the next four
        self._bases: list[int] = []
        self._end = 0
        self._open = False
        self._group = _Group()
        # Segments written by earlier processes and not checked yet; lines and end of the damaged ones.
        self._unchecked: set[int] = set()
        self._damaged: dict[int, tuple[list[LineSpan], int]] = {}
        self._writing = threading.Lock()  # held by the thread that writes the group for all
        self._file = -1
        self._guard = FolderLock(folder / "lock", folder, "set another state.data_dir")

    def open(self, committed: int | None, *, cold: bool = False) -> None:
        """Takes the folder's lock, truncates incomplete groups and accepts appends. A further call only checks.

        Args:
            committed: position up to which events were forecast; None if never.
            cold: continue at the committed position if the segments do not reach that far.

        Raises:
            SourceGoneError: the segments end before `committed`.
            TransportBusyError: another process holds the lock of the folder.
        """
        with self._writing, self._lock:
            if not self._open:
                self._guard.take()
                self._bases = sorted(int(path.stem) for path in self.folder.glob("*.jsonl"))
                self._unchecked, self._damaged = set(self._bases[:-1]), {}
                self._end = self._repair()
            if committed is not None and self._end < committed:
                if not cold:
                    msg = (
                        f"{self.folder}: ends at position {self._end}, but events up to position {committed} were "
                        'forecast. Restore its files, or set state.on_source_gone = "cold" to continue without them'
                    )
                    raise SourceGoneError(msg)
                self._remove(len(self._bases))
                self._end = committed
            self._open = True

    def _repair(self) -> int:
        """Truncates the newest segment after its last group and returns the position of the end."""
        if not self._bases:
            return 0
        base = self._bases[-1]
        path = self._path(base)
        data = path.read_bytes()
        kept = self._check(base, data)
        if kept < len(data):
            _log.warning("unacknowledged pushed events deleted", file=str(path), bytes=len(data) - kept)
            with path.open("r+b") as file:
                file.truncate(kept)
                os.fsync(file.fileno())
        return base + kept

    def _check(self, base: int, data: bytes) -> int:
        """Checks a segment for damage and returns the end of its last group."""
        self._unchecked.discard(base)
        end, lines = inspect(data)
        if lines is not None:
            self._damaged[base] = lines, end
            lost = sum(not one.good for one in lines)
            _log.warning("pushed events are damaged", file=str(self._path(base)), damaged=lost, good=len(lines) - lost)
        return end

    def close(self) -> None:
        """Stops accepting appends; releases files and lock. May be called twice, and without `open`."""
        with self._writing, self._lock:
            self._open = False
            self._leave()
            self._guard.release()

    @property
    def size(self) -> int:
        """Returns the bytes of all segments."""
        return self._end - self._bases[0] if self._bases else 0

    @property
    def end(self) -> int:
        """Returns the position after all synced bytes."""
        return self._end

    def append(self, lines: bytes) -> None:
        r"""Appends lines; returns when they are on disk.

        Args:
            lines: complete lines, each with its "\n", none of them empty, none beginning with "#".

        Raises:
            PushError: nothing was stored; the message has the reason.
        """
        with self._lock:
            if not self._open:
                msg = "the daemon accepts no events while it starts or stops; retry later"
                raise PushClosedError(msg)
            group = self._group
            if self.size + group.bytes + len(lines) > self.most_bytes:
                msg = (
                    f"the spool holds {self.size} bytes, expected at most {self.most_bytes} (input.push_spool); "
                    "retry when the engine has processed some of them"
                )
                raise PushFullError(msg)
            group.lines.append(lines)
            group.bytes += len(lines)
        with self._writing:
            if not group.written:  # the first thread of the group that gets here writes all of it
                with self._lock:
                    self._group = _Group()
                self._write(group)
        if group.failure:
            raise PushFailedError(group.failure)

    def _write(self, group: _Group) -> None:
        group.written = True
        if not self._open:
            group.failure = "the daemon accepts no events while it stops; retry later"
            return
        data = sealed(b"".join(group.lines))
        try:
            base = self._segment()
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, memoryview(data)[done:], self._end - base + done)
            os.fsync(self._file)
        except OSError as error:
            group.failure = f"the spool {self.folder} cannot be written: {error.strerror or error}"
            _log.warning("pushed events refused", error=group.failure)
            base = self._bases[-1] if self._bases else self._end
            with contextlib.suppress(OSError):  # on failure it is overwritten, or cut off at the next start
                os.truncate(self._path(base), self._end - base)
            self._leave()
        else:
            with self._lock:
                self._end += len(data)

    def _segment(self) -> int:
        """Opens the segment to write to and returns its base."""
        if self._bases and self._end - self._bases[-1] < self._segment_bytes:
            base, new = self._bases[-1], False
        else:
            base, new = self._end, True
            self._leave()
        if self._file < 0:
            self._file = os.open(self._path(base), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if new:
            sync_folder(self.folder)
            with self._lock:
                self._bases.append(base)
        return base

    def _leave(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def earliest(self) -> int:
        """Returns the oldest position that is held."""
        return self._end - self.size

    def read(self, position: int, limit: int, stop: int | None = None) -> PushedLines | None:
        """Returns at most `limit` lines from a position on, up to `stop` or the end; None if there are none.

        Raises:
            SourceGoneError: the position is no longer held.
        """
        with self._lock:
            bases, end = list(self._bases), self._end if stop is None else min(stop, self._end)
        while position < end:
            at = bisect.bisect_right(bases, position) - 1
            if at < 0:
                msg = (
                    f"{self.folder}: position {position} is needed, but the segments begin at position "
                    f"{bases[0] if bases else end}; restore the deleted files"
                )
                raise SourceGoneError(msg)
            until = min(end, bases[at + 1]) if at + 1 < len(bases) else end
            found = self._lines(bases[at], position, until, limit)
            if found.values:
                return found
            position = found.next_position
        return None

    def _lines(self, base: int, position: int, until: int, limit: int) -> PushedLines:
        path, size = self._path(base), min(until - position, _BLOCK_BYTES)
        try:
            if base in self._unchecked:
                self._check(base, path.read_bytes())
            lines, end = self._damaged.get(base, ([], 0))
            if position - base < end:
                return _of_damaged(base, path.read_bytes(), lines, position, min(until, base + end), limit)
            with path.open("rb") as file:
                file.seek(position - base)
                data = file.read(size)
                if data.rfind(b"\n") < 0:  # one line longer than a block
                    data += file.readline()
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            msg = f"{path}: position {position} is needed, but the file cannot be read ({error.strerror}); restore it"
            raise SourceGoneError(msg) from error
        parts = data.split(b"\n", limit + 2)
        positions, values = list[int](), list[bytes]()
        for part in parts[:-1]:
            if part.startswith(b"#"):
                position += len(part) + 1
                continue
            if len(values) == limit:
                break
            positions.append(position)
            values.append(part)
            position += len(part) + 1
        if not parts[:-1]:
            msg = (
                f"{path}: ends at position {position}, expected complete lines up to position {until}; another program "
                "truncated it, restore the file"
            )
            raise SourceGoneError(msg)
        return PushedLines(positions, values, position)

    def release(self, position: int) -> None:
        """Deletes the segments that end at or before a position; never the one being written, so it does not wait."""
        with self._lock:
            self._remove(max(0, bisect.bisect_right(self._bases, position) - 1))

    def _remove(self, count: int) -> None:
        """Removes the oldest `count` segments."""
        for base in self._bases[:count]:
            self._path(base).unlink(missing_ok=True)
        del self._bases[:count]

    def _path(self, base: int) -> Path:
        return self.folder / f"{base:020d}.jsonl"


def _of_damaged(base: int, data: bytes, lines: list[LineSpan], position: int, until: int, limit: int) -> PushedLines:
    """Returns at most `limit` lines of a damaged segment from a position on."""
    first = bisect.bisect_left(lines, position - base, key=lambda one: one.start)
    last = bisect.bisect_left(lines, until - base, lo=first, key=lambda one: one.start)
    chosen = lines[first : min(last, first + limit)]
    end = base + lines[first + limit].start if last > first + limit else until
    problems = {at: "damaged" for at, one in enumerate(chosen) if not one.good}
    values = [data[one.start : one.stop] for one in chosen]
    return PushedLines([base + one.start for one in chosen], values, end, problems)
