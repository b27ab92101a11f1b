"""Writes the outputs of a unit as rows of a PostgreSQL database, with COPY in its binary format."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.messages.array_format import NARROW_BYTES
from service.messages.compact import CompactForecast, CompactSilence, array_of, levels_in, read_record
from service.messages.prometheus_names import labels_of
from service.ports import Unit
from service.sinks.given_numbers import Context, GivenNumbers
from service.sinks.postgres_connection import Session
from service.sinks.unit_rows import header_pairs

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_EPOCH_MS: Final = 946_684_800_000  # that of PostgreSQL, 2000-01-01
_REAL, _DOUBLE = 700, 701  # types of PostgreSQL
_JSONB: Final = 1  # version of its binary form

_COPY: Final = (
    b"COPY stored_forecasts (part, position, origin, interval_ms, series, context, missing, flagged, value, anomaly, "
    b"quantiles, wide, more) FROM STDIN (FORMAT BINARY)"
)
# The number of columns, then every column as its size and its value.
_FIXED: Final = struct.Struct(">hiqiqiqiqiiiii?i?")
_SIZES: Final = {
    "part": 8, "position": 8, "origin": 8, "interval_ms": 8, "series": 4, "context": 4, "missing": 1, "flagged": 1,
    "value": 8, "anomaly": 4,
}  # fmt: skip
_KINDS: Final = {1: "u1", 4: ">i4", 8: ">i8"}
_ROW: Final[list[Any]] = [
    ("columns", ">i2"),
    *(
        field
        for name, size in _SIZES.items()
        for field in (
            (f"{name}_size", ">i4"),
            (name, {"value": ">f8", "anomaly": ">f4"}.get(name, _KINDS[size])),
        )
    ),
]
_FLOAT8, _FLOAT4 = struct.Struct(">id"), struct.Struct(">if")
# Size; dimensions, flag of nulls, type of the elements; size and first index of both dimensions.
_ARRAY: Final = struct.Struct(">iiiIiiii")
_COPY_SILENCES: Final = (
    b"COPY stored_silences (part, position, last, expected, noticed, series, context) FROM STDIN (FORMAT BINARY)"
)
_SILENCE: Final = struct.Struct(">hiqiqiqiqiqiiii")
_COPY_REJECTS: Final = (
    b"COPY rejects (part, partition, position, reason, detail, value, key, headers) FROM STDIN (FORMAT BINARY)"
)


class PostgresRows:
    """Writes rows.

    Attributes:
        numbers: of series, models and levels, which the database has given.
    """

    def __init__(self) -> None:
        self.numbers = GivenNumbers(_series_numbers, _context_number)

    def write(self, session: Session, unit: Unit, part: int) -> int:
        """Writes the outputs of a unit, in its transaction.

        Args:
            session: of the output.
            unit: with records of `service.messages.array_format.ArrayFormat`, and series and position of each.
            part: the part of the tables that they belong to, epoch seconds.

        Returns:
            The number of bytes that were sent.
        """
        begins = (part * 1000 - _EPOCH_MS) * 1000
        rows, silences = [_SIGNATURE], [_SIGNATURE]
        series = self.numbers.series(session, unit.series)
        if (alike := array_of(unit.forecasts)) is not None:
            context = self.numbers.context(session, unit.partition, alike["context"][0].tobytes())
            rows += _alike(begins, unit, alike, series, context)
        else:
            for number, position, record in zip(series, unit.positions, unit.forecasts, strict=True):
                found = read_record(record)
                if isinstance(found, CompactSilence):
                    context = self.numbers.context(session, unit.partition, b"")
                    silences.append(_silence(begins, position, found, number, context))
                    continue
                context = self.numbers.context(session, unit.partition, found.context)
                rows += _forecast(begins, position, found, number, context)
        sent = 0
        if len(rows) > 1:
            sent += _copy(session, _COPY, rows)
        if len(silences) > 1:
            sent += _copy(session, _COPY_SILENCES, silences)
        if unit.rejects:
            sent += _copy(session, _COPY_REJECTS, [_SIGNATURE, *_rejects(begins, unit)])
        return sent


def _series_numbers(session: Session, names: Sequence[str]) -> dict[str, int]:
    stored = {name: storable(name) for name in names}
    query = "SELECT name, id FROM series_names WHERE name = ANY(%s)"
    found = {str(name): int(str(number)) for name, number in session.execute(query, ([*stored.values()],))}
    new = [name for name in dict.fromkeys(stored.values()) if name not in found]
    if new:
        labels = [None if (one := labels_of(name)) is None else orjson.dumps(dict(one)).decode() for name in new]
        query = (
            "INSERT INTO series_names (name, labels) SELECT name, labels::jsonb "
            "FROM unnest(%s::text[], %s::text[]) AS t (name, labels) RETURNING name, id"
        )
        found |= {str(name): int(str(number)) for name, number in session.execute(query, (new, labels))}
    return {name: found[text] for name, text in stored.items()}


def _context_number(session: Session, context: Context) -> int:
    session.execute(
        "INSERT INTO contexts (partition, model, levels) VALUES (%s, %s, %s::double precision[]) "
        "ON CONFLICT DO NOTHING",
        context,
    )
    query = "SELECT id FROM contexts WHERE partition = %s AND model = %s AND levels = %s::double precision[]"
    found = session.execute(query, context).fetchone()
    assert found is not None  # noqa: S101 - it was just inserted, or was there
    return int(str(found[0]))


def storable(text: str) -> str:
    """Returns a text as the database can hold it: without the character NUL, for which its symbol stands."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _alike(part: int, unit: Unit, found: NDArray[Any], series: list[int], context: int) -> list[bytes]:
    """Returns rows of stored_forecasts, as `_forecast` makes them, of records that are read at once."""
    steps, levels = int(found["steps"][0]), int(found["levels"][0])
    codes = found.dtype["codes"].itemsize
    is_narrow = codes == steps * levels * NARROW_BYTES
    array = [("head", f"V{_ARRAY.size}"), ("codes", "u1", (codes,))]
    places = [*array, ("wide_size", ">i4")] if is_narrow else [("narrow_size", ">i4"), *array]
    rows = np.empty(len(found), np.dtype([*_ROW, *places, ("more_size", ">i4")]))
    rows["columns"] = 13
    for name, size in _SIZES.items():
        rows[f"{name}_size"] = size
    for name in ("wide_size", "narrow_size", "more_size"):
        if name in (rows.dtype.names or ()):
            rows[name] = -1
    rows["part"], rows["position"], rows["series"], rows["context"] = part, unit.positions, series, context
    rows["origin"] = (found["origin_ms"] - _EPOCH_MS) * 1000
    for name in ("interval_ms", "missing", "flagged", "value", "anomaly", "codes"):
        rows[name] = found[name]
    rows["head"] = np.frombuffer(_array_head(steps, levels, codes, is_narrow=is_narrow), rows.dtype["head"])
    data, size = rows.tobytes(), rows.dtype.itemsize
    has_null = np.isnan(found["value"]) | np.isnan(found["anomaly"])
    if not has_null.any():
        return [data]
    pieces: list[bytes] = []
    for at, is_short in enumerate(has_null.tolist()):
        if is_short:
            one = read_record(unit.forecasts[at])
            assert isinstance(one, CompactForecast)  # noqa: S101 - all of them are
            pieces += _forecast(part, unit.positions[at], one, series[at], context)
        else:
            pieces.append(data[at * size : (at + 1) * size])
    return pieces


