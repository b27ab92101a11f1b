"""Stored state of files that were read, by which a restart recognises or rejects them."""

from __future__ import annotations

import hashlib
import os
import re
import time
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from service.errors import EXHAUSTED, ConfigurationError
from service.messages.depth import without_strings
from service.messages.parse_access_log import begins_with_entry
from service.messages.parse_influx import begins_with_point
from service.sources.annotated_csv import ANNOTATIONS
from service.sources.byte_source import ROW_FORMS, content_checksum

Format = Literal["csv", "jsonl", "json", "parquet", "avro", "influx", "annotated-csv", "access-log"]
HEAD_BYTES = 4096  # bytes of a file's start that are hashed: enough to distinguish files, cheap at every restart
_SUFFIXES: Final[Mapping[str, Format]] = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".avro": "avro", ".lp": "influx", ".line": "influx", ".influx": "influx",
    ".access-log": "access-log",
}  # fmt: skip
_FORMATS: Final[Mapping[str, Format]] = {
    "csv": "csv", "jsonl": "jsonl", "json": "json", "parquet": "parquet", "avro": "avro", "influx": "influx",
    "annotated-csv": "annotated-csv", "access-log": "access-log",
}  # fmt: skip
_ON_KAFKA: Final = frozenset({"protobuf", "json-schema"})
_COMPRESSED: Final = frozenset({"parquet", "avro"})  # by themselves: there is no .gz around them


LINE_END: Final = "line_end"  # code of a cut at a line end: within a quoted field of CSV that the file did not close

_FRESH_NS: Final = 200_000_000  # a file changed this recently may change again with the same modification time
_ROTATION: Final = re.compile(r"(.*)(?:\.(\d{1,9})|-(\d{6,14}))")  # m.csv.1, m.csv-20260105
_NUMBER: Final = re.compile(r"(\d+)")


def stem_of(path: str) -> str:
    """Returns the name of a file without its folder and suffix, e.g. "cpu" for /data/cpu.csv.gz."""
    name = Path(path).name.removesuffix(".gz")
    return name.rsplit(".", 1)[0] or name


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One stretch of a file that was read: from its beginning, or the part appended after reading had left it.

    Attributes:
        path: the file's name from the configuration or its glob.
        base: position of the first byte of the stretch.
        size: its uncompressed bytes when reading left it for the next file, or None while it is the newest.
        head_bytes: number of bytes of the file's start that `head_sha256` covers (as stored: compressed for gzip).
        head_sha256: the checksum of these bytes, hexadecimal.
        cuts: positions where a record ended without a line end because the file ended there at that time, each with
            the reason code of its reject ("" when it was a regular record), or LINE_END.
        start: where the stretch begins in the file, in uncompressed bytes.
        checked, checksum: the CRC-32 of the first `checked` uncompressed bytes of the file; None: not known.
        device, inode: identity of the file, independent of its name.
        stored: its bytes on disk that had been read when reading left it.
        changed_ns: its modification time then; 0 if later changes could have the same time.
    """

    path: str
    base: int
    size: int | None = None
    head_bytes: int = 0
    head_sha256: str = ""
    cuts: tuple[tuple[int, str], ...] = ()
    start: int = 0
    checked: int = 0
    checksum: int | None = None
    device: int = 0
    inode: int = 0
    stored: int = 0
    changed_ns: int = 0

    @property
    def key(self) -> tuple[int, str]:
        """Returns the key of the entry within its partition."""
        return self.base, self.path

    @property
    def identity(self) -> tuple[int, int]:
        """Returns device and inode."""
        return self.device, self.inode

    def is_within_line(self, position: int) -> bool:
        """Returns whether a record ended at the position within a line, the rest of which is not a valid record."""
        return dict(self.cuts).get(position, LINE_END) != LINE_END

    def problem_at(self, position: int) -> str:
        """Returns the reason code of the reject that ends at the position, or the empty string."""
        code = dict(self.cuts).get(position, "")
        return "" if code == LINE_END else code

    def with_head_of(self, descriptor: int) -> FileEntry:
        """Returns the entry with the checksum of the open file's start, if it is not complete yet."""
        if self.head_bytes == HEAD_BYTES or descriptor < 0:
            return self
        head = os.pread(descriptor, HEAD_BYTES, 0)
        return replace(self, head_bytes=len(head), head_sha256=hashlib.sha256(head).hexdigest())

    def left(self, read_to: int, stored: int, descriptor: int) -> FileEntry:
        """Returns the entry of a file that was read up to a position, with `stored` bytes on disk, and is left now."""
        changed_ns = settled_ns(os.fstat(descriptor), stored)
        return replace(self.with_head_of(descriptor), size=read_to - self.base, stored=stored, changed_ns=changed_ns)

    def untouched(self, status: os.stat_result) -> bool:
        """Returns whether identity, size and time are unchanged, so that the content need not be compared."""
        return (
            (status.st_dev, status.st_ino) == self.identity
            and status.st_size == self.stored
            and status.st_mtime_ns == self.changed_ns
        )

    @property
    def is_there(self) -> bool:
        """Returns whether the file still has its name and was not deleted or replaced."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 - of ten thousand files
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity

    def mismatch(self, end: int, path: str = "", setting: str = "auto") -> str:
        """Returns why the file on disk is not the one that was read up to position `end`, or the empty string.

        Args:
            end: no later than the position of `checked`.
            path: present path of the file, if not `self.path`.
            setting: `input.format`, which determines what the bytes of the file are.

        Raises:
            OSError: no descriptor or memory is left, which says nothing about the file.
        """
        path = path or self.path
        try:
            if self.changed_ns and self.untouched(os.stat(path)):  # noqa: PTH116 - of ten thousand files
                return ""
            with Path(path).open("rb") as file:
                status, head = os.fstat(file.fileno()), file.read(self.head_bytes)
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            return f"cannot be read ({error.strerror})"
        form = form_of(path, setting)
        as_stored = form not in ROW_FORMS and not path.endswith(".gz")
        if as_stored and status.st_size < end - self.base + self.start:
            return f"was truncated to {status.st_size} bytes"
        if hashlib.sha256(head).hexdigest() != self.head_sha256:
            return f"was replaced: its first {self.head_bytes} bytes differ"
        if self.checksum is None:
            return ""
        found = checksum_of(path, self.checked, setting)
        if found is None:
            return f"was truncated: it has fewer than the {self.checked} bytes that were read"
        return (
            ""
            if found == self.checksum
            else f"was rewritten: its first {self.checked} bytes differ from those that were read"
        )


def settled_ns(status: os.stat_result, stored: int) -> int:
    """Returns a file's modification time, or 0 if it may have changed since `stored` bytes of it were read."""
    if status.st_size != stored or time.time_ns() - status.st_mtime_ns < _FRESH_NS:
        return 0
    return status.st_mtime_ns


