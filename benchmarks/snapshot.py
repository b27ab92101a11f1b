"""How long events wait while a snapshot is being written: the latency of batches, idle and meanwhile.

    python benchmarks/snapshot.py [SERIES ...] [--touched SHARE ...] [--events 512] [--hidden 48] [--season 24]
                                  [--folder DIR] [--quick]

The default network, every series warm. Batches of `--events` go through `observe`, series after series, one following
the other at once, first with nothing else, then until a snapshot of all series stands on disk, written by the daemon's
own background thread. Every event waits for its batch, and for the one before it. Prints percentiles of that wait,
what beginning the snapshot takes, how long it takes to be written and its size, and the memory that it needed
meanwhile. Then the same with events of a share of the series only, of which the snapshot holds what changed.

Each is read again and compared with the rows, copied when it was taken (not with `--quick`: it needs less memory).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from forecaster import Batch, Forecaster, ModelConfig, use_kernels
from forecaster.state.incremental import COLUMNS, fill
from service.lifecycle import SystemClock
from service.monitoring.metrics import Metrics
from service.partitions.schedule import Progress
from service.snapshots.file import folder_of, newest_first, take
from service.snapshots.store import SnapshotStore
from service.snapshots.writer import SnapshotWriter

IDLE_BATCHES = 600
MOST_SNAPSHOTS = 12  # of the same, where one is written in a few batches
PARTITION = "events-0"


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Load:
    """Batches without end over all series, or some: every so many of them."""

    def __init__(self, forecaster: Forecaster, series: int, events: int) -> None:
        self._forecaster, self._events, self._at, self._step = forecaster, events, 0, 1
        self._all = [f"host-{number}.cpu" for number in range(series)]
        self._names = self._all

    def only(self, share: float) -> None:
        """From now on events of this share of the series."""
        self._step += self._at // len(self._names) + 1
        self._names, self._at = self._all[:: round(1 / share)], 0

    def round(self) -> None:
        """An event of each of its series."""
        for _ in range(-(-len(self._names) // self._events)):
            self.batch()

    def batch(self) -> float:
        """The next one; the seconds that it took."""
        order = np.arange(self._at, self._at + self._events)
        self._at += self._events
        names, total = self._names, len(self._names)
        made = Batch([names[i] for i in (order % total).tolist()], (order // total + self._step) * 60_000,
                     100 + np.sin(order / 7) * 10)  # fmt: skip
        begin = time.perf_counter()
        self._forecaster.observe(made)
        return time.perf_counter() - begin


def percentiles(waits: list[float]) -> NDArray[np.float64]:
    """50, 99, 99.9 and 100 %, in milliseconds."""
    return np.percentile(np.array(waits) * 1000, [50, 99, 99.9, 100])


def one(forecaster: Forecaster, load: Load, writer: SnapshotWriter, position: int, *, compare: bool) -> int:
    """Prints the figures of a snapshot, under the load; of several where one is soon written. The next position."""
    idle = [load.batch() for _ in range(IDLE_BATCHES)]
    waits: list[float] = []
    begins: list[float] = []
    writes: list[float] = []
    most = 0
    while not writes or (len(waits) < IDLE_BATCHES and len(writes) < MOST_SNAPSHOTS):
        position += 1
        expected: dict[str, NDArray[Any]] = {}
        if compare:
            expected = {name: array.copy() for name, array in forecaster.state().items()}
        before, first = resident(), len(waits)
        started = time.perf_counter()
        taken = take(PARTITION, position, forecaster, Progress(), writer.store.base(PARTITION, position, forecaster))
        writer.submit([taken])
        begins.append(time.perf_counter() - started)
        while writer.busy or len(waits) == first:
            waits.append(load.batch())
            most = max(most, resident() - before)
        writes.append(time.perf_counter() - started)
        waits[first] += begins[-1]  # who came just then
        if compare:
            check(writer.store, position, expected)
    for what, times in (("idle", idle), ("during", waits)):
        p50, p99, p999, worst = percentiles(times)
        print(
            f"{what:>7}: p50 {p50:7.2f} ms  p99 {p99:7.2f}  p99.9 {p999:7.2f}  worst {worst:7.2f}"
            f"  ({len(times)} batches)"
        )
    ratio = percentiles(waits)[1] / percentiles(idle)[1]
    size = newest_first(folder_of(writer.store.root, PARTITION))[0].stat().st_size
    begun, took, count = np.median(begins) * 1000, np.median(writes), len(writes)
    print(f"{taken.kind}, {size / 2**20:,.1f} MiB: p99 {ratio:.2f} x idle; begun in {begun:.1f} ms, written in "
          f"{took:.2f} s ({count} of them), {most / 2**20:.0f} MiB more meanwhile")  # fmt: skip
    print(f"resident at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB so far", flush=True)
    if compare:
        print("as it was when it was taken, bit for bit")
    return position


def check(store: SnapshotStore, position: int, expected: dict[str, NDArray[Any]]) -> None:
    """Compares what is read with what was there."""
    found = store.newest(PARTITION, position)
    assert found is not None
    assert found.position == position
    for name, array in expected.items():
        got = found.arrays[name]
        if name in COLUMNS:
            got = np.empty_like(array)
            fill(found.arrays, name, got)
        assert got.tobytes() == array.tobytes(), name


def measure(config: ModelConfig, series: int, events: int, shares: list[float], folder: Path, *, compare: bool) -> None:
    """Prints the figures for so many series."""
    forecaster = Forecaster(config, max_series=series, history_events=500_000)
    load = Load(forecaster, series, events)
    load.round()
    load.round()
    print(
        f"\n{series:,} series, {forecaster.state_bytes / 2**30:.2f} GiB of rows, resident {resident() / 2**30:.2f} GiB"
    )
    clock, metrics = SystemClock(), Metrics(CollectorRegistry())
    writer = SnapshotWriter(SnapshotStore(folder, 1, metrics), metrics, clock)
    print("\nevents of all series")
    position = one(forecaster, load, writer, 1, compare=compare) + 1
    writer.write_now([take(PARTITION, position, forecaster, Progress())])  # the base of all that follow
    for share in sorted(shares):
        print(f"\nevents of {share:.0%} of the series")
        load.only(share)
        load.round()
        position = one(forecaster, load, writer, position, compare=compare)


def main() -> None:
    """Measures ever more series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--touched", nargs="*", type=float, default=[0.01, 0.1])
    parser.add_argument("--events", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=ModelConfig().hidden_size)
    parser.add_argument("--season", type=int, default=24)
    parser.add_argument("--folder", help="where the snapshot is written; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="no comparison of what was written")
    given = parser.parse_args()
    config = ModelConfig(hidden_size=given.hidden, seasons=(given.season,), interval_ms=60_000)
    for series in given.series:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            measure(config, series, given.events, given.touched, Path(folder), compare=not given.quick)


if __name__ == "__main__":
    use_kernels("literal")  # what a daemon that runs for long uses
    main()
