"""Settings that are the library's: the network, its anomalies, its training. The library checks their bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from service.config.base import Name, Section, listed
from service.config.durations import EXPECTED, MONTH_SECONDS, format_months, parse_duration, parse_months


def _interval(value: Any) -> Any:
    if value == "auto":
        return 0.0
    if months := parse_months(value):
        return format_months(months)
    try:
        return parse_duration(value)
    except ValueError:
        msg = f'expected {EXPECTED}, or a step of the calendar: "1mo", "1q" or "3mo", "1y"; or "auto"'
        raise ValueError(msg) from None


def _seasons(value: Any) -> Any:
    value = listed(value)
    if not isinstance(value, list | tuple):
        return value
    return [int(item) if isinstance(item, str) and item.isdecimal() else item for item in value]


class ModelSettings(Section):
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
    quantiles: Annotated[tuple[float, ...], BeforeValidator(listed)] = Field(
        (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
        description="Levels of the forecast's quantiles, increasing, 0.5 among them.",
    )
    seasons: Annotated[tuple[int | str, ...], BeforeValidator(_seasons)] = Field(
        (),
        description='Season lengths in steps, or durations such as "1d" when interval is given; at most 3.',
    )
    interval: Annotated[float | str, BeforeValidator(_interval)] = Field(
        0.0,
        description='Time between two events of a series, as a duration; "1mo", "1q" or "1y" for months, quarters and '
        'years of the calendar; or "auto" (0): learnt per series.',
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
    clip: Annotated[tuple[float, ...], BeforeValidator(listed)] = Field(
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
        """The configured interval in milliseconds, the mean one of calendar steps; 0 when it is learnt."""
        seconds = self.interval_months * MONTH_SECONDS or self.interval
        return round(float(seconds) * 1000)

    @property
    def interval_months(self) -> int:
        """Months between two events, 0 where the interval is a duration or learnt."""
        return parse_months(self.interval)

    def season_steps(self) -> tuple[int, ...]:
        """The seasons in steps.

        Raises:
            ValueError: a season is a duration and the interval is unknown or does not divide it.
        """
        return tuple(item if isinstance(item, int) else self._steps(item) for item in self.seasons)

    def _steps(self, text: str) -> int:
        if (months := parse_months(text)) and self.interval_months:
            if months % self.interval_months:
                msg = f'"{text}" is not a whole number of intervals of {self.interval}; expected a multiple'
                raise ValueError(msg)
            return months // self.interval_months
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


class AnomalySettings(Section):
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


class TrainSettings(Section):
    """How a model is trained. Its bounds are checked by the library, which says what it expected."""

    k1: int = Field(32, description="Steps that a training stream moves on per optimiser step.")
    k2: int = Field(48, description="Steps that gradients flow back through; at least k1.")
    batch: int = Field(32, description="Training streams side by side.")
    max_steps: int = Field(3000, description="Optimiser steps, at most.")
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
        0.15,
        description="Share of the time span, at its newest end, held out: the older half chooses weights, the newer "
        "half judges them.",
    )
    evaluate_every: int = Field(50, description="Optimiser steps between two evaluations on the held-out slice.")
    patience: int = Field(8, description="Evaluations without an improvement after which training stops.")
    validation_windows: int = Field(512, description="Windows scored of each half of the held-out slice, at most.")
    min_windows: int = Field(4, description="Fewer training windows than this are too few to learn from.")
    margin: float = Field(
        0.0,
        description="Share by which a new model's held-out loss must be lower, at least, to replace the present one, "
        "and lower by more than chance explains. Below 0: promoted where it is not worse by that share, chance or not.",
    )
    seed: int = Field(0, description="Seed of the order of training windows.")
