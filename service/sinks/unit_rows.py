"""What the outputs in all databases have in common: rows of input files and rejects, the start of this process."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from typing import Any, Final

import structlog

from service.ports import Reject, Unit
from service.sources.manifest import FileEntry

_log = structlog.get_logger()

THIS_START: Final = secrets.token_hex(16)
"""Name of the start of this process: all of its transports continue from its commits."""

MOST_STARTS: Final = 10_000
"""Largest number of stored starts: more than occur between two snapshots."""

ADDED: Final = ("start", "checked", "checksum", "device", "inode", "stored", "changed_ns")
"""Columns of files that the first program with the format did not write; they come last."""

FILE_COLUMNS: Final = ("base", "path", "size", "head_bytes", "head_sha256", "cuts", *ADDED)
"""Columns of a row of an input file, after that of its partition."""


def report_bound(max_bytes: int) -> None:
    """Logs that the oldest outputs are deleted from now on because of `output.max_bytes`."""
    _log.info("output at its bound, oldest rows are deleted", max_bytes=max_bytes)


def header_pairs(reject: Reject) -> list[list[str]]:
    r"""Returns the headers of a reject as pairs of name and value, other bytes than UTF-8 as \xNN."""
    # Kafka clients return None for a header without a value.
    return [[name, (value or b"").decode("utf-8", "backslashreplace")] for name, value in reject.headers]


def file_rows(partition: str, files: Iterable[FileEntry]) -> Iterator[tuple[object, ...]]:
    """Yields a row per entry: the partition, then `FILE_COLUMNS`."""
    for one in files:
        fields = {name: getattr(one, name) for name in FILE_COLUMNS} | {"cuts": json.dumps(one.cuts)}
        yield (partition, *fields.values())


def file_entry(row: Iterable[Any]) -> FileEntry:
    """Returns the entry of a row of `FILE_COLUMNS`."""
    fields = dict(zip(FILE_COLUMNS, row, strict=True))
    return FileEntry(**fields | {"cuts": tuple((at, code) for at, code in json.loads(fields["cuts"]))})


def order_error(unit: Unit, committed: int | None) -> ValueError:
    """Returns the error of a unit that does not follow the committed position, or ends before its start."""
    msg = (
        f'partition "{unit.partition}": got a unit over [{unit.position}, {unit.next_position}), '
        f"expected one that starts at the committed position {committed} or later"
    )
    return ValueError(msg)
