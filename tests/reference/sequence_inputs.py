"""Inputs of the sequence goldens, from numpy alone, so that generator and test build equal inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from golden_inputs import GATES
from numpy.typing import NDArray

BATCH, STEPS, H = 3, 7, 16
COMMON = {"hidden_size": H, "embedding": 16}
QUANTILES = (0.1, 0.5, 0.8, 0.95)
# Name -> settings as in SequenceConfig, the chunk as (start, stop, loss_from, fresh), and special options.
CASES: dict[str, dict[str, Any]] = {
    "each gru norm residual learnt": {
        "config": {"task": "each", "cell": "gru", "layers": 3, "features": 3, "outputs": 2, "layer_norm": True,
                   "residual": True, "initial": "learnt"},
        "chunk": (0, 7, 0, True),
    },
    "each elman quantiles dropout carried": {
        "config": {"task": "each", "cell": "elman", "layers": 2, "features": 2, "output": "quantiles",
                   "quantiles": QUANTILES, "head_size": 16},
        "chunk": (1, 7, 3, False), "dropout": True,
    },
    "last lstm symbols classes": {
        "config": {"task": "last", "cell": "lstm", "layers": 2, "symbols": 5, "features": 1, "output": "classes",
                   "outputs": 4, "residual": True},
        "chunk": (0, 7, 0, True),
    },
    "decode gru quantiles free": {
        "config": {"task": "decode", "cell": "gru", "layers": 2, "features": 2, "output": "quantiles",
                   "quantiles": QUANTILES, "horizon": 4, "future": 2, "layer_norm": True},
        "chunk": (0, 7, 0, True), "forced": (False, False, False),
    },
    "decode lstm values mixed": {
        "config": {"task": "decode", "cell": "lstm", "layers": 1, "features": 2, "outputs": 2, "horizon": 4,
                   "head_size": 16, "initial": "learnt"},
        "chunk": (0, 7, 0, True), "forced": (True, False, True),
    },
    "decode elman classes forced": {
        "config": {"task": "decode", "cell": "elman", "layers": 1, "symbols": 5, "output": "classes", "outputs": 5,
                   "horizon": 4},
        "chunk": (0, 7, 0, True), "forced": (True, True, True),
    },
    "last none": {
        "config": {"task": "last", "cell": "none", "features": 3, "outputs": 2, "head_size": 16},
        "chunk": (0, 7, 0, True),
    },
}  # fmt: skip


def settings(name: str) -> dict[str, Any]:
    """Returns all settings that the generator needs, with defaults."""
    defaults: dict[str, Any] = {"output": "values", "outputs": 1, "symbols": 0, "features": 0, "layers": 1,
                                "layer_norm": False, "residual": False, "initial": "zeros", "head_size": 0,
                                "future": 0, "horizon": 1}  # fmt: skip
    return defaults | COMMON | CASES[name]["config"]


def sizes(name: str) -> dict[str, int]:
    """Returns the derived widths."""
    c = settings(name)
    layers = 0 if c["cell"] == "none" else c["layers"]
    n_in = (16 if c["symbols"] else 0) + c["features"]
    n_out = len(QUANTILES) if c["output"] == "quantiles" else c["outputs"]
    n_fed = {"classes": 16, "values": n_out, "quantiles": 1}[c["output"]]
    return {"layers": layers, "n_in": n_in, "n_out": n_out, "n_fed": n_fed, "n_decoder": n_fed + c["future"],
            "n_top": H if layers else n_in}  # fmt: skip


def weights(name: str) -> dict[str, NDArray[Any]]:
    """Returns weights by name: torch's for cells, the library's for the rest; float32 numbers in float64."""
    c, s = settings(name), sizes(name)
    shapes: dict[str, tuple[int, ...]] = {}
    rows = H * len(GATES.get(c["cell"], ()))
    for stack, first in (("encoder", s["n_in"]), ("decoder", s["n_decoder"])):
        if stack == "decoder" and c["task"] != "decode":
            continue
        for i in range(s["layers"]):
            at = f"{stack}.layer{i}"
            shapes |= {f"{at}.weight_ih": (rows, H if i else first), f"{at}.weight_hh": (rows, H)}
            shapes |= {f"{at}.bias_ih": (rows,), f"{at}.bias_hh": (rows,)}
            if c["layer_norm"]:
                shapes |= {f"{at}.gain": (H,), f"{at}.shift": (H,)}
    if c["symbols"]:
        shapes["embedding"] = (c["symbols"], 16)
    if c["initial"] == "learnt":
        shapes["encoder.initial"] = (s["layers"], H * (2 if c["cell"] == "lstm" else 1))
    if c["task"] == "decode" and c["output"] == "classes":
        shapes["decoder.embedding"] = (c["outputs"] + 1, 16)
    if c["head_size"]:
        shapes |= {"head.A": (s["n_top"], c["head_size"]), "head.c": (c["head_size"],)}
    shapes |= {"head.O": (c["head_size"] or s["n_top"], s["n_out"]), "head.d": (s["n_out"],)}
    rng, out = np.random.RandomState(len(name)), {}
    for key, shape in shapes.items():
        out[key] = (rng.normal(size=shape) / np.sqrt(max(shape[-1], 6))).astype(np.float32).astype(np.float64)
    return out


def inputs(name: str) -> dict[str, NDArray[Any]]:
    """Returns features, symbols, targets, future, state, dropout factors; with gaps and missing targets."""
    c, s = settings(name), sizes(name)
    rng = np.random.RandomState(2 * len(name))
    out: dict[str, NDArray[Any]] = {}
    gaps = np.zeros((BATCH, STEPS), bool)
    gaps[1, 3], gaps[2, 5:] = True, True
    if c["features"]:
        out["features"] = rng.normal(size=(BATCH, STEPS, c["features"])).astype(np.float32)
        out["features"][gaps] = np.nan
    if c["symbols"]:
        out["symbols"] = rng.randint(0, c["symbols"], (BATCH, STEPS))
        out["symbols"][gaps] = -1
    shape = {"each": (BATCH, STEPS), "last": (BATCH,), "decode": (BATCH, c["horizon"])}[c["task"]]
    if c["output"] == "classes":
        out["targets"] = rng.randint(0, c["outputs"], shape)
    else:
        out["targets"] = rng.normal(size=(*shape, c["outputs"]) if c["output"] == "values" else shape)
    if c["task"] != "last":
        out["targets"][0, 1] = -1 if c["output"] == "classes" else np.nan
    if c["future"]:
        out["future"] = rng.normal(size=(BATCH, c["horizon"], c["future"])).astype(np.float32)
    states = 2 if c["cell"] == "lstm" else 1
    out["state"] = 0.5 * rng.normal(size=(s["layers"], BATCH, states * H))
    if CASES[name].get("dropout"):
        out["dropped"] = (rng.rand(s["layers"] - 1, STEPS, BATCH, H) < 0.7) / 0.7
    return out
