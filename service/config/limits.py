"""The entries of `output.limits`: bounds of the values of selected series."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, model_validator

from service.config.base import Name, Section


class Limit(Section):
    """The smallest and the largest possible value of the series that match a pattern."""

    series: Name = Field(description='Series, or a pattern with * and ? such as "cpu.*".')
    least: float | None = Field(None, allow_inf_nan=False, description="No value is below this.")
    greatest: float | None = Field(None, allow_inf_nan=False, description="No value is above this.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        least, greatest = self.bounds
        if least == -math.inf and greatest == math.inf:
            msg = "expected least, greatest or both, got neither"
            raise ValueError(msg)
        if least >= greatest:
            msg = f"expected least below greatest, got least={self.least} and greatest={self.greatest}"
            raise ValueError(msg)
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Both bounds; infinite where a bound is not set."""
        return (
            -math.inf if self.least is None else self.least,
            math.inf if self.greatest is None else self.greatest,
        )
