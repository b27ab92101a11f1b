"""Converts forecasts to compact binary records, for sinks that store numbers and not texts.

A record has a head of fixed size, the levels and the model, rarer fields as a JSON object, and the quantiles as codes
(`forecaster.packed`), which plain SQL can read (`service.sinks.sqlite_views`). A forecast with quantiles that
are not finite, or so large that their range is not, keeps its numbers as they are, in `more`.

Most records of a batch differ only in numbers: `CompactFormat` writes them as one array (`AlikeRecords`), and
`columns_of` reads them so.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster import Forecasts, Silence, Status
from forecaster.packed import NO_DIGITS, PackedQuantiles, pack_quantiles, unpack_quantiles
from service.messages.alike_records import AlikeRecords
from service.messages.decode import Decoded
from service.messages.digits import plain
from service.messages.encode import UNKNOWN, SourceOf, Writer, calendar_targets, revisions, suppressions, text_of
from service.messages.timestamps import format_times

# Kind, origin, interval, value, anomaly, least, greatest, digits, flagged, missing, steps, levels, size of more.
_FORECAST: Final = struct.Struct("<BqqddddbBBHHI")
_HEAD: Final = (
    ("kind", "u1"), ("origin_ms", "<i8"), ("interval_ms", "<i8"), ("value", "<f8"), ("anomaly", "<f8"),
    ("least", "<f8"), ("greatest", "<f8"), ("digits", "i1"), ("flagged", "u1"), ("missing", "u1"), ("steps", "<u2"),
    ("levels", "<u2"), ("more", "<u4"),
)  # fmt: skip
HEAD: Final = np.dtype([*_HEAD])
"""The first bytes of the record of a forecast; context (`context_bytes` long), more and quantiles follow."""

_SILENCE: Final = struct.Struct("<Bqqq")
SILENCE: Final = np.dtype([("kind", "u1"), ("last_ms", "<i8"), ("expected_ms", "<i8"), ("noticed_ms", "<i8")])
"""The record of a silence, whose kind is 1."""

_MODEL_BYTES: Final = 12


class CompactForecast(NamedTuple):
    """A forecast as columns.

    Attributes:
        context: model and levels as bytes, equal for all forecasts of a model; see `context_of`.
        origin_ms, interval_ms: of the forecast.
        value: of the event, nan where it had none, and for a corrected forecast. anomaly: nan where unknown.
        least, greatest: see the head of the file; 0 without quantiles.
        digits: decimals of the quantiles, None where they are not rounded.
        flagged: 0 or 1. missing: 1 where the event had no value.
        steps: number of steps, 0 without quantiles.
        quantiles: the codes, step by step: 3 bytes of the middle, then 2 bytes of every other level, by rising level,
            most significant byte first.
        more: JSON object with rarer fields of the forecast, "" without any.
    """

    context: bytes
    origin_ms: int
    interval_ms: int
    value: float
    anomaly: float
    least: float
    greatest: float
    digits: int | None
    flagged: int
    missing: int
    steps: int
    quantiles: bytes
    more: str


class CompactSilence(NamedTuple):
    """A silence as columns: the last event of a series, when the next one was expected, and when it was noticed."""

    last_ms: int
    expected_ms: int
    noticed_ms: int


def unpack(found: CompactForecast, levels: int) -> NDArray[np.float64] | None:
    """Returns the quantiles of a forecast, shape (steps, levels); None where it has none, or keeps them in `more`."""
    if not found.steps or not found.quantiles:
        return None
    digits = NO_DIGITS if found.digits is None else found.digits
    return unpack_quantiles(found.quantiles, found.least, found.greatest, digits, (found.steps, levels))


def context_bytes(levels: int) -> int:
    """Returns the size of `CompactForecast.context` of a number of levels."""
    return _MODEL_BYTES + 8 * levels


def context_of(context: bytes) -> tuple[str, list[float]]:
    """Returns model and levels of `CompactForecast.context`."""
    return context[:_MODEL_BYTES].decode(), np.frombuffer(context[_MODEL_BYTES:], "<f8").tolist()


def levels_in(context: bytes) -> int:
    """Returns the number of levels of `CompactForecast.context`."""
    return (len(context) - _MODEL_BYTES) // 8


def _layout(levels: int, codes: int) -> np.dtype[Any]:
    """Returns the type of a record without rarer fields, by its number of levels and its bytes of codes."""
    return np.dtype([*_HEAD, ("context", f"V{_MODEL_BYTES + 8 * levels}"), ("codes", "u1", (codes,))])


def _records(
    decoded: Decoded, forecasts: Forecasts, packed: PackedQuantiles, context: bytes, levels: int
) -> NDArray[Any]:
    """Returns the records of a batch, (n,) of `_layout`, as if none of them had rarer fields."""
    found = np.zeros(len(forecasts.status), _layout(levels, packed.codes.shape[1]))
    found["origin_ms"], found["interval_ms"] = forecasts.origin_ms, forecasts.interval_ms
    found["value"], found["anomaly"] = np.where(forecasts.status == 0, decoded.value, np.nan), forecasts.anomaly
    found["least"], found["greatest"], found["digits"] = packed.least, packed.greatest, packed.digits
    found["flagged"], found["missing"] = forecasts.flagged != 0, forecasts.status == Status.MISSING
    found["steps"], found["levels"] = forecasts.quantiles.shape[1], levels
    found["context"], found["codes"] = np.frombuffer(context, found.dtype["context"]), packed.codes
    return found


class CompactFormat:
    """`service.messages.encode.OutputFormat` of compact records; `read_record` reads them."""

    def packed(self, quantiles: NDArray[np.float64]) -> PackedQuantiles:
        """Returns quantiles (n, S, L) as they are stored."""
        return pack_quantiles(quantiles)

    def packed_alone(self, quantiles: NDArray[np.float64], more: dict[str, Any]) -> bytes:
        """Returns quantiles (S, L) that `packed` cannot hold as they are stored, or puts them into `more`."""
        more["quantiles"] = plain(quantiles)
        return b""

    def writer(
        self, decoded: Decoded, forecasts: Forecasts, levels: Sequence[float], model: str, source: SourceOf
    ) -> Writer:
        """See `OutputFormat`."""
        packed, revised = self.packed(forecasts.quantiles), revisions(forecasts)
        suppressed = suppressions(forecasts)
        months = {
            at: {"interval": name, "targets": format_times(times)}
            for at, (name, times) in calendar_targets(forecasts).items()
        }
        context = model.ljust(_MODEL_BYTES)[:_MODEL_BYTES].encode() + np.array(levels, "<f8").tobytes()
        records = _records(decoded, forecasts, packed, context, len(levels))
        written, size = records.view(np.uint8).data, records.dtype.itemsize
        whole = packed.usable & (forecasts.status != Status.UNKNOWN)
        whole[[*months, *revised, *suppressed]] = False
        if placed := decoded.within is not None or decoded.windows is not None:  # sources are more than a position
            whole[:] = False

        def together(events: NDArray[np.int64]) -> AlikeRecords | None:
            if not whole[events].all() or not packed.codes.size:
                return None
            return AlikeRecords(records if len(events) == len(records) else records[events])

        def write(at: int, status: str) -> bytes:
            if whole[at]:
                return bytes(written[at * size : (at + 1) * size])
            record, more = records[at], dict[str, Any](months.get(at, ()))
            if placed:
                text = text_of(source(at))
                if place := {name: text[name] for name in text if name in ("event", "window", "mark")}:
                    more["source"] = place
            if at in revised:
                more["revision"] = 1
            if at in suppressed:
                more["suppressed"] = suppressed[at]
            codes = b""
            if status == UNKNOWN:
                record["steps"] = 0
            elif packed.usable[at]:
                codes = record["codes"].tobytes()
            else:
                codes = self.packed_alone(forecasts.quantiles[at], more)
            rest = orjson.dumps(more) if more else b""
            record["more"] = len(rest)
            return b"".join((record.tobytes()[: _FORECAST.size], context, rest, codes))

        return Writer(write, together)

    def silence(self, silence: Silence, source: Mapping[str, object]) -> bytes:  # noqa: ARG002 - it is in the unit
        """See `OutputFormat`."""
        return _SILENCE.pack(1, silence.last_ms, silence.expected_ms, silence.noticed_ms)


def read_record(record: bytes) -> CompactForecast | CompactSilence:
    """Reads a record of `CompactFormat`.

    Raises:
        struct.error: the record is something else.
    """
    if record[0]:
        return CompactSilence(*_SILENCE.unpack(record)[1:])
    (_, origin, interval, value, anomaly, least, greatest, digits, flagged, missing, steps, levels, more) = (
        _FORECAST.unpack_from(record)
    )
    after = _FORECAST.size + _MODEL_BYTES + 8 * levels
    return CompactForecast(
        record[_FORECAST.size : after],
        origin,
        interval,
        value,
        anomaly,
        least,
        greatest,
        None if digits == NO_DIGITS else digits,
        flagged,
        missing,
        steps,
        record[after + more :],
        record[after : after + more].decode(),
    )


class CompactColumns(NamedTuple):
    """Forecasts as columns of Python objects, see `CompactForecast`; all have the same context and no `more`.

    Attributes:
        interval_ms, digits, flagged, missing: one number where it is that of all forecasts.
        quantiles: bytearrays, as the module sqlite3 looks for an adapter of every other object with bytes, for longer
            than it takes to store it.
    """

    context: bytes
    origin_ms: list[int]
    interval_ms: int | list[int]
    value: list[float | None]
    anomaly: list[float | None]
    least: list[float]
    greatest: list[float]
    digits: int | Sequence[int | None] | None
    flagged: int | list[int]
    missing: int | list[int]
    steps: int
    quantiles: list[bytearray]


def array_of(records: Sequence[bytes]) -> NDArray[Any] | None:
    """Reads records of `CompactFormat` at once: of forecasts with quantiles, of one context, without rarer fields.

    Returns:
        An array with the fields of `CompactForecast`, and `codes` for its quantiles; None where they are not all such
        records.
    """
    if not records:
        return None
    if isinstance(records, AlikeRecords):
        return records.array
    first, size = records[0], len(records[0])
    if size < _FORECAST.size or first[0]:
        return None
    steps, levels, _ = _FORECAST.unpack_from(first)[-3:]
    codes = size - _FORECAST.size - _MODEL_BYTES - 8 * levels
    if codes <= 0 or steps == 0 or any(len(record) != size for record in records):
        return None
    found = np.frombuffer(b"".join(records), _layout(levels, codes))
    alike = (found["steps"] == steps) & (found["levels"] == levels) & (found["more"] == 0) & (found["kind"] == 0)
    if not alike.all() or (found["context"] != found["context"][0]).any():
        return None
    return found


def columns_of(records: Sequence[bytes]) -> CompactColumns | None:
    """Reads records of `CompactFormat` at once as columns; see `array_of`.

    Returns:
        Their columns, equal to `read_record` of each with nan as None; None where they are not all such records.
    """
    found = array_of(records)
    if found is None:
        return None
    codes = found.dtype["codes"].itemsize
    joined = bytearray(np.ascontiguousarray(found["codes"]))
    decimals = _number_or_numbers(found["digits"])
    digits: int | Sequence[int | None] | None = None if decimals == NO_DIGITS else decimals
    if isinstance(decimals, list):
        digits = [None if number == NO_DIGITS else number for number in decimals]
    return CompactColumns(
        found["context"][0].tobytes(),
        found["origin_ms"].tolist(),
        _number_or_numbers(found["interval_ms"]),
        _numbers_or_none(found["value"]),
        _numbers_or_none(found["anomaly"]),
        found["least"].tolist(),
        found["greatest"].tolist(),
        digits,
        _number_or_numbers(found["flagged"]),
        _number_or_numbers(found["missing"]),
        int(found["steps"][0]),
        [joined[begin : begin + codes] for begin in range(0, len(joined), codes)],
    )


def _number_or_numbers(column: NDArray[Any]) -> int | list[int]:
    """Returns the number of a column that has only one, else all of them."""
    numbers: list[int] = column.tolist() if (column != column[0]).any() else []
    return numbers or int(column[0])


def _numbers_or_none(column: NDArray[np.float64]) -> list[float | None]:
    found: list[float | None] = column.tolist()
    for at in np.flatnonzero(np.isnan(column)).tolist():
        found[at] = None
    return found


def number_or_none(value: float) -> float | None:
    """Returns nan as None."""
    return None if math.isnan(value) else value
