"""Leaves events out of a decoded batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forecaster import chosen
from service.messages.decode import Decoded


def selected(decoded: Decoded, keep: NDArray[np.bool_], *, duplicates: bool = True) -> Decoded:
    """Returns a batch with some of its events.

    Args:
        decoded: without windows.
        keep: whether each event stays, shape (n,).
        duplicates: whether the others are counted as duplicates.
    """
    at = np.flatnonzero(keep)
    gone = [decoded.positions[i] for i in np.flatnonzero(~keep).tolist()] if duplicates else []
    before = np.concatenate(([0], np.cumsum(keep)))  # events that stay before each one
    return replace(
        with_events(decoded, at),
        tombstones=[replace(one, event=int(before[one.event])) for one in decoded.tombstones],
        duplicates=[*decoded.duplicates, *gone],
    )


def with_events(decoded: Decoded, at: NDArray[np.int64]) -> Decoded:
    """Returns a batch with the events of these indices, shape (m,), rising; what is not of single events stays."""
    kept, value = at.tolist(), decoded.value[at]
    return replace(
        decoded,
        series=chosen(decoded.series, at),
        timestamp_ms=decoded.timestamp_ms[at],
        value=value,
        covariates=None if decoded.covariates is None else decoded.covariates[at],
        future=None if decoded.future is None else decoded.future[at],
        positions=[decoded.positions[i] for i in kept],
        index=[decoded.index[i] for i in kept],
        within=None if decoded.within is None else [decoded.within[i] for i in kept],
        missing=int(np.isnan(value).sum()),
    )
