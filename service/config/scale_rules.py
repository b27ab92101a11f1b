"""`[[scale]]`: the replicas that the forecast of a load needs, for an autoscaler to read."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from service.config.base import Name, Section
from service.config.durations import Duration, OptionalDuration

MOST_SCALE_RULES: Final = 100


class ScaleRule(Section):
    """A load, what a replica carries of it, and how long a replica takes to start."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = Field(
        description="Name of the scaled workload, the label scale of its metrics: letters, digits, _, - and ."
    )
    series: Name = Field(
        description="The series of the load: one name, without patterns. A load in several series is added up before, "
        "by the query that exports it or by [aggregate]."
    )
    lead: Duration = Field(
        600.0,
        gt=0,
        description="Time from the request of a replica until it serves. The replicas are for the largest load "
        'forecast up to then, rounded up to whole steps: at most model.horizon steps. Default "10m".',
    )
    quantile: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Level of the quantile of the load that the replicas carry, one of model.quantiles: with 0.95, a "
        "single step exceeds it in 5 % of the cases.",
    )
    capacity: float = Field(gt=0, allow_inf_nan=False, description="Load that one replica carries.")
    least: int = Field(1, ge=0, description="Smallest number of replicas.")
    most: int = Field(100, ge=1, le=100_000, description="Largest number of replicas.")
    hold: OptionalDuration = Field(
        300.0,
        ge=0,
        description="Replicas are removed only when they were not needed for this long: the largest number of this "
        'time counts, in event time. Empty or 0: removed at once. Default "5m".',
    )

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.least > self.most:
            msg = f"got least = {self.least} and most = {self.most}, expected least to be at most that"
            raise ValueError(msg)
        return self

    @property
    def lead_ms(self) -> int:
        """The lead time in milliseconds, at least 1."""
        return max(1, round(self.lead * 1000))

    @property
    def hold_ms(self) -> int:
        """The time for which replicas are kept, in milliseconds."""
        return round(self.hold * 1000)
