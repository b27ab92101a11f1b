"""A bounded queue of deliveries on disk, written by the engine's thread and read by that of a target.

    <folder>/<number, 12 digits>.spool    segments, see segments.py; the oldest are deleted once they are acknowledged
    <folder>/sent                         up to where they are acknowledged, see sent_record.py
    <folder>/begins.json                  position from which on the events of each partition are delivered

Entries are written to the operating system with every unit, and reach the disk with `sync`, which is called before a
snapshot.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson
import structlog

from service.deliveries.delivery import BatchLimit, Delivery, Spooled
from service.deliveries.segments import (
    Key,
    SpoolEntry,
    Written,
    entries_of,
    head_of,
    next_size,
    read_entries,
    read_head,
)
from service.deliveries.sent_record import SentRecord, SpoolPlace
from service.folder_lock import sync_folder
from service.registry.models import replace_file

_log = structlog.get_logger()

_SEGMENT_BYTES: Final = 8 << 20
_LEAST_SEGMENTS: Final = 8  # in a full spool, so that an overflow drops an eighth of it at most
_BLOCK_BYTES: Final = 1 << 20  # read at once


class SpooledBatch(NamedTuple):
    """Deliveries to send.

    Attributes:
        deliveries: in order. end: the place after them. oldest_ms: wall time at which the first was written.
    """

    deliveries: list[Spooled]
    end: SpoolPlace
    oldest_ms: int


class DeliverySpool:
    """The queue of one target. `append` and `sync` are called by other threads than `read` and `acknowledge`.

    Args:
        folder: of the segments; created by `open`.
        most_bytes: largest size on disk; on overflow the oldest segment is dropped.
        segment_bytes: size beyond which a new segment begins.
    """

    def __init__(self, folder: Path, most_bytes: int, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self._folder, self._most = folder, most_bytes
        self._segment_bytes = max(1, min(segment_bytes, most_bytes // _LEAST_SEGMENTS))
        self._changed = threading.Condition()  # its lock guards all that follows
        self._sizes: dict[int, int] = {}  # of the segments, oldest first
        self._begins: dict[int, int] = {}  # offset of the first delivery; of segments that this process has read
        self._sent = SpoolPlace(0, 0)
        self._batch_end = 0  # offset in the segment of `sent`; of a batch that was noted and not acknowledged
        self._written: dict[Key, Written] = {}
        self._since: dict[str, int] = {}
        self._output, self._file, self._record = "", -1, SentRecord()
        self._unsynced = False

    def open(self, output: str) -> None:
        """Opens the segments of an earlier process, or an empty spool. A further call does nothing.

        Args:
            output: identity of the output; with another one than before, it begins at the committed positions.

        Raises:
            OSError: the folder cannot be read or written.
        """
        with self._changed:
            if self._file >= 0:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            numbers = sorted(int(path.stem) for path in self._folder.glob("*.spool"))
            self._sizes = {number: self._path(number).stat().st_size for number in numbers}
            before = self._restore()
            self._since = self._read_since(output)
            if before not in ("", output):
                self._written = {}
            self._output = output
            self._sent, self._batch_end = self._read_sent()
            if self._sizes and before == output:
                self._file = os.open(self._path(max(self._sizes)), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                self._unsynced = True  # by a process that was killed, perhaps
            else:
                self._begin_segment()
            self._record.note(self._sent, self._batch_end)  # another place where files were cut off or are gone

    def _restore(self) -> str:
        """Reads how far the newest intact segment is written; deletes segments without a head.

        A segment that was cut off is continued in a new one.

        Returns:
            The output that it was written for, "" without segments.
        """
        while self._sizes:
            newest = max(self._sizes)
            data = self._path(newest).read_bytes()
            if (head := read_head(data)) is None:
                self._report_unusable(newest)
                self._remove(newest)
                continue
            self._written, end = dict(head.written), head.end
            self._begins[newest] = head.end
            for entry in read_entries(data, head.end):
                end = entry.end
                if entry.key is not None and entry.written is not None:
                    self._written[entry.key] = entry.written
            if end < len(data):
                os.truncate(self._path(newest), end)
                self._sizes[newest] = end
                _log.warning("deliveries cut off", file=str(self._path(newest)), bytes=len(data) - end)
            return head.output
        return ""

    def _read_sent(self) -> tuple[SpoolPlace, int]:
        """Returns up to where deliveries are acknowledged, and the noted batch; at most the end of what is there."""
        found = self._record.open(self._folder / "sent")
        if found is None or (size := self._sizes.get(found[0].segment)) is None:
            return SpoolPlace(min(self._sizes, default=0), 0), 0
        (segment, offset), batch_end = found
        return SpoolPlace(segment, min(offset, size)), min(batch_end, size)

    def _read_since(self, output: str) -> dict[str, int]:
        try:
            found = orjson.loads((self._folder / "begins.json").read_bytes())
            return {str(name): int(at) for name, at in found["since"].items()} if found["output"] == output else {}
        except (FileNotFoundError, ValueError, TypeError, LookupError, AttributeError):
            return {}

    def begin(self, partition: str, since: int) -> None:
        """Notes from where on the events of a partition are delivered, unless it is noted already; durable on return.

        Raises:
            OSError: it cannot be written.
        """
        with self._changed:
            if partition in self._since:
                return
            self._since[partition] = since
            text = orjson.dumps({"output": self._output, "since": self._since}, option=orjson.OPT_SORT_KEYS)
            replace_file(self._folder / "begins.json", text.decode())

    def _begin_segment(self) -> None:
        """Begins a segment. The former one is synced first, as the head of the new one says what is in it."""
        if self._file >= 0:
            os.fsync(self._file)
        number = max(self._sizes, default=0) + 1
        head, path = head_of(self._output, self._written), self._path(number)
        new = path.with_suffix(".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            _write(file, head)
            os.fsync(file)
            new.rename(path)
            sync_folder(self._folder)
        except OSError:
            os.close(file)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._unsynced = file, False
        self._sizes[number], self._begins[number] = len(head), len(head)
        if len(self._sizes) == 1:
            self._sent = SpoolPlace(number, len(head))

    def written(self, key: Key) -> Written:
        """Returns how far a partition is written; `begin` was called for it."""
        with self._changed:
            return self._written.get(key) or Written(self._since[key[0]])

    def append(self, key: Key, written: Written, deliveries: Sequence[Delivery], at_ms: int) -> int:
        """Appends the deliveries of a unit.

        Args:
            key: of its partition. written: how far the partition is written with it.
            deliveries: may be empty.
            at_ms: the present wall time.

        Returns:
            The number of older deliveries dropped because the spool has reached its largest size.

        Raises:
            OSError: they cannot be written; nothing of them is kept.
        """
        with self._changed:
            if not deliveries:
                self._written[key] = written
                return 0
            data = entries_of(deliveries, at_ms, key, written)
            newest = max(self._sizes)
            if self._sizes[newest] + len(data) > self._segment_bytes and self._sizes[newest] > self._begins[newest]:
                self._begin_segment()
                newest = max(self._sizes)
            try:
                _write(self._file, data)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._sizes[newest])
                raise
            self._written[key] = written
            self._sizes[newest] += len(data)
            self._unsynced = True
            dropped = self._drop_oldest()
            self._changed.notify_all()
            return dropped

    def _drop_oldest(self) -> int:
        dropped = 0
        while sum(self._sizes.values()) > self._most and len(self._sizes) > 1:
            oldest = min(self._sizes)
            dropped += self._count_from(oldest, self._sent.offset if self._sent.segment == oldest else 0)
            self._remove(oldest)
            if self._sent.segment == oldest:
                self._sent, self._batch_end = SpoolPlace(min(self._sizes), 0), 0
        return dropped

    def _count_from(self, segment: int, offset: int) -> int:
        if self._sent.segment > segment:
            return 0
        with contextlib.suppress(OSError):
            data = self._path(segment).read_bytes()
            if (head := read_head(data)) is not None:
                return sum(1 for _ in read_entries(data, max(offset, head.end)))
        return 0

    def sync(self) -> None:
        """Makes all entries durable.

        Raises:
            OSError: they may not be.
        """
        with self._changed:
            if not self._unsynced or self._file < 0:
                return
            file, self._unsynced = os.dup(self._file), False
        try:
            os.fsync(file)
        except OSError:
            with self._changed:
                self._unsynced = True
            raise
        finally:
            os.close(file)

    @property
    def pending_bytes(self) -> int:
        """Bytes on disk that are not acknowledged."""
        with self._changed:
            return self._pending()

    def _pending(self) -> int:
        later = (size - self._begins.get(one, 0) for one, size in self._sizes.items() if one > self._sent.segment)
        own = self._sizes.get(self._sent.segment, 0) - max(self._sent.offset, self._begins.get(self._sent.segment, 0))
        return max(0, own) + sum(later)

    def wait(self, seconds: float) -> bool:
        """Waits until something may have to be sent, at most so long; returns whether there is."""
        with self._changed:
            if not self._pending():
                self._changed.wait(seconds)
            return self._pending() > 0

    def wake(self) -> None:
        """Ends a `wait`."""
        with self._changed:
            self._changed.notify_all()

    def read(self, limit: BatchLimit) -> SpooledBatch | None:
        """Returns the oldest deliveries that are not acknowledged, at least one; None if there are none.

        Raises:
            OSError: a segment cannot be read.
        """
        while True:
            with self._changed:
                place, newest = self._sent, max(self._sizes, default=0)
                size = self._sizes.get(place.segment, 0)
            try:
                found = self._read_segment(place, size, limit)
            except FileNotFoundError:
                with self._changed:
                    if place.segment in self._sizes:
                        raise
                continue  # it was dropped meanwhile
            if found is not None:
                with self._changed:
                    if self._sent == place:
                        self._batch_end = found.end.offset
                        self._record.note(self._sent, self._batch_end)
            if found is not None or (place.segment >= newest and place.offset >= size):
                return found
            with self._changed:
                if self._sent == place:
                    later = [one for one in self._sizes if one > place.segment]
                    self._go_to(SpoolPlace(min(later), 0) if later else SpoolPlace(place.segment, size))

    def _read_segment(self, place: SpoolPlace, size: int, limit: BatchLimit) -> SpooledBatch | None:
        path, begin = self._path(place.segment), self._begins.get(place.segment)
        if begin is None:
            begin = self._begin_of(place.segment)
        at = max(place.offset, begin)
        if at >= size:
            return None
        with path.open("rb") as file:
            file.seek(at)
            noted = self._batch_end - at if self._batch_end > at else 0
            data = file.read(noted or min(size - at, max(_BLOCK_BYTES, limit.bytes)))
            if (wanted := next_size(data)) > len(data):
                data += file.read(min(wanted, size - at) - len(data))
        entries = list[SpoolEntry]()
        total = 0
        for entry in read_entries(data, 0):
            total += len(entry.body)
            if entries and not noted and (total > limit.bytes or len(entries) == limit.deliveries):
                break
            entries.append(entry)
        if not entries:
            _log.warning("deliveries are damaged and not sent", file=str(path), offset=at, bytes=size - at)
            return None
        end = SpoolPlace(place.segment, at + entries[-1].end)
        return SpooledBatch([Spooled(one.identity, one.body) for one in entries], end, entries[0].at_ms)

    def _begin_of(self, segment: int) -> int:
        with self._path(segment).open("rb") as file:
            data = file.read(8)
            head = read_head(data + file.read(max(0, next_size(data) - 8)))
        begin = self._sizes.get(segment, 0) if head is None else head.end
        if head is None:
            self._report_unusable(segment)
        with self._changed:
            self._begins[segment] = begin
        return begin

    def acknowledge(self, batch: SpooledBatch) -> None:
        """Records that a batch was acknowledged, and deletes the segments before its end."""
        with self._changed:
            if self._file >= 0 and batch.end > self._sent:  # else it was closed, or the batch dropped, meanwhile
                self._go_to(batch.end)

    def divide(self, batch: SpooledBatch) -> None:
        """Forgets the end of a batch that was refused as a whole, so that `read` may return its beginning only."""
        with self._changed:
            if self._file >= 0 and batch.end.segment == self._sent.segment and self._batch_end == batch.end.offset:
                self._batch_end = 0
                self._record.note(self._sent, 0)

    def _go_to(self, place: SpoolPlace) -> None:
        self._sent, self._batch_end = place, 0
        self._record.note(place, 0)
        for number in [one for one in self._sizes if one < place.segment]:
            self._remove(number)

    def _report_unusable(self, number: int) -> None:
        _log.warning("deliveries deleted, their file cannot be used", file=str(self._path(number)))

    def _remove(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)
        self._sizes.pop(number, None)
        self._begins.pop(number, None)

    def close(self) -> None:
        """Syncs and releases the files, opened or not."""
        with contextlib.suppress(OSError):
            self.sync()
        with self._changed:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1
            self._record.close()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.spool"


def _write(file: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(file, memoryview(data)[done:])
