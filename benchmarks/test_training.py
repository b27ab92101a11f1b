"""Truncated BPTT with Adam: nanoseconds per sample and step, and PyTorch and JAX beside it where installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import model
from pytest_benchmark.fixture import BenchmarkFixture
from training import BATCH, CELLS, SIZES, WINDOW, jax_step, own_step, torch_step

from forecaster import History
from forecaster.training.dataset import Streams, dataset
from forecaster.training.optim import Adam, clip_scale, global_norm
from forecaster.training.tbptt import Chunk


def history(steps: int = 4000) -> History:
    """One noisy season."""
    step = np.arange(steps)
    value = np.sin(step / 24 * 6.28) + 0.1 * np.random.default_rng(0).normal(size=steps)
    none = np.zeros((steps, 0), np.float32)
    return History(np.zeros(steps, np.int64), 60_000 * step, value.astype(np.float32), none)


@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize("hidden", [32, 64])
def test_chunk(benchmark: BenchmarkFixture, hidden: int, horizon: int) -> None:
    """One optimiser step: forward, backward, clipping, Adam; k1 = k2, so that every step carries a loss."""
    import dataclasses

    from forecaster import Model

    start = model(hidden)
    start = Model.initial(dataclasses.replace(start.config, horizon=horizon))
    data = dataset(history(), start.layout, 0.1)
    streams = Streams(data, WINDOW, WINDOW, BATCH, np.random.default_rng(0))
    chunk, adam, params = Chunk(start.layout, BATCH, WINDOW), Adam(start.layout, 1e-4), start.params.copy()

    def step() -> None:
        windows, fresh = streams.next()
        chunk.carried[:, fresh] = 0.0
        chunk.run(params, data, windows, WINDOW, learn=True)
        adam.step(params, chunk.gradient, 1e-3, clip_scale(global_norm(chunk.gradient), 1.0))

    step()
    benchmark.group = f"training gru H={hidden}"
    benchmark.pedantic(step, rounds=20, warmup_rounds=2)
    _report(benchmark, f"training gru H={hidden} horizon={horizon}")


MAKERS = {"forecaster": own_step, "torch": torch_step, "jax": jax_step}


@pytest.mark.parametrize("who", MAKERS)
@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_sequences(benchmark: BenchmarkFixture, cell: str, hidden: int, who: str) -> None:
    """The same network, exactly, here and there: one layer, a linear head on every step, squares, clipping, Adam."""
    if who != "forecaster":
        pytest.importorskip(who)
    step = MAKERS[who](cell, hidden)
    step()
    benchmark.group = f"training {cell} H={hidden}"
    benchmark.pedantic(step, rounds=20, warmup_rounds=2)
    _report(benchmark, f"{who} {cell} H={hidden}")


def _report(benchmark: Any, what: str) -> None:
    if benchmark.stats is not None:  # None when benchmarks are disabled and the code runs once
        per_step = benchmark.stats.stats.median / (BATCH * WINDOW) * 1e9
        benchmark.extra_info["ns_per_sample_step"] = round(per_step)
        print(f"\n{what}: {per_step:.0f} ns per sample and step")
