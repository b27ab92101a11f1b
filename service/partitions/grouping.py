"""Groups of series (`[[group]]`): to which group a series belongs, and the share of a batch that a group observes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.config.groups import GroupConfig
from service.messages.decode import Decoded
from service.messages.selection import with_events
from service.messages.series_patterns import SeriesPatterns


class Grouping:
    """Assigns series to groups: a function of the name of a series only. Used by one thread.

    Args:
        groups: as configured; the first one of which a pattern matches a series has it.
    """

    def __init__(self, groups: Sequence[GroupConfig]) -> None:
        self._patterns = SeriesPatterns([pattern for group in groups for pattern in group.match])
        numbers = [number for number, group in enumerate(groups, 1) for _ in group.match]
        self._group_of = np.array([0, *numbers], np.int64)

    def of(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns the number of the group of each series, from 1; 0 where no group matches. Shape (n,)."""
        return self._group_of[self._patterns.first(series)]


def share_of(decoded: Decoded, numbers: NDArray[np.int64], number: int, forgotten: NDArray[np.int64]) -> Decoded:
    """Returns the share of a batch that a group observes.

    What is not of an event (rejects, control and filtered records, duplicates, raw events of windows) is in the share
    of group 0, so that it is in one share only.

    Args:
        decoded: the batch.
        numbers: the group of every event, shape (n,).
        number: the group.
        forgotten: the group of each series of `decoded.forget`, in its order.
    """
    at = np.flatnonzero(numbers == number)
    first = number == 0
    windows = decoded.windows
    if windows is not None:
        forget = [
            (int(np.searchsorted(at, event)), name)
            for (event, name), group in zip(windows.forget, forgotten.tolist(), strict=True)
            if group == number
        ]
        revises = None if windows.revises is None else windows.revises[at]
        windows = windows._replace(end_ms=windows.end_ms[at], forget=forget, revises=revises)
        if not first:
            windows = windows._replace(taken=0, refused=(), skipped=0, dropped=0, repaired=0, late_steps={})
    tombstones, series_of = [], iter(forgotten.tolist())
    for one in decoded.tombstones:
        group = next(series_of) if one.series and windows is None else 0
        if group == number:
            tombstones.append(replace(one, event=int(np.searchsorted(at, one.event))))
    return replace(
        with_events(decoded, at),
        tombstones=tombstones,
        windows=windows,
        rejects=decoded.rejects if first else [],
        controls=decoded.controls if first else [],
        filtered=decoded.filtered if first else [],
        duplicates=decoded.duplicates if first else [],
        clock_changes=decoded.clock_changes if first else 0,
        two_units=decoded.two_units and first,
    )
