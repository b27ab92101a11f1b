"""Settles how the records of the input files are read, once: the choice stays in the data folder.

    <data_dir>/input.json      the settings that were chosen, and the input files that they were chosen for
    <data_dir>/history.json    the same for the files of the history

The configuration takes precedence: only what it does not name is chosen, and nothing where the files have the default
fields. The choice is kept from the first event on, so that every restart and replay reads the same; before, it is made
anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from service.config.input import InputConfig
from service.config.sections import Config
from service.discovery.choice import PARTS, Choice, choice_for, has_default_fields, is_named, with_choice
from service.discovery.readable import format_text
from service.discovery.sample import InputSample, NothingToReadError, sample_of_file
from service.discovery.siblings import lacking_fields
from service.errors import ConfigurationError
from service.messages.decode import Decoder
from service.registry.models import replace_file
from service.sources.pipes import kind_of
from service.transport.history import history_files

_FILES: Final = {"input": "input.json", "bootstrap": "history.json"}  # by the section of the settings


class Settled(NamedTuple):
    """How the input is read beyond the configuration.

    Attributes:
        settings: configuration keys with their values; empty where the configuration suffices.
        line: what was chosen, in a line for people; for a kept choice the files that it was made for.
        is_new: whether it is to be kept.
        file: the file in the data folder to keep it in.
        sample: the sample of the first input that has records, where one was read: the search for seasons uses it.
    """

    settings: Mapping[str, Any] = MappingProxyType({})
    line: str = ""
    is_new: bool = False
    file: str = _FILES["input"]
    sample: InputSample | None = None


def settle(config: Config) -> Settled:
    """Chooses what the configuration does not say of the fields of the input files. Writes nothing.

    Raises:
        ConfigurationError: it is ambiguous which fields make the events, the files do not fit each other, no record
            would be an event, or the kept choice cannot be read.
        ServiceError: a file cannot be read.
    """
    settings = config.input
    if is_named(settings.fields) or config.kafka.topics or not settings.files:
        return Settled()
    if any(kind_of(entry) != "file" for entry in settings.files):
        return Settled()
    return _settle(config, settings, "input")


def settle_history(config: Config) -> Settled:
    """Chooses what the configuration does not say of the fields of the files of the history. Writes nothing.

    Raises:
        ConfigurationError, ServiceError: as `settle`.
    """
    settings = history_files(config)
    if is_named(settings.fields) or not settings.files:
        return Settled()
    found = _settle(config, settings, "bootstrap")
    if found.is_new or not found.line:
        given = {name: getattr(settings.fields, name) for name in settings.fields.model_fields_set}
        chosen: dict[str, Any] = {"bootstrap.fields": given}
        for key, value in found.settings.items():
            section, _, name = key.rpartition(".")
            if section == "input.fields":
                chosen["bootstrap.fields"][name] = value
            else:
                chosen[f"bootstrap.{name}"] = value
        found = found._replace(settings=chosen, is_new=True)
    return found


def _settle(config: Config, settings: InputConfig, section: str) -> Settled:
    """Chooses, or returns what is kept in a file of the data folder; messages name the keys of a section."""
    file = _FILES[section]
    kept = _kept(config.state.data_dir, section)
    if kept is not None:
        files = ", ".join(kept["files"])
        return Settled(_not_named(kept["settings"], settings), f"chosen at the first start for {files}", file=file)
    samples = list(_samples(settings, section))
    if not samples:
        return Settled(file=file)
    first = samples[0]
    choice = _choice(first, settings)
    if not choice.settings:
        return Settled(file=file, sample=first)
    chosen = with_choice(settings, choice)
    if choice.columns:  # not only the format or the notation of the default fields
        decoded = Decoder(chosen).decode(first.records)
        if not len(decoded) and decoded.rejects:
            msg = f"{first.source}: no record would be an event: {decoded.rejects[0].detail}"
            msg += "" if section == "input" else f"; for these files alone, see {section}.fields"
            raise ConfigurationError(msg)
    for other in samples[1:]:
        _check_fits(other, first, chosen)
    line = f"{first.source}: {choice.line}"
    return Settled(_not_named(choice.settings, settings), line, is_new=True, file=file, sample=first)


def _choice(sample: InputSample, settings: InputConfig) -> Choice:
    try:
        return choice_for(sample, settings)
    except ConfigurationError:
        names = {"series", "timestamp"} <= set(sample.paths) and not has_default_fields(sample)
        if names and not settings.fields.model_fields_set & PARTS:
            return Choice({}, {})  # the default fields; values may come later
        raise


def _samples(settings: InputConfig, section: str) -> Iterator[InputSample]:
    """Yields the samples of all inputs that have records; of others the daemon waits for them, or reports it."""
    for entry in settings.files:
        try:
            yield sample_of_file(entry, settings, section=section)
        except NothingToReadError:
            continue


def _check_fits(other: InputSample, first: InputSample, chosen: InputConfig) -> None:
    """Refuses inputs of which one choice cannot read all."""
    lacking = lacking_fields(other, chosen)
    if (other.format != first.format and (other.guessed or first.guessed)) or (
        other.format == first.format == "csv" and other.csv != first.csv
    ):
        what = f"{first.source} is {format_text(first)}, and {other.source} is {format_text(other)}"
    elif lacking:
        what = f"the fields chosen for {first.source} are not in {other.source}, which lacks {', '.join(lacking[:9])}"
    else:
        return
    keys = f"{first.section}.fields and {first.section}.format"
    msg = f"{what}; expected inputs of one kind. Set {keys}, or run a daemon for each"
    raise ConfigurationError(msg)


def _not_named(settings: Mapping[str, Any], config: InputConfig) -> dict[str, Any]:
    """Leaves out what the configuration says itself."""
    named = {f"input.fields.{name}" for name in config.fields.model_fields_set}
    named |= {f"input.{name}" for name in config.model_fields_set}
    if named & {"input.fields.value", "input.fields.values"}:
        named |= {"input.fields.value", "input.fields.values"}
    return {key: value for key, value in settings.items() if key not in named}


def keep(config: Config, found: Settled) -> None:
    """Stores what `settle` or `settle_history` returned, when the daemon is about to read the first event."""
    path = config.state.data_dir / found.file
    path.parent.mkdir(parents=True, exist_ok=True)
    files = config.input.files if found.file == _FILES["input"] else config.bootstrap.files
    kept = {"files": list(files), "settings": dict(found.settings)}
    replace_file(path, json.dumps(kept, indent=1) + "\n")


def has_begun(folder: Path) -> bool:
    """Returns whether a daemon has begun to read events with a data folder."""
    return any((folder / "settings").glob("*.json"))


def _kept(folder: Path, section: str) -> Mapping[str, Any] | None:
    path = folder / _FILES[section]
    if not has_begun(folder):
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found["settings"], dict) and all(isinstance(name, str) for name in found["files"]):
            kept: Mapping[str, Any] = found
            return kept
        why = "other content"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as error:
        why = str(error)
    msg = f"{path}: got {why}, expected the settings that were chosen; restore it, or set {section}.fields"
    raise ConfigurationError(msg)
