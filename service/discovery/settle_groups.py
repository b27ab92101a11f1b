"""Settles the groups of series by cadence, once: the choice stays in the data folder.

    <data_dir>/cadences.json    the groups with their series, and the input files that they were found in

Series of input files whose events come in different cadences get a group for each cadence at the first start, unless
the configuration says what their cadence or their seasons are. See docs/groups.md.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from service.config.groups import MOST_GROUPS
from service.config.sections import Config
from service.discovery.cadence import FirstEvents
from service.discovery.cadence_groups import cadence_groups
from service.discovery.sample import InputSample
from service.discovery.series_scan import SeriesScan
from service.discovery.settle import has_begun
from service.errors import ConfigurationError
from service.partitions.grouping import Grouping
from service.registry.models import replace_file
from service.sources.pipes import kind_of
from service.transport.history import history_settings

_FILE: Final = "cadences.json"


class SettledGroups(NamedTuple):
    """The groups of series by cadence.

    Attributes:
        series: the series of each group, by its name; none where all have one cadence.
        seasons: of the networks of the groups, "" for that of the sections; only where they were found now.
        is_new: whether the groups are to be kept.
    """

    series: Mapping[str, Sequence[str]] = MappingProxyType({})
    seasons: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    is_new: bool = False

    @property
    def settings(self) -> dict[str, object]:
        """The groups as configuration keys with their values."""
        return {f"group.{name}.match": [glob.escape(one) for one in series] for name, series in self.series.items()}


def settle_groups(config: Config, history: InputSample | None = None, live: InputSample | None = None) -> SettledGroups:
    """Finds the groups of the series of the input files, or returns those that are kept. Writes nothing.

    Args:
        config: the configuration, with the fields that were chosen.
        history: a sample of one of the files of the history that was read already.
        live: the same of one of the input files.

    Raises:
        ConfigurationError: the kept groups cannot be read.
    """
    if not _are_automatic(config):
        return SettledGroups()
    if has_begun(config.state.data_dir):
        return SettledGroups(_kept(config))
    inputs = [(entry, settings, history) for entry, settings in history_settings(config)]
    if not config.kafka.topics and all(kind_of(entry) == "file" for entry in config.input.files):
        inputs += [(entry, config.input, live) for entry in config.input.files]
    scan = SeriesScan(inputs)
    names, events = scan.names, scan.events
    if config.group:
        free = Grouping(config.group).of(names) == 0
        keep = free[events.series]
        events = FirstEvents(events.series[keep], events.timestamp_ms[keep], events.value[keep], events.complete)
    found = cadence_groups(events, config.group_names)[: 1 + MOST_GROUPS - len(config.group)]
    return SettledGroups(
        {group.name: [names[number] for number in group.series.tolist()] for group in found if group.name},
        {group.name: group.seasons for group in found},
        is_new=True,
    )


def kept_groups(config: Config) -> dict[str, object]:
    """Returns the kept groups of a data folder as configuration keys, for commands beside the daemon.

    Raises:
        ConfigurationError: they cannot be read.
    """
    return SettledGroups(_kept(config)).settings if _are_automatic(config) else {}


def _are_automatic(config: Config) -> bool:
    """Returns whether the configuration leaves it to the daemon which cadences and seasons there are."""
    model = config.model
    return not (model.seasons != "auto" or config.step_ms or config.aggregate.interval or config.input.broadcast)


def keep_groups(config: Config, found: SettledGroups) -> None:
    """Stores what `settle_groups` found, when the daemon is about to read the first event."""
    path = config.state.data_dir / _FILE
    if not found.series:
        path.unlink(missing_ok=True)  # of a start that was killed before its first event
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [*config.bootstrap.files, *config.input.files]
    replace_file(path, json.dumps({"files": files, "groups": dict(found.series)}, indent=1) + "\n")


def _kept(config: Config) -> dict[str, list[str]]:
    """Returns the kept groups, without those whose name a configured group has: its series are its own."""
    path = config.state.data_dir / _FILE
    try:
        found: Any = json.loads(path.read_text("utf-8"))["groups"]
        if all(series and all(isinstance(one, str) for one in series) for series in found.values()):
            return {name: list(series) for name, series in found.items() if name not in config.group_names}
        why = "other content"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        why = str(error)
    msg = f"{path}: got {why}, expected the groups of series that were found; restore it, or set model.seasons"
    raise ConfigurationError(msg)
