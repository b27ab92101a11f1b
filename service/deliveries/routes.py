"""Makes producers and targets from the configuration."""

from __future__ import annotations

from service.config.sections import Config
from service.deliveries.deliveries import Route
from service.deliveries.forecast_samples import ForecastSamples, Published
from service.deliveries.remote_write import NAME, RemoteWriteTarget
from service.errors import ConfigurationError


def check_deliveries(config: Config) -> None:
    """Checks the settings of all targets before anything is opened.

    Raises:
        ConfigurationError: a setting is invalid; the message has the remedy.
    """
    for name in ("password_file", "token_file", "ca_file", "webhook_secret_file"):
        path = getattr(config.alerts, name)
        if config.alerts.has_target and path is not None and not path.is_file():
            msg = f"alerts.{name}: got {path}, expected a file that can be read"
            raise ConfigurationError(msg)
    settings = config.remote_write
    if not settings.url:
        return
    for name in ("password_file", "token_file", "ca_file"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            msg = f"remote_write.{name}: got {path}, expected a file that can be read"
            raise ConfigurationError(msg)
    if settings.steps and max(settings.steps) > config.longest_horizon:
        msg = (
            f"remote_write.steps: got {max(settings.steps)}, expected at most the {config.longest_horizon} steps of "
            "model.horizon"
        )
        raise ConfigurationError(msg)
    levels = sorted({level for name in config.group_names for level in config.of_group(name).model.quantiles})
    if missing := [one for one in settings.quantiles if one not in levels]:
        msg = f"remote_write.quantiles: got {missing[0]:g}, expected some of model.quantiles: {_listed(levels)}"
        raise ConfigurationError(msg)


def _listed(levels: list[float]) -> str:
    return ", ".join(f"{level:g}" for level in levels)


def routes_of(config: Config) -> list[Route]:
    """Returns the producers and targets of a checked configuration; none where it has no targets."""
    if not config.remote_write.url:
        return []
    outputs = {name: config.of_group(name).output for name in config.group_names}
    published = {name: Published(one.every, one.publish_from_ms) for name, one in outputs.items()}
    return [Route(ForecastSamples(config.remote_write, published, NAME), [RemoteWriteTarget(config.remote_write)])]
