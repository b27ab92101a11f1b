"""Work functions for benchmarks: parts of the per-event path by themselves. The caller measures the time.

    peak_work     multiply-adds in registers only: the peak rate of the core
    step_work     one step of one recurrent layer for many rows, with gather and scatter of their state
    observe_work  the whole path of an event: features, network, experts, ensemble, calibration, anomaly

Each returns a function without arguments, which may be called repeatedly, and the amount of work per call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.batch import Batch
from forecaster.config import ModelConfig
from forecaster.forecaster import Forecaster
from forecaster.kernels.buffers import buffer
from forecaster.kernels.jit import TILE, kernel, product
from forecaster.kernels.operands import Rows, Strided
from forecaster.kernels.simd import load, store
from forecaster.layout import layout_of
from forecaster.network.layer import CELLS, LayerWeights, Slab, Strips, gates_of, layer_step

INPUTS = 8
PEAK_DEPTH = 1_000_000
STEP_MS = 60_000


@kernel
def _peak(acc: Any, x: Any, w: Any, depth: int) -> None:
    product(TILE, 3, Rows(acc, 0, 48), Strided(x, 0, 0, 0), Rows(w, 0, 0), depth)


def peak_work(depth: int = PEAK_DEPTH) -> tuple[Callable[[], None], int]:
    """Returns multiply-adds on as many accumulators as kernels use, and operations per call (two per multiply-add).

    depth: multiply-adds per accumulator and call.
    """
    acc, x, w = np.zeros(TILE * 48, np.float32), np.zeros(16, np.float32), np.ones(48, np.float32)
    return lambda: _peak(acc, x, w, depth), 2 * TILE * 48 * depth


def step_operations(cell: str, hidden: int, inputs: int = INPUTS) -> int:
    """Returns the operations of the matrix products of one step of one layer."""
    gates = [gate for gate in CELLS[cell].ORDER_B if gate not in {"", "nx"}]
    return 2 * len(gates) * hidden * (hidden + inputs)


def operations(config: ModelConfig) -> int:
    """Returns the operations of one event's products, all layers and head; shared ones, of dates, are left out.

    config: of the network.
    """
    layout, total = layout_of(config), 0
    for layer in range(layout.layers):
        total += step_operations(config.cell, layout.hidden, layout.n_x if layer == 0 else layout.hidden)
    z, q = 16 * layout.z_vectors, 16 * layout.q_vectors
    _, moment, target, date = layout.head_columns
    hidden = step_operations("gru", z, target + date) if config.head == "decoder" else 2 * target * z
    head = hidden + 2 * (z * q + target * q + layout.n_q * q)
    return total + 2 * (layout.n_top * z + moment * (z + q)) + config.horizon * head


def bare_step(cell: str, hidden: int) -> tuple[Callable[[Any, Any, Any, Any], None], NDArray[np.float32]]:
    """Returns a compiled function (parameters, states, inputs, scratch) for one step of every row, and its scratch.

    The function updates states in place, a tile at a time. States are (n, states*H), inputs (n, INPUTS), flat.
    """
    gates, H, tile = gates_of(cell), hidden, TILE
    state, a_row = gates.states * H, gates.strip * 16
    wx = H * H * gates.h_vectors
    bias = wx + H * INPUTS * gates.x_vectors
    ld = state + INPUTS
    a, new = tile * ld, tile * ld + tile * a_row

    @kernel
    def run(P: Any, states: Any, x: Any, S: Any) -> None:
        n = states.shape[0] // state
        for first in range(0, n, tile):
            rows = min(tile, n - first)
            for r in range(rows):
                for v in range(0, state, 16):
                    store(S, r * ld + v, load(states, (first + r) * state + v))
                for v in range(INPUTS):
                    S[r * ld + state + v] = x[(first + r) * INPUTS + v]
            if rows == tile:
                layer_step(gates, tile, H, INPUTS, LayerWeights(P, 0, wx, bias), Slab(S, 0, ld, state),
                           Strips(S, a, a_row, 0), Rows(S, new, H))  # fmt: skip
            else:
                for r in range(rows):
                    layer_step(gates, 1, H, INPUTS, LayerWeights(P, 0, wx, bias), Slab(S, r * ld, ld, state),
                               Strips(S, a, a_row, 0), Rows(S, new + r * H, H))  # fmt: skip
            for r in range(rows):
                for v in range(0, H, 16):
                    store(states, (first + r) * state + v, load(S, new + r * H + v))
                for v in range(H, state, 16):
                    store(states, (first + r) * state + v, load(S, r * ld + v))

    return run, buffer(new + tile * H, np.float32)


def random_parameters(cell: str, hidden: int) -> NDArray[np.float32]:
    """Returns random packed weights of one layer, scaled so that states neither vanish nor saturate."""
    c: Any = CELLS[cell]
    n = hidden * hidden * c.H_VECTORS + hidden * INPUTS * c.X_VECTORS + hidden * c.STRIP
    out: NDArray[np.float32] = buffer(n, np.float32)
    out[...] = np.random.default_rng(0).normal(size=n) / np.sqrt(hidden)
    return out


def step_work(cell: str, hidden: int, rows: int = 256) -> tuple[Callable[[], None], int]:
    """Returns a function for one step of `rows` rows of a cell with `hidden` units, and operations per call."""
    (run, scratch), parameters = bare_step(cell, hidden), random_parameters(cell, hidden)
    states = buffer(rows * CELLS[cell].STATES * hidden, np.float32)
    x = np.random.default_rng(1).normal(size=rows * INPUTS).astype(np.float32)
    return functools.partial(run, parameters, states, x, scratch), rows * step_operations(cell, hidden)


def observe_work(config: ModelConfig, series: int, events: int) -> tuple[Callable[[], None], int]:
    """Returns a function that observes the next batch, round robin over the series, and events per call.

    Every series has been observed twice before it returns. Covariates are zero, known-future ones too.

    Args:
        config: of the network.
        series: their number. events: of a batch.
    """
    forecaster = Forecaster(config, max_series=series, history_events=0)
    interval, places = config.interval_ms or STEP_MS, np.arange(series + events)
    names = [f"series-{number % series}" for number in places.tolist()]
    ts = (places // series + 1) * interval
    values = 100 + 10 * np.sin(np.arange(4096) / 7) + np.random.default_rng(1).normal(size=4096)
    values = np.resize(values, 4096 + events)
    side = np.zeros((events, len(config.covariates)), np.float32) if config.covariates else None
    known = len(config.future_covariates)
    ahead = np.zeros((events, known, config.horizon), np.float32) if known else None
    at = 0

    def call() -> None:
        nonlocal at
        first, value = at % series, at % 4096
        batch = Batch(names[first : first + events], ts[first : first + events] + at // series * interval,
                      values[value : value + events], side, ahead)  # fmt: skip
        at += events
        forecaster.observe(batch)

    while at < 2 * series:
        call()
    return call, events
