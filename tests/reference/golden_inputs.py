"""Inputs of the goldens, from numpy alone, so that generator and test build equal inputs.

`RandomState` is numpy's frozen generator: its streams never change, so inputs need not be committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HORIZON, QUANTILES = 6, (0.1, 0.5, 0.8, 0.95)
STREAMS, LENGTH = 3, 26  # parallel series, steps of each
K1, K2 = 4, 7
GATES = {"elman": ("h",), "gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}  # in torch's order
PLACE, RECENT = 3, 6  # inputs of the head: of the position, and of the newest steps among those of the moment
SEASONAL, PHASES = 5, 4  # per target and season; at most this many values of one phase are averaged

# Two chunks: one from a given state with a burn-in of 3, then K1 steps on from the state after the first one.
FIRST = (np.array([6, 2, 9]), np.array([10, 6, 13]))  # first step, counted in the series
STEPS = (np.array([7, 7, 7]), np.array([7, 7, 5]))  # the last window of the second chunk is padded
LOSS_FROM = (np.array([3, 3, 3]), np.array([3, 3, 3]))
LIMIT = np.array([26, 11, 18])  # targets from here on do not exist


@dataclass(frozen=True)
class Case:
    """A network: its cell and depth, its head, and the head's inputs about a target.

    Attributes:
        cell, depth: of the stack.
        head: "direct" or "decoder".
        seasons: their lengths in steps.
        futures: known-future covariates.
    """

    cell: str
    depth: int
    head: str = "direct"
    seasons: tuple[int, ...] = (5,)
    futures: int = 0

    @property
    def name(self) -> str:
        """Returns the case's key among the goldens."""
        return f"{self.cell}{self.depth}" + ("" if self.head == "direct" else f"-{self.head}")

    @property
    def hidden(self) -> int:
        """Returns the units of a layer; two blocks at depth 2, so that their order is tested."""
        return 32 if self.depth == 2 else 16

    @property
    def head_size(self) -> int:
        """Returns the hidden units of the head; two blocks in the decoder, so that their order is tested."""
        return 32 if self.head == "decoder" else 16

    @property
    def n_x(self) -> int:
        """Returns the number of inputs of a step."""
        return 4 + len(self.seasons)

    @property
    def n_m(self) -> int:
        """Returns the number of head inputs that are equal for all horizons."""
        return 1 + len(self.seasons) + RECENT

    @property
    def n_g(self) -> int:
        """Returns the number of head inputs about a target."""
        return SEASONAL * len(self.seasons) + 2 * self.futures

    @property
    def n_f(self) -> int:
        """Returns the number of all head inputs per horizon."""
        return PLACE + self.n_m + self.n_g

    @property
    def cells(self) -> dict[str, str]:
        """Returns every cell by the suffix of torch's tensor names: those of the stack, and the decoder's."""
        found = {f"l{i}": self.cell for i in range(self.depth)}
        return found | ({"decoder": "gru"} if self.head == "decoder" else {})


CASES = [
    *(Case(cell, depth) for cell in ("elman", "gru", "lstm") for depth in (1, 2, 3)),
    Case("gru", 1, "decoder"),
    Case("elman", 2, "decoder", seasons=(4, 7), futures=2),
]


