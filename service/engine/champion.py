"""The model that partitions are to be forecast with: the registry's champion, loaded and checked."""

from __future__ import annotations

from dataclasses import asdict, replace

import structlog

from forecaster import CheckpointError, Model, ModelConfig
from service.config.sections import Config
from service.errors import ConfigurationError, ServiceError
from service.monitoring.metrics import Metrics
from service.registry.models import Registry

_log = structlog.get_logger()
_ORIGIN = ("pretrained", "seed")  # settings of the first weights, which no later ones depend on


class Champion:
    """Keeps the champion in memory.

    Args:
        config: which network is wanted.
        registry: where models are.
        metrics: where the model in force and refused ones are shown.

    Attributes:
        model: the champion, None before `first`.
    """

    def __init__(self, config: Config, registry: Registry, metrics: Metrics) -> None:
        self.model: Model | None = None
        self._config, self._registry, self._metrics = config, registry, metrics
        self._refused = ""

    def first(self) -> Model:
        """The champion at a start; a model not yet trained on the stream becomes it where there is none.

        Raises:
            ConfigurationError: it is another network than the configuration wants; field by field.
            RegistryError, CheckpointError: it cannot be loaded.
        """
        self._registry.recover()
        wanted = self._config.library_model()
        sha256 = self._registry.champion()
        model = self._registry.load(sha256) if sha256 else self._registry.begin(wanted)
        if not _same_network(model.config, wanted):
            mine, theirs = asdict(wanted), asdict(model.config)
            differ = [name for name in mine if name not in _ORIGIN and mine[name] != theirs[name]]
            each = [f"{_key(name)}: got {_shown(mine[name])}, expected {_shown(theirs[name])}" for name in differ]
            msg = (
                f"{', '.join(each)} as in the state of {self._config.state.data_dir}; "
                "put it back, or start anew with another state.data_dir"
            )
            raise ConfigurationError(msg)
        self._crown(model)
        return model

    def look(self) -> None:
        """Loads the champion if it has changed. One that cannot be used is refused, and all stays as it was."""
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
        self._crown(model)

    def _crown(self, model: Model) -> None:
        self.model, self._refused = model, ""
        self._metrics.model.info({"sha256": model.sha256[:12], "cell": model.config.cell})


def _key(name: str) -> str:
    """Where a setting of the network stands in the configuration."""
    return f"{'input' if name in {'covariates', 'future_covariates'} else 'model'}.{name}"


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _same_network(one: ModelConfig, other: ModelConfig) -> bool:
    """Whether models of both differ in weights only, or in where the first ones came from."""
    return replace(one, **{name: getattr(other, name) for name in _ORIGIN}) == other


def _check_same_network(model: Model, current: Model) -> None:
    if not _same_network(model.config, current.config):
        msg = f"model {model.sha256[:12]} is a network of another configuration than {current.sha256[:12]}"
        raise CheckpointError(msg)
