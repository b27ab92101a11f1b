r"""Gradient norms by lag: how far gradients reach back in time through the cells with and without gates.

For a loss at step T the gradient reaches the state of step T - k through a product of k Jacobians,

    d L / d h_{T-k} = d L / d h_T  *  prod_{t = T-k+1..T}  d h_t / d h_{t-1}

whose norm falls or grows exponentially in k (Bengio et al. 1994; Pascanu et al. 2013). The cell state of an LSTM and
the update gate of a GRU add a path on which it is multiplied by gates near one instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError
from forecaster.model import Model
from forecaster.sequences.batch import Sequences
from forecaster.sequences.config import SequenceConfig
from forecaster.sequences.layout import sequence_layout_of
from forecaster.sequences.model import SequenceModel
from forecaster.sequences.network import Network, initial_state
from forecaster.state.history import History
from forecaster.training.dataset import dataset

FLOOR = 1e-45  # the smallest float32, in place of zero on a logarithmic axis


def gradient_by_lag(model: SequenceModel, data: Sequences, *, seed: int = 0) -> NDArray[np.float64]:
    """Returns gradient norms by lag: of the top layer's last output, in a random direction, by earlier states.

    Args:
        model: a recurrent network.
        data: inputs of T steps, none of them padding.
        seed: of the directions, one unit vector per sequence.

    Returns:
        Shape (T + 1,): norms over all layers, root mean square over the sequences; the first is for lag 0. Zero means
        an underflow of float64.

    Raises:
        BatchError: the columns do not fit.
        ConfigError: the cell is "none".
    """
    layout = model.layout
    if not layout.layers:
        raise ConfigError("cell", model.config.cell, "a recurrent cell: without a state there is no lag")
    data = Sequences(data.features, data.symbols, None, data.future)
    data.check(model.config, learn=False)
    params, steps, n = model.params.astype(np.float64), data.steps, len(data)
    stack = Network(layout, n, steps, np.float64).encoder
    stack.begin(params, initial_state(layout, params, n), data.present.T)
    stack.read(params, data, 0, steps)
    for t in range(steps):
        stack.forward(params, t, t + 1)
    dtop = np.random.default_rng(seed).normal(size=(1, n, layout.n_top))
    dtop /= np.linalg.norm(dtop, axis=2, keepdims=True)
    stack.begin_backward(params)
    norms, unused = np.zeros(steps + 1), np.zeros(layout.n_params)
    norms[0] = 1.0
    for lag in range(1, steps + 1):
        t = steps - lag
        stack.backward(params, unused, dtop, t, t + 1)
        norms[lag] = np.sqrt(np.square(stack.dstate()).sum(axis=(0, 2)).mean())
        dtop = np.zeros_like(dtop)
    return norms


def stream_gradient_by_lag(
    model: Model, history: History, *, steps: int = 64, windows: int = 32, seed: int = 0
) -> NDArray[np.float64]:
    """Returns `gradient_by_lag` of a streaming network on windows of its history, at random places.

    Args:
        model: the network of a `Forecaster`.
        history: events of a forecaster.
        steps: length of a window. windows: number of windows, at most.
        seed: of places and directions.

    Returns:
        Shape (steps + 1,), as of `gradient_by_lag`.

    Raises:
        TrainingError: too little history.
        ConfigError: no stretch of the history has that many steps without a restart, or the cell is "none".
    """
    data, config = dataset(history, model.layout, 0.01), model.config
    starts = [np.arange(a, b - steps + 1) for a, b in data.segment.tolist() if b - a >= steps]
    if not starts:
        longest = int((data.segment[:, 1] - data.segment[:, 0]).max())
        raise ConfigError("steps", steps, f"at most {longest}, the longest stretch of the history")
    places = np.concatenate(starts)
    places = np.random.default_rng(seed).choice(places, min(windows, len(places)), replace=False)
    twin = SequenceConfig(
        features=model.layout.n_x, cell=config.cell, hidden_size=config.hidden_size, layers=config.layers
    )
    layout = sequence_layout_of(twin)
    flat = np.zeros(layout.n_params, np.float32)
    mine, other = layout.views(flat), model.layout.views(model.params)
    for name, tensor in other.items():
        if name.startswith("layer"):
            target = mine[f"encoder.{name}"]
            target[tuple(slice(n) for n in tensor.shape)] = tensor
    features = data.x[places[:, None] + np.arange(steps)]
    return gradient_by_lag(SequenceModel(twin, flat), Sequences(features=features), seed=seed)


def plot_gradients(curves: Mapping[str, NDArray[Any]], path: Path | str) -> None:
    """Plots norms by lag on a logarithmic axis to a file; needs matplotlib (the extra `plots`).

    Args:
        curves: name -> result of `gradient_by_lag`.
        path: the file; its suffix is its format, e.g. ".svg" or ".png".

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file could not be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra; the library works without it

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, norms in curves.items():
        axes.plot(np.arange(len(norms)), np.maximum(norms, FLOOR), label=name)
    axes.set_yscale("log")
    axes.set_xlabel("lag (steps)")
    axes.set_ylabel("norm of the gradient by the state")
    axes.axhline(1.0, color="grey", linewidth=0.5)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None} if Path(path).suffix == ".svg" else None)
