"""Coverage of the forecasts for new series: a stream is begun at many moments of each public data set.

    python benchmarks/cold_starts.py SHARED [--only NAME ...] [--starts 40]

The cold start table of docs/accuracy.md has one start of each data set, which for one series is one sample. Here a new
forecaster observes the first events of all series of a data set from each of many moments on, never trained, and its
forecasts from the second to the fiftieth event of each series are compared with the actuals. The moments are equally
spaced.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, ModelConfig, start_model
from service.backtest.origins import LEVELS
from service.discovery.cadence import FirstEvents, shown_seasons

FIRST = 50  # events of a series that are forecast from
EVERY = 3  # of these, every third


def read(file: Path, step_ms: int) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
    """Returns the series of a file, the times of the first one, and the values (times, series), nan where missing."""
    with gzip.open(file, "rt", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["value"]]
    first: dict[str, int] = {}
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        at = int(datetime.fromisoformat(row["timestamp"]).timestamp() * 1000)
        series = row["series"]
        found.setdefault(series, {})[(at - first.setdefault(series, at)) // step_ms] = float(row["value"])
    steps, names = range(min(max(values) for values in found.values()) + 1), sorted(found)
    values = np.array([[found[name].get(step, math.nan) for name in names] for step in steps])
    return names, first[names[0]] + step_ms * np.array(steps, np.int64), values


def coverage(model: Any, names: list[str], times: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """Returns the share of actuals within the 80 % interval at the start of a stream; values (times, series)."""
    levels, horizon = model.config.quantiles, model.config.horizon
    low, high = levels.index(0.1), levels.index(0.9)
    known = np.isfinite(values)
    step, series = np.nonzero(known)
    forecaster = Forecaster(model, max_series=len(names), history_events=0)
    out = forecaster.observe(Batch([names[i] for i in series.tolist()], times[step], values[known]))
    quantiles = np.full((*values.shape, horizon, len(levels)), math.nan)
    quantiles[known] = out.quantiles
    hits = []
    for at in range(1, FIRST, EVERY):
        actual = values[at + 1 : at + 1 + horizon].T
        lowest, highest = quantiles[at, :, :, low], quantiles[at, :, :, high]
        scored = np.isfinite(actual) & np.isfinite(lowest)
        hits.append(((actual >= lowest) & (actual <= highest))[scored])
    return float(np.concatenate(hits).mean())


def row(name: str, meta: dict[str, Any], folder: Path, starts: int) -> str:
    """Returns the row of a data set: coverage, its standard error over the starts, and its quartiles."""
    step_ms, horizon = meta["freq_s"] * 1000, meta["horizon"]
    names, times, values = read(folder / meta["file"], step_ms)
    length = FIRST + horizon
    many = np.arange(FIRST * len(names)) % len(names)
    shown = FirstEvents(many, np.repeat(times[:FIRST], len(names)), values[:FIRST].ravel())
    seasons = shown_seasons(shown, step_ms)
    model = start_model(ModelConfig(horizon=horizon, seasons=seasons, interval_ms=step_ms, quantiles=LEVELS))
    found = np.array([
        coverage(model, names, times[start : start + length], values[start : start + length])
        for start in np.linspace(0, len(times) - length - 1, starts).astype(int).tolist()
    ])  # fmt: skip
    error = found.std(ddof=1) / math.sqrt(starts)
    quartiles = " to ".join(f"{q:.2f}" for q in np.quantile(found, [0.25, 0.75]))
    return f"| {name} | {len(names)} | {found.mean():.3f} | {error:.3f} | {quartiles} | {found[0]:.3f} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--starts", type=int, default=40)
    arguments = parser.parse_args()
    datasets = json.loads((arguments.shared / "data" / "datasets.json").read_text())
    print("| data set | series | cov80 | standard error | quartiles of the starts | first start |")
    print("|---|---|---|---|---|---|")
    for name in arguments.only or datasets:
        print(row(name, datasets[name], arguments.shared / "data", arguments.starts), flush=True)


if __name__ == "__main__":
    main()
