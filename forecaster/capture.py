"""A table as it is at one moment, read piece by piece while its rows go on changing: copy on write, by rows.

    one thread   observes; before it writes rows it calls `keep`, which sets those aside that were not read yet
    another      reads the columns from their first row to their last, block by block, each as it was at the moment

Beginning costs nothing that grows with the number of rows, keeping a batch is a copy of its rows, and memory is needed
for rows that are written before they are read, not for a second table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.rows import reserve
from forecaster.streaming import Streamed

BLOCK_BYTES: Final = 1 << 18  # read at a time: the writer of rows waits for no longer than their copy takes
_NAMES: Final = 512  # encoded at a time, some 100 us


@dataclass(slots=True)
class _Column:
    """One array with a row per series.

    Attributes:
        live: the rows in use at the moment, as they are now.
        read: rows before it were read, and may change.
        slot: of every row, 1 + where it stands in `kept`; 0: it has not changed.
        kept: rows as they were; memory is committed as they come. count: places in it that were ever taken.
        spare: places of rows that were read since, a stack. spares: how many.
    """

    live: NDArray[Any]
    slot: NDArray[np.int32]
    kept: NDArray[Any]
    spare: NDArray[np.int32]
    read: int = 0
    count: int = 0
    spares: int = 0

    @classmethod
    def of(cls, live: NDArray[Any]) -> _Column:
        return cls(
            live,
            np.zeros(len(live), np.int32),
            reserve(len(live), live.shape[1], live.dtype.type, dense=True),
            np.zeros(len(live), np.int32),
        )

    def keep(self, rows: NDArray[np.int64]) -> None:
        rows = rows[(rows >= self.read) & (rows < len(self.live))]
        rows = np.unique(rows[self.slot[rows] == 0])
        again = min(len(rows), self.spares)
        more = np.arange(self.count, self.count + len(rows) - again, dtype=np.int32)
        places = np.concatenate((self.spare[self.spares - again : self.spares], more))
        self.spares, self.count = self.spares - again, self.count + len(more)
        self.kept[places[:again]] = self.live[rows[:again]]
        np.take(self.live, rows[again:], 0, self.kept[self.count - len(more) : self.count], "clip")  # no copy between
        self.slot[rows] = places + 1

    def block(self, start: int, end: int, out: NDArray[Any]) -> NDArray[Any]:
        out = out[: end - start]
        out[...] = self.live[start:end]
        changed = np.flatnonzero(self.slot[start:end])
        places = self.slot[start:end][changed] - 1
        out[changed] = self.kept[places]
        self.spare[self.spares : self.spares + len(places)] = places
        self.spares, self.read = self.spares + len(places), end
        return out


class Capture:
    """The state at one moment. `keep` belongs to the thread that observes, everything else to the one that reads.

    Args:
        columns: arrays with a row per series, the rows in use.
        names, rows: identifiers and rows of the series, lists that are only ever appended to.
        others: further arrays, not live.
        header: facts that belong to them.
        closed: called by `close`.
        lock: of the two threads; not held for longer than it takes to copy a block or the rows of a batch.
    """

    def __init__(
        self,
        columns: Mapping[str, NDArray[Any]],
        names: Sequence[str],
        rows: Sequence[int],
        others: Mapping[str, NDArray[Any]],
        header: dict[str, Any],
        closed: Callable[[Capture], None],
        lock: AbstractContextManager[Any],
    ) -> None:
        self._columns = {name: _Column.of(array) for name, array in columns.items()}
        self._names, self._rows, self._count = names, rows, len(names)
        self._others, self.header, self._closed = dict(others), header, closed
        self._lock = lock

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Sets rows aside that are about to be written, as far as they were not read yet."""
        with self._lock:
            for column in self._columns.values():
                if column.read < len(column.live):
                    column.keep(rows)

    def arrays(self, pause: Callable[[], None] = lambda: None) -> dict[str, NDArray[Any] | Streamed]:
        """Everything, by name; the columns of the table are to be read once each.

        Args:
            pause: called between pieces of work, some 100 us each.
        """
        texts, ends, rows, end = [], [], [], 0
        for start in range(0, self._count, _NAMES):
            part = slice(start, min(self._count, start + _NAMES))
            encoded = [name.encode("utf-8", "surrogatepass") for name in self._names[part]]
            texts.append(np.frombuffer(b"".join(encoded), np.uint8))
            ends.append(end + np.cumsum([len(text) for text in encoded], dtype=np.int64))
            rows.append(np.array(self._rows[part], np.int64))
            end = int(ends[-1][-1])
            pause()
        found: dict[str, NDArray[Any] | Streamed] = {name: self._stream(name) for name in self._columns}
        found["names"] = Streamed((end,), np.dtype(np.uint8), lambda: iter(texts))
        found["name_ends"] = Streamed((self._count,), np.dtype(np.int64), lambda: iter(ends))
        found["rows"] = Streamed((self._count,), np.dtype(np.int64), lambda: iter(rows))
        return found | self._others

    def _stream(self, name: str) -> Streamed:
        live = self._columns[name].live
        return Streamed(live.shape, live.dtype, lambda: self._blocks(self._columns[name]))

    def _blocks(self, column: _Column) -> Iterator[NDArray[Any]]:
        total, step = len(column.live), max(1, BLOCK_BYTES // max(1, column.live.strides[0]))
        out = np.empty((step, column.live.shape[1]), column.live.dtype)
        for start in range(0, total, step):
            with self._lock:
                block = column.block(start, min(total, start + step), out)
            yield block

    def close(self) -> None:
        """Lets go: nothing is set aside any more."""
        self._closed(self)
        with self._lock:
            self._columns.clear()
