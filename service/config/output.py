"""`[output]`: where forecasts are written, and which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from service.config.base import Section, epoch_ms, listed
from service.config.durations import Duration, OptionalDuration
from service.config.limits import Limit

SQLITE_FILE: Final = Path("forecasts.sqlite")
"""Default of `output.path`."""

PARQUET_FOLDER: Final = Path("forecasts")
"""Default of `output.path` with the sink parquet."""

POSITIONS_FILE: Final = "positions.sqlite"
"""Name of the SQLite file in that folder."""


def _live_or_time(text: str) -> str:
    if text != "live":
        epoch_ms(text, also="live")
    return text


class OutputConfig(Section):
    """Where forecasts are written, and which."""

    sink: Literal["auto", "sqlite", "stdout", "parquet", "kafka", "postgres"] = Field(
        "auto",
        description="Any input goes with any sink. sqlite: exactly once, one transaction per batch. stdout: JSON "
        "lines, at least once. parquet: files by day and hour, exactly once. kafka: the topics of kafka.app, exactly "
        "once. postgres: the database of [postgres], exactly once. auto: postgres where postgres.url is set, else "
        "kafka where kafka.topics is set, else sqlite. From topics to another sink than kafka only with "
        'kafka.membership = "alone".',
    )
    format: Literal["auto", "json", "compact", "avro", "protobuf"] = Field(
        "auto",
        description="Format of the forecasts. compact, for SQLite: numbers in binary that the views show, a fourth of "
        "the size of JSON; for PostgreSQL: arrays of numbers. avro and protobuf, for Kafka: in the wire format of a "
        "schema registry, with a schema that the daemon registers at its start for the subject <topic>-value; they "
        "need schema_registry.url. auto: compact in SQLite and PostgreSQL, else JSON.",
    )
    keep: OptionalDuration = Field(
        0.0,
        ge=0,
        description="How long SQLite and Parquet files or the PostgreSQL database keep forecasts, silences and "
        'rejected records after they were written, such as "30d", to the hour; in PostgreSQL to a 32nd of it. Empty: '
        "until max_bytes is reached.",
    )
    max_bytes: int = Field(
        10 << 30,
        ge=1 << 20,
        description="Bound of the used pages of the SQLite file, of the Parquet files, or of tables and indexes of "
        "outputs in PostgreSQL, in bytes: above it, the oldest forecasts, silences and rejected records are deleted, "
        "in SQLite a few with every batch, in PostgreSQL a 16th at a time, of Parquet files the oldest ones. The "
        "default is 10 GiB.",
    )
    path: Path = Field(
        SQLITE_FILE,
        description="The SQLite file, relative to state.data_dir. With the sink stdout it holds positions and "
        "rejected records only; the sinks kafka and postgres do not use it. With the sink parquet, the folder of the "
        'files; the default is "forecasts" there.',
    )
    file_age: Duration = Field(
        300.0,
        ge=1,
        description="A Parquet file is written this long after its first forecast at the latest, so that other "
        "programs see a forecast after this time and the seconds that writing takes. `forecaster forecasts` and "
        "`forecaster tail` see it at once.",
    )
    file_bytes: int = Field(
        128 << 20,
        ge=1 << 16,
        description="A Parquet file is written before that if its forecasts take this many bytes in memory; compressed "
        "they take about a third. The default is 128 MiB.",
    )
    every: int = Field(
        1,
        ge=1,
        description="Publish the forecasts of every n-th step of a series only, and of flagged events. All events "
        "still update the state, and the API shows all of them. 1: publish every forecast.",
    )
    publish_from: Annotated[str, AfterValidator(_live_or_time)] = Field(
        "live",
        description="First events whose forecasts are published. live: those of the live input, none of the history of "
        "bootstrap. A time in ISO-8601, such as 2026-11-01T00:00:00Z: events from this time on, of history and live "
        "input alike. Earlier events are taken in all the same.",
    )
    limits: Annotated[tuple[Limit, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=50,
        description='Bounds of the values of selected series, {series = "cpu.*", least = 0, greatest = 100}: '
        "quantiles outside are moved onto the bound. The first entry that matches a series applies; model.clip bounds "
        "all series.",
    )

    @property
    def publish_from_ms(self) -> int | None:
        """`publish_from` as epoch milliseconds; None where it is live."""
        return None if self.publish_from == "live" else epoch_ms(self.publish_from)
