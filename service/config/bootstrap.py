"""Settings of the history that a first start takes in before the live input: files, or a query of Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from service.config.base import Section, Texts, check_server
from service.config.durations import Duration, OptionalDuration
from service.config.input import FieldNames

MOST_FILES = 500
"""Largest number of entries of `bootstrap.files`, each of which has positions of its own."""


class BootstrapConfig(Section):
    """The history that is taken in before the live input: the state learns from it, no forecasts are published."""

    files: Texts = Field(
        (),
        max_length=MOST_FILES,
        description="Files with the history, or globs of them, read one after the other before the first live event. "
        "They must not change until the daemon has gone live. Formats as input.files.",
    )
    format: Literal["auto", "csv", "jsonl", "json", "parquet", "avro", "influx", "annotated-csv", "access-log"] = Field(
        "auto", description="Format of these files, as input.format."
    )
    fields: FieldNames | None = Field(
        None,
        description="Names of the fields of an event in these files, as input.fields. Unset: those of input.fields, or "
        "where that names none, those that are found in the files.",
    )
    separator: Literal["auto", ",", ";", "tab", "|"] = Field(
        "auto", description="Separator of the columns of these files, as input.separator."
    )
    header: bool = Field(default=True, description="Whether CSV files have a header line, as input.header.")
    skip_lines: int = Field(0, ge=0, le=10_000, description="Lines before the header, as input.skip_lines.")
    envelope: Literal["auto", "none", "connect", "debezium", "cloudevents"] = Field(
        "auto", description="Envelope around the fields of JSON records, as input.envelope."
    )
    url: str = Field(
        "",
        description="Address of a Prometheus or VictoriaMetrics server, with its path, whose samples are the history, "
        'e.g. "http://prometheus:9090". They follow those of files. Empty: none.',
    )
    query: str = Field("", description="The query: a selector of series where step is empty, else any expression.")
    range: Duration = Field(
        30 * 86_400.0, gt=0, description='How far the history reaches back from the first start. Default "30d".'
    )
    step: OptionalDuration = Field(
        0.0,
        description="Interval at which the query is evaluated. Empty or 0: the samples as the server has them, which "
        "have the times and values that remote write would have sent.",
    )
    username: str = Field("", description="User name for basic authentication.")
    password_file: Path | None = Field(None, description="File with the password only.")
    token_file: Path | None = Field(None, description="File with a bearer token, in place of user name and password.")
    ca_file: Path | None = Field(
        None, description="PEM file of authorities to verify the server's certificate with. Empty: those of the system."
    )
    timeout: Duration = Field(60.0, gt=0, description='Longest wait for an answer of the server. Default "1m".')
    partitioner: Literal["murmur2", "crc32"] = Field(
        "murmur2",
        description="How producers of the input topic choose the partition of a series, whose name is the key of its "
        "records: murmur2 as Java clients and kafka-python, crc32 as librdkafka. The history of a series goes to the "
        "state of that partition.",
    )

    @property
    def is_set(self) -> bool:
        """Whether there is a history to take in."""
        return bool(self.files or self.url)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.url) != bool(self.query):
            msg = "url and query: got one of them, expected both or none"
            raise ValueError(msg)
        if not self.url:
            return self
        check_server(self.url, self.username, self.password_file, self.token_file, server="server")
        if self.step and round(self.step * 1000) < 1:
            msg = f"step: got {self.step:g} s, expected at least a millisecond"
            raise ValueError(msg)
        return self
