"""Records which settings the state was computed with, and refuses a replay with settings that give another result.

    <data_dir>/settings/<partition>.json    positions from which on a partition was computed with which settings
    every snapshot                          the settings in force at its position

A replay repeats the computation between a snapshot and the committed position. It is done if all of it was computed
with the present settings, as far as they have an effect there, and refused otherwise. If there is nothing to replay, as
after a clean stop, changed settings are recorded and used from there on. State without recorded settings was written by
an older release; its replay uses the present settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from forecaster import calendar_table
from service.config.durations import format_duration
from service.config.sections import Config
from service.errors import SettingsChangedError
from service.registry.models import replace_file
from service.snapshots.file import folder_of

_LONG: Final = 200  # characters of a value; longer ones are recorded as checksums
_DURATIONS: Final = ("input.max_ahead", "aggregate.interval", "aggregate.grace")
# Of keys that notes of older releases do not have: the value with which their state was computed.
_GROUPS: Final = "group"  # names and patterns of the groups of series; only noted where there are some
_BEFORE: Final[Mapping[str, Any]] = MappingProxyType({"aggregate.interval": 0.0, "input.late_within": 0, _GROUPS: []})
_MOST: Final = 100  # recorded changes per partition; earlier ones are older than its snapshots
Settings = Mapping[str, Any]


class Role(Enum):
    """The role of a setting in a replay."""

    REPLAY = "changes the result: recorded, and a replay with another value is refused"
    MODEL = "part of the network: another value makes another network, which is adopted at the committed position"
    KEPT = "the snapshot has the value, and a replay uses it"
    FREE = "changes neither the state nor the events in it"


def _roles(role: Role, section: str, names: str) -> dict[str, Role]:
    return {f"{section}.{name}": role for name in names.split()}


# All keys of these sections; a test fails for keys that are missing here.
ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    _roles(
        Role.REPLAY,
        "input",
        "format separator header skip_lines envelope where units partial broadcast series tombstone max_record_bytes "
        "max_series_bytes max_ahead late_within",
    )
    | _roles(
        Role.REPLAY,
        "input.fields",
        "series timestamp value values identifiers record_time future time_unit date_order timezone decimal thousands",
    )
    | _roles(Role.REPLAY, "input", "covariates future_covariates")  # decoded as configured
    | _roles(Role.REPLAY, "aggregate", "interval functions grace empty counters timezone rules")
    # The existence and the end of partitions; the handling of late and pushed events; the size of batches.
    | _roles(
        Role.FREE,
        "input",
        "files follow late push push_metrics push_resource push_spool push_body max_poll_records workers",
    )
    | _roles(Role.FREE, "aggregate", "idle")  # the time marks are recorded
    | _roles(
        Role.MODEL,
        "model",
        "cell hidden_size layers head head_size horizon quantiles seasons interval calendar timezone holidays clip "
        "non_negative max_gap mixture",
    )
    | _roles(Role.MODEL, "state", "bytes_per_series")  # how finely the rows of its seasons are kept
    | _roles(Role.FREE, "model", "pretrained seed")  # of the initial weights, which are a file from then on
    | _roles(
        Role.KEPT,
        "anomaly",
        "side smooth_events threshold clear quiet_events per_day silent_after "
        "min_deviation min_relative rules budget budget_period maintenance",
    )
    # A network of another shape builds its rows anew from the history; trainings, which read it too, are recorded.
    | _roles(Role.REPLAY, "state", "max_series history_events")
    | _roles(
        Role.FREE,
        "state",
        "data_dir snapshot_every snapshots_kept models_kept decisions_kept on_source_gone",
    )
    # Applied after observing.
    | _roles(Role.FREE, "output", "sink format path every publish_from limits keep max_bytes file_age file_bytes")
    | _roles(
        Role.FREE,
        "remote_write",
        "url times metric labels series steps quantiles tenant username password_file token_file ca_file timeout spool",
    )
    | _roles(Role.REPLAY, "bootstrap", "format fields separator header skip_lines envelope partitioner")
    # Which inputs there are, and how a server is asked: what it has answered is on disk.
    | _roles(Role.FREE, "bootstrap", "files url query range step username password_file token_file ca_file timeout")
)


def replay_settings(config: Config) -> dict[str, Any]:
    """Returns the present settings that affect a replay, as JSON values, long ones as checksums.

    They include the data of the installed tz database and of the holidays package, for the configured zone and country
    only, so that updates of others have no effect.

    Raises:
        forecaster.ConfigError: the holidays are unknown, or the package is not installed.
    """
    sections = config.model_dump(mode="json")
    found: dict[str, Any] = {}
    for key, role in ROLES.items():
        if role is Role.REPLAY:
            value: Any = sections
            for name in key.split("."):
                value = value[name]
            text = json.dumps(value)
            found[key] = value if len(text) <= _LONG else _checksum(text.encode())
    if config.aggregate.interval:
        zone = config.aggregate.timezone
        found[f'time zone data of aggregate.timezone = "{zone}"'] = _checksum(calendar_table(zone, "").tobytes())
    owns = [config.of_group(name).anomaly for name in config.group_names]
    for zone in sorted({one.timezone for own in owns for one in own.maintenance if one.recurs}):
        key = f'time zone data of anomaly.maintenance, "{zone}"'
        found[key] = _checksum(calendar_table(zone, "").tobytes())
    zone, holidays = config.model.timezone, config.model.holidays
    found[f'time zone data of model.timezone = "{zone}"'] = _checksum(calendar_table(zone, "").tobytes())
    if config.input.future_covariates:
        horizons = [config.of_group(name).model.horizon for name in config.group_names]
        found["model.horizon"] = horizons if config.group else horizons[0]
    if config.group:
        found[_GROUPS] = [_noted_group(group.name, group.match) for group in config.group]
    found[f'package holidays for model.holidays = "{holidays}"'] = _checksum(calendar_table("UTC", holidays).tobytes())
    return found


def _noted_group(name: str, match: Sequence[str]) -> list[str]:
    """Returns name and patterns of a group; many patterns, as of a group by cadence, as a checksum."""
    text = json.dumps(list(match))
    return [name, *match] if len(text) <= _LONG else [name, f"{len(match)} patterns, {_checksum(text.encode())}"]


def _checksum(data: bytes) -> str:
    return f"sha256 {hashlib.sha256(data).hexdigest()[:16]}"


class SettingsNote(NamedTuple):
    """From `position` on, a partition was computed with these settings."""

    position: int
    settings: Settings


class SettingsNotes:
    """The settings notes of all partitions.

    Args:
        root: their folder; created if missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, partition: str) -> list[SettingsNote]:
        """Returns all notes by rising position; empty where the file is missing or damaged.

        Raises:
            OSError: the file is there and cannot be read, as without descriptors.
        """
        try:
            found = json.loads(self._path(partition).read_text("utf-8"))
            return [SettingsNote(int(one["position"]), dict(one["settings"])) for one in found]
        except (FileNotFoundError, ValueError, TypeError, LookupError):
            return []

    def forget(self, partition: str) -> None:
        """Deletes the notes of a partition that starts with empty state."""
        self._path(partition).unlink(missing_ok=True)

    def note(self, partition: str, committed: int, start: int, kept: Settings | None, now: Settings) -> None:
        """Records the settings that a partition is computed with from the committed position on.

        Args:
            partition: the partition.
            committed: notes after it belong to an output that no longer exists.
            start, kept: of the snapshot that it was restored from: see `computed_with`.
            now: the settings from there on.

        Raises:
            OSError: the notes cannot be written.
        """
        before = self.of(partition)
        notes = [one for one in before if one.position <= committed]
        last = computed_with(notes, start, committed + 1, kept)[-1:]
        if not last or last[0].settings != now:
            notes = [*(one for one in notes if one.position < committed), SettingsNote(committed, now)][-_MOST:]
        if notes != before:
            path = self._path(partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps([one._asdict() for one in notes]) + "\n")

    def _path(self, partition: str) -> Path:
        place = folder_of(self._root, partition)
        return place.with_name(place.name + ".json")


