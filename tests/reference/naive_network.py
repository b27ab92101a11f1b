"""Slow, plain twin of the network and of its inputs: float64, one matrix per gate, the textbook equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.layout import Layout
from forecaster.network.layer import CELLS

Array = NDArray[Any]


def unpack(layout: Layout, flat: Array) -> dict[str, Array]:
    """Packed buffer -> {"layer0.Wh.r": (H, H), "layer0.Wx.r": (H, n_in), "layer0.b.r": (H,), ..., "head.A": ...}.

    The decoder's cell is "head.Wh.r" and so on.

    Handles parameters and gradients alike. Head columns keep the kernel's order of slots, without the padding.
    """
    out, view = {}, layout.views(flat)
    packed = {f"layer{i}": CELLS[layout.config.cell] for i in range(layout.layers)}
    decoder = layout.config.head == "decoder"
    for layer, cell in (packed | ({"head": CELLS["gru"]} if decoder else {})).items():
        for name, plain, order in (
            ("wh", "Wh", cell.ORDER_H),
            ("wx", "Wx", cell.ORDER_X),
            ("bias", "b", cell.ORDER_B),
        ):
            blocks = view[f"{layer}.{name}"]
            for g, gate in enumerate(order):
                if not gate:
                    continue
                rows = [blocks[u // 16, ..., g * 16 + u % 16] for u in range(16 * len(blocks))]
                out[f"{layer}.{plain}.{gate}"] = np.array(rows)
    for name in "ABcOLd":
        tensor = view[f"head.{name}"]
        out[f"head.{name}"] = np.array(tensor[..., : layout.n_q] if name in "OLd" else tensor)
    return out


def sigmoid(v: Array) -> Array:
    """Returns 1 / (1 + exp(-v)) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * v))


def cell_step(cell: str, p: dict[str, Array], layer: str, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Steps a layer by the textbook equations; h, c -> new h, c (c is used by the LSTM only)."""

    def gate(name: str) -> Array:
        return p[f"{layer}.Wh.{name}"] @ h + p[f"{layer}.Wx.{name}"] @ x + p[f"{layer}.b.{name}"]

    if cell == "elman":
        return np.tanh(gate("h")), c
    if cell == "lstm":
        c = sigmoid(gate("f")) * c + sigmoid(gate("i")) * np.tanh(gate("g"))
        return sigmoid(gate("o")) * np.tanh(c), c
    r, z = sigmoid(gate("r")), sigmoid(gate("z"))
    nh = p[f"{layer}.Wh.n"] @ h + p[f"{layer}.b.nh"]
    n = np.tanh(r * nh + p[f"{layer}.Wx.n"] @ x + p[f"{layer}.b.nx"])
    return (1.0 - z) * n + z * h, c


def head(p: dict[str, Array], quantiles: tuple[float, ...], top: Array, f: Array) -> Array:
    """Returns quantiles (horizon, Q) in units of scale around the reference, outwards from the median."""
    m, out = quantiles.index(0.5), np.zeros((len(f), len(quantiles)))
    state = top @ p["head.A"] + p["head.c"]
    decoder = "head.Wh.n" in p
    if decoder:
        n_m, n_g = len(p["head.B"]), p["head.Wx.n"].shape[1]
        state += f[0, -n_g - n_m : len(f[0]) - n_g] @ p["head.B"]
    for h, features in enumerate(f):
        if decoder:
            z = state = cell_step("gru", p, "head", features[len(features) - n_g :], state, state)[0]
        else:
            z = np.maximum(0.0, state + features @ p["head.B"])
        o = z @ p["head.O"] + features @ p["head.L"] + p["head.d"]
        step = 0.5 * (o + np.sqrt(o * o + 4.0))
        out[h, m] = o[0]
        slot = 1
        for level in range(m + 1, len(quantiles)):
            out[h, level] = out[h, level - 1] + step[slot]
            slot += 1
        for level in range(m - 1, -1, -1):
            out[h, level] = out[h, level + 1] - step[slot]
            slot += 1
    return out


def squash(v: float) -> float:
    """Returns v, linear near zero, at most 8."""
    return v / math.sqrt(1.0 + (v / 8.0) ** 2)


def clip(v: float) -> float:
    """Limits v to 16 scales."""
    return max(-16.0, min(16.0, v))


def wave(turns: float) -> float:
    """Returns the parabolic sine of step_inputs.py: within 1.1e-3 of sin(2 pi turns)."""
    x = 2.0 * (turns % 1.0)
    x = x if x < 1.0 else x - 2.0
    y = 4.0 * x * (1.0 - abs(x))
    return 0.775 * y + 0.225 * y * abs(y)


def calendar(ts: int) -> list[float]:
    """Returns sin and cos of hour and weekday, UTC."""
    hour, week = (ts / 86_400_000) % 1.0, (ts / 86_400_000 + 3) % 7.0 / 7.0
    return [wave(hour), wave(hour + 0.25), wave(week), wave(week + 0.25)]
