"""Parameters of a sequence network: one flat buffer with named views, like that of the streaming network.

Widths are padded to whole vectors of 16; inputs in the padding are zero.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.initial_weights import gate_lanes, orthogonal_gates, remembering_gates
from forecaster.kernels.buffers import padded_width
from forecaster.network.layer import CELLS
from forecaster.sequences.config import SequenceConfig


@dataclass(frozen=True)
class SequenceLayout:
    """All sizes and offsets that follow from a `SequenceConfig`.

    Attributes:
        config: the configuration.
        layers: recurrent layers (0 for cell "none"). states: state variables per unit (2 for the LSTM).
        n_in: inputs of the first layer: embedding, features, padding. n_decoder: those of the decoder: its previous
            output (an embedded class, or values), known future values, padding.
        n_fed: size of the decoder's previous output. n_top: inputs of the head.
        n_raw: outputs of the head. n_out: the same, padded.
        tensors: name -> (offset, shape). n_params: length of the buffer.
    """

    config: SequenceConfig
    layers: int
    states: int
    n_in: int
    n_decoder: int
    n_fed: int
    n_top: int
    n_raw: int
    n_out: int
    tensors: dict[str, tuple[int, tuple[int, ...]]]
    n_params: int

    def views(self, flat: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Returns named views of a flat buffer of `n_params` numbers (parameters, gradients, moments)."""
        return {name: flat[at : at + math.prod(shape)].reshape(shape) for name, (at, shape) in self.tensors.items()}

    def at(self, name: str) -> int:
        """Returns the offset of a tensor."""
        return self.tensors[name][0]

    def inputs(self, stack: str) -> tuple[int, int]:
        """Returns the number of inputs of the first layer of "encoder" or "decoder", without and with padding."""
        c = self.config
        if stack == "decoder":
            return self.n_fed + c.future, self.n_decoder
        return (c.embedding if c.symbols else 0) + c.features, self.n_in

    @property
    def state_shape(self) -> tuple[int, int]:
        """Returns the number of layers and the state size per layer of one sequence."""
        return self.layers, self.states * self.config.hidden_size


@functools.lru_cache(maxsize=64)
def sequence_layout_of(config: SequenceConfig) -> SequenceLayout:
    """Returns the layout of a configuration."""
    c, cell = config, CELLS.get(config.cell)
    layers, H = (c.layers, c.hidden_size) if cell else (0, 0)
    states = cell.STATES if cell else 1
    n_in = padded_width((c.embedding if c.symbols else 0) + c.features)
    n_raw = len(c.quantiles) if c.output == "quantiles" else c.outputs
    n_fed = {"classes": c.embedding, "values": c.outputs, "quantiles": 1}[c.output]
    n_decoder, n_top, n_out = padded_width(n_fed + c.future), H or n_in, padded_width(n_raw)

    wanted: dict[str, tuple[int, ...]] = {}
    if c.symbols:
        wanted["embedding"] = (c.symbols, c.embedding)
    stacks = {"encoder": n_in} | ({"decoder": n_decoder} if c.task == "decode" else {})
    for stack, width in stacks.items():
        for i in range(layers):
            assert cell is not None
            wanted[f"{stack}.layer{i}.wh"] = (H // 16, H, 16 * cell.H_VECTORS)
            wanted[f"{stack}.layer{i}.wx"] = (H // 16, H if i else width, 16 * cell.X_VECTORS)
            wanted[f"{stack}.layer{i}.bias"] = (H // 16, 16 * cell.STRIP)
            if c.layer_norm:
                wanted |= {f"{stack}.layer{i}.gain": (H,), f"{stack}.layer{i}.shift": (H,)}
    if c.initial == "learnt" and layers:
        wanted["encoder.initial"] = (layers, states * H)
    if c.task == "decode" and c.output == "classes":
        wanted["decoder.embedding"] = (c.outputs + 1, c.embedding)  # the last one is the start symbol
    if c.head_size:
        wanted |= {"head.A": (n_top, c.head_size), "head.c": (c.head_size,)}
    wanted |= {"head.O": (c.head_size or n_top, n_out), "head.d": (n_out,)}
    tensors, at = {}, 0
    for name, size in wanted.items():
        tensors[name] = (at, size)
        at += padded_width(math.prod(size))  # kernels read whole vectors
    return SequenceLayout(c, layers, states, n_in, n_decoder, n_fed, n_top, n_raw, n_out, tensors, at)


def initial_sequence_params(config: SequenceConfig) -> NDArray[np.float32]:
    """Returns seeded initial parameters.

    Recurrent matrices are orthogonal per gate (Saxe et al. 2014), input and head matrices uniform in 1/sqrt(n), biases
    zero except for the forget gate of the LSTM and the update gate of the GRU (1: remember), embeddings normal. With
    `memory` T these gates start at log(u), u uniform from 1 to T - 1, and the LSTM's input gate at minus that (Tallec
    and Ollivier 2018, "chrono initialisation": a gate at log(u) forgets a share 1 / (1 + u) per step).
    """
    layout, rng = sequence_layout_of(config), np.random.default_rng(config.seed)
    flat = np.zeros(layout.n_params, np.float32)
    cell: Any = CELLS.get(config.cell)
    for name, view in layout.views(flat).items():
        kind = name.rsplit(".", 1)[-1]
        if kind == "embedding":
            view[...] = rng.normal(size=view.shape)
        elif kind == "wh":
            orthogonal_gates(view, rng)
        elif kind in {"wx", "A", "O"}:
            n = view.shape[1] if kind == "wx" else view.shape[0]
            view[...] = rng.uniform(-1, 1, view.shape) / math.sqrt(n)
        elif kind == "gain":
            view[...] = 1.0
        elif kind == "bias":
            spread = np.log(rng.uniform(1.0, max(1.0, config.memory - 1.0), (view.shape[0], 16)))
            keep = spread if config.memory else 1.0
            for lanes in remembering_gates(config.cell, cell):
                view[:, lanes] = keep
            if config.cell == "lstm" and config.memory:
                view[:, gate_lanes(cell, "i")] = -spread
    head = layout.views(flat)["head.O"]
    head[:, layout.n_raw :] = 0.0
    return flat
