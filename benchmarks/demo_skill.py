"""The demo's error relative to seasonal naive some seconds after its start, over several runs.

    python benchmarks/demo_skill.py [--runs 10] [--at 30 120]

Runs `forecaster demo --plain` and reads the lines that it prints. The kernels must have been compiled by an earlier
run, or the first lines have no score.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence

_LINE = re.compile(
    r"^ *(\d+):(\d\d) .* city: error/seasonal naive (\S+)  trainings (\d+).* incidents (\d+), flagged (\d+)"
)


def run(seconds: int) -> dict[int, tuple[float, int, int, int]]:
    """Runs the demo for some seconds and returns its scores."""
    command = [sys.executable, "-P", "-m", "service.cli", "demo", "--plain", "--port", "0", "--for", f"{seconds}s"]
    return scores(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def scores(printed: str) -> dict[int, tuple[float, int, int, int]]:
    """Reads what the demo prints.

    Returns:
        By the seconds at which a line was printed: the ratio (nan before the first score), the number of trainings, of
        incidents and of flagged ones.
    """
    found = {}
    for match in filter(None, map(_LINE.match, printed.splitlines())):
        minutes, rest, ratio, *counts = match.groups()
        trainings, incidents, flagged = map(int, counts)
        score = float("nan") if ratio == "-" else float(ratio)
        found[60 * int(minutes) + int(rest)] = score, trainings, incidents, flagged
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--at", type=int, nargs="+", default=[30, 120], metavar="SECONDS")
    given = parser.parse_args(arguments)
    runs = [run(max(given.at) + 1) for _ in range(given.runs)]
    print(f"{'after':>8}{'error/seasonal naive':>22}{'worst':>8}{'trainings':>11}{'incidents':>11}{'flagged':>9}")
    for wanted in given.at:
        nearest = [min(each.items(), key=lambda item: abs(item[0] - wanted))[1] for each in runs if each]
        ratios, trainings, incidents, flagged = (list(column) for column in zip(*nearest, strict=True))
        means = [statistics.mean(column) for column in (trainings, incidents, flagged)]
        print(
            f"{wanted:>6} s{statistics.mean(ratios):>22.2f}{max(ratios):>8.2f}"
            f"{means[0]:>11.1f}{means[1]:>11.1f}{means[2]:>9.1f}"
        )


if __name__ == "__main__":
    main()
