"""pandas and polars frames in the long form of the Nixtla libraries: one row per observation, `unique_id, ds, y`.

In:  unique_id (series), ds (time: datetimes, those without a zone are UTC; or integers, epoch milliseconds), y (value,
     null = missing), a column per covariate, and for each known-future covariate a column `future.NAME` of lists: its
     known values at the 1st, 2nd, ... step after the row.
Out: unique_id, cutoff (the event that was forecast from), ds, the median as `forecaster`, for every pair of levels a
     and 1 - a the interval as `forecaster-lo-90`, `forecaster-hi-90`; a level without counterpart: `forecaster-q-95`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch, Forecasts, Status
from forecaster.config import ModelConfig
from forecaster.errors import BatchError
from forecaster.features.calendar_steps import target_times
from forecaster.interop.optional import optional

ID, TIME, VALUE, CUTOFF, NAME, FUTURE = "unique_id", "ds", "y", "cutoff", "forecaster", "future"


def is_polars(frame: Any) -> bool:
    """Returns whether a frame is one of polars, without importing polars."""
    return type(frame).__module__.partition(".")[0] == "polars"


def batch_from_frame(frame: Any, covariates: Sequence[str] = (), future: Sequence[str] = (), horizon: int = 1) -> Batch:
    """Converts the rows of a frame to events, in the order of time; rows of equal time keep their order.

    Args:
        frame: pandas or polars (lazy ones are collected) with the columns unique_id, ds, y and those of covariates.
        covariates: in the order of `ModelConfig.covariates`.
        future: in the order of `ModelConfig.future_covariates`. horizon: steps ahead to read of them.

    Raises:
        BatchError: a column is missing or of an unsupported type, or a row has no identifier.
    """
    frame = collected(frame)
    wanted = [ID, TIME, VALUE, *covariates]
    ahead = [f"{FUTURE}.{name}" for name in future]
    absent = [name for name in wanted + ahead if name not in list(getattr(frame, "columns", ()))]
    if absent:
        has = ", ".join(map(str, getattr(frame, "columns", ()))) or f"no columns ({type(frame).__name__})"
        msg = f"got a frame with {has}; expected also {', '.join(absent)}: rename what holds the series, time and value"
        raise BatchError(msg)
    ts = _milliseconds(frame)
    try:
        columns = {name: frame[name].to_numpy().astype(np.float64) for name in wanted[2:]}
    except (TypeError, ValueError) as error:
        msg = f"got a column that is not of numbers among {', '.join(wanted[2:])}: {error}"
        raise BatchError(msg) from error
    order = np.argsort(ts, kind="stable")
    names = _identifiers(frame)
    side = np.column_stack([columns[name] for name in covariates]).astype(np.float32)[order] if covariates else None
    lists = np.stack([_lists(frame, name, horizon) for name in ahead], axis=1)[order] if ahead else None
    return Batch([names[i] for i in order.tolist()], ts[order], columns[VALUE][order], side, lists)


def collected(frame: Any) -> Any:
    """Collects a lazy frame of polars; returns any other frame as it is."""
    return frame.collect() if is_polars(frame) and type(frame).__name__ == "LazyFrame" else frame


def _identifiers(frame: Any) -> list[str]:
    """Returns the series of every row; refuses nulls, which would become a series "nan" or "None"."""
    column = frame[ID]
    nulls = column.is_null() if is_polars(frame) else column.isna()
    if is_polars(frame) and column.dtype.is_float():
        nulls = nulls | column.is_nan()
    absent = np.flatnonzero(nulls.to_numpy())
    if len(absent):
        msg = (
            f"got {len(absent)} of {len(column)} rows without a {ID}, the first of them row {absent[0]}; expected the "
            "name of its series in every row: leave such rows out, or name them"
        )
        raise BatchError(msg)
    return [str(name) for name in column.to_list()]


def _lists(frame: Any, name: str, horizon: int) -> NDArray[np.float32]:
    """Returns a column of lists as (n, horizon), nan after their ends and in place of nulls."""
    out = np.full((len(frame), horizon), np.nan, np.float32)
    for at, cell in enumerate(frame[name].to_list()):
        if not hasattr(cell, "__len__"):
            if cell is None or cell != cell:  # noqa: PLR0124 - pandas fills absent lists with nan
                continue
            msg = f"got {cell!r} in {name}, expected lists: the values at the next steps"
            raise BatchError(msg)
        try:
            nearest = np.array(list(cell)[:horizon], np.float64)
        except (TypeError, ValueError) as error:
            msg = f"got a list that is not of numbers in {name}: {error}"
            raise BatchError(msg) from error
        out[at, : len(nearest)] = nearest
    return out


def _milliseconds(frame: Any) -> NDArray[np.int64]:
    column = frame[TIME]
    if is_polars(frame):
        polars = optional("polars", "frames")
        if column.dtype == polars.Date:
            column = column.cast(polars.Datetime("ms"))
        if isinstance(column.dtype, polars.Datetime):
            column = column.dt.epoch("ms")
    elif str(column.dtype).startswith(("datetime64", "timestamp")):
        if getattr(column.dt, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        if bool(column.isna().any()):
            msg = "got a row without a time in ds, expected a time in every row"
            raise BatchError(msg)
        column = column.astype("datetime64[ms]").astype("int64")
    values = column.to_numpy()
    if values.dtype.kind not in "iu":
        msg = f"got ds of type {frame[TIME].dtype}, expected datetimes without nulls, or integers (epoch milliseconds)"
        raise BatchError(msg)
    out: NDArray[np.int64] = values.astype(np.int64)
    return out


def forecast_frame(
    batch: Batch,
    forecasts: Forecasts,
    config: ModelConfig,
    *,
    which: Literal["last", "all"] = "last",
    like: Any = None,
) -> Any:
    """Returns forecasts as a frame, one row per series, origin and step ahead.

    Args:
        batch: events that `Forecaster.observe` was given.
        forecasts: its result.
        config: of the network.
        which: "last", the newest forecast of every series; or "all", one per event. Late and duplicate events have
            none, and neither has the first event of a series whose interval is not known yet.
        like: a frame of the wanted kind; None for pandas.

    Returns:
        A frame as in the module docstring, sorted by series, cutoff and ds. Times are UTC without a zone.
    """
    good = np.flatnonzero((forecasts.status <= Status.MISSING) & (forecasts.interval_ms > 0))
    if which == "last":
        good = np.array(sorted({batch.series[i]: i for i in good.tolist()}.values()), np.int64)
    names = [batch.series[i] for i in good.tolist()]
    by_name = sorted(range(len(good)), key=lambda i: names[i])  # stable: events of a series stay in the order of time
    good, names = good[by_name], [names[i] for i in by_name]
    horizon = config.horizon
    origin = np.repeat(forecasts.origin_ms[good], horizon)
    columns: dict[str, Any] = {
        ID: [name for name in names for _ in range(horizon)],
        CUTOFF: origin.astype("datetime64[ms]"),
        TIME: target_times(forecasts, good).ravel().astype("datetime64[ms]"),
    }
    quantiles = forecasts.quantiles[good].reshape(len(good) * horizon, -1)
    columns |= {name: quantiles[:, at] for name, at in level_columns(config.quantiles)}
    library = optional("polars", "frames") if is_polars(like) else optional("pandas", "frames")
    return library.DataFrame(columns)


def level_columns(quantiles: Sequence[float]) -> list[tuple[str, int]]:
    """Returns column name and index of every level: the median first, then intervals from the innermost outwards."""
    found = [(NAME, quantiles.index(0.5))]
    mirrored = {round(1 - a, 9): i for i, a in enumerate(quantiles)}
    for low, a in reversed(list(enumerate(quantiles))):
        if a >= 0.5:
            continue
        high = mirrored.get(round(a, 9))
        if high is None:
            found.append((f"{NAME}-q-{_percent(a)}", low))
        else:
            share = _percent(1 - 2 * a)
            found += [(f"{NAME}-lo-{share}", low), (f"{NAME}-hi-{share}", high)]
    lower = {round(a, 9) for a in quantiles}
    found += [
        (f"{NAME}-q-{_percent(a)}", i) for i, a in enumerate(quantiles) if a > 0.5 and round(1 - a, 9) not in lower
    ]
    return found


def _percent(share: float) -> str:
    return f"{round(100 * share, 6):g}"
