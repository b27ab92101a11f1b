"""Stacks, heads, loss and truncated gradients against PyTorch's numbers in goldens.npz (make_goldens.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cases
import golden_inputs as gi
import numpy as np
import pytest
from naive_network import unpack
from numpy.typing import NDArray

from forecaster.features.step_inputs import N_STATISTICS
from forecaster.layout import Layout, layout_of
from forecaster.network.layer import CELLS
from forecaster.training.dataset import Dataset, Windows
from forecaster.training.tbptt import Chunk

GOLDENS = dict(np.load(Path(__file__).with_name("goldens.npz")))

# Float64 differs from torch only by the order of sums; float32 by its rounding over 7 steps and 3 layers, and by the
# rational tanh (3e-7). Both limits are relative to the largest number of the tensor.
TOLERANCE = {np.float64: 1e-11, np.float32: 2e-5}
IN_FLOAT64 = [(case, np.float64) for case in gi.CASES]
IN_FLOAT32 = [(case, np.float32) for case in gi.CASES if case.name in {"gru1", "lstm1", "gru1-decoder"}]
ALL = [pytest.param(case, dtype, id=f"{case.name}-{dtype.__name__}") for case, dtype in IN_FLOAT64 + IN_FLOAT32]


def layout_for(case: gi.Case) -> Layout:
    """Returns the library's layout for a golden."""
    config = cases.plain(case.cell, case.depth, case.head)
    return layout_of(replace(config, seasons=case.seasons, future_covariates=("a", "b")[: case.futures]))


def library_layers(case: gi.Case) -> dict[str, tuple[str, str]]:
    """Returns the suffix of torch's tensor names of a layer -> the library's layer name, its cell."""
    return {place: ("head" if place == "decoder" else f"layer{place[1:]}", cell) for place, cell in case.cells.items()}


