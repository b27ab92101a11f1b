"""The entries of `input.units`: the unit in which the values of selected series are written."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from service.config.base import Name, Section


class SeriesUnit(Section):
    """A factor and an offset for the series that match a pattern: the value is `factor * written + offset`."""

    series: Name = Field(description='Series, or a pattern with * and ? such as "*.temp_*".')
    factor: float = Field(1.0, allow_inf_nan=False, description="Each value is multiplied with it.")
    offset: float = Field(0.0, allow_inf_nan=False, description="It is added after that.")

    @model_validator(mode="after")
    def _is_invertible(self) -> Self:
        if self.factor == 0:
            msg = "expected a factor other than 0, which would make all values equal"
            raise ValueError(msg)
        return self
