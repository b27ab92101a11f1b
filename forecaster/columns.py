"""The columns of a batch and of its answers, as the kernel of observe.py takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts
from forecaster.config import ModelConfig
from forecaster.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

Columns = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]

_NO_NUMBERS = np.zeros(1, np.float32)  # stands for covariates where there are none


def columns(batch: Batch, config: ModelConfig) -> Columns:
    """Times, values, and flat: covariates and what is known ahead.

    Raises:
        BatchError: they do not fit each other or the model.
    """
    n = len(batch)
    ts = np.ascontiguousarray(batch.timestamp_ms, np.int64)
    value = np.ascontiguousarray(batch.value, np.float64)
    if ts.shape != (n,) or value.shape != (n,):
        msg = f"got {n} series, timestamps {ts.shape} and values {value.shape}, expected one of each per event"
        raise BatchError(msg)
    names, ahead = config.covariates, config.future_covariates
    cov = _flat("covariates", batch.covariates, (n, len(names)), names)
    return ts, value, cov, _flat("future", batch.future, (n, len(ahead), config.horizon), ahead)


def _flat(
    what: str, given: NDArray[np.float32] | None, shape: tuple[int, ...], names: Sequence[str]
) -> NDArray[np.float32]:
    """A column of numbers; one number where the model has none of it."""
    if given is None:
        if names:
            each = " x ".join(map(str, shape[1:]))
            msg = f"got no {what}, expected {each} per event: {', '.join(names)}; nan where it is not known"
            raise BatchError(msg)
        return _NO_NUMBERS
    given = np.ascontiguousarray(given, np.float32)
    if given.shape != shape and (names or given.size):
        msg = f"got {what} {given.shape}, expected {shape}: {', '.join(names) or 'none'}"
        raise BatchError(msg)
    return given.reshape(-1) if given.size else _NO_NUMBERS


def unwritten(ts: NDArray[np.int64], config: ModelConfig) -> Forecasts:
    """Answers that the kernel has still to write, all of them."""
    n = len(ts)
    return Forecasts(
        status=np.empty(n, np.uint8),
        origin_ms=ts,
        interval_ms=np.empty(n, np.int64),
        steps=np.empty(n, np.int64),
        quantiles=np.empty((n, config.horizon, len(config.quantiles)), np.float64),
        anomaly=np.empty(n, np.float32),
        flagged=np.empty(n, np.uint8),
        notes=np.empty(n, np.uint8),
        noted_ms=np.empty(n, np.int64),
        calendar=np.zeros(n, np.int16),
        timezone=config.timezone,
    )


def nothing(ts: NDArray[np.int64], config: ModelConfig) -> Forecasts:
    """Answers of events that have none; their status is still to be written."""
    out = unwritten(ts, config)
    columns: tuple[tuple[NDArray[Any], float], ...] = (
        (out.interval_ms, 0), (out.steps, 0), (out.flagged, 0), (out.notes, 0), (out.noted_ms, 0),
        (out.quantiles, np.nan), (out.anomaly, np.nan),
    )  # fmt: skip
    for column, value in columns:
        column.fill(value)
    return out
