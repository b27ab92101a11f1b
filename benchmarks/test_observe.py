"""Events per second through `Forecaster.observe`, compiled before the clock starts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from forecaster import Batch, Forecaster, ModelConfig, use_kernels, used_kernels

STEP_MS = 60_000


@pytest.fixture(autouse=True)
def _literal() -> Iterator[None]:
    """Selects the kernels that a daemon uses that has run for some minutes, or those of FORECASTER_KERNELS."""
    before = used_kernels()
    use_kernels(os.environ.get("FORECASTER_KERNELS", "literal"))
    yield
    use_kernels(before)


def batches(series: int, events: int, count: int) -> list[Batch]:
    """`count` batches of `events` events each, round robin over the series."""
    names = [f"series-{number}" for number in range(series)]
    order = np.arange(count * events)
    values = 100 + 10 * np.sin(order / series / 7) + np.random.default_rng(1).normal(size=order.size)
    return [
        Batch(
            [names[index % series] for index in order[start : start + events]],
            (order[start : start + events] // series + 1) * STEP_MS,
            values[start : start + events],
        )
        for start in range(0, order.size, events)
    ]


@pytest.mark.parametrize("events", [1, 512, 4096])
@pytest.mark.parametrize("series", [1, 1_000, 20_000])
def test_observe(benchmark: BenchmarkFixture, series: int, events: int) -> None:
    """One batch of warm rows: every series has been seen."""
    forecaster = Forecaster(ModelConfig(interval_ms=STEP_MS, horizon=24, seasons=(24,)))
    warming = -(-2 * series // events)
    rounds = max(5, 20_000 // events)
    script = iter(batches(series, events, warming + rounds + 1))
    for _ in range(warming):
        forecaster.observe(next(script))

    benchmark.pedantic(forecaster.observe, setup=lambda: ((next(script),), {}), rounds=rounds)

    if benchmark.stats is not None:  # None when benchmarks are disabled and the code runs once
        benchmark.extra_info["events_per_second"] = round(events / benchmark.stats.stats.median)


def test_first_start(benchmark: BenchmarkFixture) -> None:
    """From a configuration to the first forecast, kernels in the cache."""
    batch = batches(1, 1, 1)[0]
    Forecaster(ModelConfig()).observe(batch)

    benchmark.pedantic(lambda: Forecaster(ModelConfig()).observe(batch), rounds=5)
