"""Windows over raw events: the daemon from JSON lines to SQLite, counts per 10 s of 1,000 series, on one core.

    taskset -c 0 python benchmarks/raw_events.py [--events 400000] [--series 1000]

Raw events of 1 ms distance, in batches of 4,096. Prints raw events per second of the whole daemon behind its first
batch, of decoding alone, and of windows alone, by functions. A second table has the processor time of decoding and
counting alone, beside the same job in bytewax where that is installed (extra `bench`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from service.aggregate.aggregator import Aggregator
from service.cli._bench_daemon import throwaway, timed_units
from service.config.aggregate import AggregateConfig
from service.config.input import InputConfig
from service.config.sections import Config
from service.messages.decode import Decoded, Decoder
from service.ports import Records

BATCH = 4096
T0_MS = 1_767_571_200_000
FUNCTIONS = (["count"], ["count", "sum", "mean"], ["count", "p95"], ["rate"])


def lines(events: int, series: int) -> list[bytes]:
    """Returns raw events: of every series in turn, a millisecond apart."""
    return [
        b'{"series":"s%d","timestamp":%d,"value":%d}' % (at * 7919 % series, T0_MS + at, at % 101)
        for at in range(events)
    ]


def decoded(records: list[bytes]) -> tuple[list[Decoded], float]:
    """Decodes the records in batches; returns them, and events per second."""
    decoder, begun = Decoder(InputConfig()), time.perf_counter()
    found = [
        decoder.decode(Records("0", range(at, at + len(part)), at + len(part), part))
        for at in range(0, len(records), BATCH)
        for part in [records[at : at + BATCH]]
    ]
    return found, len(records) / (time.perf_counter() - begun)


def windows(batches: list[Decoded], functions: list[str]) -> float:
    """Returns raw events per second of windows alone."""
    aggregator = Aggregator(AggregateConfig.model_validate({"interval": "10s", "functions": functions}), 100_000)
    begun = time.perf_counter()
    taken = sum(aggregator.take(batch, 0, deque())[0].taken for batch in batches)
    return taken / (time.perf_counter() - begun)


def daemon(records: list[bytes], series: int) -> tuple[float, int]:
    """Returns raw events per second of the whole daemon behind its first batch, and the number of forecasts."""
    with tempfile.TemporaryDirectory(prefix="forecaster-bench-") as folder:
        path = Path(folder) / "raw.jsonl"
        path.write_bytes(b"\n".join(records) + b"\n")
        config = Config.model_validate({"aggregate": {"interval": "10s", "functions": ["count"]}})
        settings = throwaway(config, path, series, len(records)).model_dump(mode="json")
        settings["input"] |= {"max_poll_records": BATCH}
        seen = timed_units(Config.model_validate(settings))
    return (len(records) - BATCH) / (seen[-1][0] - seen[0][0]), sum(count for _, count in seen)


def table(events: int, series: int) -> str:
    """Returns the table: what is measured, events per second and per minute."""
    records = lines(events, series)
    batches, rate = decoded(records)
    rows = [("decoding alone", rate)]
    rows += [("windows alone, " + ", ".join(names), windows(batches, names)) for names in FUNCTIONS]
    rate, forecasts = daemon(records, series)
    rows.append((f"the daemon, with {forecasts:,} forecasts", rate))
    text = [f"| {name} | {rate:,.0f} | {rate * 60 / 1e6:.1f} |" for name, rate in rows]
    return "\n".join(["| | raw events/s | millions a minute |", "|---|--:|--:|", *text])


def count_by_aggregator(records: list[bytes]) -> int:
    """Decodes the records and counts them per series and 10 s; returns the number of closed windows."""
    batches, _ = decoded(records)
    settings = AggregateConfig.model_validate({"interval": "10s", "functions": ["count"], "empty": "missing"})
    aggregator = Aggregator(settings, 100_000)
    return sum(len(aggregator.take(batch, 0, deque())[0]) for batch in batches)


def count_by_bytewax(records: list[bytes]) -> int:
    """Does the same as a dataflow of bytewax in this process, without recovery; returns the number of windows."""
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.operators import windowing
    from bytewax.testing import TestingSink, TestingSource, run_main

    closed: list[object] = []
    flow = Dataflow("counts")
    events = op.map("decode", op.input("lines", flow, TestingSource(records, batch_size=BATCH)), orjson.loads)
    clock = windowing.EventClock(
        lambda one: datetime.fromtimestamp(one["timestamp"] / 1000, UTC), timedelta(seconds=10)
    )
    windower = windowing.TumblingWindower(length=timedelta(seconds=10), align_to=datetime(2026, 1, 1, tzinfo=UTC))
    counts = windowing.count_window("count", events, clock, windower, lambda one: one["series"])
    op.output("out", counts.down, TestingSink(closed))
    run_main(flow)
    return len(closed)


PEERS: dict[str, Callable[[list[bytes]], int]] = {
    "forecaster, decoding and counting": count_by_aggregator,
    "bytewax, decoding and counting": count_by_bytewax,
}


def peers_table(events: int, series: int) -> str:
    """Returns the table of the peers that are installed: events per second of processor time, the best of three."""
    records = lines(events, series)
    text = ["| | raw events per second of processor time | windows |", "|---|--:|--:|"]
    for name, count in PEERS.items():
        try:
            best, windows_closed = float("inf"), 0
            for _ in range(3):
                begun = time.process_time()
                windows_closed = count(records)
                best = min(best, time.process_time() - begun)
        except ImportError:
            continue
        text.append(f"| {name} | {events / best:,.0f} | {windows_closed:,} |")
    return "\n".join(text)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--series", type=int, default=1000)
    given = parser.parse_args()
    print(table(given.events, given.series))
    print()
    print(peers_table(given.events, given.series))


if __name__ == "__main__":
    main()
