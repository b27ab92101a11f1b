"""Concept drift by script: errors on a stream that changes, with no retraining, scheduled, and caused by drift.

    python benchmarks/drift.py DATA [--network] [--keep DIR]      DATA holds vic_elec.csv.gz; see docs/retraining.md
    python benchmarks/drift.py --alarms [--quick]                 the test alone, on errors drawn by a rule

A real series, the half-hourly electricity demand of Victoria, is changed at known events, each time for good: its level
jumps by two standard deviations; its day becomes 32 steps long instead of 48; noise of a quarter of its standard
deviation is added. The daemon itself reads it three times (`forecaster run`), waiting for its trainings, so that
nothing depends on the speed of the machine. The first training is the same in all three. `--network` leaves the simple
experts and the calibration out, which adapt by themselves: what retraining alone does.

`--alarms` needs no data and no daemon: alarms of the drift test on one series whose one-step errors are normal, by the
minute five times as large from 8 to 20 o'clock as at night, or by the hour, or alike; and the delay of the first
alarm behind a lasting doubling. `--quick` draws fewer.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import Batch, DriftTest, Forecasts

IMAGES = Path(__file__).parents[1] / "docs" / "images"
STEP = dt.timedelta(minutes=30)
FIRST, EVENTS, DAY, HORIZON = 4000, 28_000, 48, 24
LEVEL, SEASON, NOISE = 10_000, 16_000, 22_000
CHANGES = {"level": LEVEL, "season length": SEASON, "noise": NOISE}
SPAN = 500  # events that the curve averages over
AFTER = (0, 500, 2000, 6000)
COMMON = {
    "model.horizon": HORIZON,
    "model.seasons": [DAY],
    "model.interval": "30m",
    "model.quantiles": [0.1, 0.5, 0.9],
    "state.history_events": 6000,  # what is older than that says nothing about the stream of now
    "retrain.first_after_events": FIRST,
    "retrain.wait": "true",
    "log.format": "json",
    "log.level": "info",
    "http.port": 0,
}
POLICIES: dict[str, dict[str, Any]] = {
    "none": {},
    "scheduled": {"retrain.every_events": 4000},
    "drift": {"retrain.drift": True, "retrain.check_events": 100, "retrain.drift_cooldown": 1000},
}


def demand(folder: Path) -> NDArray[np.float64]:
    """The series as it was."""
    with gzip.open(folder / "vic_elec.csv.gz", "rt", newline="") as file:
        return np.array([float(row["value"]) for row in csv.DictReader(file) if row["series"] == "demand"])


def scripted(plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """The series as it is read: the changes, one after the other, each for good."""
    spread = float(plain.std())
    place = np.arange(EVENTS, dtype=np.float64)
    place[SEASON:] = SEASON + (place[SEASON:] - SEASON) * 1.5
    value = np.interp(place, np.arange(len(plain)), plain)
    value[LEVEL:] += 2.0 * spread
    value[NOISE:] += np.random.default_rng(0).normal(0.0, spread / 4, EVENTS - NOISE)
    return value


def write_events(path: Path, value: NDArray[np.float64]) -> NDArray[np.int64]:
    """The events as CSV; at which byte each begins."""
    start = dt.datetime(2012, 1, 1, tzinfo=dt.UTC)
    header = "series,timestamp,value\n"
    lines = [f"demand,{(start + i * STEP).isoformat()},{v:.2f}\n" for i, v in enumerate(value.tolist())]
    path.write_text(header + "".join(lines))
    return np.cumsum([len(header), *map(len, lines)])[:-1]


def run(events: Path, begins: NDArray[np.int64], settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One daemon over the file: medians (events, horizon), trainings, and the events at which models came in force."""
    command = [
        sys.executable, "-m", "service.cli", "run", "--input", str(events), "--data-dir", str(folder)
    ]  # fmt: skip
    for key, value in settings.items():
        command += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    with (folder.parent / f"{folder.name}.log").open("w+") as log:
        subprocess.run(command, check=True, stderr=log)
        log.seek(0)
        said = [json.loads(line) for line in log if line.startswith("{")]
    ended = [line for line in said if line["event"] == "training ended"]
    median = np.full((EVENTS, HORIZON), np.nan)
    database = sqlite3.connect(f"file:{folder}/forecasts.sqlite?mode=ro", uri=True)
    for position, quantiles in database.execute("SELECT position, quantiles FROM forecasts WHERE status <> 'unknown'"):
        at = int(np.searchsorted(begins, position))
        median[at] = [levels[1] for levels in json.loads(quantiles)]
    adopted = [row[0] for row in database.execute("SELECT position FROM adoptions ORDER BY position")][1:]
    database.close()
    return {
        "median": median,
        "trainings": len(ended),
        "seconds": sum(line["seconds"] for line in ended),
        "adopted": [int(np.searchsorted(begins, position)) for position in adopted],
    }


