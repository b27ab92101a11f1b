"""Processor time of a what-if answer, and of the copy of a row that the loop makes for it.

python benchmarks/what_if.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from forecaster import Batch, Forecaster, ModelConfig, RowTwin, explain, what_if


def best_us(work: Callable[[], object], times: int) -> float:
    """Returns the least processor time of a call, in microseconds."""
    best = np.inf
    for _ in range(times):
        begun = time.thread_time()
        work()
        best = min(best, time.thread_time() - begun)
    return 1e6 * best


def main() -> None:
    """Prints one line per part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="events of all series in the history")
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--times", type=int, default=200)
    asked = parser.parse_args()
    config = ModelConfig(horizon=24, seasons=(24,), interval_ms=60_000, future_covariates=("price",))
    forecaster = Forecaster(config, history_events=asked.events)
    names, rng = [f"s{i}" for i in range(asked.series)], np.random.default_rng(0)
    for step in range(max(2, asked.events // asked.series)):
        future = rng.normal(size=(len(names), 1, config.horizon)).astype(np.float32)
        forecaster.observe(Batch(names, np.full(len(names), step * 60_000), rng.normal(size=len(names)), future=future))
    situation, twin = forecaster.situation("s0"), RowTwin(forecaster.model)
    for name, work in (
        ("copy of the row, in the loop", lambda: forecaster.situation("s0")),
        ("what if: both forecasts", lambda: what_if(situation, {"price": 1.0}, twin)),
        ("explanation", lambda: explain(situation, twin)),
    ):
        work()
        print(f"{name:32} {best_us(work, asked.times):10.0f} us")


if __name__ == "__main__":
    main()
