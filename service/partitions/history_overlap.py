"""The overlap of history and live stream: which live events the history had already.

While a partition takes in its history, the `NEWEST` greatest event times of every series are kept. At the end of the
history the engine says up to which time it has accepted the events of each series: its newest time, or while that is in
doubt, as a wrong time of the future is, the newest one that is not. A live event was in the history if it is not later
than the accepted time, or has one of the greatest times: it is dropped as a duplicate, until the first other one of its
series. Without this such events would count as late, and late events can move the times that a series expects.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecaster.state import checked
from service.messages.decode import Decoded
from service.messages.selection import selected
from service.ports import Records

NEWEST: Final = 4
"""Greatest event times of a series that are kept: as many as can be in doubt behind a gap."""

_NEVER: Final = -(1 << 63)


class HistoryOverlap:
    """The overlap of the history and the live stream of one partition; part of its state.

    Args:
        most: bound of the series; above it, those that appeared first are no longer known.
        owns: whether a series of the history belongs to the partition; None: all do.
        takes_rejects: whether records of the history that are no events are rejected here.
    """

    ARRAYS = ("names", "name_ends", "times", "counts", "accepted_ms")

    def __init__(self, most: int, owns: Callable[[str], bool] | None = None, *, takes_rejects: bool = True) -> None:
        self._most, self._owns, self._takes_rejects = most, owns, takes_rejects
        self._times: dict[str, list[int]] = {}  # by series the greatest times, rising
        self._accepted: dict[str, int] = {}  # from the end of the history on

    def __len__(self) -> int:
        """The number of series whose live stream may still have events that the history had."""
        return len(self._times)

    def admitted(self, records: Records, decoded: Decoded) -> Decoded:
        """Returns the events of a batch that the partition observes.

        Of the history they are those of its own series; of the live stream those that are new, and the others are in
        `duplicates`.
        """
        if records.of_history:
            return self._own(decoded)
        if not self._times or self._times.keys().isdisjoint(decoded.series):
            return decoded
        known, keep, passed = self._times, np.ones(len(decoded), np.bool_), set[str]()
        for at, (series, time_ms) in enumerate(zip(decoded.series, decoded.timestamp_ms.tolist(), strict=True)):
            times = known.get(series)
            if times is None or series in passed:
                continue
            if time_ms > self._accepted.get(series, _NEVER) and time_ms not in times:
                passed.add(series)
            else:
                keep[at] = False
        return decoded if keep.all() else selected(decoded, keep)

    def _own(self, decoded: Decoded) -> Decoded:
        if self._owns is None:
            return decoded
        keep = np.fromiter(map(self._owns, decoded.series), np.bool_, len(decoded))
        found = decoded if keep.all() else selected(decoded, keep, duplicates=False)
        return found if self._takes_rejects else replace(found, rejects=[], controls=[], filtered=[])

    def pass_by(self, records: Records, series: Sequence[str], timestamp_ms: NDArray[np.int64]) -> None:
        """Notes that events, as admitted, are observed: of the history, or the first ones after it."""
        known = self._times
        if records.of_history:
            for name, time_ms in zip(series, timestamp_ms.tolist(), strict=True):
                times = known.get(name)
                if times is None:
                    known[name] = [time_ms]
                    if len(known) > self._most:
                        del known[next(iter(known))]
                elif time_ms > times[-1]:
                    times.append(time_ms)
                    del times[:-NEWEST]
                elif time_ms not in times:
                    insort(times, time_ms)
                    del times[:-NEWEST]
        elif known and not known.keys().isdisjoint(series):
            for name in series:
                known.pop(name, None)
                self._accepted.pop(name, None)

    def end(self, accepted_ms: Callable[[Sequence[str], NDArray[np.int64]], NDArray[np.int64]]) -> None:
        """Notes the end of the history.

        Args:
            accepted_ms: returns up to which times the events of series were accepted, of their names and their
                greatest times, shape (n, NEWEST), rising, with the least number where there are fewer.
        """
        names = list(self._times)
        self._accepted = dict(zip(names, accepted_ms(names, self._padded()).tolist(), strict=True))

    def _padded(self) -> NDArray[np.int64]:
        times = np.full((len(self._times), NEWEST), _NEVER, np.int64)
        for at, found in enumerate(self._times.values()):
            times[at, NEWEST - len(found) :] = found
        return times

    def arrays(self) -> dict[str, NDArray[np.uint8] | NDArray[np.int64]]:
        """Returns the state: names in UTF-8 one after the other, where each ends, and the times."""
        names = [name.encode("utf-8", "surrogatepass") for name in self._times]
        accepted = [self._accepted[name] for name in self._times] if self._accepted else []
        return {
            "names": np.frombuffer(b"".join(names), np.uint8),
            "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
            "times": self._padded(),
            "counts": np.fromiter(map(len, self._times.values()), np.int64, len(names)),
            "accepted_ms": np.array(accepted, np.int64),
        }

    def restore(self, arrays: dict[str, NDArray[np.int64]]) -> None:
        """Restores what `arrays` returned.

        Raises:
            CheckpointError: the arrays are not such a state.
        """
        with checked("the state of the overlap with the history"):
            data, ends = bytes(arrays["names"].astype(np.uint8)), [0, *arrays["name_ends"].tolist()]
            names = [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]
            rows, counts = arrays["times"].tolist(), arrays["counts"].tolist()
            times = [row[NEWEST - count :] for row, count in zip(rows, counts, strict=True)]
            self._times = dict(zip(names, times, strict=True))
            accepted = arrays["accepted_ms"].tolist()
            self._accepted = dict(zip(names, accepted, strict=True)) if accepted else {}
