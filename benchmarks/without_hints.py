"""The daemon with nothing configured but its input, and with interval and seasons given: what finding them costs.

    python benchmarks/without_hints.py SHARED [--only NAME ...]

Runs `forecaster run --input FILE --horizon H` over public streams (`datasets.json` of SHARED/data) twice: without
anything else, and with the interval and the season of the data set. The score is the continuous ranked probability
score of the published quantiles at the first, the middle and the last step, summed over all targets that came, over the
sum of their absolute values; events of the first `--skip` of each series are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from service.messages.compact import CompactForecast, unpack

_ROWS = """
SELECT f.series, f.origin_ms, f.interval_ms, f.value, f.least, f.greatest, f.digits, f.steps, f.quantiles, c.levels
FROM stored_forecasts AS f JOIN contexts AS c ON c.id = f.context ORDER BY f.series, f.origin_ms"""


def run(file: Path, folder: Path, horizon: int, options: Sequence[str]) -> Path:
    """Runs the daemon to the end of a file; returns its output."""
    command = [
        sys.executable, "-P", "-m", "service.cli", "run", "--input", str(file), "--data-dir", str(folder),
        "--port", "0", "--horizon", str(horizon), "--log-level", "warning", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return folder / "forecasts.sqlite"


def score(output: Path, skip: float) -> tuple[float, int]:
    """Returns the score of an output, and the number of targets that it is of."""
    with closing(sqlite3.connect(f"file:{output}?mode=ro", uri=True)) as database:
        rows = database.execute(_ROWS).fetchall()
    by_series: dict[int, list[Any]] = {}
    for row in rows:
        by_series.setdefault(row[0], []).append(row)
    loss = size = 0.0
    count = 0
    for mine in by_series.values():
        values = {row[1]: row[3] for row in mine if row[3] is not None}
        for row in mine[int(skip * len(mine)) :]:
            if not row[7] or row[8] is None:
                continue
            levels = np.array(json.loads(row[9]))
            found = CompactForecast(b"", row[1], row[2], 0.0, 0.0, row[4], row[5], row[6], 0, 0, row[7], row[8], "")
            quantiles = unpack(found, len(levels))
            assert quantiles is not None
            for step in {1, (row[7] + 1) // 2, row[7]}:
                actual = values.get(row[1] + step * row[2])
                if actual is None:
                    continue
                miss = actual - quantiles[step - 1]
                loss += float(2.0 * np.maximum(levels * miss, (levels - 1.0) * miss).mean())
                size += abs(actual)
                count += 1
    return loss / size if size else float("nan"), count


def compare(file: Path, meta: dict[str, Any], skip: float, options: Sequence[str] = ()) -> list[tuple[float, int]]:
    """Returns score and targets without and with hints."""
    hints = ["--interval", f"{meta['freq_s']}s"]
    if meta["season"] > 1:  # 1: none is known
        hints += ["--season", str(meta["season"])]
    with tempfile.TemporaryDirectory() as folder:
        return [
            score(run(file, Path(folder) / name, meta["horizon"], [*more, *options]), skip)
            for name, more in (("without", []), ("with", hints))
        ]


def line(name: str, found: list[tuple[float, int]]) -> str:
    """Returns a row of the table."""
    (without, count), (hinted, same) = found
    return f"| {name} | {without:.4f} | {hinted:.4f} | {without / hinted:.3f} | {count:,} of {same:,} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--skip", type=float, default=0.3)
    given = parser.parse_args(arguments)
    data = given.shared / "data"
    sets: dict[str, dict[str, Any]] = json.loads((data / "datasets.json").read_text())
    print("| data set | without hints | with hints | ratio | targets |\n|---|--:|--:|--:|--:|", flush=True)
    for name, meta in sets.items():
        if given.only and name not in given.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.csv"
            file.write_bytes(gzip.decompress((data / meta["file"]).read_bytes()))
            print(line(name, compare(file, meta, given.skip)), flush=True)


if __name__ == "__main__":
    main()