def inputs(case: Case) -> dict[str, NDArray[Any]]:
    """Returns series, statistics, initial hidden state, known future values and steps since their event."""
    rng = np.random.RandomState(100 * case.depth + len(GATES[case.cell]))
    y = rng.normal(size=(STREAMS, LENGTH)).astype(np.float32)
    y[rng.rand(STREAMS, LENGTH) < 0.15] = np.nan
    scale = rng.uniform(0.5, 1.5, (STREAMS, LENGTH))
    scale[1, 6] = 0.0  # a step without a scale carries no loss
    found = {
        "y": y,
        "x": rng.normal(size=(STREAMS, LENGTH, case.n_x)).astype(np.float32),
        "level": rng.normal(size=(STREAMS, LENGTH)),
        "scale": scale,
        "last": rng.normal(size=(STREAMS, LENGTH)),
        "h": 0.5 * rng.normal(size=(case.depth, STREAMS, case.hidden)),
        "c": 0.5 * rng.normal(size=(case.depth, STREAMS, case.hidden)),
    }
    if case.futures:
        shape = (STREAMS, LENGTH, case.futures)
        found["future"] = rng.normal(size=(*shape, HORIZON)).astype(np.float32)
        found["future"][rng.rand(*shape, HORIZON) < 0.15] = np.nan
        found["since"] = rng.randint(0, 3, (STREAMS, LENGTH))  # steps ahead beyond the list are not known
        found["future_level"] = rng.normal(size=shape)
        found["future_scale"] = rng.uniform(0.5, 1.5, shape)
        found["future_scale"][:, 10] = 0.0  # constant so far: known, but without information
    return found


def weights(case: Case) -> dict[str, NDArray[Any]]:
    """Returns weights under torch's names, float32 numbers in float64; the head's by the letters of its docstring."""
    rng = np.random.RandomState(7 + 100 * case.depth + len(GATES[case.cell]))
    H, Z, n_q = case.hidden, case.head_size, len(QUANTILES)
    shapes: dict[str, tuple[int, ...]] = {}
    for place, cell in case.cells.items():
        n_in = {"l0": case.n_x, "decoder": case.n_g}.get(place, H)
        units = Z if place == "decoder" else H
        rows = units * len(GATES[cell])
        shapes |= {f"weight_ih_{place}": (rows, n_in), f"weight_hh_{place}": (rows, units)}
        shapes |= {f"bias_ih_{place}": (rows,), f"bias_hh_{place}": (rows,)}
    seen = case.n_m if case.head == "decoder" else case.n_f
    shapes |= {"A": (H, Z), "B": (seen, Z), "c": (Z,), "O": (Z, n_q), "L": (case.n_f, n_q), "d": (n_q,)}
    out = {}
    for name, shape in shapes.items():
        out[name] = (rng.normal(size=shape) / np.sqrt(max(shape[-1], 8))).astype(np.float32).astype(np.float64)
    return out


def probes(shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns vectors to multiply a gradient matrix from left and right; the products are stored."""
    rng = np.random.RandomState(sum(shape))
    return rng.normal(size=shape[0]), rng.normal(size=shape[-1])


def digest(gradient: NDArray[Any]) -> list[NDArray[Any]]:
    """Returns a vector unchanged, a matrix as its products with two fixed vectors, so that every entry counts twice."""
    if gradient.ndim == 1:
        return [gradient]
    left, right = probes(gradient.shape)
    return [left @ gradient, gradient @ right]


def layout(case: Case) -> list[tuple[str, int]]:
    """Returns the parts of a golden in order: name and how many numbers.

    The parts are loss and count, quantiles of the last scored step, state after K1 steps, digests of all gradients. Of
    torch's two biases, whose gradients are equal, the second is stored only for the GRU, where they differ.
    """
    state = case.depth * STREAMS * case.hidden
    parts = [("loss", 2), ("quantiles", HORIZON * len(QUANTILES)), ("h", state)]
    if case.cell == "lstm":
        parts.append(("cells", state))
    twice = {f"bias_hh_{place}" for place, cell in case.cells.items() if cell != "gru"}
    for name, weight in weights(case).items():
        if name not in twice:
            parts.append((name, sum(part.size for part in digest(weight))))
    return parts


def flat(case: Case, found: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Returns the numbers of `layout`; gradients are given in full."""
    out = []
    for name, _ in layout(case):
        whole = found[name]
        out += [whole.ravel()] if name in {"loss", "quantiles", "h", "cells"} else digest(whole)
    return np.concatenate(out)


def parts(case: Case, golden: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Returns the inverse of `flat`, with gradients as digests."""
    out, at = {}, 0
    for name, size in layout(case):
        out[name] = golden[at : at + size]
        at += size
    assert at == golden.size
    return out
