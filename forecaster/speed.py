"""The parts of the fast loop by themselves, to be timed by others: no clock in here.

    peak_work   multiply-adds in registers and nothing else: what the core can do at most
    step_work   one recurrent layer for many rows, state gathered and scattered
    observe_work  everything that an event costs: features, network, experts, mixture, calibration, anomaly

Each gives a function without arguments that may be called again and again, and how much work a call is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster._jit import TILE, kernel, product
from forecaster._simd import load, store
from forecaster.batch import Batch
from forecaster.cells.layer import CELLS, CODES, layer_step
from forecaster.config import ModelConfig
from forecaster.forecaster import Forecaster
from forecaster.network import shape_of

INPUTS = 8
PEAK_DEPTH = 1_000_000
STEP_MS = 60_000


@kernel
def _peak(acc: Any, x: Any, w: Any, depth: int) -> None:
    product(TILE, 3, acc, 0, 48, x, 0, 0, 0, w, 0, 0, depth)


def peak_work(depth: int = PEAK_DEPTH) -> tuple[Callable[[], None], int]:
    """Multiply-adds on as many accumulators as the kernels use; and the operations of a call (two per multiply-add)."""
    acc, x, w = np.zeros(TILE * 48, np.float32), np.zeros(16, np.float32), np.ones(48, np.float32)
    return lambda: _peak(acc, x, w, depth), 2 * TILE * 48 * depth


def step_operations(cell: str, hidden: int, inputs: int = INPUTS) -> int:
    """Operations of the products of one step of one layer."""
    gates = [gate for gate in CELLS[cell].ORDER_B if gate not in {"", "nx"}]
    return 2 * len(gates) * hidden * (hidden + inputs)


def operations(config: ModelConfig) -> int:
    """Operations of the products of one event: all layers and the head."""
    shape, total = shape_of(config), 0
    for layer in range(shape.layers):
        total += step_operations(config.cell, shape.hidden, shape.n_x if layer == 0 else shape.hidden)
    z, q = 16 * shape.z_vectors, 16 * shape.q_vectors
    _, moment, target = shape.head_columns
    hidden = step_operations("gru", z, target) if config.head == "decoder" else 2 * target * z
    head = hidden + 2 * (z * q + target * q + shape.n_q * q)
    return total + 2 * (shape.n_top * z + moment * (z + q)) + config.horizon * head


def bare_step(cell: str, hidden: int) -> Callable[[Any, Any, Any], None]:
    """A compiled function (parameters, states, inputs) that takes every row one step on, in place, a tile at a time.

    States are (n, states*H), inputs (n, INPUTS), flat; n a multiple of the tile.
    """
    c: Any = CELLS[cell]
    code, H, state, tile = CODES[cell], hidden, c.STATES * hidden, TILE
    strip, hf, hv, xf, xv = c.STRIP, c.H_FIRST, c.H_VECTORS, c.X_FIRST, c.X_VECTORS
    wx = H * H * hv
    bias = wx + H * INPUTS * xv
    ld = state + INPUTS
    a, new = tile * ld, tile * ld + tile * strip * 16

    @kernel
    def run(P: Any, states: Any, x: Any, S: Any) -> None:
        for first in range(0, states.shape[0] // state, tile):
            for r in range(tile):
                for v in range(0, state, 16):
                    store(S, r * ld + v, load(states, (first + r) * state + v))
                for v in range(INPUTS):
                    S[r * ld + state + v] = x[(first + r) * INPUTS + v]
            layer_step(
                code, tile, strip, hf, hv, xf, xv, H, INPUTS, P, 0, wx, bias, S, 0, ld, state,
                S, a, strip * 16, 0, S, new, H,
            )  # fmt: skip
            for r in range(tile):
                for v in range(0, H, 16):
                    store(states, (first + r) * state + v, load(S, new + r * H + v))
                for v in range(H, state, 16):
                    store(states, (first + r) * state + v, load(S, r * ld + v))

    scratch = np.zeros(new + tile * H, np.float32)
    return lambda P, states, x: run(P, states, x, scratch)


def random_parameters(cell: str, hidden: int) -> NDArray[np.float32]:
    """Packed weights of one layer, of a size that neither dies out nor saturates."""
    c: Any = CELLS[cell]
    n = hidden * hidden * c.H_VECTORS + hidden * INPUTS * c.X_VECTORS + hidden * c.STRIP
    out: NDArray[np.float32] = (np.random.default_rng(0).normal(size=n) / np.sqrt(hidden)).astype(np.float32)
    return out


def step_work(cell: str, hidden: int, rows: int = 256) -> tuple[Callable[[], None], int]:
    """One step of `rows` rows (a multiple of the tile); and the operations of a call."""
    run, parameters = bare_step(cell, hidden), random_parameters(cell, hidden)
    states = np.zeros(rows * CELLS[cell].STATES * hidden, np.float32)
    x = np.random.default_rng(1).normal(size=rows * INPUTS).astype(np.float32)
    return lambda: run(parameters, states, x), rows * step_operations(cell, hidden)


def observe_work(config: ModelConfig, series: int, events: int) -> tuple[Callable[[], None], int]:
    """One batch of warm rows, the next one with every call, round robin over the series; and its events.

    Every series has been seen twice when it returns. Covariates are zero, known-future ones too.
    """
    forecaster = Forecaster(config, max_series=series, history_events=0)
    names = [f"series-{number}" for number in range(series)]
    interval = config.interval_ms or STEP_MS
    values = 100 + 10 * np.sin(np.arange(4096) / 7) + np.random.default_rng(1).normal(size=4096)
    side = np.zeros((events, len(config.covariates)), np.float32) if config.covariates else None
    known = len(config.future_covariates)
    ahead = np.zeros((events, known, config.horizon), np.float32) if known else None
    at = 0

    def call() -> None:
        nonlocal at
        order = np.arange(at, at + events)
        batch = Batch([names[i] for i in (order % series).tolist()], (order // series + 1) * interval,
                      values[order % 4096], side, ahead)  # fmt: skip
        at += events
        forecaster.observe(batch)

    while at < 2 * series:
        call()
    return call, events