def computed_with(notes: Sequence[SettingsNote], start: int, end: int, kept: Settings | None) -> list[SettingsNote]:
    """Returns the settings that [start, end) was computed with, and their positions, as far as known.

    Args:
        notes: of the partition.
        start, end: positions.
        kept: the settings in a snapshot at `start`; another machine may have written it, so they override older notes.
    """
    inside = [note for note in notes if start <= note.position < end]
    if start >= end or (inside and inside[0].position == start):
        return inside
    before = [note.settings for note in notes if note.position < start]
    first = kept if kept is not None else before[-1] if before else None
    return inside if first is None else [SettingsNote(start, first), *inside]


def check_replay(partition: str, parts: Sequence[SettingsNote], end: int, now: Settings) -> None:
    """Refuses a replay that would not repeat the original computation.

    Args:
        partition: the partition.
        parts: the settings of the events to replay, from `computed_with`.
        end: the end of the replay.
        now: the present settings.

    Raises:
        SettingsChangedError: the settings differ; the message lists them and what to do.
    """
    now = {_GROUPS: [], **now}
    differ = {
        key: (now[key], then)
        for part in parts
        for key in now
        if (then := _setting(part.settings, key, now)) != now[key] and _has_effect(key, part, now)
    }
    if not differ:
        return
    each = "; ".join(
        f"{key}: got {_shown(key, got)}, expected {_shown(key, expected)}" for key, (got, expected) in differ.items()
    )
    changed = [part.position for part, other in zip(parts[1:], parts, strict=False) if part.settings != other.settings]
    advice = (
        f"They were changed at position {changed[0]}, whose snapshot cannot be used now: restore that snapshot"
        if changed
        else "Restore the settings, start, and stop cleanly (SIGTERM or Ctrl-C); they may be changed after that"
    )
    msg = (
        f'partition "{partition}": events from {parts[0].position} to {end} have to be replayed, but were forecast '
        f'with other settings. {each}. {advice}. Or continue with empty state: state.on_source_gone = "cold"'
    )
    raise SettingsChangedError(msg)


def _setting(then: Settings, key: str, now: Settings) -> Any:
    """Returns a recorded setting; of one that was not recorded, what older releases computed with."""
    return then.get(key, _BEFORE.get(key, now[key]))


def _has_effect(key: str, part: SettingsNote, now: Settings) -> bool:
    """Returns whether another value of a setting changes what is computed from the position of a note on.

    Settings of windows do nothing without windows, those of the history nothing behind its end, at position 0.
    """
    if key.startswith("aggregate.") and key != (interval := "aggregate.interval"):
        return bool(now.get(interval) or _setting(part.settings, interval, {interval: 0.0}))
    return not key.startswith("bootstrap.") or part.position < 0


def _shown(key: str, value: object) -> str:
    if key in _DURATIONS and isinstance(value, int | float):
        return f'"{format_duration(value)}"'
    return json.dumps(value, ensure_ascii=False)
