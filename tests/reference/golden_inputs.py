"""Inputs of the goldens, from numpy alone, so that the generator and the test build the same.

`RandomState` is numpy's frozen generator: its streams never change, so inputs need not be committed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HORIZON, SEASON, QUANTILES, HEAD = 6, 5, (0.1, 0.5, 0.8, 0.95), 16
N_X, N_F = 5, 14
STREAMS, LENGTH = 3, 26  # series side by side, steps of each
K1, K2 = 4, 7
CASES = [(cell, depth) for cell in ("elman", "gru", "lstm") for depth in (1, 2, 3)]
GATES = {"elman": ("h",), "gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}  # in the order of torch

# Two chunks: one from a given state with a burn-in of 3, then K1 steps on from the state that the first one left.
FIRST = (np.array([6, 2, 9]), np.array([10, 6, 13]))  # first step, counted in the series
STEPS = (np.array([7, 7, 7]), np.array([7, 7, 5]))  # the last window of the second chunk is padded
LOSS_FROM = (np.array([3, 3, 3]), np.array([3, 3, 3]))
LIMIT = np.array([26, 11, 18])  # targets from here on do not exist


def hidden_size(depth: int) -> int:
    """Two blocks of units at depth 2, so that their order matters."""
    return 32 if depth == 2 else 16


def inputs(cell: str, depth: int) -> dict[str, NDArray[Any]]:
    """Series, statistics, hidden state to start from."""
    rng = np.random.RandomState(100 * depth + len(GATES[cell]))
    y = rng.normal(size=(STREAMS, LENGTH)).astype(np.float32)
    y[rng.rand(STREAMS, LENGTH) < 0.15] = np.nan
    scale = rng.uniform(0.5, 1.5, (STREAMS, LENGTH))
    scale[1, 6] = 0.0  # a step without a scale carries no loss
    return {
        "y": y,
        "x": rng.normal(size=(STREAMS, LENGTH, N_X)).astype(np.float32),
        "level": rng.normal(size=(STREAMS, LENGTH)),
        "scale": scale,
        "last": rng.normal(size=(STREAMS, LENGTH)),
        "h": 0.5 * rng.normal(size=(depth, STREAMS, hidden_size(depth))),
        "c": 0.5 * rng.normal(size=(depth, STREAMS, hidden_size(depth))),
    }


def weights(cell: str, depth: int) -> dict[str, NDArray[Any]]:
    """Weights under torch's names, float32 numbers in float64; the head's under the letters of its docstring."""
    rng = np.random.RandomState(7 + 100 * depth + len(GATES[cell]))
    H, rows = hidden_size(depth), hidden_size(depth) * len(GATES[cell])
    n_q = len(QUANTILES)
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(depth):
        shapes |= {f"weight_ih_l{i}": (rows, H if i else N_X), f"weight_hh_l{i}": (rows, H)}
        shapes |= {f"bias_ih_l{i}": (rows,), f"bias_hh_l{i}": (rows,)}
    shapes |= {"A": (H, HEAD), "B": (N_F, HEAD), "c": (HEAD,), "O": (HEAD, n_q), "L": (N_F, n_q), "d": (n_q,)}
    out = {}
    for name, shape in shapes.items():
        out[name] = (rng.normal(size=shape) / np.sqrt(max(shape[-1], 8))).astype(np.float32).astype(np.float64)
    return out


def probes(shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vectors that a gradient matrix is multiplied with from the left and from the right: it is stored by those."""
    rng = np.random.RandomState(sum(shape))
    return rng.normal(size=shape[0]), rng.normal(size=shape[-1])


def digest(gradient: NDArray[Any]) -> list[NDArray[Any]]:
    """A vector itself; a matrix by its products with two fixed vectors, to which every entry contributes twice."""
    if gradient.ndim == 1:
        return [gradient]
    left, right = probes(gradient.shape)
    return [left @ gradient, gradient @ right]


def layout(cell: str, depth: int) -> list[tuple[str, int]]:
    """What a golden holds, one behind the other: name and how many numbers.

    Loss and count, quantiles of the last scored step, state after K1 steps, digests of all gradients. Of the two
    biases of torch, whose gradients are equal, the second is kept for the GRU only, where they differ.
    """
    H = hidden_size(depth)
    parts = [("loss", 2), ("quantiles", HORIZON * len(QUANTILES)), ("h", depth * STREAMS * H)]
    if cell == "lstm":
        parts.append(("cells", depth * STREAMS * H))
    for name, weight in weights(cell, depth).items():
        if not name.startswith("bias_hh") or cell == "gru":
            parts.append((name, sum(part.size for part in digest(weight))))
    return parts


def flat(cell: str, depth: int, found: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The numbers of `layout`; gradients are given whole."""
    out = []
    for name, _ in layout(cell, depth):
        whole = found[name]
        out += [whole.ravel()] if name in {"loss", "quantiles", "h", "cells"} else digest(whole)
    return np.concatenate(out)


def parts(cell: str, depth: int, golden: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The inverse, gradients as digests."""
    out, at = {}, 0
    for name, size in layout(cell, depth):
        out[name] = golden[at : at + size]
        at += size
    assert at == golden.size
    return out
