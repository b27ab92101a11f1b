"""The daemon with nothing configured but its input, and with interval and seasons given: what finding them costs.

    python benchmarks/without_hints.py SHARED [--only NAME ...] [--set train.seed=1 ...]

Runs `forecaster run --input FILE --horizon H` over public streams (`datasets.json` of SHARED/data) twice: without
anything else, and with the interval and the season of the data set. The score is the continuous ranked probability
score of the published quantiles at the first, the middle and the last step, summed over all targets that came, over the
sum of their absolute values; events of the first `--skip` of each series are left out. Of their ratio the table has the
standard error (jackknife over tenths of the time of each series).
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
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.messages.compact import CompactForecast, unpack

BLOCKS: Final = 10
"""Blocks of the forecasts of each series, for the standard error."""

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


class Losses(NamedTuple):
    """The losses of an output in blocks of forecasts, in the order of the series.

    Attributes:
        loss: (blocks,) sums of the score over the targets that came. size: of their absolute values. count: of them.
    """

    loss: NDArray[np.float64]
    size: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def score(self) -> float:
        """The loss relative to the size; nan without targets."""
        return float(self.loss.sum() / self.size.sum()) if self.size.sum() else float("nan")


def score(output: Path, skip: float) -> tuple[float, int]:
    """Returns the score of an output, and the number of targets that it is of."""
    found = losses(output, skip)
    return found.score, int(found.count.sum())


def losses(output: Path, skip: float) -> Losses:
    """Returns the losses of an output, in `BLOCKS` blocks of equally many forecasts of each series."""
    with closing(sqlite3.connect(f"file:{output}?mode=ro", uri=True)) as database:
        rows = database.execute(_ROWS).fetchall()
    by_series: dict[int, list[Any]] = {}
    for row in rows:
        by_series.setdefault(row[0], []).append(row)
    sums = np.zeros((3, len(by_series) * BLOCKS))
    for number, mine in enumerate(by_series.values()):
        values = {row[1]: row[3] for row in mine if row[3] is not None}
        begin = int(skip * len(mine))
        for at, row in enumerate(mine[begin:]):
            block = number * BLOCKS + at * BLOCKS // (len(mine) - begin)
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
                loss = 2.0 * np.maximum(levels * miss, (levels - 1.0) * miss).mean()
                sums[:, block] += loss, abs(actual), 1.0
    return Losses(sums[0], sums[1], sums[2].astype(np.int64))


def ratio_of(one: Losses, other: Losses) -> tuple[float, float]:
    """Returns the ratio of two scores of the same forecasts, and its standard error by the jackknife over blocks."""
    parts = np.array([one.loss, one.size, other.loss, other.size])
    parts = parts[:, (one.count > 0) & (other.count > 0)]
    totals = parts.sum(axis=1, keepdims=True)
    left = totals - parts
    with np.errstate(invalid="ignore", divide="ignore"):
        without = left[0] / left[1] * left[3] / left[2]
    n = parts.shape[1]
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) if n > 1 else np.nan
    return one.score / other.score, float(error)


def compare(file: Path, meta: dict[str, Any], skip: float, options: Sequence[str] = ()) -> list[Losses]:
    """Returns the losses without and with hints."""
    hints = ["--interval", f"{meta['freq_s']}s"]
    if meta["season"] > 1:  # 1: none is known
        hints += ["--season", str(meta["season"])]
    with tempfile.TemporaryDirectory() as folder:
        return [
            losses(run(file, Path(folder) / name, meta["horizon"], [*more, *options]), skip)
            for name, more in (("without", []), ("with", hints))
        ]


def line(name: str, found: list[Losses]) -> str:
    """Returns a row of the table."""
    without, hinted = found
    ratio, error = ratio_of(without, hinted)
    counts = f"{without.count.sum():,} of {hinted.count.sum():,}"
    return f"| {name} | {without.score:.4f} | {hinted.score:.4f} | {ratio:.3f} | {error:.3f} | {counts} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--skip", type=float, default=0.3)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all runs")
    given = parser.parse_args(arguments)
    options = [part for one in given.set for part in ("--set", one)]
    data = given.shared / "data"
    sets: dict[str, dict[str, Any]] = json.loads((data / "datasets.json").read_text())
    print("| data set | without hints | with hints | ratio | standard error | targets |", flush=True)
    print("|---|--:|--:|--:|--:|--:|", flush=True)
    for name, meta in sets.items():
        if given.only and name not in given.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.csv"
            file.write_bytes(gzip.decompress((data / meta["file"]).read_bytes()))
            print(line(name, compare(file, meta, given.skip, options)), flush=True)


if __name__ == "__main__":
    main()
