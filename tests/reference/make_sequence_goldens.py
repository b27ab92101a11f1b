"""Writes sequence_goldens.npz: PyTorch's losses and gradients of sequences. Float64.

    /tmp/torch/bin/python tests/reference/make_sequence_goldens.py      # see make_goldens.py

Imports nothing from the library, only the description of the cases in sequence_inputs.py.
"""

from __future__ import annotations

from pathlib import Path

import golden_inputs as gi
import numpy as np
import sequence_inputs as si
import torch

CELLS = {"elman": torch.nn.RNNCell, "gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}


class Stack:
    """Layers of torch's cells, stepped one by one."""

    def __init__(self, name: str, stack: str, w: dict) -> None:
        self.c, self.w, self.stack = si.settings(name), w, stack
        self.layers = si.sizes(name)["layers"]

    def step(self, u: torch.Tensor, state: list, present: torch.Tensor, dropped: torch.Tensor | None) -> tuple:
        """Steps (B, n) and a state per layer -> top, new state."""
        new = []
        keep = present[:, None]
        for i in range(self.layers):
            at, w = f"{self.stack}.layer{i}", self.w
            cell = CELLS[self.c["cell"]](u.shape[1], si.H).double()
            named = {k: w[f"{at}.{k}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            after = torch.func.functional_call(cell, named, (u, state[i]))
            if isinstance(after, tuple):
                after = tuple(torch.where(keep, a, b) for a, b in zip(after, state[i], strict=True))
            else:
                after = torch.where(keep, after, state[i])
            new.append(after)
            v = after[0] if isinstance(after, tuple) else after
            if self.c["residual"] and i:
                v = v + u
            if self.c["layer_norm"]:
                v = torch.nn.functional.layer_norm(v, (si.H,), w[f"{at}.gain"], w[f"{at}.shift"])
            if dropped is not None and i < self.layers - 1:
                v = v * dropped[i]
            u = v
        return u, new


def head(c: dict, w: dict, top: torch.Tensor) -> torch.Tensor:
    """Returns raw outputs."""
    if c["head_size"]:
        top = torch.relu(top @ w["head.A"] + w["head.c"])
    return top @ w["head.O"] + w["head.d"]


def loss(c: dict, raw: torch.Tensor, target: np.ndarray) -> torch.Tensor:
    """Returns the summed loss of one output (n,)."""
    if c["output"] == "classes":
        return torch.nn.functional.cross_entropy(raw[None], torch.tensor([int(target)]))
    y = torch.tensor(target)
    if c["output"] == "values":
        return torch.nn.functional.mse_loss(raw, y)
    m = si.QUANTILES.index(0.5)
    above = len(si.QUANTILES) - m - 1
    steps = (raw[1:] + torch.sqrt(raw[1:] ** 2 + 4)) / 2
    up = raw[:1] + torch.cumsum(steps[:above], 0)
    down = raw[:1] - torch.cumsum(steps[above:], 0)
    q, a = torch.cat([down.flip(0), raw[:1], up]), torch.tensor(si.QUANTILES, dtype=torch.float64)
    return torch.maximum(a * (y - q), (a - 1) * (y - q)).mean()


def missing(c: dict, target: np.ndarray) -> bool:
    """Returns whether a target is missing."""
    return bool(target < 0) if c["output"] == "classes" else bool(np.isnan(target).any())


def run(name: str, w: dict) -> tuple[torch.Tensor, int]:
    """Returns the loss of a case and the number of its targets."""
    c, data = si.settings(name), si.inputs(name)
    start, stop, loss_from, _ = si.CASES[name]["chunk"]
    first = w["encoder.initial"][:, None].expand(-1, si.BATCH, -1) if "encoder.initial" in w else None
    first = torch.tensor(data["state"]) if first is None else first
    lstm = c["cell"] == "lstm"
    state = [(s[:, : si.H], s[:, si.H :]) if lstm else s for s in first]
    source = np.isfinite(data["features"]).all(2) if "features" in data else data["symbols"] >= 0
    encoder, tops = Stack(name, "encoder", w), {}
    for t in range(start, stop):
        parts = []
        present = torch.tensor(source[:, t])
        if "symbols" in data:
            parts.append(w["embedding"][np.maximum(data["symbols"][:, t], 0)])
        if "features" in data:
            parts.append(torch.tensor(np.nan_to_num(data["features"][:, t])).double())
        dropped = torch.tensor(data["dropped"][:, t - start]) if "dropped" in data else None
        tops[t], state = encoder.step(torch.cat(parts, 1), state, present, dropped)
    terms = []
    if c["task"] == "each":
        wanted = [(t, b) for t in range(loss_from, stop) for b in range(si.BATCH) if source[b, t]]
        terms = [(head(c, w, tops[t][b]), data["targets"][b, t]) for t, b in wanted]
    elif c["task"] == "last":
        last = [int(np.flatnonzero(source[b])[-1]) for b in range(si.BATCH)]
        terms = [(head(c, w, tops[t][b]), data["targets"][b]) for b, t in enumerate(last)]
    else:
        decoder, raw = Stack(name, "decoder", w), None
        forced = si.CASES[name]["forced"]
        for h in range(c["horizon"]):
            fed = []
            for b in range(si.BATCH):
                classes = c["output"] == "classes"
                if raw is None:
                    own = c["outputs"] if classes else torch.zeros(si.sizes(name)["n_fed"], dtype=torch.float64)
                else:
                    own = int(raw[b].argmax()) if classes else raw[b][: si.sizes(name)["n_fed"]]
                    truth = data["targets"][b, h - 1]
                    if forced[b] and not missing(c, truth):
                        own = int(truth) if classes else torch.tensor(np.atleast_1d(truth))
                fed.append(w["decoder.embedding"][own] if classes else own)
            x = torch.stack(fed)
            if "future" in data:
                x = torch.cat([x, torch.tensor(data["future"][:, h]).double()], 1)
            top, state = decoder.step(x, state, torch.ones(si.BATCH, dtype=torch.bool), None)
            raw = head(c, w, top)
            terms += [(raw[b], data["targets"][b, h]) for b in range(si.BATCH)]
    kept = [loss(c, raw, target) for raw, target in terms if not missing(c, target)]
    return torch.stack(kept).mean(), len(kept)


def main() -> None:
    """Writes every case: loss, count, digests of all gradients in order."""
    torch.set_num_threads(1)
    out = {}
    for name in si.CASES:
        w = {key: torch.tensor(v, requires_grad=True) for key, v in si.weights(name).items()}
        value, count = run(name, w)
        value.backward()
        numbers = [np.array([value.item(), count])]
        for leaf in w.values():
            numbers += gi.digest(np.zeros(tuple(leaf.shape)) if leaf.grad is None else leaf.grad.numpy())
        out[name] = np.concatenate(numbers)
        print(name, value.item(), count)
    np.savez_compressed(Path(__file__).with_name("sequence_goldens.npz"), **out)


if __name__ == "__main__":
    main()
