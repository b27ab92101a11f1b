"""A consistent capture of a table, read in blocks while its rows continue to change: copy on write, by rows.

    writer   the thread that observes; before it writes rows it calls `copy_rows`, which copies those not read yet
    reader   another thread; reads each column from its first row to its last in blocks, as of the capture

The cost of creating a capture does not grow with the number of rows, keeping a batch is a copy of its rows, and memory
is needed for rows that are written before they are read, not for a second table. An incremental capture covers some
rows: the others are neither read nor copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.kernels.buffers import reserve
from forecaster.state.checkpoint_stream import Streamed
from forecaster.state.incremental import ROWS, Mark

BLOCK_BYTES: Final = 1 << 18  # read at a time: the writer of rows waits no longer than the copy of a block takes
_NAMES: Final = 512  # encoded at a time, some 100 us


@dataclass(slots=True)
class _Column:
    """One array with a row per series, of which all or some are captured; captured rows are numbered from 0.

    Attributes:
        live: the rows that were in use at the capture, in live memory.
        rows: numbers of the captured rows, rising; None: all.
        read: captured rows before it were read and may change.
        slot: of every captured row, 1 + its slot in `kept`; 0: it has not changed.
        kept: copies of changed rows; memory is committed as it is used. count: slots ever used.
        spare: free slots, whose rows have been read, a stack. spares: number of them.
    """

    live: NDArray[Any]
    rows: NDArray[np.int64] | None
    slot: NDArray[np.int32]
    kept: NDArray[Any]
    spare: NDArray[np.int32]
    read: int = 0
    count: int = 0
    spares: int = 0

    @classmethod
    def of(cls, live: NDArray[Any], rows: NDArray[np.int64] | None) -> _Column:
        count = len(live) if rows is None else len(rows)
        kept = reserve(count, live.shape[1], live.dtype.type, dense=True)
        return cls(live, rows, np.zeros(count, np.int32), kept, np.zeros(count, np.int32))

    @property
    def total(self) -> int:
        return len(self.slot)

    def copy_rows(self, wanted: NDArray[np.int64]) -> None:
        wanted = wanted[wanted >= self.read]
        wanted = wanted[self.slot[wanted] == 0]
        rows = wanted if self.rows is None else self.rows[wanted]
        again = min(len(rows), self.spares)
        more = np.arange(self.count, self.count + len(rows) - again, dtype=np.int32)
        places = np.concatenate((self.spare[self.spares - again : self.spares], more))
        self.spares, self.count = self.spares - again, self.count + len(more)
        self.kept[places[:again]] = self.live[rows[:again]]
        np.take(self.live, rows[again:], 0, self.kept[self.count - len(more) : self.count], "clip")  # no temporary
        self.slot[wanted] = places + 1

    def block(self, start: int, end: int, out: NDArray[Any]) -> NDArray[Any]:
        out = out[: end - start]
        if self.rows is None:
            out[...] = self.live[start:end]
        else:
            np.take(self.live, self.rows[start:end], 0, out, "clip")
        changed = np.flatnonzero(self.slot[start:end])
        places = self.slot[start:end][changed] - 1
        out[changed] = self.kept[places]
        self.spare[self.spares : self.spares + len(places)] = places
        self.spares, self.read = self.spares + len(places), end
        return out


class Capture:
    """The state at one point in time. The observing thread calls `copy_rows`, the reading thread all other methods.

    Args:
        columns: arrays with a row per series, the rows in use.
        names, rows: identifiers and rows of the series, lists that are only appended to.
        others: further arrays, not live.
        header: of the state.
        mark: of the point in time.
        closed: called by `close`.
        lock: shared by the two threads; held no longer than it takes to copy a block or the rows of a batch.
        changed: the captured rows, rising, for an incremental capture; None: all.
        first: index of the first captured name.
    """

    def __init__(
        self,
        columns: Mapping[str, NDArray[Any]],
        names: Sequence[str],
        rows: Sequence[int],
        others: Mapping[str, NDArray[Any]],
        header: dict[str, Any],
        mark: Mark,
        closed: Callable[[Capture], None],
        lock: AbstractContextManager[Any],
        changed: NDArray[np.int64] | None = None,
        first: int = 0,
    ) -> None:
        self._columns = {name: _Column.of(array, changed) for name, array in columns.items()}
        self._names, self._rows, self._first, self._count = names, rows, first, len(names)
        self._used = max((len(array) for array in columns.values()), default=0)
        self._others, self.header, self.mark, self._closed = dict(others), header, mark, closed
        self._lock, self._changed = lock, changed

    def copy_rows(self, rows: NDArray[np.int64]) -> None:
        """Copies rows, indices of shape (n,), that are about to be written, unless they were read already."""
        wanted = np.unique(rows[rows < self._used])
        if self._changed is not None:
            places = np.searchsorted(self._changed, wanted)
            inside = places < len(self._changed)
            places = places[inside]
            wanted = places[self._changed[places] == wanted[inside]]
        with self._lock:
            for column in self._columns.values():
                if column.read < column.total:
                    column.copy_rows(wanted)

    def arrays(self, pause: Callable[[], None] = lambda: None) -> dict[str, NDArray[Any] | Streamed]:
        """Returns all arrays by name; each column of the table can be read once.

        Args:
            pause: called between pieces of work, some 100 us each.
        """
        texts, ends, rows, end = [], [], [], 0
        for start in range(self._first, self._count, _NAMES):
            part = slice(start, min(self._count, start + _NAMES))
            encoded = [name.encode("utf-8", "surrogatepass") for name in self._names[part]]
            texts.append(np.frombuffer(b"".join(encoded), np.uint8))
            ends.append(end + np.cumsum([len(text) for text in encoded], dtype=np.int64))
            rows.append(np.array(self._rows[part], np.int64))
            end = int(ends[-1][-1])
            pause()
        count = self._count - self._first
        before = "" if self._changed is None else f"{ROWS}."
        found: dict[str, NDArray[Any] | Streamed] = {before + name: self._stream(name) for name in self._columns}
        if self._changed is not None:
            found[ROWS] = self._changed
        found["names"] = Streamed((end,), np.dtype(np.uint8), lambda: iter(texts))
        found["name_ends"] = Streamed((count,), np.dtype(np.int64), lambda: iter(ends))
        found["rows"] = Streamed((count,), np.dtype(np.int64), lambda: iter(rows))
        return found | self._others

    def _stream(self, name: str) -> Streamed:
        column = self._columns[name]
        return Streamed((column.total, column.live.shape[1]), column.live.dtype, lambda: self._blocks(column))

    def _blocks(self, column: _Column) -> Iterator[NDArray[Any]]:
        total, step = column.total, max(1, BLOCK_BYTES // max(1, column.live.strides[0]))
        out = np.empty((step, column.live.shape[1]), column.live.dtype)
        for start in range(0, total, step):
            with self._lock:
                block = column.block(start, min(total, start + step), out)
            yield block

    def close(self) -> None:
        """Releases the capture: rows are no longer copied."""
        self._closed(self)
        with self._lock:
            self._columns.clear()
