"""Settles the interval in which seasons that are durations are counted, once: it stays in the data folder.

    <data_dir>/interval.json    milliseconds by group of series

Without a configured interval, that of the first input file that has events holds. Files that are rotated may have
another interval later: the network keeps its seasons, and a start reports the difference.
"""

from __future__ import annotations

import json
from typing import Any, Final

import structlog

from service.config.durations import format_duration
from service.config.groups import shown_group
from service.config.sections import Config
from service.discovery.cadence import interval_of_input
from service.discovery.cadence_groups import is_cadence
from service.discovery.sample import InputSample
from service.discovery.settle import has_begun
from service.errors import ConfigurationError
from service.registry.models import replace_file

_log = structlog.get_logger()

_FILE: Final = "interval.json"


class KeptIntervals:
    """The intervals of the groups of a daemon that is about to start.

    Args:
        config: the configuration, with the fields that were chosen.
    """

    def __init__(self, config: Config) -> None:
        self._config, self._kept = config, _kept(config)
        self._is_new = False

    def settle(self, group: str = "", history: InputSample | None = None, live: InputSample | None = None) -> int:
        """Returns the interval of the series of a group in milliseconds; 0 where it is unknown.

        Args:
            group, history, live: see `service.discovery.cadence.interval_of_input`.
        """
        before, found = self._kept.get(group, 0), interval_of_input(self._config, group, history, live)
        if not before and found:
            self._kept[group], self._is_new = found, True
        elif before and found and not is_cadence(found, before):
            named = {"group": shown_group(group)} if self._config.group else {}
            kept, found_now = (format_duration(one / 1000) for one in (before, found))
            _log.warning("interval of the input differs", kept=kept, found=found_now, **named)
        return before or found

    def keep(self) -> None:
        """Stores those that were found."""
        if self._is_new:
            path = self._config.state.data_dir / _FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(self._kept) + "\n")


def _kept(config: Config) -> dict[str, int]:
    """Returns the kept intervals by group; none before a daemon has begun to read events.

    Raises:
        ConfigurationError: they cannot be read.
    """
    path = config.state.data_dir / _FILE
    if not has_begun(config.state.data_dir):
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return {str(name): int(interval_ms) for name, interval_ms in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        msg = f"{path}: got {error}, expected intervals by group; restore it, or set model.interval"
        raise ConfigurationError(msg) from None
