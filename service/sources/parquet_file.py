"""Apache Parquet files: a row per record of the table, read by pieces of a row group."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import FileIO
from itertools import repeat
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from service.errors import EXHAUSTED, SourceGoneError
from service.sources.byte_source import WatchedFile
from service.sources.row_bytes import as_json, as_line

MAGIC: Final = b"PAR1"  # the first and the last bytes of every file
_MOST_ROWS: Final = 1024  # per piece
_PIECE_BYTES: Final = 1 << 20  # of uncompressed columns per piece, about
_BUFFER_BYTES: Final = 1 << 16  # per column; a column of a row group is not read at once
Reshape = Callable[[Any], Any]


class ParquetRows:
    """Reads the rows of a Parquet file, which is complete only when its end has been written.

    Args:
        file: owned by this object from then on.
    """

    def __init__(self, file: WatchedFile) -> None:
        self._file = file
        self._input: FileIO | None = None  # a second descriptor, as the library moves it
        self._pieces: Iterator[tuple[int, bytes]] | None = None
        self._tried: tuple[int, int] | None = None  # size and modification time at the last look at an incomplete file
        self._damage = ""  # final
        self._missing = ""  # why the file is not complete yet
        self._rows = self._all_rows = 0

    def more(self) -> bytes:
        """Returns further rows as whole JSON lines; empty when there are none now.

        Raises:
            SourceGoneError: the file was changed after it had been opened as a whole.
        """
        if self._damage or (self._pieces is None and not self._opened()):
            return b""
        while self._pieces is not None:
            try:
                count, lines = next(self._pieces, (0, b""))
            except (pa.ArrowException, OSError, ValueError) as error:
                _check_exhausted(error)
                self._check_unchanged()
                self._damage = f"damaged Parquet data: {_reason(error)}"
                return b""
            self._check_unchanged()  # after the read, so that it covers what was read
            self._rows += count
            if lines or not count:
                return lines
        return b""

    def _opened(self) -> bool:
        """Opens the file if it is complete and returns whether it is."""
        status = os.fstat(self._file.fileno())
        if self._tried == (status.st_size, status.st_mtime_ns):
            return False
        self._tried = status.st_size, status.st_mtime_ns
        size, self._missing = status.st_size, ""
        start = os.pread(self._file.fileno(), len(MAGIC), 0)
        if not MAGIC.startswith(start):
            self._damage = f"no Parquet data: got a file that begins with {start!r}, expected {MAGIC!r}"
            return False
        if size < 3 * len(MAGIC) or os.pread(self._file.fileno(), len(MAGIC), size - len(MAGIC)) != MAGIC:
            self._missing = "the Parquet file is truncated, its end with the description of the columns is missing"
            self._missing = self._missing if size else ""
            return False
        self._close_input()
        self._input = FileIO(os.dup(self._file.fileno()), "rb")
        try:
            table = parquet.ParquetFile(
                self._input,
                pre_buffer=False,
                buffer_size=_BUFFER_BYTES,
                page_checksum_verification=True,
                coerce_int96_timestamp_unit="us",
            )
        except (pa.ArrowException, OSError, ValueError) as error:
            _check_exhausted(error)
            self._missing = f"damaged Parquet data: {_reason(error)}"
            return False
        self._file.seek(size)  # from now on both ends of the whole file are compared
        self._all_rows = table.metadata.num_rows
        self._pieces = _pieces(table)
        return True

    def _check_unchanged(self) -> None:
        """Raises if the file is not the one that was opened."""
        size = os.fstat(self._file.fileno()).st_size
        if size != self._file.end:
            msg = (
                f"{self._file.name}: was rewritten: it has {size} bytes, expected the {self._file.end} that it had "
                "before. Write a new file and follow a glob of names"
            )
            raise SourceGoneError(msg)
        self._file.check()

    def complete(self) -> None:
        """Changes nothing: every row has an end of its own."""

    def damage(self) -> str:
        """Returns the damage: a missing end, or broken data; else the empty string."""
        return self._damage or self._missing

    def share(self) -> float:
        """Returns how many of the rows were read, from 0 to 1."""
        if self._pieces is None:
            return 0.0
        return self._rows / self._all_rows if self._all_rows else 1.0

    def close(self) -> None:
        """Releases the file."""
        self._close_input()
        self._file.close()

    def _close_input(self) -> None:
        self._pieces = None
        if self._input is not None:
            self._input.close()


def _pieces(table: Any) -> Iterator[tuple[int, bytes]]:
    """Yields the number of rows of each piece, and the piece as JSON lines."""
    for group in range(table.num_row_groups):
        about = table.metadata.row_group(group)
        row_bytes = about.total_byte_size // max(1, about.num_rows) + 1
        rows = max(1, min(_MOST_ROWS, _PIECE_BYTES // row_bytes))
        for batch in table.iter_batches(rows, row_groups=[group], use_threads=False):
            yield batch.num_rows, _lines(batch)


def _lines(batch: Any) -> bytes:
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    rows = zip(*columns, strict=True) if columns else repeat((), batch.num_rows)
    return b"".join(as_line(dict(zip(names, row, strict=True))) for row in rows)


def _values(column: Any) -> list[object]:
    """Returns the values of a column; those that Python cannot have, such as a time after the year 9999, are None."""
    kind = _exact_type(column.type)
    if kind != column.type:
        column = column.cast(kind, safe=False)
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_value(one) for one in column]
    reshape = _reshape(kind)
    return values if reshape is None else [None if value is None else reshape(value) for value in values]


def _value(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return None


def _exact_type(kind: Any) -> Any:
    """Returns the type with the same values whose Python values do not depend on other packages and time zones.

    Nanoseconds become microseconds, which is what Python's types have; times with a zone are in UTC.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _exact_type(kind.storage_type)
    if types.is_timestamp(kind):
        return pa.timestamp("us" if kind.unit == "ns" else kind.unit, None if kind.tz is None else "UTC")
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us" if kind.unit == "ns" else kind.unit)
    if types.is_dictionary(kind):
        return _exact_type(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([_exact_field(kind.field(at)) for at in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(_exact_field(kind.key_field), _exact_field(kind.item_field))
    if types.is_fixed_size_list(kind):
        return pa.list_(_exact_field(kind.value_field), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_exact_field(kind.value_field))
    return pa.list_(_exact_field(kind.value_field)) if types.is_list(kind) else kind


def _exact_field(field: Any) -> Any:
    return field.with_type(_exact_type(field.type))


def _reshape(kind: Any) -> Reshape | None:
    """Returns a function that makes objects of the maps within a value, or None if its type has none."""
    types = pa.types
    if types.is_map(kind):
        inner = _reshape(kind.item_type) or _same
        return lambda pairs: {_key(key): None if value is None else inner(value) for key, value in pairs}
    if types.is_struct(kind):
        fields = {field.name: found for field in _fields(kind) if (found := _reshape(field.type)) is not None}
        return (lambda one: _with_fields(one, fields)) if fields else None
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        each = _reshape(kind.value_type)
        return each and (lambda values: [None if value is None else each(value) for value in values])
    return None


def _fields(kind: Any) -> list[Any]:
    return [kind.field(at) for at in range(kind.num_fields)]


def _with_fields(one: dict[str, Any], fields: dict[str, Reshape]) -> dict[str, Any]:
    return {name: fields[name](value) if name in fields and value is not None else value for name, value in one.items()}


def _same(value: Any) -> Any:
    return value


def _key(key: Any) -> str:
    """Returns the key of a map as a text."""
    return key if isinstance(key, str) else as_json(key).decode().strip('"')


def _check_exhausted(error: BaseException) -> None:
    """Raises the error if it says nothing about the file."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        raise error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
