"""A history before the live input: the daemon from JSON lines to SQLite, and the same events as live ones.

    taskset -c 0 python benchmarks/history.py [--events 200000] [--series 1000]

Prints events per second behind the first batch, without trainings, and the minutes that ten million events take.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from service.cli._bench_daemon import throwaway, timed_units, write_events
from service.config.sections import Config


def rate(events: int, series: int, *, live: bool) -> float:
    """Returns events per second of a daemon that takes in a file as its input, or as its history."""
    with tempfile.TemporaryDirectory(prefix="forecaster-bench-") as folder:
        path, empty = Path(folder) / "events.jsonl", Path(folder) / "live.jsonl"
        write_events(path, series, events)
        empty.write_bytes(b"")
        settings = throwaway(Config(), path if live else empty, series, events).model_dump(mode="json")
        if not live:
            settings["bootstrap"] = {"files": [str(path)]}
        seen = timed_units(Config.model_validate(settings), count=lambda unit: unit.outcomes.events)
    return sum(count for _, count in seen[1:]) / (seen[-1][0] - seen[0][0])


def table(events: int, series: int) -> str:
    """Returns the table: events per second, and minutes for ten million."""
    rates = [(name, rate(events, series, live=name == "live")) for name in ("history", "live")]
    rows = [f"| {name} | {found:,.0f} | {1e7 / found / 60:,.1f} |" for name, found in rates]
    return "\n".join(["| events as | events/s | minutes for 10 million |", "|---|--:|--:|", *rows])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--series", type=int, default=1000)
    given = parser.parse_args()
    print(table(given.events, given.series))


if __name__ == "__main__":
    main()
