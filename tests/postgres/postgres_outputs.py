"""Sinks, units and what other programs read from a PostgreSQL output, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import orjson
from postgres_server import Server

from forecaster import Forecasts
from service.config.postgres import PostgresConfig
from service.messages.array_format import ArrayFormat
from service.messages.decode import Decoded
from service.messages.encode import encode
from service.ports import Unit
from service.sinks.postgres_parts import PostgresParts
from service.sinks.postgres_sink import PostgresSink
from service.sources.manifest import FileEntry

SINKS: Final[list[PostgresSink]] = []
"""Those that a test has opened; they are closed after it."""

LEVELS = (0.1, 0.5, 0.9)
START = 1_767_225_600_000  # 2026-01-01


def settings_of(server: Server, schema: str, **more: Any) -> PostgresConfig:
    """Returns the settings of an output in a schema of the server."""
    return PostgresConfig.model_validate({"url": server.url(), "schema_name": schema, **more})


def opened(server: Server, schema: str, parts: PostgresParts | None = None, **more: Any) -> PostgresSink:
    """Returns an open sink."""
    sink = PostgresSink(settings_of(server, schema, **more), parts)
    SINKS.append(sink)
    sink.open()
    return sink


def forecasts_of(count: int, position: int = 0, *, seed: int = 0, names: Sequence[str] = ("a", "b"),
                 scale: float = 20.0, level: float = 100.0, steps: int = 3) -> tuple[Decoded, Forecasts]:  # fmt: skip
    """Returns events a minute apart, each of the next series, and their forecasts, in float32."""
    rng = np.random.default_rng([seed, position])
    at = np.arange(position, position + count)
    times = START + at // len(names) * 60_000
    quantiles = np.sort(rng.normal(level, scale, (count, steps, len(LEVELS))).astype(np.float32), axis=2)
    value = rng.normal(level, scale, count)
    series = [names[number % len(names)] for number in at.tolist()]
    decoded = Decoded(series, times, value, None, at.tolist(), at.tolist(), [], 0)
    found = Forecasts(
        np.zeros(count, np.uint8), times, np.full(count, 60_000, np.int64), at, quantiles.astype(np.float64),
        rng.random(count).astype(np.float32), np.zeros(count, np.uint8),
    )  # fmt: skip
    return decoded, found


def unit_of_forecasts(decoded: Decoded, forecasts: Forecasts, position: int, end: int, partition: str = "p",
                      **more: Any) -> Unit:  # fmt: skip
    """Returns the unit of a batch."""
    made = encode(
        decoded, forecasts, partition=partition, levels=LEVELS, model_sha256="ab" * 32, output=ArrayFormat()
    )  # fmt: skip
    return Unit(partition, position, end, made.series, made.forecasts, positions=made.positions, **more)


def unit(position: int = 0, size: int = 10, partition: str = "p", **more: Any) -> Unit:
    """Returns a unit over `size` positions with a forecast for each."""
    return unit_of_forecasts(*forecasts_of(size, position), position, position + size, partition, **more)


def identities(server: Server, schema: str) -> list[bytes]:
    """Returns partition and position of all forecasts in a schema, in the order in which they were written."""
    if not server.rows("SELECT 1 FROM pg_namespace WHERE nspname = %s", schema):
        return []
    found = server.rows(f"SELECT partition, position FROM {schema}.forecasts ORDER BY id")
    return [f"{partition} {position}".encode() for partition, position in found]


class RecordsOfTexts(PostgresSink):
    """A sink that takes the made-up forecasts in JSON of the contract, and stores records in their place."""

    def publish(self, unit: Unit, files: Sequence[FileEntry] = (), removed: Sequence[tuple[int, str]] = ()) -> None:
        """Publishes a record per text, with its position."""
        texts = [orjson.loads(text) for text in unit.forecasts]
        positions = [text.get("source", {}).get("position", unit.position) for text in texts]
        records = [*unit_of_forecasts(*forecasts_of(1), 0, 1).forecasts] * len(texts)
        super().publish(replace(unit, forecasts=records, positions=positions), files, removed)
