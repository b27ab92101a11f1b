"""The entries of `anomaly.maintenance`: event times at which series are not flagged and no alert of them begins."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from service.config.base import Name, Section, check_timezone, epoch_ms, listed

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = get_args(Day)
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


def _zone(name: str) -> str:
    check_timezone(name)
    return name


class MaintenanceWindow(Section):
    """A span of event time, once or on days of the week, and its series."""

    series: Name = Field("*", description='Series, or a pattern with * and ? such as "cpu.*".')
    start: Name = Field(description="Its begin: a time in ISO-8601 with its zone, or a time of day such as 02:00.")
    end: Name = Field(
        description="Its end, excluded: of the same form. A time of day before the begin: of the next day."
    )
    days: Annotated[tuple[Day, ...], BeforeValidator(listed)] = Field(
        (), description="Days of the week on which it begins, with a time of day: mon, tue, ... Empty: every day."
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC", description='Zone of the days and of the times of day, such as "Europe/Berlin".'
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.recurs:
            if self.start == self.end or not _CLOCK.fullmatch(self.end):
                msg = f"got start = {self.start} and end = {self.end}, expected two times of day that differ"
                raise ValueError(msg)
        elif epoch_ms(self.start, "a time of day") >= epoch_ms(self.end, "a time of day") or self.days:
            msg = f"got start = {self.start}, end = {self.end}, expected an end after it, and no days beside dates"
            raise ValueError(msg)
        return self

    @property
    def recurs(self) -> bool:
        """Whether it recurs on days of the week."""
        return _CLOCK.fullmatch(self.start) is not None

    def has(self, ms: int) -> bool:
        """Returns whether it includes an event time, epoch milliseconds."""
        if not self.recurs:
            return epoch_ms(self.start) <= ms < epoch_ms(self.end)
        try:
            local = datetime.fromtimestamp(ms / 1000, ZoneInfo(self.timezone))
        except (OverflowError, ValueError, OSError):  # beyond the years that have local times
            return False
        now, day = f"{local:%H:%M}", local.weekday()
        if self.start < self.end:
            return self.start <= now < self.end and self._begins_on(day)
        return (now >= self.start and self._begins_on(day)) or (now < self.end and self._begins_on(day - 1))

    def _begins_on(self, day: int) -> bool:
        return not self.days or DAYS[day] in self.days
