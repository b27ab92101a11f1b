"""One optimiser step of truncated BPTT, ours and our peers': the same network, batch, window and step, one thread.

Network: 8 inputs, one recurrent layer, a linear output on every step. Loss: mean of squares. Step: forward, backward,
gradients clipped to a global norm of 1, Adam. Each maker gives a function that does one step and waits for its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from forecaster import SequenceConfig, SequenceModel, Sequences
from forecaster.sequences.network import Network, UnrollSpan
from forecaster.training.optim import Adam, clip_scale, global_norm

BATCH, WINDOW, FEATURES = 32, 64, 8
CELLS = ("gru", "lstm", "elman")
SIZES = (32, 64)


def multiply_adds(cell: str, hidden: int) -> float:
    """Operations of the products of the recurrent layer per stream and step: forward, back to h, for the weights."""
    gates = {"gru": 3, "lstm": 4, "elman": 1}[cell] * hidden
    return 2.0 * gates * ((hidden + FEATURES) + hidden + (hidden + FEATURES))


def own_step(cell: str, hidden: int) -> Callable[[], None]:
    """Ours, through the network of `forecaster.sequence`."""
    model = SequenceModel.initial(SequenceConfig(features=FEATURES, cell=cell, hidden_size=hidden))
    network, adam, params = Network(model.layout, BATCH, WINDOW), Adam(model.layout, 0.0), model.params.copy()
    x = np.random.default_rng(0).normal(size=(BATCH, WINDOW, FEATURES)).astype(np.float32)
    data, state = Sequences(features=x, targets=x[:, :, :1].copy()), model.start(BATCH)

    def step() -> None:
        network.run(params, data, state, UnrollSpan(0, WINDOW, 0, WINDOW, fresh=True))
        adam.step(params, network.gradient, 1e-3, clip_scale(global_norm(network.gradient), 1.0))

    return step


def torch_step(cell: str, hidden: int) -> Callable[[], None]:
    """`torch.nn.GRU`, `LSTM` or `RNN`; raises ImportError without PyTorch."""
    import torch

    torch.set_num_threads(1)
    module = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM, "elman": torch.nn.RNN}[cell]
    rnn, head = module(FEATURES, hidden), torch.nn.Linear(hidden, 1)
    parameters = [*rnn.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters)
    x, y = torch.randn(WINDOW, BATCH, FEATURES), torch.randn(WINDOW, BATCH, 1)

    def step() -> None:
        optimiser.zero_grad()
        loss = ((head(rnn(x)[0]) - y) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()

    return step


def jax_step(cell: str, hidden: int) -> Callable[[], None]:
    """`jax.lax.scan` and `jax.grad` with Adam written out, all in one jit; raises ImportError without JAX.

    Set XLA_FLAGS for one thread before anything imports it.
    """
    import jax

    jnp, H = jax.numpy, hidden
    gates = {"gru": 3, "lstm": 4, "elman": 1}[cell]
    key = jax.random.PRNGKey(0)
    shapes = {"wx": (FEATURES, gates * H), "wh": (H, gates * H), "b": (gates * H,), "bn": (H,), "o": (H, 1), "d": (1,)}
    params = {name: 0.1 * jax.random.normal(key, layout) for name, layout in shapes.items()}
    x, y = jax.random.normal(key, (WINDOW, BATCH, FEATURES)), jax.random.normal(key, (WINDOW, BATCH, 1))

    def gru(p: Any, h: Any, now: Any) -> Any:
        gx, gh = now @ p["wx"] + p["b"], h @ p["wh"]
        r, z = jnp.split(jax.nn.sigmoid(gx[:, : 2 * H] + gh[:, : 2 * H]), 2, axis=1)
        n = jnp.tanh(gx[:, 2 * H :] + r * (gh[:, 2 * H :] + p["bn"]))
        h = n + z * (h - n)
        return h, h

    def lstm(p: Any, state: Any, now: Any) -> Any:
        h, c = state
        g = now @ p["wx"] + h @ p["wh"] + p["b"]
        i, f, o = jnp.split(jax.nn.sigmoid(g[:, : 3 * H]), 3, axis=1)
        c = f * c + i * jnp.tanh(g[:, 3 * H :])
        h = o * jnp.tanh(c)
        return (h, c), h

    def elman(p: Any, h: Any, now: Any) -> Any:
        h = jnp.tanh(now @ p["wx"] + h @ p["wh"] + p["b"])
        return h, h

    move, zero = {"gru": gru, "lstm": lstm, "elman": elman}[cell], jnp.zeros((BATCH, H))
    start = (zero, zero) if cell == "lstm" else zero

    def loss(p: Any) -> Any:
        _, tops = jax.lax.scan(lambda state, now: move(p, state, now), start, x)
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

    return step
