"""Seeded initial parameters, which give useful forecasts before any training."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig
from forecaster.layout import calendar_weights, layout_of
from forecaster.network import gru
from forecaster.network.layer import CELLS
from forecaster.network.quantile_output import slot_levels


def initial_params(config: ModelConfig) -> NDArray[np.float32]:
    """Returns seeded initial parameters.

    Recurrent matrices are orthogonal per gate (Saxe et al. 2014), input matrices uniform in 1/sqrt(n), biases zero
    except for the forget gate of the LSTM and the update gate of the GRU (1: remember; Jozefowicz et al. 2015). The
    head starts as seasonal naive of the first season (naive without one) with the quantiles of a normal distribution.
    """
    layout, rng = layout_of(config), np.random.default_rng(config.seed)
    flat = np.zeros(layout.n_params, np.float32)
    view = layout.views(flat)
    cell = CELLS.get(config.cell)
    for i in range(layout.layers):
        assert cell is not None
        _start_layer(cell, config.cell, view, f"layer{i}", rng)
    width, n_q = config.head_size, layout.n_q
    view["head.A"][...] = rng.uniform(-1, 1, view["head.A"].shape) / math.sqrt(layout.n_top)
    view["head.B"][...] = rng.uniform(-1, 1, view["head.B"].shape) / math.sqrt(layout.n_f)
    if config.head == "decoder":
        _start_layer(gru, "gru", view, "head", rng)
    if config.future_covariates:  # zero until a training learns their effect
        end = sum(layout.head_columns[:3])
        known = slice(end - 2 * len(config.future_covariates), end)
        if config.head == "decoder":  # the inputs of its cell are those of a target only
            before = sum(layout.head_columns[:2])
            view["head.wx"][:, known.start - before : end - before] = 0.0
        else:
            view["head.B"][known] = 0.0
    view["head.O"][:, :n_q] = 0.1 * rng.uniform(-1, 1, (width, n_q)) / math.sqrt(width)
    if config.seasons:
        view["head.L"][sum(layout.head_columns[:2]), 0] = 1.0  # median = value one season before the target
    normal = [NormalDist().inv_cdf(a) for a in config.quantiles]
    levels, middle = slot_levels(config.quantiles), config.quantiles.index(0.5)
    for slot in range(1, n_q):
        level = levels[slot]
        neighbour = level - 1 if level > middle else level + 1
        width_in_scales = abs(normal[level] - normal[neighbour])
        view["head.d"][slot] = width_in_scales - 1.0 / width_in_scales  # squareplus of it is the width
    flat[calendar_weights(layout, hour=True, week=True)] = 0.0  # zero until a training covers two days, or two weeks
    return flat


def _start_layer(cell: Any, name: str, view: dict[str, NDArray[Any]], layer: str, rng: np.random.Generator) -> None:
    """Overwrites the packed weights of a layer by initial ones; see `initial_params`."""
    wh, wx, bias = (view[f"{layer}.{part}"] for part in ("wh", "wx", "bias"))
    n_in = wx.shape[1]
    orthogonal_gates(wh, rng)
    wx[...] = rng.uniform(-1, 1, wx.shape) / math.sqrt(max(1, n_in))
    for lanes in remembering_gates(name, cell):
        bias[:, lanes] = 1.0


def orthogonal_gates(wh: NDArray[Any], rng: np.random.Generator) -> None:
    """Overwrites packed recurrent weights (blocks, hidden, 16 gates) by one random orthogonal matrix per gate."""
    blocks, hidden = wh.shape[:2]
    gates = wh.reshape(blocks, hidden, -1, 16)
    for g in range(gates.shape[2]):
        q, r = np.linalg.qr(rng.normal(size=(hidden, hidden)))
        gates[:, :, g, :] = (q * np.sign(np.diag(r))).reshape(hidden, blocks, 16).transpose(1, 0, 2)


def gate_lanes(cell: Any, gate: str) -> slice:
    """Returns the columns of one gate in the packed bias (blocks, 16 gates) of a cell."""
    at = 16 * cell.ORDER_B.index(gate)
    return slice(at, at + 16)


def remembering_gates(name: str, cell: Any) -> list[slice]:
    """Returns the columns of the gates that keep the state when open: update of the GRU, forget of the LSTM."""
    return [gate_lanes(cell, gate) for gate in {"gru": "z", "lstm": "f"}.get(name, "")]
