"""Conversion of the table and history of a forecaster to arrays and a header of a checkpoint, and back.

    hidden, stats, whole    the rows in use
    rows, names, name_ends  the index: rows, concatenated identifiers, end of each
    free                    rows in use that no series has any more
    late                    rings and checkpoints for late events, see late_rows.py
    history.*               the columns of the ring, in its order
    calendar                rows with steps of months, see calendar_rows.py

An incremental state holds a part of these, see incremental.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import CheckpointError
from forecaster.state.capture import Capture
from forecaster.state.incremental import ROWS, Mark, fill, names_of
from forecaster.state.late_rows import NAME as LATE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from forecaster.state.history import HistoryRing
    from forecaster.state.table import Table

MOST: Final = 1 << 62  # limit of every counter


def counts(table: Table, history: HistoryRing) -> dict[str, Any]:
    """Returns the header that belongs to `views`, JSON-serialisable."""
    return {
        "used": table.used,
        "added_total": table.added_total,
        "evicted_total": table.evicted_total,
        "history_written": history.written,
        "history_capacity": history.capacity,
    }


def _live(table: Table) -> dict[str, NDArray[Any]]:
    """Returns the arrays with a row per series, as far as their rows are in use."""
    live = {"hidden": table.hidden, "stats": table.stats, "whole": table.counters}
    if table.late is not None:
        live[LATE] = table.late.array
    return {name: array[: table.used] for name, array in live.items()}


def views(table: Table, history: HistoryRing) -> dict[str, NDArray[Any]]:
    """Returns all arrays of a state; the large ones are views of live memory."""
    live = _live(table)
    columns = {f"history.{name}": column for name, column in history.view().items()}
    return live | index_arrays(table.index) | {"free": np.array(table.free, np.int64)} | columns


def index_arrays(index: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Returns the identifiers and their rows as arrays."""
    names = [name.encode("utf-8", "surrogatepass") for name in index]
    return {
        "rows": np.fromiter(index.values(), np.int64, len(index)),
        "names": np.frombuffer(b"".join(names), np.uint8),
        "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
    }


def capture(
    table: Table,
    history: HistoryRing,
    header: dict[str, Any],
    lock: AbstractContextManager[Any],
    since: Mark | None,
    further: Mapping[str, NDArray[Any]],
) -> Capture:
    """Captures the current `views`, or an incremental state, to be read in blocks while rows continue to change.

    Args:
        table, history: of one forecaster.
        header: of the state, with `counts`; `since` is added to the header of an incremental state.
        lock: shared by the writing and the reading thread.
        since: a mark of the same table, for an incremental state.
        further: arrays that are not live, added unchanged.

    Raises:
        ValueError: the mark is of another table.
    """
    table.relist()
    if since is not None and since.table is not table.token:
        msg = "mark: got one of another forecaster, expected that of an earlier capture of this one"
        raise ValueError(msg)
    live = _live(table)
    changed, first, recent = None, 0, None
    if since is not None:
        start = history.first_changed(since.history_written, since.epoch)
        changed, recent = table.changed_since(since), history.since(start)
        first = since.names if since.removed_total == table.removed_total else 0
        header["since"] = {"names": first, "history_written": None if recent is None else since.history_written}
        if recent is not None and start < since.history_written:
            header["since"]["history_from"] = start
    if recent is None:
        recent = {name: column.copy() for name, column in history.view().items()}
    others = {f"history.{name}": column for name, column in recent.items()}
    others["free"] = np.array(table.free, np.int64)
    others |= further
    mark = table.mark(history.written)
    found = Capture(live, table.names, table.rows, others, header, mark, table.captures.remove, lock, changed, first)
    table.captures.append(found)
    return found


def change_share(table: Table, history: HistoryRing, since: Mark) -> float:
    """Estimates the size of an incremental state since a mark as a share of a full state's bytes, from 0 to 1.

    It is 1 if the mark is of another table.
    """
    if since.table is not table.token:
        return 1.0
    rows = np.count_nonzero(table.changed[: table.used] > since.epoch) / max(1, table.used)
    event = sum(column.strides[0] for column in history.columns.values())
    in_rows = table.used * table.bytes_per_series
    start = history.first_changed(since.history_written, since.epoch)
    recent = event * min(history.written - start, history.capacity)
    return min(1.0, (rows * in_rows + recent) / max(1, in_rows + event * min(history.written, history.capacity)))


def restore_arrays(table: Table, history: HistoryRing, arrays: dict[str, NDArray[Any]], header: dict[str, Any]) -> None:
    """Restores what `views` and `counts` returned into a new table and a new ring.

    Args:
        table, history: overwritten; if the ring has another capacity, the newest events that fit are kept.
        arrays, header: of a full state, or of an incremental one merged with its base; copied.

    Raises:
        CheckpointError: they do not belong together, or do not fit the table.
    """
    used, problems = count_of(header, "used"), []
    if used > table.max_series:
        problems.append(f"{used} rows in use, max_series is {table.max_series}: raise it")
    mine = {"hidden": table.hidden, "stats": table.stats, "whole": table.counters}
    for name, target in mine.items():
        got, expected = arrays[name].shape, (used, target.shape[1])
        if got != expected and ROWS not in arrays:
            problems.append(f"{name}: {got} in the state, {expected} expected")
    if problems:
        msg = "the state does not fit: " + "; ".join(problems)
        raise CheckpointError(msg)
    if table.late is not None and header.get("late_within") == table.late.within:
        mine[LATE] = table.late.array  # otherwise rings and checkpoints begin with the next events
    for name, target in mine.items():
        fill(arrays, name, target[:used])
    names, rows, free = names_of(arrays), arrays["rows"], arrays["free"]
    every = np.sort(np.concatenate((rows, free)))  # kernels do not check
    if not np.array_equal(every, np.arange(used)) or not rows.dtype == free.dtype == np.int64:
        msg = (
            f"the state does not fit: got rows of {len(rows)} series and {len(free)} free, expected each of {used} once"
        )
        raise CheckpointError(msg)
    if len(set(names)) != len(names):
        msg = f"the state does not fit: got {len(names)} series, {len(set(names))} of them different"
        raise CheckpointError(msg)
    table.used = used
    table.free = free.tolist()
    table.added_total, table.evicted_total = count_of(header, "added_total"), count_of(header, "evicted_total")
    for name, row in zip(names, rows.tolist(), strict=True):
        table.add_to_index(name, row)
    history.restore(
        {name: arrays[f"history.{name}"] for name in history.columns},
        count_of(header, "history_written"),
        count_of(header, "history_capacity"),
    )
    if LATE in mine and table.late is not None:
        table.late.restore(used, count_of(header, "history_written"), history)


def count_of(header: dict[str, Any], name: str) -> int:
    """Returns a counter from a header.

    Raises:
        CheckpointError: the number is negative, or too large for kernels to continue counting from it.
    """
    count = int(header[name])
    if not 0 <= count < MOST:
        msg = f"the state does not fit: got {name} {count}, expected a number from 0 to {MOST - 1}"
        raise CheckpointError(msg)
    return count
