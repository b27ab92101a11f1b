"""Spool of standard input and pipes: the stream is copied to files, so that it can be replayed after a crash.

A thread copies the stream into segments in the data folder and syncs each piece as it is read. Every start begins a
new segment, as the new standard input may be another CSV file with its own header; long streams continue in further
segments, so that old ones can be deleted.
"""

from __future__ import annotations

import glob
import os
import threading
from pathlib import Path
from typing import ClassVar, Final

import structlog

from service.config.csv_start import USUAL_START, CsvStart
from service.folder_lock import sync_folder
from service.messages.parse_access_log import begins_with_entry
from service.messages.parse_influx import begins_with_point
from service.messages.parse_lines import LINE_FORMATS
from service.sources.byte_source import open_bytes
from service.sources.lines import Lines
from service.sources.manifest import Format, file_format
from service.sources.pipes import descriptor_of

_CHUNK = 1 << 16  # bytes; capacity of a pipe
SEGMENT_BYTES: Final = 64 << 20  # small enough to be deleted soon, large enough for few files per day of input
_RETRY_SECONDS = 1.0  # after a full disk; the writer of the pipe blocks meanwhile, nothing is lost

_log = structlog.get_logger(__name__)


class Spool:
    """Copies a stream into segment files.

    Args:
        folder: of the segments.
        format_setting: "auto" (the first lines say whether they are JSON lines, line protocol, an access log or CSV),
            "csv", "jsonl", "influx" or "access-log".
        descriptor: the stream; standard input by default.
        pipe: a named pipe to open instead; opening waits for its writer.
        again: whether to reopen the pipe when its writer has ended; the next writer begins a new stream.
        max_record_bytes: maximum length of a CSV record; the lines of a longer one are separate records.
        csv: how CSV begins.
        segment_bytes: size beyond which the next record begins a new segment.
    """

    _of_process: ClassVar[dict[Path, Spool]] = {}

    def __init__(
        self,
        folder: Path,
        format_setting: str = "auto",
        *,
        descriptor: int | None = None,
        pipe: str | None = None,
        again: bool = False,
        max_record_bytes: int = 65_536,
        csv: CsvStart = USUAL_START,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        self._format = format_setting
        self._descriptor = 0 if descriptor is None else descriptor
        self._pipe, self._again, self._csv = pipe, again, csv
        self._max_record_bytes, self._segment_bytes = max_record_bytes, segment_bytes
        self._thread: threading.Thread | None = None
        self._segment: Path | None = None
        self._size = 0  # synced bytes of the segment
        self._ends: Lines | None = None  # finds the end of a record in a full CSV segment

    @classmethod
    def of_process(
        cls,
        folder: Path,
        format_setting: str = "auto",
        *,
        pipe: str | None = None,
        again: bool = False,
        max_record_bytes: int = 65_536,
        csv: CsvStart = USUAL_START,
    ) -> Spool:
        """Returns the process-wide spool of standard input, or of a pipe, in that folder.

        A process has one standard input, and bytes read from it cannot be read again. A transport that is rebuilt
        after an error must therefore use the running copy and not start a second one.
        """
        return cls._of_process.setdefault(
            folder.absolute(),
            cls(folder, format_setting, pipe=pipe, again=again, max_record_bytes=max_record_bytes, csv=csv),
        )

    @property
    def pattern(self) -> str:
        """Returns the glob of the segments, in order."""
        return f"{glob.escape(str(self.folder))}/*.*"

    def start(self) -> None:
        """Starts the copying thread. A further call has no effect, as a stream can be read only once."""
        if self._thread is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._drop_half_line()
        self._thread = threading.Thread(target=self._copy_all, name="stdin-spool", daemon=True)
        self._thread.start()

    def growing(self) -> bool:
        """Returns whether the stream may still grow."""
        return self._thread is None or self._thread.is_alive()

    def segments(self) -> list[Path]:
        """Returns the segments, oldest first."""
        return sorted(self.folder.glob("*.*"))

    def _drop_half_line(self) -> None:
        """Removes an incomplete last line: it was never a record, and its rest was lost with the old pipe."""
        for segment in self.segments()[-1:]:
            data = segment.read_bytes()
            kept = data.rfind(b"\n") + 1
            if kept < len(data):
                _log.warning(
                    "incomplete last line of the input pipe deleted", file=str(segment), bytes=len(data) - kept
                )
                os.truncate(segment, kept)

    def _copy_all(self) -> None:
        """Copies the stream, or successive streams of a pipe that is followed."""
        if self._pipe is None:
            self._run()
            self._stop_watching()
            return
        number = descriptor_of(self._pipe)
        while True:
            try:
                # Reopening /dev/fd/N after its writer has ended would wait forever for another writer.
                self._descriptor = os.open(self._pipe, os.O_RDONLY | os.O_CLOEXEC) if number is None else os.dup(number)
            except OSError as error:
                _log.warning("input pipe cannot be opened", pipe=self._pipe, error=str(error.strerror))
                return
            try:
                self._run()
            finally:
                os.close(self._descriptor)
            if not self._again or number is not None:
                return
            self._segment, self._size = None, 0
            self._stop_watching()

    def _run(self) -> None:
        """Copies until the stream ends; adds a line end to the last line if it has none."""
        start = b""
        while self._segment is None:
            data = os.read(self._descriptor, _CHUNK)
            start += data
            if start.strip() and (b"\n" in start or not data):
                self._begin(start)
            elif not data:
                return
        last = start[-1:]
        while data := os.read(self._descriptor, _CHUNK):
            self._copy(data)
            last = data[-1:]
        if last != b"\n":
            self._append(b"\n")

    def _begin(self, start: bytes) -> None:
        """Creates the first segment; the first bytes, including a complete line, determine the format."""
        text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        kind: Format = "jsonl" if text.startswith(b"{") else "influx" if begins_with_point(start) else "csv"
        if kind == "csv" and begins_with_entry(start):
            kind = "access-log"
        if self._format in {"csv", "jsonl", *LINE_FORMATS}:
            kind = file_format("", self._format)
        number = max((int(path.stem) for path in self.segments()), default=0) + 1
        self._segment, self._size = self.folder / f"{number:012d}.{kind}", 0
        self._append(start)

    def _copy(self, data: bytes) -> None:
        line_end = data.rfind(b"\n") + 1
        if self._segment is None or self._size + len(data) <= self._segment_bytes or not line_end:
            self._append(data)
            return
        self._append(data[:line_end])
        header = self._header_at_end(self._segment)
        if header is not None:
            number = int(self._segment.stem) + 1
            self._segment, self._size = self._segment.with_stem(f"{number:012d}"), 0
            self._stop_watching()
        self._append((header or b"") + data[line_end:])

    def _header_at_end(self, segment: Path) -> bytes | None:
        """Returns the start of the next segment if this one ends with a record; None while a quoted field is open."""
        if segment.suffix != ".csv":
            return b""
        if self._ends is None:
            self._ends = Lines(open_bytes(segment, 0), 0, max_bytes=self._max_record_bytes, header=True, csv=self._csv)
        while self._ends.fill():
            self._ends.drop()
        if self._ends.next_position < self._size:
            return None
        if self._ends.header is None:
            return b""
        return b"\n" * self._csv.skip_lines + (self._ends.header + b"\n" if self._csv.has_header else b"")

    def _stop_watching(self) -> None:
        if self._ends is not None:
            self._ends.source.close()
        self._ends = None

    def _append(self, data: bytes) -> None:
        """Writes and syncs; retries while the disk is full."""
        if self._segment is None:
            return
        waiting = threading.Event()
        while True:
            try:
                file = os.open(self._segment, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    written = os.pwrite(file, data, self._size)
                    os.fsync(file)
                finally:
                    os.close(file)
                if not self._size:  # the file name must survive a crash of the machine as well
                    sync_folder(self.folder)
            except OSError as error:
                _log.warning("reading of standard input paused, its spool cannot be written", error=str(error))
                waiting.wait(_RETRY_SECONDS)
            else:
                self._size += written
                data = data[written:]
                if not data:
                    return

    def release(self, oldest_needed: str) -> None:
        """Deletes the segments before the named one."""
        for segment in self.segments():
            if str(segment) < oldest_needed:
                segment.unlink(missing_ok=True)

    def close(self) -> None:
        """Does nothing: the copy continues, as bytes in the pipe would be lost before a new start."""
