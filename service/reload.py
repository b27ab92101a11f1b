"""The configuration while the daemon runs: what may change under way, and who is told.

Live are keys that change neither the state nor the bytes that are committed (log, what is shown, when to warn), or
that a replay need not repeat: what a training is and when it falls due, because a replay changes models where that is
on record, whatever the schedule says now.

The rules of `[anomaly]` do change what is committed, and what a row remembers. They change between two batches, and a
snapshot is written there before anything else is committed; every snapshot says which rules hold from it on, and a
restart replays from it with those. So a crash at any place gives the same bits as none (engine/anomaly_rules.py).

Everything else needs a restart: it is named in the log and in `forecaster_config_restart_needed`, and stays as it was.
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

# Keys, or sections with a dot behind them.
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
    "retrain.start",
    "retrain.drift_start",
    "retrain.deadline",
    "retrain.nice",
    "state.snapshot_every",
)
_NOT_LIVE: Final = ("metrics.sample_series",)


def is_live(key: str) -> bool:
    """Whether a key may change while the daemon runs."""
    return key not in _NOT_LIVE and any(key == live or (live.endswith(".") and key.startswith(live)) for live in LIVE)


def changes(before: Config, after: Config) -> dict[str, Any]:
    """Keys "section.key" that differ, with their new values."""
    found = {}
    for section in Config.model_fields:
        old, new = getattr(before, section), getattr(after, section)
        for key in type(old).model_fields:
            if getattr(old, key) != getattr(new, key):
                found[f"{section}.{key}"] = getattr(new, key)
    return found


class ReloadableConfig:
    """The settings in force.

    Args:
        config: as of the start.
        path: its file, None for none.
        overrides: flags that were given beside it.
        told: called with the settings when some have changed, in the thread that reloads.
        waiting: called with the keys that differ from those in force and need a restart.

    Attributes:
        config: in force.
    """

    def __init__(
        self,
        config: Config,
        path: Path | None,
        overrides: Mapping[str, object],
        told: Callable[[Config], None],
        waiting: Callable[[list[str]], None],
    ) -> None:
        self.config, self.path = config, path
        self._overrides, self._told, self._waiting = dict(overrides), told, waiting

    def files(self) -> list[Path]:
        """What it is read from, to be watched."""
        return [] if self.path is None else [self.path]

    def reload(self) -> None:
        """Reads the file again and puts in force what may change.

        Raises:
            ConfigurationError: it cannot be used; everything stays as it was.
        """
        if self.path is None:
            return
        new = changes(self.config, load_config(self.path, self._overrides))
        live = {key: value for key, value in new.items() if is_live(key)}
        later = sorted(set(new) - set(live))
        self._waiting(later)
        if later:
            _log.warning("restart needed for changed settings", keys=", ".join(later))
        if live:
            self.config = _with(self.config, live)
            _log.info("settings changed", **{key.replace(".", "_"): _shown(value) for key, value in live.items()})
            self._told(self.config)


def _with(config: Config, values: Mapping[str, Any]) -> Config:
    """A configuration with some keys changed; each was checked when its file was read."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    update = {name: getattr(config, name).model_copy(update=part) for name, part in sections.items()}
    return config.model_copy(update=update)


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, SecretStr | Path | tuple) else value
