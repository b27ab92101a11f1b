"""Samples of InfluxDB line protocol, and what is to be chosen for it: nothing but the format, as the lines name all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.config.input import InputConfig
from service.discovery.columns import Column
from service.discovery.time_choice import listed_columns


def reasons_for_points(columns: Sequence[Column], given: Mapping[str, Any]) -> dict[str, str]:
    """Returns which parts of the lines are time, values and series, as texts.

    Args:
        columns: of a sample of line protocol.
        given: what the configuration names, by the keys of `input.fields`.
    """
    names = InputConfig.model_validate({"fields": dict(given)}).fields.of_lines
    numeric = [column for column in columns if column.kind == "number" and column.path != "timestamp"]
    values = ", ".join(names.values or (names.value,)) + " (configured)"
    if not {"value", "values"} & given.keys():
        values = f"{len(numeric)} numeric fields, each a series of its own: {listed_columns(numeric)}"
    return {
        "time": f"{given['timestamp']} (configured)" if "timestamp" in given else "the timestamp of the line",
        "values": values,
        "series": f"{names.series} (configured)" if "series" in given else "measurement, tags and field",
    }
