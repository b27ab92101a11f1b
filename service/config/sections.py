"""The configuration: every setting with its default, its bounds and what it is for.

One TOML file, then `FORECASTER_<SECTION>__<KEY>` from the environment, then flags; the later wins.
`service.config_file.load_config` reads them; nothing here touches a file. Settings are built once, by the
command line, and handed down; none is ever a global.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from service.config.base import Name, Section, Texts, listed
from service.config.durations import Duration, OptionalDuration
from service.config.input import InputConfig
from service.config.kafka import KafkaConfig
from service.config.library import AnomalySettings, ModelSettings, TrainSettings
from service.config.limits import Limit
from service.config.monitoring import HealthConfig, MetricsConfig

if TYPE_CHECKING:
    from forecaster import AnomalyConfig, ModelConfig, TrainConfig


class OutputConfig(Section):
    """Where forecasts go."""

    sink: Literal["auto", "sqlite", "stdout", "kafka"] = Field(
        "auto",
        description="Any input goes with any sink. sqlite: exactly once, one transaction per batch. stdout: JSON "
        "lines, at least once. kafka: the topics of kafka.app, exactly once. auto: kafka where kafka.topics is set, "
        'else sqlite. From topics to sqlite or stdout only with kafka.membership = "alone".',
    )
    path: Path = Field(
        Path("forecasts.sqlite"),
        description="The SQLite file (also keeps positions and rejects when the sink is stdout), "
        "relative to state.data_dir. Not used by the sink kafka.",
    )
    every: int = Field(
        1,
        ge=1,
        description="Publish the forecasts of every so-manieth step of a series only, and of flagged events; all "
        "events are taken in all the same, and the API shows all. 1: of every event.",
    )
    limits: Annotated[tuple[Limit, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=50,
        description='Beyond what values of single series cannot go, {series = "cpu.*", least = 0, greatest = 100}: '
        "quantiles beyond are moved onto it. The first that fits a series holds; see also model.clip, for all.",
    )


class StateConfig(Section):
    """What is kept between runs, where, and how much."""

    data_dir: Path = Field(Path("forecaster-data"), description="Folder of everything that the daemon keeps.")
    snapshot_every: Duration = Field(
        60.0, gt=0, description='Time between two snapshots; one more is taken on shutdown. Default "60s".'
    )
    snapshots_kept: int = Field(
        3, ge=1, description="Snapshots kept per partition to restore from, beside those that they are laid over."
    )
    models_kept: int = Field(
        100,
        ge=2,
        description="Models kept in state.data_dir, the newest, beside those that the champion, a trial, a snapshot or "
        "an adoption that may be computed again needs.",
    )
    decisions_kept: int = Field(
        10_000, ge=100, description="Decisions about models kept, the newest, beside those that are still in force."
    )
    max_series: int = Field(
        100_000,
        ge=1,
        description="Series held at most, per partition; beyond, the longest unseen is evicted.",
    )
    history_events: int = Field(500_000, ge=1, description="Recent events kept for training, per partition.")
    on_source_gone: Literal["stop", "cold"] = Field(
        "stop",
        description="When the source no longer holds what a restart must read again, or settings were changed that "
        "would make something else of it: stop with an error, or go on with an empty state.",
    )


class RetrainConfig(Section):
    """When a new model is trained."""

    every_events: int = Field(0, ge=0, description="Train after this many events. 0: not by number of events.")
    every_time: OptionalDuration = Field(0.0, description="Train after this much event time. Empty or 0: not by time.")
    first_after_events: int = Field(
        0, ge=0, description="Train for the first time after this many events already. 0: as the others."
    )
    wait: Literal["auto", "true", "false"] = Field(
        "auto",
        description="Stop at the trigger position until training is done, so that a run can be repeated "
        "exactly. auto: for inputs that end, not for followed ones.",
    )
    drift: bool = Field(
        default=False,
        description="Train when forecast errors grow: a Page-Hinkley test, replayed like everything else.",
    )
    drift_threshold: float = Field(
        50.0, gt=0, description="Sum of excess relative error, in steps of all series, at which drift is announced."
    )
    drift_cooldown: int = Field(
        2000, ge=0, description="Events after any training fell due, and after the first event, without drift."
    )
    drift_follow: int = Field(
        2,
        ge=0,
        description="Trainings that follow one that drift caused, each drift_cooldown events behind the one before: at "
        "the alarm there is little yet of what the stream has become.",
    )
    start: Literal["warm", "cold", "both"] = Field(
        "both",
        description="Weights that a training starts from: the champion's, those of a first start (model.pretrained), "
        "or both in turn, of which the better on held-out events goes on.",
    )
    drift_start: Literal["same", "warm", "cold", "both"] = Field(
        "same", description="The same for trainings that drift caused; same: as retrain.start."
    )
    shadow: int = Field(
        0,
        ge=0,
        description="Events for which a challenger runs beside the champion, and later the old champion beside the "
        "new one; more where they hold no whole longest season. 0: the held-out comparison decides alone.",
    )
    shadow_series: int = Field(
        1000, ge=1, description="Series that shadow and drift test look at: the first so many of a partition."
    )
    shadow_alpha: float = Field(
        0.05, gt=0, lt=1, description="Chance of promoting (or restoring) a model that is not better; per verdict."
    )
    check_events: int = Field(
        1000, ge=1, description="Events between two looks at shadow and drift; a unit of output ends there."
    )
    deadline: Duration = Field(900.0, gt=0, description='Training is killed after this. Default "15m".')
    nice: int = Field(10, ge=0, le=19, description="Priority of the training process (0 normal, 19 lowest).")


class HttpConfig(Section):
    """The HTTP face: metrics, probes, status."""

    host: Name = Field("127.0.0.1", description="Address to listen on; loopback unless you say otherwise.")
    port: int = Field(9464, ge=0, le=65_535, description="Port to listen on; 0 is any free one, printed.")
    web_config: Path | None = Field(
        None,
        description="File with TLS and passwords, in the form of Prometheus exporters; read again when it changes.",
    )
    allowed_hosts: Texts = Field(
        (),
        description="Names by which requests may ask for this daemon where there is neither a password nor TLS, beside "
        "addresses, localhost and http.host; pages of these names may push. * and ? fit any characters.",
    )
    max_request_bytes: int = Field(1 << 20, ge=1024, le=1 << 30, description="Bodies larger than this are refused.")
    request_timeout: Duration = Field(10.0, gt=0, description="A body that takes longer to arrive is refused.")
    max_connections: int = Field(
        100,
        ge=2,
        description="Connections at once. Beyond, the one that has waited longest for its client is cut; where all are "
        "being answered, requests other than probes get 503. Fewer where the limit of open files is low.",
    )
    live_series: int = Field(
        200,
        ge=0,
        le=10_000,
        description="Series whose recent events the API remembers in detail; see docs/api.md for which. 0: none.",
    )
    live_history: int = Field(
        500,
        ge=16,
        le=20_000,
        description="Recent events of each of them, with their forecasts: 374 bytes an event with the usual model.",
    )
    live_clients: int = Field(16, ge=0, description="Listeners to /api/v1/events at once; more are answered with 503.")


class LogConfig(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity shown.")
    format: Literal["console", "json"] = Field("console", description="For people, or one JSON object per line.")
    per_minute: int = Field(30, ge=1, description="Lines of one kind, at most; others are counted and kept back.")


def _section(kind: type[BaseModel]) -> Any:
    return Field(default_factory=lambda: kind.model_validate({}), description=(kind.__doc__ or "").strip())


class Config(Section):
    """Everything that can be set, by section."""

    input: InputConfig = _section(InputConfig)
    output: OutputConfig = _section(OutputConfig)
    kafka: KafkaConfig = _section(KafkaConfig)
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
    def retrain_waits(self) -> bool:
        """Whether the engine stops at a trigger until the trainer is done (`retrain.wait` resolved)."""
        if self.retrain.wait == "auto":
            if self.kafka.topics:
                return self.kafka.stop_at_end
            return not self.input.follow and not self.input.push and "-" not in self.input.files
        return self.retrain.wait == "true"

    def library_model(self) -> ModelConfig:
        """The library's ModelConfig of these settings.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds; names field, got, expected.
        """
        from forecaster import ConfigError, ModelConfig  # noqa: PLC0415 - compiled; `config show` must not wait for them

        settings = self.model
        if self.input.broadcast and self.input.future_covariates and not settings.interval_ms:
            raise ConfigError("interval_ms", "auto", "a duration, by which broadcast lists of steps ahead are shifted")
        plain = settings.model_dump(exclude={"interval", "seasons"})
        return ModelConfig(
            **plain,
            seasons=settings.season_steps(),
            interval_ms=settings.interval_ms,
            interval_months=settings.interval_months,
            covariates=self.input.covariates,
            future_covariates=self.input.future_covariates,
        )

    def library_anomaly(self) -> AnomalyConfig:
        """The library's AnomalyConfig of these settings.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds; names field, got, expected.
        """
        from forecaster import AnomalyConfig  # noqa: PLC0415 - as above

        return AnomalyConfig(**self.anomaly.model_dump())

    def library_train(self) -> TrainConfig:
        """The library's TrainConfig of these settings.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds; names field, got, expected.
        """
        from forecaster import TrainConfig  # noqa: PLC0415 - as above

        return TrainConfig(**self.train.model_dump())
