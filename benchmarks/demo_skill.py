"""The demo's error relative to seasonal naive some seconds after its start, over several runs.

    python benchmarks/demo_skill.py [--runs 10] [--at 30 120]

Runs `forecaster demo --plain` and reads the lines that it prints. The kernels must have been compiled by an earlier
run, or the first lines have no score. The figures of a time are those of the last line by then; runs that have printed
none yet are counted only. On a busy machine the demo starts late: the load average stands below the table.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence

_LINE = re.compile(
    r"^ *(\d+):(\d\d) .* city: error/seasonal naive (\S+)  trainings (\d+).* incidents (\d+), flagged (\d+)"
)


Line = tuple[float, int, int, int]
"""The ratio (nan before the first score), the number of trainings, of incidents and of flagged ones."""
_LATE = 2  # seconds by which a line may be late


def run(seconds: int) -> dict[int, Line]:
    """Runs the demo for some seconds and returns its scores."""
    command = [sys.executable, "-P", "-m", "service.cli", "demo", "--plain", "--port", "0", "--for", f"{seconds}s"]
    return scores(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def scores(printed: str) -> dict[int, Line]:
    """Reads what the demo prints.

    Returns:
        The lines by the seconds at which they were printed.
    """
    found = {}
    for match in filter(None, map(_LINE.match, printed.splitlines())):
        minutes, rest, ratio, *counts = match.groups()
        trainings, incidents, flagged = map(int, counts)
        score = float("nan") if ratio == "-" else float(ratio)
        found[60 * int(minutes) + int(rest)] = score, trainings, incidents, flagged
    return found


def by(lines: dict[int, Line], seconds: int) -> Line | None:
    """Returns the last line of a run up to a time, or the one that is printed with it; None without one."""
    until = [at for at in lines if at <= seconds + _LATE]
    return lines[max(until)] if until else None


def row(runs: Sequence[dict[int, Line]], seconds: int) -> str:
    """Formats the means over the runs that have a score by a time, and the worst one."""
    found = [line for line in (by(lines, seconds) for lines in runs) if line is not None and line[0] == line[0]]
    if not found:
        return f"{seconds:>6} s{0:>6}"
    ratios, *counts = (list(column) for column in zip(*found, strict=True))
    means = "".join(f"{statistics.mean(column):>11.1f}" for column in counts)
    return f"{seconds:>6} s{len(found):>6}{statistics.mean(ratios):>22.2f}{max(ratios):>8.2f}{means}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--at", type=int, nargs="+", default=[30, 120], metavar="SECONDS")
    given = parser.parse_args(arguments)
    runs = [run(max(given.at) + 1) for _ in range(given.runs)]
    titles = "".join(f"{title:>11}" for title in ("trainings", "incidents", "flagged"))
    print(f"{'after':>8}{'runs':>6}{'error/seasonal naive':>22}{'worst':>8}{titles}")
    for wanted in given.at:
        print(row(runs, wanted))
    print(f"{given.runs} runs; load average of the last 15 minutes: {os.getloadavg()[2]:.1f}")


if __name__ == "__main__":
    main()
