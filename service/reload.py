"""The configuration at run time: which settings may change without a restart, and who is notified.

Live keys change neither the state nor the committed bytes (log, metrics, warnings), or affect only what a replay need
not repeat: trainings and their schedule, because a replay changes models at their recorded adoptions.

The rules of `[anomaly]` change committed forecasts and the state of rows. They change between two batches, with a
snapshot before the next commit; every snapshot has the rules that apply from its position on, and a restart replays
from it with them. So a crash at any point does not change the bits (engine/anomaly_rules.py).

All other keys need a restart: they are listed in the log, counted in `forecaster_config_restart_needed`, and stay
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import SecretStr

from service.config.load import load_config
from service.config.sections import Config

_log = structlog.get_logger()

# Keys, or sections with a trailing dot.
LIVE: Final = (
    "anomaly.",
    "health.",
    "log.",
    "metrics.",
    "train.",
    "retrain.every_events",
    "retrain.every_time",
    "retrain.first_after_events",
    "retrain.drift_threshold",
    "retrain.drift_cooldown",
    "retrain.drift_follow",
    "retrain.cpu_share",
    "retrain.start",
    "retrain.drift_start",
    "retrain.deadline",
    "retrain.nice",
    "state.snapshot_every",
)
_NOT_LIVE: Final = ("metrics.sample_series",)


def is_live(key: str) -> bool:
    """Returns whether a key may change at run time."""
    return key not in _NOT_LIVE and any(key == live or (live.endswith(".") and key.startswith(live)) for live in LIVE)


def changes(before: Config, after: Config) -> dict[str, Any]:
    """Returns the keys "section.key" that differ, with their new values."""
    found: dict[str, Any] = {}
    for section in Config.model_fields:
        old, new = getattr(before, section), getattr(after, section)
        if isinstance(old, tuple):  # [[group]] and others, fixed: a series changes its group at a start only
            found |= {} if old == new else {section: new}
            continue
        for key in type(old).model_fields:
            if getattr(old, key) != getattr(new, key):
                found[f"{section}.{key}"] = getattr(new, key)
    return found


class ReloadableConfig:
    """The settings in force.

    Args:
        config: the settings at the start.
        path: the configuration file, or None.
        overrides: flags that override it.
        on_change: called with the new settings after a change, in the thread that reloads.
        on_pending: called with the changed keys that need a restart.

    Attributes:
        config: the settings in force.
    """

    def __init__(
        self,
        config: Config,
        path: Path | None,
        overrides: Mapping[str, object],
        on_change: Callable[[Config], None],
        on_pending: Callable[[list[str]], None],
    ) -> None:
        self.config, self.path = config, path
        self._overrides, self._on_change, self._on_pending = dict(overrides), on_change, on_pending

    def files(self) -> list[Path]:
        """Returns the files to watch."""
        return [] if self.path is None else [self.path]

    def reload(self) -> None:
        """Reads the file again and puts live keys in force.

        Raises:
            ConfigurationError: the file cannot be used; all settings stay unchanged.
        """
        if self.path is None:
            return
        new = changes(self.config, load_config(self.path, self._overrides))
        live = {key: value for key, value in new.items() if is_live(key)}
        later = sorted(set(new) - set(live))
        self._on_pending(later)
        if later:
            _log.warning("restart needed for changed settings", keys=", ".join(later))
        if live:
            self.config = _with(self.config, live)
            _log.info("settings changed", **{key.replace(".", "_"): _shown(value) for key, value in live.items()})
            self._on_change(self.config)


def _with(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a configuration with changed keys; their values were checked when the file was read."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    update = {name: getattr(config, name).model_copy(update=part) for name, part in sections.items()}
    return config.model_copy(update=update)


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, SecretStr | Path | tuple) else value
