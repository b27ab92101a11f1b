"""Parts that the tests of windows share: columns of raw events, and windows over all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.aggregate.aggregator import Aggregator
from service.aggregate.closed_windows import ClosedWindows
from service.aggregate.number_arrays import from_bytes, to_bytes
from service.config.aggregate import AggregateConfig
from service.messages.controls import Tombstone
from service.messages.decode import Decoded
from service.messages.decoded_rows import numbers_within

TICK = "~tick"
"""The begin of the names of series whose events only move the watermark."""

_TICKS = 9  # series of `ticks`, more than a test has others


class Raw(NamedTuple):
    """A raw event."""

    series: str
    time_ms: int
    value: float = 1.0


def columns(events: Sequence[Raw], index: Sequence[int] | None = None) -> Decoded:
    """Returns decoded events; `index`: of their records, one each without it."""
    at = list(range(len(events))) if index is None else list(index)
    return Decoded(
        [one.series for one in events],
        np.array([one.time_ms for one in events], np.int64),
        np.array([one.value for one in events], np.float64),
        None,
        at,
        at,
        [],
        0,
        within=numbers_within(at),
    )


def aggregator_of(most_series: int = 100, late_within: int = 0, **settings: Any) -> Aggregator:
    """Returns an aggregator."""
    return Aggregator(AggregateConfig.model_validate({"interval": "1m"} | settings), most_series, late_within)


def take(
    aggregator: Aggregator, events: Sequence[Raw], tombstones: Sequence[Tombstone] = (), index: Any = None
) -> ClosedWindows:
    """Passes all events to an aggregator."""
    return aggregator.take(columns(events, index), 0, deque(tombstones))[0]


def rows(closed: ClosedWindows) -> list[tuple[str, int, int, float]]:
    """Returns series, begin, end and value of closed windows, without those of `TICK`."""
    found = zip(closed.series, closed.start_ms, closed.end_ms, closed.values, strict=True)
    return [row for row in found if not row[0].startswith(TICK)]


def ticks(start_ms: int, end_ms: int, step_ms: int) -> list[Raw]:
    """Returns events that move the watermark from one time to another."""
    return [Raw(f"{TICK}{at}", time) for time in range(start_ms, end_ms + step_ms, step_ms) for at in range(_TICKS)]


def encoded(part: Any) -> bytes:
    """Returns a part of a window as in a snapshot."""
    return msgspec.msgpack.encode(part, enc_hook=to_bytes)


def continued(part: Any) -> Any:
    """Returns a part of a window that was saved and restored."""
    return msgspec.msgpack.decode(encoded(part), type=type(part), dec_hook=from_bytes)


def bytes_of(arrays: dict[str, NDArray[Any]]) -> dict[str, tuple[bytes, str, tuple[int, ...]]]:
    """Returns the state as comparable values."""
    return {name: (array.tobytes(), str(array.dtype), array.shape) for name, array in arrays.items()}
