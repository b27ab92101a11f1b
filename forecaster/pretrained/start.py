"""Initial weights of a new installation: shipped ones where they fit the network, else untrained ones.

This folder holds one network per number of seasons. They use neither calendar nor covariates, whose weights are zero
until a training on the stream. The weights do not depend on horizon, season lengths or interval, so they fit every
configuration of the shipped cell and sizes. `benchmarks/pretraining/` trains them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig
from forecaster.model import KIND, Model, model_from
from forecaster.pretrained.levels import combined, slot_mixes
from forecaster.state.checkpoint import checked, read_checkpoint

FOLDER = Path(__file__).parent
SHIPPED = {"cell": "gru", "hidden_size": 48, "layers": 1, "head": "direct", "head_size": 64}


@dataclass(frozen=True)
class Shipped:
    """A shipped network.

    Attributes:
        model: configuration and weights.
        usual: (2, levels) narrow and wide increments between levels, by slot; see `levels.slot_mixes`.
    """

    model: Model
    usual: NDArray[np.float64]


def path_of(seasons: int) -> Path:
    """Returns the file of the network with that number of seasons."""
    return FOLDER / f"seasons{seasons}.safetensors"


@functools.lru_cache(maxsize=4)
def shipped(seasons: int) -> Shipped:
    """Loads the network with that number of seasons.

    Raises:
        CheckpointError: its file is missing, damaged or of another release.
    """
    path = path_of(seasons)
    tensors, header = read_checkpoint(path, KIND)
    model = model_from(tensors, header["config"], str(path))
    with checked(str(path)):
        usual = np.array(header["facts"]["usual_increments"], np.float64).reshape(2, len(model.config.quantiles))
    return Shipped(model, usual)


def is_pretrained(config: ModelConfig) -> bool:
    """Returns whether `start_model` uses shipped weights: `config` enables them and they fit its network."""
    return config.pretrained and all(getattr(config, name) == value for name, value in SHIPPED.items())


def start_model(config: ModelConfig) -> Model:
    """Returns the model to start with before any training, a pure function of the configuration.

    Args:
        config: the network; any horizon, seasons, levels, calendar and covariates.

    Returns:
        The shipped weights where `is_pretrained(config)`, mapped to its levels and with zeros for calendar and
        covariates; else `Model.initial(config)`, untrained and seeded.

    Raises:
        CheckpointError: the shipped file is missing, damaged or of another release.
    """
    if not is_pretrained(config):
        return Model.initial(config)
    return fitted(shipped(len(config.seasons)), config)


def fitted(source: Shipped, config: ModelConfig) -> Model:
    """Maps shipped weights to a configuration with the same number of seasons and the same sizes."""
    model = source.model
    mine: dict[str, NDArray[Any]] = model.layout.views(model.params)
    target = Model.initial(config)
    flat = np.zeros(target.layout.n_params, np.float32)
    view = target.layout.views(flat)
    inputs, columns = model.layout.n_x, model.layout.n_f  # those of calendar and covariates follow
    for name in ("layer0.wh", "layer0.bias", "head.A", "head.c"):
        view[name][...] = mine[name]
    view["layer0.wx"][:, :inputs] = mine["layer0.wx"]
    view["head.B"][:columns] = mine["head.B"]
    mixes = slot_mixes(model.config.quantiles, config.quantiles, source.usual)
    for slot, (factors, constant) in enumerate(mixes):
        view["head.O"][:, slot] = combined(mine["head.O"], factors)
        view["head.L"][:columns, slot] = combined(mine["head.L"], factors)
        view["head.d"][slot] = combined(mine["head.d"].reshape(1, -1), factors)[0] + constant
    return Model(config, flat)
