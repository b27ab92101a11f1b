"""What several workers bring: the daemon over four files, from JSON lines to SQLite, with 1 and 2 threads.

    python benchmarks/workers.py [--hidden 256] [--layers 2] [--events 40000] [--workers 1,2]

Wall time (threads are the point), runs of each in turns, the first batch of every partition left out. Not pinned: two
workers want two cores. Prints events per second, the ratio to one worker, and what of it is the network.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from service.cli._bench_daemon import throwaway, timed_units, write_events
from service.config.sections import Config

PARTITIONS, SERIES = 4, 250


def events_per_second(config: Config, workers: int, events: int) -> float:
    """Of one run, all partitions together."""
    with tempfile.TemporaryDirectory(prefix="forecaster-bench-") as folder:
        files = [Path(folder) / f"events-{number}.jsonl" for number in range(PARTITIONS)]
        for path in files:
            write_events(path, SERIES, events // PARTITIONS)
        settings = throwaway(config, files[0], SERIES, events).model_dump(mode="json")
        settings["input"] |= {"files": [str(path) for path in files], "workers": workers, "max_poll_records": 500}
        seen = timed_units(Config.model_validate(settings))
    begun = seen[PARTITIONS - 1 :]
    return sum(count for _, count in begun[1:]) / (begun[-1][0] - begun[0][0])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1,2")
    given = parser.parse_args()
    config = Config.model_validate(
        {"model": {"hidden_size": given.hidden, "layers": given.layers, "seasons": [24], "interval": "1m"}}
    )
    counts = [int(text) for text in given.workers.split(",")]
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(given.rounds):
        for count in counts:
            found[count].append(events_per_second(config, count, given.events))
    one = statistics.median(found[counts[0]])
    print(f"{given.layers} layers of {given.hidden} units, {PARTITIONS} files")
    for count, rates in found.items():
        middle = statistics.median(rates)
        spread = (max(rates) - min(rates)) / 2 / middle
        print(f"{count} workers: {middle:10,.0f} events/s  +- {spread:.0%}  {middle / one:.2f} x")


if __name__ == "__main__":
    main()
