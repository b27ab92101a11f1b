r"""The nearest past situations of a series, and what followed.

A situation is the shape of the newest `window` steps: their differences from the last of them. The distance of a past
one is the root mean square of the differences of the two shapes, in scales of the series. Steps that are missing in
either are left out; half of them must be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.explanation.situation import Situation

LEAST, MOST = 8, 64  # steps of a window
MOST_STEPS: Final = 1 << 14  # steps that are searched
FOUND: Final = 3
"""Similar situations that are returned, at most."""


@dataclass(frozen=True)
class PastSituation:
    """A past moment of a series at which it looked much as it does now.

    Attributes:
        end_ms: event time of the last step of its window.
        distance: root mean square difference of the two windows, in scales.
        shift: what was added to the past values so that the last values of both windows are equal.
        followed: (horizon,) the values that followed, not shifted; nan where missing.
    """

    end_ms: int
    distance: float
    shift: float
    followed: NDArray[np.float64]


def similar(situation: Situation, count: int = FOUND) -> list[PastSituation]:
    """Returns the nearest past situations among the events that the situation holds, the nearest first.

    They do not overlap each other, and all of what followed them is known.

    Args:
        situation: of a series.
        count: at most so many.
    """
    horizon = situation.model.config.horizon
    window = min(max(horizon, LEAST), MOST)
    times, values = _grid(situation)
    n = len(values)
    if n < 2 * window + horizon:
        return []
    scale = situation.scale if situation.scale > 0.0 else 1.0
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    ends = np.arange(window - 1, n - horizon)
    past = windows[ends - window + 1]
    now = values[n - window :]
    off = (past - past[:, -1:]) - (now - now[-1])
    known = np.isfinite(off)
    enough = known.sum(axis=1) * 2 >= window
    squares = np.where(known, off, 0.0) ** 2
    distance = np.sqrt(squares.sum(axis=1) / np.maximum(known.sum(axis=1), 1)) / scale
    found = list[PastSituation]()
    taken = list[int]()
    for at in np.argsort(np.where(enough, distance, np.inf), kind="stable").tolist():
        if len(found) == count or not enough[at]:
            break
        end = int(ends[at])
        if any(abs(end - other) < window for other in taken):
            continue
        taken.append(end)
        followed = values[end + 1 : end + 1 + horizon].copy()
        found.append(PastSituation(int(times[end]), float(distance[at]), float(now[-1] - values[end]), followed))
    return found


def _grid(situation: Situation) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns times and values of the steps that the history or the row holds, nan where missing.

    The last one is the newest step with a value, so that a window has an end; `MOST_STEPS` at most.
    """
    interval, origin = situation.interval_ms, situation.origin_ms
    back = -np.rint((situation.times_ms - origin) / interval).astype(np.int64)
    near = back < MOST_STEPS
    if near.sum() > situation.model.layout.ring.full:
        values = np.full(int(back[near].max()) + 1, np.nan)
        values[-1 - back[near]] = situation.values[near]
    else:
        held = min(situation.model.layout.ring.full, situation.steps)
        values = np.array([situation.value_back(held - 1 - k)[0] for k in range(held)])
    times = origin - np.arange(len(values))[::-1] * interval
    finite = np.flatnonzero(np.isfinite(values))
    end = int(finite[-1]) + 1 if len(finite) else 0
    return times[:end], values[:end]
