"""Selects the forecast origins, and writes the file of predictions."""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.backtest.events import EventTable
from service.config.input import TimeUnit
from service.errors import ConfigurationError
from service.messages.timestamps import EXPECTED, to_epoch_ms

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""The quantile levels of a file of predictions."""

WARM_SHARE = 0.3
DEFAULT_ORIGINS = 3000
_PIECE_BYTES = 1 << 20  # of an array that is written in pieces


def read_origins(path: Path, events: EventTable, unit: TimeUnit = "auto") -> tuple[NDArray[np.bool_], int]:
    """Reads the origins from a CSV file with the columns series, origin; `unit` is `input.fields.time_unit`.

    Returns:
        (n,) whether the event is an origin; and the number of origins without an event.

    Raises:
        ConfigurationError: the file has another format.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"series", "origin"} <= set(reader.fieldnames or ()):
            msg = f"{path}: got the columns {', '.join(reader.fieldnames or ())}, expected series,origin"
            raise ConfigurationError(msg)
        # Names are not stored: only their numbers are, negative for series without an event.
        number, others = {name: i for i, name in enumerate(events.names)}, dict[str, int]()
        series, moments = list[int](), list[str]()
        for row in reader:
            name = row["series"]
            series.append(number[name] if name in number else others.setdefault(name, -1 - len(others)))
            moments.append(row["origin"])
    times, bad = to_epoch_ms(moments, unit)
    if bad:
        msg = f"{path}: got the origin {moments[bad[0]]!r}, expected {EXPECTED}"
        raise ConfigurationError(msg)
    asked = {key for key in zip(series, times.tolist(), strict=True) if key[0] >= 0}
    keys = zip(events.series.tolist(), events.timestamp_ms.tolist(), strict=True)
    wanted = np.fromiter((key in asked for key in keys), np.bool_, len(events))
    found = len({*zip(events.series[wanted].tolist(), events.timestamp_ms[wanted].tolist(), strict=True)})
    return wanted, len({*zip(series, moments, strict=True)}) - found


def default_origins(events: EventTable, broadcast: str = "") -> NDArray[np.bool_]:
    """Selects about 3,000 events over all series except the broadcast series, after the first 30 % of each."""
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
    """Writes series (N,), origin (N,) in epoch seconds and q (N, horizon, 19), replacing the file atomically.

    Every row of the array of names has the width of the longest one, so it is never complete in memory.

    Raises:
        OSError: it could not be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        _write_npz(file, series, {"origin": origin_ms // 1000, "q": q})
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _write_npz(file: BinaryIO, series: list[str], arrays: dict[str, NDArray[Any]]) -> None:
    """Writes the same as `numpy.savez_compressed`, with `series` in pieces."""
    kind = np.dtype(f"<U{max((1, *map(len, series)))}")
    rows = max(1, _PIECE_BYTES // kind.itemsize)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("series.npy", "w", force_zip64=True) as member:
            header = {"descr": kind.str, "fortran_order": False, "shape": (len(series),)}
            np.lib.format.write_array_header_1_0(member, header)
            for at in range(0, len(series), rows):
                member.write(np.array(series[at : at + rows], kind).tobytes())
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)
