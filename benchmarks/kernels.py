"""What the benchmarks share: the multiply-add peak of this core, a bare recurrent step, its peers."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from forecaster import Model, ModelConfig
from forecaster.inspection.speed import INPUTS, bare_step, peak_work, random_parameters, step_operations


@functools.cache
def peak_flops() -> float:
    """Multiply-adds in registers, two operations each, per second: the best of thirty tries on this core."""
    call, work = peak_work()
    call()
    best = np.inf
    for _ in range(30):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return work / best


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


step_flops = step_operations

__all__ = [
    "INPUTS", "bare_step", "config", "model", "numpy_gru", "onnx_gru", "peak_flops", "random_parameters", "step_flops",
    "torch_gru",
]  # fmt: skip


def config(hidden: int, **more: Any) -> ModelConfig:
    """A network as it would serve: a GRU, 24 horizons, a daily season, calendar."""
    return ModelConfig(hidden_size=hidden, horizon=24, seasons=(24,), interval_ms=60_000, **more)


def model(hidden: int, **more: Any) -> Model:
    """The same, seeded."""
    return Model.initial(config(hidden, **more))
