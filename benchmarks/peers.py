"""Peers that few have installed; each maker raises ImportError where its library is missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from kernels import INPUTS

HORIZON = 24


def jax_gru(hidden: int) -> Callable[[Any, Any], Any]:
    """The GRU step compiled by XLA; the result is waited for and taken back to numpy."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    Wx, Wh = (jnp.asarray(rng.normal(size=(n, 3 * hidden)).astype(np.float32) / 8) for n in (INPUTS, hidden))
    b = jnp.zeros(3 * hidden, jnp.float32)

    @jax.jit
    def step(h: Any, x: Any) -> Any:
        gx, gh = x @ Wx + b, h @ Wh
        r, z = (
            jax.nn.sigmoid(gx[:, :hidden] + gh[:, :hidden]),
            jax.nn.sigmoid(gx[:, hidden : 2 * hidden] + gh[:, hidden : 2 * hidden]),
        )
        n = jnp.tanh(gx[:, 2 * hidden :] + r * gh[:, 2 * hidden :])
        return n + z * (h - n)

    return lambda h, x: np.asarray(step(h, x))


def torch_compiled(hidden: int) -> Callable[[Any, Any], Any]:
    """`torch.compile` of `torch.nn.GRUCell`, one thread."""
    import torch

    torch.set_num_threads(1)
    cell = torch.compile(torch.nn.GRUCell(INPUTS, hidden))

    def step(h: Any, x: Any) -> Any:
        with torch.inference_mode():
            return cell(torch.from_numpy(x), torch.from_numpy(h)).numpy()

    return step


def _values() -> Any:
    return itertools.cycle(100 + 10 * math.sin(i / 24 * 2 * math.pi) + (i * 37 % 11) / 7 for i in range(24 * 60))


def _river(model: Any) -> Callable[[], Any]:
    values = _values()
    for _ in range(24 * 8):
        model.learn_one(next(values))

    def call() -> Any:
        model.learn_one(next(values))
        return model.forecast(horizon=HORIZON)

    return call


def holt_winters() -> Callable[[], Any]:
    """River's Holt-Winters with a daily season."""
    from river.time_series import HoltWinters

    return _river(HoltWinters(alpha=0.3, beta=0.1, gamma=0.3, seasonality=24))


def snarimax() -> Callable[[], Any]:
    """River's SNARIMAX with a daily season."""
    from river.time_series import SNARIMAX

    return _river(SNARIMAX(p=3, d=1, q=1, m=24, sp=1, sd=0, sq=0))


def deep_river() -> Callable[[], Any]:
    """deep-river's rolling regressor on a GRU of 32 units: learns and predicts one step."""
    import torch
    from deep_river.regression import RollingRegressor

    class Network(torch.nn.Module):
        def __init__(self, n_features: int) -> None:
            super().__init__()
            self.gru, self.head = torch.nn.GRU(n_features, 32), torch.nn.Linear(32, 1)

        def forward(self, x: Any) -> Any:
            return self.head(self.gru(x)[0][-1])

    model, values = RollingRegressor(module=Network(1), loss_fn="mse", window_size=24), _values()

    def call() -> Any:
        value = next(values)
        model.learn_one({"y": value}, value)
        return model.predict_one({"y": value})

    return call
