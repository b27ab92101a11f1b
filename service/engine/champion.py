"""Loads and checks the registry's champion, the model that forecasts."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import structlog

from forecaster import Batch, CheckpointError, Forecaster, Model, ModelConfig
from service.config.sections import Config
from service.errors import ConfigurationError, ServiceError
from service.monitoring.metrics import Metrics
from service.registry.models import Registry

_log = structlog.get_logger()
_ORIGIN = ("pretrained", "seed")  # settings of the initial weights; later weights do not depend on them


class Champion:
    """Keeps the champion in memory.

    Args:
        config: has the configured network.
        registry: the model registry.
        metrics: export the model in force and count refused ones.

    Attributes:
        model: the champion, None before `first`.
    """

    def __init__(self, config: Config, registry: Registry, metrics: Metrics) -> None:
        self.model: Model | None = None
        self._config, self._registry, self._metrics = config, registry, metrics
        self._refused = ""

    def first(self) -> Model:
        """Loads the champion at a start; without one, a model that was not trained on the stream becomes champion.

        Raises:
            ConfigurationError: the champion has another network than the configuration; lists the fields.
            RegistryError, CheckpointError: the champion cannot be loaded.
        """
        self._registry.recover()
        wanted = self._config.library_model()
        sha256 = self._registry.champion()
        model = self._registry.load(sha256) if sha256 else self._registry.begin(wanted)
        if self._config.model.seasons == "auto":  # found at the first start, and part of the network since
            wanted = replace(wanted, seasons=model.config.seasons)
        if not _same_network(model.config, wanted):
            configured, stored = asdict(wanted), asdict(model.config)
            differ = [name for name in configured if name not in _ORIGIN and configured[name] != stored[name]]
            each = [f"{_key(name)}: got {_shown(configured[name])}, expected {_shown(stored[name])}" for name in differ]
            group = f'group "{self._registry.group}": ' if self._registry.group else ""
            msg = (
                f"{group}{', '.join(each)} as in the state of {self._config.state.data_dir}; restore the setting, or "
                "start with another state.data_dir"
            )
            raise ConfigurationError(msg)
        self._set_champion(model)
        return model

    def refresh(self) -> None:
        """Loads the champion if it has changed. One that cannot be used is refused; the previous one stays in force."""
        sha256, current = self._registry.champion(), self.model
        if sha256 is None or current is None or sha256 in {current.sha256, self._refused}:
            return
        try:
            model = self._registry.load(sha256)
            _check_same_network(model, current)
        except (CheckpointError, ServiceError) as error:
            self._refused = sha256
            self._metrics.models_refused.inc()
            _log.warning("champion refused", model=sha256[:12], error=str(error))
            return
        self._set_champion(model)

    def _set_champion(self, model: Model) -> None:
        self.model, self._refused = model, ""
        self._metrics.model.info({"sha256": model.sha256[:12], "cell": model.config.cell})


def _key(name: str) -> str:
    """Returns the configuration key of a setting of the network."""
    return f"{'input' if name in {'covariates', 'future_covariates'} else 'model'}.{name}"


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _same_network(one: ModelConfig, other: ModelConfig) -> bool:
    """Returns whether two networks differ in their weights or the origin of the initial weights only."""
    return replace(one, **{name: getattr(other, name) for name in _ORIGIN}) == other


def _check_same_network(model: Model, current: Model) -> None:
    if not _same_network(model.config, current.config):
        msg = f"model {model.sha256[:12]} is a network of another configuration than {current.sha256[:12]}"
        raise CheckpointError(msg)


def compile_kernels(model: Model, *, repairs: bool = False) -> None:
    """Compiles the functions of the loop for a model, with a temporary forecaster.

    `repairs`: also those for late events.
    """
    config = model.config
    covariates = np.zeros((1, len(config.covariates)), np.float32) if config.covariates else None
    known = len(config.future_covariates)
    future = np.zeros((1, known, config.horizon), np.float32) if known else None
    batch = Batch(["warm up"], np.zeros(1, np.int64), np.zeros(1), covariates, future)
    Forecaster(model, max_series=1, history_events=0, late_within=int(repairs)).observe(batch)