def pack(layout: Layout, case: gi.Case, torch_weights: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Packs torch's weights like the kernels: gates in each cell's own order, blocks of sixteen units."""
    flat = np.zeros(layout.n_params)
    view = layout.views(flat)

    def put(target: NDArray[Any], order: tuple[str, ...], rows: dict[str, NDArray[Any]]) -> None:
        for g, gate in enumerate(order):
            for u in range(16 * len(target)):
                if gate:
                    target[u // 16, ..., g * 16 + u % 16] = rows[gate][u]

    for place, (layer, cell) in library_layers(case).items():
        gates, module = gi.GATES[cell], cast("Any", CELLS[cell])
        named = {
            kind: dict(zip(gates, np.split(torch_weights[f"{kind}_{place}"], len(gates)), strict=True))
            for kind in ("weight_hh", "weight_ih", "bias_ih", "bias_hh")
        }
        put(view[f"{layer}.wh"], module.ORDER_H, named["weight_hh"])
        put(view[f"{layer}.wx"], module.ORDER_X, named["weight_ih"])
        bias = {gate: named["bias_ih"][gate] + named["bias_hh"][gate] for gate in gates}
        if cell == "gru":
            bias |= {"nh": named["bias_hh"]["n"], "nx": named["bias_ih"]["n"]}
        put(view[f"{layer}.bias"], module.ORDER_B, bias)
    for name in "ABc":
        view[f"head.{name}"][...] = torch_weights[name]
    for name in "OLd":
        view[f"head.{name}"][..., : layout.n_q] = torch_weights[name]
    return flat


def torch_gradients(layout: Layout, case: gi.Case, gradient: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Returns the packed gradient under torch's names, gates stacked in torch's order."""
    plain = unpack(layout, gradient)
    out = {name: plain[f"head.{name}"] for name in "ABcOLd"}
    for place, (layer, cell) in library_layers(case).items():
        gates = gi.GATES[cell]
        out[f"weight_hh_{place}"] = np.concatenate([plain[f"{layer}.Wh.{gate}"] for gate in gates])
        out[f"weight_ih_{place}"] = np.concatenate([plain[f"{layer}.Wx.{gate}"] for gate in gates])
        for side, n in (("ih", "nx"), ("hh", "nh")):
            names = [n if cell == "gru" and gate == "n" else gate for gate in gates]
            out[f"bias_{side}_{place}"] = np.concatenate([plain[f"{layer}.b.{gate}"] for gate in names])
    return out


def dataset_of(data: dict[str, NDArray[Any]]) -> Dataset:
    """Returns the golden's series as a training data set."""
    streams, length = data["y"].shape
    stats = np.zeros((streams, length, N_STATISTICS))
    for column, name in enumerate(("level", "scale", "last")):
        stats[:, :, column] = data[name]
    start = np.repeat(np.arange(streams) * length, length)
    ahead = {}
    if "future" in data:
        both = np.stack([data["future_level"], data["future_scale"]], 3)
        ahead = {
            "future": data["future"].ravel(), "future_at": np.arange(start.size) * data["future"][0, 0].size,
            "since": data["since"].ravel(), "future_stats": both.reshape(streams * length, -1),
        }  # fmt: skip
    return Dataset(
        x=data["x"].reshape(streams * length, -1), y=data["y"].ravel(),
        ts=np.tile(np.arange(length) * cases.STEP_MS, streams), stats=stats.reshape(streams * length, -1), start=start,
        end=start + length, interval=np.full(streams * length, cases.STEP_MS),
        segment=np.array([[s * length, (s + 1) * length] for s in range(streams)]), cutoff_ms=1 << 60, **ahead,
    )  # fmt: skip


class Run:
    """Both chunks of a golden through the library: the results of each, under the golden's names."""

    def __init__(self, case: gi.Case, dtype: type) -> None:
        layout = layout_for(case)
        assert (layout.n_x, layout.n_f, layout.config.horizon) == (case.n_x, case.n_f, gi.HORIZON)
        data, H = gi.inputs(case), layout.hidden
        params = pack(layout, case, gi.weights(case)).astype(dtype)
        chunk = Chunk(layout, gi.STREAMS, gi.K2, dtype)
        chunk.carried[..., :H] = data["h"]
        if case.cell == "lstm":
            chunk.carried[..., H:] = data["c"]
        offset = np.arange(gi.STREAMS) * gi.LENGTH
        self.chunks = []
        for number in (0, 1):
            windows = Windows(
                gi.FIRST[number] + offset, gi.STEPS[number], gi.LOSS_FROM[number], np.minimum(gi.LIMIT, 26) + offset
            )
            before = chunk.carried.copy()
            quiet = chunk.run(params, dataset_of(data), windows, gi.K1, learn=False)
            slots = chunk.slots.reshape(gi.HORIZON, -1)[:, : layout.n_q].astype(np.float64)
            chunk.carried[...] = before
            loss, _, count = chunk.run(params, dataset_of(data), windows, gi.K1, learn=True)
            assert (loss, count) == (quiet[0], quiet[2]), "learning changes the loss it learns from"
            above = layout.n_q - 1 - layout.config.quantiles.index(0.5)
            up = slots[:, :1] + np.cumsum(slots[:, 1 : above + 1], 1)
            down = slots[:, :1] - np.cumsum(slots[:, above + 1 :], 1)
            found = {
                "loss": np.array([loss, count]),
                "quantiles": np.concatenate([down[:, ::-1], slots[:, :1], up], 1),
                "h": chunk.carried[..., :H],
                "cells": chunk.carried[..., H:],
            } | torch_gradients(layout, case, chunk.gradient.astype(np.float64))
            self.chunks.append(gi.parts(case, gi.flat(case, found)))


_RUNS: dict[tuple[gi.Case, type], Run] = {}


@pytest.fixture
def run(case: gi.Case, dtype: type) -> Run:
    """Runs each case once for all tests."""
    if (case, dtype) not in _RUNS:
        _RUNS[case, dtype] = Run(case, dtype)
    return _RUNS[case, dtype]


@pytest.mark.parametrize(("case", "dtype"), ALL)
@pytest.mark.parametrize("number", [0, 1], ids=["from a given state", "from the carried state"])
class TestGoldens:
    """Each cell, depth and head, on the first chunk and on one that continues from the state after k1 < k2 steps."""

    FORWARD = ("loss", "quantiles", "h", "cells")

    def _agree(self, run: Run, number: int, case: gi.Case, dtype: type, *, forward: bool) -> None:
        golden = gi.parts(case, GOLDENS[f"{case.name}.{number}"])
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
        assert checked >= (3 if forward else 6 + 3 * len(case.cells))

    def test_forward(self, run: Run, number: int, case: gi.Case, dtype: type) -> None:
        """Hidden states, quantiles, loss and number of targets equal those of torch."""
        self._agree(run, number, case, dtype, forward=True)

    def test_gradients(self, run: Run, number: int, case: gi.Case, dtype: type) -> None:
        """The gradient of every weight and bias equals that of torch."""
        self._agree(run, number, case, dtype, forward=False)
