"""Converts forecasts to compact binary records, for sinks that store numbers and not texts.

The quantiles of a forecast with S steps and L levels take S (3 + 2 (L - 1)) bytes instead of the eleven characters a
number that JSON takes. With `least` and `greatest` of all its quantiles, and one level in the middle of each step:

    middle     24 bits, linear from `least` to `greatest`:   middle = least + (greatest - least) code / (2^24 - 1)
    others     16 bits, their distance from the middle with a 5-bit exponent e and an 11-bit mantissa m:
               distance = unit m                     for e = 0
               distance = unit (2048 + m) 2^(e - 1)  for e > 0,   unit = (greatest - least) / (4095 2^30)

The middle is exact to 6e-8 of the range of the forecast, every other quantile to 1/4096 of its distance from the
middle; `least` and `greatest` bound all of them, the order of the levels stays, and numbers are rounded to `digits`
decimals, a thousandth of the narrowest step at most. Plain SQL can read it (`service.sinks.sqlite_views`).
A forecast with quantiles that are not finite, or so large that their range is not, keeps its numbers as they are, in
`more`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster import Forecasts, Silence
from service.messages.decode import Decoded
from service.messages.digits import plain
from service.messages.encode import UNKNOWN, Write, calendar_targets, revisions, suppressions, text_of
from service.messages.timestamps import format_times

MIDDLE_CODES: Final = (1 << 24) - 1
MANTISSA: Final = 1 << 11
MOST_DIGITS: Final = 15
"""More decimals than this are not rounded to: the numbers have as many digits as they need."""

LARGEST_DISTANCE: Final = float((2 * MANTISSA - 1) << 30)
"""In units of distances."""

_FINE: Final = 1000.0  # the last decimal is at most this part of the narrowest step
# Kind, origin, interval, value, anomaly, least, greatest, digits, flagged, missing, steps, levels, size of more.
_FORECAST: Final = struct.Struct("<BqqddddbBBHHI")
_SILENCE: Final = struct.Struct("<Bqqq")
_NO_DIGITS: Final = -1
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


class Packed(NamedTuple):
    """The quantiles of several forecasts as codes.

    Attributes:
        codes: (n, S (3 + 2 (L - 1))) uint8.
        least, greatest: (n,).
        digits: (n,) decimals, -1 where they are not rounded.
        usable: (n,) whether the codes are valid.
    """

    codes: NDArray[np.uint8]
    least: NDArray[np.float64]
    greatest: NDArray[np.float64]
    digits: NDArray[np.int64]
    usable: NDArray[np.bool_]


def pack(quantiles: NDArray[np.float64]) -> Packed:
    """Returns quantiles as codes; see the head of the file.

    Args:
        quantiles: (n, S, L), not falling over the levels.
    """
    n, steps, levels = quantiles.shape
    mid = levels // 2
    flat = quantiles.reshape(n, steps * levels)
    with np.errstate(over="ignore", invalid="ignore"):
        least, greatest = flat.min(axis=1, initial=np.inf), flat.max(axis=1, initial=-np.inf)
        span = greatest - least
    usable = np.isfinite(span) & np.isfinite(flat).all(axis=1)
    q = quantiles
    if not usable.all():
        q = np.where(usable[:, None, None], quantiles, 0.0)
        least, greatest, span = (np.where(usable, one, 0.0) for one in (least, greatest, span))
    digits = _digits_of(q, mid, span)
    least, greatest = _rounded(least, digits), _rounded(greatest, digits)
    span = greatest - least
    scale = np.where(span > 0.0, span, 1.0)[:, None]
    share = np.clip((q[:, :, mid] - least[:, None]) / scale, 0.0, 1.0)
    middle = np.rint(share * MIDDLE_CODES).astype(np.uint32)
    known = least[:, None] + span[:, None] * (middle / MIDDLE_CODES)
    relative = np.empty((n, steps, levels - 1), np.float32)
    for out, distance in (
        (relative[:, :, :mid], known[:, :, None] - q[:, :, :mid]),
        (relative[:, :, mid:], q[:, :, mid + 1 :] - known[:, :, None]),
    ):
        distance /= scale[:, :, None]
        np.multiply(distance, LARGEST_DISTANCE, out=out, casting="same_kind")
    np.clip(relative, 0.0, LARGEST_DISTANCE, out=relative)
    codes = np.empty((n, steps, 3 + 2 * (levels - 1)), np.uint8)
    codes[:, :, :3] = middle.astype(">u4")[..., None].view(np.uint8)[:, :, 1:]
    codes[:, :, 3:] = np.ascontiguousarray(_distance_codes(relative).astype(">u2")).view(np.uint8)
    return Packed(codes.reshape(n, steps * codes.shape[2]), least, greatest, digits, usable)


def _digits_of(q: NDArray[np.float64], mid: int, span: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns to how many decimals the quantiles (n, S, L) are rounded, from the narrowest step; -1: to none."""
    half = np.maximum(q[:, :, mid] - q[:, :, 0], q[:, :, -1] - q[:, :, mid])
    narrowest = np.where(half > 0.0, half, np.inf).min(axis=1, initial=np.inf)
    narrowest = np.where(np.isfinite(narrowest), narrowest, span)
    with np.errstate(divide="ignore"):
        wanted = np.ceil(-np.log10(narrowest / _FINE))
    rounds = np.isfinite(wanted) & (wanted <= MOST_DIGITS)
    return np.where(rounds, np.maximum(wanted, 0.0), _NO_DIGITS).astype(np.int64)


