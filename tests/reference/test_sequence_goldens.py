"""Sequences against PyTorch (make_sequence_goldens.py) and finite differences, for every task and option."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import golden_inputs as gi
import numpy as np
import pytest
import sequence_inputs as si
from numpy.typing import NDArray

from forecaster import SequenceConfig, Sequences
from forecaster.network.layer import CELLS
from forecaster.sequences.layout import SequenceLayout, initial_sequence_params, sequence_layout_of
from forecaster.sequences.network import Network, UnrollSpan, initial_state

GOLDENS = dict(np.load(Path(__file__).with_name("sequence_goldens.npz")))
STEP, WITHIN, ROUNDING, PER_TENSOR = 1e-6, 1e-5, 5e-10, 5  # as in test_gradients.py


def gate_columns(cell: str, tensor: str) -> list[str]:
    """Returns the gates of a packed tensor in the order of its lanes."""
    module: Any = CELLS[cell]
    return list({"wh": module.ORDER_H, "wx": module.ORDER_X, "bias": module.ORDER_B}[tensor])


def torch_name(cell: str, tensor: str, gate: str) -> list[tuple[str, str]]:
    """Returns torch's tensors, and the gate in each, for a packed gate (the sum of two for a bias)."""
    if tensor != "bias":
        return [("weight_hh" if tensor == "wh" else "weight_ih", gate)]
    if cell == "gru" and gate in {"nh", "nx"}:
        return [("bias_hh" if gate == "nh" else "bias_ih", "n")]
    return [("bias_ih", gate), ("bias_hh", gate)]


def packed(layout: SequenceLayout, weights: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Packs weights under torch's names into the library's buffer."""
    flat, cell = np.zeros(layout.n_params), layout.config.cell
    for name, view in layout.views(flat).items():
        stem, _, kind = name.rpartition(".")
        if kind in {"wh", "wx", "bias"}:
            for g, gate in enumerate(gate_columns(cell, kind)):
                for source, torch_gate in torch_name(cell, kind, gate) if gate else []:
                    at = gi.GATES[cell].index(torch_gate) * si.H
                    rows = weights[f"{stem}.{source}"][at : at + si.H]
                    place = view[0, ..., g * 16 : (g + 1) * 16]
                    if kind == "bias":
                        place += rows
                    else:
                        place[: rows.shape[1]] = rows.T
        else:
            whole = weights[name]
            view[tuple(slice(n) for n in whole.shape)] = whole
    return flat


def unpacked(layout: SequenceLayout, gradient: NDArray[Any], like: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the packed gradient under torch's names."""
    out, cell = {name: np.zeros_like(v) for name, v in like.items()}, layout.config.cell
    for name, view in layout.views(gradient).items():
        stem, _, kind = name.rpartition(".")
        if kind in {"wh", "wx", "bias"}:
            for g, gate in enumerate(gate_columns(cell, kind)):
                for source, torch_gate in torch_name(cell, kind, gate) if gate else []:
                    at = gi.GATES[cell].index(torch_gate) * si.H
                    target = out[f"{stem}.{source}"][at : at + si.H]
                    place = view[0, ..., g * 16 : (g + 1) * 16]
                    target[...] = place if kind == "bias" else place[: target.shape[1]].T
        else:
            out[name][...] = view[tuple(slice(n) for n in like[name].shape)]
    return out


class Problem:
    """A golden's chunk as a function of the parameters."""

    def __init__(self, name: str) -> None:
        settings = si.CASES[name]["config"] | si.COMMON
        self.layout = sequence_layout_of(SequenceConfig(**settings))
        data, case = si.inputs(name), si.CASES[name]
        self.data = Sequences(data.get("features"), data.get("symbols"), data["targets"], data.get("future"))
        self.data.check(self.layout.config, learn=True)
        start, stop, loss_from, fresh = case["chunk"]
        forced = np.array(case["forced"]) if "forced" in case else None
        dropped = (data["dropped"][:, : stop - start], None) if "dropped" in data else (None, None)
        self.piece = UnrollSpan(start, stop, loss_from, stop, fresh, True, dropped, forced)
        self.state = data["state"]
        self.network = Network(self.layout, si.BATCH, si.STEPS, np.float64)
        self.params = packed(self.layout, si.weights(name))

    def loss(self, params: NDArray[Any]) -> tuple[float, int]:
        """Returns loss and number of targets; `network.gradient` then holds the gradient."""
        learnt = self.layout.config.initial == "learnt"
        state = initial_state(self.layout, params, si.BATCH) if learnt else self.state
        mean, count, _ = self.network.run(params, self.data, state, self.piece)
        return mean, count


@pytest.mark.parametrize("name", si.CASES)
def test_torch_agrees(name: str) -> None:
    """Loss, number of targets and the gradient of every tensor equal those of PyTorch."""
    problem = Problem(name)
    loss, count = problem.loss(problem.params)
    weights = si.weights(name)
    found = unpacked(problem.layout, problem.network.gradient, weights)
    assert np.isfinite(problem.network.gradient).all()
    golden, at = GOLDENS[name], 2
    np.testing.assert_allclose([loss, count], golden[:2], rtol=1e-12)
    for key in weights:
        for part in gi.digest(found[key]):
            expected = golden[at : at + part.size]
            np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-11, err_msg=key)
            at += part.size
    assert at == golden.size


@pytest.mark.parametrize("name", si.CASES)
def test_gradient_is_that_of_the_loss(name: str) -> None:
    """Entries of every tensor agree with central differences of the loss."""
    problem = Problem(name)
    problem.loss(problem.params)
    gradient = problem.network.gradient.copy()
    assert np.isfinite(gradient).all(), "checked before anything is compared: nan compares as it likes"
    rng = np.random.RandomState(1)
    config = problem.layout.config
    for tensor, (at, size) in problem.layout.tensors.items():
        if config.task == "decode" and tensor.startswith(f"encoder.layer{config.layers - 1}.") and size == (si.H,):
            continue  # a decoder starts from the encoder's state; its normalised top is unused
        block = gradient[at : at + int(np.prod(size))]
        floor = 1e-3 * np.abs(block).max()
        assert floor > 0, f"{tensor} has no gradient"
        used = np.flatnonzero(block)
        for i in at + rng.choice(used, min(PER_TENSOR, len(used)), replace=False):
            shifted = problem.params.copy()
            shifted[i] += STEP
            above = problem.loss(shifted)[0]
            shifted[i] -= 2 * STEP
            slope = (above - problem.loss(shifted)[0]) / (2 * STEP)
            allowed = WITHIN * (abs(slope) + floor) + ROUNDING
            assert abs(slope - gradient[i]) <= allowed, (tensor, int(i) - at, slope, gradient[i])


def test_carried_state_is_a_constant() -> None:
    """The gradient of a later chunk treats its given state as a constant, as in BPTT(k2; k1)."""
    problem = Problem("each elman quantiles dropout carried")
    problem.loss(problem.params)
    same = problem.network.gradient.copy()
    problem.piece = replace(problem.piece, carry=problem.piece.start + 2)
    problem.loss(problem.params)
    np.testing.assert_allclose(problem.network.gradient, same, rtol=1e-9, atol=1e-12)


def test_initial_parameters_are_seeded() -> None:
    """Equal seeds give equal weights, another seed others; padding is zero."""
    config = SequenceConfig(features=1, symbols=3)
    a, b = initial_sequence_params(config), initial_sequence_params(replace(config, seed=1))
    np.testing.assert_array_equal(a, initial_sequence_params(config))
    assert not np.array_equal(a, b)
    assert not sequence_layout_of(config).views(a)["head.O"][:, 1:].any()
