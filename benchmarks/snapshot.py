"""How long events wait while a snapshot is being written: the latency of batches, idle and meanwhile.

    python benchmarks/snapshot.py [SERIES ...] [--events 512] [--hidden 48] [--season 24] [--folder DIR] [--quick]

The default network, every series warm. Batches of `--events` go through `observe`, series after series, one following
the other at once, first with nothing else, then until a snapshot of all series stands on disk, written by the daemon's
own background thread. Every event waits for its batch, and for the one before it. Prints percentiles of that wait,
what beginning the snapshot takes, how long it takes to be written, and the memory that it needed meanwhile. Then the
snapshot is read again and compared with the rows, copied when it was taken (not with `--quick`: it
needs less memory).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from forecaster import Batch, Forecaster, ModelConfig
from service.lifecycle import SystemClock
from service.metrics import Metrics
from service.schedule import Progress
from service.snapshot import SnapshotStore, SnapshotWriter, take

IDLE_BATCHES = 600


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Load:
    """Batches without end over all series."""

    def __init__(self, forecaster: Forecaster, series: int, events: int) -> None:
        self._forecaster, self._events, self._at = forecaster, events, 0
        self._names = [f"host-{number}.cpu" for number in range(series)]

    def batch(self) -> float:
        """The next one; the seconds that it took."""
        order = np.arange(self._at, self._at + self._events)
        self._at += self._events
        names, total = self._names, len(self._names)
        made = Batch([names[i] for i in (order % total).tolist()], (order // total + 1) * 60_000,
                     100 + np.sin(order / 7) * 10)  # fmt: skip
        begin = time.perf_counter()
        self._forecaster.observe(made)
        return time.perf_counter() - begin


def percentiles(waits: list[float]) -> NDArray[np.float64]:
    """50, 99, 99.9 and 100 %, in milliseconds."""
    return np.percentile(np.array(waits) * 1000, [50, 99, 99.9, 100])


def measure(config: ModelConfig, series: int, events: int, folder: Path, *, compare: bool) -> None:
    """Prints the figures for so many series."""
    forecaster = Forecaster(config, max_series=series, history_events=500_000)
    load = Load(forecaster, series, events)
    for _ in range(2 * -(-series // events)):
        load.batch()
    print(
        f"\n{series:,} series, {forecaster.state_bytes / 2**30:.2f} GiB of rows, resident {resident() / 2**30:.2f} GiB"
    )
    idle = [load.batch() for _ in range(IDLE_BATCHES)]
    clock, metrics = SystemClock(), Metrics(CollectorRegistry())
    writer = SnapshotWriter(SnapshotStore(folder, 1, metrics), metrics, clock)
    expected = {name: array.copy() for name, array in forecaster.state().items()} if compare else {}
    before, most, busy = resident(), 0, []
    started = time.perf_counter()
    writer.submit([take("events-0", 1, forecaster, Progress())])
    began = time.perf_counter() - started
    while writer.busy:
        busy.append(load.batch())
        most = max(most, resident())
    took = time.perf_counter() - started
    busy[0] += began  # who came just then
    for what, waits in (("idle", idle), ("during", busy)):
        p50, p99, p999, worst = percentiles(waits)
        print(
            f"{what:>7}: p50 {p50:7.2f} ms  p99 {p99:7.2f}  p99.9 {p999:7.2f}  worst {worst:7.2f}"
            f"  ({len(waits)} batches)"
        )
    ratio = percentiles(busy)[1] / percentiles(idle)[1]
    print(f"p99 {ratio:.2f} x idle; begun in {began * 1000:.1f} ms, written in {took:.1f} s, "
          f"{(most - before) / 2**20:.0f} MiB more meanwhile")  # fmt: skip
    print(f"resident at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB so far")
    found = SnapshotStore(folder, 1, metrics).newest("events-0", 1)
    assert found is not None
    for name, array in expected.items():
        assert found.arrays[name].tobytes() == array.tobytes(), name
    if compare:
        print("as it was when it was taken, bit for bit")


def main() -> None:
    """Measures ever more series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--events", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=ModelConfig().hidden_size)
    parser.add_argument("--season", type=int, default=24)
    parser.add_argument("--folder", help="where the snapshot is written; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="no comparison of what was written")
    given = parser.parse_args()
    config = ModelConfig(hidden_size=given.hidden, seasons=(given.season,), interval_ms=60_000)
    for series in given.series:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            measure(config, series, given.events, Path(folder), compare=not given.quick)


if __name__ == "__main__":
    main()
