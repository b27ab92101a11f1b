"""Stacks, head, loss and truncated gradients against PyTorch, whose numbers make_goldens.py wrote into goldens.npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cases
import golden_inputs as gi
import numpy as np
import pytest
from naive import unpack
from numpy.typing import NDArray

from forecaster.cells.layer import CELLS
from forecaster.features import N_STATISTICS
from forecaster.network import Shape, shape_of
from forecaster.training.tbptt import Chunk
from forecaster.training.windows import Dataset, Windows

GOLDENS = dict(np.load(Path(__file__).with_name("goldens.npz")))

# Float64 differs from torch by the order of its sums only; float32 by its own rounding over 7 steps and 3 layers, and
# by the rational tanh (3e-7). Both relative to the largest number of the tensor.
TOLERANCE = {np.float64: 1e-11, np.float32: 2e-5}
IN_FLOAT64 = [(cell, depth, np.float64) for cell, depth in gi.CASES]
IN_FLOAT32 = [("gru", 1, np.float32), ("lstm", 1, np.float32)]


def pack(shape: Shape, cell: str, torch_weights: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Torch's weights in the kernels' packing: gates in each cell's own order, blocks of sixteen units."""
    flat = np.zeros(shape.n_params)
    view, gates, H = shape.views(flat), gi.GATES[cell], shape.hidden
    module: Any = CELLS[cell]

    def put(target: NDArray[Any], order: tuple[str, ...], rows: dict[str, NDArray[Any]]) -> None:
        for g, gate in enumerate(order):
            for u in range(H):
                if gate:
                    target[u // 16, ..., g * 16 + u % 16] = rows[gate][u]

    for i in range(shape.layers):
        named = {
            kind: dict(zip(gates, torch_weights[f"{kind}_l{i}"].reshape(len(gates), H, -1), strict=True))
            for kind in ("weight_hh", "weight_ih", "bias_ih", "bias_hh")
        }
        put(view[f"layer{i}.wh"], module.ORDER_H, named["weight_hh"])
        put(view[f"layer{i}.wx"], module.ORDER_X, named["weight_ih"])
        bias = {gate: (named["bias_ih"][gate] + named["bias_hh"][gate])[:, 0] for gate in gates}
        if cell == "gru":
            bias |= {"nh": named["bias_hh"]["n"][:, 0], "nx": named["bias_ih"]["n"][:, 0]}
        put(view[f"layer{i}.bias"], module.ORDER_B, bias)
    for name in "ABc":
        view[f"head.{name}"][...] = torch_weights[name]
    for name in "OLd":
        view[f"head.{name}"][..., : shape.n_q] = torch_weights[name]
    return flat


def torch_gradients(shape: Shape, cell: str, gradient: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The packed gradient under torch's names, gates stacked in torch's order."""
    plain, gates = unpack(shape, gradient), gi.GATES[cell]
    out = {name: plain[f"head.{name}"] for name in "ABcOLd"}
    for i in range(shape.layers):
        out[f"weight_hh_l{i}"] = np.concatenate([plain[f"layer{i}.Wh.{gate}"] for gate in gates])
        out[f"weight_ih_l{i}"] = np.concatenate([plain[f"layer{i}.Wx.{gate}"] for gate in gates])
        for side, n in (("ih", "nx"), ("hh", "nh")):
            names = [n if cell == "gru" and gate == "n" else gate for gate in gates]
            out[f"bias_{side}_l{i}"] = np.concatenate([plain[f"layer{i}.b.{gate}"] for gate in names])
    return out


def dataset_of(data: dict[str, NDArray[Any]]) -> Dataset:
    """The golden's series as the trainer would hold them."""
    streams, length = data["y"].shape
    stats = np.zeros((streams, length, N_STATISTICS))
    for column, name in enumerate(("level", "scale", "last")):
        stats[:, :, column] = data[name]
    start = np.repeat(np.arange(streams) * length, length)
    return Dataset(
        x=data["x"].reshape(streams * length, -1), y=data["y"].ravel(),
        ts=np.tile(np.arange(length) * cases.STEP_MS, streams), stats=stats.reshape(streams * length, -1), start=start,
        end=start + length, interval=np.full(streams * length, cases.STEP_MS),
        segment=np.array([[s * length, (s + 1) * length] for s in range(streams)]), cutoff_ms=1 << 60,
    )  # fmt: skip


class Run:
    """Both chunks of a golden through the library: what each left behind, under the golden's names."""

    def __init__(self, cell: str, depth: int, dtype: type) -> None:
        shape = shape_of(cases.plain(cell, depth))
        assert (shape.n_x, shape.n_f, shape.config.horizon) == (gi.N_X, gi.N_F, gi.HORIZON)
        data, H = gi.inputs(cell, depth), shape.hidden
        params = pack(shape, cell, gi.weights(cell, depth)).astype(dtype)
        chunk = Chunk(shape, gi.STREAMS, gi.K2, dtype)
        chunk.carried[..., :H] = data["h"]
        if cell == "lstm":
            chunk.carried[..., H:] = data["c"]
        offset = np.arange(gi.STREAMS) * gi.LENGTH
        self.chunks = []
        for number in (0, 1):
            windows = Windows(
                gi.FIRST[number] + offset, gi.STEPS[number], gi.LOSS_FROM[number], np.minimum(gi.LIMIT, 26) + offset
            )
            before = chunk.carried.copy()
            quiet = chunk.run(params, dataset_of(data), windows, gi.K1, learn=False)
            slots = chunk._head[2].reshape(gi.HORIZON, -1)[:, : shape.n_q].astype(np.float64)
            chunk.carried[...] = before
            loss, _, count = chunk.run(params, dataset_of(data), windows, gi.K1, learn=True)
            assert (loss, count) == (quiet[0], quiet[2]), "learning changes the loss it learns from"
            above = shape.n_q - 1 - shape.config.quantiles.index(0.5)
            up = slots[:, :1] + np.cumsum(slots[:, 1 : above + 1], 1)
            down = slots[:, :1] - np.cumsum(slots[:, above + 1 :], 1)
            found = {
                "loss": np.array([loss, count]),
                "quantiles": np.concatenate([down[:, ::-1], slots[:, :1], up], 1),
                "h": chunk.carried[..., :H],
                "cells": chunk.carried[..., H:],
            } | torch_gradients(shape, cell, chunk.gradient.astype(np.float64))
            self.chunks.append(gi.parts(cell, depth, gi.flat(cell, depth, found)))


_RUNS: dict[tuple[str, int, type], Run] = {}


@pytest.fixture
def run(cell: str, depth: int, dtype: type) -> Run:
    """Each case runs once for all tests."""
    key = (cell, depth, dtype)
    if key not in _RUNS:
        _RUNS[key] = Run(cell, depth, dtype)
    return _RUNS[key]


@pytest.mark.parametrize(("cell", "depth", "dtype"), IN_FLOAT64 + IN_FLOAT32)
@pytest.mark.parametrize("number", [0, 1], ids=["from a given state", "from the carried state"])
class TestGoldens:
    """Each cell and depth, on the first chunk and on the one that goes on from the state after k1 < k2 steps."""

    FORWARD = ("loss", "quantiles", "h", "cells")

    def _agree(self, run: Run, number: int, cell: str, depth: int, dtype: type, *, forward: bool) -> None:
        golden = gi.parts(cell, depth, GOLDENS[f"{cell}{depth}.{number}"])
        checked = 0
        for name, expected in golden.items():
            if (name in self.FORWARD) != forward:
                continue
            actual = run.chunks[number][name]
            assert np.isfinite(actual).all(), name
            assert np.isfinite(expected).all(), name
            largest = np.abs(expected).max()
            assert largest > 0, f"{name}: a golden of zeros proves nothing"
            np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * largest, err_msg=name)
            checked += 1
        assert checked >= (3 if forward else 6 + 3 * depth)

    def test_forward(self, run: Run, number: int, cell: str, depth: int, dtype: type) -> None:
        """Hidden states, quantiles, loss and number of targets are torch's."""
        self._agree(run, number, cell, depth, dtype, forward=True)

    def test_gradients(self, run: Run, number: int, cell: str, depth: int, dtype: type) -> None:
        """The gradient of every weight and bias is torch's."""
        self._agree(run, number, cell, depth, dtype, forward=False)
