"""The SQLite output: size and processor time by format, and what pruning costs (docs/performance.md).

    python benchmarks/sqlite_output.py                  a million forecasts, some minutes
    python benchmarks/sqlite_output.py --forecasts 20000

Forecasts of 24 steps and 7 levels of 1,000 series, in units of 512. "Bare" is the same rows written by the module
sqlite3 in transactions of the same size, with the same index and nothing else.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from forecaster import Forecasts
from service.messages.compact import CompactFormat
from service.messages.decode import Decoded
from service.messages.encode import JSON, OutputFormat, encode
from service.ports import Unit
from service.sinks import Sink
from service.sinks.sqlite_retention import SqliteRetention
from service.sinks.sqlite_sink import SqliteSink

SERIES, UNIT, STEPS = 1000, 512, 24
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
START = 1_767_225_600_000


def units(count: int, size: int = UNIT) -> list[tuple[Decoded, Forecasts]]:
    """Returns different units of forecasts, used in turns."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(count):
        level = rng.normal(100.0, 30.0, (size, 1, 1))
        fan = np.sort(rng.normal(0.0, 1.0, (size, STEPS, len(LEVELS))), axis=2)
        quantiles = (level + fan * np.linspace(1.0, 5.0, STEPS)[:, None]).astype(np.float32).astype(np.float64)
        names = [f"shop.{at % SERIES}" for at in range(size)]
        times = np.full(size, START, np.int64)
        decoded = Decoded(names, times, level[:, 0, 0], None, list(range(size)), list(range(size)), [], 0)
        anomaly, flagged = rng.random(size).astype(np.float32), np.zeros(size, np.uint8)
        interval, steps = np.full(size, 60_000, np.int64), np.arange(size)
        found.append(
            (decoded, Forecasts(np.zeros(size, np.uint8), times, interval, steps, quantiles, anomaly, flagged))
        )
    return found


def written(
    sink: Sink, output: OutputFormat, forecasts: int, rate: float = 0.0, size: int = UNIT
) -> tuple[float, list[float]]:
    """Writes forecasts with a sink, which is opened and closed.

    Args:
        sink: to write with.
        output: the format of its records.
        forecasts: how many.
        rate: forecasts a second; 0 for as many as it takes.
        size: forecasts in a unit.

    Returns:
        The seconds of processor time to encode and store, with those of threads and of the end; the wall time of each
        unit.
    """
    made, waits = units(8, size), list[float]()
    # The clock starts when the kernels are loaded: half a second or so, ten microseconds of each of 50,000 forecasts.
    encode(*made[0], partition="p", levels=LEVELS, model_sha256="ab" * 32, output=output)
    sink.open()
    used, began = 0.0, time.perf_counter()
    for number in range(forecasts // size):
        decoded, found = made[number % len(made)]
        # No unit has the numbers of another; they stay float32, as those of a daemon are, which JSON writes quicker.
        found.quantiles[:] = (found.quantiles + 0.0137).astype(np.float32)
        decoded.timestamp_ms[:] = START + number * 60_000
        if rate:
            time.sleep(max(0.0, began + number * size / rate - time.perf_counter()))
        before, processor = time.perf_counter(), time.process_time()
        done = encode(decoded, found, partition="p", levels=LEVELS, model_sha256="ab" * 32, output=output)
        begin = number * size
        sink.publish(Unit("p", begin, begin + size, done.series, done.forecasts, positions=done.positions))
        sink.maintain()
        used += time.process_time() - processor  # of the thread that writes files, too
        waits.append(time.perf_counter() - before)
    processor = time.process_time()
    sink.close()
    return used + time.process_time() - processor, waits


def bare(path: Path, forecasts: int) -> float:
    """Writes the rows of a compact file again with the module sqlite3 alone; returns the seconds of processor time."""
    with closing(sqlite3.connect(path)) as source:
        rows = source.execute("SELECT * FROM stored_forecasts LIMIT ?", (8 * UNIT,)).fetchall()
    with closing(sqlite3.connect(path.with_suffix(".bare"), isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        marks = ", ".join("?" * (len(rows[0]) - 1))
        names = ", ".join(f"c{at}" for at in range(len(rows[0]) - 1))
        database.execute(f"CREATE TABLE f (id INTEGER PRIMARY KEY, {names})")
        database.execute("CREATE INDEX i ON f (c0, c1)")
        before = time.process_time()
        for number in range(forecasts // UNIT):
            at = number % 8 * UNIT
            part = [(row[1], row[2] + number * 60_000, *row[3:]) for row in rows[at : at + UNIT]]
            database.execute("BEGIN IMMEDIATE")
            database.executemany(f"INSERT INTO f VALUES (NULL, {marks})", part)  # noqa: S608 - marks only
            database.execute("COMMIT")
        return time.process_time() - before


def table(forecasts: int) -> str:
    """Returns bytes and processor time per forecast of each way."""
    lines = ["| SQLite output | bytes per forecast | us of processor time | of bare SQLite |", "|---|--:|--:|--:|"]
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, output in (("`json`", JSON), ("`compact`", CompactFormat())):
            path = Path(folder) / name.strip("`")
            found[name] = written(SqliteSink(path), output, forecasts)[0], path.stat().st_size
        plain = bare(Path(folder) / "compact", forecasts)
        count = forecasts // UNIT * UNIT
        for name, (seconds, size) in found.items():
            lines.append(f"| {name} | {size / count:.0f} | {seconds / count * 1e6:.1f} | {seconds / plain:.2f} x |")
        size = (Path(folder) / "compact.bare").stat().st_size
        lines.append(f"| bare | {size / count:.0f} | {plain / count * 1e6:.1f} | 1.00 x |")
    return "\n".join(lines)


def pruning(forecasts: int, rate: float) -> str:
    """Returns the wall time of units of 100 at a rate of forecasts, without and with pruning, in turns."""
    lines = [f"| {rate:,.0f} forecasts/s in units of 100 | p50 ms | p99 ms | rows at the end |", "|---|--:|--:|--:|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, most in (("without a bound", 0), ("pruned to a tenth", forecasts // 10 * 460)):
            path = Path(folder) / f"{most}"
            sink = SqliteSink(path, SqliteRetention(max_bytes=most))
            _, waits = written(sink, CompactFormat(), forecasts, rate, 100)
            later = np.array(waits[len(waits) // 2 :]) * 1e3  # when the bound is reached
            with closing(sqlite3.connect(path)) as database:
                (rows,) = database.execute("SELECT count(*) FROM stored_forecasts").fetchone()
            lines.append(f"| {name} | {np.percentile(later, 50):.2f} | {np.percentile(later, 99):.2f} | {rows:,} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecasts", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=2000.0, help="forecasts per second while pruning is measured")
    chosen = parser.parse_args(arguments)
    print(table(chosen.forecasts))
    print()
    print(pruning(min(chosen.forecasts, int(chosen.rate * 60)), chosen.rate))


if __name__ == "__main__":
    main(sys.argv[1:])
