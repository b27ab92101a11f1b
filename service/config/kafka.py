"""Settings of Kafka as source and sink: brokers, topics, group, limits, TLS and SASL.

Secrets come from the environment (FORECASTER_KAFKA__PASSWORD) or from a file (`password_file`), are held as
`SecretStr` and shown as stars wherever settings are printed.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from service.config.base import Section, Texts, epoch_ms
from service.config.durations import Duration, OptionalDuration

KafkaName = Annotated[str, Field(min_length=1, pattern=r"^[a-zA-Z0-9._-]+$", max_length=200)]


STARTS = ("committed", "earliest", "latest")
"""Values of `kafka.start` that are no times."""


def _start(text: str) -> str:
    if text not in STARTS:
        epoch_ms(text, also=", ".join(STARTS))
    return text


class KafkaConfig(Section):
    """Apache Kafka: the source where `kafka.topics` names an input topic, the sink where `output.sink` says so."""

    client: Literal["kafka-python", "confluent"] = Field(
        "kafka-python",
        description="The client library. confluent needs the extra `confluent` and is several times faster.",
    )
    bootstrap: Texts = Field(("127.0.0.1:9092",), description="Bootstrap brokers, host:port.")
    topics: Texts = Field((), description="Input topics; their partitions are shared by the group.")
    app: KafkaName = Field(
        "forecaster", description="Name of the application: prefix of the names of its topics, group and transactions."
    )
    instance: str = Field(
        "",
        description="Name of this process in its group; no two processes may share it, and a restart keeps it. "
        "Empty: the name of the machine.",
    )
    output_topic: str = Field("", description="Topic of forecasts, keyed by series. Empty: <app>.forecasts.")
    dead_letter_topic: str = Field("", description="Topic of rejected records. Empty: <app>.rejects.")
    adoptions_topic: str = Field(
        "", description="Topic that records which model each partition used from which offset on. "
        "Empty: <app>.adoptions.",
    )  # fmt: skip
    models_topic: str = Field("", description="Compacted topic of models, keyed by sha256. Empty: <app>.models.")
    share_snapshots: OptionalDuration = Field(
        0.0,
        description="Copy a snapshot of each partition to the topics <app>.snapshots and <app>.snapshot-chunks this "
        "often, so that another machine can take over without computing the state again. Empty or 0: never.",
    )
    start: Annotated[str, AfterValidator(_start)] = Field(
        "committed",
        description="Where reading begins in a partition of which nothing was read: earliest (the oldest record), "
        "latest (only records from the first start on), or a time in ISO-8601, such as 2026-11-01T00:00:00Z (records "
        "from this time on). committed: latest after a history (bootstrap), else earliest. Offsets that are committed "
        "always hold.",
    )
    group: str = Field("", description="Consumer group. Empty: the name of the application.")
    membership: Literal["group", "alone"] = Field(
        "group",
        description="group: partitions are shared with the other processes of the group. "
        "alone: this process reads all partitions; another one that starts with this setting takes over from it.",
    )
    on_offsets_gone: Literal["stop", "new-run"] = Field(
        "stop",
        description="When the group's offsets were reset, or removed as the group was empty for too long, so that "
        "events would be forecast twice: stop with an error, or forecast them again with an empty state; these "
        "forecasts have the number of the new run.",
    )
    on_compacted_input: Literal["stop", "accept"] = Field(
        "stop",
        description="When an input topic has a cleanup.policy with compact, which removes records that a restart must "
        "read again: stop with an error, or accept that its forecasts may differ.",
    )
    stop_at_end: bool = Field(
        default=False, description="End when everything that was in the topics at the start has been forecast."
    )
    forecasts_per_record: int = Field(
        1, ge=1, le=1000, description="Forecasts of a series and batch joined to one record (a JSON array) when over 1."
    )
    pass_headers: Texts = Field(
        (),
        description='Headers of an event that are copied to its forecast, e.g. "traceparent"; up to 16 KiB per event.',
    )
    max_request_bytes: int = Field(
        1_000_000,
        ge=10_000,
        description="Largest record that is sent, key and headers included; larger ones are truncated and sent to the "
        "dead-letter topic.",
    )
    fetch_max_bytes: int = Field(16 << 20, ge=1 << 16, description="Largest fetch response of a broker, in bytes.")
    compression: Literal["", "gzip"] = Field("", description="Compression of the records that are sent.")
    metadata_max_age: Duration = Field(
        300.0, ge=1, description='Partitions added to an input topic are detected within this time. Default "5m".'
    )
    session_timeout: Duration = Field(
        30.0, ge=1, description='A process without a heartbeat for this long loses its partitions. Default "30s".'
    )
    request_timeout: Duration = Field(10.0, gt=0, description='Longest wait for a response of a broker. Default "10s".')
    delivery_timeout: Duration = Field(
        20.0, gt=0, description='Longest wait for brokers to acknowledge records. Default "20s".'
    )
    transaction_timeout: Duration = Field(
        30.0,
        gt=0,
        description="Brokers abort a transaction that is open for longer; readers wait for it meanwhile. "
        'Default "30s".',
    )
    watchdog: Duration = Field(
        120.0, gt=0, description='A client call that takes longer than this ends the process. Default "2m".'
    )
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="Security protocol of connections to brokers."
    )
    ca_file: Path | None = Field(None, description="PEM file of authorities to verify brokers' certificates with.")
    certificate_file: Path | None = Field(
        None, description="PEM file with the client certificate, where brokers require one."
    )
    key_file: Path | None = Field(None, description="PEM file with the key of the client certificate.")
    key_password: SecretStr = Field(
        SecretStr(""), description="Password of key_file; preferably set in the environment."
    )
    check_hostname: bool = Field(default=True, description="Check that a broker's certificate names its host.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, where `security` has SASL."
    )
    username: str = Field("", description="SASL user name.")
    password: SecretStr = Field(
        SecretStr(""), description="SASL password; set it in the environment, never in a file that others can read."
    )
    password_file: Path | None = Field(None, description="File with the SASL password only.")
    token_file: Path | None = Field(
        None, description="File with an OAuth bearer token; read for every connection, so it can be renewed there."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.delivery_timeout < self.request_timeout:
            msg = f"delivery_timeout: got {self.delivery_timeout:g} s, expected at least request_timeout"
            raise ValueError(msg)
        if self.transaction_timeout < self.delivery_timeout:
            # Else a broker could abort a transaction whose records are still on the way.
            msg = f"transaction_timeout: got {self.transaction_timeout:g} s, expected at least delivery_timeout"
            raise ValueError(msg)
        if self.pass_headers and self.forecasts_per_record > 1:
            msg = (
                f"pass_headers: got forecasts_per_record = {self.forecasts_per_record}, expected 1, because all "
                "forecasts of a record share its headers"
            )
            raise ValueError(msg)
        if self.security.startswith("sasl"):
            if self.mechanism == "OAUTHBEARER":
                if self.token_file is None:
                    msg = "mechanism OAUTHBEARER needs token_file"
                    raise ValueError(msg)
            elif not self.username or not (self.password.get_secret_value() or self.password_file):
                msg = f"mechanism {self.mechanism} needs username and password (or password_file)"
                raise ValueError(msg)
        return self

    @property
    def instance_name(self) -> str:
        """`instance`, or the name of the machine."""
        return self.instance or socket.gethostname()

    @property
    def group_name(self) -> str:
        """`group`, or the name of the application."""
        return self.group or self.app

    @property
    def transactional_id(self) -> str:
        """What fences a predecessor of this instance; of any instance where one is to be alone."""
        return self.alone_id if self.membership == "alone" else f"{self.app}-{self.instance_name}"

    @property
    def alone_id(self) -> str:
        """Transactional id of a process of this application that is alone."""
        return f"{self.app}-alone"

    @property
    def forecasts(self) -> str:
        """Topic of forecasts."""
        return self.output_topic or f"{self.app}.forecasts"

    @property
    def rejects(self) -> str:
        """Topic of rejected records."""
        return self.dead_letter_topic or f"{self.app}.rejects"

    @property
    def adoptions(self) -> str:
        """Topic of adoptions."""
        return self.adoptions_topic or f"{self.app}.adoptions"

    @property
    def models(self) -> str:
        """Topic of models."""
        return self.models_topic or f"{self.app}.models"

    @property
    def positions(self) -> str:
        """Compacted topic of the positions of inputs that are no topics."""
        return f"{self.app}.positions"

    @property
    def snapshots(self) -> str:
        """Topic of the manifests of shared snapshots."""
        return f"{self.app}.snapshots"

    @property
    def snapshot_chunks(self) -> str:
        """Topic of the pieces of shared snapshots."""
        return f"{self.app}.snapshot-chunks"

    def sasl_password(self) -> str:
        """The password, from the file if one is named.

        Raises:
            OSError: the file cannot be read.
        """
        if self.password_file is not None:
            return self.password_file.read_text().rstrip("\r\n")
        return self.password.get_secret_value()
