"""Reads records of the topic of forecasts in any of their formats, as the objects that the JSON format has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson

from forecaster import install_command
from service.config.schema_registry import SchemaRegistryConfig
from service.errors import ConfigurationError
from service.messages.digits import plain
from service.messages.frames import schema_id
from service.messages.timestamps import format_times
from service.schemas.frames import SchemaFrames, frames_of

_TIMES: Final = ("origin", "last", "expected", "noticed")


class ForecastReader:
    """Reads forecasts and silences. Used in one thread.

    Args:
        settings: of the registry that has their schemas; without an address, only JSON can be read.
    """

    def __init__(self, settings: SchemaRegistryConfig | None = None) -> None:
        self._settings: SchemaRegistryConfig | None = settings
        self._frames: SchemaFrames | None = None

    def read(self, value: bytes) -> list[dict[str, Any]]:
        """Returns the forecasts and silences of a record.

        Raises:
            ValueError: it is none, but a record of another program.
            ConfigurationError: it has a schema, and no registry is configured, or the extra for it is missing.
            SchemaRegistryError: the registry does not answer.
        """
        number = schema_id(value)
        if number is None:
            found = orjson.loads(value)
            return found if isinstance(found, list) else [found]
        frames = self._registry(number)
        frames.prepare([value])
        return [as_json(frames.decode(value))]

    def _registry(self, number: int) -> SchemaFrames:
        if self._frames is None and self._settings is not None:
            try:
                self._frames = frames_of(self._settings)
            except ModuleNotFoundError as error:
                msg = f"{error.name} is not installed; expected the extra: {install_command('schema-registry')}"
                raise ConfigurationError(msg) from None
        if self._frames is None:
            msg = f"got a forecast with the schema {number}, expected the registry that has it: set schema_registry.url"
            raise ConfigurationError(msg)
        return self._frames

    def close(self) -> None:
        """Closes the connections to the registry."""
        if self._frames is not None:
            self._frames.close()


def as_json(record: object) -> dict[str, Any]:
    """Returns a decoded forecast or silence as the JSON format has it.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(record, dict) or not isinstance(record.get("source"), Mapping):
        msg = "got a record that is no forecast"
        raise ValueError(msg)  # noqa: TRY004 - of a record, not of an argument
    found: dict[str, Any] = dict(record)
    source: dict[str, Any] = {
        name: one for name, one in record["source"].items() if one is not None and (name, one) != ("run", 1)
    }
    found["source"] = source
    if "window" in source:
        source["window"] = dict(source["window"])
    for part, names in ((found, _TIMES), (source, ("mark",)), (source.get("window", {}), ("start", "end"))):
        for name in names:
            if name in part:
                (part[name],) = format_times(np.array([part[name]], np.int64))
    if "quantiles" not in found:
        return found
    rows = found["quantiles"] or found.get("quantiles_double")
    found.pop("quantiles_double", None)
    # A row is an array in Avro, and a message in Protobuf, which has no arrays of arrays.
    values = [row["values"] if isinstance(row, Mapping) else row for row in rows or ()]
    found["quantiles"] = plain(np.array(values, np.float64)) if values else None
    for name in ("revision", "suppressed"):
        if found.get(name) is None:
            found.pop(name, None)
    targets = found.pop("targets", [])
    if found.get("interval") is None:
        found.pop("interval", None)
    else:
        found["targets"] = format_times(np.array(targets, np.int64))
    return found
