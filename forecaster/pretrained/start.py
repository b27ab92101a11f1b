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
from forecaster.layout import layout_of
from forecaster.model import KIND, Model, model_from
from forecaster.pretrained.levels import combined, slot_mixes, usual_increments
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


def transferred(model: Model, config: ModelConfig) -> Model:
    """Returns the weights with which a network of another configuration begins.

    Where both have the same cell, sizes, kind of head and number of seasons, these are the weights of the model, as far
    as they are of the same inputs, and zeros for new ones; those of other quantile levels are derived (levels.py). In
    all other cases they are those of `start_model`.

    Args:
        model: the network before.
        config: of the network that begins.

    Raises:
        CheckpointError: a shipped file is missing, damaged or of another release.
    """
    before = model.config
    sizes = ("cell", "hidden_size", "layers", "head", "head_size")
    same = all(getattr(before, name) == getattr(config, name) for name in sizes)
    if not same or len(before.seasons) != len(config.seasons):
        return start_model(config)
    if before.quantiles == config.quantiles:
        return fitted(Shipped(model, np.zeros((2, len(before.quantiles)))), config)
    known = shipped(len(config.seasons))
    usual = usual_increments(known.model.config.quantiles, before.quantiles, known.usual)
    return fitted(Shipped(model, usual), config)


def fitted(source: Shipped, config: ModelConfig) -> Model:
    """Maps weights to a configuration with the same number of seasons and the same sizes, with zeros for new inputs."""
    model = source.model
    mine: dict[str, NDArray[Any]] = model.layout.views(model.params)
    target = Model.initial(config)
    flat = np.zeros(target.layout.n_params, np.float32)
    view = target.layout.views(flat)
    steps = _common(_step_inputs(model.config), _step_inputs(config))
    moment, ahead = (
        _common(before, after) for before, after in zip(_head_inputs(model.config), _head_inputs(config), strict=True)
    )
    decoder, offset = config.head == "decoder", len(_head_inputs(config)[0])
    former = len(_head_inputs(model.config)[0])
    every = (moment[0] + [former + at for at in ahead[0]], moment[1] + [offset + at for at in ahead[1]])
    for name, array in view.items():
        if name == "layer0.wx":
            array[:, steps[1]] = mine[name][:, steps[0]]
        elif name == "head.A" and config.cell == "none":
            array[steps[1]] = mine[name][steps[0]]
        elif name == "head.B":
            if decoder:
                array[...] = mine[name]
            else:
                array[every[1]] = mine[name][every[0]]
        elif name == "head.wx":
            array[:, ahead[1]] = mine[name][:, ahead[0]]
        elif name not in {"head.O", "head.L", "head.d"}:
            array[...] = mine[name]
    if model.config.quantiles == config.quantiles:
        view["head.O"][...], view["head.d"][...] = mine["head.O"], mine["head.d"]
        view["head.L"][every[1]] = mine["head.L"][every[0]]
        return Model(config, flat)
    for slot, (factors, constant) in enumerate(slot_mixes(model.config.quantiles, config.quantiles, source.usual)):
        view["head.O"][:, slot] = combined(mine["head.O"], factors)
        view["head.L"][every[1], slot] = combined(mine["head.L"][every[0]], factors)
        view["head.d"][slot] = combined(mine["head.d"].reshape(1, -1), factors)[0] + constant
    return Model(config, flat)


def _common(before: list[str], after: list[str]) -> tuple[list[int], list[int]]:
    """Returns the places of the names of both lists, in each of them."""
    names = [name for name in after if name in before]
    return [before.index(name) for name in names], [after.index(name) for name in names]


def _step_inputs(config: ModelConfig) -> list[str]:
    """Returns a name of every input of a step, in their order (features/step_inputs.py)."""
    dates = ["hour", "hour+", "week", "week+", *(["holiday"] if config.holidays else [])] if config.calendar else []
    covariates = [f"{part}:{name}" for name in config.covariates for part in ("value", "missing")]
    return [*(f"step {i}" for i in range(4 + len(config.seasons))), *dates, *covariates]


def _head_inputs(config: ModelConfig) -> tuple[list[str], list[str]]:
    """Returns names of the inputs of the head: those of place and moment, and those of targets and dates."""
    place, moment, target, date = layout_of(config).head_columns
    futures = [f"{part}:{name}" for name in config.future_covariates for part in ("value", "missing")]
    seasonal = [f"season {i}" for i in range(target - len(futures))]
    return [f"moment {i}" for i in range(place + moment)], [*seasonal, *futures, *(f"date {i}" for i in range(date))]
