"""Completes a configuration with what the input files show: their fields, groups by cadence, and seasons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from service.config.load import load_config
from service.config.sections import Config
from service.discovery.cadence import seasons_of_input, steps_of
from service.discovery.sample import InputSample
from service.discovery.settle import keep, settle, settle_history
from service.discovery.settle_groups import SettledGroups, keep_groups, settle_groups
from service.discovery.settle_interval import KeptIntervals
from service.registry.models import has_models

_log = structlog.get_logger()


FirstSeasons = dict[str, tuple[int, ...]]
"""Seasons of the first network of each group of series whose configuration leaves them to the daemon, by its name."""


def with_chosen_fields(config: Config, path: Path | None, flags: Mapping[str, object]) -> Config:
    """Returns the settings with the fields of the input that a start would choose; writes nothing.

    Raises:
        ConfigurationError, ServiceError: as `settled`.
    """
    chosen = settle(config).settings
    return load_config(path, {**chosen, **flags}) if chosen else config


def settled(
    config: Config, path: Path | None, flags: Mapping[str, object]
) -> tuple[Config, dict[str, object], FirstSeasons]:
    """Completes the configuration of a daemon that is about to start; logs what was chosen, and keeps it.

    Args:
        config: as configured.
        path, flags: its file and flags.

    Returns:
        The configuration; the flags with what was chosen, with which a reload reads the file again; and the seasons of
        first networks.

    Raises:
        ConfigurationError: the fields are ambiguous, a season does not fit, or a kept choice cannot be read.
        ServiceError: a file cannot be read.
    """
    flags = dict(flags)
    history, live = settle_history(config), settle(config)
    for found in (history, live):
        if found.settings:
            flags = {**found.settings, **flags}
            config = load_config(path, flags)
            if found.line:
                _log.info("fields of the input chosen", choice=found.line)
            if found.is_new:
                keep(config, found)
    groups = settle_groups(config, history.sample, live.sample)
    if groups.own:
        flags |= groups.settings
        config = load_config(path, flags)
        if groups.is_new:
            _log.info("groups of series by cadence chosen", series=groups.description)
    if groups.is_new:
        keep_groups(config, groups)
    seasons, first = dict[str, object](), FirstSeasons()
    durations = any(config.of_group(group).model.seasons_need_interval for group in config.group_names)
    intervals = KeptIntervals(config) if durations else None
    for group in config.group_names:
        seasons |= _seasons_flag(config, group, history.sample, live.sample, groups, intervals, first)
    if intervals is not None:
        intervals.keep()
    if seasons:
        flags |= seasons
        config = load_config(path, flags)
    return config, flags, first


def _seasons_flag(
    config: Config,
    group: str,
    history: InputSample | None,
    live: InputSample | None,
    groups: SettledGroups,
    intervals: KeptIntervals | None,
    first: FirstSeasons,
) -> dict[str, object]:
    """Returns the flag that sets the seasons of the network of a group of series; none where they are as configured.

    Args:
        config: has all groups.
        group: its name.
        history, live: samples of the inputs that were read already.
        groups: those by cadence.
        intervals: of the groups, where seasons are durations.
        first: gets the seasons of the first network where the configuration leaves them to the daemon.
    """
    wanted, learnt = config.of_group(group).model, has_models(config.state.data_dir / "models", group)
    if not (wanted.seasons_need_interval or (wanted.seasons == "auto" and not learnt)):
        # A group must not inherit what is found for the series of no group.
        return {f"group.{group}.model.seasons": wanted.seasons} if group else {}
    known = groups.groups.get(group)
    if known is not None:
        seasons: tuple[int, ...] | None = known.seasons
    elif intervals is not None and wanted.seasons_need_interval and not config.of_group(group).step_ms:
        interval_ms = intervals.settle(group, history, live)
        seasons = steps_of(wanted, interval_ms) if interval_ms else None
    else:
        seasons = seasons_of_input(config, group, history, live)
    key = f"group.{group}.model.seasons" if group else "model.seasons"
    if wanted.seasons == "auto":
        if seasons:
            named = {"group": group} if group else {}
            chosen = ", ".join(map(str, seasons))
            _log.info("seasons of the network chosen", steps=chosen, by="the first records", **named)
            first[group] = seasons
        return {key: "auto"} if group else {}
    if seasons is None and not learnt:
        return {}
    return {key: "auto" if seasons is None else seasons}
