"""`[alerts]`: which alerts there are, and where they are sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from service.config.base import Section, Texts, check_labels, check_server, listed
from service.config.durations import Duration

Kind = Literal["anomaly", "silence", "breach", "drift"]
"""What an alert is of."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
OWN_ALERT_LABELS: Final = ("alertname", "group", "kind", "partition", "series", "severity")


class AlertsConfig(Section):
    """Alerts of anomalies, silences, breaches of an [[alert]] and drift, and where they are sent."""

    kinds: Annotated[tuple[Kind, ...], BeforeValidator(listed)] = Field(
        KINDS,
        description="Which alerts there are: anomaly (flagged events), silence (anomaly.silent_after), breach "
        "([[alert]]), drift (retrain.drift). Without an address or an [[alert]] there are none.",
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description='Further labels of all alerts, such as {cluster = "eu1"}.'
    )
    alertmanagers: Texts = Field(
        (),
        description='Addresses of Alertmanagers, with their path prefix, such as "http://alertmanager:9093": each gets '
        "every alert, as members of a cluster expect.",
    )
    username: str = Field("", description="User name of the Alertmanagers for basic authentication.")
    password_file: Path | None = Field(None, description="File with the password only; read for every request.")
    token_file: Path | None = Field(
        None, description="File with a bearer token, in place of user name and password; read for every request."
    )
    ca_file: Path | None = Field(
        None, description="PEM file of authorities to verify certificates with. Empty: those of the system."
    )
    renew_every: Duration = Field(
        60.0, ge=1, description='Time between two renewals of the lasting alerts at the Alertmanagers. Default "1m".'
    )
    expire_after: Duration = Field(
        300.0,
        ge=3,
        description="Time after which an alert that is not renewed is over for the Alertmanagers, as when the daemon "
        'is away for longer. At least twice renew_every. Default "5m".',
    )
    webhook: SecretStr = Field(
        SecretStr(""),
        description="Address to which alerts are posted as JSON, signed with the secret. A token in its path or query "
        "is shown nowhere. Empty: none.",
    )
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Secret of the signature (HMAC-SHA256); set it in the environment, never in a file that others can "
        "read.",
    )
    webhook_secret_file: Path | None = Field(
        None, description="File with the secret only, in place of webhook_secret; read for every request."
    )
    webhook_wait: Duration = Field(
        10.0,
        ge=0,
        le=600,
        description="How long alerts that begin or end are collected before they are posted to the webhook, one body "
        'for each group of series. Default "10s".',
    )
    timeout: Duration = Field(10.0, gt=0, le=30, description='Longest wait for an answer. Default "10s".')
    max_age: Duration = Field(
        3600.0,
        gt=0,
        description="Begins and ends of alerts whose event time is older than this are not sent, as those of a history "
        'or after a long pause; and without an event for so long, alerts are not renewed. Default "1h".',
    )

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        check_labels(labels, OWN_ALERT_LABELS)
        return labels

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for url in self.alertmanagers:
            check_server(url, self.username, self.password_file, self.token_file, server="Alertmanager")
        webhook = self.webhook.get_secret_value()
        if webhook.strip("*"):  # other processes of the daemon get stars in the place of secrets
            check_server(webhook.partition("?")[0], "", None, None, server="webhook")
        if self.webhook_secret.get_secret_value() and self.webhook_secret_file is not None:
            msg = "webhook_secret and webhook_secret_file: got both, expected one of them"
            raise ValueError(msg)
        if self.expire_after < 2 * self.renew_every:
            msg = f"expire_after: got {self.expire_after:g}s, expected at least twice renew_every"
            raise ValueError(msg)
        return self

    @property
    def has_target(self) -> bool:
        """Whether alerts are sent anywhere."""
        return bool(self.alertmanagers or self.webhook.get_secret_value())