def _forecast(part: int, position: int, found: CompactForecast, series: int, context: int) -> list[bytes]:
    """Returns a row of stored_forecasts in pieces."""
    origin = (found.origin_ms - _EPOCH_MS) * 1000
    fixed = _FIXED.pack(
        13, 8, part, 8, position, 8, origin, 8, found.interval_ms, 4, series, 4, context, 1, found.missing, 1,
        found.flagged,
    )  # fmt: skip
    value = _NULL if found.value != found.value else _FLOAT8.pack(8, found.value)  # nan
    anomaly = _NULL if found.anomaly != found.anomaly else _FLOAT4.pack(4, found.anomaly)
    return [fixed, value, anomaly, *_arrays(found), _more(found.more)]


def _arrays(found: CompactForecast) -> tuple[bytes, ...]:
    """Returns the columns quantiles and wide."""
    if not found.steps:
        return (_NULL, _NULL)
    levels = levels_in(found.context)
    is_narrow = len(found.quantiles) == found.steps * levels * NARROW_BYTES
    head = _array_head(found.steps, levels, len(found.quantiles), is_narrow=is_narrow)
    return (head, found.quantiles, _NULL) if is_narrow else (_NULL, head, found.quantiles)


def _array_head(steps: int, levels: int, size: int, *, is_narrow: bool) -> bytes:
    """Returns what is before the elements of an array (steps, levels), which take so many bytes."""
    return _ARRAY.pack(_ARRAY.size - 4 + size, 2, 0, _REAL if is_narrow else _DOUBLE, steps, 1, levels, 1)


def _more(text: str) -> bytes:
    return _sized(bytes([_JSONB]) + text.encode()) if text else _NULL


def _silence(part: int, position: int, found: CompactSilence, series: int, context: int) -> bytes:
    last, expected, noticed = ((time - _EPOCH_MS) * 1000 for time in found)
    return _SILENCE.pack(7, 8, part, 8, position, 8, last, 8, expected, 8, noticed, 4, series, 4, context)


def _rejects(part: int, unit: Unit) -> list[bytes]:
    """Returns the rows of rejects."""
    begin = struct.pack(">hiq", 8, 8, part) + _text(unit.partition)
    return [
        b"".join(
            (
                begin,
                struct.pack(">iq", 8, one.position),
                _text(one.reason),
                _text(one.detail),
                _sized(one.value),
                _NULL if one.key is None else _sized(one.key),
                _more(orjson.dumps([[storable(text) for text in pair] for pair in header_pairs(one)]).decode()),
            )
        )
        for one in unit.rejects
    ]


def _text(text: str) -> bytes:
    return _sized(storable(text).encode("utf-8", "backslashreplace"))


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _copy(session: Session, statement: bytes, rows: list[bytes]) -> int:
    """Sends rows, which begin with the signature; returns the number of bytes."""
    data = b"".join((*rows, _END))
    with session.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(data)
    return len(data)
