"""Converts recurrent weights to and from state dicts of PyTorch's `nn.RNN`, `nn.GRU` and `nn.LSTM`.

    weight_ih_l{i} (G*H, n_in)   weight_hh_l{i} (G*H, H)   bias_ih_l{i}, bias_hh_l{i} (G*H)

with the gates stacked as PyTorch does: RNN (h), GRU (r, z, n), LSTM (i, f, g, o). PyTorch itself is not needed: values
are numpy arrays, and tensors are accepted. Where only the sum of PyTorch's two biases matters, the first is exported as
the sum and the second as zero; the GRU's candidate needs both and keeps both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig
from forecaster.errors import ConfigError
from forecaster.layout import Layout
from forecaster.model import Model
from forecaster.network.layer import CELLS

GATES = {"elman": ("h",), "gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _cell(config: ModelConfig) -> Any:
    if config.cell not in GATES:
        raise ConfigError("cell", config.cell, f"a recurrent one: {', '.join(GATES)}")
    return CELLS[config.cell]


def _gates(packed: NDArray[Any], order: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Unpacks (blocks, ..., 16*len(order)) to one array (H, ...) per gate, units first."""
    units = packed.reshape(*packed.shape[:-1], len(order), 16)
    return {
        gate: np.moveaxis(units[..., g, :], -1, 1).reshape(-1, *packed.shape[1:-1])
        for g, gate in enumerate(order)
        if gate
    }


def _pack(target: NDArray[Any], order: tuple[str, ...], rows: Mapping[str, NDArray[Any]]) -> None:
    """Packs gates into `target`; the inverse of `_gates`."""
    for g, gate in enumerate(order):
        if gate:
            blocks = rows[gate].reshape(target.shape[0], 16, *target.shape[1:-1])
            target[..., g * 16 : (g + 1) * 16] = np.moveaxis(blocks, 1, -1)


def to_torch(model: Model) -> dict[str, NDArray[np.float32]]:
    """Returns the recurrent layers of a model as a state dict of arrays in the shapes that torch has.

    Use: `module.load_state_dict({name: torch.from_numpy(array) for ...})`.

    Raises:
        ConfigError: the network has no recurrent layer.
    """
    _cell(model.config)
    out: dict[str, NDArray[np.float32]] = {}
    for i in range(model.layout.layers):
        out |= {f"{kind}_l{i}": value for kind, value in stacked(model, model.config.cell, f"layer{i}").items()}
    return out


def stacked(model: Model, name: str, layer: str) -> dict[str, NDArray[np.float32]]:
    """Returns the weights of one layer by kind, gates stacked as PyTorch does.

    Args:
        model: the model.
        name: name of the layer's cell.
        layer: prefix of the tensors: "layer0", ..., or "head" for the decoder's cell.
    """
    cell, names, view = CELLS[name], GATES[name], model.layout.views(model.params)
    hidden = _gates(view[f"{layer}.wh"], cell.ORDER_H)
    inputs = _gates(view[f"{layer}.wx"], cell.ORDER_X)
    bias = _gates(view[f"{layer}.bias"], cell.ORDER_B)
    first = {gate: bias["nx" if name == "gru" and gate == "n" else gate] for gate in names}
    second = {gate: np.zeros_like(value) for gate, value in first.items()}
    if name == "gru":
        second["n"] = bias["nh"]
    return {
        kind: np.concatenate([gates[gate] for gate in names]).astype(np.float32)
        for kind, gates in zip(KINDS, (inputs, hidden, first, second), strict=True)
    }


def from_torch(weights: Mapping[str, Any], model: Model | ModelConfig) -> Model:
    """Returns a model with the recurrent layers of a state dict and all other parameters of `model`.

    Args:
        weights: a state dict; names other than those above raise an error. The inputs of the first layer are those of
            this network, in its order: see docs/model.md.
        model: the source of the head and of the expected sizes.

    Raises:
        ConfigError: weights are missing, unknown or of another shape (all named).
    """
    model = model if isinstance(model, Model) else Model.initial(model)
    cell, names, layout = _cell(model.config), GATES[model.config.cell], model.layout
    arrays = {name: _array(value) for name, value in weights.items()}
    expected = _expected(layout, len(names))
    problems = [f"{name}: unknown" for name in sorted(set(arrays) - set(expected))]
    for name, size in expected.items():
        if name not in arrays:
            problems.append(f"{name}: missing")
        elif arrays[name].shape != size:
            problems.append(f"{name}: {arrays[name].shape} instead of {size}")
    if problems:
        raise ConfigError("weights", "; ".join(problems), f"those of a {model.config.cell} of this size")
    params = model.params.copy()
    view = layout.views(params)
    for i in range(layout.layers):
        inputs, hidden, first, second = (
            dict(zip(names, np.split(arrays[f"{kind}_l{i}"], len(names)), strict=True)) for kind in KINDS
        )
        bias = {gate: first[gate] + second[gate] for gate in names}
        if model.config.cell == "gru":
            bias |= {"nh": second["n"], "nx": first["n"]}
        _pack(view[f"layer{i}.wh"], cell.ORDER_H, hidden)
        _pack(view[f"layer{i}.wx"], cell.ORDER_X, inputs)
        _pack(view[f"layer{i}.bias"], cell.ORDER_B, bias)
    return Model(model.config, params)


def _expected(layout: Layout, gates: int) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    for i in range(layout.layers):
        rows = gates * layout.hidden
        sizes = ((rows, layout.n_x if i == 0 else layout.hidden), (rows, layout.hidden), (rows,), (rows,))
        out |= {f"{kind}_l{i}": size for kind, size in zip(KINDS, sizes, strict=True)}
    return out


def _array(value: Any) -> NDArray[np.float64]:
    value = value.detach().cpu().numpy() if hasattr(value, "detach") else value
    return np.asarray(value, np.float64)