def _rounded(bound: NDArray[np.float64], digits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns bounds rounded to their decimals, as all quantiles are when they are read."""
    scale = 10.0 ** np.maximum(digits, 0)
    with np.errstate(over="ignore"):
        found: NDArray[np.float64] = np.rint(bound * scale) / scale + 0.0
    return np.where((digits >= 0) & np.isfinite(found), found, bound)


def _distance_codes(relative: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Returns distances in their units as codes of 5 bits of exponent and 11 of mantissa.

    These are bits of the float32: its exponent, less a constant, and the first 11 bits of its mantissa, rounded. A
    mantissa that is rounded up to a power of two carries over into the exponent. Below 2048 the code is the number.
    """
    coded = ((relative.view(np.uint32) + 0x800) >> 12).astype(np.int32) - ((127 + 10) << 11)
    found: NDArray[np.uint16] = np.where(relative < MANTISSA, np.rint(relative), coded).astype(np.uint16)
    return found


def unpack(found: CompactForecast, levels: int) -> NDArray[np.float64] | None:
    """Returns the quantiles of a forecast, shape (steps, levels); None where it has none, or keeps them in `more`."""
    if not found.steps or not found.quantiles:
        return None
    codes = np.frombuffer(found.quantiles, np.uint8).reshape(found.steps, -1)
    mid = levels // 2
    high, low = codes[:, :3].astype(np.int64), np.ascontiguousarray(codes[:, 3:]).view(">u2").astype(np.int64)
    middle = found.least + (found.greatest - found.least) * (high @ np.array([65536, 256, 1]) / MIDDLE_CODES)
    exponent, mantissa = low >> 11, low & (MANTISSA - 1)
    unit = (found.greatest - found.least) / LARGEST_DISTANCE
    distance = unit * np.where(exponent > 0, (MANTISSA + mantissa) << np.maximum(exponent - 1, 0), mantissa)
    quantiles = np.empty((found.steps, levels))
    quantiles[:, mid] = middle
    quantiles[:, :mid] = middle[:, None] - distance[:, :mid]
    quantiles[:, mid + 1 :] = middle[:, None] + distance[:, mid:]
    if found.digits is not None:
        quantiles = np.round(quantiles, found.digits) + 0.0  # no -0.0
    return np.clip(quantiles, found.least, found.greatest)


def context_of(context: bytes) -> tuple[str, list[float]]:
    """Returns model and levels of `CompactForecast.context`."""
    return context[:_MODEL_BYTES].decode(), np.frombuffer(context[_MODEL_BYTES:], "<f8").tolist()


class CompactFormat:
    """`service.messages.encode.OutputFormat` of compact records; `read_record` reads them."""

    def writer(self, decoded: Decoded, forecasts: Forecasts, levels: Sequence[float], model: str) -> Write:
        """See `OutputFormat`."""
        packed, revised = pack(forecasts.quantiles), revisions(forecasts)
        suppressed = suppressions(forecasts)
        months = {
            at: {"interval": name, "targets": format_times(times)}
            for at, (name, times) in calendar_targets(forecasts).items()
        }
        context = model.ljust(_MODEL_BYTES)[:_MODEL_BYTES].encode() + np.array(levels, "<f8").tobytes()
        columns = [
            forecasts.origin_ms.tolist(),
            forecasts.interval_ms.tolist(),
            np.where(forecasts.status == 0, decoded.value, np.nan).tolist(),
            forecasts.anomaly.tolist(),
            packed.least.tolist(),
            packed.greatest.tolist(),
            packed.digits.tolist(),
            forecasts.flagged.astype(np.bool_).tolist(),
        ]
        heads = list(zip(*columns, strict=True))
        steps, usable = forecasts.quantiles.shape[1], packed.usable.tolist()
        written = memoryview(packed.codes.tobytes())
        size = packed.codes.shape[1]

        def write(at: int, status: str, source: Mapping[str, object]) -> bytes:
            more: dict[str, Any] = dict(months.get(at, ()))
            if len(source) > 2:  # more than partition and position
                text = text_of(source)
                more["source"] = {name: text[name] for name in text if name in ("event", "window", "mark")}
            if at in revised:
                more["revision"] = 1
            if at in suppressed:
                more["suppressed"] = suppressed[at]
            codes: bytes | memoryview = b""
            if status != UNKNOWN:
                if usable[at]:
                    codes = written[at * size : (at + 1) * size]
                else:
                    more["quantiles"] = plain(forecasts.quantiles[at])
            rest = orjson.dumps(more) if more else b""
            known = 0 if status == UNKNOWN else steps
            head = _FORECAST.pack(0, *heads[at], status == "missing", known, len(levels), len(rest))
            return b"".join((head, context, rest, codes))

        return write

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
        None if digits == _NO_DIGITS else digits,
        flagged,
        missing,
        steps,
        record[after + more :],
        record[after : after + more].decode(),
    )


def number_or_none(value: float) -> float | None:
    """Returns nan as None."""
    return None if math.isnan(value) else value
