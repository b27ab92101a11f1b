"""How long the state of windows holds up the engine when a snapshot is taken, and what is copied later.

    taskset -c 0 python benchmarks/window_snapshots.py [--series 1000] [--within 0 10 100]

Every series has four events a minute in windows of a minute. "In the loop" is the time in which nothing else is done;
"later" that for the closed windows that are kept, which the thread of the snapshot copies block by block.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from service.aggregate.aggregator import Aggregator
from service.config.aggregate import AggregateConfig
from service.messages.decode import Decoded

FUNCTIONS = ("count", "p95", "rate")
MINUTE, T0_MS, PER_WINDOW, RUNS = 60_000, 1_767_571_200_000, 4, 5


def filled(series: int, within: int, function: str) -> Aggregator:
    """Returns windows of all series, with as many closed ones as can be revised."""
    settings = {"interval": "1m", "functions": [function], "grace": "0s", "counters": "functions"}
    aggregator = Aggregator(AggregateConfig.model_validate(settings), 2 * series, within)
    names = [f"s{number}" for number in range(series)] * PER_WINDOW
    offset = np.repeat(np.arange(PER_WINDOW) * (MINUTE // PER_WINDOW), series)
    index = list(range(len(names)))
    for minute in range(within + 2):
        times, values = T0_MS + minute * MINUTE + offset, (offset % 97 + minute).astype(np.float64)
        aggregator.take(Decoded(names, times, values, None, index, index, [], 0), 0, deque())
    return aggregator


def measured(aggregator: Aggregator) -> tuple[float, float, int, int]:
    """Returns milliseconds in the loop and later, the least of several runs, the bytes, and the windows kept."""
    in_loop, later, size, kept = float("inf"), float("inf"), 0, 0
    for _ in range(RUNS):
        begun = time.perf_counter()
        arrays, streamed = aggregator.capture()
        in_loop = min(in_loop, time.perf_counter() - begun)
        begun = time.perf_counter()
        blocks = [block for array in streamed.values() for block in array.blocks()]
        later = min(later, time.perf_counter() - begun)
        size = sum(one.nbytes for one in [*arrays.values(), *blocks])
        kept = int(arrays["revisions"][:, 0].sum())
    return 1000 * in_loop, 1000 * later, size, kept


def table(series: int, bounds: Sequence[int]) -> str:
    """Returns the table: a row per function and bound."""
    rows = [
        "| function | `late_within` | windows kept | bytes | in the loop, ms | later, ms |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for function in FUNCTIONS:
        for within in bounds:
            in_loop, later, size, kept = measured(filled(series, within, function))
            rows.append(f"| {function} | {within} | {kept:,} | {size:,} | {in_loop:.2f} | {later:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--within", type=int, nargs="+", default=[0, 10, 100])
    given = parser.parse_args()
    print(table(given.series, given.within))


if __name__ == "__main__":
    main()
