"""Exports a network as an ONNX graph: one step of the recurrent stack, followed by the head, for any runtime.

Inputs, B rows at once, float32:

    x      (B, n_x)           features of the step, see step_inputs.py
    f      (B, horizon, n_f)  features of the head per horizon
    ref    (B,)               the series' last value
    scale  (B,)               the series' running scale
    h{i}   (B, H)             hidden state of layer i; also c{i} for the LSTM; zeros at first

Outputs: `h{i}_new` (and `c{i}_new`), inputs of the next step, and `quantiles` (B, horizon, Q) = ref + scale * head.
The graph contains neither simple experts nor calibration: its forecasts are those of a network alone
(`mixture = false`), within 2e-5 of the scale, the difference between two tanh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError
from forecaster.interop.optional import optional
from forecaster.interop.torch_weights import stacked
from forecaster.model import Model
from forecaster.network.quantile_output import cumulation

OPSET, IR_VERSION = 17, 9  # of 2022: supported by all recent runtimes
# Operator of a cell; its gates in ONNX's order, as positions in PyTorch's order.
OPERATORS = {"elman": ("RNN", (0,)), "gru": ("GRU", (1, 0, 2)), "lstm": ("LSTM", (0, 3, 1, 2))}


class _Graph:
    """Collects nodes, constants, inputs and outputs of the graph."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, list(outputs), **attributes))
        return outputs[0]

    def _value(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, ["B", *shape])

    def input(self, name: str, *shape: int) -> str:
        self.inputs.append(self._value(name, shape))
        return name

    def output(self, name: str, *shape: int) -> None:
        self.outputs.append(self._value(name, shape))