def errors(value: NDArray[np.float64], median: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean absolute error over the steps ahead, per event, in units of the first days' differences."""
    unit = np.abs(value[DAY:FIRST] - value[: FIRST - DAY]).mean()
    at = np.arange(EVENTS - HORIZON)
    ahead = np.stack([np.abs(median[at, h] - value[at + h + 1]) for h in range(HORIZON)])
    return ahead.mean(axis=0) / unit


def table(found: dict[str, NDArray[np.float64]], runs: dict[str, dict[str, Any]]) -> str:
    """Mean errors by the time since the last change."""
    spans = [("before", FIRST, LEVEL)]
    for name, at in CHANGES.items():
        spans += [(f"{name}, {a:,} to {b:,} events on", at + a, at + b) for a, b in itertools.pairwise(AFTER)]
    spans.append(("all from the first change on", LEVEL, EVENTS))
    lines = ["| events | " + " | ".join(found) + " |", "|---|" + "--:|" * len(found)]
    for name, a, b in spans:
        lines.append(f"| {name} | " + " | ".join(f"{np.nanmean(error[a:b]):.3f}" for error in found.values()) + " |")
    counts = [
        f"{len(runs[name]['adopted'])}/{runs[name]['trainings']}, {runs[name]['seconds']:.0f} s" for name in found
    ]
    return "\n".join([*lines, "| models adopted of trainings | " + " | ".join(counts) + " |"])


def draw(found: dict[str, NDArray[np.float64]], runs: dict[str, dict[str, Any]], path: Path) -> None:
    """Error over time, where models came in force, and where the stream was changed."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "drift"
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    colours = {"none": "#6b7280", "scheduled": "#2563eb", "drift": "#dc2626"}
    labels = {"none": "no retraining", "scheduled": "scheduled", "drift": "when drift is noticed"}
    for i, (name, error) in enumerate(found.items()):
        mean = np.convolve(error, np.full(SPAN, 1 / SPAN), "valid")[:: SPAN // 10]
        at = np.arange(len(mean)) * (SPAN // 10) + SPAN
        shown = at >= FIRST
        ax.plot(at[shown], mean[shown], color=colours[name], label=labels[name], linewidth=1.3)
        ax.plot(runs[name]["adopted"], [0.03 + 0.05 * i] * len(runs[name]["adopted"]), "|", color=colours[name],
                transform=ax.get_xaxis_transform(), markersize=7)  # fmt: skip
    for name, at in CHANGES.items():
        ax.axvline(at, color="black", linewidth=0.8, linestyle=":")
        ax.text(at + 150, 0.97, name, transform=ax.get_xaxis_transform(), va="top", fontsize=8)
    ax.set(
        xlabel="events (ticks below: a new model comes in force)",
        ylabel=f"error, mean of {SPAN} events",
        ylim=(0, None),
    )
    ax.legend(loc="center left", fontsize=8)
    ax.grid(alpha=0.25)
    fig.savefig(path, metadata={"Date": None})


def alarms(errors: NDArray[np.float64], interval: int, seasons: tuple[int, ...], every: int = 10) -> list[int]:
    """Steps at which the drift test announces drift, looked at every so many; the sum begins anew then."""
    test, found = DriftTest(1, seasons), []
    for first in range(0, len(errors), every):
        value = errors[first : first + every]
        n = len(value)
        step = np.arange(first, first + n)
        ts = 1_700_006_400_000 + step * interval  # midnight
        zeros = np.zeros(n, np.uint8)
        answer = Forecasts(
            zeros, ts, np.full(n, interval), step + 1, np.zeros((n, 1, 1), np.float32), np.zeros(n, np.float32), zeros
        )
        test.observe(Batch(["a"] * n, ts, value), answer, (0.5,))
        if test.statistic >= 50.0:
            found.append(first + n)
            test.reset()
    return found


HOUR_MS, MINUTE_MS = 3_600_000, 60_000
NOISES: tuple[tuple[str, int, tuple[int, ...], float], ...] = (
    ("by the minute, alike", MINUTE_MS, (), 1.0),
    ("by the minute, days 5 times as noisy", MINUTE_MS, (), 5.0),
    ("by the hour, days 5 times as noisy", HOUR_MS, (24,), 5.0),
)


def noise_table(draws: int, noises: Sequence[tuple[str, int, tuple[int, ...], float]] = NOISES) -> str:
    """Alarms of errors as they always were, and how soon a lasting doubling is found, by draws of each noise."""
    lines = ["| errors | alarms in 60 days | doubling found | alarms behind it | delay in steps, median | greatest |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for name, interval, seasons, by_day in noises:
        per_day = 24 * HOUR_MS // interval
        calm, delays, later = list[int](), list[int](), list[int]()
        for seed in range(draws):
            rng, days = np.random.default_rng(seed), 60
            clock = np.arange(days * per_day) * interval % (24 * HOUR_MS)
            errors = rng.normal(size=len(clock)) * np.where(
                (clock >= 8 * HOUR_MS) & (clock < 20 * HOUR_MS), by_day, 1.0
            )
            if seed < 3:
                calm.append(len(alarms(errors, interval, seasons)))
            change = (10 if per_day > 24 else 50) * per_day + int(rng.integers(per_day))
            changed = errors[: change + max(per_day, 240)].copy()
            changed[change:] *= 2.0
            behind = [at - change for at in alarms(changed, interval, seasons) if at > change]
            later.append(len(behind))
            delays += behind[:1]
        shown = f"{np.median(delays):.0f} | {max(delays)}" if delays else " | "
        lines.append(
            f"| {name} | {np.mean(calm):.1f} | {len(delays)} of {len(later)} | {np.mean(later):.1f} | {shown} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Runs the three, prints the table, draws the plot; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=Path())
    parser.add_argument("--alarms", action="store_true", help="the drift test alone; needs no data")
    parser.add_argument("--quick", action="store_true", help="with --alarms: fewer draws")
    parser.add_argument("--keep", type=Path, help="folder for the events, the daemons' folders and their logs")
    parser.add_argument("--network", action="store_true", help="the network alone; the plot is another file")
    parser.add_argument("--only", nargs="*", choices=POLICIES, help="policies to run; nothing is drawn")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="a configuration key=value for all")
    arguments = parser.parse_args()
    if arguments.alarms:
        print(noise_table(2 if arguments.quick else 10))
        return 0
    if not (arguments.data / "vic_elec.csv.gz").exists():
        print(f"{arguments.data}: got no vic_elec.csv.gz there, expected the folder of the public data sets")
        return 2
    value = scripted(demand(arguments.data))
    common = COMMON | ({"model.mixture": False} if arguments.network else {})
    common |= dict(setting.split("=", 1) for setting in arguments.settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        begins = write_events(folder / "events.csv", value)
        runs = {}
        for name in arguments.only or POLICIES:
            runs[name] = run(folder / "events.csv", begins, common | POLICIES[name], folder / name)
            print(f"{name}: adopted at {runs[name]['adopted']}", file=sys.stderr, flush=True)
    found = {name: errors(value, one["median"]) for name, one in runs.items()}
    print(table(found, runs))
    if not arguments.only:
        IMAGES.mkdir(exist_ok=True)
        draw(found, runs, IMAGES / ("drift-network.svg" if arguments.network else "drift.svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
