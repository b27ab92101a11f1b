"""What the benchmarks share: the multiply-add peak of this core, a bare recurrent step, its peers."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster import Model, ModelConfig
from forecaster._jit import TILE, kernel, product
from forecaster._simd import load, store
from forecaster.cells.layer import CELLS, CODES, layer_step

INPUTS = 8
PEAK_DEPTH = 1_000_000


@kernel
def _peak(acc: Any, x: Any, w: Any) -> None:
    product(TILE, 3, acc, 0, 48, x, 0, 0, 0, w, 0, 0, PEAK_DEPTH)


@functools.cache
def peak_flops() -> float:
    """Multiply-adds in registers, two operations each, per second: the best of thirty tries on this core."""
    acc, x, w = np.zeros(TILE * 48, np.float32), np.zeros(16, np.float32), np.ones(48, np.float32)
    _peak(acc, x, w)
    best = np.inf
    for _ in range(30):
        start = time.perf_counter()
        _peak(acc, x, w)
        best = min(best, time.perf_counter() - start)
    return 2 * TILE * 48 * PEAK_DEPTH / best


def step_flops(cell: str, hidden: int) -> int:
    """Operations of the products of one step."""
    return 2 * len([gate for gate in CELLS[cell].ORDER_B if gate not in {"", "nx"}]) * hidden * (hidden + INPUTS)


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
    return np.random.default_rng(0).normal(size=n).astype(np.float32) / np.sqrt(np.float32(hidden))


def numpy_gru(hidden: int) -> Callable[[Any, Any], Any]:
    """The GRU step of a person who knows numpy: (B, H), (B, INPUTS) -> (B, H)."""
    rng = np.random.default_rng(0)
    Wx, Wh = (rng.normal(size=(n, 3 * hidden)).astype(np.float32) / 8 for n in (INPUTS, hidden))
    b = np.zeros(3 * hidden, np.float32)

    def step(h: Any, x: Any) -> Any:
        gx, gh = x @ Wx + b, h @ Wh
        r = 1 / (1 + np.exp(-(gx[:, :hidden] + gh[:, :hidden])))
        z = 1 / (1 + np.exp(-(gx[:, hidden : 2 * hidden] + gh[:, hidden : 2 * hidden])))
        n = np.tanh(gx[:, 2 * hidden :] + r * gh[:, 2 * hidden :])
        return n + z * (h - n)

    return step


def torch_gru(hidden: int) -> Callable[[Any, Any], Any]:
    """`torch.nn.GRUCell`, one thread; raises ImportError without PyTorch."""
    import torch

    torch.set_num_threads(1)
    cell = torch.nn.GRUCell(INPUTS, hidden)

    def step(h: Any, x: Any) -> Any:
        with torch.inference_mode():
            return cell(torch.from_numpy(x), torch.from_numpy(h)).numpy()

    return step


def onnx_gru(hidden: int) -> Callable[[Any, Any], Any]:
    """An ONNX GRU of sequence length 1 in onnxruntime, one thread; raises ImportError without onnx and onnxruntime."""
    import onnx
    import onnxruntime

    rng = np.random.default_rng(0)
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    weights = {
        "W": rng.normal(size=(1, 3 * hidden, INPUTS)).astype(np.float32) / 8,
        "R": rng.normal(size=(1, 3 * hidden, hidden)).astype(np.float32) / 8,
    }
    node = helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["", "y"], hidden_size=hidden, linear_before_reset=1)
    graph = helper.make_graph(
        [node], "step",
        [
            helper.make_tensor_value_info("x", floats, [1, None, INPUTS]),
            helper.make_tensor_value_info("h", floats, [1, None, hidden]),
        ],
        [helper.make_tensor_value_info("y", floats, [1, None, hidden])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda h, x: session.run(["y"], {"x": x[None], "h": h[None]})[0][0]


def config(hidden: int, **more: Any) -> ModelConfig:
    """A network as it would serve: a GRU, 24 horizons, a daily season, calendar."""
    return ModelConfig(hidden_size=hidden, horizon=24, seasons=(24,), interval_ms=60_000, **more)


def model(hidden: int, **more: Any) -> Model:
    """The same, seeded."""
    return Model.initial(config(hidden, **more))
