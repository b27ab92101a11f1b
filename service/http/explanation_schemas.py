"""The answers about why a forecast is what it is, and what it would be with other known future values.

Units and rules are those of `schemas.py`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service.http.schemas import Answer


class MemberForecast(Answer):
    """What a member of the ensemble forecasts, and how much it weighs."""

    name: str = Field(description="network, trend, seasonal_naive_<season>, ...; prior where there is no scale yet.")
    weights: list[float] = Field(description="By step ahead.")
    quantiles: list[list[float]] = Field(description="As of a forecast; equal for all levels of a simple member.")


class ReadValueRow(Answer):
    """A past value that the forecast has read."""

    season: int = Field(description="The season in steps; 0: one of the newest steps.")
    horizon: int = Field(description="Step ahead for which it was read; 0: for all.")
    seasons_back: int = Field(description="Seasons before the target.")
    steps_back: int = Field(description="Steps before the newest one.")
    time_ms: int = Field(description="Event time of the observation.")
    value: float | None = Field(description="As it was read, without outliers; null where it is missing.")
    mean_of: int = Field(description="Number of steps of which it is the mean; 1: one observation.")


class PastSituationRow(Answer):
    """A past moment at which the series looked much as it does now."""

    end_ms: int
    distance: float = Field(description="Root mean square difference of the two windows, in scales of the series.")
    shift: float = Field(description="To be added to the past values, so that both windows end at the same value.")
    followed: list[float | None] = Field(description="The values that followed, by step, not shifted.")


class LeftOutRow(Answer):
    """The forecast without one of its inputs."""

    kind: Literal["covariate", "season", "calendar"]
    name: str
    median: list[float] = Field(description="Median by step ahead without the input.")
    effect: list[float] = Field(description="Median with it minus that without it.")


class SeriesExplanation(Answer):
    """Why the newest forecast of a series is what it is.

    The weighted members, the correction and the adjustment add up to the forecast.
    """

    series: str
    partition: str
    origin_ms: int = Field(description="Forecast origin: the event time from which the steps are counted.")
    interval_ms: int
    model: str = Field(description="sha256 of the model.")
    as_published: bool | None = Field(
        description="Whether it is equal to the published forecast bit for bit; null: that one is not recorded."
    )
    complete: bool = Field(
        description="Whether all inputs of the published forecast are still held; if not, it may differ."
    )
    words: str = Field(description="The explanation in a paragraph.")
    levels: list[float]
    targets_ms: list[int]
    quantiles: list[list[float]] = Field(description="The forecast: one row per step ahead, one column per level.")
    last: float = Field(description="The newest observed value.")
    level: float = Field(description="Running mean of the values.")
    scale: float = Field(description="Running mean absolute deviation from the level.")
    members: list[MemberForecast]
    correction: list[list[float]] = Field(description="What the calibration adds to the weighted members.")
    adjustment: list[list[float]] = Field(
        description="The rest: widening of a young series, ordering of quantiles, limits, rounding."
    )
    read: list[ReadValueRow]
    similar: list[PastSituationRow] = Field(description="The nearest first.")
    left_out: list[LeftOutRow]
    covariates: list[str]
    future_covariates: list[str]


class SeriesWhatIf(Answer):
    """A forecast with other known future values, beside the one with the actual values."""

    series: str
    partition: str
    origin_ms: int
    interval_ms: int
    model: str
    levels: list[float]
    targets_ms: list[int]
    actual: list[list[float]] = Field(description="With the actual values.")
    quantiles: list[list[float]] = Field(description="With the other values.")
    known: dict[str, list[float | None]] = Field(description="The values by step ahead; null: not known.")
    known_actual: dict[str, list[float | None]]
    computed_us: int = Field(description="Microseconds of the computation of both forecasts.")
