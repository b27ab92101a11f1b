"""Compact records with quantiles as doubles, for sinks that have an encoding of their own; read as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster.packed import NO_DIGITS, PackedQuantiles
from service.messages.compact import HEAD, SILENCE, CompactFormat, context_bytes, context_of

_FINE = 1000.0  # the grid is at most this part of the narrowest step, as in `forecaster.packed`
_MOST_ULPS = 2.0**52  # a number that is more steps of a grid away from 0 is on the grid as it is


class ExactFormat(CompactFormat):
    """`service.messages.encode.OutputFormat` of compact records whose quantiles are little-endian doubles."""

    def packed(self, quantiles: NDArray[np.float64]) -> PackedQuantiles:
        """Returns quantiles (n, S, L) as they are."""
        n = len(quantiles)
        codes = np.ascontiguousarray(quantiles, "<f8").reshape(n, -1).view(np.uint8)
        return PackedQuantiles(codes, np.zeros(n), np.zeros(n), np.full(n, NO_DIGITS, np.int64), np.ones(n, np.bool_))


class Group(NamedTuple):
    """Forecasts of one model with the same number of steps.

    Attributes:
        at: (m,) their indices among the forecasts, rising.
        model: the first digits of its sha256.
        levels: the quantile levels.
        quantiles: (m, S, L) rounded, see `on_grid`; S is 0 where there is no forecast.
    """

    at: NDArray[np.int64]
    model: str
    levels: tuple[float, ...]
    quantiles: NDArray[np.float64]


class ExactColumns(NamedTuple):
    """Outputs of one or more batches.

    Attributes:
        forecasts: (n,) indices of the records with a forecast, rising.
        heads: (n,) of `HEAD`.
        groups: of the forecasts.
        more: rarer fields of forecasts that have some, by index among the forecasts.
        silences: indices of the records of silences, rising.
        silence_heads: of `SILENCE`.
    """

    forecasts: NDArray[np.int64]
    heads: NDArray[np.void]
    groups: list[Group]
    more: dict[int, dict[str, Any]]
    silences: NDArray[np.int64]
    silence_heads: NDArray[np.void]


def read_columns(records: bytes, sizes: NDArray[np.int64]) -> ExactColumns:
    """Returns the columns of records.

    Args:
        records: all of them, one after the other.
        sizes: (n,) bytes of each.
    """
    starts = np.cumsum(sizes) - sizes
    kinds = np.frombuffer(records, np.uint8)[starts] if len(starts) else np.zeros(0, np.uint8)
    forecasts, silences = np.flatnonzero(kinds == 0), np.flatnonzero(kinds)
    heads = _gathered(records, starts[forecasts], HEAD)
    begins = starts[forecasts] + HEAD.itemsize
    groups, more = _groups(records, begins, heads)
    return ExactColumns(forecasts, heads, groups, more, silences, _gathered(records, starts[silences], SILENCE))


def levels_in(records: bytes, sizes: NDArray[np.int64]) -> set[float]:
    """Returns the quantile levels that occur in records; see `read_columns`."""
    starts = np.cumsum(sizes) - sizes
    kinds = np.frombuffer(records, np.uint8)[starts] if len(starts) else np.zeros(0, np.uint8)
    starts = starts[kinds == 0]
    counts = _gathered(records, starts, HEAD)["levels"].astype(np.int64)
    begins = (starts + HEAD.itemsize).tolist()
    contexts = {
        records[begin : begin + context_bytes(count)] for begin, count in zip(begins, counts.tolist(), strict=True)
    }
    return {level for context in contexts for level in context_of(context)[1]}


def _gathered(records: bytes, starts: NDArray[np.int64], kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Returns the structures that begin at these bytes."""
    taken = np.frombuffer(records, np.uint8)[starts[:, None] + np.arange(kind.itemsize)] if len(starts) else b""
    return np.frombuffer(bytes(taken), kind)


def _groups(
    records: bytes, begins: NDArray[np.int64], heads: NDArray[np.void]
) -> tuple[list[Group], dict[int, dict[str, Any]]]:
    """Returns the forecasts by model, levels and steps, and the rarer fields of some."""
    members = dict[tuple[bytes, int], list[int]]()
    more, offsets = dict[int, dict[str, Any]](), list[int]()
    rows = zip(begins.tolist(), heads["levels"].tolist(), heads["more"].tolist(), heads["steps"].tolist(), strict=True)
    for at, (begin, levels, size, steps) in enumerate(rows):
        after = begin + context_bytes(levels)
        members.setdefault((records[begin:after], steps), []).append(at)
        if size:
            more[at] = orjson.loads(records[after : after + size])
        offsets.append(after + size)
    found = []
    for (context, steps), at_ in members.items():
        model, levels_ = context_of(context)
        quantiles = _quantiles(records, [offsets[at] for at in at_], steps, len(levels_))
        found.append(Group(np.array(at_), model.strip(), tuple(levels_), on_grid(quantiles)))
    return found, more


def _quantiles(records: bytes, offsets: Sequence[int], steps: int, levels: int) -> NDArray[np.float64]:
    size, view = steps * levels * 8, memoryview(records)
    joined = b"".join([view[offset : offset + size] for offset in offsets])
    return np.frombuffer(joined, "<f8").reshape(len(offsets), steps, levels)


def on_grid(quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounds forecasts to multiples of a power of two, a thousandth of their narrowest step at most.

    The same precision that other formats print, in numbers whose last bits are 0, so that they compress well. The order
    of the levels stays.

    Args:
        quantiles: (n, S, L), not falling over the levels.
    """
    if not quantiles.size:
        return quantiles
    with np.errstate(all="ignore"):
        span = quantiles.max(axis=(1, 2)) - quantiles.min(axis=(1, 2))
        exponent = np.floor(np.log2(_narrowest(quantiles, span) / _FINE))
        step = np.ldexp(1.0, np.where(np.isfinite(exponent), exponent, 0).astype(np.int32))[:, None, None]
        units = quantiles / step
        usable = np.isfinite(exponent)[:, None, None] & (np.abs(units) < _MOST_ULPS)
        rounded = np.rint(units) * step + 0.0
        found: NDArray[np.float64] = np.where(usable & np.isfinite(rounded), rounded, quantiles)
    return found


def _narrowest(quantiles: NDArray[np.float64], span: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns half the width of the narrowest step of every forecast; the span where none is wide."""
    mid = quantiles.shape[2] // 2
    half = np.maximum(quantiles[:, :, mid] - quantiles[:, :, 0], quantiles[:, :, -1] - quantiles[:, :, mid])
    found: NDArray[np.float64] = np.where(half > 0.0, half, np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(found), found, span)
