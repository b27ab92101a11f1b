"""The rows of a batch as columns, of records that compiled code has read and of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.flat_text import FlatColumns
from service.ports import Records


class DecodedRows(NamedTuple):
    """Rows in the order of their records.

    Attributes:
        record: index of the record of every row, not falling, shape (n,). numbers: of the series, shape (n,).
        time_ms: shape (n,). values: the value and the covariates, nan where missing, shape (n, 1 + C).
        within: see `Decoded.within`, shape (n,), or None. future: see `Decoded.future`, or None.
    """

    record: NDArray[np.int64]
    numbers: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    within: NDArray[np.int64] | None
    future: NDArray[np.float64] | None

    def merged(self, flat: FlatColumns) -> DecodedRows:
        """Returns these rows and those of other records, which have no known future values."""
        if not len(self.record):
            return DecodedRows(flat.record, flat.numbers, flat.time_ms, flat.values, None, None)
        record = np.concatenate((self.record, flat.record))
        order = np.argsort(record, kind="stable")
        within = None
        if self.within is not None:
            within = np.concatenate((self.within, np.full(len(flat.record), -1, np.int64)))[order]
        return DecodedRows(
            record[order],
            np.concatenate((self.numbers, flat.numbers))[order],
            np.concatenate((self.time_ms, flat.time_ms))[order],
            np.concatenate((self.values, flat.values))[order],
            within,
            None,
        )


def numbers_within(index: Sequence[int]) -> list[int] | None:
    """Returns the index of every row among those of its record, -1 for a single one; None if all are single.

    Args:
        index: of the record of every row, not falling.
    """
    rows = np.array(index, np.int64)
    first = np.flatnonzero(np.diff(rows, prepend=-1) != 0)
    if len(first) == len(rows):
        return None
    counts = np.diff(first, append=len(rows))
    within = np.arange(len(rows)) - np.repeat(first, counts)
    within[np.repeat(counts == 1, counts)] = -1
    found: list[int] = within.tolist()
    return found


def positions_of(records: Records, index: Sequence[int]) -> list[int]:
    """Returns the positions of the records of rows: in the usual batch, each record has one."""
    positions = records.positions
    if len(index) == len(positions) and index == list(range(len(index))):
        return list(positions)
    return [positions[i] for i in index]


def as_float32(covariates: NDArray[np.float64]) -> NDArray[np.float32]:
    """Converts covariates to float32; values outside of its range count as missing."""
    covariates[~(np.abs(covariates) <= np.finfo(np.float32).max)] = np.nan
    return covariates.astype(np.float32)
