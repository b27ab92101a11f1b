"""Long seasons: the state of a series by cadence, and what means of steps in place of old values cost in accuracy.

    python benchmarks/long_seasons.py                    bytes of a series by cadence, before and after
    python benchmarks/long_seasons.py --accuracy         errors on generated minute data with a daily season
    python benchmarks/long_seasons.py --accuracy FILE    the same on the first series of a CSV file of five minutes,
                                                         of the columns series, timestamp and value
    python benchmarks/long_seasons.py --accuracy [FILE] --small      with an untrained network of 16 units, so that the
                                                         score is that of the simple members of the ensemble

The tables are those of docs/seasons.md. The score is the mean pinball loss of all levels and of the 24 steps ahead,
twice, over the newer half of the events, relative to the mean size of the values: the weighted quantile loss. Weights
are the pretrained ones, without a training, but with --small.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, Forecaster, ModelConfig, calendar_seasons, series_bytes, start_model, with_profile

# Seconds of a step; with the seasons of the calendar that are assumed, or found, where none are configured.
CADENCES = {"second": 1, "ten seconds": 10, "minute": 60, "five minutes": 300, "quarter of an hour": 900,
            "hour": 3600, "day": 86_400}  # fmt: skip
CONFIGURED = {"second": (60, 3600), "minute": (1440, 10_080)}
MINUTE, DAY = 60_000, 1440
EVERY = 7  # only every so many steps are scored
FILE_SERIES = 20


def memory_table(horizon: int = 24) -> str:
    """Returns the bytes of a series by cadence and seasons, with every value and as chosen without a budget."""
    lines = [
        "| a value every | seasons in steps | every value, bytes | steps of a mean | bytes |",
        "|---|---|--:|--:|--:|",
    ]
    rows = [(name, calendar_seasons(1000 * seconds), "") for name, seconds in CADENCES.items()]
    rows += [(name, seasons, " (configured)") for name, seasons in CONFIGURED.items()]
    for name, seasons, note in rows:
        seconds = CADENCES[name]
        whole = ModelConfig(horizon=horizon, seasons=seasons, interval_ms=1000 * seconds)
        chosen = with_profile(whole)
        listed = ", ".join(f"{season:,}" for season in seasons) + note
        lines.append(
            f"| {name} | {listed} | {series_bytes(whole):,} | {chosen.profile_steps} | {series_bytes(chosen):,} |"
        )
    return "\n".join(lines)


def minutes(series: int, days: int, seed: int = 0, day: int = DAY) -> NDArray[np.float64]:
    """Returns (series, days * day) values with a smooth day, a sharp morning, a job every day, and noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(days * day)
    found = np.empty((series, len(t)))
    for i in range(series):
        turn = (t / day + rng.random()) % 1.0
        smooth = 3.0 * np.sin(2 * np.pi * turn) + np.sin(4 * np.pi * turn + rng.random())
        sharp = 2.0 / (1.0 + np.exp(-(turn - 0.3) * DAY / 5)) - 2.0 / (1.0 + np.exp(-(turn - 0.8) * DAY / 5))
        job = 4.0 * ((turn * DAY) % DAY < 20)
        found[i] = 20.0 + smooth + sharp + job + 0.3 * rng.normal(size=len(t))
    return found


def of_file(path: Path, series: int = FILE_SERIES) -> NDArray[np.float64]:
    """Returns (series, steps) values of the first series of a file, which have equal times."""
    found: dict[str, list[float]] = {}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["series"], []).append(float(row["value"] or "nan"))
    return np.array(list(itertools.islice(found.values(), series)))


def loss(values: NDArray[np.float64], config: ModelConfig) -> float:
    """Returns the weighted quantile loss of a network with pretrained weights on series of one interval."""
    series, steps = values.shape
    one = Forecaster(start_model(config), max_series=series, history_events=0)
    names, levels, h = [str(i) for i in range(series)], np.array(config.quantiles), config.horizon
    lost = size = 0.0
    for step in range(steps):
        out = one.observe(Batch(names, np.full(series, step * config.interval_ms), values[:, step]))
        if step >= steps // 2 and step % EVERY == 0 and step + h < steps:
            actual = values[:, step + 1 : step + 1 + h, None]
            error = actual - out.quantiles
            pinball = np.maximum(levels * error, (levels - 1.0) * error)
            known = np.isfinite(pinball)
            lost += 2.0 * float(pinball[known].sum())
            size += float(np.abs(np.broadcast_to(actual, pinball.shape)[known]).sum())
    return lost / size


def accuracy_table(values: NDArray[np.float64], config: ModelConfig, widths: list[int]) -> str:
    """Returns bytes and losses by the steps of a mean, and the losses relative to those of every value."""
    lines = ["| steps of a mean | bytes | loss | relative |", "|--:|--:|--:|--:|"]
    whole = 0.0
    for width in widths:
        one = ModelConfig(**{**config.__dict__, "profile_steps": width})
        found = loss(values, one)
        whole = whole or found
        lines.append(f"| {width} | {series_bytes(one):,} | {found:.5f} | {found / whole:.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--accuracy", nargs="?", const="", metavar="FILE", help="print errors instead of bytes")
    parser.add_argument("--small", action="store_true", help="an untrained network of 16 units")
    options = parser.parse_args()
    small: dict[str, Any] = {"hidden_size": 16, "head_size": 16, "pretrained": False} if options.small else {}
    if options.accuracy is None:
        print(memory_table())
    elif options.accuracy:
        config = ModelConfig(seasons=(288,), interval_ms=5 * MINUTE, **small)
        print(accuracy_table(of_file(Path(options.accuracy)), config, [1, 2, 4, 8, 12]))
    else:
        config = ModelConfig(seasons=(DAY,), interval_ms=MINUTE, **small)
        print(accuracy_table(minutes(8, 6), config, [1, 3, 6, 12, 30]))


if __name__ == "__main__":
    main()
