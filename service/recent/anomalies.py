"""Records anomalies of all series: flagged events and series that became silent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from forecaster import Forecasts
    from service.messages.decode import Decoded


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A flagged event, or a series that became silent.

    Attributes:
        kind: which of the two. partition, series: of the anomaly.
        timestamp_ms: of the event; for a silence, the time at which it was detected.
        value, score: of the event, nan for a silence.
        expected_ms: for a silence, the time at which the next event was expected, else 0.
        position: of the event; for a silence, of the event of another series that revealed it.
    """

    kind: Literal["flagged", "silence"]
    partition: str
    series: str
    timestamp_ms: int
    value: float
    score: float
    expected_ms: int
    position: int


def anomalies_of(partition: str, decoded: Decoded, forecasts: Forecasts) -> list[Anomaly]:
    """Returns the anomalies of a batch, as flagged by the engine."""
    nan = float("nan")
    found = [
        Anomaly(
            "flagged", partition, decoded.series[i], int(decoded.timestamp_ms[i]), float(decoded.value[i]),
            float(forecasts.anomaly[i]), 0, decoded.positions[i],
        )
        for i in np.flatnonzero(forecasts.flagged).tolist()
    ]  # fmt: skip
    found += [
        Anomaly("silence", partition, one.series, one.noticed_ms, nan, nan, one.expected_ms,
                decoded.positions[one.event])
        for one in forecasts.silences
    ]  # fmt: skip
    return found


# Texts are stored as references to interned strings, so that a thousand anomalies of a series store its name once.
_TEXT: Final = frozenset({"kind", "partition", "series"})
_TYPES: Final = {"timestamp_ms": np.int64, "value": np.float64, "score": np.float64, "expected_ms": np.int64,
                 "position": np.int64}  # fmt: skip


class AnomalyLog:
    """The newest anomalies, as preallocated columns. The caller holds a lock.

    A list of objects would grow for half an hour of a stream with a few anomalies per second; and these objects,
    allocated among the many short-lived ones of a batch, would fragment the memory.

    Args:
        size: largest number of anomalies, 0 for none.
    """

    def __init__(self, size: int) -> None:
        self._size, self._written = size, 0
        self._columns: dict[str, Any] = {
            one.name: np.full(size, None, object) if one.name in _TEXT else np.full(size, -1, _TYPES[one.name])
            for one in fields(Anomaly)
        }

    def extend(self, found: Sequence[Anomaly]) -> None:
        """Appends anomalies, overwriting the oldest ones."""
        found = found[-self._size :] if self._size else ()
        slots = np.arange(self._written, self._written + len(found)) % max(1, self._size)
        for name, column in self._columns.items():
            values = [getattr(one, name) for one in found]
            column[slots] = [sys.intern(text) for text in values] if name in _TEXT else values
        self._written += len(found)

    def copy(self) -> dict[str, Any]:
        """Copies the columns, oldest first; fast, so that `read` can run without the lock."""
        order = np.arange(max(0, self._written - self._size), self._written) % max(1, self._size)
        return {name: column[order] for name, column in self._columns.items()}

    @staticmethod
    def read(columns: dict[str, Any], partition: str = "", series: str | None = None) -> list[Anomaly]:
        """Returns the anomalies of a copy, optionally of one partition or series."""
        wanted = np.ones(len(columns["series"]), np.bool_)
        if partition:
            wanted &= columns["partition"] == partition
        if series is not None:
            wanted &= columns["series"] == series
        return [Anomaly(*row) for row in zip(*(column[wanted].tolist() for column in columns.values()), strict=True)]
