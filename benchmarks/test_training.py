"""Truncated BPTT with Adam: nanoseconds per sample and step, and PyTorch beside it where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import model
from pytest_benchmark.fixture import BenchmarkFixture

from forecaster import History
from forecaster.training.optim import Adam, clip_scale, global_norm
from forecaster.training.tbptt import Chunk
from forecaster.training.windows import Streams, dataset

BATCH, WINDOW = 32, 64


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
    data = dataset(history(), start.shape, 0.1)
    streams = Streams(data, WINDOW, WINDOW, BATCH, np.random.default_rng(0))
    chunk, adam, params = Chunk(start.shape, BATCH, WINDOW), Adam(start.shape, 1e-4), start.params.copy()

    def step() -> None:
        windows, fresh = streams.next()
        chunk.carried[:, fresh] = 0.0
        chunk.run(params, data, windows, WINDOW, learn=True)
        adam.step(params, chunk.gradient, 1e-3, clip_scale(global_norm(chunk.gradient), 1.0))

    step()
    benchmark.group = f"training gru H={hidden}"
    benchmark.pedantic(step, rounds=20, warmup_rounds=2)
    _report(benchmark, f"training gru H={hidden} horizon={horizon}")


@pytest.mark.parametrize("hidden", [32, 64])
def test_torch(benchmark: BenchmarkFixture, hidden: int) -> None:
    """`torch.nn.GRU` with a linear head on every step and Adam, one thread."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    gru, head = torch.nn.GRU(8, hidden), torch.nn.Linear(hidden, 1)
    optimiser = torch.optim.Adam([*gru.parameters(), *head.parameters()])
    x, y = torch.randn(WINDOW, BATCH, 8), torch.randn(WINDOW, BATCH, 1)

    def step() -> None:
        optimiser.zero_grad()
        loss = (head(gru(x)[0]) - y).abs().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(gru.parameters(), 1.0)
        optimiser.step()

    step()
    benchmark.group = f"training gru H={hidden}"
    benchmark.pedantic(step, rounds=20, warmup_rounds=2)
    _report(benchmark, f"torch training gru H={hidden}")


def _report(benchmark: Any, what: str) -> None:
    if benchmark.stats is not None:  # None when benchmarks are disabled and the code runs once
        per_step = benchmark.stats.stats.median / (BATCH * WINDOW) * 1e9
        benchmark.extra_info["ns_per_sample_step"] = round(per_step)
        print(f"\n{what}: {per_step:.0f} ns per sample and step")
