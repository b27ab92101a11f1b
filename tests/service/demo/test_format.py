"""Number formats of the demo."""

from __future__ import annotations

import math

import pytest

from service.demo.format import bars, clock, number, ratio


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (12.345, "%", "12.3%"),
        (100.0, "%", "100.0%"),
        (-0.04, "%", "0.0%"),
        (0.42, "", "0.42"),
        (-0.001, "", "0.00"),
        (0.0, "B/s", "0"),
        (999.4, "B/s", "999"),
        (999.6, "B/s", "1.00k"),
        (12_345.0, "B/s", "12.3k"),
        (-1_234_567.0, "B/s", "-1.23M"),
        (1e30, "B/s", "1000000000000000P"),
        (math.nan, "%", "-"),
        (math.inf, "B/s", "-"),
    ],
)
def test_number(value: float, unit: str, expected: str) -> None:
    """A value is shown with three digits and a prefix; nan and infinity are a dash."""
    assert number(value, unit) == expected


@pytest.mark.parametrize(("value", "expected"), [(None, "-"), (0.914, "0.91"), (1234.0, ">99")])
def test_ratio(value: float | None, expected: str) -> None:
    """A ratio never takes more than four columns."""
    assert ratio(value) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0:00"), (61.9, "1:01"), (3_600, "1:00:00")])
def test_clock(seconds: float, expected: str) -> None:
    """A duration is shown in minutes and seconds, with hours where there are any."""
    assert clock(seconds) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([5.0, 5.0], "▁▁"),
        ([0.0, 1.0, math.nan, 2.0], "▁▅█"),
        ([9.0, 0.0, 1.0, 2.0, 3.0], "▁▃▆█"),
    ],
)
def test_bars(values: list[float], expected: str) -> None:
    """The newest values are scaled between their minimum and maximum; a constant series is a low line."""
    assert bars(values, 4) == expected
