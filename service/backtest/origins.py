"""Where forecasts are asked for, and the file that they go to."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.backtest.events import Events
from service.errors import ConfigurationError
from service.timestamps import EXPECTED, Unit, to_epoch_ms

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""The quantile levels of a file of predictions."""

WARM_SHARE = 0.3
DEFAULT_ORIGINS = 3000


def read_origins(path: Path, events: Events, unit: Unit = "auto") -> tuple[NDArray[np.bool_], int]:
    """The events named by a CSV file with the columns series, origin; numbers are of the unit of `input.time_unit`.

    Returns:
        (n,) whether a forecast is asked for after the event; and how many origins have no event.

    Raises:
        ConfigurationError: the file is none of that kind.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"series", "origin"} <= set(reader.fieldnames or ()):
            msg = f"{path}: got the columns {', '.join(reader.fieldnames or ())}, expected series,origin"
            raise ConfigurationError(msg)
        rows = [(row["series"], row["origin"]) for row in reader]
    times, bad = to_epoch_ms([origin for _, origin in rows], unit)
    if bad:
        msg = f"{path}: got the origin {rows[bad[0]][1]!r}, expected {EXPECTED}"
        raise ConfigurationError(msg)
    number = {name: i for i, name in enumerate(events.names)}
    asked = {(number[series], time) for (series, _), time in zip(rows, times.tolist(), strict=True) if series in number}
    keys = zip(events.series.tolist(), events.timestamp_ms.tolist(), strict=True)
    wanted = np.fromiter((key in asked for key in keys), np.bool_, len(events))
    found = len({*zip(events.series[wanted].tolist(), events.timestamp_ms[wanted].tolist(), strict=True)})
    return wanted, len(set(rows)) - found


def default_origins(events: Events, broadcast: str = "") -> NDArray[np.bool_]:
    """About 3,000 events spread over all series but the one of broadcasts, behind the first 30 % of each."""
    step = max(1, round((1.0 - WARM_SHARE) * len(events) / DEFAULT_ORIGINS))
    counts = np.bincount(events.series, minlength=len(events.names))
    wanted = np.zeros(len(events), np.bool_)
    for number in range(len(events.names)):
        if broadcast and events.names[number] == broadcast:
            continue
        at = np.flatnonzero(events.series == number)
        shift = number * step // len(events.names)
        wanted[at[int(WARM_SHARE * counts[number]) + shift :: step]] = True
    return wanted


def write_predictions(path: Path, series: list[str], origin_ms: NDArray[np.int64], q: NDArray[np.floating]) -> None:
    """Writes series (N,), origin (N,) in epoch seconds and q (N, horizon, 19), replacing the file in one step.

    Raises:
        OSError: it could not be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, series=np.array(series, np.str_), origin=origin_ms // 1000, q=q)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
