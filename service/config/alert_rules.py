"""`[[alert]]`: limits that the forecast of series is to be within; where it is not, an alert begins."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from service.config.base import Section, Texts
from service.config.durations import OptionalDuration

MOST_ALERT_RULES: Final = 50


class AlertRule(Section):
    """A limit of the forecasts of series, before it is reached: "full in six hours"."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] = Field(
        description="Name of the alert (alertname): letters, digits and _."
    )
    match: Texts = Field(min_length=1, description='Series: patterns with * and ?, such as "disk.*".')
    above: float | None = Field(None, allow_inf_nan=False, description="A forecast above this is beyond the limit.")
    below: float | None = Field(None, allow_inf_nan=False, description="A forecast below this is beyond the limit.")
    level: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Level of the quantile that is compared, one of model.quantiles: with 0.9 and above, the alert "
        "begins while the limit is reached with a probability of 10 %.",
    )
    within: OptionalDuration = Field(
        0.0,
        ge=0,
        description='How far ahead the forecast is compared, such as "6h": whole steps within it, at least one. Empty: '
        "the complete forecast.",
    )
    for_steps: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Forecasts in succession that must be beyond the limit before the alert begins, and within before "
        "it is over.",
    )
    clear: float | None = Field(
        None,
        allow_inf_nan=False,
        description="The alert is over when no step is beyond this limit any more: below above, or above below. Empty: "
        "the same limit.",
    )
    severity: str = Field("warning", min_length=1, max_length=60, description="Label severity of the alert.")

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            msg = f"expected one of above and below, got above={self.above} and below={self.below}"
            raise ValueError(msg)
        if self.clear is not None and self.sign * (self.clear - self.limit) > 0:
            msg = f"clear: got {self.clear}, expected {self.limit} or a value on its other side"
            raise ValueError(msg)
        return self

    @property
    def sign(self) -> float:
        """1 where values above the limit are beyond it, else -1."""
        return 1.0 if self.above is not None else -1.0

    @property
    def limit(self) -> float:
        """The limit."""
        return self.above if self.above is not None else self.below if self.below is not None else 0.0

    @property
    def clear_limit(self) -> float:
        """The limit beyond which an alert goes on."""
        return self.limit if self.clear is None else self.clear
