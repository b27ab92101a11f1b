"""From `forecaster run --input FILE` to the first committed forecast, for CSV files that the daemon has never seen.

    python benchmarks/first_forecast.py [--again 5] [--only hourly]

Each file has two columns, a time and a value, and a name that says nothing; nothing is configured, so that the daemon
finds the fields and the seasons itself. Each file is run in processes of its own: first with an empty folder for
compiled code, which all files share, then with the code that the first run has left. Wall time to the first forecast
that stands in the output, which is asked every 5 ms, and processor time of the whole run. The load of the machine is
printed with the table, because the wall time depends on it.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from start import run_over

BEGIN: Final = datetime(2026, 1, 5, tzinfo=UTC)


class Stream(NamedTuple):
    """A file: the gap between its rows, their number, and how it writes times."""

    gap: timedelta
    rows: int
    form: str


STREAMS: Final = {
    "hourly": Stream(timedelta(hours=1), 1008, "%Y-%m-%d %H:%M"),
    "daily": Stream(timedelta(days=1), 400, "%Y-%m-%d"),
    "every five minutes": Stream(timedelta(minutes=5), 1500, "%Y-%m-%dT%H:%M:%SZ"),
    "every quarter of an hour": Stream(timedelta(minutes=15), 1500, "%d.%m.%Y %H:%M"),
    "every ten seconds": Stream(timedelta(seconds=10), 1500, "%Y-%m-%d %H:%M:%S"),
}


def write(path: Path, stream: Stream) -> None:
    """Writes a file of a day and a week."""
    rows = ["when,load"]
    for at in range(stream.rows):
        time = BEGIN + at * stream.gap
        day = (time - BEGIN) / timedelta(days=1) * 2 * math.pi
        rows.append(f"{time:{stream.form}},{50 + 20 * math.sin(day) + 8 * math.sin(day / 7) + at % 5:.1f}")
    path.write_text("\n".join(rows) + "\n")


def table(names: list[str], again: int, settings: list[str], compiled: Path | None = None) -> str:
    """Returns the table.

    Args:
        names: of the files, keys of `STREAMS`.
        again: runs of each file after its first one.
        settings: further options of the command; the figures of the documentation have none.
        compiled: the folder of compiled code; None for a new one.
    """
    rows = ["| file | first start, s | processor | later, s | least | most | processor |",
            "|---|--:|--:|--:|--:|--:|--:|"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="forecaster-first-") as name:
        folder = Path(name)
        for number, title in enumerate(names):
            path = folder / f"unknown{number}.csv"
            write(path, STREAMS[title])
            runs = [
                run_over(
                    ["--input", str(path), *settings], folder / f"data-{number}-{run}", compiled or folder / "code"
                )
                for run in range(1 + again)
            ]
            (first, compiling), *later = runs
            walls = [wall for wall, _ in later]
            cells = [first, compiling, statistics.median(walls), min(walls), max(walls),
                     statistics.median(processor for _, processor in later)]  # fmt: skip
            rows.append(" | ".join([f"| {title}", *(f"{cell:.1f}" for cell in cells)]) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", type=int, default=5)
    parser.add_argument("--only", choices=STREAMS, action="append")
    given = parser.parse_args()
    print(table(given.only or list(STREAMS), given.again, []))
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
