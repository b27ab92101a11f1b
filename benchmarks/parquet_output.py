"""The Parquet output: size, processor time and how long a unit waits (docs/performance.md).

    python benchmarks/parquet_output.py                  a million forecasts, some minutes
    python benchmarks/parquet_output.py --forecasts 20000

Forecasts of 24 steps and 7 levels of 1,000 series, in units of 512. "Bare" is the same rows written by pyarrow alone,
from tables in memory, to files of the same size with the same compression and without a database of positions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sqlite_output import LEVELS, STEPS, UNIT, written

from service.messages.compact import CompactFormat
from service.messages.exact_columns import ExactFormat
from service.sinks import Sink
from service.sinks.parquet_sink import FileBounds, ParquetSink
from service.sinks.sqlite_retention import SqliteRetention
from service.sinks.sqlite_sink import SqliteSink

FILE_BYTES = 128 << 20


def parquet_sink(folder: Path, file_bytes: int) -> ParquetSink:
    """Returns a sink with the bounds of the defaults."""
    bounds = FileBounds(300_000, file_bytes, 0, 10 << 30, lambda: time.time_ns() // 1_000_000)
    retention = SqliteRetention(0, 10 << 30, bounds.now_ms, 5 * file_bytes)
    return ParquetSink(folder, SqliteSink(folder / "positions.sqlite", retention), bounds)


def size_of(folder: Path) -> int:
    """Returns the bytes of all Parquet files."""
    return sum(path.stat().st_size for path in folder.glob("**/*.parquet"))


def bare(folder: Path) -> tuple[float, int]:
    """Writes the rows of all files again with pyarrow alone; returns the seconds of processor time, and the bytes."""
    used, size = 0.0, 0
    for path in sorted((folder / "forecasts").glob("**/*.parquet")):
        file = pq.ParquetFile(path)
        groups = [file.read_row_group(at) for at in range(file.num_row_groups)]
        target = folder / "bare.tmp"
        before = time.process_time()
        with pq.ParquetWriter(target, groups[0].schema, compression="zstd") as writer:
            for group in groups:
                writer.write_table(group)
        used += time.process_time() - before
        size += target.stat().st_size
        target.unlink()
    return used, size


def table(forecasts: int, file_bytes: int = FILE_BYTES) -> str:
    """Returns bytes and processor time per forecast of each way."""
    count = forecasts // UNIT * UNIT
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            "parquet": (
                written(parquet_sink(folder / "p", file_bytes), ExactFormat(), forecasts)[0],
                size_of(folder),
            )
        }
        plain, plain_size = bare(folder / "p")
        seconds = written(SqliteSink(folder / "s.sqlite"), CompactFormat(), forecasts)[0]
        found["sqlite, `compact`"] = seconds, (folder / "s.sqlite").stat().st_size
        found["bare pyarrow"] = plain, plain_size
    lines = ["| output | MB per million forecasts | us of processor time | of bare pyarrow |", "|---|--:|--:|--:|"]
    for name, (seconds, size) in found.items():
        lines.append(f"| {name} | {size / count:.0f} | {seconds / count * 1e6:.1f} | {seconds / plain:.2f} x |")
    return "\n".join(lines)


def waiting(forecasts: int, rate: float, file_bytes: int = FILE_BYTES) -> str:
    """Returns the wall time of units of 100 at a rate of forecasts, with and without files."""
    lines = [f"| {rate:,.0f} forecasts/s in units of 100 | p50 ms | p99 ms | files |", "|---|--:|--:|--:|"]
    ways: dict[str, Callable[[Path], Sink]] = {
        "no file until the end": lambda folder: parquet_sink(folder, 1 << 40),
        f"a file of {file_bytes / 2**20:,.0f} MiB after the other": lambda folder: parquet_sink(folder, file_bytes),
    }
    for name, sink in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "p"
            _, waits = written(sink(path), ExactFormat(), forecasts, rate, 100)
            later = np.array(waits[len(waits) // 4 :]) * 1e3
            p50, p99 = np.percentile(later, [50, 99])
            lines.append(f"| {name} | {p50:.2f} | {p99:.2f} | {len([*path.glob('forecasts/**/*.parquet')])} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecasts", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=2000.0, help="forecasts per second while waits are measured")
    parser.add_argument("--file-bytes", type=int, default=FILE_BYTES, help="output.file_bytes")
    chosen = parser.parse_args(arguments)
    print(f"{STEPS} steps, {len(LEVELS)} levels\n")
    print(table(chosen.forecasts, chosen.file_bytes))
    print()
    print(waiting(min(chosen.forecasts, int(chosen.rate * 60)), chosen.rate, chosen.file_bytes // 4))


if __name__ == "__main__":
    main(sys.argv[1:])
