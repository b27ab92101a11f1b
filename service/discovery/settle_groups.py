"""Settles the groups of series by cadence; the choice stays in the data folder.

    <data_dir>/cadences.json    the groups with their series, and the input files that they were found in

Series of input files whose events come in different cadences get a group for each cadence at the first start, unless
the configuration says what their cadence or their seasons are. Series that show another cadence than the others later
get theirs while the daemon runs (`LateGroups`). See docs/groups.md.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecaster import History
from service.config.groups import MOST_GROUPS
from service.config.input import InputConfig
from service.config.sections import Config
from service.discovery.cadence import FirstEvents
from service.discovery.cadence_groups import (
    MOST_CADENCES,
    cadence_groups,
    cadences_of,
    group_name,
    is_cadence,
    seasons_of_cadence,
)
from service.discovery.sample import InputSample
from service.discovery.series_scan import SeriesScan
from service.discovery.settle import has_begun
from service.errors import ConfigurationError
from service.partitions.grouping import Grouping
from service.registry.models import replace_file
from service.sources.pipes import kind_of
from service.transport.history import history_settings

_FILE: Final = "cadences.json"
_FEWEST_GAPS: Final = 5  # of a series while the daemon runs: later checks see more, and it stays in its group


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """A group of series by cadence.

    Attributes:
        interval_ms: of its cadence, 0 for series of none. seasons: of its first network, in steps.
        series: their names; of the group of the sections, which has all others, none.
    """

    interval_ms: int
    seasons: tuple[int, ...]
    series: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SettledGroups:
    """The groups of series by cadence.

    Attributes:
        groups: by their names, "" for that of the sections; none where all series have one cadence.
        is_new: whether they are to be kept.
    """

    groups: Mapping[str, KeptGroup] = field(default_factory=dict)
    is_new: bool = False

    @property
    def own(self) -> dict[str, KeptGroup]:
        """The groups without that of the sections."""
        return {name: group for name, group in self.groups.items() if name}

    @property
    def settings(self) -> dict[str, object]:
        """The groups as configuration keys with their values."""
        return {f"group.{name}.match": [glob.escape(one) for one in group.series] for name, group in self.own.items()}

    @property
    def description(self) -> str:
        """The groups with the numbers of their series, for people."""
        return ", ".join(f"{name}: {len(group.series)}" for name, group in self.own.items())


def settle_groups(config: Config, history: InputSample | None = None, live: InputSample | None = None) -> SettledGroups:
    """Finds the groups of the series of the input files, or returns those that are kept. Writes nothing.

    Args:
        config: the configuration, with the fields that were chosen.
        history: a sample of one of the files of the history that was read already.
        live: the same of one of the input files.

    Raises:
        ConfigurationError: the kept groups cannot be read.
    """
    if not are_automatic(config):
        return SettledGroups()
    if has_begun(config.state.data_dir):
        return _kept(config)
    scan = SeriesScan(
        (entry, settings, live if settings is config.input else history) for entry, settings in _readable(config)
    )
    names, events = scan.names, scan.events
    if config.group:
        free = Grouping(config.group).of(names) == 0
        keep = free[events.series]
        events = FirstEvents(events.series[keep], events.timestamp_ms[keep], events.value[keep], events.complete)
    found = cadence_groups(events, config.group_names)[: 1 + MOST_GROUPS - len(config.group)]
    groups = {
        one.name: KeptGroup(
            one.interval_ms, one.seasons, tuple(names[number] for number in one.series.tolist()) if one.name else ()
        )
        for one in found
    }
    return SettledGroups(groups, is_new=True)


def _readable(config: Config) -> list[tuple[str, InputConfig]]:
    """Returns the inputs that can be read ahead, with the settings of each."""
    found = history_settings(config)
    if not config.kafka.topics and all(kind_of(entry) == "file" for entry in config.input.files):
        found += [(entry, config.input) for entry in config.input.files]
    return found


def kept_groups(config: Config) -> dict[str, object]:
    """Returns the kept groups of a data folder as configuration keys, for commands beside the daemon.

    Raises:
        ConfigurationError: they cannot be read.
    """
    return _kept(config).settings if are_automatic(config) else {}


def are_automatic(config: Config) -> bool:
    """Returns whether the configuration leaves it to the daemon which cadences and seasons there are."""
    model = config.model
    return not (model.seasons != "auto" or config.step_ms or config.aggregate.interval or config.input.broadcast)


def keep_groups(config: Config, found: SettledGroups) -> None:
    """Stores groups, when the daemon is about to read the first event behind their beginning."""
    path = config.state.data_dir / _FILE
    if not found.groups:
        path.unlink(missing_ok=True)  # of a start that was killed before its first event
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [*config.bootstrap.files, *config.input.files]
    groups = {name: asdict(group) for name, group in found.groups.items()}
    replace_file(path, json.dumps({"files": files, "groups": groups}, indent=1) + "\n")


def _kept(config: Config) -> SettledGroups:
    """Returns the kept groups, without those whose name a configured group has: its series are its own."""
    path = config.state.data_dir / _FILE
    try:
        found: Any = json.loads(path.read_text("utf-8"))["groups"]
        groups = {str(name): _group_of(values, name) for name, values in found.items()}
        return SettledGroups({name: one for name, one in groups.items() if not name or name not in config.group_names})
    except FileNotFoundError:
        return SettledGroups()
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        msg = f"{path}: got {error}, expected the groups of series that were found; restore it, or set model.seasons"
        raise ConfigurationError(msg) from None


def _group_of(values: Mapping[str, Any], name: str) -> KeptGroup:
    group = KeptGroup(int(values["interval_ms"]), tuple(map(int, values["seasons"])), tuple(values["series"]))
    if bool(group.series) != bool(name) or not all(isinstance(one, str) for one in group.series):
        msg = f"other series of the group {name!r}"
        raise ValueError(msg)
    return group


class LateGroups:
    """Finds series of the group of the sections that have another cadence than it, while the daemon runs.

    Called with its history at positions that depend on the stream only. Used by one thread at a time.

    Args:
        config: as configured, without groups by cadence.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._before = self._found = _kept(config)

    def seasons(self, history: History) -> tuple[int, ...]:
        """Returns the seasons of the cadence of the group of the sections, see `__call__`; none if it is unknown."""
        if self._before.groups:
            return self._before.groups[""].seasons
        events = _events_of(history)
        cadences = cadences_of(events, _FEWEST_GAPS)
        return seasons_of_cadence(events, *_first_of(cadences)) if cadences else ()

    def __call__(self, history: History) -> bool:
        """Returns whether series need another group; a function of the history and the groups so far.

        The cadence of the series that the daemon has known longest is that of the group of the sections.
        """
        events = _events_of(history)
        cadences = cadences_of(events, _FEWEST_GAPS)
        groups = dict(self._before.groups)
        if len(cadences) < (1 if groups else 2):
            return False
        if not groups:
            interval_ms, series = _first_of(cadences)
            groups[""] = KeptGroup(interval_ms, seasons_of_cadence(events, interval_ms, series))
        usual = groups[""].interval_ms
        room = min(MOST_CADENCES, 1 + MOST_GROUPS - len(self._config.group))
        for interval_ms, series in cadences:
            if is_cadence(interval_ms, usual):
                continue
            names = tuple(history.names[serial] for serial in series.tolist())
            fitting = [name for name, one in groups.items() if name and is_cadence(interval_ms, one.interval_ms)]
            if fitting:
                one = groups[fitting[0]]
                newest = tuple(dict.fromkeys((*one.series, *names)))[-self._config.state.max_series :]
                groups[fitting[0]] = replace(one, series=newest)  # others have lost their rows
            elif len(groups) < room:
                name = group_name(interval_ms, {*groups, *self._config.group_names})
                groups[name] = KeptGroup(interval_ms, seasons_of_cadence(events, interval_ms, series), names)
        self._found = SettledGroups(groups)
        return self._found.own != self._before.own

    def keep(self) -> str:
        """Stores the groups that were found last; returns their description."""
        keep_groups(self._config, self._found)
        self._before = self._found
        return self._found.description


def _events_of(history: History) -> FirstEvents:
    """Returns the events of the series whose names are known."""
    known = np.isin(history.series, np.fromiter(history.names, np.int64, len(history.names)))
    return FirstEvents(history.series[known], history.timestamp_ms[known], history.value[known], complete=False)


def _first_of(cadences: Sequence[tuple[int, NDArray[np.int64]]]) -> tuple[int, NDArray[np.int64]]:
    """Returns the cadence of the series that the daemon has known longest, with its series."""
    return min(cadences, key=lambda one: int(one[1][0]))
