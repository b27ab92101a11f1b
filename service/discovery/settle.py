"""Settles how the records of the input files are read, once: the choice stays in the data folder.

    <data_dir>/input.json      the settings that were chosen, and the input files that they were chosen for

The configuration takes precedence: nothing is chosen where it names a field, or where the files have the default ones.
The choice is kept from the first event on, so that every restart and replay reads the same; before, it is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from service.config.sections import Config
from service.discovery.choice import choose, default_choice, has_default_fields
from service.discovery.sample import sample_of_file
from service.errors import ConfigurationError, ServiceError
from service.registry.models import replace_file
from service.sources.pipes import kind_of

FILE_NAME: Final = "input.json"


def settle(config: Config) -> tuple[Mapping[str, Any], str]:
    """Returns the settings for the fields of the input files, by configuration key, and the choice in a line.

    Nothing is written. Empty settings mean that the configuration suffices; the line is empty without a new choice.

    Raises:
        ConfigurationError: it is ambiguous which fields make the events, or the kept choice cannot be read.
    """
    settings = config.input
    if settings.fields.model_fields_set or config.kafka.topics or not settings.files:
        return {}, ""
    kept = _kept(config.state.data_dir)
    if kept is not None:
        return kept, ""
    for entry in settings.files:
        if kind_of(entry) != "file":
            return {}, ""
        try:
            sample = sample_of_file(entry, settings)
        except ServiceError:  # no file yet, or an empty one: the daemon reports it, or waits for it
            continue
        try:
            choice = default_choice(sample) if has_default_fields(sample) else choose(sample)
        except ConfigurationError:
            if {"series", "timestamp"} <= set(sample.paths):  # the usual fields; values may come later
                return {}, ""
            raise
        return choice.settings, f"{entry}: {choice.line}" if choice.settings else ""
    return {}, ""


def keep(config: Config, settings: Mapping[str, Any]) -> None:
    """Stores settings that `settle` returned, when the daemon is about to read the first event."""
    path = config.state.data_dir / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(dict(settings), indent=1) + "\n")


def _kept(folder: Path) -> Mapping[str, Any] | None:
    path = folder / FILE_NAME
    if not any((folder / "settings").glob("*.json")):  # no event was read with it
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read ({error}); restore it, or set the fields: input.fields"
        raise ConfigurationError(msg) from None
    if not isinstance(found, dict) or not all(key.startswith("input.") for key in found):
        msg = f"{path}: got {str(found)[:80]}, expected settings of the input; restore it, or set input.fields"
        raise ConfigurationError(msg)
    return found
