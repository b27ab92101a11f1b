"""Keeps forecasts until their targets arrive and scores them, for a bounded sample of series.

For a series and a tracked horizon k, the forecast made at step n is kept in place n mod k of a ring and scored when the
value of step n + k arrives, never earlier (prequential evaluation, Dawid 1984). The score of an event is the mean
pinball loss of all forecasts of which its value is the target: all of them were made before it was observed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Note, Status
from forecaster.evaluation.series_sample import SeriesSample
from forecaster.kernels.jit import inlined, kernel

# The targets of earlier forecasts are at other times, or have other numbers.
TARGETS_MOVED = int(Note.NEW_INTERVAL | Note.REOPENED | Note.RENUMBERED)
SAME_STEP = int(Note.SAME_STEP)
NEVER = -(1 << 40)


@inlined
def waiting_at(made: Any, s: int, first: int, step: Any, k: Any) -> Any:
    """Returns the place of the forecast whose target is `step`, k steps after it was made; -1 where none waits.

    Args:
        made: (slots, P) int64, step at which the forecast in a place was made; P is the sum of the tracked horizons.
        s, first: slot of the series, and first place of the ring of horizon k.
    """
    place = first + step % k
    return place if made[s, place] == step - k else -1


@inlined
def keep_forecast(made: Any, kept: Any, s: int, first: int, step: Any, k: Any, quantiles: Any) -> Any:
    """Puts a forecast into its ring and returns its place.

    Args:
        made: as above, overwritten. kept: (slots, P, >= Q) float64, overwritten.
        s, first, step, k: as above; `step` is the one at which the forecast was made.
        quantiles: (Q,) of horizon k.
    """
    place = first + step % k
    made[s, place] = step
    for j in range(len(quantiles)):
        kept[s, place, j] = quantiles[j]
    return place


@inlined
def pinball(miss: Any, level: Any) -> Any:
    """Returns the pinball loss of a quantile that is smaller than the value by `miss`."""
    return miss * level if miss >= 0.0 else miss * (level - 1.0)


@kernel
def _score(slot: Any, status: Any, notes: Any, steps: Any, value: Any, quantiles: Any, levels: Any, tracked: Any,
           made: Any, kept: Any, out: Any) -> None:  # fmt: skip
    """Scores forecasts whose targets arrive and keeps the new ones, in the order of the events.

    Args:
        slot: (n,) int64, -1 for events of series outside the sample. status, notes, steps, value: (n,).
        quantiles: (M, n, H, Q). levels: (Q,) float64. tracked: (K,) int64.
        made: (slots, P) int64, kept: (M, slots, P, Q) float64, the rings, overwritten.
        out: (n, M) float64, overwritten where a target arrived: mean pinball loss, in units of the data.
    """
    M, Q = quantiles.shape[0], len(levels)
    for i in range(len(slot)):
        s = slot[i]
        if s < 0:
            continue
        if notes[i] & TARGETS_MOVED != 0:
            made[s, :] = NEVER
        if status[i] > 1:
            continue
        step, y, at, count = steps[i], value[i], 0, 0
        if np.isfinite(y) and notes[i] & SAME_STEP == 0:  # only the first value of a step is scored
            for k in tracked:
                place = waiting_at(made, s, at, step, k)
                if place >= 0:
                    count += 1
                    for m in range(M):
                        total = 0.0 if count == 1 else out[i, m]
                        for j in range(Q):
                            total += pinball(y - np.float64(kept[m, s, place, j]), levels[j])
                        out[i, m] = total
                at += k
            if count > 0:
                for m in range(M):
                    out[i, m] /= count * Q
                    if not np.isfinite(out[i, m]):
                        out[i, m] = np.inf
        at = 0
        for k in tracked:
            for m in range(M):
                keep_forecast(made, kept[m], s, at, step, k, quantiles[m, i, k - 1])
            at += k


class Prequential:
    """Scores the forecasts of one or more forecasters of the same events.

    Args:
        limit: series in the sample, the first ones passed to `slots`.
        tracked: horizons, rising.
        levels: of the quantiles.
        forecasters: number of forecasters of the same events.
    """

    def __init__(self, limit: int, tracked: Sequence[int], levels: Sequence[float], forecasters: int) -> None:
        self.limit, self._sample = limit, SeriesSample(limit)
        self._tracked, self._levels = np.array(tracked, np.int64), np.array(levels, np.float64)
        self._made = np.empty((0, sum(tracked)), np.int64)
        self._kept = np.empty((forecasters, 0, sum(tracked), len(levels)))

    @property
    def index(self) -> dict[str, int]:
        """Slot of every series of the sample."""
        return self._sample.index

    def slots(self, series: Sequence[str]) -> NDArray[np.int64]:
        """Returns the slot of every series, -1 outside the sample; adds new series while there is room."""
        if self._sample.add(series):
            used = len(self.index)
            self._made = self._sample.enlarged(self._made, used, NEVER)
            self._kept = self._sample.enlarged(self._kept, used, axis=1)
        return self._sample.slots(series)

    def score(
        self,
        slot: NDArray[np.int64],
        status: NDArray[np.uint8],
        steps: NDArray[np.int64],
        value: NDArray[np.float64],
        quantiles: NDArray[np.floating],
        notes: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.float64]:
        """Scores forecasts whose targets arrive with these events, and keeps the new forecasts.

        Args:
            slot: (n,) as returned by `slots`. status, steps: as in `Forecasts`. value: (n,), nan where missing.
            quantiles: (forecasters, n, horizon, levels).
            notes: as in `Forecasts`; None: there are none.

        Returns:
            (n, forecasters) mean pinball losses in units of the data, nan where no target arrived.
        """
        out = np.full((len(slot), quantiles.shape[0]), np.nan)
        plain = np.where(status <= Status.MISSING, value, np.nan)
        notes = np.zeros(len(slot), np.uint8) if notes is None else notes
        args = (slot, status, notes, steps, plain, np.ascontiguousarray(quantiles), self._levels, self._tracked)
        _score(*args, self._made, self._kept, out)
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns all state as arrays (copies)."""
        names = [name.encode("utf-8", "surrogatepass") for name in self.index]
        used = len(names)
        return {
            "made": self._made[:used].copy(),
            "kept": self._kept[:, :used].copy(),
            "names": np.frombuffer(b"".join(names), np.uint8),
            "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restores what `state` returned.

        Raises:
            LookupError, TypeError, ValueError: the arrays are not such a state.
        """
        names, used = _names_of(arrays["names"], arrays["name_ends"]), len(arrays["name_ends"])
        made = part_of(arrays, "made", (used, self._made.shape[1]), np.int64)
        kept = part_of(arrays, "kept", (self._kept.shape[0], used, *self._kept.shape[2:]), np.float64)
        if len(set(names)) != used or (made < NEVER).any():
            msg = "got a series twice or steps before the first, expected forecasts of each series once"
            raise ValueError(msg)
        self._sample.refill(names)
        self._made, self._kept = made, kept


def _names_of(text: NDArray[Any], ends: NDArray[Any]) -> list[str]:
    """Returns the identifiers that `Prequential.state` concatenated."""
    if text.dtype != np.uint8 or ends.dtype != np.int64 or text.ndim != 1 or ends.ndim != 1:
        msg = f"names: got {text.dtype} {text.shape} and {ends.dtype} {ends.shape}, expected uint8 and int64 in a row"
        raise ValueError(msg)
    starts = np.concatenate((np.zeros(1, np.int64), ends))
    if (np.diff(starts) < 0).any() or starts[-1] != len(text):
        msg = f"names: got ends that do not divide {len(text)} bytes"
        raise ValueError(msg)
    whole = text.tobytes()
    return [whole[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(starts.tolist())]


def part_of(arrays: dict[str, NDArray[Any]], name: str, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    """Returns a copy of an array of a saved state.

    Raises:
        KeyError: there is no array of that name.
        ValueError: the array is of another shape or type.
    """
    array = arrays[name]
    if array.shape != shape or array.dtype != kind:
        msg = f"{name}: got {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}"
        raise ValueError(msg)
    return array.copy()
