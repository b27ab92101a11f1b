"""State per key and processor time per event of `KeyedForecaster`, which stream processors call for each event.

    taskset -c 1 python benchmarks/keyed_state.py

An event is one call with the state of its key: bytes in, bytes out. Beside it are such a call without an event, and
`Forecaster.observe` of one event, which keeps its rows in memory. The three are measured in turns.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from forecaster import Batch, Forecaster, ModelConfig
from forecaster.interop import KeyedForecaster

HOUR = 3_600_000
NETWORKS = {
    "12 steps, season 24": ModelConfig(horizon=12, seasons=(24,)),
    "24 steps, seasons 24, 168": ModelConfig(horizon=24, seasons=(24, 168)),
    "60 steps, season 1,440": ModelConfig(horizon=60, seasons=(1440,), interval_ms=60_000),
}


def microseconds(config: ModelConfig, events: int, rounds: int) -> tuple[float, float, float]:
    """Returns the processor time of an event in bytes, of the bytes alone, and of an event in memory."""
    keyed, forecaster = KeyedForecaster(config), Forecaster(config, max_series=1, history_events=0)
    values = 50 + np.random.default_rng(0).normal(0, 5, 400 + events * rounds)
    step = config.interval_ms or HOUR
    times = step * np.arange(len(values))
    state, _ = keyed.observe(None, times[:400], values[:400])
    forecaster.observe(Batch(["key"] * 400, times[:400], values[:400]))
    none = np.zeros(0, np.int64)
    found: list[list[float]] = [[], [], []]
    for start in range(400, len(values), events):
        part = range(start, start + events)
        begin = time.process_time()
        for at in part:
            state, _ = keyed.observe(state, times[at : at + 1], values[at : at + 1])
        found[0].append(time.process_time() - begin)
        begin = time.process_time()
        for _ in part:
            keyed.observe(state, none, none)
        found[1].append(time.process_time() - begin)
        begin = time.process_time()
        for at in part:
            forecaster.observe(Batch(["key"], times[at : at + 1], values[at : at + 1]))
        found[2].append(time.process_time() - begin)
    one, nothing, memory = (statistics.median(each) / events * 1e6 for each in found)
    return one, nothing, memory


def table(events: int = 500, rounds: int = 9) -> str:
    """Returns the table of docs/engines.md.

    Args:
        events: of each round and way. rounds: of which the median is taken.
    """
    lines = ["| network | bytes per key | event, from and to bytes | call without events | event, in memory |"]
    lines.append("|---|---|---|---|---|")
    for name, config in NETWORKS.items():
        one, nothing, memory = microseconds(config, events, rounds)
        size = KeyedForecaster(config).state_bytes
        lines.append(f"| {name} | {size:,} | {one:.0f} us | {nothing:.0f} us | {memory:.0f} us |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
