"""What late events cost: the library's time per event and memory per series, by share of late events and bound.

    taskset -c 0 python benchmarks/late_events.py [--series 1000] [--events 200] [--within 10 60] [--runs 3]

Every series has an event a minute, in batches of 4,096, of the daemon's default network. Late events are 1 to `within`
events behind, as many of each; all are put in their place. "Ignored" is the time without `late_within`, where late
events are dropped. Times are of the processor; the least of several runs counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from forecaster import Batch, Forecaster, Model, ModelConfig, Status, start_model, use_kernels

MINUTE, T0_MS, BATCH = 60_000, 1_767_571_200_000, 4096
SHARES = (0.0, 0.01, 0.1)


def stream(series: int, events: int, share: float, within: int, seed: int = 0) -> Batch:
    """Returns the events of all series in turn, of which a share arrives late."""
    rng = np.random.default_rng(seed)
    behind = np.where(rng.random((events, series)) < share, rng.integers(1, within + 1, (events, series)), 0)
    arrival = np.arange(events)[:, None] + behind + 0.5 * (behind > 0)
    step = np.argsort(arrival, axis=0, kind="stable")
    value = 50.0 + 10.0 * np.sin(step / 60.0 * 2.0 * np.pi) + rng.normal(0.0, 1.0, step.shape)
    names = [f"s{number}" for number in range(series)] * events
    return Batch(names, (T0_MS + step * MINUTE).reshape(-1), value.reshape(-1))


def measured(model: Model, batch: Batch, series: int, within: int) -> tuple[float, int]:
    """Returns microseconds per event, and the number of events that were put in their place."""
    forecaster, repaired = Forecaster(model, max_series=series, late_within=within), 0
    size, total = min(BATCH, len(batch) // 8), 0.0
    warm = -(-min(2 * within * series, len(batch) // 2) // size) * size
    for start in range(0, len(batch), size):
        part = batch.taken(slice(start, start + size))
        before = time.process_time()
        found = forecaster.observe(part)
        total += (time.process_time() - before) * (start >= warm)
        repaired += int((found.status == Status.REPAIRED).sum())
    return 1e6 * total / (len(batch) - warm), repaired


def table(model: Model, series: int, events: int, bounds: Sequence[int], runs: int) -> str:
    """Returns the table: a row per share of late events and bound."""
    plain = Forecaster(model, max_series=1).bytes_per_series
    rows = [
        "| `late_within` | bytes per series | late events | ignored, us | repaired, us | repaired events |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for within in bounds:
        more = Forecaster(model, max_series=1, late_within=within).bytes_per_series - plain
        for share in SHARES:
            batch = stream(series, events, share, within)
            before = min(measured(model, batch, series, 0)[0] for _ in range(runs))
            found = [measured(model, batch, series, within) for _ in range(runs)]
            after, repaired = min(each for each, _ in found), found[0][1]
            rows.append(
                f"| {within} | {plain:,} + {more:,} | {share:.0%} | {before:.1f} | {after:.1f} | {repaired:,} |"
            )
    return "\n".join(rows)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--events", type=int, default=200, help="of every series")
    parser.add_argument("--within", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    model = start_model(ModelConfig(seasons=(60,), interval_ms=MINUTE))
    print(table(model, given.series, given.events, given.within, given.runs))


if __name__ == "__main__":
    use_kernels("literal")  # what a daemon that runs for long uses
    main()
