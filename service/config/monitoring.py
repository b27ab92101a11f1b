"""Settings of what the daemon shows of itself: single series, limits to be watched, when to warn."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from service.config.base import Name, Section, Texts, listed
from service.config.durations import OptionalDuration, format_duration

MOST_SERIES = 1000


class Threshold(Section):
    """A limit, and the series for which the time to it is told."""

    series: Name = Field(description='Series, or a pattern with * and ? such as "disk.*".')
    above: float | None = Field(None, description="The limit is crossed by values above this.")
    below: float | None = Field(None, description="The limit is crossed by values below this.")
    within: OptionalDuration = Field(
        0.0,
        description="Look so far ahead: at least a step, and at most model.horizon steps. Empty or 0: as far as is "
        "forecast.",
    )

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            msg = f"expected one of above and below, got above={self.above} and below={self.below}"
            raise ValueError(msg)
        return self

    def reached(self, interval_ms: int, horizon: int) -> bool:
        """Whether a forecast of so many steps, so long each, says what happens within the time asked for.

        Args:
            interval_ms: 0 where it is not known. horizon: in steps.
        """
        return not self.within or interval_ms <= 1000.0 * self.within <= horizon * interval_ms

    def expected(self, interval_ms: int, horizon: int) -> str:
        """What `within` may be, and what to set."""
        step, last = (format_duration(steps * interval_ms / 1000.0) for steps in (1, horizon))
        span = f"{step} (a step) to {last} (model.horizon = {horizon} steps)"
        needed = math.ceil(1000.0 * self.within / interval_ms)
        return f"{span}; set " + (f"model.horizon to {needed} or more, or within" if needed > horizon else "within")

    @property
    def label(self) -> str:
        """For a person and for a metric's label."""
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"


class MetricsConfig(Section):
    """What is shown of the quality of forecasts, and of single series."""

    sample_series: int = Field(
        500, ge=0, le=100_000, description="Series per partition whose forecasts are scored when their values come."
    )
    window: int = Field(
        5000, ge=10, description="Rolling figures forget with the scored forecasts: about so many of a horizon count."
    )
    coverage_tolerance: float = Field(
        0.05, ge=0, lt=0.5, description="An interval keeps its promise while it covers its share less this."
    )
    skill_target: float = Field(
        0.0, lt=1, description="Forecasts keep their promise while they are better than seasonal naive by this share."
    )
    export_series: Texts = Field(
        (), description="Series shown one by one: names, or patterns with * and ?. The first export_limit that come."
    )
    export_top: int = Field(
        0, ge=0, le=MOST_SERIES, description="As well, so many series with the most anomalies of late."
    )
    export_limit: int = Field(
        50, ge=0, le=MOST_SERIES, description="Series that export_series may show, and thresholds may watch, at most."
    )
    thresholds: Annotated[tuple[Threshold, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=20,
        description='Limits, e.g. {series = "disk.*", above = 0.9, within = "6h"}: the probability that a series '
        "crosses it, and when.",
    )


class HealthConfig(Section):
    """When the daemon warns about itself; warnings do not make it unready."""

    max_lag: int = Field(
        0, ge=0, description="Further behind the end of a source than this is lagging: bytes or records. 0: never."
    )
    min_free_bytes: int = Field(
        256 << 20, ge=0, description="Less free space than this in data_dir is a disk nearly full."
    )
    failed_trainings: int = Field(
        3, ge=1, description="So many trainings in a row that fail are a trainer that is failing."
    )
