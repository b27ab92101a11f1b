"""A slow CSV splitter based on Python's reader, as a reference for the daemon's splitter."""

from __future__ import annotations

import csv

Record = tuple[int, bytes]


def csv_records(data: bytes, width: int, most: int) -> list[Record]:
    """Returns position and bytes of every record below a header.

    Args:
        data: lines, the last of which may lack its end.
        width: fields of a record.
        most: bytes of a record that goes over several lines.
    """
    lines, found, at, position = data.split(b"\n"), list[Record](), 0, 0
    while at < len(lines):
        count = next((k for k in range(1, len(lines) - at + 1) if _fields(lines[at : at + k]) is not None), 1)
        whole = b"\n".join(lines[at : at + count]).removesuffix(b"\r")
        if count > 1 and (_fields(lines[at : at + count]) != width or len(whole) > most):
            count, whole = 1, lines[at].removesuffix(b"\r")
        if whole:
            found.append((position, whole))
        position += len(b"\n".join(lines[at : at + count])) + 1
        at += count
    return found


def _fields(lines: list[bytes]) -> int | None:
    """Returns the number of fields; 0 for invalid CSV, None for an open quote at the end."""
    try:
        rows = list(csv.reader([b"\n".join(lines).removesuffix(b"\r").decode("latin-1")], strict=True))
    except csv.Error as error:
        return None if "unexpected end" in str(error) else 0
    return len(rows[0]) if len(rows) == 1 else 0
