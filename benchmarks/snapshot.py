"""How long a snapshot holds the fast loop up: the copy of a partition's state, for ever more series.

    python benchmarks/snapshot.py [SERIES ...]

The write to disk goes on in another thread; the copy is what an event waits for that comes just then.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from forecaster import Batch, Forecaster, ModelConfig
from service.schedule import Progress
from service.snapshot import take


def main() -> None:
    """Prints the seconds of a copy, the best of three."""
    for series in [int(n) for n in sys.argv[1:]] or [1000, 10_000, 100_000, 1_000_000]:
        forecaster = Forecaster(ModelConfig(seasons=(24,), interval_ms=60_000), max_series=series, history_events=1000)
        for start in range(0, series, 4096):
            names = [f"host-{number}.cpu" for number in range(start, min(series, start + 4096))]
            forecaster.observe(Batch(names, np.zeros(len(names), np.int64), np.ones(len(names))))
        best = np.inf
        for _ in range(3):
            begin = time.perf_counter()
            snapshot = take("events-0", 0, forecaster, Progress())
            best = min(best, time.perf_counter() - begin)
            size = sum(array.nbytes for array in snapshot.arrays.values())
            del snapshot
        print(f"{series:>9} series: {best * 1000:8.1f} ms for {size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
