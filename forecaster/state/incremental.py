"""Incremental states: the part of a state that changed since a mark. Merged with its base, it gives the full state.

The base is the full state at the mark. An incremental state has the array names of a full one, but instead of
`hidden`, `stats` and `whole`

    changed                  numbers of the rows written since the mark, rising
    changed.hidden, ...      their current contents

Of `names`, `name_ends` and `rows` it has the entries after the first `since.names`, and of the history the events
after the first `since.history_written`, in stream order; its header has both numbers. Where late events replaced events
of the history, these begin at `since.history_from` instead. All other arrays are complete.

A merged state keeps two parts, the base's rows and those that replace them, because a reader that reads all rows once
needs no copy of them. `fill` and `column` return the current rows of a merged state and of a full one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import CheckpointError
from forecaster.state.checkpoint import checked

ROWS: Final = "changed"  # array of row numbers; as a prefix before a dot: the contents of these rows
COLUMNS: Final = ("hidden", "stats", "whole")  # arrays with a row per series, of every state
ROW_ARRAYS: Final = (*COLUMNS, "late")  # those that a state may have
HISTORY: Final = ("series", "timestamp_ms", "value", "robust", "covariates")  # columns of every history


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in time of a forecaster from which changes can be determined; keeping one costs nothing.

    Attributes:
        table: token of the table, compared by identity.
        epoch: rows written in a later write epoch have changed since.
        names: number of series in the index at the mark.
        removed_total: series evicted or forgotten before the mark; while it is unchanged, the index has only grown.
        history_written: events written to the history before the mark.
    """

    table: object
    epoch: int
    names: int
    removed_total: int
    history_written: int


