"""A network with its weights: immutable, identified by a sha256 of its configuration and parameters."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.config import ModelConfig
from forecaster.errors import CheckpointError, ConfigError
from forecaster.initial_weights import initial_params
from forecaster.layout import Layout, layout_of
from forecaster.state.checkpoint import read_checkpoint, write_checkpoint

KIND = "model"


def frozen_parameters(params: NDArray[np.float32], expected: int) -> NDArray[np.float32]:
    """Returns a checked, read-only copy of a model's parameters.

    Args:
        params: (expected,) float32, finite.
        expected: number of parameters of the configuration.

    Raises:
        ConfigError: shape or dtype differ, or a number is not finite.
    """
    if params.shape != (expected,) or params.dtype != np.float32:
        raise ConfigError("params", f"{params.dtype} {params.shape}", f"float32 ({expected},) for this configuration")
    if not np.isfinite(params).all():
        raise ConfigError("params", "nan or infinity", "finite numbers")
    frozen = params.copy()
    frozen.flags.writeable = False
    return frozen


@dataclass(frozen=True, eq=False)
class Model:
    """Configuration and parameters.

    Attributes:
        config: the network.
        params: (n_params,) float32, read-only; `layout.views(params)` names its parts.
    """

    config: ModelConfig
    params: NDArray[np.float32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", frozen_parameters(self.params, self.layout.n_params))

    @classmethod
    def initial(cls, config: ModelConfig) -> Self:
        """Returns an untrained model of `config` with seeded weights."""
        return cls(config, initial_params(config))

    @property
    def layout(self) -> Layout:
        """Sizes and offsets."""
        return layout_of(self.config)

    @functools.cached_property
    def sha256(self) -> str:
        """Identifier of the model: the sha256 of its configuration and the bytes of its parameters."""
        text = json.dumps(self.config.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode() + b"\n" + self.params.tobytes()).hexdigest()

    @functools.cached_property
    def tag(self) -> int:
        """A positive number from the sha256; a row stores it to mark which model computed its hidden state."""
        return (int(self.sha256[:16], 16) >> 1) | 1


def same_shape(one: ModelConfig, other: ModelConfig) -> bool:
    """Returns whether two networks differ in their weights, or the origin of the initial weights, only.

    Args:
        one, other: their configurations.
    """
    return replace(one, pretrained=other.pretrained, seed=other.seed) == other


def save_model(path: Path | str, model: Model, facts: dict[str, Any] | None = None) -> None:
    """Writes the model file `path` atomically; `facts` (JSON-able) are stored with the configuration.

    Raises:
        OSError: the file could not be written.
    """
    tensors = {name: np.array(view) for name, view in model.layout.views(model.params).items()}
    header = {"config": model.config.to_dict(), "sha256": model.sha256, "facts": facts or {}}
    write_checkpoint(path, tensors, header, KIND)


def load_model(path: Path | str) -> Model:
    """Reads the model file `path`.

    Raises:
        CheckpointError: the file is damaged, of another format, or tensors do not fit its configuration (all named).
    """
    tensors, header = read_checkpoint(path, KIND)
    return model_from(tensors, header["config"], str(path))


def model_from(tensors: dict[str, NDArray[Any]], config: dict[str, Any], where: str) -> Model:
    """Builds a model from named tensors and a configuration as JSON values.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape or type (all named).
    """
    try:
        parsed = ModelConfig.from_dict(config)
    except ConfigError as error:
        msg = f"{where}: its configuration does not fit this release: {error}"
        raise CheckpointError(msg) from error
    layout = layout_of(parsed)
    problems = [f"{name}: in the file, but not in the network" for name in sorted(set(tensors) - set(layout.tensors))]
    flat = np.zeros(layout.n_params, np.float32)
    for name, view in layout.views(flat).items():
        if name not in tensors:
            problems.append(f"{name}: missing in the file, expected float32 {view.shape}")
        elif tensors[name].shape != view.shape or tensors[name].dtype != np.float32:
            got = f"{tensors[name].dtype} {tensors[name].shape}"
            problems.append(f"{name}: {got} in the file, float32 {view.shape} in the network")
        else:
            view[...] = tensors[name]
    if problems:
        msg = f"{where}: does not fit its configuration: " + "; ".join(problems)
        raise CheckpointError(msg)
    try:
        return Model(parsed, flat)
    except ConfigError as error:
        msg = f"{where}: {error}"
        raise CheckpointError(msg) from error
