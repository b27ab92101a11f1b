"""Settings of the schema registry, which has the schemas of records in Confluent's wire format."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from service.config.base import Section, check_server
from service.config.durations import Duration


class SchemaRegistryConfig(Section):
    """The schema registry of events on Kafka and pushed ones, and of forecasts on Kafka.

    Needs the extra `schema-registry`, or `protobuf`.
    """

    url: str = Field(
        "",
        description="Address of a registry with Confluent's HTTP interface, with its path, e.g. "
        '"https://registry.example:8081". Empty: none, and records in the wire format are rejected, except JSON ones.',
    )
    username: str = Field("", description="User name for basic authentication.")
    password_file: Path | None = Field(
        None, description="File with the password only; read for every request, so it can be renewed there."
    )
    token_file: Path | None = Field(
        None, description="File with a bearer token, in place of user name and password; read for every request."
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file of authorities to verify the registry's certificate with. Empty: those of the system.",
    )
    timeout: Duration = Field(
        10.0, gt=0, le=30, description='Longest wait for an answer; the request is repeated after it. Default "10s".'
    )
    cache: int = Field(1000, ge=1, le=100_000, description="Largest number of schemas kept in memory.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.url:
            check_server(self.url, self.username, self.password_file, self.token_file, server="registry")
        return self
