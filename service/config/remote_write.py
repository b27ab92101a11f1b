"""Settings of the forecasts that are written to Prometheus, VictoriaMetrics or Mimir by remote write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from service.config.base import Section, Texts, check_labels, check_server, listed
from service.config.durations import Duration

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
OWN_LABELS: Final = ("horizon", "metric", "quantile", "series", "step")
"""Labels that a written forecast gets; one of its series with such a name becomes exported_NAME."""


class RemoteWriteConfig(Section):
    """Forecasts written to a server of metrics by remote write, at least once, beside the output."""

    url: str = Field(
        "",
        description='Address of the receiver, e.g. "http://prometheus:9090/api/v1/write" (started with '
        '--web.enable-remote-write-receiver), "http://victoria:8428/api/v1/write" or "http://mimir:8080/api/v1/push". '
        "Empty: nothing is written.",
    )
    times: Literal["origin", "target"] = Field(
        "origin",
        description="Timestamps of the samples. origin: the time of the event that was forecast from, which every "
        "server accepts. target: the time that is forecast, for VictoriaMetrics and Mimir; Prometheus refuses samples "
        "more than ten minutes ahead.",
    )
    metric: str = Field("forecast", description="Name of the metric.")
    labels: dict[str, str] = Field(
        {}, description='Further labels of all samples, such as {replica = "a"}, where several daemons write.'
    )
    series: Texts = Field(("*",), description="Series whose forecasts are written: names, or patterns with * and ?.")
    steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(listed)] = Field(
        (), description="Steps of the horizon that are written. Empty: the first and the last."
    )
    quantiles: Annotated[tuple[float, ...], BeforeValidator(listed)] = Field(
        (), description="Quantiles that are written, of model.quantiles. Empty: all."
    )
    tenant: str = Field("", description="Tenant of Mimir (header X-Scope-OrgID). Empty: none.")
    username: str = Field("", description="User name for basic authentication.")
    password_file: Path | None = Field(None, description="File with the password only; read for every request.")
    token_file: Path | None = Field(None, description="File with a bearer token, in place of user name and password.")
    ca_file: Path | None = Field(
        None, description="PEM file of authorities to verify the server's certificate with. Empty: those of the system."
    )
    timeout: Duration = Field(10.0, gt=0, description='Longest wait for an answer of the server. Default "10s".')
    spool: int = Field(
        256 << 20,
        ge=1 << 16,
        description="Largest size of the forecasts on disk that the server has not acknowledged, in bytes: above it "
        "the oldest are dropped and counted.",
    )

    @field_validator("metric")
    @classmethod
    def _is_metric(cls, name: str) -> str:
        if not _METRIC.fullmatch(name):
            msg = f"got {name!r}, expected letters, digits, _ and :, not beginning with a digit"
            raise ValueError(msg)
        return name

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        check_labels(labels, OWN_LABELS)
        return labels

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.url:
            check_server(self.url, self.username, self.password_file, self.token_file, server="receiver")
        return self
