"""Splits bytes into lines with their positions, a block at a time, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from service.config.csv_start import USUAL_START, CsvStart
from service.sources.byte_source import ByteSource
from service.sources.quotes import Line, QuotedLines, without_names

BLOCK_BYTES = 1 << 20  # read at once; some thousand events, and the extra memory of a very long line
TOO_LONG = b""  # the header of a file whose header line is longer than a record may be
_BOM = b"\xef\xbb\xbf"


class TakenLines(NamedTuple):
    """Lines returned by `Lines.take`: start of each, its bytes, its problem if any, and the start of the next one."""

    positions: list[int]
    values: list[bytes]
    problems: dict[int, str]
    next_position: int


class Lines:
    r"""Lines of one stretch of one file.

    A line ends with "\n" or "\r\n", which is not part of it. Empty lines are skipped. Bytes after the last line end
    are not a line until `finish` is called. Lines of CSV that contain parts of one quoted field are one record, see
    quotes.py.

    Args:
        source: the bytes, already at `position`; owned by this object from then on.
        position: of the first byte, in the numbering of the partition.
        stop: position at which to stop reading, or None for the end of the file.
        max_bytes: of a longer line only the first `max_bytes` are kept, and it is marked "too_large".
        header: whether the stretch starts at the start of a CSV file, with its header. The attribute is that line, or
            `TOO_LONG`.
        csv: how a CSV file begins. The header of one without is a line without names, made of its first record.
        below: the CSV header of the file, if the stretch begins after it.
        fragment: whether the first line is the rest of one that was taken before it was complete ("truncated").
        first: whether the stretch starts at the start of a file, where a byte order mark is possible.
    """

    def __init__(
        self,
        source: ByteSource,
        position: int,
        *,
        stop: int | None = None,
        max_bytes: int,
        header: bool,
        csv: CsvStart = USUAL_START,
        below: bytes | None = None,
        fragment: bool = False,
        first: bool = True,
    ) -> None:
        self.source = source
        self.header: bytes | None = None
        self.header_end = 0  # position after the header line, once `header` is known
        self._stop = stop
        self._max_bytes = max_bytes
        self._header_wanted = header
        self._csv, self._skip = csv, csv.skip_lines if header else 0
        self._quoted = QuotedLines(below, max_bytes) if header or below is not None else None
        self._fragment = fragment
        self._bom_wanted = first
        self._read_to = position
        self._tail = b""  # start of the line whose end was not read yet, at most max_bytes + 1 of it
        self._tail_length = 0  # all of that line so far
        self._positions: list[int] = []
        self._values: list[bytes] = []
        self._problems: dict[int, str] = {}  # by index into the two lists
        self._taken = 0  # how many of the two lists were returned by `take`

    @property
    def read_to(self) -> int:
        """Returns the position after the last byte read."""
        return self._read_to

    @property
    def next_position(self) -> int:
        """Returns the start of the first line that was not taken; everything before it has been processed."""
        if self._taken < len(self._positions):
            return self._positions[self._taken]
        if self._quoted is not None and self._quoted.waiting:
            return self._quoted.position
        return self._read_to - self._tail_length

    @property
    def ends_whole(self) -> bool:
        """Returns whether the bytes read so far end with a line end."""
        return not self._tail_length

    @property
    def ends_in_cr_alone(self) -> bool:
        """Returns whether lines seem to end in CR alone: a file without LF, in whose parts the same fields repeat."""
        if self._quoted is None:
            return self._bom_wanted and b"}\r{" in self._tail  # no line of the file has ended yet
        if not self._header_wanted and self.header_end < self._read_to:
            return False
        first, *others = (self._tail if self._header_wanted else self.header or b"").split(b"\r")
        fields = first.count(b",")
        return fields > 0 and bool(others) and others[0].count(b",") == fields

    @property
    def pending(self) -> bool:
        """Returns whether `take` would return lines."""
        return self._taken < len(self._values)

    def fill(self) -> bool:
        """Reads one more block and returns whether there was anything to read."""
        size = BLOCK_BYTES if self._stop is None else min(BLOCK_BYTES, self._stop - self._read_to)
        block = self.source.read(size) if size > 0 else b""
        if not block:
            return False
        self._drop_taken()
        start = self._read_to
        self._read_to += len(block)
        first_end = block.find(b"\n")
        if first_end < 0:
            self._extend_tail(block)
            return True
        self._extend_tail(block[:first_end])
        self._end_tail(start + first_end)
        last_end = block.rfind(b"\n")
        if last_end > first_end:
            parts = block[first_end + 1 : last_end].split(b"\n")
            self._add(parts, start + first_end + 1, quotes=b'"' in block, returns=b"\r" in block)
        self._extend_tail(block[last_end + 1 :])
        return True

    def finish(self, problem: str = "") -> bool:
        """Makes records of unfinished lines: the bytes after the last line end, lines with an open quote.

        If the file grows later, the rest of such a line is a record of its own, marked "truncated".

        Args:
            problem: reason code of the last line, or the empty string.

        Returns:
            Whether `take` has records now.
        """
        if not self._tail_length and not (self._quoted is not None and self._quoted.waiting):
            return False
        self._drop_taken()
        half = not self.ends_whole
        if problem:
            self._take_quoted(final=True)
        if half:
            self._end_tail(self._read_to, problem)
        self._take_quoted(final=True)
        self._fragment = half and self.pending
        return self.pending

    def take(self, limit: int) -> TakenLines | None:
        """Returns at most `limit` lines, or None when there are none."""
        start, stop = self._taken, min(self._taken + limit, len(self._values))
        if start == stop:
            return None
        self._taken = stop
        problems = {index - start: code for index, code in self._problems.items() if start <= index < stop}
        return TakenLines(self._positions[start:stop], self._values[start:stop], problems, self.next_position)

    def drop(self) -> None:
        """Discards all lines that `take` would return."""
        self._taken = len(self._values)

    def _drop_taken(self) -> None:
        if self._taken == len(self._values):
            self._positions, self._values, self._problems, self._taken = [], [], {}, 0

    def _extend_tail(self, data: bytes) -> None:
        self._tail_length += len(data)
        # One byte more than allowed is kept: it may be the "\r" that does not count.
        self._tail += data[: max(0, self._max_bytes + 1 - len(self._tail))]

    def _end_tail(self, end: int, problem: str = "") -> None:
        """Adds the line that started with the tail and ends at `end`."""
        line = Line(end - self._tail_length, self._tail, self._tail_length)
        self._tail, self._tail_length = b"", 0
        if self._bom_wanted:
            self._bom_wanted = False
            line = line._replace(value=line.value.removeprefix(_BOM))
        if self._skip:
            self._skip -= 1
            return
        if self._fragment:
            self._fragment = False
            problem = "truncated"
        elif (
            self._quoted is not None
            and not problem
            and (self._quoted.waiting or not self._quoted.is_closed(line.value))
        ):
            self._quoted.add([line])
            self._take_quoted()
            return
        self._add_record(line, problem)

    def _take_quoted(self, *, final: bool = False) -> None:
        """Adds the CSV records whose end was found."""
        if self._quoted is not None:
            for record in self._quoted.records(final=final):
                self._add_record(record, "")

    def _add_record(self, record: Line, problem: str) -> None:
        position, value, length = record
        end = position + length
        if value.endswith(b"\r"):
            value, length = value[:-1], length - 1
        if self._header_wanted and value:
            self._header_wanted = False
            self.header = value if length <= self._max_bytes else TOO_LONG
            self.header_end = end + 1
            if not self._csv.has_header:
                self.header, self.header_end = without_names(self.header, self._csv.separator), position
            if self._quoted is not None:
                self._quoted.begin(self.header)
            if self._csv.has_header:
                return
        if not value:
            return
        if length > self._max_bytes:
            value, problem = value[: self._max_bytes], "too_large"
        if problem:
            self._problems[len(self._values)] = problem
        self._positions.append(position)
        self._values.append(value)

    def _add(self, parts: list[bytes], position: int, *, quotes: bool, returns: bool) -> None:
        """Adds complete lines, the first of which starts at `position`.

        Args:
            parts: the lines. position: of the first one.
            quotes, returns: whether they may contain quotes, and carriage returns.
        """
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        ends = np.cumsum(lengths + 1) + position
        starts: list[int] = (ends - lengths - 1).tolist()
        most = self._max_bytes + 1
        quoted = self._quoted
        if (
            quoted is not None
            and not self._header_wanted
            and (quoted.waiting or (quotes and not quoted.are_closed(parts)))
        ):
            quoted.add(Line(at, part[:most], len(part)) for at, part in zip(starts, parts, strict=True))
            self._take_quoted()
            return
        if self._header_wanted or lengths.max() >= most:
            for part, start in zip(parts, starts, strict=True):
                self._extend_tail(part)
                self._end_tail(start + len(part))
            return
        if returns and any(part.endswith(b"\r") for part in parts):
            parts = [part.removesuffix(b"\r") for part in parts]
        if not all(parts):
            starts = [start for start, part in zip(starts, parts, strict=True) if part]
            parts = [part for part in parts if part]
        self._positions += starts
        self._values += parts
