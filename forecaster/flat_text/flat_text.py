"""Reads the bytes of flat records to columns, in compiled code that is used once it is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.flat_text.layout import (
    AUTO,
    MICROSECONDS,
    MILLISECONDS,
    NANOSECONDS,
    SECONDS,
    NameTable,
    empty_table,
    no_events,
    powers,
)
from forecaster.kernels.setting import changes, takes_compiled
from forecaster.series_column import SeriesNames

_UNITS: Final = {"auto": AUTO, "s": SECONDS, "ms": MILLISECONDS, "us": MICROSECONDS, "ns": NANOSECONDS}
_NAME_BYTES: Final = 64  # on average, of the names of a table
_MOST_BYTES: Final = 1 << 30  # of the records of one call
_REFUSED: Final = -1
_JSON, _CSV = "json", "csv"


class FlatColumns(NamedTuple):
    """The events of those records that were read.

    Attributes:
        record: (m,) int64, rising, index of each record. numbers: (m,) int64, of the series, see `FlatNames.known`.
        time_ms: (m,) int64. values: (m, 1 + C) float64, the value and the covariates, nan where missing.
        sizes: of numeric times, bits `LOW` and `MIDDLE` of layout.py.
    """

    record: NDArray[np.int64]
    numbers: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    sizes: int

    def taken(self, which: NDArray[np.bool_]) -> FlatColumns:
        """Returns some of the events, shape (m,)."""
        return FlatColumns(self.record[which], self.numbers[which], self.time_ms[which], self.values[which], self.sizes)


def joined_columns(parts: Sequence[FlatColumns]) -> FlatColumns | None:
    """Returns events one after the other; None without parts."""
    if len(parts) < 2:
        return parts[0] if parts else None
    sizes = 0
    for part in parts:
        sizes |= part.sizes
    columns = list(zip(*parts, strict=True))[:-1]
    record, numbers, time_ms, values = (np.concatenate(column) for column in columns)
    return FlatColumns(record, numbers, time_ms, values, sizes)


class FlatNames:
    """The names of series that records have had, shared by all readers of one input.

    Args:
        most: names that are kept; with more of them it begins anew.
        accepts: whether records of a series are read here.

    Attributes:
        known: numbers of the series.
        table: the names by their bytes.
    """

    def __init__(self, most: int, accepts: Callable[[str], bool]) -> None:
        self._most, self._accepts = most, accepts
        self._begin()

    def _begin(self) -> None:
        self.known = SeriesNames()
        self.table: NameTable = empty_table(self._most, _NAME_BYTES * self._most)
        self._numbers = np.full(0, _REFUSED, np.int64)  # by entry of the table
        self._read = 0

    def make_room(self) -> None:
        """Begins anew where few further names have room; called between batches."""
        table, used = self.table, int(self.table.used[0])
        if max(used, len(self.known)) >= self._most or 2 * int(table.starts[used]) >= len(table.bytes):
            self._begin()

    def numbers(self) -> NDArray[np.int64]:
        """Returns the number of every entry, -1 of a name that is no UTF-8 or not accepted."""
        used = int(self.table.used[0])
        if used > len(self._numbers):
            more = np.full(max(used, 2 * len(self._numbers)) - len(self._numbers), _REFUSED, np.int64)
            self._numbers = np.concatenate((self._numbers, more))
        if used > self._read:
            starts = self.table.starts[self._read : used + 1].tolist()
            text = self.table.bytes[starts[0] : starts[-1]].tobytes()
            for entry in range(self._read, used):
                at = entry - self._read
                self._numbers[entry] = self._number(text[starts[at] - starts[0] : starts[at + 1] - starts[0]])
            self._read = used
        return self._numbers

    def _number(self, name: bytes) -> int:
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return _REFUSED
        return self.known.number(text) if self._accepts(text) else _REFUSED


class FlatText:
    """Reads the records of one form. Created by `of_json` and `of_csv`; used by one thread.

    Args:
        form: of the records. fields: arguments of its kernel that say where the fields are. covariates: their number.
        unit: of numeric times. names: of the series.

    Attributes:
        waits: whether records were not read because the code is not compiled.
    """

    def __init__(self, form: str, fields: tuple[Any, Any], covariates: int, unit: str, names: FlatNames) -> None:
        self._form, self._fields, self._width = form, fields, 1 + covariates
        self._unit, self._names, self._powers = _UNITS[unit], names, tuple(powers())
        self._kernel: Any = None
        self.waits, self._changes = False, -1

    @classmethod
    def of_json(cls, fields: Sequence[str], unit: str, names: FlatNames) -> FlatText:
        """Returns the reader of objects with fields of these names: series, time, value, and covariates."""
        encoded = [name.encode() for name in fields]
        ends = np.cumsum([len(name) for name in encoded])
        return cls(_JSON, (np.frombuffer(b"".join(encoded), np.uint8), ends), len(fields) - 3, unit, names)

    @classmethod
    def of_csv(cls, separator: str, roles: Sequence[int], covariates: int, unit: str, names: FlatNames) -> FlatText:
        """Returns the reader of lines with these columns, see `csv_kernel`."""
        return cls(_CSV, (ord(separator), np.array(roles, np.int64)), covariates, unit, names)

    def read(self, values: Sequence[bytes]) -> FlatColumns | None:
        """Reads records; None while there is no compiled code.

        Compiled code is used where it is in memory or in the cache on disk; with another setting than "auto"
        and "quick" of `forecaster.use_kernels` it is compiled at the first call.

        Args:
            values: the bytes of every record.
        """
        n, text = len(values), np.frombuffer(b"".join(values), np.uint8)
        if not n or len(text) > _MOST_BYTES:
            return None
        ends = np.cumsum(np.fromiter(map(len, values), np.int64, n))
        out = no_events(n, self._width)
        arguments = (text, ends, *self._fields, self._unit, self._powers, tuple(self._names.table), tuple(out))
        if self._changes != changes():
            self._select(arguments)
        if self.waits:
            return None
        self._kernel(*arguments)
        index = np.flatnonzero(out.good)
        numbers = self._names.numbers()[out.entry[index]]
        if len(index) and numbers.min() < 0:
            index, numbers = index[numbers >= 0], numbers[numbers >= 0]
        return FlatColumns(index, numbers, out.time_ms[index], out.numbers[index], int(out.sizes[0]))

    def _select(self, arguments: tuple[Any, ...]) -> None:
        """Finds the kernel, and whether its code is there."""
        from forecaster.flat_text.record_kernels import csv_kernel, json_kernel  # noqa: PLC0415 - loads the compiler
        from forecaster.kernels.forms import is_compiled  # noqa: PLC0415 - as above

        self._kernel = json_kernel if self._form == _JSON else csv_kernel
        self._changes = changes()
        self.waits = takes_compiled() and not is_compiled(self._kernel, arguments)


def compile_flat_text() -> None:
    """Compiles the code of all forms, into the cache on disk."""
    names = FlatNames(1, lambda _: True)
    for reader, record in (
        (FlatText.of_json(("s", "t", "v"), "auto", names), b"{}"),
        (FlatText.of_csv(",", (0, 1, 2), 0, "auto", names), b",,"),
    ):
        reader.read([record])
