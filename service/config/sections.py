"""The configuration: every setting with its default, its bounds and its description.

Sources are one TOML file, then `FORECASTER_<SECTION>__<KEY>` from the environment, then flags; later ones override
earlier ones. `service.config.load.load_config` reads them; this module reads no file. The command line builds the
settings once and passes them on; no setting is a global variable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, Field, field_validator

from forecaster import AnomalyConfig, ConfigError, ModelConfig, TrainConfig
from service.config.aggregate import AggregateConfig
from service.config.alert_rules import MOST_ALERT_RULES, AlertRule
from service.config.alerts import AlertsConfig, Kind
from service.config.base import Name, Section, Texts
from service.config.bootstrap import BootstrapConfig
from service.config.durations import Duration
from service.config.groups import MOST_GROUPS, GroupConfig
from service.config.input import InputConfig
from service.config.kafka import KafkaConfig
from service.config.library import AnomalySettings, ModelSettings, TrainSettings
from service.config.monitoring import HealthConfig, MetricsConfig
from service.config.output import PARQUET_FOLDER, POSITIONS_FILE, SQLITE_FILE, OutputConfig
from service.config.postgres import PostgresConfig
from service.config.remote_write import RemoteWriteConfig
from service.config.retrain import RetrainConfig
from service.config.scale_rules import MOST_SCALE_RULES, ScaleRule
from service.config.schema_registry import SchemaRegistryConfig

EXPECTED_INPUT: Final = "at least one; e.g. --input events.csv, or kafka.topics, or --push"
"""What a message expects where nothing is configured that a daemon could read."""


class StateConfig(Section):
    """The state kept between runs: where, and how much of it."""

    data_dir: Path = Field(Path("forecaster-data"), description="Folder of all data that the daemon keeps.")
    snapshot_every: Duration = Field(
        60.0, gt=0, description='Time between two snapshots; a further one is written on shutdown. Default "60s".'
    )
    snapshots_kept: int = Field(
        3,
        ge=1,
        description="Snapshots kept per partition to restore from, in addition to the full snapshots that "
        "incremental ones depend on.",
    )
    models_kept: int = Field(
        100,
        ge=2,
        description="Newest models kept in state.data_dir, in addition to those that the champion, a trial, a "
        "snapshot or an adoption that a replay repeats needs.",
    )
    decisions_kept: int = Field(
        10_000, ge=100, description="Newest decisions about models kept, in addition to those still in force."
    )
    max_series: int = Field(
        100_000,
        ge=1,
        description="Largest number of series per partition; above it, the series without an event for the longest "
        "time is evicted.",
    )
    bytes_per_series: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="Bytes of state per series, at most: where seasons are so long that a value per step does not fit, "
        "older values are kept as means of several steps, as few as fit (docs/seasons.md). auto: 6 KiB for the values "
        "of seasons, so that seasons of up to 767 steps are kept value by value. Names, the events for training and "
        "those of input.late_within are not included.",
    )
    history_events: int = Field(500_000, ge=1, description="Recent events kept for training, per partition.")
    on_source_gone: Literal["stop", "cold"] = Field(
        "stop",
        description="What to do when the source no longer holds the records that a restart must read again, or when "
        "changed settings would decode them differently: stop with an error, or cold: continue with an empty state.",
    )


class HttpConfig(Section):
    """The HTTP server: metrics, probes, status, API and page."""

    host: Name = Field("127.0.0.1", description="Address to listen on; the default accepts local connections only.")
    port: int = Field(9464, ge=0, le=65_535, description="Port to listen on; 0 chooses a free port and logs it.")
    web_config: Path | None = Field(
        None,
        description="File with TLS settings and passwords, in the format of Prometheus exporters; read again when it "
        "changes.",
    )
    allowed_hosts: Texts = Field(
        (),
        description="Host names that requests may use where neither a password nor TLS is configured, in addition to "
        "addresses, localhost and http.host; pages of these hosts may push events. * and ? match any characters.",
    )
    max_request_bytes: int = Field(
        1 << 20, ge=1024, le=1 << 30, description="Request bodies larger than this (bytes) are rejected."
    )
    request_timeout: Duration = Field(10.0, gt=0, description="A request body that takes longer to arrive is rejected.")
    max_connections: int = Field(
        100,
        ge=2,
        description="Largest number of open connections. Above it, the connection that has been idle longest is "
        "closed; if none is idle, requests other than probes get 503. The number is lower where the limit of open "
        "files is low.",
    )
    recent_series: int = Field(
        200,
        ge=0,
        le=10_000,
        description="Series whose recent events the API keeps in detail; docs/api.md says which. 0: none.",
    )
    recent_events: int = Field(
        500,
        ge=16,
        le=20_000,
        description="Recent events kept for each of these series, with their forecasts: 374 bytes per event with the "
        "default model.",
    )
    stream_clients: int = Field(
        16, ge=0, description="Largest number of clients of /api/v1/events at the same time; further ones get 503."
    )


class LogConfig(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest severity that is logged.")
    format: Literal["console", "json"] = Field(
        "console", description="console: for people; json: one JSON object per line."
    )
    per_minute: int = Field(
        30,
        ge=1,
        description="Largest number of lines per minute of one event; further ones are counted and suppressed.",
    )


def _section(kind: type[BaseModel]) -> Any:
    return Field(default_factory=lambda: kind.model_validate({}), description=(kind.__doc__ or "").strip())


class Config(Section):
    """All settings, by section."""

    input: InputConfig = _section(InputConfig)
    aggregate: AggregateConfig = _section(AggregateConfig)
    bootstrap: BootstrapConfig = _section(BootstrapConfig)
    output: OutputConfig = _section(OutputConfig)
    kafka: KafkaConfig = _section(KafkaConfig)
    postgres: PostgresConfig = _section(PostgresConfig)
    schema_registry: SchemaRegistryConfig = _section(SchemaRegistryConfig)
    model: ModelSettings = _section(ModelSettings)
    anomaly: AnomalySettings = _section(AnomalySettings)
    train: TrainSettings = _section(TrainSettings)
    state: StateConfig = _section(StateConfig)
    retrain: RetrainConfig = _section(RetrainConfig)
    metrics: MetricsConfig = _section(MetricsConfig)
    health: HealthConfig = _section(HealthConfig)
    remote_write: RemoteWriteConfig = _section(RemoteWriteConfig)
    http: HttpConfig = _section(HttpConfig)
    log: LogConfig = _section(LogConfig)
    alerts: AlertsConfig = _section(AlertsConfig)
    alert: tuple[AlertRule, ...] = Field(
        (),
        max_length=MOST_ALERT_RULES,
        description="Limits of forecasts, one [[alert]] each: an alert begins while the forecast of a series is beyond "
        "the limit, before its values are. See docs/alerts.md.",
    )
    group: tuple[GroupConfig, ...] = Field(
        (),
        max_length=MOST_GROUPS,
        description="Groups of series with settings of their own, one [[group]] each: any key of [model], [anomaly] "
        "and [retrain], and of [output] every, publish_from and limits. Series that no group matches have the settings "
        "of the sections. state.max_series, state.history_events and retrain.cpu_share hold for each group.",
    )

    scale: tuple[ScaleRule, ...] = Field(
        (),
        max_length=MOST_SCALE_RULES,
        description="Workloads to scale, one [[scale]] each: the number of replicas that the forecast of a load needs "
        "is exported for an autoscaler. See docs/autoscaling.md.",
    )

    @field_validator("group", "alert", "scale")
    @classmethod
    def _named_once(cls, named: Any) -> Any:
        names = [one.name for one in named]
        if len(set(names)) < len(names):
            msg = f"got the names {', '.join(names)}, expected names that differ from each other"
            raise ValueError(msg)
        return named

    @property
    def group_names(self) -> tuple[str, ...]:
        """The names of all groups: first "", that of the series that no `[[group]]` matches."""
        return ("", *(group.name for group in self.group))

    def of_group(self, name: str) -> Self:
        """Returns the settings of a group: these, with its own keys in their place, and without groups.

        Raises:
            KeyError: there is no such group.
        """
        if not self.group and not name:
            return self
        update: dict[str, Any] = {"group": ()}
        if name:
            found = {group.name: group for group in self.group}[name]
            for section, own in found.own.items():
                keys = {key: getattr(own, key) for key in own.model_fields_set}
                update[section] = getattr(self, section).model_copy(update=keys)
        return self.model_copy(update=update)

    @property
    def alert_kinds(self) -> tuple[Kind, ...]:
        """Which alerts there are: none without a target or an `[[alert]]`."""
        return self.alerts.kinds if self.alerts.has_target or self.alert else ()

    @property
    def longest_horizon(self) -> int:
        """The largest forecast horizon of all groups, for which known future values are decoded."""
        return max(int(self.of_group(name).model.horizon) for name in self.group_names)

    @property
    def output_path(self) -> Path:
        """The SQLite file or the folder of Parquet files, with `output.path` taken relative to `state.data_dir`."""
        path = self.output.path
        return self.state.data_dir / (PARQUET_FOLDER if self.sink == "parquet" and path == SQLITE_FILE else path)

    @property
    def positions_path(self) -> Path:
        """The SQLite file with positions and rejected records, for the sinks sqlite, stdout and parquet."""
        return self.output_path / POSITIONS_FILE if self.sink == "parquet" else self.output_path

    @property
    def sink(self) -> Literal["sqlite", "stdout", "parquet", "kafka", "postgres"]:
        """Where forecasts go (`output.sink` resolved)."""
        if self.output.sink == "auto":
            if self.postgres.url.get_secret_value():
                return "postgres"
            return "kafka" if self.kafka.topics else "sqlite"
        return self.output.sink

    @property
    def output_format(self) -> Literal["json", "compact", "avro", "protobuf"]:
        """The format of forecasts (`output.format` resolved)."""
        if self.output.format == "auto":
            return "compact" if self.sink in {"sqlite", "parquet", "postgres"} else "json"
        return self.output.format

    @property
    def has_input(self) -> bool:
        """Whether there is anything to read: files, topics or pushed events."""
        return bool(self.input.files or self.kafka.topics or self.input.push)

    @property
    def uses_kafka(self) -> bool:
        """Whether brokers are needed, for the input, the output or both."""
        return bool(self.kafka.topics) or self.sink == "kafka"

    @property
    def step_ms(self) -> int:
        """The configured interval of the steps, that of the windows where these have one; 0 where it is learnt."""
        lengths = self.aggregate.intervals
        return self.model.interval_ms or (round(lengths[0] * 1000) if len(lengths) == 1 else 0)

    @property
    def history_waits(self) -> bool:
        """Whether a partition in its history stops at a trigger until the training has ended."""
        return self.retrain.wait != "false"

    @property
    def retrain_waits(self) -> bool:
        """Whether the engine stops at a trigger until the training has ended (`retrain.wait` resolved)."""
        return self.input_ends if self.retrain.wait == "auto" else self.retrain.wait == "true"

    @property
    def input_ends(self) -> bool:
        """Whether the input is finite: files that are not followed, or topics up to their present end."""
        if self.kafka.topics:
            return self.kafka.stop_at_end
        return not self.input.follow and not self.input.push and "-" not in self.input.files

    def library_model(self, seasons: tuple[int, ...] | None = None) -> ModelConfig:
        """Builds the library's ModelConfig from these settings.

        Args:
            seasons: in steps, in place of those configured; None for these.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds, or a season is a duration and the interval
                is unknown; it has the attributes field, got and expected.
        """
        settings = self.model
        if seasons is None and settings.seasons_need_interval and not self.step_ms:
            raise ConfigError(
                "model.seasons",
                ", ".join(map(str, settings.seasons)),
                "numbers of steps; a duration needs model.interval, or input files whose series have one interval",
            )
        if self.input.broadcast and self.input.future_covariates and not settings.interval_ms:
            raise ConfigError(
                "interval_ms", "auto", "a duration, because broadcast lists of known future values are shifted by it"
            )
        plain = settings.model_dump(exclude={"interval", "seasons"})
        return self.profiled(
            ModelConfig(
                **plain,
                seasons=settings.season_steps(self.step_ms) if seasons is None else seasons,
                interval_ms=settings.interval_ms,
                interval_months=settings.interval_months,
                covariates=self.input.covariates,
                future_covariates=self.input.future_covariates,
            )
        )

    def profiled(self, model: ModelConfig) -> ModelConfig:
        """Returns a network whose rows hold old values as finely as `state.bytes_per_series` permits."""
        budget = self.state.bytes_per_series
        if budget == "auto" and not model.has_long_season:
            return model
        from forecaster import with_profile  # noqa: PLC0415 - loads the compiler, for which commands do not wait

        return with_profile(model, None if budget == "auto" else budget)

    def library_anomaly(self) -> AnomalyConfig:
        """Builds the library's AnomalyConfig from these settings.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds; it has the attributes field, got and
                expected.
        """
        return self.anomaly.library()

    def library_train(self) -> TrainConfig:
        """Builds the library's TrainConfig from these settings.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds; it has the attributes field, got and
                expected.
        """
        return TrainConfig(**self.train.model_dump())
