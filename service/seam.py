"""The seam between history and live stream: which live events the history had already.

While a partition takes in its history, the time of the last event of every series is kept. A live event of the series
that is not later was in the history: it is dropped as a duplicate, until the first later one. Without this such events
would count as late, and late events can move the times that a series expects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forecaster.state import checked
from service.messages.decode import Decoded
from service.messages.selection import selected
from service.ports import Records


class Seam:
    """The seam of one partition; part of its state.

    Args:
        most: bound of the series; above it, those that appeared first are no longer known.
        owns: whether a series of the history belongs to the partition; None: all do.
        takes_rejects: whether records of the history that are no events are rejected here.
    """

    ARRAYS = ("names", "name_ends", "last_ms")

    def __init__(self, most: int, owns: Callable[[str], bool] | None = None, *, takes_rejects: bool = True) -> None:
        self._most, self._owns, self._takes_rejects = most, owns, takes_rejects
        self._last_ms: dict[str, int] = {}

    def __len__(self) -> int:
        """The number of series whose live stream has not passed the seam."""
        return len(self._last_ms)

    def admitted(self, records: Records, decoded: Decoded) -> Decoded:
        """Returns the events of a batch that the partition observes.

        Of the history they are those of its own series; of the live stream those that are new, and the others are in
        `duplicates`.
        """
        if records.of_history:
            return self._own(decoded)
        if not self._last_ms or self._last_ms.keys().isdisjoint(decoded.series):
            return decoded
        known, keep, passed = self._last_ms, np.ones(len(decoded), np.bool_), set[str]()
        for at, (series, time_ms) in enumerate(zip(decoded.series, decoded.timestamp_ms.tolist(), strict=True)):
            last = known.get(series)
            if last is None or series in passed:
                continue
            if time_ms > last:
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
        known = self._last_ms
        if records.of_history:
            for name, time_ms in zip(series, timestamp_ms.tolist(), strict=True):
                known[name] = time_ms
                if len(known) > self._most:
                    del known[next(iter(known))]
        elif known and not known.keys().isdisjoint(series):
            for name in series:
                known.pop(name, None)

    def arrays(self) -> dict[str, NDArray[np.uint8] | NDArray[np.int64]]:
        """Returns the state: names in UTF-8 one after the other, where each ends, and the times."""
        names = [name.encode("utf-8", "surrogatepass") for name in self._last_ms]
        return {
            "names": np.frombuffer(b"".join(names), np.uint8),
            "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
            "last_ms": np.fromiter(self._last_ms.values(), np.int64, len(names)),
        }

    def restore(self, arrays: dict[str, NDArray[np.int64]]) -> None:
        """Restores what `arrays` returned.

        Raises:
            CheckpointError: the arrays are not such a state.
        """
        with checked("the state of the seam to the history"):
            data, ends = bytes(arrays["names"].astype(np.uint8)), [0, *arrays["name_ends"].tolist()]
            names = [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]
            self._last_ms = dict(zip(names, arrays["last_ms"].tolist(), strict=True))
