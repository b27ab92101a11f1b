"""Time and memory to adopt a network of another shape: `python benchmarks/shape_change.py [SERIES ...]`.

Hourly series without seasons get the seasons of a day and a week, then another horizon; the history holds 500,000
events. Prints a row of docs/shapes.md per number of series: the events that are observed again, the time of a
processor, and the largest memory of the process before and after.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import replace

import numpy as np

from forecaster import Batch, Forecaster, Model, ModelConfig
from forecaster.observe.rebuilt_rows import held_events

HOUR = 3_600_000
STEPS = 120  # per series, before the first change


def megabytes() -> int:
    """Returns the largest memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main(counts: list[int]) -> None:
    """Measures each number of series."""
    plain = Model.initial(ModelConfig(pretrained=False))
    shapes = [replace(plain.config, seasons=(24, 168)), replace(plain.config, seasons=(24, 168), horizon=48)]
    models = [Model.initial(shape) for shape in shapes]
    for model in (plain, *models):
        Forecaster(model, max_series=1, history_events=0).observe(Batch(["a"], np.zeros(1, np.int64), np.ones(1)))
    print("| series | change | events | seconds of a processor | MB before | at most |\n|--:|---|--:|--:|--:|--:|")
    for series in counts:
        one = Forecaster(plain, max_series=series, history_events=500_000)
        names, rng = [str(i) for i in range(series)], np.random.default_rng(0)
        for step in range(STEPS):
            one.observe(Batch(names, np.full(series, step * HOUR), rng.normal(size=series)))
        for model, change in zip(models, ("seasons", "horizon"), strict=True):
            rows = np.fromiter(one._table.index.values(), np.int64)
            events = sum(len(part.places) for part in held_events(one._observed, rows, model.config))
            before, start = megabytes(), time.process_time()
            one.adopt(model)
            print(
                f"| {series:,} | {change} | {events:,} | {time.process_time() - start:.1f} | {before} | {megabytes()} |"
            )
            for step in range(STEPS, STEPS + 340 if change == "seasons" and series <= 10_000 else STEPS):
                one.observe(Batch(names, np.full(series, step * HOUR), rng.normal(size=series)))


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1_000, 10_000, 100_000])
