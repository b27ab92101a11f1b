"""Settings of monitoring: exported series, watched thresholds, and the conditions for warnings."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from service.config.base import Name, Section, Texts, listed
from service.config.durations import OptionalDuration, format_duration

MOST_SERIES = 1000


class Threshold(Section):
    """A limit and the series to watch: the daemon forecasts whether and when they cross it."""

    series: Name = Field(description='Series, or a pattern with * and ? such as "disk.*".')
    above: float | None = Field(None, description="Values above this cross the limit.")
    below: float | None = Field(None, description="Values below this cross the limit.")
    within: OptionalDuration = Field(
        0.0,
        description="How far ahead to evaluate: at least one step, at most model.horizon steps. Empty or 0: the "
        "complete forecast.",
    )

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            msg = f"expected one of above and below, got above={self.above} and below={self.below}"
            raise ValueError(msg)
        return self

    def reached(self, interval_ms: int, horizon: int) -> bool:
        """Returns whether `within` is at least one interval and at most the horizon.

        Args:
            interval_ms: milliseconds per step; 0 where it is not known. horizon: in steps.
        """
        return not self.within or interval_ms <= 1000.0 * self.within <= horizon * interval_ms

    def expected(self, interval_ms: int, horizon: int) -> str:
        """Describes the permitted values of `within`, and the setting to change."""
        step, last = (format_duration(steps * interval_ms / 1000.0) for steps in (1, horizon))
        span = f"{step} (a step) to {last} (model.horizon = {horizon} steps)"
        needed = math.ceil(1000.0 * self.within / interval_ms)
        return f"{span}; set " + (f"model.horizon to {needed} or more, or within" if needed > horizon else "within")

    @property
    def label(self) -> str:
        """Text of the limit, for messages and for the label of a metric."""
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"


class MetricsConfig(Section):
    """Quality metrics of the forecasts, and metrics of selected series."""

    sample_series: int = Field(
        500, ge=0, le=100_000, description="Series per partition whose forecasts are scored when their targets arrive."
    )
    window: int = Field(
        5000,
        ge=10,
        description="Window of the rolling quality metrics: about this many scored forecasts per horizon count.",
    )
    coverage_tolerance: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="An interval meets its objective while its coverage is at least its nominal level less this.",
    )
    skill_target: float = Field(
        0.0,
        lt=1,
        description="Forecasts meet their objective while their skill against the seasonal naive forecast "
        "is at least this.",
    )
    export_series: Texts = Field(
        (),
        description="Series exported with metrics of their own: names, or patterns with * and ?. At most "
        "export_limit series, in the order in which they appear.",
    )
    export_top: int = Field(
        0, ge=0, le=MOST_SERIES, description="Also export this many series: those with the most recent anomalies."
    )
    export_limit: int = Field(
        50,
        ge=0,
        le=MOST_SERIES,
        description="Largest number of series that export_series may export and thresholds may watch.",
    )
    thresholds: Annotated[tuple[Threshold, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=20,
        description='Limits, e.g. {series = "disk.*", above = 0.9, within = "6h"}: exports the probability that a '
        "series crosses the limit, and when.",
    )


class HealthConfig(Section):
    """Conditions under which the daemon reports a warning; warnings do not affect readiness."""

    max_lag: int = Field(
        0,
        ge=0,
        description="A source that is further behind its end than this is reported as lagging: bytes or "
        "records. 0: never.",
    )
    min_free_bytes: int = Field(
        256 << 20, ge=0, description="Less free space than this in data_dir is reported as a disk that is nearly full."
    )
    failed_trainings: int = Field(
        3, ge=1, description="This many consecutive failed trainings are reported as a failing trainer."
    )
