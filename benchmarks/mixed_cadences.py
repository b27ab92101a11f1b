"""Series of four cadences in one file against each cadence in a file of its own, by `forecaster run` with no settings.

    python benchmarks/mixed_cadences.py [--scale 1] [--only second hour]

The file has series of a second, a minute, an hour and a day, each with the seasons that such series have, in the order
of their times. It is run as it is; through a pipe, where groups are made while the daemon runs; with one network for
all series, as with `model.seasons = []`; and each cadence alone, from a file and through a pipe. The table has, for
each cadence, the sCRPS of all forecasts of all steps whose target has come: twice the mean pinball loss, divided by the
mean absolute value.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
END: Final = 1_802_131_200_000
"""The time behind the last event of all series."""


class Cadence(NamedTuple):
    """Series of one cadence: the gap between their events, their number, their length, and seasons with amplitudes."""

    interval_ms: int
    series: int
    steps: int
    seasons: tuple[tuple[int, float], ...]


CADENCES: Final = {
    "second": Cadence(SECOND, 2, 4_000, ((MINUTE, 5.0), (HOUR, 3.0))),
    "minute": Cadence(MINUTE, 3, 4_000, ((HOUR, 4.0), (DAY, 8.0))),
    "hour": Cadence(HOUR, 3, 2_000, ((DAY, 8.0), (7 * DAY, 4.0))),
    "day": Cadence(DAY, 3, 700, ((7 * DAY, 6.0),)),
}
Values = dict[str, dict[int, float]]


def values_of(name: str, scale: float) -> Values:
    """Returns the series of a cadence, by name, as values by time."""
    cadence, found = CADENCES[name], Values()
    for number in range(cadence.series):
        rng = np.random.default_rng([len(name), number])
        steps = max(20, round(cadence.steps * scale))
        times = END - cadence.interval_ms * np.arange(steps, 0, -1)
        value = 30.0 + rng.normal(size=steps)
        for season_ms, amplitude in cadence.seasons:
            value += amplitude * np.sin(2 * np.pi * (times / season_ms + number / 7))
        found[f"{name}-{number}"] = dict(zip(times.tolist(), np.round(value, 3).tolist(), strict=True))
    return found


def write(path: Path, series: Values) -> None:
    """Writes series as CSV, in the order of their times."""
    rows = sorted((time, name, value) for name, values in series.items() for time, value in values.items())
    path.write_text("series,timestamp,value\n" + "".join(f"{name},{time},{value}\n" for time, name, value in rows))


def run(file: Path, data: Path, settings: Sequence[str] = (), *, piped: bool = False) -> Path:
    """Runs a daemon over a file to its end, as its input or its standard input; returns its output."""
    options = [option for setting in settings for option in ("--set", setting)]
    entry = ["-", "--format", "csv", "--set", "retrain.wait=true"] if piped else [str(file)]
    command = [sys.executable, "-P", "-m", "service.cli", "run", "--data-dir", str(data), "--port", "0"]
    with file.open("rb") as source:
        subprocess.run([*command, *options, "--input", *entry], check=True, capture_output=True, stdin=source)
    return data / "forecasts.sqlite"


def forecasts_of(output: Path, names: Collection[str]) -> list[tuple[str, int, list[float], list[list[float]]]]:
    """Returns series, number of the event in the series (from 1), levels and quantiles of the forecasts of series."""
    found, counts = [], dict.fromkeys(names, 0)
    with closing(sqlite3.connect(f"file:{output}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT series, levels, quantiles FROM forecasts ORDER BY position")
        for name, levels, quantiles in rows:
            if name in counts:
                counts[name] += 1
                if quantiles is not None and None not in (every := json.loads(quantiles)):
                    found.append((name, counts[name], json.loads(levels), every))
    return found


def scrps(output: Path, series: Values) -> float:
    """Returns the sCRPS of all forecasts of some series."""
    losses, sizes = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    values = {name: np.array(list(own.values())) for name, own in series.items()}
    for name, number, levels, quantiles in forecasts_of(output, series):
        target = values[name][number : number + len(quantiles)]
        miss = target[:, None] - np.array(quantiles)[: len(target)]
        losses.append(np.maximum(np.array(levels) * miss, (np.array(levels) - 1) * miss).ravel())
        sizes.append(np.abs(target))
    return float(2 * np.concatenate(losses).mean() / np.concatenate(sizes).mean())


class Scores(NamedTuple):
    """The sCRPS of a cadence: in the mixed file, that through a pipe, with one network for all, and alone in both."""

    mixed: float
    piped: float
    one_network: float
    alone: float
    alone_piped: float


def measure(folder: Path, names: Sequence[str], scale: float, settings: Sequence[str] = ()) -> dict[str, Scores]:
    """Returns the scores of each cadence."""
    series = {name: values_of(name, scale) for name in names}
    for name, own in {**series, "mixed": {one: v for every in series.values() for one, v in every.items()}}.items():
        write(folder / f"{name}.csv", own)
    together = (
        run(folder / "mixed.csv", folder / "mixed", settings),
        run(folder / "mixed.csv", folder / "piped", settings, piped=True),
        run(folder / "mixed.csv", folder / "same", [*settings, "model.seasons=[]"]),
    )
    found = dict[str, Scores]()
    for name, own in series.items():
        file = folder / f"{name}.csv"
        alone = (
            run(file, folder / name, settings),
            run(file, folder / f"{name}-piped", settings, piped=True),
        )
        found[name] = Scores(*(scrps(output, own) for output in (*together, *alone)))
    return found


def table(found: dict[str, Scores]) -> str:
    """Formats the result."""
    lines = [
        "| cadence | mixed | through a pipe | with one network | alone | alone in a pipe | mixed/alone | in pipes |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, one in found.items():
        scores = " | ".join(f"{score:.4f}" for score in one)
        lines.append(f"| {name} | {scores} | {one.mixed / one.alone:.4f} | {one.piped / one.alone_piped:.4f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the lengths of the series")
    parser.add_argument("--only", nargs="+", default=list(CADENCES), choices=list(CADENCES), metavar="CADENCE")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(table(measure(Path(folder), given.only, given.scale)))


if __name__ == "__main__":
    main()
