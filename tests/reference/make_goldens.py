"""Writes goldens.npz: PyTorch's results for stacks, heads, loss and truncated gradients. Float64.

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch numpy
    /tmp/torch/bin/python tests/reference/make_goldens.py

Imports nothing from the library, only the description of the cases in golden_inputs.py.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import golden_inputs as gi
import numpy as np
import torch

MODULES = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def head_features(case: gi.Case, data: dict, b: int, t: int) -> torch.Tensor:
    """Returns the inputs of the head at step t of series b, (HORIZON, n_f)."""
    y, last, scale = data["y"][b], data["last"][b, t], data["scale"][b, t]

    def around(v: float) -> float:
        return 0.0 if math.isnan(v) else float(np.clip((v - last) / scale, -16, 16))

    def value(step: int) -> float:
        return float(y[step]) if step >= 0 else math.nan

    gone = [around(value(t - k)) for k in range(12)]
    known = [last, *(value(t - k) for k in range(6) if not math.isnan(value(t - k)))]
    moved = sum(min(abs(a - b) / scale, 16) for a, b in itertools.pairwise(known)) / 5
    recent = [*gone[1:4], sum(gone[:6]) / 6, sum(gone) / 12, moved]
    rows = []
    for h in range(1, gi.HORIZON + 1):
        shifts, target = [], []
        for season in case.seasons:
            back = season * math.ceil(h / season)
            one, two, now = value(t + h - back), value(t + h - back - season), value(t - season)
            if math.isnan(one):
                one = two
            if math.isnan(two):
                two = one
            shifts.append(0.0 if math.isnan(now) else -around(now))
            target += [around(one), around(two), shifts[-1] / math.sqrt(h)]
            phases = min(gi.PHASES, 2 * max(case.seasons) // season)
            same = [value(t + h - back - p * season) for p in range(phases)]
            same = [around(v) for v in same if not math.isnan(v)]
            target.append(sum(same) / max(1, len(same)))
            before = t - season if h == 1 else t + 1 - season + (h - 2) % season
            near = [value(before), value(t + 1 - season + h % season)]
            target.append(sum(around(one) if math.isnan(v) else around(v) for v in near) / 2)
        for name in range(case.futures):
            target += ahead(data, b, t, name, h)
        place = [h / gi.HORIZON, 1 / h, math.sqrt(h / gi.HORIZON)]
        rows.append([*place, around(data["level"][b, t]), *shifts, *recent, *target])
    return torch.tensor(rows, dtype=torch.float64)


def ahead(data: dict, b: int, t: int, name: int, h: int) -> list[float]:
    """Returns a covariate's known value h steps ahead: the value in its own scale, and 1 where it is unknown."""
    at = data["since"][b, t] + h - 1
    v = float(data["future"][b, t, name, at]) if at < gi.HORIZON else math.nan
    if math.isnan(v):
        return [0.0, 1.0]
    level, scale = data["future_level"][b, t, name], data["future_scale"][b, t, name]
    v = (v - level) / scale if scale > 0 else 0.0
    return [v / math.sqrt(1 + (v / 8) ** 2), 0.0]


def quantiles(case: gi.Case, decoder: torch.nn.GRU, w: dict, top: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """Returns quantiles (HORIZON, Q), from the median upwards and downwards."""
    if case.head == "decoder":
        moment, targets = f[0, gi.PLACE : gi.PLACE + case.n_m], f[:, gi.PLACE + case.n_m :]
        z, _ = decoder(targets, (top @ w["A"] + moment @ w["B"] + w["c"])[None])
    else:
        z = torch.relu(top @ w["A"] + f @ w["B"] + w["c"])
    o = z @ w["O"] + f @ w["L"] + w["d"]
    m = gi.QUANTILES.index(0.5)
    above = len(gi.QUANTILES) - m - 1
    steps = (o[:, 1:] + torch.sqrt(o[:, 1:] ** 2 + 4)) / 2
    up = o[:, :1] + torch.cumsum(steps[:, :above], 1)
    down = o[:, :1] - torch.cumsum(steps[:, above:], 1)
    return torch.cat([down.flip(1), o[:, :1], up], 1)


def chunk(
    case: gi.Case, module: torch.nn.RNNBase, decoder: torch.nn.GRU, w: dict, data: dict, state: tuple, number: int
) -> tuple:
    """Returns a chunk's loss, hidden states before every step and after the last, quantiles of the last scored step."""
    states = [state]
    tops = []
    first, steps = gi.FIRST[number], gi.STEPS[number]
    for t in range(gi.K2):
        rows = [data["x"][b, first[b] + t] if t < steps[b] else np.zeros(case.n_x) for b in range(gi.STREAMS)]
        x = torch.tensor(np.array(rows), dtype=torch.float64)[None]
        carried = states[-1] if isinstance(module, torch.nn.LSTM) else states[-1][0]
        out, new = module(x, carried)
        states.append(new if isinstance(new, tuple) else (new, new))
        tops.append(out[0])
    total, count, levels = torch.zeros((), dtype=torch.float64), 0, torch.tensor(gi.QUANTILES, dtype=torch.float64)
    q = None
    for b in range(gi.STREAMS):
        for t in range(gi.LOSS_FROM[number][b], steps[b]):
            at = first[b] + t
            if data["scale"][b, at] == 0:
                continue
            q = quantiles(case, decoder, w, tops[t][b], head_features(case, data, b, at))
            for h in range(1, gi.HORIZON + 1):
                if at + h >= gi.LIMIT[b] or math.isnan(data["y"][b, at + h]):
                    continue
                target = np.clip((float(data["y"][b, at + h]) - data["last"][b, at]) / data["scale"][b, at], -64, 64)
                error = target - q[h - 1]
                total = total + torch.maximum(levels * error, (levels - 1) * error).mean()
                count += 1
    return total / count, count, states, q


def main() -> None:
    """Writes two chunks of every case."""
    torch.set_num_threads(1)
    out: dict[str, np.ndarray] = {}
    for case in gi.CASES:
        w = {name: torch.tensor(v, dtype=torch.float64) for name, v in gi.weights(case).items()}
        module = MODULES[case.cell](case.n_x, case.hidden, case.depth).double()
        module.load_state_dict({name: v for name, v in w.items() if "_l" in name})
        decoder = torch.nn.GRU(case.n_g, case.head_size).double()
        leaves = dict(module.named_parameters()) | {name: w[name].requires_grad_() for name in "ABcOLd"}
        if case.head == "decoder":
            decoder.load_state_dict({f"{kind}_l0": w[f"{kind}_decoder"] for kind in KINDS})
            leaves |= {f"{kind}_decoder": getattr(decoder, f"{kind}_l0") for kind in KINDS}
        data = gi.inputs(case)
        state = (torch.tensor(data["h"]), torch.tensor(data["c"]))
        for number in (0, 1):
            for leaf in leaves.values():
                leaf.grad = None
            loss, count, states, q = chunk(case, module, decoder, leaves, data, state, number)
            loss.backward()
            found = {"loss": np.array([loss.item(), count]), "quantiles": q.detach().numpy()}
            found |= {"h": states[gi.K1][0].detach().numpy(), "cells": states[gi.K1][1].detach().numpy()}
            found |= {name: leaf.grad.numpy() for name, leaf in leaves.items()}
            out[f"{case.name}.{number}"] = gi.flat(case, found)
            state = tuple(s.detach() for s in states[gi.K1])  # the truncation: no gradient flows back through it
    np.savez_compressed(Path(__file__).with_name("goldens.npz"), **out)


if __name__ == "__main__":
    main()
