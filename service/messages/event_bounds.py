"""Bounds of events that are read: names of series, and times that are too far ahead of their record."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.config.input import InputConfig
from service.messages.parsed import Parsed, Problem
from service.messages.timestamps import EXPECTED, to_epoch_ms
from service.ports import Records

_AHEAD: Final = "see input.max_ahead; numbers of another unit: input.fields.time_unit"


class EventBounds:
    """Finds the events that are not accepted.

    Args:
        settings: the bounds, and the accepted series.
    """

    def __init__(self, settings: InputConfig) -> None:
        self._fields, self._max_series_bytes = settings.fields, settings.max_series_bytes
        self._max_ahead_ms = round(settings.max_ahead * 1000)
        self._accepted = frozenset((*settings.series, settings.broadcast) if settings.series else ())

    def accepts(self, series: str) -> bool:
        """Returns whether `check_series` accepts a series."""
        return (not self._accepted or series in self._accepted) and len(series.encode()) <= self._max_series_bytes

    def is_ahead(self, records: Records, index: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns which events of records with these indices, without record times of their own, are too far ahead."""
        if not self._max_ahead_ms or records.timestamps_ms is None:
            return np.zeros(len(index), np.bool_)
        return times - np.array(records.timestamps_ms, np.int64)[index] > self._max_ahead_ms

    def check_series(self, parsed: Parsed, wrong: dict[int, Problem]) -> None:
        """Adds the rows whose series has a name that is too long, or is not in `input.series`, to `wrong`."""
        if 4 * max(map(len, parsed.series), default=0) > self._max_series_bytes:  # a character has at most 4 bytes
            for at, series in enumerate(parsed.series):
                if (size := len(series.encode())) > self._max_series_bytes:
                    most = f"at most {self._max_series_bytes} (input.max_series_bytes)"
                    text = f"got series {series[:80]!r}... of {size} bytes, expected {most}"
                    wrong.setdefault(at, Problem("series_too_long", text))
        if not self._accepted or self._accepted.issuperset(parsed.series):
            return
        for at, series in enumerate(parsed.series):
            if series not in self._accepted:
                text = f"got series {series[:80]!r}, expected one of input.series"
                wrong.setdefault(at, Problem("unknown_series", text))

    def check_ahead(
        self, records: Records, parsed: Parsed, times: NDArray[np.int64], wrong: dict[int, Problem]
    ) -> None:
        """Adds the rows whose time is too far ahead of their record's time to `wrong`.

        Event times are compared with record times, never with a clock: a replay must give the same result.

        Args:
            records: the batch.
            parsed: its rows.
            times: event time of every row, epoch milliseconds, shape (n,).
            wrong: problems by row.
        """
        if not self._max_ahead_ms:
            return
        fallback, fields = records.timestamps_ms, self._fields
        for at, index in enumerate(parsed.index if parsed.record_times or fallback else ()):
            written: int | None = None if fallback is None else fallback[index]
            if parsed.record_times and (own := parsed.record_times[at]) is not None:
                (own_ms,), bad = to_epoch_ms([own], fields.time_unit, fields.timezone, fields.date_order)
                if bad:
                    text = f"got record time {str(own)[:80]!r}, expected {EXPECTED}"
                    wrong.setdefault(at, Problem("bad_timestamp", text))
                    continue
                written = int(own_ms)
            if written is not None and times[at] - written > self._max_ahead_ms:
                text = (
                    f"{times[at] - written} ms later than its record, expected at most {self._max_ahead_ms}; {_AHEAD}"
                )
                wrong.setdefault(at, Problem("too_far_ahead", text))
