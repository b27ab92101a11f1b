"""Settings of windows over raw events: which interval and functions turn the events of a series into values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from service.config.base import Name, Section, check_timezone, listed
from service.config.durations import OptionalDuration, format_duration

HISTOGRAM: Final = "histogram_"
"""Begin of the names of the functions of histograms."""

Function = Literal[
    "count", "sum", "mean", "min", "max", "first", "last", "median", "p90", "p95", "p99", "distinct", "rate",
    "increase", "histogram_median", "histogram_p90", "histogram_p95", "histogram_p99",
]  # fmt: skip
Empty = Literal["auto", "zero", "missing", "last"]
Functions = Annotated[tuple[Function, ...], BeforeValidator(listed)]

DAY_SECONDS: Final = 86_400
_LONGEST_DAYS: Final = 366
_LEAST_MS: Final = 1e-6  # rounding of a duration in seconds


def is_of_histograms(functions: Iterable[str]) -> bool:
    """Returns whether functions are those of the buckets of histograms."""
    return any(function.startswith(HISTOGRAM) for function in functions)


def _check_interval(seconds: float) -> None:
    """Refuses intervals that do not fit into local days.

    Raises:
        ValueError: the interval is no part of a day and no number of days.
    """
    milliseconds = round(seconds * 1000)
    day = 1000 * DAY_SECONDS
    exact = milliseconds > 0 and abs(seconds * 1000 - milliseconds) < _LEAST_MS
    if not exact or (day % milliseconds and (milliseconds % day or milliseconds > _LONGEST_DAYS * day)):
        msg = (
            f'got the interval "{format_duration(seconds)}", expected one that divides a day, such as "5m" or "1h", '
            f'or whole days up to "{_LONGEST_DAYS}d"'
        )
        raise ValueError(msg)


class AggregateRule(Section):
    """Windows of the series that match a pattern."""

    series: Name = Field(description='Series, or a pattern with * and ? such as "orders.*".')
    interval: OptionalDuration = Field(0.0, description="Empty: aggregate.interval.")
    functions: Functions = Field((), description="Empty: aggregate.functions.")
    empty: Literal["", "auto", "zero", "missing", "last"] = Field("", description="Empty: aggregate.empty.")

    @model_validator(mode="after")
    def _fits_days(self) -> Self:
        if self.interval:
            _check_interval(self.interval)
        return self


class AggregateConfig(Section):
    """Windows over raw events: the events of a series within an interval of event time become one value."""

    interval: OptionalDuration = Field(
        0.0,
        description='Length of the windows, such as "1m", "1h" or "1d": it divides a day, or is a number of whole '
        "days. A value has the time at which its window begins. Empty or 0: off, events are forecast as they are.",
    )
    functions: Functions = Field(
        ("mean",),
        description="What the values of a window become: count (its events, also those without a value), sum, mean, "
        "min, max, first, last (by event time), median, p90, p95, p99, distinct (number of different values, extra "
        "distinct), for counters rate (per second) and increase, and for the buckets of Prometheus histograms "
        "histogram_median, histogram_p90, histogram_p95, histogram_p99. One function keeps the name of the series; "
        "several make a series each, <series>.<function>.",
    )
    grace: OptionalDuration = Field(
        10.0,
        description="Event time for which a window stays open after its end, for events that arrive later. Events "
        'behind a closed window are late (input.late). Default "10s".',
    )
    idle: OptionalDuration = Field(
        60.0,
        description="Wall time without an event of a partition after which its event time goes on with the clock, so "
        'that its open windows close at their end and the grace. Empty or 0: they wait for events. Default "1m".',
    )
    empty: Empty = Field(
        "auto",
        description="The value of a window without events between two windows with events: zero, missing, or last (the "
        "value before). auto: zero for count and sum, missing for the others.",
    )
    counters: Literal["rate", "increase", "functions"] = Field(
        "rate",
        description="What the windows of counters become: of series whose name, without labels, ends in _total, and "
        "that no rule matches. rate or increase; functions: aggregate.functions, as for other series.",
    )
    timezone: str = Field(
        "UTC",
        description="Time zone in which windows begin at midnight, by its name in the tz database. A day is a local "
        "day, of 23 to 25 hours where the clock changes; weeks begin on Mondays.",
    )
    rules: Annotated[tuple[AggregateRule, ...], BeforeValidator(listed)] = Field(
        (),
        max_length=50,
        description='Windows of selected series, {series = "orders.*", interval = "5m", functions = ["count"], '
        'empty = "zero"}; what a rule leaves out is as above. The first entry that matches a series applies.',
    )

    @property
    def has_distinct(self) -> bool:
        """Whether windows count distinct values."""
        return any("distinct" in functions for functions in (self.functions, *(rule.functions for rule in self.rules)))

    @property
    def intervals(self) -> list[float]:
        """The intervals in use, in seconds."""
        return sorted({self.interval, *(rule.interval or self.interval for rule in self.rules)})

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for functions in (self.functions, *(rule.functions for rule in self.rules)):
            if len(set(functions)) != len(functions):
                msg = f"got the functions {list(functions)}, expected functions that differ from each other"
                raise ValueError(msg)
            if is_of_histograms(functions) and not all(map(is_of_histograms, ([one] for one in functions))):
                msg = f"got the functions {list(functions)}, expected those of histograms without others"
                raise ValueError(msg)
        if not self.functions:
            msg = "got no functions, expected at least one"
            raise ValueError(msg)
        if self.interval:
            _check_interval(self.interval)
        elif self.rules:
            msg = "got rules without an interval, expected aggregate.interval, which turns windows on"
            raise ValueError(msg)
        check_timezone(self.timezone)
        return self
