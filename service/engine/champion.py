"""Loads and checks the registry's champion, the model that forecasts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

import structlog

from forecaster import CheckpointError, Model, ModelConfig, same_shape, series_bytes, start_model, transferred
from service.config.sections import Config
from service.errors import ServiceError
from service.monitoring.metrics import Metrics
from service.registry.decisions import PROMOTING, Decision, configured_of, searchable
from service.registry.models import Registry

_log = structlog.get_logger()


class Champion:
    """Keeps the champion in memory.

    Args:
        config: has the configured network.
        registry: the model registry.
        metrics: export the model in force and count refused ones.

    Attributes:
        model: the champion, None before `first`.
        seasons: in steps, of a first start whose configuration leaves them to the daemon; None: as configured.
    """

    def __init__(self, config: Config, registry: Registry, metrics: Metrics) -> None:
        self.model: Model | None = None
        self.seasons: tuple[int, ...] | None = None
        self._config, self._registry, self._metrics = config, registry, metrics
        self._refused = ""

    def first(self) -> Model:
        """Loads the champion at a start; without one, a model that was not trained on the stream becomes champion.

        Where the configuration has another network than the champion, a network of that shape becomes champion, with
        the weights of the former one as far as they fit (`forecaster.transferred`).

        Raises:
            RegistryError, CheckpointError: the champion cannot be loaded.
        """
        self._registry.recover()
        sha256 = self._registry.champion()
        if sha256 is None:
            model = self._registry.begin(self._config.library_model(self.seasons))
        else:
            model = self._with_configured_shape(self._registry.load(sha256))
        self._set_champion(model)
        return model

    def _wanted(self, of: ModelConfig, changed: Collection[str] = ()) -> ModelConfig:
        """Returns the configured network, with what the configuration leaves to trainings as in a model.

        `changed`: settings that hold as configured all the same.
        """
        auto = self._config.model.seasons == "auto"
        wanted = self._config.library_model(of.seasons if auto else None)
        left = {name for name in self._config.retrain.search if name not in changed}
        if wanted.holidays:  # which need the calendar
            left.discard("calendar")
        return replace(wanted, **{name: value for name, value in searchable(of).items() if name in left})

    def _with_configured_shape(self, model: Model) -> Model:
        """Returns the champion of a start, in the configured shape.

        What `retrain.search` leaves to trainings is as in the champion, until the configuration has another value of it
        than at the start before.
        """
        before = configured_of(self._registry.decisions())
        configured = searchable(self._config.library_model(model.config.seasons))
        wanted = self._wanted(model.config, [name for name in configured if before.get(name) != configured[name]])
        if not same_shape(model.config, wanted):
            return self._reshaped(model, wanted, configured)
        if configured != before and (before or self._config.retrain.search):
            reason = "the configuration has the shape of the network"
            self._registry.record(Decision("reshaped", model.sha256, model.sha256, reason, configured=configured))
        return model

    def _reshaped(self, model: Model, wanted: ModelConfig, configured: dict[str, Any]) -> Model:
        """Makes a network of the configured shape the champion; partitions adopt it with their next events."""
        found = transferred(model, wanted)
        changes = _changes(model.config, wanted)
        reason = f"the configuration changed: {changes}"
        self._registry.add(found, model.sha256)
        self._registry.record(Decision("reshaped", found.sha256, model.sha256, reason, configured=configured))
        group = {"group": self._registry.group} if self._registry.group else {}
        _log.warning("network changed by the configuration", changes=changes, model=found.sha256[:12],
                     before=model.sha256[:12], **group)  # fmt: skip
        return found

    @property
    def awaits_seasons(self) -> bool:
        """Whether the network has no seasons, is free to have some, has learnt nothing, and was chosen by nobody."""
        model = self.model
        if model is None or self._config.model.seasons != "auto" or model.config.seasons:
            return False
        chosen = next((one.action for one in reversed(self._registry.decisions()) if one.action in PROMOTING), "")
        return chosen in {"initial", "reshaped"} and model.sha256 == start_model(model.config).sha256

    def begin_with(self, seasons: tuple[int, ...]) -> None:
        """Makes the network of a first start with seasons the champion; partitions adopt it with their next events.

        Args:
            seasons: in steps.
        """
        if (before := self.model) is None:
            return
        found = start_model(replace(before.config, seasons=seasons))
        steps = ", ".join(map(str, seasons))
        self._registry.add(found, before.sha256)
        reason = f"the first events have a cadence with seasons of {steps} steps"
        self._registry.record(Decision("reshaped", found.sha256, before.sha256, reason))
        group = {"group": self._registry.group} if self._registry.group else {}
        _log.info("network begins with the seasons of its series", steps=steps, model=found.sha256[:12], **group)
        self._set_champion(found)

    def refresh(self) -> None:
        """Loads the champion if it has changed. One that cannot be used is refused; the previous one stays in force."""
        sha256, current = self._registry.champion(), self.model
        if sha256 is None or current is None or sha256 in {current.sha256, self._refused}:
            return
        try:
            model = self._registry.load(sha256)
            self._check_configured(model)
        except (CheckpointError, ServiceError) as error:
            self._refused = sha256
            self._metrics.models_refused.inc()
            _log.warning("champion refused", model=sha256[:12], error=str(error))
            return
        self._set_champion(model)

    def _check_configured(self, model: Model) -> None:
        wanted = self._wanted(model.config)
        if not same_shape(model.config, wanted):
            msg = f"model {model.sha256[:12]} is a network of another configuration: {_changes(wanted, model.config)}"
            raise CheckpointError(msg)

    def _set_champion(self, model: Model) -> None:
        if self.model is None or self.model.config.profile_steps != model.config.profile_steps:
            self._report_profile(model.config)
        self.model, self._refused = model, ""
        self._metrics.model.info({"sha256": model.sha256[:12], "cell": model.config.cell})

    def _report_profile(self, config: ModelConfig) -> None:
        """Logs how finely rows hold the values of seasons, where it is not every value, and their bytes."""
        budget = self._config.state.bytes_per_series
        bytes_per_series, group = series_bytes(config), {"group": self._registry.group} if self._registry.group else {}
        if config.profile_steps > 1:
            _log.info("older values kept as means", steps=config.profile_steps, seasons=list(config.seasons),
                      bytes_per_series=bytes_per_series, **group)  # fmt: skip
        if budget != "auto" and bytes_per_series > budget:
            _log.warning("more bytes per series than state.bytes_per_series", bytes_per_series=bytes_per_series,
                         expected=budget, **group)  # fmt: skip


def _changes(before: ModelConfig, after: ModelConfig) -> str:
    """Returns which settings of two networks differ, as text."""
    one, other = asdict(before), asdict(replace(after, pretrained=before.pretrained, seed=before.seed))
    return ", ".join(f"{_key(name)}: {_shown(one[name])} to {_shown(other[name])}" for name in one
                     if one[name] != other[name])  # fmt: skip


def _key(name: str) -> str:
    """Returns the configuration key of a setting of the network."""
    if name == "profile_steps":
        return "state.bytes_per_series, steps of a mean"
    return f"{'input' if name in {'covariates', 'future_covariates'} else 'model'}.{name}"


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
