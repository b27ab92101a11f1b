"""`[retrain]`: when a new model is trained, and what decides whether it is used."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import BeforeValidator, Field

from service.config.base import Section, listed
from service.config.durations import Duration, OptionalDuration

Searched = Literal["head", "hidden_size", "calendar", "layers"]
SEARCHED: Final[tuple[str, ...]] = get_args(Searched)


def _as_word(given: object) -> object:
    """Returns the word of a truth value of TOML; other values as they are."""
    return str(given).lower() if isinstance(given, bool) else given


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
    wait: Annotated[Literal["auto", "true", "false"], BeforeValidator(_as_word)] = Field(
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
    search: Annotated[tuple[Searched, ...], BeforeValidator(listed)] = Field(
        (),
        description="Settings of [model] that trainings may change where that forecasts better: some of head, "
        "hidden_size (32 to 128), calendar, layers (1 or 2). Each training tries one neighbouring shape beside the "
        "present one, in the order of this list. Empty: the network keeps the configured shape.",
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
