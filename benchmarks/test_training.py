"""Truncated BPTT with Adam: nanoseconds per sample and step, and PyTorch and JAX beside it where installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels import model
from pytest_benchmark.fixture import BenchmarkFixture

from forecaster import History, SequenceConfig, SequenceModel, Sequences
from forecaster.sequence.network import Network, Piece
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


CELLS = ("gru", "lstm", "elman")


@pytest.mark.parametrize("hidden", [32, 64])
@pytest.mark.parametrize("cell", CELLS)
def test_sequences(benchmark: BenchmarkFixture, cell: str, hidden: int) -> None:
    """The network of the peers below, exactly: one layer, a linear head on every step, squares, clipping, Adam."""
    config = SequenceConfig(features=8, cell=cell, hidden_size=hidden)
    model = SequenceModel.initial(config)
    network, adam, params = Network(model.layout, BATCH, WINDOW), Adam(model.layout, 0.0), model.params.copy()
    x = np.random.default_rng(0).normal(size=(BATCH, WINDOW, 8)).astype(np.float32)
    data, state = Sequences(features=x, targets=x[:, :, :1].copy()), model.start(BATCH)

    def step() -> None:
        network.run(params, data, state, Piece(0, WINDOW, 0, WINDOW, fresh=True))
        adam.step(params, network.gradient, 1e-3, clip_scale(global_norm(network.gradient), 1.0))

    step()
    benchmark.group = f"training {cell} H={hidden}"
    benchmark.pedantic(step, rounds=20, warmup_rounds=2)
    _report(benchmark, f"sequences {cell} H={hidden}")


@pytest.mark.parametrize("hidden", [32, 64])
@pytest.mark.parametrize("cell", CELLS)
def test_torch(benchmark: BenchmarkFixture, cell: str, hidden: int) -> None:
    """`torch.nn` with a linear head on every step and Adam, one thread."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    module = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "elman": torch.nn.RNN}[cell]
    rnn, head = module(8, hidden), torch.nn.Linear(hidden, 1)
    parameters = [*rnn.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters)
    x, y = torch.randn(WINDOW, BATCH, 8), torch.randn(WINDOW, BATCH, 1)

    def step() -> None:
        optimiser.zero_grad()
        loss = ((head(rnn(x)[0]) - y) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()

    step()
    benchmark.group = f"training {cell} H={hidden}"
    benchmark.pedantic(step, rounds=20, warmup_rounds=2)
    _report(benchmark, f"torch {cell} H={hidden}")


@pytest.mark.parametrize("hidden", [32, 64])
def test_jax(benchmark: BenchmarkFixture, hidden: int) -> None:
    """A GRU by `jax.lax.scan` and `jax.grad`, Adam written out, all in one jit; set XLA_FLAGS for one thread."""
    jax = pytest.importorskip("jax")
    jnp, H = jax.numpy, hidden
    key = jax.random.PRNGKey(0)
    shapes = {"wx": (8, 3 * H), "wh": (H, 3 * H), "b": (3 * H,), "bn": (H,), "o": (H, 1), "d": (1,)}
    params = {name: 0.1 * jax.random.normal(key, shape) for name, shape in shapes.items()}
    x, y = jax.random.normal(key, (WINDOW, BATCH, 8)), jax.random.normal(key, (WINDOW, BATCH, 1))

    def cell(p: Any, h: Any, now: Any) -> tuple[Any, Any]:
        gx, gh = now @ p["wx"] + p["b"], h @ p["wh"]
        r, z = jnp.split(jax.nn.sigmoid(gx[:, : 2 * H] + gh[:, : 2 * H]), 2, axis=1)
        n = jnp.tanh(gx[:, 2 * H :] + r * (gh[:, 2 * H :] + p["bn"]))
        h = n + z * (h - n)
        return h, h

    def loss(p: Any) -> Any:
        _, tops = jax.lax.scan(lambda h, now: cell(p, h, now), jnp.zeros((BATCH, H)), x)
        return ((tops @ p["o"] + p["d"] - y) ** 2).mean()

    @jax.jit
    def update(p: Any, m: Any, v: Any) -> Any:
        g = jax.grad(loss)(p)
        norm = jnp.sqrt(sum((part**2).sum() for part in jax.tree.leaves(g)))
        g = jax.tree.map(lambda part: part * jnp.minimum(1.0, 1.0 / norm), g)
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        return jax.tree.map(lambda q, a, b: q - 1e-3 * a / (jnp.sqrt(b) + 1e-8), p, m, v), m, v

    kept = [params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)]

    def step() -> None:
        kept[:] = update(*kept)
        jax.block_until_ready(kept)

    step()
    benchmark.group = f"training gru H={hidden}"
    benchmark.pedantic(step, rounds=20, warmup_rounds=2)
    _report(benchmark, f"jax gru H={hidden}")


def _report(benchmark: Any, what: str) -> None:
    if benchmark.stats is not None:  # None when benchmarks are disabled and the code runs once
        per_step = benchmark.stats.stats.median / (BATCH * WINDOW) * 1e9
        benchmark.extra_info["ns_per_sample_step"] = round(per_step)
        print(f"\n{what}: {per_step:.0f} ns per sample and step")
