"""Settings generated from the library's classes: network, anomalies, training. The library checks their bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, create_model, model_validator

from forecaster import AnomalyConfig, ConfigError, ModelConfig, TrainConfig
from service.config.base import Name, Section, listed
from service.config.durations import EXPECTED, MONTH_SECONDS, Duration, format_months, parse_duration, parse_months
from service.config.maintenance import MaintenanceWindow


def _interval(value: Any) -> Any:
    if value == "auto":
        return 0.0
    if months := parse_months(value):
        return format_months(months)
    try:
        return parse_duration(value)
    except ValueError:
        msg = f'expected {EXPECTED}, or a calendar step: "1mo", "1q" or "3mo", "1y"; or "auto"'
        raise ValueError(msg) from None


def _seasons(value: Any) -> Any:
    if value == "auto":
        return value
    value = listed(value)
    if not isinstance(value, list | tuple):
        return value
    return [int(item) if isinstance(item, str) and item.isdecimal() else item for item in value]


def _settings_of(
    library: type[ModelConfig | AnomalyConfig | TrainConfig], own: Mapping[str, tuple[str, Any, Any]], *omit: str
) -> Any:
    """Builds a section with the settings of a library class, in the order of the class.

    Args:
        library: the class; it has defaults, bounds and descriptions.
        own: name, type and field of the settings that the configuration writes in another form.
        omit: settings that the configuration has in another section.
    """
    found: dict[str, Any] = {}
    for setting in dataclasses.fields(library):
        if setting.name in own:
            name, *rest = own[setting.name]
            found[name] = tuple(rest)
        elif setting.name not in omit:
            kind = _KINDS.get(type(setting.default), type(setting.default))
            if names := setting.metadata["one_of"]:
                kind = Literal[names]
            found[setting.name] = (kind, Field(setting.default, description=setting.metadata["text"]))
    return create_model(f"_{library.__name__}", __base__=Section, **found)


_KINDS: Final[dict[Any, Any]] = {tuple: Annotated[tuple[float, ...], BeforeValidator(listed)]}
_SEASONS: Final = (
    "seasons",
    Annotated[Literal["auto"] | tuple[int | str, ...], BeforeValidator(_seasons)],
    Field(
        "auto",
        description='Season lengths in steps, or durations such as "1d" where the interval is set (also that of '
        "aggregate) or found in input files; at most 3; [] for none. "
        "auto: found in the first records of input files, at the first start, for each cadence of their series; none "
        "for other inputs; then trainings try those of the history.",
    ),
)
_INTERVAL: Final = (
    "interval",
    Annotated[float | str, BeforeValidator(_interval)],
    Field(
        0.0,
        description='Time between two events of a series, as a duration; "1mo", "1q" or "1y" for calendar months, '
        'quarters and years; or "auto" (0): estimated per series.',
        json_schema_extra={"type": ["string", "number"]},
    ),
)
_MODEL: Any = _settings_of(
    ModelConfig, {"seasons": _SEASONS, "interval_ms": _INTERVAL}, "interval_months", "covariates", "future_covariates",
    "profile_steps",
)  # fmt: skip
_ANOMALY: Any = _settings_of(AnomalyConfig, {})
_TRAIN: Any = _settings_of(TrainConfig, {})


class ModelSettings(_MODEL):  # type: ignore[misc] # generated from the library's class
    """The network. The library checks the bounds and states the expected value."""

    @property
    def interval_ms(self) -> int:
        """The configured interval in milliseconds; the mean length for calendar steps; 0 when it is estimated."""
        seconds = self.interval_months * MONTH_SECONDS or self.interval
        return round(float(seconds) * 1000)

    @property
    def interval_months(self) -> int:
        """Months between two events; 0 where the interval is a duration or estimated."""
        return parse_months(self.interval)

    @property
    def seasons_need_interval(self) -> bool:
        """Whether a season is a duration and no interval is configured."""
        return not self.interval_ms and self.seasons != "auto" and any(isinstance(item, str) for item in self.seasons)

    def season_steps(self, interval_ms: int = 0) -> tuple[int, ...]:
        """Returns the seasons in steps; none where they are to be found in the input, and were not.

        Args:
            interval_ms: that of the input, used where none is configured; 0 where it is unknown.

        Raises:
            ValueError: a season is a duration and the interval is unknown or does not divide it.
        """
        if self.seasons == "auto":
            return ()
        interval_ms = self.interval_ms or interval_ms
        return tuple(item if isinstance(item, int) else self._steps(item, interval_ms) for item in self.seasons)

    def _steps(self, text: str, interval_ms: int) -> int:
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
        if not interval_ms:
            msg = f'the duration "{text}" needs model.interval; set it, e.g. "30m", or give the season in steps'
            raise ValueError(msg)
        if season_ms % interval_ms or not season_ms:
            msg = f'"{text}" is not a whole number of intervals of {interval_ms} ms; expected a multiple'
            raise ValueError(msg)
        return season_ms // interval_ms

    @model_validator(mode="after")
    def _seasons_fit(self) -> Self:
        self.season_steps(int(self.seasons_need_interval))  # of which every duration is a multiple
        return self


def _of_some_series(library: type[AnomalyConfig], *omit: str) -> Any:
    """Builds a section with settings that some series may have instead of those of all; None where they do not."""
    found: dict[str, Any] = {}
    for name, setting in _ANOMALY.model_fields.items():
        if name not in omit:
            found[name] = (setting.annotation | None, Field(None, description=setting.description))
    return create_model(f"_{library.__name__}OfSeries", __base__=Section, **found)


_ANOMALY_OF_SERIES: Any = _of_some_series(AnomalyConfig, "silent_after")


class SeriesAnomalyRule(_ANOMALY_OF_SERIES):  # type: ignore[misc] # as above
    """Settings of [anomaly] for the series that match a pattern."""

    series: Name = Field(description='Series, or a pattern with * and ? such as "disk.*".')


class AnomalySettings(_ANOMALY):  # type: ignore[misc] # as above
    """Which events are flagged as anomalies. The library checks the bounds and states the expected value."""

    rules: Annotated[tuple[SeriesAnomalyRule, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=100,
        description='Other settings of selected series, {series = "disk.*", side = "high", min_deviation = 5}: any key '
        "above except silent_after. The first entry that matches a series applies.",
    )
    budget: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Flags of all series of a group, in a partition and a budget_period of event time, at most; "
        "further events are published with suppressed = budget. 0: no bound.",
    )
    budget_period: Duration = Field(
        3600.0, ge=1, description='Length of the periods of the budget, which begin at multiples of it. Default "1h".'
    )
    maintenance: Annotated[tuple[MaintenanceWindow, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=100,
        description='Event times without flags, {series = "db.*", start = "02:00", end = "04:00", days = ["sun"], '
        'timezone = "Europe/Berlin"}, or once, with start and end in ISO-8601: events that would be flagged are '
        "published with suppressed = maintenance.",
    )

    def library(self) -> AnomalyConfig:
        """Builds the library's settings of the series that no rule matches.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds.
        """
        return AnomalyConfig(**{one.name: getattr(self, one.name) for one in dataclasses.fields(AnomalyConfig)})

    def library_rules(self) -> list[AnomalyConfig]:
        """Builds the library's settings of every rule.

        Raises:
            forecaster.ConfigError: a value is outside the library's bounds.
        """
        base, found = self.library(), list[AnomalyConfig]()
        for rule in self.rules:
            given = {name: value for name, value in rule.model_dump(exclude={"series"}).items() if value is not None}
            try:
                found.append(dataclasses.replace(base, **given))
            except ConfigError as error:
                got = f"{error.field} = {error.got!r} for {rule.series!r}"
                raise ConfigError("rules", got, error.expected) from None
        return found


class TrainSettings(_TRAIN):  # type: ignore[misc] # as above
    """How a model is trained. The library checks the bounds and states the expected value."""
