"""Settings of what comes in: where events are read from, what their fields are called, which are refused."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from service.config.base import Name, Section, Texts
from service.config.durations import OptionalDuration

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]


class FieldNames(Section):
    """What the fields of an event are called in JSON objects and CSV headers."""

    series: Name = Field("series", description="The field that says which series an event belongs to.")
    timestamp: Name = Field(
        "timestamp",
        description="The field with the event time: ISO-8601 (UTC without a zone), epoch milliseconds or epoch seconds "
        "(see input.time_unit).",
    )
    value: Name = Field("value", description="The field with the observed number; null and NaN are missing.")
    record_time: str = Field(
        "",
        description="The field with the time at which the record was written; max_ahead compares with it. "
        "Empty: events carry none.",
    )
    future: Name = Field(
        "future",
        description="The object with what is known of the steps ahead, a list of numbers for each of "
        "input.future_covariates; in CSV the columns future.NAME, of numbers joined by spaces or |.",
    )

    @model_validator(mode="after")
    def _differ(self) -> Self:
        used = [self.series, self.timestamp, self.value, *([self.record_time] if self.record_time else [])]
        if len(set(used)) != len(used):
            msg = f"expected names that differ from each other, got {used}"
            raise ValueError(msg)
        return self


class InputConfig(Section):
    """Where events come from and which are refused."""

    files: Texts = Field(
        (),
        description="Files to read. Each entry is one partition; an entry that is a glob is read as one "
        'stream, file after file in the natural order of names (9 before 10); "-" is standard input. Names in .gz are '
        "decompressed; a pipe is read as standard input is.",
    )
    format: Literal["auto", "csv", "jsonl"] = Field(
        "auto", description="Format of the files; auto goes by the suffix: .csv, or .jsonl, .ndjson, .json."
    )
    follow: bool = Field(
        default=False,
        description="Wait at the end of the last file for more, and for further files of a glob.",
    )
    fields: FieldNames = Field(
        default_factory=lambda: FieldNames.model_validate({}), description="Names of the fields of an event."
    )
    time_unit: TimeUnit = Field(
        "auto",
        description="Unit of event times and record times that are numbers, counted from 1970: s, ms, us or ns. auto: "
        "seconds where the absolute value is from 1e8 to below 1e11, milliseconds otherwise, each number by itself.",
    )
    covariates: Texts = Field((), description="Further numeric fields of an event that the model sees.")
    future_covariates: Texts = Field(
        (),
        description="Names of numbers that are known ahead: an event brings for each the values at the 1st, 2nd, ... "
        "step after it, as far as they are known.",
    )
    broadcast: str = Field(
        "",
        description="A series whose events carry no value of their own but set input.covariates, and what is known "
        "ahead, for all series, from then on. Empty: none.",
    )
    series: Texts = Field(
        (), description="The series to accept; events of any other are rejected. Empty: every series."
    )
    max_record_bytes: int = Field(
        65_536, ge=64, le=64 << 20, description="Records longer than this (bytes) are rejected unread."
    )
    max_series_bytes: int = Field(
        1024,
        ge=16,
        le=65_536,
        description="Events of series with longer names (bytes of UTF-8) are rejected: every name is kept.",
    )
    max_ahead: OptionalDuration = Field(
        86_400.0,
        description="Events whose time is later than their record time by more than this are rejected, pushed ones "
        'when they arrive. Empty or 0: no limit. Nothing else compares with the clock. Default "1d".',
    )
    late: Literal["drop", "dead-letter"] = Field(
        "drop",
        description="What becomes of events older than the newest of their series: counted, or rejected too.",
    )
    tombstone: Literal["ignore", "forget"] = Field(
        "ignore",
        description="What becomes of records of Kafka without a value: counted, or they make the daemon forget the "
        "series that their key names (as text, or in a JSON object by input.fields.series).",
    )
    push: bool = Field(
        default=False,
        description="Take events over HTTP: JSON lines at /api/v1/events, Prometheus remote write at /api/v1/write.",
    )
    push_metrics: Texts = Field(
        (), description="Globs of metric names to take from remote write; others are left out. Empty: all."
    )
    push_spool: int = Field(
        1 << 30,
        ge=1 << 20,
        description="Bytes of pushed events kept on disk, at most; beyond, senders are told to come again later.",
    )
    push_body: int = Field(
        16 << 20, ge=1 << 16, le=1 << 30, description="Bytes of a pushed body once decompressed, at most."
    )
    max_poll_records: int = Field(4096, ge=1, le=1_000_000, description="Events per batch, at most.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Threads that partitions are spread over, each of which takes a core while the network computes. "
        "What comes out does not depend on it.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = {self.fields.series, self.fields.timestamp, self.fields.value, self.fields.record_time}
        if self.future_covariates:
            if self.fields.future in names:
                msg = f"input.fields.future is {self.fields.future!r}, which another field uses; expected another name"
                raise ValueError(msg)
            names.add(self.fields.future)
        if taken := names & set(self.covariates):
            msg = f"input.covariates names {sorted(taken)}, which input.fields uses; expected others"
            raise ValueError(msg)
        return self