def laid_over(
    base: dict[str, NDArray[Any]], base_header: dict[str, Any], arrays: dict[str, NDArray[Any]], header: dict[str, Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Merges an incremental state with its base; the result suits `Forecaster.from_state`.

    Args:
        base, base_header: a full state, at least the arrays that are needed; not changed.
        arrays, header: an incremental state since then; likewise, and `changed`. Other arrays are passed through.

    Raises:
        CheckpointError: base and incremental state do not belong together.
    """
    with checked("the changes"):
        since = header["since"]
        found = arrays | {name: base[name] for name in ROW_ARRAYS if name in base}
        kept = int(since["names"])
        if "rows" in arrays and not 0 <= kept <= len(base["rows"]):
            msg = f"the changes do not fit their base: got names behind the first {kept}, it has {len(base['rows'])}"
            raise CheckpointError(msg)
        if "rows" in arrays:
            found["rows"] = np.concatenate((base["rows"][:kept], arrays["rows"]))
        if "names" in arrays:
            ends = base["name_ends"][:kept]
            end = int(ends[-1]) if kept else 0
            found["names"] = np.concatenate((base["names"][:end], arrays["names"]))
            found["name_ends"] = np.concatenate((ends, end + arrays["name_ends"]))
        if "history.series" in arrays and since["history_written"] is not None:
            found |= _history(base, base_header, arrays, header)
        return found, {name: value for name, value in header.items() if name != "since"}


def _history(
    base: dict[str, NDArray[Any]], base_header: dict[str, Any], arrays: dict[str, NDArray[Any]], header: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    written, capacity = int(header["since"]["history_written"]), int(header["history_capacity"])
    then = int(base_header["history_written"]), int(base_header["history_capacity"])
    if then != (written, capacity):
        msg = f"the changes do not fit their base: got its history at {then}, expected {written, capacity} events"
        raise CheckpointError(msg)
    count, start = len(arrays["history.series"]), int(header["since"].get("history_from", written))
    if not 0 <= start <= written:
        msg = f"the changes do not fit their base: got events from {start} on, expected 0 to {written}"
        raise CheckpointError(msg)
    places = (start + np.arange(count)) % max(1, capacity)
    found = {}
    for name, new in arrays.items():
        if name.startswith("history."):
            old = base[name]
            if len(old) != min(written, capacity) or new.dtype != old.dtype:
                msg = f"{name}: got a base of {len(old)} {old.dtype} and changes of {new.dtype}, expected {then} events"
                raise CheckpointError(msg)
            found[name] = np.empty((min(max(written, start + count), capacity), *old.shape[1:]), old.dtype)
            found[name][: len(old)] = old
            found[name][places] = new
    return found


def names_of(arrays: dict[str, NDArray[Any]]) -> list[str]:
    """Returns the identifiers of the series of a full state, in the order of `rows`.

    Raises:
        CheckpointError: `names` and `name_ends` do not fit each other.
    """
    text, ends = arrays["names"], arrays["name_ends"]
    fits = text.dtype == np.uint8 and ends.dtype == np.int64 and ends.ndim == text.ndim == 1
    if not fits or (np.diff(ends, prepend=0) < 0).any() or (int(ends[-1]) if len(ends) else 0) != len(text):
        msg = f"names: got {text.dtype} {text.shape}, expected bytes up to the last of {ends.shape} rising ends"
        raise CheckpointError(msg)
    raw, stops = text.tobytes(), ends.tolist()
    return [raw[a:b].decode("utf-8", "surrogatepass") for a, b in zip([0, *stops], stops, strict=False)]


def _rising(changed: NDArray[Any]) -> bool:
    """Returns whether these are strictly rising row numbers."""
    return bool(changed.dtype == np.int64 and changed.ndim == 1 and (np.diff(changed, prepend=-1) > 0).all())


def fill(arrays: dict[str, NDArray[Any]], name: str, out: NDArray[Any]) -> None:
    """Overwrites `out` (rows in use, columns) with the rows of one of `ROW_ARRAYS`, without a further copy.

    Raises:
        CheckpointError: base and changes do not cover these rows, or have another dtype.
    """
    base, changed = arrays[name], arrays.get(ROWS)
    if changed is None:
        if (base.dtype, base.shape) != (out.dtype, out.shape):
            msg = f"{name}: got {base.dtype} {base.shape}, expected {out.dtype} {out.shape}"
            raise CheckpointError(msg)
        out[...] = base
        return
    values, new = arrays[f"{ROWS}.{name}"], np.arange(len(base), len(out))
    fits = base.shape[1:] == out.shape[1:] and values.shape == (len(changed), *out.shape[1:]) and len(base) <= len(out)
    fits = fits and base.dtype == values.dtype == out.dtype and _rising(changed)
    if not fits or not np.array_equal(changed[len(changed) - len(new) :], new):
        msg = (
            f"{name}: got changes {values.dtype} {values.shape} of {len(changed)} rows over a base {base.dtype} "
            f"{base.shape}, expected them and all new rows to be {out.dtype} {out.shape}"
        )
        raise CheckpointError(msg)
    out[: len(base)] = base
    out[changed] = values


def column(arrays: dict[str, NDArray[Any]], name: str, rows: NDArray[np.int64], index: int) -> NDArray[Any]:
    """Returns column `index` of one of `ROW_ARRAYS` at `rows`.

    Raises:
        CheckpointError: `changed` does not hold rising row numbers.
    """
    base, changed = arrays[name], arrays.get(ROWS)
    if changed is None:
        found: NDArray[Any] = base[rows, index]
        return found
    if not _rising(changed):
        msg = f"{ROWS}: got {changed.dtype} {changed.shape}, expected rows, rising"
        raise CheckpointError(msg)
    found = np.empty(len(rows), base.dtype)
    place = np.minimum(np.searchsorted(changed, rows), max(0, len(changed) - 1))
    hit = changed[place] == rows if len(changed) else np.zeros(len(rows), np.bool_)
    found[~hit] = base[rows[~hit], index]
    found[hit] = arrays[f"{ROWS}.{name}"][place[hit], index]
    return found
