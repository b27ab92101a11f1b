"""The configuration: every setting with its default, its bounds and its description.

Sources are one TOML file, then `FORECASTER_<SECTION>__<KEY>` from the environment, then flags; later ones override
earlier ones. `service.config.load.load_config` reads them; this module reads no file. The command line builds the
settings once and passes them on; no setting is a global variable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from forecaster import AnomalyConfig, ConfigError, ModelConfig, TrainConfig
from service.config.aggregate import AggregateConfig
from service.config.base import Name, Section, Texts, epoch_ms, listed
from service.config.bootstrap import BootstrapConfig
from service.config.durations import Duration, OptionalDuration
from service.config.input import InputConfig
from service.config.kafka import KafkaConfig
from service.config.library import AnomalySettings, ModelSettings, TrainSettings
from service.config.limits import Limit
from service.config.monitoring import HealthConfig, MetricsConfig
from service.config.schema_registry import SchemaRegistryConfig


def _live_or_time(text: str) -> str:
    if text != "live":
        epoch_ms(text, also="live")
    return text


class OutputConfig(Section):
    """Where forecasts are written, and which."""

    sink: Literal["auto", "sqlite", "stdout", "kafka"] = Field(
        "auto",
        description="Any input goes with any sink. sqlite: exactly once, one transaction per batch. stdout: JSON "
        "lines, at least once. kafka: the topics of kafka.app, exactly once. auto: kafka where kafka.topics is set, "
        'else sqlite. From topics to sqlite or stdout only with kafka.membership = "alone".',
    )
    format: Literal["json", "avro", "protobuf"] = Field(
        "json",
        description="Format of the forecasts on Kafka. avro and protobuf: in the wire format of a schema registry, "
        "with a schema that the daemon registers at its start for the subject <topic>-value; they need "
        "schema_registry.url. SQLite and standard output hold JSON.",
    )
    path: Path = Field(
        Path("forecasts.sqlite"),
        description="The SQLite file, relative to state.data_dir. With the sink stdout it holds positions and "
        "rejected records only; the sink kafka does not use it.",
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
    history_events: int = Field(500_000, ge=1, description="Recent events kept for training, per partition.")
    on_source_gone: Literal["stop", "cold"] = Field(
        "stop",
        description="What to do when the source no longer holds the records that a restart must read again, or when "
        "changed settings would decode them differently: stop with an error, or cold: continue with an empty state.",
    )


class RetrainConfig(Section):
    """When a new model is trained."""

    every_events: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto",
        description="Train after this many events. 0: the number of events triggers no training. auto: train after "
        "2000 events, and whenever their number has doubled, up to half of state.history_events, then after each "
        "further half; 0 where first_after_events or every_time is set.",
    )
    every_time: OptionalDuration = Field(
        0.0, description="Train after this much event time. Empty or 0: event time triggers no training."
    )
    first_after_events: int = Field(0, ge=0, description="Events before the first training. 0: same as every_events.")
    cpu_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Largest share of a processor that trainings of every_events = auto take while the stream goes on: "
        "after each they pause. It has no effect where wait stops the stream.",
    )
    wait: Literal["auto", "true", "false"] = Field(
        "auto",
        description="Stop at the trigger position until the training has ended, so that a run is reproducible. auto: "
        "yes for inputs that end, no for followed ones.",
    )
    drift: bool = Field(
        default=False,
        description="Train when forecast errors grow (concept drift): a Page-Hinkley test, which a replay repeats "
        "exactly.",
    )
    drift_threshold: float = Field(
        50.0, gt=0, description="Sum of excess relative error, in steps of all series, at which the test reports drift."
    )
    drift_cooldown: int = Field(
        2000, ge=0, description="Events without a drift test after each training trigger and after the first event."
    )
    drift_follow: int = Field(
        2,
        ge=0,
        description="Further trainings after one that drift triggered, drift_cooldown events apart: at the time of "
        "the alarm the history holds few events of the changed stream.",
    )
    start: Literal["warm", "cold", "both"] = Field(
        "both",
        description="Initial weights of a training: warm: the champion's; cold: those of a first start "
        "(model.pretrained); both: one training from each, and the result with the smaller held-out loss is used.",
    )
    drift_start: Literal["same", "warm", "cold", "both"] = Field(
        "same", description="retrain.start for trainings that drift triggered; same: as retrain.start."
    )
    shadow: int = Field(
        0,
        ge=0,
        description="Events for which a challenger runs as a shadow model of the champion, and after a promotion the "
        "old champion as a shadow model of the new one; more where they do not cover the longest season. 0: the "
        "held-out comparison decides alone.",
    )
    shadow_series: int = Field(
        1000,
        ge=1,
        description="Series used by shadow models and the drift test: the first ones of a partition, up "
        "to this number.",
    )
    shadow_alpha: float = Field(
        0.05, gt=0, lt=1, description="Probability per decision of promoting (or restoring) a model that is not better."
    )
    check_events: int = Field(
        1000,
        ge=1,
        description="Events between two evaluations of shadow models and drift; a unit of output ends at each.",
    )
    deadline: Duration = Field(900.0, gt=0, description='A training that takes longer is killed. Default "15m".')
    nice: int = Field(10, ge=0, le=19, description="Niceness of the training process (0 normal, 19 lowest).")

    @property
    def grows(self) -> bool:
        """Whether trainings follow the growth of the stream (`every_events` = auto, and no other trigger is set)."""
        return self.every_events == "auto" and not self.first_after_events and not self.every_time

    @property
    def event_count(self) -> int:
        """The number of events between two trainings; 0 where it triggers none or grows."""
        return 0 if self.every_events == "auto" else self.every_events


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
    schema_registry: SchemaRegistryConfig = _section(SchemaRegistryConfig)
    model: ModelSettings = _section(ModelSettings)
    anomaly: AnomalySettings = _section(AnomalySettings)
    train: TrainSettings = _section(TrainSettings)
    state: StateConfig = _section(StateConfig)
    retrain: RetrainConfig = _section(RetrainConfig)
    metrics: MetricsConfig = _section(MetricsConfig)
    health: HealthConfig = _section(HealthConfig)
    http: HttpConfig = _section(HttpConfig)
    log: LogConfig = _section(LogConfig)

    @property
    def output_path(self) -> Path:
        """The SQLite file, with `output.path` taken relative to `state.data_dir`."""
        return self.state.data_dir / self.output.path

    @property
    def sink(self) -> Literal["sqlite", "stdout", "kafka"]:
        """Where forecasts go (`output.sink` resolved)."""
        if self.output.sink == "auto":
            return "kafka" if self.kafka.topics else "sqlite"
        return self.output.sink

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
        return ModelConfig(
            **plain,
            seasons=settings.season_steps(self.step_ms) if seasons is None else seasons,
            interval_ms=settings.interval_ms,
            interval_months=settings.interval_months,
            covariates=self.input.covariates,
            future_covariates=self.input.future_covariates,
        )

    def library_anomaly(self) -> AnomalyConfig:
        """Builds the library's AnomalyConfig from these settings.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds; it has the attributes field, got and
                expected.
        """
        return AnomalyConfig(**self.anomaly.model_dump())

    def library_train(self) -> TrainConfig:
        """Builds the library's TrainConfig from these settings.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds; it has the attributes field, got and
                expected.
        """
        return TrainConfig(**self.train.model_dump())
