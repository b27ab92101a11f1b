"""Replay of files, cut into the same records as in the first read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path

from service.config.csv_start import USUAL_START, CsvStart
from service.errors import SourceGoneError
from service.messages.decode import CSV_HEADER
from service.messages.outside import FILE_NAME
from service.messages.parse_lines import FORMAT_HEADER, LINE_FORMATS
from service.ports import Records
from service.sources.byte_source import CheckedBytes, open_bytes
from service.sources.lines import Lines, TakenLines
from service.sources.manifest import FileEntry, Format, file_format, stem_of

Headers = tuple[tuple[str, bytes], ...]


def as_records(partition: str, taken: TakenLines, headers: Headers) -> Records:
    """Converts lines to records; all of them share one tuple of headers, or have none."""
    return Records(
        partition,
        taken.positions,
        taken.next_position,
        taken.values,
        headers=[headers] * len(taken.values) if headers else None,
        problems=taken.problems,
    )


def headers_of(path: str, header: bytes | None, *, named: bool, form: Format) -> Headers:
    """Returns the headers of the records of a file: its CSV header, if it is known, and its name, if `named`.

    Line protocol and access logs have a header that says so.
    """
    found: Headers = ((CSV_HEADER, header),) if header is not None else ()
    found = ((FORMAT_HEADER, form.encode()), *found) if form in LINE_FORMATS else found
    return (*found, (FILE_NAME, stem_of(path).encode("utf-8", "replace"))) if named else found


def read_header(path: str, format_setting: str, max_bytes: int, csv: CsvStart) -> tuple[bytes | None, int]:
    """Returns the header line of a CSV file and the offset after it; (None, 0) when the file is none, or empty.

    For a header that is still being written the offset is beyond the end of the file.
    """
    if file_format(path, format_setting) != "csv":
        return None, 0
    source = open_bytes(Path(path), 0)
    lines = Lines(source, 0, max_bytes=max_bytes, header=True, csv=csv)
    try:
        while lines.header is None and lines.fill():
            pass
        lines.finish()
        return lines.header, lines.header_end
    finally:
        source.close()


def replay_files(
    partition: str,
    entries: Sequence[FileEntry],
    start: int,
    end: int,
    limit: int,
    format_setting: str,
    *,
    max_bytes: int,
    csv: CsvStart,
    named: bool = False,
) -> Iterator[Records]:
    """Reads [start, end) of these files, in batches of at most `limit` records; `named`: with the name of their file.

    Raises:
        SourceGoneError: the files end before `end`.
    """
    for entry, following in zip_longest(entries, entries[1:]):
        lowest = max(start, entry.base)
        highest = end if following is None else min(end, following.base)
        if lowest >= highest:
            continue
        cuts = {position for position, _ in entry.cuts if lowest < position < highest}
        header, header_end = read_header(entry.path, format_setting, max_bytes, csv)
        for lower, upper in pairwise(sorted({lowest, highest} | cuts)):
            in_header = header is not None and lower - entry.base + entry.start < header_end
            begin = entry.base if in_header else lower  # the lines before a header are counted from the start
            offset = begin - entry.base + entry.start
            form = file_format(entry.path, format_setting)
            source = open_bytes(Path(entry.path), offset, form=form)
            source.complete()  # a replay ends at `upper`, with a row that only the end of the file ends or without it
            lines = _stretch(
                entry, source, begin, upper, max_bytes, None if in_header else header, csv if in_header else None
            )
            headers = headers_of(entry.path, header, named=named, form=form)
            try:
                while lines.fill() or lines.finish(entry.problem_at(upper)):
                    while (taken := lines.take(limit)) is not None:
                        yield as_records(partition, taken, headers)
            finally:
                lines.source.close()
            if lines.read_to < upper:
                msg = (
                    f"{entry.path}: got {lines.read_to - entry.base} bytes, expected the {upper - entry.base} that a "
                    "replay needs; restore the file"
                )
                raise SourceGoneError(msg)


def _stretch(
    entry: FileEntry,
    source: CheckedBytes,
    start: int,
    end: int,
    max_bytes: int,
    below: bytes | None,
    csv: CsvStart | None,
) -> Lines:
    """Returns the lines of a part of a file: below a header, or from its start on, of which `csv` says how it is."""
    return Lines(
        source,
        start,
        stop=end,
        max_bytes=max_bytes,
        header=csv is not None,
        csv=csv or USUAL_START,
        below=below,
        fragment=entry.is_within_line(start),
        first=start == entry.base and not entry.start,
    )
