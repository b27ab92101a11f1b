"""Forecasts of a real stream by `forecaster run`, in the form that a prequential scorer takes.

    python benchmarks/prequential.py DATA.csv.gz ORIGINS.csv PREDICTIONS.npz --season 1d --season 7d [--set KEY=VALUE]

The daemon itself reads the file in order, retrains while it reads (waiting for each training, so that nothing depends
on the speed of the machine) and writes SQLite; the forecasts made at the origins (columns series, origin) are then
read out of its view. The file gets the arrays series, origin (epoch seconds) and q (N, horizon, levels).
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LEVELS = [round(0.05 * i, 2) for i in range(1, 20)]


def wanted_origins(path: Path) -> set[tuple[str, int]]:
    """(series, epoch milliseconds) of every origin."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["series"], round(dt.datetime.fromisoformat(row["origin"]).timestamp() * 1000)) for row in rows}


def main() -> int:
    """Runs the daemon over the file and writes the predictions; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("origins", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--season", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "service.cli", "run", "--input", str(arguments.data), "--data-dir", folder,
            "--port", "0", "--set", f"model.quantiles={json.dumps(LEVELS)}", "--set", "retrain.wait=true",
        ]  # fmt: skip
        command += [part for season in arguments.season for part in ("--season", season)]
        command += [part for setting in arguments.settings for part in ("--set", setting)]
        started = time.perf_counter()
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
        print(f"forecaster run: {time.perf_counter() - started:.1f} s")
        wanted = wanted_origins(arguments.origins)
        database = sqlite3.connect(f"file:{folder}/forecasts.sqlite?mode=ro", uri=True)
        series, origins, quantiles = [], [], []
        for name, origin, matrix in database.execute("SELECT series, origin, quantiles FROM forecasts"):
            at = round(dt.datetime.fromisoformat(origin).timestamp() * 1000)
            if (name, at) in wanted:
                series.append(name)
                origins.append(at // 1000)
                quantiles.append(json.loads(matrix))
        database.close()
    np.savez(arguments.out, series=np.array(series), origin=np.array(origins), q=np.array(quantiles, np.float32))
    print(f"{len(series)} of {len(wanted)} origins -> {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
