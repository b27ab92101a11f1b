"""The configuration: every setting with its default, its bounds and what it is for.

One TOML file, then `FORECASTER_<SECTION>__<KEY>` from the environment, then flags; the later wins.
`service.config_file.load_config` reads them; nothing here touches a file. Settings are built once, by the
command line, and handed down; none is ever a global.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from service.durations import Duration, OptionalDuration, parse_duration
from service.limits import Limit
from service.metrics_config import HealthConfig, MetricsConfig
from service.settings import Name, Texts
from service.settings import Section as _Section
from service.settings import listed as _listed
from service.transports.kafka_config import KafkaConfig

if TYPE_CHECKING:
    from forecaster import AnomalyConfig, ModelConfig, TrainConfig


class FieldNames(_Section):
    """What the fields of an event are called in JSON objects and CSV headers."""

    series: Name = Field("series", description="The field that says which series an event belongs to.")
    timestamp: Name = Field(
        "timestamp", description="The field with the event time: ISO-8601 (UTC without a zone) or epoch ms."
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


class InputConfig(_Section):
    """Where events come from and which are refused."""

    files: Texts = Field(
        (),
        description="Files to read. Each entry is one partition; an entry that is a glob is read as one "
        'stream, file after file in sorted order; "-" is standard input. Names in .gz are decompressed.',
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
    max_ahead: OptionalDuration = Field(
        86_400.0,
        description="Events whose time is later than their record time by more than this are rejected, pushed ones "
        'when they arrive. Empty or 0: no limit. Nothing else compares with the clock. Default "1d".',
    )
    late: Literal["drop", "dead-letter"] = Field(
        "drop",
        description="What becomes of events older than the newest of their series: counted, or rejected too.",
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


class OutputConfig(_Section):
    """Where forecasts go."""

    sink: Literal["sqlite", "stdout"] = Field(
        "sqlite",
        description="sqlite: exactly once, one transaction per batch. stdout: JSON lines, at least once.",
    )
    path: Path = Field(
        Path("forecasts.sqlite"),
        description="The SQLite file (also keeps positions and rejects when the sink is stdout), "
        "relative to state.data_dir.",
    )
    every: int = Field(
        1,
        ge=1,
        description="Publish the forecasts of every so-manieth step of a series only, and of flagged events; all "
        "events are taken in all the same, and the API shows all. 1: of every event.",
    )
    limits: Annotated[tuple[Limit, ...], BeforeValidator(_listed)] = Field(
        (),
        max_length=50,
        description='Beyond what values of single series cannot go, {series = "cpu.*", least = 0, greatest = 100}: '
        "quantiles beyond are moved onto it. The first that fits a series holds; see also model.clip, for all.",
    )


def _interval(value: Any) -> Any:
    return 0.0 if value == "auto" else parse_duration(value)


def _seasons(value: Any) -> Any:
    value = _listed(value)
    if not isinstance(value, list | tuple):
        return value
    return [int(item) if isinstance(item, str) and item.isdecimal() else item for item in value]


class ModelSettings(_Section):
    """The network. Its bounds are checked by the library, which says what it expected."""

    cell: Literal["gru", "lstm", "elman", "none"] = Field(
        "gru", description="The recurrent cell; none is the head alone, a feed-forward baseline."
    )
    hidden_size: int = Field(48, ge=1, description="Units of a recurrent layer; a multiple of 16.")
    layers: int = Field(1, ge=1, description="Recurrent layers on top of each other.")
    head: Literal["direct", "decoder"] = Field(
        "direct",
        description="What makes the forecast of all steps: direct, at once; decoder, a GRU that goes through them one "
        "after another, several times as slow.",
    )
    head_size: int = Field(64, ge=1, description="Hidden units of the head; a multiple of 16.")
    horizon: int = Field(24, ge=1, description="Steps ahead that are forecast.")
    quantiles: Annotated[tuple[float, ...], BeforeValidator(_listed)] = Field(
        (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
        description="Levels of the forecast's quantiles, increasing, 0.5 among them.",
    )
    seasons: Annotated[tuple[int | str, ...], BeforeValidator(_seasons)] = Field(
        (),
        description='Season lengths in steps, or durations such as "1d" when interval is given; at most 3.',
    )
    interval: Annotated[float, BeforeValidator(_interval)] = Field(
        0.0,
        description='Time between two events of a series, as a duration, or "auto" (0): learnt per series.',
        json_schema_extra={"type": ["string", "number"]},
    )
    calendar: bool = Field(default=True, description="Give the network hour of the day and day of the week.")
    timezone: Name = Field(
        "UTC", description='Whose hours, days and holidays, e.g. "Europe/Berlin"; changes of the clocks are followed.'
    )
    holidays: str = Field(
        "",
        description='Give the network the holidays of a country or a part of it, e.g. "DE" or "AU-VIC"; needs the '
        "extra holidays. Empty: none.",
    )
    clip: Annotated[tuple[float, ...], BeforeValidator(_listed)] = Field(
        (), description="The least and the greatest value that can occur; quantiles beyond are moved onto it."
    )
    non_negative: bool = Field(default=False, description="Values below zero cannot occur.")
    max_gap: int = Field(
        48,
        ge=0,
        description="Missing steps filled in at most; after a longer gap a series starts again warm.",
    )
    mixture: bool = Field(
        default=True,
        description="Mix the network with simple experts and calibrate all of them online; false: the network alone.",
    )
    pretrained: bool = Field(
        default=True,
        description="Start from the weights that come with the program, where they fit the network (gru, 48 units, one "
        "layer, head of 64); false: from untrained ones.",
    )
    seed: int = Field(0, ge=0, description="Seed of untrained weights.")

    @property
    def interval_ms(self) -> int:
        """The configured interval in milliseconds, 0 when it is learnt."""
        return round(self.interval * 1000)

    def season_steps(self) -> tuple[int, ...]:
        """The seasons in steps.

        Raises:
            ValueError: a season is a duration and the interval is unknown or does not divide it.
        """
        return tuple(item if isinstance(item, int) else self._steps(item) for item in self.seasons)

    def _steps(self, text: str) -> int:
        try:
            season_ms = round(parse_duration(text) * 1000)
        except ValueError as error:
            msg = f"seasons: got {text!r}, {error}, or a whole number of steps"
            raise ValueError(msg) from error
        if not self.interval_ms:
            msg = f'the duration "{text}" needs model.interval; set it, e.g. "30m", or give the season in steps'
            raise ValueError(msg)
        if season_ms % self.interval_ms or not season_ms:
            msg = f'"{text}" is not a whole number of intervals of {self.interval_ms} ms; expected a multiple'
            raise ValueError(msg)
        return season_ms // self.interval_ms

    @model_validator(mode="after")
    def _seasons_fit(self) -> Self:
        self.season_steps()
        return self


class AnomalySettings(_Section):
    """Which events are announced as anomalies. Its bounds are checked by the library, which says what it expected."""

    side: Literal["both", "high", "low"] = Field(
        "both", description="What is odd: values above what was forecast (high), below it (low), or both."
    )
    smooth_events: int = Field(
        1, ge=1, description="The score speaks of the last so many events of a series; 1: of each event by itself."
    )
    threshold: float = Field(
        0.999, description="Score from which on an event is flagged; of 1,000 events with nothing wrong, one has 0.999."
    )
    clear: float = Field(0.95, description="A score below this is a quiet one.")
    quiet_events: int = Field(8, ge=1, description="Quiet events needed before the same series is flagged again.")
    per_day: int = Field(10, ge=0, description="Flags per series and day (UTC) of event time, at most.")
    silent_after: int = Field(
        0,
        ge=0,
        description="Announce a series as silent after so many of its intervals without an event, by the event time of "
        "its partition. 0: never.",
    )


class TrainSettings(_Section):
    """How a model is trained. Its bounds are checked by the library, which says what it expected."""

    k1: int = Field(32, description="Steps that a training stream moves on per optimiser step.")
    k2: int = Field(48, description="Steps that gradients flow back through; at least k1.")
    batch: int = Field(32, description="Training streams side by side.")
    max_steps: int = Field(1500, description="Optimiser steps, at most.")
    passes: float = Field(200.0, description="Passes over the history, at most.")
    learning_rate: float = Field(3e-3, description="Learning rate of Adam at its peak.")
    warmup_steps: int = Field(50, description="Optimiser steps over which the learning rate rises to its peak.")
    clip_norm: float = Field(1.0, description="Gradients of a larger global norm are scaled down to it.")
    clip_value: float = Field(0.0, description="Each number of a gradient is cut to plus and minus this. 0: never.")
    weight_decay: float = Field(1e-4, description="Decoupled weight decay, on weight matrices only.")
    average: float = Field(0.99, description="Decay per step of an average of the weights, which is kept. 0: none.")
    loss_on: str = Field(
        "each", description="Loss of each scored step of a chunk, or of its last step only: each, last."
    )
    balance: float = Field(0.0, description="Windows per series: 0 by what they hold, 1 all series alike.")
    half_life: float = Field(
        0.0, description="Share of the history's span after which a step is drawn half as often. 0: all alike."
    )
    validation_fraction: float = Field(
        0.15, description="Share of the time span, at its newest end, held out to judge a model by."
    )
    evaluate_every: int = Field(50, description="Optimiser steps between two looks at the held-out slice.")
    patience: int = Field(8, description="Looks without an improvement after which training stops.")
    validation_windows: int = Field(512, description="Windows of the held-out slice scored per look, at most.")
    min_windows: int = Field(4, description="Fewer training windows than this are too few to learn from.")
    margin: float = Field(
        0.0,
        description="Share by which a new model's held-out loss must be lower to replace the present one.",
    )
    seed: int = Field(0, description="Seed of the order of training windows.")


class StateConfig(_Section):
    """What is kept between runs, where, and how much."""

    data_dir: Path = Field(Path("forecaster-data"), description="Folder of everything that the daemon keeps.")
    snapshot_every: Duration = Field(
        60.0, gt=0, description='Time between two snapshots; one more is taken on shutdown. Default "60s".'
    )
    snapshots_kept: int = Field(
        3, ge=1, description="Snapshots kept per partition to restore from, beside those that they are laid over."
    )
    max_series: int = Field(
        100_000,
        ge=1,
        description="Series held at most, per partition; beyond, the longest unseen is evicted.",
    )
    history_events: int = Field(500_000, ge=1, description="Recent events kept for training, per partition.")
    on_source_gone: Literal["stop", "cold"] = Field(
        "stop",
        description="When the source no longer holds what a restart must read again: "
        "stop with an error, or go on with an empty state.",
    )


class RetrainConfig(_Section):
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
        "or both in turn, of which the better on the held-out slice goes on.",
    )
    drift_start: Literal["same", "warm", "cold", "both"] = Field(
        "same", description="The same for trainings that drift caused; same: as retrain.start."
    )
    shadow: int = Field(
        0,
        ge=0,
        description="Events for which a challenger runs beside the champion, and later the old champion beside the "
        "new one, at most. 0: the held-out comparison decides alone.",
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


class HttpConfig(_Section):
    """The HTTP face: metrics, probes, status."""

    host: Name = Field("127.0.0.1", description="Address to listen on; loopback unless you say otherwise.")
    port: int = Field(9464, ge=0, le=65_535, description="Port to listen on; 0 is any free one, printed.")
    web_config: Path | None = Field(
        None,
        description="File with TLS and passwords, in the form of Prometheus exporters; read again when it changes.",
    )
    max_request_bytes: int = Field(1 << 20, ge=1024, le=1 << 30, description="Bodies larger than this are refused.")
    request_timeout: Duration = Field(10.0, gt=0, description="A body that takes longer to arrive is refused.")
    max_connections: int = Field(100, ge=2, description="Connections at once; more are answered with 503.")
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
        description="Recent events of each of them, with their forecasts: 206 bytes an event with the usual model.",
    )
    live_clients: int = Field(16, ge=0, description="Listeners to /api/v1/events at once; more are answered with 503.")


class LogConfig(_Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity shown.")
    format: Literal["console", "json"] = Field("console", description="For people, or one JSON object per line.")
    per_minute: int = Field(30, ge=1, description="Lines of one kind, at most; others are counted and kept back.")


def _section(kind: type[BaseModel]) -> Any:
    return Field(default_factory=lambda: kind.model_validate({}), description=(kind.__doc__ or "").strip())


class Config(_Section):
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