def natural_key(path: str) -> tuple[tuple[object, ...], int, str]:
    """Returns a sort key: numeric order (9 before 10); rotated files (m.csv.2, m.csv.1, m.csv) the oldest first."""
    name, order = _rotated(path)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(_NUMBER.split(name))), order, path


def _rotated(path: str) -> tuple[str, int]:
    """Returns a name without .gz and rotation suffix, and a number that is lower for older files (0: no suffix)."""
    name = path.removesuffix(".gz")
    found = _ROTATION.fullmatch(name)
    if found is None or Path(found[1]).suffix not in _SUFFIXES:
        return name, 0
    return found[1], -int(found[2]) if found[2] else int(found[3]) - 10**15


def file_format(path: str, setting: str, section: str = "input") -> Format:
    """Returns the format of a file: the setting, or the format of the suffix when the setting is "auto".

    Args:
        path: of the file.
        setting: the key `format`. section: of the configuration that has it, for the message.

    Raises:
        ConfigurationError: the suffix is unknown, a format that has no .gz around it has one, or the format is one of
            records on Kafka.
    """
    check_not_of_kafka(setting)
    suffix = Path(_rotated(path)[0]).suffix
    found = _FORMATS.get(setting) or _SUFFIXES.get(suffix)
    if found is None:
        msg = (
            f'{section}.files: got "{path}", whose suffix determines no format; expected a name that ends in '
            f"{', '.join(_SUFFIXES)} (or one of these and .gz), or {section}.format = {_listed(_FORMATS)}"
        )
        raise ConfigurationError(msg)
    if found in _COMPRESSED and path.endswith(".gz"):
        msg = (
            f'{section}.files: got "{path}", expected {found} files without .gz, which compress their content; '
            "unpack it"
        )
        raise ConfigurationError(msg)
    return found


def check_not_of_kafka(setting: str) -> None:
    """Refuses a value of `input.format` for records on Kafka.

    Raises:
        ConfigurationError: it is one.
    """
    if setting in _ON_KAFKA:
        msg = (
            f'input.format: got "{setting}", which is read from kafka.topics with a schema registry only; expected '
            f'"auto", {_listed(_FORMATS)}'
        )
        raise ConfigurationError(msg)


def checksum_of(path: str, length: int, setting: str) -> int | None:
    """Returns the CRC-32 of the first `length` uncompressed bytes of a file, or None if it holds fewer."""
    return content_checksum(Path(path), length, form_of(path, setting))


def form_of(path: str, setting: str) -> Format:
    """Returns the same as `file_format`; for a name that says nothing, as of a renamed file, the format of lines."""
    try:
        return file_format(path, setting)
    except ConfigurationError:
        return "jsonl"


def _listed(names: Mapping[str, Format]) -> str:
    *others, last = (f'"{name}"' for name in names)
    return f"{', '.join(others)} or {last}"


def sniff_format(start: bytes) -> Format | None:
    """Returns the format of a file by its first bytes, some thousand if it has as many.

    Returns:
        "parquet" and "avro" by their magic numbers; "json" for an array, and for an object that does not end in its
        first line; "jsonl" for an object in one line; "influx" for line protocol whose first line has a timestamp;
        "access-log" for an entry of one; "annotated-csv" for the annotations of InfluxDB; None for all
        else, such as CSV and gzip.
    """
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"Obj\x01"):
        return "avro"
    text = start.removeprefix(BOM_UTF8).lstrip()
    if text.startswith(tuple(one + b"," for one in ANNOTATIONS)):
        return "annotated-csv"
    if text.startswith(b"["):
        return "json"
    if not text.startswith(b"{"):
        return "influx" if begins_with_point(text) else "access-log" if begins_with_entry(text) else None
    line, line_end, _ = text.partition(b"\n")
    brackets = without_strings(line)
    # A first line that is longer than the sample may be an object of any length: as one line it is the same in both.
    return "json" if line_end and brackets.count(b"{") > brackets.count(b"}") else "jsonl"
