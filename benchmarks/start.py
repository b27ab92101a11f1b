"""From the command to the first committed forecast: nothing cached, and then again.

    python benchmarks/start.py [--again 5] [--cached] [SECTION.KEY=VALUE ...]

Runs `forecaster run` over a small file in processes of their own, first with an empty folder for compiled code, and
asks the output file every 5 ms whether a forecast stands in it. Wall time, and processor time of the whole run.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from service.cli._bench_daemon import write_events


def start(folder: Path, number: int, settings: list[str], compiled: Path | None) -> tuple[float, float]:
    """Seconds to the first forecast, and processor seconds of the run; `compiled` as in `run_over`."""
    options = ["input.files=" + str(folder / "events.jsonl"), *settings]
    given = [part for option in options for part in ("--set", option)]
    return run_over(given, folder / f"data-{number}", compiled)


def run_over(arguments: list[str], data: Path, compiled: Path | None) -> tuple[float, float]:
    """Runs `forecaster run` until its input ends.

    Args:
        arguments: of the command.
        data: the data folder. compiled: the folder of compiled code; None for that of the program.

    Returns:
        Seconds to the first committed forecast, and processor seconds of the run.
    """
    command = [sys.executable, "-P", "-m", "service.cli", "run", "--data-dir", str(data), "--log-level", "error"]
    # As `make run` and the image do: without files of bytecode each start would compile all modules anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if compiled is not None:
        environment["NUMBA_CACHE_DIR"] = str(compiled)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin, first = time.perf_counter(), 0.0
    with subprocess.Popen([*command, "--port", "0", *arguments], env=environment) as process:
        while process.poll() is None:
            if not first and has_forecast(data / "forecasts.sqlite"):
                first = time.perf_counter() - begin
            time.sleep(0.005)
    assert process.returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return first or time.perf_counter() - begin, processor


def has_forecast(path: Path) -> bool:
    """Whether one was committed."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT count(*) FROM forecasts").fetchone()[0])
    except sqlite3.Error:
        return False


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", default=["model.seasons=[24]", "model.interval=1m"])
    parser.add_argument("--again", type=int, default=5)
    parser.add_argument("--cached", action="store_true", help="no start without compiled code: that of the program")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forecaster-start-") as name:
        folder = Path(name)
        write_events(folder / "events.jsonl", 10, 200)
        compiled = None if given.cached else folder / "compiled"
        if compiled:
            first, processor = start(folder, 0, given.settings, compiled)
            print(f"nothing cached: first forecast after {first:5.2f} s ({processor:.2f} s of processor time)")
        again = [start(folder, 1 + number, given.settings, compiled) for number in range(given.again)]
        seconds = [wall for wall, _ in again]
        processor = statistics.median(cpu for _, cpu in again)
        print(f"caches warm:    first forecast after {statistics.median(seconds):5.2f} s "
              f"({min(seconds):.2f} to {max(seconds):.2f}; {processor:.2f} s of processor time)")  # fmt: skip


if __name__ == "__main__":
    main()