def export_onnx(model: Model, path: Path | str | None = None) -> Any:
    """Builds the graph, checks it and writes it to a file.

    Args:
        model: the network.
        path: the file; None: the graph is only returned.

    Returns:
        The `onnx.ModelProto`.

    Raises:
        MissingExtraError: onnx is not installed.
        ConfigError: a decoder without inputs, as there is neither a season nor a calendar.
        OSError: the file could not be written.
    """
    if model.config.head == "decoder" and not model.layout.head_columns[2]:
        raise ConfigError("seasons", (), "a season or the calendar: ONNX has no GRU without inputs")
    onnx = optional("onnx", "onnx")
    optional("onnx.checker", "onnx")
    graph = _Graph(onnx)
    _head(graph, model, _layers(graph, model))
    helper = onnx.helper
    made = helper.make_model(
        helper.make_graph(graph.nodes, "forecaster", graph.inputs, graph.outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="forecaster",
    )
    helper.set_model_props(made, {"sha256": model.sha256, "quantiles": ",".join(map(str, model.config.quantiles))})
    onnx.checker.check_model(made)
    if path is not None:
        Path(path).write_bytes(made.SerializeToString())
    return made


def _layers(graph: _Graph, model: Model) -> str:
    """Adds the recurrent stack; returns the name of the head's input, (B, n_top)."""
    layout = model.layout
    top = graph.input("x", layout.n_x)
    if not layout.layers:
        return top
    operator, _ = OPERATORS[model.config.cell]
    axis = graph.constant("first_axis", np.array([0], np.int64))
    top = graph.node("Unsqueeze", [top, axis], "x_sequence")  # (1, B, n_x): a sequence of one step
    attributes = {"hidden_size": layout.hidden} | ({"linear_before_reset": 1} if operator == "GRU" else {})
    for i in range(layout.layers):
        weights = _weights(graph, model, model.config.cell, f"layer{i}")
        states, new = [f"h{i}"], [f"h{i}_last"]
        if model.config.cell == "lstm":
            states, new = [*states, f"c{i}"], [*new, f"c{i}_last"]
        given = [graph.node("Unsqueeze", [graph.input(s, layout.hidden), axis], f"{s}_sequence") for s in states]
        graph.node(operator, [top, *weights, "", *given], f"y{i}", *new, **attributes)
        top = new[0]  # (1, B, H)
        for state, last in zip(states, new, strict=True):
            graph.node("Squeeze", [last, axis], f"{state}_new")
            graph.output(f"{state}_new", layout.hidden)
    return graph.node("Squeeze", [top, axis], "top")


def _weights(graph: _Graph, model: Model, cell: str, layer: str) -> list[str]:
    """Adds the weights of one layer in the operator's order of gates; returns the names of W, R and B."""
    order, torch = OPERATORS[cell][1], stacked(model, cell, layer)
    own = {}
    for kind, value in torch.items():
        gates = np.split(value, len(order))
        own[kind] = np.concatenate([gates[g] for g in order])
    bias = np.concatenate([own["bias_ih"], own["bias_hh"]])
    parts = {"W": own["weight_ih"], "R": own["weight_hh"], "B": bias}
    return [graph.constant(f"{layer}_{name}", value[None]) for name, value in parts.items()]


def _decoded(graph: _Graph, model: Model, f: str, moment_weight: str, shared: str) -> str:
    """Adds the decoder's cell over the horizon; returns the name of its states (B, horizon, Z)."""
    place, moment, target, date = model.layout.head_columns

    def integers(name: str, *numbers: int) -> str:
        return graph.constant(name, np.array(numbers, np.int64))

    first, middle, last = integers("first", 0), integers("middle", 1), integers("last", 2)
    begin, end = integers("moment_begin", place), integers("moment_end", place + moment)
    m = graph.node("Slice", [f, begin, end, last], "f_moment")  # the same for every horizon
    m = graph.node("Squeeze", [graph.node("Slice", [m, first, middle, middle], "f_first"), middle], "moment")
    start = graph.node("Add", [graph.node("MatMul", [m, moment_weight], "Bm"), shared], "z_start")
    g = graph.node("Slice", [f, end, integers("target_end", place + moment + target + date), last], "f_target")
    g = graph.node("Transpose", [g], "targets", perm=[1, 0, 2])  # (horizon, B, n_g): a sequence
    weights = _weights(graph, model, "gru", "head")
    start = graph.node("Unsqueeze", [start, first], "z_start_sequence")
    size = model.config.head_size
    z = graph.node("GRU", [g, *weights, "", start], "decoded", "decoded_last", hidden_size=size, linear_before_reset=1)
    return graph.node("Transpose", [graph.node("Squeeze", [z, middle], "decoded_sequence")], "z", perm=[1, 0, 2])


def _head(graph: _Graph, model: Model, top: str) -> None:
    """Adds the equations of network/direct_head.py or network/decoder_head.py, and of network/quantile_output.py."""
    layout, config = model.layout, model.config
    view, n_q = layout.views(model.params), layout.n_q
    f = graph.input("f", config.horizon, layout.n_f)
    weight = {name: graph.constant(name, view[f"head.{name}"]) for name in "ABc"}
    weight |= {name: graph.constant(name, view[f"head.{name}"][..., :n_q]) for name in "OLd"}
    shared = graph.node("Add", [graph.node("MatMul", [top, weight["A"]], "At"), weight["c"]], "At_c")
    if config.head == "decoder":
        z = _decoded(graph, model, f, weight["B"], shared)
    else:
        middle = graph.constant("middle_axis", np.array([1], np.int64))
        shared = graph.node("Unsqueeze", [shared, middle], "shared")  # (B, 1, Z)
        z = graph.node("Add", [graph.node("MatMul", [f, weight["B"]], "Bf"), shared], "z_sum")
        z = graph.node("Relu", [z], "z")
    o = graph.node(
        "Add", [graph.node("MatMul", [z, weight["O"]], "Oz"), graph.node("MatMul", [f, weight["L"]], "Lf")], "o_sum"
    )
    o = graph.node("Add", [o, weight["d"]], "o")
    square = graph.node(
        "Add", [graph.node("Mul", [o, o], "oo"), graph.constant("four", np.array([4.0], np.float32))], "oo4"
    )
    plus = graph.node("Add", [o, graph.node("Sqrt", [square], "root")], "plus")
    plus = graph.node("Mul", [plus, graph.constant("half", np.array([0.5], np.float32))], "squareplus")
    median = graph.constant("median", np.arange(n_q) == 0)  # slot 0
    s = graph.node("Where", [median, o, plus], "s")
    tri = graph.constant("cumulation", cumulation(config.quantiles, n_q))
    q = graph.node("MatMul", [s, tri], "q")
    axes = graph.constant("last_axes", np.array([1, 2], np.int64))
    ref, scale = (graph.node("Unsqueeze", [graph.input(name), axes], f"{name}3") for name in ("ref", "scale"))
    graph.node("Add", [graph.node("Mul", [q, scale], "scaled"), ref], "quantiles")
    graph.output("quantiles", config.horizon, n_q)
